"""AdamW: steps of about the same size for every weight, and a decay apart from them.

For a gradient ``g`` at step ``t = 1, 2, ...``, with rate ``r`` and decay ``d``::

    m = b1 m + (1 - b1) g            mean of gradients
    v = b2 v + (1 - b2) g^2          mean of their squares
    w = w - r d w - r  m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

``m`` and ``v`` start at zero, which is why they are divided by ``1 - b^t``: at first
both are too small. The decay is no part of the gradient, so that it is not divided by
``sqrt(v)``. As in PyTorch the decay is multiplied by the rate; the paper multiplies
both by a schedule and the decay not by the base rate.

Sources: Adam, Kingma & Ba, arXiv 1412.6980; AdamW, Loshchilov & Hutter, 1711.05101.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

PIECE = 2**17
"""Numbers of a tensor that a CPU works on at once."""


class Betas(NamedTuple):
    """How much of the old means a step keeps: of gradients, and of their squares."""

    first: float = 0.9
    second: float = 0.95


def naive_adamw(
    weight: np.ndarray,
    grads: Sequence[np.ndarray],
    rates: Sequence[float],
    *,
    betas: tuple[float, float] = Betas(),
    eps: float = 1e-8,
    decay: float = 0.0,
) -> np.ndarray:
    """Take one step for each gradient, as it is defined; return the new weight.

    Args:
        weight: any shape.
        grads: of each step, in the shape of the weight.
        rates: of each step.
        betas: how much of the old means is kept.
        eps: added to the root.
        decay: weight decay, times the rate.

    Raises:
        ValueError: there are not as many rates as gradients.
    """
    w = np.array(weight, dtype=np.float64)
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, (g, rate) in enumerate(zip(grads, rates, strict=True), start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        mean, square = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        w = w - rate * decay * w - rate * mean / (np.sqrt(square) + eps)
    return w


@torch.no_grad()
def adamw_(
    weights: list[Tensor],
    grads: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    *,
    step: int,
    rate: float,
    betas: tuple[float, float] = Betas(),
    eps: float = 1e-8,
    decay: float = 0.0,
) -> None:
    """Change weights, means and squares in place, by one step.

    All tensors go through each operation together, which on a GPU is one launch
    instead of one for each of them. A CPU takes piece after piece through all of them,
    while the piece is in its cache; the result is the same to the last bit.

    Args:
        weights: any shapes.
        grads: of the same shapes, as are the next two.
        means: of gradients; zeros before the first step.
        squares: means of squared gradients; zeros before the first step.
        step: ``t``; the first is 1.
        rate: ``r``.
        betas: ``b1`` and ``b2``.
        eps: added to the root.
        decay: ``d``.
    """
    for w, g, m, s in _pieces(weights, grads, means, squares):
        torch._foreach_mul_(w, 1 - rate * decay)
        torch._foreach_lerp_(m, g, 1 - betas[0])
        torch._foreach_mul_(s, betas[1])
        torch._foreach_addcmul_(s, g, g, value=1 - betas[1])
        root = torch._foreach_sqrt(s)
        torch._foreach_div_(root, (1 - betas[1] ** step) ** 0.5)
        torch._foreach_add_(root, eps)
        size = -rate / (1 - betas[0] ** step)
        torch._foreach_addcdiv_(w, m, root, value=size)


def _pieces(*lists: list[Tensor]) -> Iterator[Sequence[list[Tensor]]]:
    """Yield all tensors at once; on a CPU piece by piece, which stays in its cache."""
    every = [x for tensors in lists for x in tensors]
    if any(
        x.device.type != "cpu" or not x.is_contiguous() or type(x.data) is not Tensor
        for x in every
    ):
        yield lists
        return
    for tensors in zip(*lists, strict=True):
        pieces = (x.view(-1).split(PIECE) for x in tensors)
        for each in zip(*pieces, strict=True):
            yield [[x] for x in each]


class Group(NamedTuple):
    """Weights by name, and how much they decay."""

    weights: dict[str, Tensor]
    decay: float


def decay_groups(model: nn.Module, decay: float) -> list[Group]:
    """Let matrices decay, and leave gains and biases alone.

    A matrix multiplies, and large ones overfit; a gain or bias has one number a
    channel, and to pull a gain of 1 to 0 would switch the layer off.

    Args:
        model: its parameters are taken, a tied one once.
        decay: of all that has two axes or more.
    """
    named = [(name, w) for name, w in model.named_parameters() if w.requires_grad]
    return [
        Group({name: w for name, w in named if w.ndim >= 2}, decay),
        Group({name: w for name, w in named if w.ndim < 2}, 0.0),
    ]


class AdamW:
    """The weights of a model with their means; :func:`adamw_` does the work."""

    def __init__(
        self,
        groups: Iterable[Group],
        *,
        betas: tuple[float, float] = Betas(),
        eps: float = 1e-8,
    ) -> None:
        """Start with means of zero.

        Args:
            groups: weights by name, and how much they decay.
            betas: how much of the old means a step keeps, each in [0, 1).
            eps: added to the root, above 0.

        Raises:
            ValueError: a number is out of its range, or a name comes twice.
        """
        for name, beta in zip(("first", "second"), betas, strict=True):
            if not 0 <= beta < 1:
                raise ValueError(f"the {name} of betas is {beta}, needs [0, 1)")
        if eps <= 0:
            raise ValueError(f"eps is {eps}, needs to be above 0")
        self.groups = list(groups)
        self.betas, self.eps, self.steps = betas, eps, 0
        self.means: dict[str, Tensor] = {}
        self.squares: dict[str, Tensor] = {}
        for group in self.groups:
            for name, weight in group.weights.items():
                if name in self.means:
                    raise ValueError(f"groups hold {name} twice")
                self.means[name] = torch.zeros_like(weight, requires_grad=False)
                self.squares[name] = torch.zeros_like(weight, requires_grad=False)

    def step(self, rate: float) -> None:
        """Take one step; a weight without a gradient stays as it is."""
        self.steps += 1
        for group in self.groups:
            names = [n for n, w in group.weights.items() if w.grad is not None]
            adamw_(
                [group.weights[n] for n in names],
                [group.weights[n].grad for n in names],  # type: ignore[misc]
                [self.means[n] for n in names],
                [self.squares[n] for n in names],
                step=self.steps,
                rate=rate,
                betas=self.betas,
                eps=self.eps,
                decay=group.decay,
            )

    def clear(self) -> None:
        """Forget the gradients."""
        for group in self.groups:
            for weight in group.weights.values():
                weight.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """Return the state: ``means.NAME`` and ``squares.NAME``."""
        kinds: Mapping[str, Any] = {"means": self.means, "squares": self.squares}
        return {f"{kind}.{n}": x for kind, xs in kinds.items() for n, x in xs.items()}
