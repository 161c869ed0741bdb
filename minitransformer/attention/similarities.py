"""How alike a query and a key are: one number for each pair.

A similarity is a function ``similarity(query, key) -> scores`` of query
``[..., L, E]`` and key ``[..., S, E]``, which gives ``[..., L, S]``. ``attention``
multiplies what comes by its ``scale``. Those that own weights take them by name: bind
them with ``functools.partial`` or ``layers.partial.Partial``. There are::

    dot        q . k                            gaussian   -|q - k|^2 / 2
    cosine     q . k / (|q| |k|)                l2         -|q - k|
    bilinear   q W k^T                          laplacian  -sum_e |q_e - k_e|
    additive   v . tanh(q Wq + k Wk)

Sources: the survey of Chaudhari et al., arXiv 1904.02874; ``additive`` is Bahdanau et
al., arXiv 1409.0473, ``bilinear`` Luong et al., arXiv 1508.04025.
"""

import torch
from torch import Tensor


def dot(query: Tensor, key: Tensor) -> Tensor:
    """Return ``q . k``."""
    return query @ key.transpose(-1, -2)


def cosine(query: Tensor, key: Tensor) -> Tensor:
    """Return the cosine of the angle between query and key; 0 where one is zero."""
    tiny = torch.finfo(query.dtype).tiny
    query = query / query.norm(dim=-1, keepdim=True).clamp_min(tiny)
    key = key / key.norm(dim=-1, keepdim=True).clamp_min(tiny)
    return dot(query, key)


def _distance(query: Tensor, key: Tensor, p: float) -> Tensor:
    exact = "donot_use_mm_for_euclid_dist"  # the other way loses digits of near pairs
    return torch.cdist(query, key, p=p, compute_mode=exact)


def l2(query: Tensor, key: Tensor) -> Tensor:
    """Return minus the Euclidean distance."""
    return -_distance(query, key, 2.0)


def gaussian(query: Tensor, key: Tensor) -> Tensor:
    """Return the logarithm of a Gaussian kernel of unit width.

    With keys of one length, softmax attention by it is that by ``dot``.
    """
    return _distance(query, key, 2.0).square() * -0.5


def laplacian(query: Tensor, key: Tensor) -> Tensor:
    """Return minus the sum of absolute differences, the log of a Laplacian kernel."""
    return -_distance(query, key, 1.0)


def bilinear(query: Tensor, key: Tensor, *, weight: Tensor) -> Tensor:
    """Return ``q W k^T``, Luong's "general" score.

    Args:
        query: ``[..., L, E]``.
        key: ``[..., S, E]``.
        weight: ``[E, E]``, or ``[Hkv, E, E]`` with one for each key head.

    Raises:
        ValueError: the weight does not fit query and key.
    """
    if weight.shape[-2:] != (query.shape[-1], key.shape[-1]):
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}, "
            f"needs (..., {query.shape[-1]}, {key.shape[-1]})"
        )
    return dot(query @ weight, key)


def additive(
    query: Tensor, key: Tensor, *, query_weight: Tensor, key_weight: Tensor, v: Tensor
) -> Tensor:
    """Return ``v . tanh(q Wq + k Wk)``, Bahdanau's score.

    Args:
        query: ``[..., L, E]``.
        key: ``[..., S, E]``.
        query_weight: ``[E, F]``, or ``[Hkv, E, F]``.
        key_weight: ``[E, F]``, or ``[Hkv, E, F]``.
        v: ``[F]``.

    Raises:
        ValueError: a weight does not fit.
    """
    hidden = v.shape[-1]
    for name, weight, size in (
        ("query_weight", query_weight, query.shape[-1]),
        ("key_weight", key_weight, key.shape[-1]),
    ):
        if weight.shape[-2:] != (size, hidden):
            raise ValueError(
                f"{name} has shape {tuple(weight.shape)}, needs (..., {size}, {hidden})"
            )
    pairs = (query @ query_weight).unsqueeze(-2) + (key @ key_weight).unsqueeze(-3)
    return torch.tanh(pairs) @ v
