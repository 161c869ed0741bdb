import json
import subprocess
import sys

import pytest
import torch

from minitransformer.models import load_pretrained, pretrained, save_pretrained
from minitransformer.models.presets import gpt2, llama, tiny
from minitransformer.tokenization.bpe import BPE
from minitransformer.tokenization.unigram import Unigram
from minitransformer.tokenization.wordpiece import WordPiece

TEXTS = ["the cat sat on the mat", "the dog sat on the log"] * 5
IDS = torch.randint(0, 64, (2, 7), generator=torch.Generator().manual_seed(1))
CONFIG = {"preset": "tiny", "options": {}}


def model_of(config=CONFIG):
    torch.manual_seed(0)
    return pretrained.build(config)


@pytest.fixture
def folder(tmp_path):
    save_pretrained(model_of(), tmp_path, CONFIG, card="# A card\n")
    return tmp_path


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        {"preset": "tiny", "options": {"tied": False, "num_kv_heads": 2}},
        {"preset": "llama", "options": {"vocab_size": 64, "dim": 32, "num_layers": 1}},
        {
            "preset": "gpt2",
            "options": {"vocab_size": 64, "dim": 24, "num_layers": 2, "max_seq_len": 9},
        },
    ],
)
def test_what_is_saved_is_loaded(config, tmp_path):
    model = model_of(config)
    save_pretrained(model, tmp_path / "new" / "folder", config, card="# Ä card")
    loaded = load_pretrained(tmp_path / "new" / "folder")
    assert torch.equal(loaded.model(IDS), model(IDS))
    assert loaded.card == "# Ä card" and loaded.tokenizer is None
    assert not loaded.model.training
    tied = [m.head.weight is m.embed.weight for m in (model, loaded.model)]
    assert tied[0] == tied[1]
    assert all(weight.requires_grad for weight in loaded.model.parameters())


def test_a_state_dict_can_be_saved_too(tmp_path):
    model = model_of()
    save_pretrained(model.state_dict(), str(tmp_path), CONFIG)
    assert torch.equal(load_pretrained(str(tmp_path)).model(IDS), model(IDS))


def test_a_tied_head_is_stored_once_and_weights_may_be_rounded(tmp_path):
    from safetensors.torch import load_file

    model = model_of()
    save_pretrained(model, tmp_path, CONFIG, dtype=torch.bfloat16)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored.keys() == model.state_dict().keys() - {"head.weight"}
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    loaded = load_pretrained(tmp_path).model
    for name, weight in loaded.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, model.state_dict()[name].bfloat16().float())
    assert load_pretrained(tmp_path, dtype=torch.float64).model(IDS).dtype == (
        torch.float64
    )


@pytest.mark.parametrize("kind", [BPE, Unigram, WordPiece])
def test_every_kind_of_tokenizer_comes_back(kind, tmp_path):
    tokenizer = kind.train_from_iterator(TEXTS, vocab_size=530)
    config = {"preset": "tiny", "options": {"vocab_size": 530}}
    save_pretrained(model_of(config), tmp_path, config, tokenizer)
    loaded = load_pretrained(tmp_path).tokenizer
    assert type(loaded) is kind
    assert loaded.encode(TEXTS[0]).ids == tokenizer.encode(TEXTS[0]).ids


def test_a_model_that_the_package_carries_is_found_by_its_name(folder, monkeypatch):
    monkeypatch.setattr(pretrained, "HERE", folder.parent)
    assert load_pretrained(folder.name).card == "# A card\n"
    with pytest.raises(FileNotFoundError, match=f"there is .*{folder.name}"):
        load_pretrained("house of cards")


def test_another_attend_can_be_put_in(folder):
    calls = []

    def counted(*inputs, **options):
        calls.append(1)
        return model_of().blocks[0].mixer.attend(*inputs, **options)

    loaded = load_pretrained(folder, attend=counted).model
    torch.testing.assert_close(loaded(IDS), model_of()(IDS), rtol=0, atol=1e-6)
    assert len(calls) == 2


def test_to_load_draws_no_random_numbers(folder):
    before = torch.get_rng_state()
    load_pretrained(folder)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("damage", ["cut", "bent", "empty"])
def test_damaged_weights_are_refused(damage, folder):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    bad = {"cut": data[:-40], "bent": b"\xff" * 8 + data[8:], "empty": b""}
    path.write_bytes(bad[damage])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged: "):
        load_pretrained(folder)


def test_what_is_missing_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"no folder with a config\.json, nor"):
        load_pretrained(folder / "nothing")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", r"config\.json is no JSON"),
        ("[]", r"config\.json holds no JSON object"),
        ({"preset": "gpt5"}, "preset is 'gpt5', needs one of gpt2, llama, tiny"),
        ({"preset": "tiny", "options": [1]}, r"options is \[1\], needs names"),
        ({"preset": "tiny", "options": {"dims": 9}}, "options has 'dims', tiny has "),
        ({"preset": "tiny", "options": {"dim": "9"}}, r"config\.json: "),
        ({"preset": "tiny", "options": {"hidden": -1}}, r"config\.json: "),
        (
            {"preset": "tiny", "options": {"num_layers": 3}},
            r"lacks weights: blocks\.2\.mixer_norm\.weight, .*, \.\.\.",
        ),
        (
            {"preset": "tiny", "options": {"num_layers": 1}},
            r"has unexpected weights: blocks\.1",
        ),
        (
            {"preset": "tiny", "options": {"dim": 32}},
            r"embed\.weight \(64, 16\), its configuration wants \(64, 32\)",
        ),
        (
            {"preset": "tiny", "options": {"tied": False}},
            r"lacks weights: head\.weight",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(config, message, folder):
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_pretrained(folder)


def test_nothing_that_cannot_be_loaded_is_saved(tmp_path):
    tokenizer = BPE.train_from_iterator(TEXTS, vocab_size=260)
    wide = {"preset": "tiny", "options": {"dim": 32}}
    untied = {"preset": "tiny", "options": {"tied": False}}
    for model, config, tool, message in (
        (model_of(), wide, None, "model has embed.weight .* wants"),
        (model_of(untied), CONFIG, None, "head.weight unlike embed.weight"),
        (model_of(), CONFIG, tokenizer, "tokenizer has 260 ids, vocab_size is 64"),
        (model_of(), {"preset": "x"}, None, "preset is 'x'"),
    ):
        with pytest.raises(ValueError, match=message):
            save_pretrained(model, tmp_path / "x", config, tool)
    assert not (tmp_path / "x").exists()


def test_a_save_that_fails_leaves_what_was_there(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fails(state, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.torch.save_file", fails)
    with pytest.raises(OSError, match="disk full"):
        save_pretrained(model_of(), folder, CONFIG)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("text", ["{", "[]", '{"model": {"type": "Morse"}}'])
def test_a_strange_tokenizer_is_refused(text, folder):
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer file"):
        load_pretrained(folder)


def test_without_safetensors_folders_are_read_and_the_way_to_write_is_told(
    folder, monkeypatch
):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    assert load_pretrained(folder).card == "# A card\n"
    with pytest.raises(ImportError, match=r"pip install '.*\[course\]'"):
        save_pretrained(model_of(), folder, CONFIG)


def test_models_can_be_imported_without_safetensors_and_the_package_without_torch():
    code = (
        "import sys; sys.modules['safetensors'] = None; import minitransformer; "
        "assert 'torch' not in sys.modules; import minitransformer.models; "
        "assert 'minitransformer.tokenization.bpe' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_preset_can_be_named():
    assert {"gpt2": gpt2, "llama": llama, "tiny": tiny} == pretrained.PRESETS
