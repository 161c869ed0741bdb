"""How wrong a model is: cross-entropy, and bits per byte.

With logits ``z`` and the id ``y`` that came, the loss of one place is the surprise::

    loss = -log softmax(z)_y = log sum_v exp(z_v) - z_y            in nats

A model that knows nothing loses ``log V``. How many bytes a token stands for depends on
the tokenizer, so models are compared by the bits that they need for a byte of text::

    bits per byte = sum of losses / (log 2 * bytes that the targets stand for)

That is how many bits an arithmetic coder would use, driven by the model.

Source: Shannon (1948), "A Mathematical Theory of Communication".
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.training.tasks import IGNORE


def naive_cross_entropy(
    logits: np.ndarray, target: np.ndarray, *, ignore: int = IGNORE
) -> float:
    """Return the mean surprise of ``target [N]`` under ``logits [N, V]``, in nats."""
    surprises = []
    for row, y in zip(np.asarray(logits, dtype=np.float64), target, strict=True):
        if y != ignore:
            peak = row.max()
            surprises.append(peak + np.log(np.exp(row - peak).sum()) - row[y])
    return float(np.mean(surprises))


def cross_entropy(
    logits: Tensor, target: Tensor, *, ignore: int = IGNORE, reduction: str = "mean"
) -> Tensor:
    """Return how surprising the targets are, in nats.

    Args:
        logits: ``[..., V]``.
        target: ``[...]``, ids of the vocabulary, or ``ignore`` where nothing is asked.
        ignore: the target that does not count.
        reduction: "mean" over what counts, or "sum".

    Returns:
        One number, at least in float32; NaN for the mean of nothing.

    Raises:
        ValueError: shapes do not fit, or ``reduction`` is unknown.
    """
    if logits.shape[:-1] != target.shape:
        raise ValueError(
            f"target has shape {tuple(target.shape)}, logits have "
            f"{tuple(logits.shape[:-1])} before their last axis"
        )
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}, needs 'mean' or 'sum'")
    rows = logits.flatten(0, -2) if logits.ndim > 1 else logits.unsqueeze(0)
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return F.cross_entropy(
        rows, target.flatten(), ignore_index=ignore, reduction=reduction
    )


def bits_per_byte(nats: float, num_bytes: float) -> float:
    """Return the bits for a byte, from nats and bytes of the same stretch of text.

    Raises:
        ValueError: there is no byte.
    """
    if num_bytes <= 0:
        raise ValueError(f"num_bytes is {num_bytes}, needs to be above 0")
    return nats / math.log(2) / num_bytes


@torch.no_grad()
def judge(
    model: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    token_bytes: Tensor,
) -> float:
    """Return the bits per byte of a text under a model.

    Args:
        model: from ids ``[B, L]`` to logits ``[B, L, V]``.
        batches: ids and targets, every target once; see ``data.consecutive``.
        token_bytes: ``[V]``, the bytes that each id stands for. An id that stands for
            none, such as the mark between two texts, is no part of the text: it is not
            asked.

    Raises:
        ValueError: the targets stand for no byte.
    """
    nats: list[Tensor] = []
    num_bytes: list[Tensor] = []
    for ids, target in batches:
        size = token_bytes[target.clamp_min(0)].masked_fill(target == IGNORE, 0)
        asked = target.masked_fill(size == 0, IGNORE)
        nats.append(cross_entropy(model(ids), asked, reduction="sum").double())
        num_bytes.append(size.sum())
    total = float(torch.stack(num_bytes).sum()) if num_bytes else 0.0
    return bits_per_byte(float(torch.stack(nats).sum()) if nats else 0.0, total)
