"""Normalization of tokens.

With a gain ``g`` for each number of a token ``x``::

    RMSNorm(x) = g x / sqrt(mean(x^2) + eps)

Unlike layer normalization it neither subtracts the mean nor adds a bias.

Source: Zhang & Sennrich, arXiv 1910.07467.
"""

import numpy as np
import torch
from torch import Tensor, nn


def naive_rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """Normalize one token ``[dim]``, as it is defined."""
    return weight * x / np.sqrt((x * x).mean() + eps)


class RMSNorm(nn.Module):
    """Give every token a root mean square of 1, times a learned gain."""

    def __init__(self, dim: int, *, eps: float = 1e-6) -> None:
        """Start with gains of 1.

        Args:
            dim: numbers in a token.
            eps: added to the mean square, so that a token of zeros stays zero.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize tokens ``[..., dim]``; half types are added up in float32."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        size = wide.square().mean(dim=-1, keepdim=True) + self.eps
        return (wide * size.rsqrt()).to(x.dtype) * self.weight
