"""Judge sub-word rules at several sizes: the table that lesson 1.3 shows.

Run ``python tests/benchmarks/bench_subwords.py FILE`` to write it as JSON; it takes a
minute. The lesson computes the rows of one size itself and reads the others.
"""

import json
import math
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minitransformer import data
from minitransformer.tokenization import byte_level, swe, wordpiece
from minitransformer.tokenization.bpe import BPE

SIZES = (1024, 4096, 8192, 16384)


def count_tokens(tokenizer: Any, chunks: dict[bytes, int]) -> np.ndarray:
    """Count how often each id occurs, ``[vocabulary]``."""
    counts = np.zeros(tokenizer.get_vocab_size(), dtype=int)
    for chunk, count in chunks.items():
        for i in tokenizer.encode_chunk(chunk.decode()):
            counts[i] += count
    return counts


def judge(tokenizer: Any, train: list[str], held_out: list[str]) -> dict[str, Any]:
    """Return the columns of the table for one tokenizer, and bits by article."""
    seen = count_tokens(tokenizer, byte_level.count_chunks(train, "gpt2"))
    new = np.array(
        [
            count_tokens(tokenizer, byte_level.count_chunks([text], "gpt2"))
            for text in held_out
        ]
    )
    bits = -np.log2(np.maximum(seen, 0.5) / np.maximum(seen, 0.5).sum())
    share = new.sum(axis=0) / new.sum()
    return {
        "train": seen @ bits / sum(len(text.encode()) for text in train),
        "held out": (new @ bits).sum() / sum(len(text.encode()) for text in held_out),
        "tokens/word": new.sum() / sum(len(text.split()) for text in held_out),
        "used": (seen > 0).mean(),
        "Rényi": np.log2((share**2.5).sum()) / -1.5 / math.log2(len(share)),
        "articles": (new @ bits).tolist(),
    }


def main(out: Path) -> None:
    """Train, judge and write."""
    articles = data.split(data.wikipedia_articles(), key=lambda each: each.title)
    train, held_out = (
        [text for _, text in part] for part in (articles.train, articles.test)
    )
    chunks, rows = byte_level.count_chunks(train, "gpt2"), []
    for size in SIZES:
        tokenizers = {
            "BPE": BPE.train_from_iterator(train, vocab_size=size),
            "WordPiece": wordpiece.WordPiece(wordpiece.learn(chunks, size)),
            "SWE": swe.SWE(swe.probabilities(swe.learn(chunks, size)[1])),
        }
        for name, tokenizer in tokenizers.items():
            row = judge(tokenizer, train, held_out)
            numbers = {k: v if k == "articles" else float(v) for k, v in row.items()}
            rows.append({"rule": name, "size": size, **numbers})
    about = {"python": platform.python_version(), "numpy": np.__version__}
    text = json.dumps({"about": about, "rows": rows}, indent=1, ensure_ascii=False)
    out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
