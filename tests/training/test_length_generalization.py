import json
import math
from multiprocessing import dummy

import pytest
import torch

from minitransformer.course.environment import ROOT
from minitransformer.models.positioned import SCHEMES
from minitransformer.training import length_generalization as grid
from minitransformer.training.tasks import IGNORE, TASKS

STORED = ROOT / "lessons" / "4_positions" / "4_4_length_generalisation.json"


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(grid, "STEPS", {"counting": 3, "text": 3})
    monkeypatch.setattr(grid, "LENGTHS", (64, 128))


def test_windows_of_text_ask_for_every_next_byte():
    make = grid.text_batches(b"abcdefgh")
    ids, target = make(50, 3, torch.Generator().manual_seed(0))
    assert torch.equal(target, ids + 1)  # of this text
    assert ids.min() == ord("a")
    assert target.max() == ord("h")


def test_training_lowers_the_loss_and_is_the_same_again():
    runs = [
        grid.train("ALiBi", TASKS["counting"], vocab_size=24, steps=40, seed=3)[1]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert sum(runs[0][-5:]) < 0.75 * sum(runs[0][:5])


def always(answer):
    """A model that is sure of one answer at every place."""
    row = torch.zeros(24)
    row[answer] = 50.0
    return lambda ids: row.expand(*ids.shape, 24)


def constant(batch, length, generator):
    ids = torch.zeros(batch, length, dtype=torch.long)
    target = torch.full_like(ids, 5)
    target[:, ::2] = IGNORE
    target[:, 1] = 7
    return ids, target


def test_the_share_of_right_answers_counts_what_is_asked():
    assert grid.test(always(5), constant, 8) == 0.75  # 7 is asked at one of four
    assert grid.test(always(7), constant, 8) == 0.25


def test_bits_are_those_of_the_last_targets():
    def even(ids):
        return torch.zeros(*ids.shape, 16)

    def asked(batch, length, generator):
        return (torch.zeros(batch, length, dtype=torch.long),) * 2

    assert grid.test(even, asked, 64, bits=True) == pytest.approx(4.0)
    sure = grid.test(
        always(5), constant, 64, bits=True
    )  # 7 is asked before the last 32
    assert sure == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("length", [64, 512, 1024])
def test_every_length_is_tested_on_as_many_sequences(length):
    sizes = []

    def counted(batch, length, generator):
        sizes.append(batch)
        return constant(batch, length, generator)

    grid.test(always(5), counted, length)
    assert sum(sizes) == 256
    assert max(sizes) * length <= 64 * 256
    sizes.clear()
    grid.test(always(5), counted, length, sequences=16)
    assert len(sizes) == 1


def test_a_table_that_ends_has_no_figure(few_steps):
    made = grid.cell("learned", "counting", 0)
    assert made["figures"]["64"] is not None
    assert made["figures"]["128"] is None


def test_a_cell_says_what_it_is(few_steps):
    made = grid.cell("RoPE", "text", 1, text=(bytes(range(200)) * 3, bytes(range(200))))
    assert (made["scheme"], made["task"], made["seed"]) == ("RoPE", "text", 1)
    assert made["figures"]["64"] == pytest.approx(math.log2(256), abs=1.0)


def test_an_interrupted_grid_goes_on(few_steps, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(grid, "SCHEMES", {"none": SCHEMES["none"]})
    out = tmp_path / "grid.json"
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(bytes(range(256)) * 2)
    texts = ["--text", str(tmp_path / "a"), str(tmp_path / "b")]
    rest = ["--out", str(out), "--date", "2000-01-01", "--processes", "1", *texts]
    kept = {"scheme": "none", "task": "text", "seed": 0, "figures": {"64": "kept"}}
    out.write_text(json.dumps({"about": {}, "cells": [kept]}))
    monkeypatch.setattr(torch.multiprocessing, "get_context", lambda kind: dummy)
    assert grid.main([*rest, "--seeds", "1"]) == 0
    cells = json.loads(out.read_text())["cells"]
    assert [c["task"] for c in cells] == ["counting", "text"]
    assert cells[1] == kept
    assert "1/1" in capsys.readouterr().out


def test_the_stored_grid_is_whole():
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    assert {"device", "torch", "python", "date"} <= stored["about"].keys()
    found = {(c["scheme"], c["task"], c["seed"]) for c in stored["cells"]}
    wanted = {(s, t, n) for s in SCHEMES for t in grid.STEPS for n in range(3)}
    assert found == wanted
    for made in stored["cells"]:
        for length, figure in made["figures"].items():
            missing = made["scheme"] == "learned" and int(length) > grid.TRAIN_LEN
            assert (figure is None) == missing
