"""Two memories, a small fast one and a large slow one, and what moves between them.

``TwoLevelMemory`` is a simulation. A program that computes on tiles in fast memory asks
it for every tile it brings in, makes, writes back or drops; it counts the bytes and
refuses what does not fit. This is the model in which the cost of FlashAttention is
stated (Dao et al., arXiv 2205.14135, section 3), and of older results on the traffic of
matrix products. Numbers that a line of code needs only for itself are not counted.

``peak_bytes`` measures real memory: how much PyTorch's allocator held at its worst.
"""

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

Label = tuple[str | int, ...]
"""Name and numbers of a tile, such as ``("K", 2)`` for the third tile of the keys."""


class Event(NamedTuple):
    """One thing that happened: ``load``, ``new``, ``store`` or ``free``."""

    action: str
    label: Label
    size: int


class TwoLevelMemory:
    """A fast memory of some bytes beside a slow one without bounds.

    Attributes:
        capacity: bytes of fast memory.
        read: bytes that came from slow memory.
        written: bytes that went to slow memory.
        used: bytes of fast memory that hold a tile now.
        peak: the most that ``used`` has been.
        log: all that happened, in order.
    """

    def __init__(self, capacity: float = float("inf")) -> None:
        """Start with an empty fast memory.

        Args:
            capacity: its bytes; by default there is no end to them.

        Raises:
            ValueError: ``capacity`` is not positive.
        """
        if capacity <= 0:
            raise ValueError(f"capacity is {capacity}, needs a positive number")
        self.capacity = capacity
        self.read = self.written = self.used = self.peak = 0
        self.log: list[Event] = []
        self._tiles: dict[int, tuple[np.ndarray, Label]] = {}

    def load(self, slow: np.ndarray, *label: str | int) -> np.ndarray:
        """Bring a part of a slow array into fast memory; its bytes are read.

        Args:
            slow: the part, of any shape.
            label: what the log calls it.

        Returns:
            A copy, the tile.

        Raises:
            ValueError: it does not fit beside the tiles that are there.
        """
        tile = self._place(np.array(slow), label)
        self.read += tile.nbytes
        self.log.append(Event("load", label, tile.nbytes))
        return tile

    def new(
        self, shape: tuple[int, ...], *label: str | int, fill: float = 0.0
    ) -> np.ndarray:
        """Make a float64 tile in fast memory; nothing moves.

        Args:
            shape: of the tile.
            label: what the log calls it.
            fill: the number that it is full of.

        Raises:
            ValueError: it does not fit beside the tiles that are there.
        """
        tile = self._place(np.full(shape, fill), label)
        self.log.append(Event("new", label, tile.nbytes))
        return tile

    def store(self, tile: np.ndarray, slow: np.ndarray) -> None:
        """Copy a tile into a part of a slow array; its bytes are written.

        Raises:
            ValueError: the tile does not lie in fast memory, or has another shape.
        """
        label = self._label(tile)
        if tile.shape != slow.shape:
            raise ValueError(f"slow has shape {slow.shape}, the tile has {tile.shape}")
        slow[...] = tile
        self.written += tile.nbytes
        self.log.append(Event("store", label, tile.nbytes))

    def free(self, *tiles: np.ndarray) -> None:
        """Drop tiles, of any shape, from fast memory; nothing moves.

        Raises:
            ValueError: a tile does not lie there.
        """
        for tile in tiles:
            self.log.append(Event("free", self._label(tile), tile.nbytes))
            del self._tiles[id(tile)]
            self.used -= tile.nbytes

    def _label(self, tile: np.ndarray) -> Label:
        if id(tile) not in self._tiles:
            raise ValueError(f"no such tile in fast memory, of shape {tile.shape}")
        return self._tiles[id(tile)][1]

    def _place(self, tile: np.ndarray, label: Label) -> np.ndarray:
        if self.used + tile.nbytes > self.capacity:
            raise ValueError(
                f"tile {' '.join(map(str, label))} has {tile.nbytes} bytes, fast "
                f"memory has {self.capacity - self.used} of {self.capacity} left"
            )
        self.used += tile.nbytes
        self.peak = max(self.peak, self.used)
        self._tiles[id(tile)] = tile, label
        return tile


class Snapshot(NamedTuple):
    """Fast memory at one moment: the tiles in it, and the bytes moved until then."""

    made: Label
    held: frozenset[Label]
    read: int
    written: int


def snapshots(log: Iterable[Event], name: str) -> list[Snapshot]:
    """Look into fast memory whenever a tile of one name is made.

    Args:
        log: that of a :class:`TwoLevelMemory`.
        name: how the labels of those tiles begin.

    Returns:
        One snapshot for each, with that tile in it.
    """
    held: set[Label] = set()
    moved = {"load": 0, "store": 0, "new": 0, "free": 0}
    found = []
    for action, label, size in log:
        moved[action] += size
        if action == "free":
            held.discard(label)
        elif action != "store":
            held.add(label)
        if action == "new" and label[0] == name:
            found.append(
                Snapshot(label, frozenset(held), moved["load"], moved["store"])
            )
    return found


def peak_bytes(run: Callable[[], object]) -> int:
    """Return how much more memory PyTorch held at once during a call than before it.

    Counted is what its CPU allocator hands out and takes back: tensors and their
    temporaries, to the byte and the same on each machine. NumPy's arrays, the code and
    the scratch space of matrix products are not in it.

    Args:
        run: called once; what it returns is kept until the end.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would report start and stop
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watch:
        kept = run()
    del kept
    results = watch.profiler.kineto_results
    changes = [e for e in results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(changes, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def tensor_bytes(*tensors: torch.Tensor) -> int:
    """Return the bytes that the numbers of some tensors, of any shape, take."""
    return sum(tensor.nbytes for tensor in tensors)
