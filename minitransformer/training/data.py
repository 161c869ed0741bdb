"""A text as one long row of ids, and windows of it to learn from.

Texts stand one after the other, with a mark before each::

    ids    MARK text MARK text text text MARK ...            one array
    window ids[s : s + L]      target ids[s + 1 : s + L + 1]

A window may start anywhere; where, a generator says, so that a run can be made again
and gone on with. What is held out is held out by article, not by window: windows of one
article know each other.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from minitransformer import data
from minitransformer.training.tasks import IGNORE

MARK = "<|endoftext|>"


class Corpus(NamedTuple):
    """A tokenized text.

    Attributes:
        ids: ``[N]``, uint16 or uint32.
        parts: name of a part -> where it begins and ends in ``ids``.
        token_bytes: ``[V]``, how many bytes of text each id stands for.
    """

    ids: np.ndarray
    parts: dict[str, tuple[int, int]]
    token_bytes: np.ndarray


def wikipedia() -> data.Split[str]:
    """Return the Wikipedia articles, title first, split by article."""
    articles = data.split(data.wikipedia_articles(), key=lambda each: each.title)
    return data.Split(*([f"{a.title}\n{a.text}" for a in part] for part in articles))


def read_texts(folder: Path) -> dict[str, str]:
    """Return every ``.txt`` file under a folder by its name, in order.

    Raises:
        ValueError: the folder holds none.
    """
    files = sorted(Path(folder).rglob("*.txt"))
    if not files:
        raise ValueError(f"folder {folder} holds no .txt file")
    return {
        file.relative_to(folder).with_suffix("").as_posix(): file.read_text("utf-8")
        for file in files
    }


def token_bytes(tokenizer: Any) -> np.ndarray:
    """Return how many bytes each id of a byte-level tokenizer stands for, ``[V]``."""
    special = {tokenizer.token_to_id(token) for token in tokenizer.special_tokens}
    sizes = [
        0 if i in special else len(tokenizer.token_bytes(i))
        for i in range(tokenizer.get_vocab_size())
    ]
    return np.array(sizes, dtype=np.int64)


def encode(parts: Mapping[str, Iterable[str]], tokenizer: Any) -> Corpus:
    """Tokenize texts, part by part.

    Args:
        parts: name of a part -> its texts.
        tokenizer: byte-level, with the special token ``MARK``.

    Raises:
        ValueError: the tokenizer has no such mark.
    """
    mark = tokenizer.token_to_id(MARK)
    if mark is None:
        raise ValueError(f"tokenizer has no token {MARK}")
    ids: list[int] = []
    where = {}
    for name, texts in parts.items():
        start = len(ids)
        for text in texts:
            ids.append(mark)
            ids.extend(tokenizer.encode(text).ids)
        where[name] = (start, len(ids))
    kind = np.uint16 if tokenizer.get_vocab_size() <= 1 << 16 else np.uint32
    return Corpus(np.array(ids, dtype=kind), where, token_bytes(tokenizer))


def draw(
    ids: Tensor,
    batch: int,
    length: int,
    generator: torch.Generator,
    *,
    spans: Sequence[tuple[int, int]] | None = None,
    weights: Sequence[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw windows that start anywhere.

    Args:
        ids: ``[N]``, on any device.
        batch: how many windows, ``B``.
        length: ids in each, ``L``.
        generator: says where; on the CPU.
        spans: beginnings and ends of parts, which no window leaves; by default there
            is one.
        weights: how often a start of each part is drawn, relative to one of weight 1.

    Returns:
        Ids and targets, ``[B, L]`` each, on the device of ``ids``.

    Raises:
        ValueError: a part has no room for a window.
    """
    spans = [(0, len(ids))] if spans is None else spans
    weights = [1.0] * len(spans) if weights is None else weights
    room = torch.tensor([end - start - length for start, end in spans])
    if int(room.min()) < 1:
        raise ValueError(
            f"length is {length}, but a part has {int(room.min()) + length}"
        )
    share = room.double() * torch.tensor(weights, dtype=torch.float64)
    part = torch.multinomial(share, batch, replacement=True, generator=generator)
    # One draw of 62 bits for each window, whatever its part: the order stays the same.
    at = torch.randint(0, 1 << 62, (batch,), generator=generator) % room[part]
    start = torch.tensor([start for start, _ in spans])[part] + at
    places = start[:, None] + torch.arange(length + 1)
    window = ids[places.to(ids.device, non_blocking=True)].long()
    return window[:, :-1], window[:, 1:]


def consecutive(
    ids: Tensor, batch: int, length: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut a text into windows side by side: each id but the first is asked once.

    Args:
        ids: ``[N]``, N at least 2.
        batch: windows at a time.
        length: ids in each.

    Yields:
        Ids and targets ``[<= batch, length]``; the end is filled up with id 0, and its
        targets with ``IGNORE``.

    Raises:
        ValueError: ``ids`` has fewer than 2.
    """
    if len(ids) < 2:
        raise ValueError(f"ids has {len(ids)}, needs at least 2")
    missing = -(len(ids) - 1) % length
    whole, after = ids[:-1].long(), ids[1:].long()
    rows = torch.cat([whole, whole.new_zeros(missing)]).view(-1, length)
    asked = torch.cat([after, after.new_full((missing,), IGNORE)]).view(-1, length)
    yield from zip(rows.split(batch), asked.split(batch), strict=True)
