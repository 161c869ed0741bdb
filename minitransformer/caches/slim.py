"""Keys only: values are computed from them (slim attention).

Where every head has its own key, ``K = X W_K`` with a square ``W_K``. If it has an
inverse, the tokens can be had back from the keys, and with them the values::

    X = K W_K^-1     V = X W_V = K W_KV     W_KV = W_K^-1 W_V

so half of the cache suffices. ``K`` is a token's keys of *all* heads side by side,
before they are turned by their positions. In which order is a matter of cost: for head
``i`` with weights ``p``, values first or late::

    p (K W_KV,i)     2 n d d operations a token over all heads
    (p K) W_KV,i     2 n d (H + 1)

Exact is the algebra. In floating point the error grows with the condition number of
``W_K``; ``W_KV`` itself is solved for in float64.

Grouped heads keep fewer numbers than a token has, and cannot give it back. A key with a
*larger* width than a token can, by the right inverse. Projections with a bias are not
served.

Source: Graef & Wasielewski, arXiv 2503.05840.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitransformer.caches.base import Kept, incoming, join, size_of


def naive_slim(key: np.ndarray, w_k: np.ndarray, w_v: np.ndarray) -> np.ndarray:
    """Return the values ``[S, e]`` of keys ``[S, e]``, token by token, in float64."""
    rows = []
    for one in np.asarray(key, dtype=np.float64):
        token = np.linalg.solve(np.asarray(w_k, dtype=np.float64).T, one)
        rows.append(token @ w_v)
    return np.array(rows).reshape(len(key), w_v.shape[1])


def slim_weights(w_k: Tensor, w_v: Tensor) -> Tensor:
    """Return ``W_KV``, by which keys become values.

    Args:
        w_k: ``[d, e]`` with ``e >= d``, so that ``K = X w_k``; of ``nn.Linear`` it is
            the transposed weight.
        w_v: ``[d, e]``.

    Returns:
        ``[e, e]``, in the type of ``w_k``; computed in float64.

    Raises:
        ValueError: shapes differ, keys are narrower than tokens, or ``w_k`` has no
            inverse.
    """
    if w_k.ndim != 2 or w_k.shape != w_v.shape:
        raise ValueError(
            f"w_v has shape {tuple(w_v.shape)}, w_k has {tuple(w_k.shape)}: needs two "
            "equal matrices (d, e)"
        )
    dim, width = w_k.shape
    if width < dim:
        raise ValueError(
            f"w_k has shape {(dim, width)}: {width} numbers of a key cannot give back "
            f"the {dim} of a token, so heads must not be grouped"
        )
    wide_k, wide_v = w_k.detach().double(), w_v.detach().double()
    if int(torch.linalg.matrix_rank(wide_k)) < dim:
        raise ValueError(f"w_k has rank below {dim}: it has no inverse")
    if width == dim:
        return torch.linalg.solve(wide_k, wide_v).to(w_k.dtype)
    return (wide_k.T @ torch.linalg.solve(wide_k @ wide_k.T, wide_v)).to(w_k.dtype)


class SlimCache:
    """Keep the keys of one layer, not turned, and no values."""

    raw = True

    def __init__(self, w_kv: Tensor, *, late: bool = False) -> None:
        """Start empty.

        Args:
            w_kv: ``[e, e]`` from :func:`slim_weights` of this layer.
            late: multiply by ``w_kv`` after the keys are averaged, which is cheaper for
                few queries. ``update`` then hands back, as the value of every head,
                the keys of all heads: attend through :meth:`around`.

        Raises:
            ValueError: ``w_kv`` is not square.
        """
        if w_kv.ndim != 2 or w_kv.shape[0] != w_kv.shape[1]:
            raise ValueError(f"w_kv has shape {tuple(w_kv.shape)}, needs a square")
        self.w_kv, self.late = w_kv, late
        self.kept: Kept | None = None

    def update(
        self, key: Tensor, value: Tensor, pos: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add new keys; hand back all keys, not turned, and their values.

        Args:
            key: ``[B, H, L, E]``, not turned.
            value: ``[B, H, L, E]``; not kept.
            pos: ``[L]`` or ``[B, L]``.

        Returns:
            Key and value ``[B, H, S, E]`` (late: value ``[B, H, S, H * E]``) and
            positions.

        Raises:
            ValueError: shapes do not fit each other, ``w_kv`` or earlier calls.
        """
        width = key.shape[1] * key.shape[-1]
        if value.shape != key.shape or width != len(self.w_kv):
            raise ValueError(
                f"key has shape {tuple(key.shape)} and value {tuple(value.shape)}, "
                f"needs two equal ones with heads times size {len(self.w_kv)}"
            )
        nothing = value[..., :0]
        self.kept = join(self.kept, incoming(key, nothing, pos, self.kept))
        every = self.kept.key.transpose(1, 2).flatten(2)  # [B, S, H * E]
        heads = key.shape[1]
        if self.late:
            shared = every.unsqueeze(1).expand(-1, heads, -1, -1)
            return self.kept.key, shared, self.kept.pos
        values = every.to(self.w_kv.dtype) @ self.w_kv  # keys may be kept in fewer bits
        by_head = values.unflatten(2, (heads, -1)).transpose(1, 2)
        return self.kept.key, by_head, self.kept.pos

    def around(self, attend: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``attend``, with the late multiplication behind it if there is one."""
        if not self.late:
            return attend

        def late(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Any:
            heads = query.shape[1]
            by_head = self.w_kv.unflatten(1, (heads, -1)).transpose(0, 1)  # [H, e, E]
            got = attend(query, key, value, **options)
            if isinstance(got, tuple):
                return got[0] @ by_head, got[1]
            return got @ by_head

        return late

    def num_bytes(self) -> int:
        """Return the bytes of the keys; ``w_kv`` stands for ``W_V`` and is no more."""
        return 0 if self.kept is None else size_of(self.kept.key)
