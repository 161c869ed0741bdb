import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from minitransformer.models.convert import (
    config_of,
    decoder_from,
    from_hugging_face,
    to_hugging_face,
)

IDS = torch.randint(0, 50, (2, 40), generator=torch.Generator().manual_seed(1))
ENDS = {"bos_token_id": 0, "eos_token_id": 0}


def their_gpt2(**options):
    sizes = {"vocab_size": 50, "n_embd": 32, "n_layer": 3, "n_head": 4}
    config = GPT2Config(**sizes, n_positions=64, **ENDS, **options)
    return away_from_start(GPT2LMHeadModel(config))


def their_llama(**options):
    sizes = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "intermediate_size": 48}
    config = LlamaConfig(**(sizes | heads | options), **ENDS)
    return away_from_start(LlamaForCausalLM(config))


def away_from_start(model):
    """Draw every weight, so that no bias is 0 and no gain is 1."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.2, generator=generator)
    return model.eval()


TWINS = {
    "GPT-2": their_gpt2,
    "a narrow GPT-2": lambda: their_gpt2(n_inner=24),
    "a GPT-2 with a large eps": lambda: their_gpt2(layer_norm_epsilon=0.3),
    "Llama": their_llama,
    "a Llama with a large eps": lambda: their_llama(rms_norm_eps=0.03),
    "grouped heads": lambda: their_llama(num_key_value_heads=2),
    "one key head": lambda: their_llama(num_key_value_heads=1),
    "tied": lambda: their_llama(tie_word_embeddings=True),
    "Llama 3's base": lambda: their_llama(
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0}
    ),
}


@pytest.mark.parametrize("name", TWINS)
def test_a_renamed_model_gives_the_same_scores(name):
    theirs = TWINS[name]()
    ours = decoder_from(theirs.config.to_dict(), theirs.state_dict())
    with torch.no_grad():
        wanted = theirs(IDS).logits
        assert wanted.std() > 0.1  # scores that could differ
        torch.testing.assert_close(ours(IDS), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TWINS)
def test_back_again_nothing_has_changed(name):
    theirs = TWINS[name]()
    config = theirs.config.to_dict()
    ours = decoder_from(config, theirs.state_dict())
    back = to_hugging_face(ours.state_dict(), config_of(config)["preset"])
    assert list(back) != list(ours.state_dict())
    assert back.keys() == theirs.state_dict().keys()
    for key, weight in theirs.state_dict().items():
        assert torch.equal(back[key], weight)
    theirs.load_state_dict(back)


def test_weights_are_copies():
    theirs = their_llama()
    ours = decoder_from(theirs.config.to_dict(), theirs.state_dict())
    before = ours(IDS)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.zero_()
    assert torch.equal(ours(IDS), before)


def test_a_tied_head_that_no_file_holds_is_the_embedding():
    theirs = their_llama(tie_word_embeddings=True)
    state = theirs.state_dict()
    del state["lm_head.weight"]
    ours = decoder_from(theirs.config.to_dict(), state)
    assert ours.head.weight is ours.embed.weight
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-5, atol=1e-5)
    apart = theirs.config.to_dict() | {"tie_word_embeddings": False}
    with pytest.raises(ValueError, match=r"state lacks weights: head\.weight"):
        decoder_from(apart, state)
    state["lm_head.weight"] = state["model.embed_tokens.weight"] + 1
    with pytest.raises(ValueError, match=r"head\.weight unlike embed\.weight"):
        decoder_from(theirs.config.to_dict(), state)


def test_an_old_file_of_gpt2_is_read_too():
    theirs = their_gpt2()
    state = {
        name.removeprefix("transformer."): weight
        for name, weight in theirs.state_dict().items()
        if name != "lm_head.weight"
    }
    state["h.0.attn.bias"] = torch.ones(1, 1, 64, 64)
    state["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    ours = decoder_from(theirs.config.to_dict(), state)
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-5, atol=1e-5)


def test_missing_unknown_and_misshapen_weights_are_named():
    theirs = their_gpt2()
    config, state = theirs.config.to_dict(), theirs.state_dict()
    less = {name: x for name, x in state.items() if name != "transformer.h.1.ln_1.bias"}
    with pytest.raises(ValueError, match=r"lacks .*: transformer\.h\.1\.ln_1\.bias"):
        from_hugging_face(less, "gpt2")
    with pytest.raises(ValueError, match=r"unknown .*: transformer\.h\.0\.attn\.rot"):
        from_hugging_face(state | {"h.0.attn.rotary": torch.ones(1)}, "gpt2")
    wide = {"transformer.h.2.attn.c_attn.bias": torch.ones(97)}
    with pytest.raises(ValueError, match="has 97, needs a multiple of 3"):
        from_hugging_face(state | wide, "gpt2")
    wide = {"transformer.h.2.ln_2.bias": torch.ones(33)}
    wanted = r"blocks\.2\.mlp_norm\.bias \(33,\), its configuration wants \(32,\)"
    with pytest.raises(ValueError, match=wanted):
        decoder_from(config, state | wide)
    with pytest.raises(ValueError, match=r"lacks weights: blocks\.3\.mixer_norm"):
        decoder_from(config | {"n_layer": 4}, state)
    with pytest.raises(ValueError, match=r"lacks weights of llama: model\.embed"):
        from_hugging_face({}, "llama")
    with pytest.raises(ValueError, match=r"lacks weights of llama: norm\.weight"):
        to_hugging_face({"embed.weight": torch.ones(2, 2)}, "llama")
    with pytest.raises(ValueError, match="preset is 'bert', needs one of gpt2, llama"):
        to_hugging_face({}, "bert")


def test_a_number_of_layers_that_nobody_has_is_no_loop_without_end():
    with pytest.raises(ValueError, match="unknown"):
        from_hugging_face(
            their_llama().state_dict() | {"x.999999999999.y": torch.ones(1)}, "llama"
        )


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (their_gpt2, {"model_type": "bert"}, "model_type is 'bert', needs one of gpt2"),
        (their_gpt2, {"activation_function": "relu"}, "activation_function is 'relu'"),
        (their_gpt2, {"scale_attn_by_inverse_layer_idx": True}, "is True, needs False"),
        (their_llama, {"hidden_act": "gelu"}, "hidden_act is 'gelu', needs 'silu'"),
        (their_llama, {"attention_bias": True}, "attention_bias is True, needs False"),
        (their_llama, {"head_dim": 16}, "head_dim is 16, needs hidden_size / heads"),
        (
            their_llama,
            {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}},
            "rope_type is 'yarn', needs 'default'",
        ),
    ],
)
def test_a_setting_that_we_have_not_is_refused(make, changes, message):
    config = make().config.to_dict() | changes
    with pytest.raises(ValueError, match=message):
        config_of(config)


def test_a_configuration_without_a_size_is_refused():
    config = their_gpt2().config.to_dict()
    del config["n_layer"]
    with pytest.raises(ValueError, match="config lacks n_layer"):
        config_of(config)


def test_an_older_spelling_of_the_base_is_read():
    config = their_llama().config.to_dict()
    del config["rope_parameters"]
    assert config_of(config | {"rope_theta": 5e5})["options"]["rope_base"] == 5e5
    assert config_of(config)["options"]["rope_base"] == 1e4
