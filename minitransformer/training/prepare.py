"""The text of the house model, tokenized beforehand.

    python -m minitransformer.training prepare --out DIR --texts FOLDER

learns a tokenizer on the training articles of Wikipedia, and tokenizes them, the Lee
corpus and every ``.txt`` file under FOLDER. It keeps to prose: the help pages that
Python carries are lists of names and signatures, and would teach the model a second
language that nobody asks it to speak. Training then needs neither gensim nor the text.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minitransformer import data
from minitransformer.tokenization.bpe import BPE
from minitransformer.training.data import (
    MARK,
    consecutive,
    draw,
    encode,
    read_texts,
    wikipedia,
)
from minitransformer.training.loss import judge

VOCAB_SIZE = 8192


def prepare(out: Path, texts: Path | None, vocab_size: int = VOCAB_SIZE) -> None:
    """Write ``tokenizer.json``, unless it is there, and ``tokens.npz``."""
    out.mkdir(parents=True, exist_ok=True)
    articles, file = wikipedia(), out / "tokenizer.json"
    if file.exists():
        tokenizer = BPE.from_file(file)
    else:
        tokenizer = BPE.train_from_iterator(
            articles.train, vocab_size=vocab_size, special_tokens=[MARK]
        )
        tokenizer.save(file)
    parts = {"Wikipedia": articles.train, "Lee": data.lee_corpus()}
    if texts is not None:
        parts |= {name: [text] for name, text in read_texts(texts).items()}
    corpora = {
        "train": encode(parts, tokenizer),
        "validation": encode({"Wikipedia": articles.validation}, tokenizer),
        "test": encode({"Wikipedia": articles.test}, tokenizer),
    }
    arrays: dict[str, Any] = {name: c.ids for name, c in corpora.items()}
    arrays["token_bytes"] = corpora["train"].token_bytes
    arrays["parts"] = json.dumps(corpora["train"].parts)  # Wikipedia is the first
    np.savez_compressed(out / "tokens.npz", **arrays)
    for name, corpus in corpora.items():
        size = corpus.token_bytes[corpus.ids].sum()
        print(f"{name}: {len(corpus.ids):,} tokens, {size:,} bytes")
    for name, (start, end) in corpora["train"].parts.items():
        print(f"  {name}: {end - start:,} tokens")


class Texts:
    """The tokens that ``prepare`` wrote, on the device that trains."""

    def __init__(
        self, folder: Path, device: str, length: int, wikipedia_weight: float = 1.0
    ) -> None:
        """Read ``tokens.npz``.

        Args:
            folder: where it lies.
            device: where the tokens shall be.
            length: ids in a window.
            wikipedia_weight: how often a window of Wikipedia is drawn, beside another.

        Raises:
            FileNotFoundError: ``prepare`` has not run.
        """
        with np.load(folder / "tokens.npz") as arrays:
            found = {name: arrays[name] for name in arrays.files}
        self.parts = json.loads(str(found.pop("parts")))
        self.token_bytes = torch.from_numpy(found.pop("token_bytes")).to(device)
        self.ids = {
            name: torch.from_numpy(x.astype(np.int32)).to(device)
            for name, x in found.items()
        }
        self.length = length
        self.weights = [wikipedia_weight, 1.0]

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw windows to train on: ids and targets, both ``[batch, length]``."""
        ids, cut = self.ids["train"], self.parts["Wikipedia"][1]
        spans = [(0, cut), (cut, len(ids))]
        weights = self.weights
        return draw(ids, batch, self.length, generator, spans=spans, weights=weights)

    def judge(self, model: nn.Module, part: str = "validation") -> float:
        """Return the bits per byte of a held-out part, in float32."""
        return judge(
            model, consecutive(self.ids[part], 32, self.length), self.token_bytes
        )


def main(arguments: list[str]) -> int:
    """Tokenize, on a machine that has gensim."""
    parser = argparse.ArgumentParser(prog="python -m minitransformer.training prepare")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--texts", type=Path, help="a folder of .txt files")
    options = parser.parse_args(arguments)
    prepare(options.out, options.texts)
    return 0
