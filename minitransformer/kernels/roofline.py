"""How fast a kernel can be at best: the roofline.

A kernel does ``operations`` and must move ``bytes``. A device does at most ``product``
operations and moves at most ``copy`` bytes a second. With the **intensity** ``I``, the
operations for each byte::

    I = operations / bytes        attainable = min(product, I copy)

The two ceilings meet at the ridge ``product / copy``: left of it a kernel waits for
memory, right of it for arithmetic. Bytes are those that cannot be avoided, each input
read once and each output written once; a multiplication and an addition are two
operations.

Source: Williams, Waterman & Patterson, "Roofline", 2009. Ceilings are measured here (a
plain copy, a large product), not taken from a data sheet.
"""

from typing import NamedTuple


class Work(NamedTuple):
    """What a kernel has to do: operations, and bytes that cannot be avoided."""

    operations: float
    bytes: float

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.operations / self.bytes


class Device(NamedTuple):
    """Ceilings of a device: operations a second, and bytes a second."""

    product: float
    copy: float

    @property
    def ridge(self) -> float:
        """The intensity from which on arithmetic is what limits, operations a byte."""
        return self.product / self.copy

    def attainable(self, work: Work) -> float:
        """Return how many operations a second the work allows at best."""
        return min(self.product, work.intensity * self.copy)

    def seconds(self, work: Work) -> float:
        """Return the least time that the work takes."""
        return work.operations / self.attainable(work)


def _check(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}, needs at least 1")


def matmul_work(m: int, n: int, k: int, *, itemsize: int = 2) -> Work:
    """Return the work of a product ``[m, k] @ [k, n]``.

    Args:
        m: rows.
        n: columns.
        k: numbers in each sum.
        itemsize: bytes of a number.

    Raises:
        ValueError: a size is below 1.
    """
    _check(m=m, n=n, k=k, itemsize=itemsize)
    return Work(2.0 * m * n * k, float(itemsize * (m * k + k * n + m * n)))


def attention_work(
    batch: int,
    heads: int,
    q_len: int,
    kv_len: int,
    head_dim: int,
    *,
    kv_heads: int | None = None,
    causal: bool = False,
    itemsize: int = 2,
) -> Work:
    """Return the work of attention, both products and no scores in memory.

    Args:
        batch: sequences.
        heads: of queries.
        q_len: queries of a sequence.
        kv_len: keys of a sequence.
        head_dim: numbers in a query, key and value.
        kv_heads: heads of keys; as many as of queries by default.
        causal: count only what is seen, the last query standing on the last key.
        itemsize: bytes of a number.

    Raises:
        ValueError: a size is below 1, or heads of keys do not divide those of queries.
    """
    kv_heads = heads if kv_heads is None else kv_heads
    _check(batch=batch, heads=heads, q_len=q_len, kv_len=kv_len, head_dim=head_dim)
    _check(kv_heads=kv_heads, itemsize=itemsize)
    if heads % kv_heads:
        raise ValueError(f"kv_heads is {kv_heads}, which does not divide {heads}")
    seen = q_len * kv_len
    if causal:
        rows = min(q_len, kv_len)  # those before them see no key
        seen = rows * kv_len - rows * (rows - 1) // 2
    numbers = batch * head_dim * (2 * heads * q_len + 2 * kv_heads * kv_len)
    return Work(4.0 * batch * heads * seen * head_dim, float(itemsize * numbers))
