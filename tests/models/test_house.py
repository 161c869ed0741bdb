"""The house model is what its card and its history say."""

import json
from pathlib import Path

import pytest
import torch

from minitransformer import models
from minitransformer.attention.sdpa import sdpa
from minitransformer.generation.generate import generate
from minitransformer.models import load_pretrained
from minitransformer.training.data import consecutive, encode, token_bytes, wikipedia
from minitransformer.training.loss import judge

FOLDER = Path(models.__file__).parent / "house"


@pytest.fixture(scope="module")
def house():
    return load_pretrained("house", attend=sdpa)


@pytest.fixture(scope="module")
def history():
    return json.loads((FOLDER / "history.json").read_text(encoding="utf-8"))


def test_it_is_small_enough_to_ship(house, history):
    size = (FOLDER / "model.safetensors").stat().st_size
    assert size <= 16e6
    weights = sum(weight.numel() for weight in house.model.parameters())
    assert weights == history["parameters"]
    assert 2 * weights <= size


def test_held_out_articles_cost_what_its_history_says(house, history):
    """The history was written on a GPU in bfloat16, this is float32 on a CPU."""
    corpus = encode({"Wikipedia": wikipedia().test}, house.tokenizer)
    sizes = torch.as_tensor(token_bytes(house.tokenizer))
    ids = torch.as_tensor(corpus.ids.astype("int64"))
    batches = consecutive(ids, batch=8, length=history["length"])
    with torch.no_grad():
        bits = judge(house.model, batches, sizes)
    assert bits == pytest.approx(history["test"], abs=0.005)


def test_its_card_states_the_figures_of_its_history(house, history):
    for figure in (history["validation"], history["test"]):
        assert f"{figure:.2f}" in house.card
    assert f"{history['parameters']:,}" in house.card
    assert f"{history['recipe']['steps']:,} steps" in house.card


def test_it_speaks(house):
    prompt = "The President of the United"
    ids = torch.tensor([house.tokenizer.encode(prompt).ids])
    written = generate(house.model, ids, max_new_tokens=8, num_layers=7)
    assert house.tokenizer.decode([int(i) for i in written]).startswith(" States")
