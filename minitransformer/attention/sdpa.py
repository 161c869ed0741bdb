"""PyTorch's own attention behind our contract: causal, in little memory, fast.

``torch.nn.functional.scaled_dot_product_attention`` runs a flash kernel where it can,
which never writes the scores to memory. Its causal flag aligns the first query with the
first key, ours the last with the last. They are one where there are as many queries as
keys; elsewhere this function hands over a mask. What the kernel cannot give, the
``lse``, is refused.

Source: Dao et al., arXiv 2205.14135; the kernel itself is PyTorch's.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.again import again
from minitransformer.attention.core import check_shapes


def sdpa(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    q_pos: Tensor | None = None,
    kv_pos: Tensor | None = None,
    return_lse: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Attend causally, by PyTorch's kernel.

    Args:
        query: ``[B, H, L, E]``.
        key: ``[B, Hkv, S, E]``, where ``Hkv`` divides ``H``.
        value: ``[B, Hkv, S, Ev]``.
        q_pos: ``[L]`` or ``[B, L]``; -1 marks an empty slot. By default the last query
            stands on the last key, which is the fast path.
        kv_pos: the same for the keys.
        return_lse: must be False.
        scale: what similarities are multiplied by; ``1/sqrt(E)`` by default.

    Returns:
        ``[B, H, L, Ev]``; zeros for a query that may see no key.

    Raises:
        ValueError: shapes do not fit, positions come for one side only, or
            ``return_lse`` is asked.
    """
    check_shapes(query, key, value, q_pos, kv_pos)
    if return_lse:
        raise ValueError("return_lse is True, but this kernel keeps no lse")
    length, kv_length = query.shape[2], key.shape[2]
    options: dict[str, Any] = {"scale": scale}
    if query.shape[1] != key.shape[1]:
        options["enable_gqa"] = True
    mix = F.scaled_dot_product_attention
    if q_pos is None and length == 1 and kv_length > 0:
        return mix(query, key, value, **options)
    if q_pos is None and length == kv_length:
        return mix(query, key, value, is_causal=True, **options)
    if q_pos is None or kv_pos is None:
        q_pos = torch.arange(kv_length - length, kv_length, device=query.device)
        kv_pos = torch.arange(kv_length, device=query.device)
    causal, mask, nothing = _plan(q_pos, kv_pos)
    out = mix(query, key, value, attn_mask=mask, is_causal=causal, **options)
    return out if nothing is None else out.masked_fill(nothing, 0.0)


@again
def _plan(q_pos: Tensor, kv_pos: Tensor) -> tuple[bool, Tensor | None, Tensor | None]:
    """Return whether the kernel's causal flag will do, else a mask, if any is needed.

    A query that may see nothing looks at everything, so that all stays finite; the
    third result says which, ``[L, 1]`` or ``[B, 1, L, 1]``, None if there is none. To
    look at the positions a GPU has to be waited for, once for all layers.
    """
    q_idx = q_pos[:, None] if q_pos.ndim == 1 else q_pos[:, None, :, None]
    kv_idx = kv_pos if kv_pos.ndim == 1 else kv_pos[:, None, None, :]
    seen = (kv_idx <= q_idx) & (kv_idx >= 0)
    nothing = ~seen.any(dim=-1, keepdim=True)
    if torch.compiler.is_compiling() or seen.is_meta:  # nothing to look at
        return False, seen | nothing, nothing
    if bool(seen.all()):
        return False, None, None
    length, kv_length = seen.shape[-2:]
    if length == kv_length and torch.equal(seen, torch.ones_like(seen).tril()):
        return True, None, None
    return False, seen | nothing, nothing if bool(nothing.any()) else None
