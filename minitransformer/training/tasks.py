"""Small tasks with a known answer at any length, on which positions show what they do.

A task makes a batch: ids ``[B, L]``, and the id that should come next at every place
``[B, L]``, ``IGNORE`` where nothing is asked. Given a generator it is reproducible::

    copy             write the first half again
    selective copy   write the eight marked symbols among blanks, in order
    counting         how many "inc" since the last "set", at every place, nine at most
    flip-flop        read the bit that was written last, among instructions to ignore
    needle           the symbol after the one marker, asked at the end

Sources: counting, flip-flop and selective copy after Golovneva et al., arXiv
2405.18719; flip-flop is Liu et al., 2306.00946; selective copy Gu & Dao, 2312.00752.
"""

from collections.abc import Callable

import torch
from torch import Tensor

IGNORE = -100
VOCAB_SIZE = 24
SYMBOLS, BLANK, END, MARK = 16, 16, 17, 18
PASS, INC, SET = 0, 1, 2
WRITE, READ, SKIP = 2, 3, 4
SELECTED = 8

Batch = tuple[Tensor, Tensor]


def _symbols(size: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(0, SYMBOLS, size, generator=generator)


def _at_least(length: int, least: int) -> None:
    if length < least:
        raise ValueError(f"length is {length}, needs at least {least}")


def copy(batch: int, length: int, generator: torch.Generator) -> Batch:
    """Write the first half again: ``x_1 .. x_n END x_1 .. x_(n-1)``."""
    _at_least(length, 2)
    text = _symbols((batch, length // 2), generator)
    ids = torch.cat([text, torch.full((batch, 1), END), text[:, :-1]], dim=1)
    target = torch.full_like(ids, IGNORE)
    target[:, text.shape[1] :] = text
    return ids, target


def selective_copy(batch: int, length: int, generator: torch.Generator) -> Batch:
    """Write the symbols that stand among blanks, in order."""
    room = length - SELECTED
    _at_least(room, SELECTED)
    places = torch.rand(batch, room, generator=generator).argsort(dim=1)
    places = places[:, :SELECTED].sort(dim=1).values
    text = _symbols((batch, SELECTED), generator)
    field = torch.full((batch, room), BLANK).scatter(1, places, text)
    ids = torch.cat([field, torch.full((batch, 1), END), text[:, :-1]], dim=1)
    target = torch.full_like(ids, IGNORE)
    target[:, room:] = text
    return ids, target


def counting(batch: int, length: int, generator: torch.Generator) -> Batch:
    """Count "inc" since the last "set", at every place; nine at most."""
    _at_least(length, 1)
    chance = torch.rand(batch, length, generator=generator)
    ids = torch.where(chance < 0.12, INC, torch.where(chance < 0.15, SET, PASS))
    total = (ids == INC).cumsum(dim=1)
    before = torch.where(ids == SET, total, 0).cummax(dim=1).values
    return ids, (total - before).clamp_max(9)


def flip_flop(batch: int, length: int, generator: torch.Generator) -> Batch:
    """Read the bit that was written last; the first instruction writes, the last reads.

    Instructions and bits alternate, ``w 1 i 0 i 1 r 1``; only bits after "r" are asked.
    """
    _at_least(length, 4)
    pairs = length // 2
    chance = torch.rand(batch, pairs, generator=generator)
    orders = torch.where(chance < 0.1, WRITE, torch.where(chance < 0.2, READ, SKIP))
    orders[:, 0], orders[:, -1] = WRITE, READ
    bits = torch.randint(0, 2, (batch, pairs), generator=generator)
    place = torch.where(orders == WRITE, torch.arange(pairs), 0).cummax(dim=1).values
    bits = torch.where(orders == READ, bits.gather(1, place), bits)
    ids = torch.stack([orders, bits], dim=2).flatten(1)
    asked = torch.where(orders == READ, bits, IGNORE)
    target = torch.stack([asked, torch.full_like(asked, IGNORE)], dim=2).flatten(1)
    return ids, target


def needle(batch: int, length: int, generator: torch.Generator) -> Batch:
    """Find the one marker in a text of symbols, and say which symbol follows it."""
    _at_least(length, 4)
    ids = _symbols((batch, length), generator)
    place = torch.randint(0, length - 2, (batch, 1), generator=generator)
    ids.scatter_(1, place, MARK)
    ids[:, -1] = END
    target = torch.full_like(ids, IGNORE)
    target[:, -1] = ids.gather(1, place + 1)[:, 0]
    return ids, target


TASKS: dict[str, Callable[[int, int, torch.Generator], Batch]] = {
    "copy": copy,
    "selective copy": selective_copy,
    "counting": counting,
    "flip-flop": flip_flop,
    "needle": needle,
}
"""Name of a task -> what makes a batch of it."""
