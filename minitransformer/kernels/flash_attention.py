"""FlashAttention on a GPU: the ``attend`` of this course as Triton kernels.

The same function as :func:`minitransformer.attention.core.attention` with softmax; its
mods are options here, since a kernel compiles what it is given::

    causal, window    masks.causal, masks.sliding_window
    slopes            positions.bias.alibi
    softcap           attention.scores.soft_cap
    score_mod         any ``triton.jit`` function (score, b, h, q_idx, kv_idx)

Forward and backward are in ``flash_forward`` and ``flash_backward``. Half-precision
weights and values are multiplied in their type and added up in float32.

Sources: Dao et al., arXiv 2205.14135; Dao, 2307.08691.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from triton.runtime.jit import KernelInterface

from minitransformer.kernels.descriptors import aligned
from minitransformer.kernels.flash_backward import flash_backward
from minitransformer.kernels.flash_forward import flash_forward
from minitransformer.kernels.launch import check_inputs

HEAD_DIMS = (16, 32, 64, 128, 256)
Launch = Callable[..., tuple[Tensor, Tensor]]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        launch: Launch,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        tensors: tuple[Tensor | None, Tensor | None, Tensor | None],
        scale: float,
        options: dict[str, Any],
        mod_grad: Any,
    ) -> tuple[Tensor, Tensor]:
        inputs = aligned(query), aligned(key), aligned(value)
        out, lse = launch(*inputs, tensors, scale, **options)
        ctx.save_for_backward(*inputs, out, lse, *tensors)
        ctx.scale, ctx.options, ctx.mod_grad = scale, options, mod_grad
        return out, lse

    @staticmethod
    def backward(ctx: Any, dout: Tensor, dlse: Tensor) -> tuple[Any, ...]:
        query, key, value, out, lse, *tensors = ctx.saved_tensors
        if ctx.options["MOD"] is not None and ctx.mod_grad is None:
            raise ValueError(
                "score_mod has no derivative: give (score_mod, derivative)"
            )
        grads = flash_backward(
            query,
            key,
            value,
            tuple(tensors),
            out,
            lse,
            aligned(dout),
            dlse.contiguous(),
            ctx.scale,
            **ctx.options,
            MOD_GRAD=ctx.mod_grad,
        )
        return None, *grads, None, None, None, None


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    q_pos: Tensor | None = None,
    kv_pos: Tensor | None = None,
    return_lse: bool = False,
    scale: float | None = None,
    causal: bool = False,
    window: int | None = None,
    slopes: Tensor | None = None,
    softcap: float | None = None,
    score_mod: Any = None,
) -> Any:
    """Let every query take a weighted mean of the values.

    Args:
        query: ``[B, H, L, E]``; E is 16, 32, 64, 128 or 256.
        key: ``[B, Hkv, S, E]``, where ``Hkv`` divides ``H``.
        value: ``[B, Hkv, S, E]``.
        q_pos: whole numbers ``[L]`` or ``[B, L]``, where each query stands; -1 marks an
            empty slot. By default the last query stands on the last key; then blocks
            that a mask hides cost nothing.
        kv_pos: the same for the keys, ``[S]`` or ``[B, S]``.
        return_lse: also return the logarithm of the sum of exponentials of each row.
        scale: what products are multiplied by, above 0; ``1/sqrt(E)`` by default.
        causal: whether a query sees only keys at or before its position.
        window: how many keys a query sees, its own position included; needs ``causal``.
        slopes: ``[H]``, what the distance is multiplied by and taken off (ALiBi).
        softcap: scores stay within plus or minus this number.
        score_mod: a ``triton.jit`` function from ``(score, b, h, q_idx, kv_idx)`` to a
            score; to train through it, a pair of it and its derivative by the score.

    Returns:
        The output ``[B, H, L, E]``; with ``return_lse`` also the ``lse`` ``[B, H, L]``
        in float32, -inf where a query may see no key.

    Raises:
        ValueError: an input is not on a GPU (and the kernels not interpreted), has
            another type, shape or head_dim than the kernels take, or an option does not
            fit; on the way back, ``score_mod`` has no derivative.
    """
    return attend(
        flash_forward,
        query,
        key,
        value,
        q_pos=q_pos,
        kv_pos=kv_pos,
        return_lse=return_lse,
        scale=scale,
        causal=causal,
        window=window,
        slopes=slopes,
        softcap=softcap,
        score_mod=score_mod,
    )


def attend(
    launch: Launch,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    q_pos: Tensor | None = None,
    kv_pos: Tensor | None = None,
    return_lse: bool = False,
    scale: float | None = None,
    causal: bool = False,
    score_mod: Any = None,
    **options: Any,
) -> Any:
    """Check the inputs of :func:`attention` and run its forward pass by ``launch``.

    Args:
        launch: ``flash_forward`` or a function like it.
        query: these and the rest as of :func:`attention`.
        key: see there.
        value: see there.
        q_pos: see there.
        kv_pos: see there.
        return_lse: see there.
        scale: see there.
        causal: see there.
        score_mod: see there.
        options: ``window``, ``slopes`` and ``softcap``.

    Returns:
        As of :func:`attention`.

    Raises:
        ValueError: as of :func:`attention`.
    """
    window, slopes, softcap = (
        options.get(name) for name in ("window", "slopes", "softcap")
    )
    check_inputs(query=query, key=key, value=value)
    check_shapes(query, key, value)
    head_dim = query.shape[3]
    scale = head_dim**-0.5 if scale is None else scale
    if not scale > 0:
        raise ValueError(f"scale is {scale}, needs to be above 0")
    if window is not None and (window < 1 or not causal):
        raise ValueError(f"window is {window}, needs at least 1, and causal=True")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap is {softcap}, needs to be above 0")
    if slopes is not None and tuple(slopes.shape) != query.shape[1:2]:
        raise ValueError(
            f"slopes has shape {tuple(slopes.shape)}, needs ({query.shape[1]},)"
        )
    mod, mod_grad = score_mod if isinstance(score_mod, tuple) else (score_mod, None)
    for part in (mod, mod_grad):
        if part is not None and not isinstance(part, KernelInterface):
            raise ValueError(f"score_mod is {part!r}, needs a triton.jit function")
    tensors = (
        *position_rows(query, key, q_pos, kv_pos),
        None if slopes is None else slopes.to(query.device, torch.float32).contiguous(),
    )
    constants = {
        "CAUSAL": causal,
        "WINDOW": window or 0,
        "POS": q_pos is not None,
        "CAP": softcap or 0.0,
        "ALIBI": slopes is not None,
        "MOD": mod,
        "PRECISION": "ieee" if query.dtype == torch.float32 else "tf32",
    }
    if query.numel() == 0 or key.numel() == 0:  # no program would run, or see a key
        out = (query * 0).sum() + (key * 0).sum() + (value * 0).sum()
        out = out + torch.zeros_like(query)
        lse = torch.full(query.shape[:3], -torch.inf, device=query.device)
    else:
        out, lse = _Attention.apply(
            launch, query, key, value, tensors, scale, constants, mod_grad
        )
    return (out, lse) if return_lse else out


def position_rows(
    query: Tensor, key: Tensor, q_pos: Tensor | None, kv_pos: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Return positions as int32 ``[B, L]`` and ``[B, S]``, where they are given.

    Raises:
        ValueError: they come for one side only, or have another shape.
    """
    if q_pos is None and kv_pos is None:
        return None, None
    rows = []
    for name, pos, x in (("q_pos", q_pos, query), ("kv_pos", kv_pos, key)):
        if pos is None:
            given = "kv_pos" if name == "q_pos" else "q_pos"
            raise ValueError(f"{given} is given without {name}")
        batch, size = x.shape[0], x.shape[2]
        if tuple(pos.shape) not in ((size,), (batch, size)):
            raise ValueError(
                f"{name} has shape {tuple(pos.shape)}, "
                f"needs ({size},) or ({batch}, {size})"
            )
        rows.append(pos.to(x.device, torch.int32).expand(batch, size).contiguous())
    return rows[0], rows[1]


def check_shapes(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Raise ``ValueError`` unless the inputs of a flash kernel fit together."""
    for name, x in (("query", query), ("key", key), ("value", value)):
        if x.ndim != 4:
            raise ValueError(
                f"{name} has {x.ndim} axes, needs (batch, heads, len, dim)"
            )
        if x.shape[3] != query.shape[3]:
            raise ValueError(
                f"{name} has head_dim {x.shape[3]}, query has {query.shape[3]}"
            )
        if x.shape[0] != query.shape[0]:
            raise ValueError(f"{name} has batch {x.shape[0]}, query {query.shape[0]}")
    if query.shape[3] not in HEAD_DIMS:
        raise ValueError(f"head_dim is {query.shape[3]}, needs one of {HEAD_DIMS}")
    if key.shape[1:3] != value.shape[1:3]:
        raise ValueError(
            f"key has (heads, length) {tuple(key.shape[1:3])}, "
            f"value {tuple(value.shape[1:3])}"
        )
    if not key.shape[1] or query.shape[1] % key.shape[1]:
        raise ValueError(
            f"key has {key.shape[1]} heads, which do not divide {query.shape[1]}"
        )
