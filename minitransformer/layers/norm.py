"""Normalization of tokens: each to the same size.

With a gain ``g`` and a bias ``b`` for each number of a token ``x``::

    LayerNorm(x) = g (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) + b
    RMSNorm(x)   = g x / sqrt(mean(x^2) + eps)

RMSNorm neither subtracts the mean nor adds a bias. The layer norm of a model is
PyTorch's ``nn.LayerNorm``, which computes just this; here is only its definition.

Sources: Ba et al., arXiv 1607.06450; Zhang & Sennrich, 1910.07467.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def naive_layer_norm(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float
) -> np.ndarray:
    """Normalize one token ``[dim]`` as ``nn.LayerNorm`` does, as it is defined."""
    centred = x - x.mean()
    return weight * centred / np.sqrt((centred * centred).mean() + eps) + bias


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
        """Normalize tokens ``[..., dim]``; half types are added up in float32.

        Raises:
            ValueError: a token has not ``dim`` numbers.
        """
        if x.shape[-1:] != self.weight.shape:
            raise ValueError(f"x has dim {x.shape[-1]}, the norm {len(self.weight)}")
        gain = self.weight.to(x.dtype)
        return F.rms_norm(x, gain.shape, gain, self.eps)
