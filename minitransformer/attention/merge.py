"""Join the results of attention over two parts of the keys, exactly.

Each part hands back its output and its ``lse``, the logarithm of the sum of its
exponentials. A part's share of the whole sum is ``exp(lse_part - lse)``, so::

    lse = log(exp(lse_a) + exp(lse_b))
    out = exp(lse_a - lse) out_a + exp(lse_b - lse) out_b

The operation is associative and commutative, and ``(0, -inf)``, attention over no key,
is its neutral element: a monoid. Any split of the keys, in any order, gives the same
result; FlashAttention, split-K decoding and ring attention all rest on this.

Source: Milakov & Gimelshein, arXiv 1805.02867.
"""

import numpy as np
import torch
from torch import Tensor


def naive_merge(
    out_a: np.ndarray, lse_a: np.ndarray, out_b: np.ndarray, lse_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Merge two parts as defined, in float64; see :func:`merge`."""
    lse = np.logaddexp(lse_a, lse_b)
    total = np.where(np.isneginf(lse), 0.0, lse)
    share_a, share_b = np.exp(lse_a - total), np.exp(lse_b - total)
    return share_a[..., None] * out_a + share_b[..., None] * out_b, lse


def merge(
    out_a: Tensor, lse_a: Tensor, out_b: Tensor, lse_b: Tensor
) -> tuple[Tensor, Tensor]:
    """Merge attention over two parts of the keys.

    Args:
        out_a: ``[..., Ev]``, the output over the first part.
        lse_a: ``[...]``, its ``lse``; -inf where no key was seen.
        out_b: ``[..., Ev]``, the output over the second part.
        lse_b: ``[...]``, its ``lse``.

    Returns:
        Output and ``lse`` over both parts, in the types of the first.

    Raises:
        ValueError: shapes do not fit.
    """
    if out_a.shape != out_b.shape:
        got, wanted = tuple(out_b.shape), tuple(out_a.shape)
        raise ValueError(f"out_b has shape {got}, out_a has {wanted}")
    for name, lse in (("lse_a", lse_a), ("lse_b", lse_b)):
        if lse.shape != out_a.shape[:-1]:
            got, wanted = tuple(lse.shape), tuple(out_a.shape[:-1])
            raise ValueError(f"{name} has shape {got}, needs {wanted}")
    nothing = torch.isneginf(lse_a) & torch.isneginf(lse_b)
    lse = torch.logaddexp(
        lse_a.masked_fill(nothing, 0.0), lse_b.masked_fill(nothing, 0.0)
    )
    share_a = torch.exp(lse_a - lse).unsqueeze(-1).to(out_a.dtype)
    share_b = torch.exp(lse_b - lse).unsqueeze(-1).to(out_a.dtype)
    out = share_a * out_a + share_b * out_b
    return out, lse.masked_fill(nothing, -torch.inf)
