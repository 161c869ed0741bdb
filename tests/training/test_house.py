import json

import pytest
import torch
from safetensors.torch import load_file

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.data import Split
from minitransformer.layers.partial import Partial
from minitransformer.models.presets import llama
from minitransformer.models.pretrained import load_pretrained
from minitransformer.positions import rotary
from minitransformer.training import house, prepare
from minitransformer.training.__main__ import main
from minitransformer.training.data import MARK

TINY = house.SIZES | {"vocab_size": 300, "dim": 16, "num_layers": 2, "hidden": 24}


@pytest.fixture
def small(monkeypatch):
    """A house of toy size, with a text of its own."""
    text = "the cat sat on the mat, and the dog sat on the cat. " * 40
    parts = Split([text, text[::-1]], [text[:500]], [text[:300]])
    monkeypatch.setattr(prepare, "wikipedia", lambda: parts)
    monkeypatch.setattr(house, "SIZES", TINY)
    monkeypatch.setattr(house, "LENGTH", 16)
    monkeypatch.setattr(prepare.prepare, "__defaults__", (300,))


def test_the_house_model_has_the_size_it_is_said_to_have():
    model = house.build(house.SIZES)
    size = sum(w.numel() for w in model.parameters())
    layer = 4 * 256 * 256 + 3 * 256 * 688 + 2 * 256
    assert size == 8192 * 256 + 7 * layer + 256 == 7_634_688


def test_preparing_and_training_write_all_that_is_promised(small, tmp_path, capsys):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "more.txt").write_text("a tale of two cities and one whale " * 30)
    out = tmp_path / "out"
    assert main(["prepare", "--out", str(out), "--texts", str(texts)]) == 0
    rest = ["--steps", "40", "--batch", "4", "--every", "20"]
    assert main(["house", "--out", str(out), *rest]) == 0
    weights = load_file(out / "model.safetensors")
    assert {x.dtype for x in weights.values()} == {torch.bfloat16}
    config = json.loads((out / "config.json").read_text())
    assert config == {"preset": "llama", "options": TINY}
    history = json.loads((out / "history.json").read_text())
    assert history["rows"][-1]["step"] == 40
    assert history["best_step"] in (20, 40)
    assert {"pooled", "trained"} <= history["gqa"].keys()
    assert (history["tokens"].keys()) == {"Wikipedia", "Lee", "more"}
    sibling = load_pretrained(out / "gqa").model.state_dict()
    assert sibling["blocks.0.mixer.k_proj.weight"].shape == (4, 16)
    assert load_pretrained(out).tokenizer.get_vocab_size() <= 300
    judged = house._judged(TINY, weights, prepare.Texts(out, "cpu", 16), "cpu")
    assert judged["validation"] == history["validation"]
    assert MARK in (out / "tokenizer.json").read_text()


def test_a_pooled_head_is_the_mean_of_its_group():
    config = TINY | {"num_kv_heads": 8}
    weights = {"mixer.k_proj.weight": torch.arange(16.0)[:, None].expand(16, 16)}
    pooled, changed = house.pool_key_heads(weights, config, 2)
    # Heads of two rows: the mean of rows 0, 2, 4, 6 is 3, of 1, 3, 5, 7 it is 4.
    assert pooled["mixer.k_proj.weight"][:, 0].tolist() == [3.0, 4.0, 11.0, 12.0]
    assert changed["num_kv_heads"] == 2
    with pytest.raises(ValueError, match="num_kv_heads is 3, needs a divisor of 8"):
        house.pool_key_heads(weights, config, 3)


def test_pooling_heads_that_are_already_the_same_changes_nothing():
    model = house.build(TINY)
    weights = {n: w.detach().clone() for n, w in model.named_parameters()}
    for name, weight in weights.items():
        if name.endswith(("k_proj.weight", "v_proj.weight")):
            weight.copy_(
                weight.view(2, 4, 2, 16)[:, :1].expand(2, 4, 2, 16).flatten(0, 2)
            )
    house._fill(model, weights, torch.float32, "cpu")
    pooled, config = house.pool_key_heads(weights, TINY, 2)
    sibling = house.build(config)
    house._fill(sibling, pooled, torch.float32, "cpu")
    ids = torch.randint(0, 300, (2, 9), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(ids), sibling(ids), atol=1e-6, rtol=0)


def test_both_ways_to_attend_give_the_same_model():
    causal = Partial(attention, mask_mod=masks.causal)
    ids = torch.randint(0, 300, (2, 9), generator=torch.Generator().manual_seed(0))
    got, wanted = house.build(TINY)(ids), house.build(TINY, attend=causal)(ids)
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_a_table_turns_as_rotate_does(kind):
    """Exactly, but that a table for float64 has cosines in float32."""
    x = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(0)).to(kind)
    pos = torch.tensor([0, 1, 7, 300, 511])
    table = house.Table(8, 1e4, 512, "cpu")
    wanted = rotary.rotate(x, pos, rotary.frequencies(8))
    tolerance = 8 * 2**-24 if kind == torch.float64 else 0
    torch.testing.assert_close(table(x, pos), wanted, atol=tolerance, rtol=0)


def test_the_model_in_training_is_the_preset():
    ids = torch.randint(0, 300, (2, 9), generator=torch.Generator().manual_seed(0))
    model, preset = house.build(TINY), llama(**TINY)
    preset.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(ids), preset(ids), atol=1e-6, rtol=0)


def test_dropout_acts_in_training_only_and_goes_away():
    model = house.build(TINY)
    ids = torch.zeros(1, 5, dtype=torch.long)
    plain = model(ids)
    with house.dropout(model, 0.5):
        assert not torch.equal(model.train()(ids), plain)
        assert torch.equal(model.eval()(ids), plain)
    assert torch.equal(model.train()(ids), plain)


def test_a_model_has_copies_of_its_weights_rounded_as_they_will_be_stored():
    weights = {n: w.detach() for n, w in house.build(TINY).named_parameters()}
    model = house.build(TINY)
    house._fill(model, weights, torch.bfloat16, "cpu")
    for name, weight in model.named_parameters():
        assert torch.equal(weight, weights[name].bfloat16().float())
        assert weight.data_ptr() != weights[name].data_ptr()


def test_weights_of_another_model_are_refused():
    with pytest.raises(ValueError, match="the trained model lacks weights: embed"):
        house._fill(house.build(TINY), {"x": torch.zeros(1)}, torch.float32, "cpu")


def test_rows_are_thinned_to_means():
    rows = [
        {"step": i, "loss": float(i), "rate": 0.1, "norm": 1.0} for i in (1, 2, 3, 4)
    ]
    rows[3]["bits_per_byte"] = 2.0
    thinned = house._thin(rows, 2)
    assert [row["loss"] for row in thinned] == [1.5, 3.5]
    assert thinned[1]["bits_per_byte"] == 2.0
