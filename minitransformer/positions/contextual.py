"""Contextual position encoding (CoPE): positions count what the query cares about.

Each query decides by a gate which keys count. The position of a key is the number of
counted keys from it up to the query, a fraction in general::

    g_ij = sigmoid(s q_i . k_j)          p_ij = sum of g_im over the keys m from j to i
    score_ij = s (q_i . k_j + q_i . e[p_ij])                            s = 1 / sqrt(E)

``e`` is a learned table; between two whole positions the two products are mixed in
proportion. Beyond the last row all positions are one. If every gate is 1, ``p_ij`` is
the distance plus one and the table a relative position; with ``e = 0`` there is none.

Source: Golovneva et al., arXiv 2405.18719, and its code.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def naive_positions(gates: np.ndarray) -> np.ndarray:
    """Return the positions ``[L, L]`` of keys seen from queries, as they are defined.

    Args:
        gates: ``[L, L]``, of which the part up to the diagonal counts.
    """
    positions = np.zeros(gates.shape)
    for i in range(len(gates)):
        for j in range(i + 1):
            positions[i, j] = gates[i, j : i + 1].sum()
    return positions


def count_back(gates: Tensor, kv_pos: Tensor) -> Tensor:
    """Sum for each key the gates of the keys from its position onwards.

    Args:
        gates: ``[..., L, S]``, zero for keys that the query must not see.
        kv_pos: ``[S]`` or ``[B, 1, 1, S]``, where the keys stand, in any order.

    Returns:
        ``[..., L, S]``.
    """
    order = kv_pos.expand(gates.shape).argsort(dim=-1, stable=True)
    ordered = gates.gather(-1, order)
    from_here = ordered.flip(-1).cumsum(-1).flip(-1)
    return torch.zeros_like(gates).scatter(-1, order, from_here)


class ContextualPosition(nn.Module):
    """An ``attend`` that lets each query count; causal."""

    def __init__(
        self, attend: Callable[..., Any], head_dim: int, num_positions: int
    ) -> None:
        """Start with a table of zeros: no position at all.

        Args:
            attend: an ``attend`` that hands whole tensors of scores to a ``score_mod``
                and takes a ``mask_mod``, as ``attention`` does.
            head_dim: numbers in a query, ``E``.
            num_positions: rows of the table; may be far fewer than there are tokens.

        Raises:
            ValueError: there is no row.
        """
        super().__init__()
        if num_positions < 1:
            raise ValueError(f"num_positions is {num_positions}, needs at least 1")
        self.attend = attend
        self.weight = nn.Parameter(torch.zeros(num_positions, head_dim))

    def logits(self, query: Tensor, positions: Tensor) -> Tensor:
        """Return ``q . e[p]``, mixed between whole positions.

        Args:
            query: ``[B, H, L, E]``.
            positions: ``[B, H, L, S]``, not negative.
        """
        each = query @ self.weight.to(query.dtype).T  # [B, H, L, rows]
        positions = positions.clamp_max(len(self.weight) - 1)
        low = positions.detach().floor()
        share = positions - low
        high = positions.detach().ceil().long()
        return each.gather(-1, high) * share + each.gather(-1, low.long()) * (1 - share)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        q_pos: Tensor | None = None,
        kv_pos: Tensor | None = None,
        mask_mod: Callable[..., Any] | None = None,
        **options: Any,
    ) -> Any:
        """Attend with positions that the gates count; an ``attend`` itself.

        What ``mask_mod`` hides, besides the future, is not counted either. Shapes and
        options are those of :func:`minitransformer.attention.core.attention`.
        """
        (length, size), kv_length = query.shape[2:], key.shape[2]
        given = {} if q_pos is None else {"q_pos": q_pos, "kv_pos": kv_pos}
        if q_pos is None or kv_pos is None:
            q_pos = torch.arange(kv_length - length, kv_length, device=query.device)
            kv_pos = torch.arange(kv_length, device=query.device)
        at_q = q_pos.unsqueeze(-1) if q_pos.ndim == 1 else q_pos[:, None, :, None]
        at_kv = kv_pos if kv_pos.ndim == 1 else kv_pos[:, None, None, :]
        shared = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        gates = torch.sigmoid(query @ shared.mT * size**-0.5)
        axes = (
            torch.arange(size, device=query.device).view(-1, *[1] * (3 - i))
            for i, size in enumerate(query.shape[:2])
        )
        seen = (at_kv <= at_q) & (at_kv >= 0)
        if mask_mod is not None:
            seen = seen & mask_mod(*axes, at_q.clamp_min(0), at_kv.clamp_min(0))
        gates = gates.masked_fill(~seen, 0.0)
        added = self.logits(query, count_back(gates, at_kv)) * size**-0.5

        def score_mod(score: Any, b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
            return score + added

        def causal(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
            past = kv_idx <= q_idx
            return past if mask_mod is None else past & mask_mod(b, h, q_idx, kv_idx)

        mods = {"score_mod": score_mod, "mask_mod": causal}
        return self.attend(query, key, value, **given, **mods, **options)
