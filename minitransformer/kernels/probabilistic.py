"""Probabilistic FlashAttention as a kernel: distances that were not drawn cost nothing.

The twin of :func:`minitransformer.flash.probabilistic.prflash_attention`: the share of
a block distance becomes a bias, its logarithm, of all blocks at that distance, and a
share of 0 leaves them out of the lists of :mod:`~minitransformer.kernels.block_sparse`.

Source: Li, arXiv 2410.18441, of which the abstract was read.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from minitransformer.kernels.block_sparse import attention, lists_of


def prflash_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    return_lse: bool = False,
    shares: ArrayLike,
    block: int,
) -> Any:
    """Attend causally, each block distance with its share, forward only.

    Args:
        query: ``[B, H, L, E]``; E is 16, 32, 64, 128 or 256.
        key: ``[B, Hkv, L, E]``, where ``Hkv`` divides ``H``.
        value: ``[B, Hkv, L, E]``.
        return_lse: also return the logarithm of the sum of exponentials times shares.
        shares: ``[distances]``, at least 0, the first above 0.
        block: positions in a block, a power of 2, at least 16.

    Returns:
        The output ``[B, H, L, E]``, and with ``return_lse`` the ``lse`` ``[B, H, L]``.

    Raises:
        ValueError: as ``block_sparse.attention``; or queries and keys differ in number,
            shares are negative, that of distance 0 is 0, or there are too few.
    """
    weight = torch.as_tensor(np.asarray(shares, dtype=np.float64))
    if weight.ndim != 1 or not len(weight) or not weight[0] > 0 or weight.min() < 0:
        raise ValueError("shares need one axis, none below 0, and the first above 0")
    if query.shape[2] != key.shape[2]:
        raise ValueError(f"key has length {key.shape[2]}, query has {query.shape[2]}")
    count = -(-key.shape[2] // max(block, 1))
    if len(weight) < count:
        raise ValueError(f"shares has {len(weight)} distances, needs {count}")
    gap = torch.arange(count)[:, None] - torch.arange(count)
    share = weight[gap.clamp_min(0)].masked_fill(gap < 0, 0.0).to(query.device)
    lists = lists_of(share > 0, block, share.log().clamp_min(-1e30))
    return attention(query, key, value, lists=lists, causal=True, return_lse=return_lse)
