"""How many numbers the tile loops move, in closed form.

``Tq = ceil(L / block_q)`` and ``Tk = ceil(S / block_k)`` count the tiles. With a mask,
``Tq S`` becomes the sum of the keys, and ``Tk L`` that of the queries, of all tiles
that are not skipped::

    forward     read                                         written
    standard    L E + Tq S (E + Ev) + 2 L S                  L Ev + 2 L S
    flash 1     S (E + Ev) + Tk L (E + Ev + 2)               (Tk + 1) L (Ev + 2)
    flash 2     L E + Tq S (E + Ev)                          L Ev + L

    backward    read                                         written
    standard    L Ev + (Tk L + Tq S) (E + Ev) + 5 L S        L E + S (E + Ev) + 2 L S
    flash 1     S (E + Ev) + Tk L (2 E + 2 Ev + 2)           (Tk + 1) L E + S (E + Ev)
    flash 2     S (E + Ev) + 2 L Ev + Tk L (2 E + Ev + 2)    flash 1's, and L

A fast memory of ``M`` numbers holds tiles of up to about ``M / 2E`` rows. Then ``Tq``
or ``Tk`` is ``2 N E / M``, and what flash moves is a constant times ``N^2 E^2 / M``:
the theorem of Dao et al., "FlashAttention", arXiv 2205.14135. No exact algorithm does
better for all ``M``, they prove. The formulas are ours, and describe the loops of
:mod:`~minitransformer.flash.forward_loops` and
:mod:`~minitransformer.flash.backward_loops` to the byte.
"""

from typing import NamedTuple


class Traffic(NamedTuple):
    """Numbers that are read from slow memory, and written to it."""

    read: int
    written: int


class Sizes(NamedTuple):
    """Sizes of one head and of the tiles; ``causal`` aligns the last query and key."""

    length: int
    kv_length: int
    head_dim: int
    value_dim: int
    block_q: int
    block_k: int
    causal: bool = False

    def columns(self) -> int:
        """Return the sum of the keys of all tiles that are not skipped."""
        return sum(
            min(self.kv_length, tiles * self.block_k) for _, tiles in self._rows()
        )

    def rows(self) -> int:
        """Return the sum of the queries of all tiles that are not skipped."""
        return sum(rows * tiles for rows, tiles in self._rows())

    def _rows(self) -> list[tuple[int, int]]:
        """Return, for each block of queries, its size and how many tiles it visits."""
        found = []
        for start in range(0, self.length, self.block_q):
            stop = min(start + self.block_q, self.length)
            last = (
                self.kv_length - self.length + stop if self.causal else self.kv_length
            )
            found.append((stop - start, -(-max(last, 0) // self.block_k)))
        return found


def standard_forward(sizes: Sizes) -> Traffic:
    """Count scores and weights that go to slow memory and come back; not causal."""
    whole = sizes.length * sizes.kv_length
    width = sizes.head_dim + sizes.value_dim
    return Traffic(
        sizes.length * sizes.head_dim + sizes.columns() * width + 2 * whole,
        sizes.length * sizes.value_dim + 2 * whole,
    )


def standard_backward(sizes: Sizes) -> Traffic:
    """Count the weights that were kept, and their derivatives; not causal."""
    whole = sizes.length * sizes.kv_length
    width = sizes.head_dim + sizes.value_dim
    visits = sizes.columns() + sizes.rows()
    return Traffic(
        sizes.length * sizes.value_dim + visits * width + 5 * whole,
        sizes.length * sizes.head_dim + sizes.kv_length * width + 2 * whole,
    )


def flash1_forward(sizes: Sizes) -> Traffic:
    """Count keys that stay, and queries, outputs, peaks and totals that pass by."""
    width = sizes.head_dim + sizes.value_dim
    return Traffic(
        sizes.kv_length * width + sizes.rows() * (width + 2),
        (sizes.length + sizes.rows()) * (sizes.value_dim + 2),
    )


def flash2_forward(sizes: Sizes) -> Traffic:
    """Count queries and outputs that stay, and keys and values that pass by."""
    width = sizes.head_dim + sizes.value_dim
    return Traffic(
        sizes.length * sizes.head_dim + sizes.columns() * width,
        sizes.length * (sizes.value_dim + 1),
    )


def flash1_backward(sizes: Sizes) -> Traffic:
    """Count keys that stay, and six parts of the queries that pass by."""
    width = sizes.head_dim + sizes.value_dim
    return Traffic(
        sizes.kv_length * width + sizes.rows() * (2 * width + 2),
        (sizes.length + sizes.rows()) * sizes.head_dim + sizes.kv_length * width,
    )


def flash2_backward(sizes: Sizes) -> Traffic:
    """Count the same without the output, which is read once to sum ``dO * O``."""
    width = sizes.head_dim + sizes.value_dim
    passing = sizes.rows() * (width + sizes.head_dim + 2)
    return Traffic(
        sizes.kv_length * width + 2 * sizes.length * sizes.value_dim + passing,
        flash1_backward(sizes).written + sizes.length,
    )
