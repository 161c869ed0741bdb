"""The feed-forward layer: each token for itself.

With projections ``up``, ``gate`` and ``down``::

    GELU     down(gelu(up(x)))
    SwiGLU   down(silu(gate(x)) * up(x))

Sources: Hendrycks & Gimpel, arXiv 1606.08415; Shazeer, 2002.05202.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class GELU(nn.Module):
    """Two projections with a GELU between them (GPT-2: ``approximate="tanh"``)."""

    def __init__(
        self, dim: int, hidden: int, *, bias: bool = True, approximate: str = "none"
    ) -> None:
        """Make the projections.

        Args:
            dim: numbers in a token.
            hidden: numbers between the projections, usually ``4 dim``.
            bias: whether the projections add a bias.
            approximate: "none" or "tanh", see ``torch.nn.functional.gelu``.
        """
        super().__init__()
        self.up_proj = nn.Linear(dim, hidden, bias=bias)
        self.down_proj = nn.Linear(hidden, dim, bias=bias)
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """Change tokens ``[..., dim]``, each for itself."""
        return self.down_proj(F.gelu(self.up_proj(x), approximate=self.approximate))


class SwiGLU(nn.Module):
    """Two projections multiplied with each other, one through a SiLU (Llama)."""

    def __init__(self, dim: int, hidden: int, *, bias: bool = False) -> None:
        """Make the projections.

        Args:
            dim: numbers in a token.
            hidden: numbers between the projections, usually ``8/3 dim``.
            bias: whether the projections add a bias.
        """
        super().__init__()
        self.gate_proj = nn.Linear(dim, hidden, bias=bias)
        self.up_proj = nn.Linear(dim, hidden, bias=bias)
        self.down_proj = nn.Linear(hidden, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Change tokens ``[..., dim]``, each for itself."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
