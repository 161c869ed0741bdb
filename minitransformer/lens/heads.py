"""Where the heads of a model look, and four habits that heads are known for.

Attention gives each query a mean of the values. If value ``j`` is the ``j``-th row of
the identity, that mean is the row of weights itself::

    attend(query, key, I) = weights

so the weights of any ``attend`` function can be read by calling it once more, also of a
kernel that never writes them to memory. A habit is a number for each head: how much of
its weight, in the mean over queries, goes to a certain kind of key.

Source: Elhage et al. (2021), "A Mathematical Framework for Transformer Circuits", and
Olsson et al., arXiv 2209.11895, for induction heads; Xiao et al., arXiv 2309.17453, for
the first token as a sink.
"""

from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.layers.attention import Attention


@torch.no_grad()
def attention_weights(model: nn.Module, ids: Tensor) -> Tensor:
    """Return how much each query of each head looks at each key.

    Args:
        model: its layers are ``blocks``, each with an ``Attention`` as ``mixer``, such
            as ``Decoder``. It is run once, and left as it was.
        ids: ``[B, L]``.

    Returns:
        ``[num_layers, B, H, L, L]``; a row sums to one, or is all zeros if its query
        may see no key.

    Raises:
        ValueError: the model has no such layers, or they differ in their heads.
    """
    blocks = list(getattr(model, "blocks", ()))
    mixers = [b.mixer for b in blocks if isinstance(b.mixer, Attention)]
    if not mixers or len(mixers) < len(blocks):
        raise ValueError("model needs blocks, each with an Attention as mixer")
    if len({mixer.num_heads for mixer in mixers}) > 1:
        raise ValueError("model has layers with different numbers of heads")
    seen: list[Tensor] = []

    def look(mixer: Attention, inputs: tuple[Tensor], options: dict[str, Any]) -> None:
        (x,) = inputs
        at = torch.arange(x.shape[1], device=x.device)
        query, key = mixer.split(mixer.q_proj(x)), mixer.split(mixer.k_proj(x))
        if mixer.turn is not None:
            query, key = mixer.turn(query, at), mixer.turn(key, at)
        rows = torch.eye(x.shape[1], dtype=key.dtype, device=key.device)
        seen.append(mixer.attend(query, key, rows.expand(*key.shape[:3], -1)))

    hooks = [m.register_forward_pre_hook(look, with_kwargs=True) for m in mixers]
    try:
        model(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(seen)


def to_previous(weights: Tensor) -> Tensor:
    """Return how much each head looks at the token before.

    Args:
        weights: ``[..., L, L]``, of one text, ``L`` at least 2.

    Returns:
        ``[...]``, the mean over all queries but the first.
    """
    return weights.diagonal(offset=-1, dim1=-2, dim2=-1).mean(dim=-1)


def to_first(weights: Tensor) -> Tensor:
    """Return how much each head looks at the first token, where weight is parked.

    Args:
        weights: ``[..., L, L]``, of one text, ``L`` at least 2.

    Returns:
        ``[...]``, the mean over all queries but the first.
    """
    return weights[..., 1:, 0].mean(dim=-1)


def to_itself(weights: Tensor) -> Tensor:
    """Return how much each head looks at the token it stands on.

    Args:
        weights: ``[..., L, L]``, of one text, ``L`` at least 2.

    Returns:
        ``[...]``, the mean over all queries but the first, which has no choice.
    """
    return weights.diagonal(dim1=-2, dim2=-1)[..., 1:].mean(dim=-1)


def to_what_followed(weights: Tensor, ids: Tensor) -> Tensor:
    """Return how much each head looks at what followed the same token earlier.

    A head that does so continues a phrase that it has seen: induction.

    Args:
        weights: ``[..., L, L]``, of one text.
        ids: ``[L]``, that text.

    Returns:
        ``[...]``, the mean over the queries whose token stood there before.

    Raises:
        ValueError: no token stands there twice.
    """
    earlier = (ids[:, None] == ids[None, :]).tril(-1)
    followed = earlier.roll(
        1, dims=1
    )  # [L, L]; the last column, all False, comes first
    rows = followed.any(dim=1)
    if not rows.any():
        raise ValueError("ids has no token twice: nothing followed an earlier one")
    return (weights * followed).sum(dim=-1)[..., rows].mean(dim=-1)
