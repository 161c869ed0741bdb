"""A block of a transformer: mix the tokens, then change each for itself.

For tokens ``x``::

    x = x + mixer(norm(x))
    x = x + mlp(norm(x))

Each part is added to what came in, and sees it normalized (pre-norm).

Source: Xiong et al., arXiv 2002.04745, on where the norm belongs.
"""

from typing import Any

from torch import Tensor, nn


class Block(nn.Module):
    """One mixer and one feed-forward layer, each with a norm before it."""

    def __init__(
        self, mixer: nn.Module, mlp: nn.Module, norms: tuple[nn.Module, nn.Module]
    ) -> None:
        """Put the parts together.

        Args:
            mixer: ``mixer(x, *, pos, cache, context) -> x``, such as ``Attention``.
            mlp: ``mlp(x) -> x``.
            norms: the norm before each of them.
        """
        super().__init__()
        self.mixer_norm, self.mlp_norm = norms
        self.mixer, self.mlp = mixer, mlp

    def forward(self, x: Tensor, **options: Any) -> Tensor:
        """Change tokens ``[B, L, dim]``; options go to the mixer."""
        x = x + self.mixer(self.mixer_norm(x), **options)
        return x + self.mlp(self.mlp_norm(x))
