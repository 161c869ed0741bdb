import json

import numpy as np
import pytest
import torch

from minitransformer.data import Split
from minitransformer.tokenization.bpe import BPE
from minitransformer.training import prepare
from minitransformer.training.prepare import Texts

TEXT = "the cat sat on the mat, and the dog sat on the cat. "


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """What is prepared from a small text instead of Wikipedia."""
    parts = Split([TEXT * 30, TEXT[::-1] * 30], [TEXT * 9], [TEXT * 8])
    monkeypatch.setattr(prepare, "wikipedia", lambda: parts)
    monkeypatch.setattr(prepare.data, "lee_corpus", lambda: ("news " * 100,))
    prepare.prepare(tmp_path, None, 300)
    return tmp_path


def test_the_tokens_are_those_of_the_text(folder):
    tokenizer = BPE.from_file(folder / "tokenizer.json")
    with np.load(folder / "tokens.npz") as arrays:
        assert tokenizer.decode(arrays["validation"].tolist()) == TEXT * 9
        assert tokenizer.decode(arrays["test"].tolist()) == TEXT * 8
        start, end = json.loads(str(arrays["parts"]))["Lee"]
        assert tokenizer.decode(arrays["train"][start:end].tolist()) == "news " * 100


def test_a_tokenizer_that_is_there_is_used(folder):
    before = (folder / "tokenizer.json").read_bytes()
    (folder / "tokens.npz").unlink()
    prepare.prepare(folder, None, 290)
    assert (folder / "tokenizer.json").read_bytes() == before
    assert (folder / "tokens.npz").exists()


def test_windows_of_wikipedia_are_drawn_as_often_as_they_weigh(folder):
    shares = []
    for weight in (1.0, 5.0):
        texts = Texts(folder, "cpu", 4, weight)
        lee = set(texts.ids["train"][slice(*texts.parts["Lee"])].tolist())
        drawn, _ = texts.draw(2000, torch.Generator().manual_seed(0))
        shares.append(sum(set(row.tolist()) <= lee for row in drawn) / 2000)
    assert 0 < shares[1] < shares[0] / 3


def test_a_model_that_knows_nothing_pays_all_bits_of_every_token(folder):
    texts = Texts(folder, "cpu", 16)
    ids = texts.ids["validation"]
    bits = texts.judge(lambda ids: torch.zeros(*ids.shape, 512))
    wanted = 9 * (len(ids) - 1) / len((TEXT * 9).encode())
    assert bits == pytest.approx(wanted)


def test_nothing_is_read_before_it_is_prepared(tmp_path):
    with pytest.raises(FileNotFoundError):
        Texts(tmp_path, "cpu", 16)
