"""Keys and values in pages of one pool, as an operating system keeps memory.

Sequences end at different lengths, and nobody knows them beforehand. A cache that
reserves the longest for each wastes most of it. So memory is cut into *pages* of a few
tokens; a free list says which are unused, and each sequence has a *table* of its pages,
in order::

    token t of sequence b   is at   pool[table_b[t // page_size], t % page_size]

At most ``page_size - 1`` places a sequence are unused. Sequences that begin alike can
share the pages of their beginning: a page counts its users, and who writes into a page
with several gets a copy first.

Source: vLLM, Kwon et al., arXiv 2309.06180. There a kernel reads the pages where they
lie; here they are gathered for each call, into a batch padded on the right.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from minitransformer.caches.base import Kept, at_least, incoming, size_of


class PagePool:
    """Memory for the tokens of one layer, in pages with a free list."""

    def __init__(
        self,
        num_pages: int,
        page_size: int,
        *,
        num_kv_heads: int,
        head_dim: int,
        value_dim: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Reserve the memory.

        Args:
            num_pages: pages in the pool.
            page_size: tokens in a page.
            num_kv_heads: key heads of a token, ``Hkv``.
            head_dim: numbers in a key, ``E``.
            value_dim: numbers in a value, ``Ev``; by default ``E``.
            dtype: type of all numbers.

        Raises:
            ValueError: a size is below 1.
        """
        at_least("num_pages", num_pages, 1)
        self.page_size = at_least("page_size", page_size, 1)
        shape = (num_pages, page_size, num_kv_heads)
        value_dim = head_dim if value_dim is None else value_dim
        self.key = torch.zeros(*shape, head_dim, dtype=dtype)
        self.value = torch.zeros(*shape, value_dim, dtype=dtype)
        self.pos = torch.full((num_pages, page_size), -1)
        self.free = list(range(num_pages))[::-1]
        self.users = [0] * num_pages

    def take(self) -> int:
        """Return a page that nobody uses, and count one user."""
        page = self.free.pop()
        self.users[page] = 1
        return page

    def release(self, page: int) -> None:
        """Count one user less; without any the page is free."""
        self.users[page] -= 1
        assert self.users[page] >= 0, f"page {page} was released too often"
        if not self.users[page]:
            self.free.append(page)

    def copy(self, page: int) -> int:
        """Return a page of one's own with the same content, and release this one."""
        own = self.take()
        for each in (self.key, self.value, self.pos):
            each[own] = each[page]
        self.release(page)
        return own

    def page_bytes(self) -> int:
        """Return the bytes of keys and values of one page."""
        return size_of(self.key[0], self.value[0])


class PagedCache:
    """The sequences of one batch, in the pages of a pool."""

    def __init__(self, pool: PagePool) -> None:
        """Start empty; several caches may take from one pool."""
        self.pool = pool
        self.tables: list[list[int]] = []
        self.lengths: list[int] = []

    def update(
        self, key: Tensor, value: Tensor, pos: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Write new tokens into pages and hand back all of each sequence.

        Args:
            key: ``[B, Hkv, L, E]``.
            value: ``[B, Hkv, L, Ev]``.
            pos: ``[L]`` or ``[B, L]``; empty slots take no place.

        Returns:
            Key and value ``[B, Hkv, S, ...]`` and positions ``[B, S]``, for the longest
            sequence and as empty slots beyond the end of others.

        Raises:
            ValueError: shapes do not fit each other, the pool or earlier calls, or the
                pool has too few free pages; then nothing was written.
        """
        new = incoming(key, value, pos, None)
        self._check(new)
        if not self.tables:
            self.tables, self.lengths = [[] for _ in key], [0] * len(key)
        places = new.pos.expand(len(key), -1)
        real = places >= 0
        counts = real.sum(dim=1).tolist()
        needed = sum(self._needs(b, count) for b, count in enumerate(counts))
        if needed > len(self.pool.free):
            raise ValueError(f"{needed} pages needed, {len(self.pool.free)} are free")
        for b, count in enumerate(counts):
            if count:
                at = real[b]
                self._write(b, new.key[b, :, at], new.value[b, :, at], places[b, at])
        return self._read()

    def _check(self, new: Kept) -> None:
        batch = new.key.shape[0]
        if self.tables and batch != len(self.tables):
            raise ValueError(f"key has batch {batch}, the cache has {len(self.tables)}")
        pairs = (("key", new.key, self.pool.key), ("value", new.value, self.pool.value))
        for name, x, stored in pairs:
            got, wanted = (x.shape[1], x.shape[3]), tuple(stored.shape[2:])
            if got != wanted or x.dtype != stored.dtype:
                raise ValueError(
                    f"{name} has (heads, size) {got} in {x.dtype}, "
                    f"the pool has {wanted} in {stored.dtype}"
                )

    def _needs(self, b: int, count: int) -> int:
        """Return how many pages ``count`` more tokens of a sequence take."""
        size, table, length = self.pool.page_size, self.tables[b], self.lengths[b]
        shared = count and length % size and self.pool.users[table[-1]] > 1
        return -(-(length + count) // size) - len(table) + bool(shared)

    def _write(self, b: int, key: Tensor, value: Tensor, pos: Tensor) -> None:
        """Append tokens ``[Hkv, n, ...]`` to a sequence."""
        pool, table, length = self.pool, self.tables[b], self.lengths[b]
        if length % pool.page_size and pool.users[table[-1]] > 1:
            table[-1] = pool.copy(table[-1])
        end = length + key.shape[1]
        table += [pool.take() for _ in range(self._needs(b, key.shape[1]))]
        at = torch.arange(length, end)
        page, slot = torch.tensor(table)[at // pool.page_size], at % pool.page_size
        pool.key[page, slot] = key.transpose(0, 1)
        pool.value[page, slot] = value.transpose(0, 1)
        pool.pos[page, slot] = pos
        self.lengths[b] = end

    def _read(self) -> tuple[Tensor, Tensor, Tensor]:
        """Gather the pages of each sequence, side by side."""
        pool, longest = self.pool, max(map(len, self.tables), default=0)
        rows = [table + [0] * (longest - len(table)) for table in self.tables]
        table = torch.tensor(rows, dtype=torch.long).view(len(rows), longest)
        end = max(self.lengths, default=0)
        key, value = (
            x[table].flatten(1, 2)[:, :end].transpose(1, 2)
            for x in (pool.key, pool.value)
        )
        beyond = torch.arange(end) >= torch.tensor(self.lengths).unsqueeze(1)
        pos = pool.pos[table].flatten(1, 2)[:, :end].masked_fill(beyond, -1)
        return key, value, pos

    def fork(self, rows: Sequence[int]) -> None:
        """Let the batch go on with these rows, some twice or never.

        Copies share pages, until one writes. Rows that are left out are released.

        Raises:
            ValueError: there is no such row.
        """
        for row in rows:
            if not 0 <= row < len(self.tables):
                raise ValueError(f"row is {row}, needs 0 to {len(self.tables) - 1}")
        tables = [list(self.tables[row]) for row in rows]
        for table in tables:
            for page in table:
                self.pool.users[page] += 1
        lengths = [self.lengths[row] for row in rows]
        self.release()
        self.tables, self.lengths = tables, lengths

    def release(self) -> None:
        """Give all pages back and be empty."""
        for table in self.tables:
            for page in table:
                self.pool.release(page)
        self.tables, self.lengths = [], []

    def num_bytes(self) -> int:
        """Return the bytes of the pages in use, shared ones counted once."""
        used = {page for table in self.tables for page in table}
        return len(used) * self.pool.page_bytes()
