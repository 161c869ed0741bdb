"""Known models, as functions that put a decoder together.

GPT-2 and Llama are the same decoder with four choices::

                 gpt2                      llama
    norm         LayerNorm                 RMSNorm
    mlp          GELU, 4 dim wide          SwiGLU, 8/3 dim wide
    positions    a learned table           turns (RoPE)
    biases       in every projection       none

A file of weights names one of these functions and its options, see
:mod:`minitransformer.models.pretrained`. A model of another make needs no option here:
call :class:`~minitransformer.models.decoder.Decoder` with other parts.

Sources: Radford et al. (2019), "Language Models are Unsupervised Multitask Learners";
Llama, Touvron et al., arXiv 2302.13971; Llama 3, 2407.21783.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.again import again
from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.attention.sdpa import sdpa
from minitransformer.layers.attention import Attention
from minitransformer.layers.mlp import GELU, SwiGLU
from minitransformer.layers.norm import RMSNorm
from minitransformer.layers.partial import Partial
from minitransformer.models.decoder import Decoder
from minitransformer.positions import rotary
from minitransformer.positions.additive import LearnedPositions

causal = Partial(attention, mask_mod=masks.causal)
"""Our own causal attention, to hand in as ``attend`` where its scores are looked at."""


class Turn:
    """Turn queries and keys by fixed frequencies (RoPE, half layout).

    The frequencies are no buffers: a model that is cast to bfloat16 would round its
    buffers, and far positions would be turned by wrong angles.

    Queries and keys of all layers stand at the same positions: one computation.
    """

    def __init__(self, head_dim: int, base: float) -> None:
        """Compute the frequencies ``[head_dim / 2]``, in float64."""
        with torch.device("cpu"):  # also where a model is made without memory
            freqs = rotary.frequencies(head_dim, base=base)
        self.freqs = {freqs.device: freqs}
        self.angles = again(rotary.angles)

    def __call__(self, x: Tensor, pos: Tensor) -> Tensor:
        """Turn ``[B, H, L, E]`` by positions ``[L]`` or ``[B, L]``."""
        if x.device not in self.freqs:
            self.freqs[x.device] = next(iter(self.freqs.values())).to(x.device)
        freqs = self.freqs[x.device]
        rotary.check(x, pos, freqs)
        kind = torch.promote_types(x.dtype, torch.float32)
        return rotary.turn_by(x, *self.angles(pos, freqs, kind))


def gpt2(
    *,
    vocab_size: int = 50257,
    dim: int = 768,
    num_layers: int = 12,
    num_heads: int = 12,
    hidden: int | None = None,
    max_seq_len: int = 1024,
    eps: float = 1e-5,
    attend: Callable[..., Any] = sdpa,
) -> Decoder:
    """Make a GPT-2; by default the smallest of the four, with 124 million parameters.

    Args:
        vocab_size: how many ids there are.
        dim: numbers in a token.
        num_layers: blocks.
        num_heads: heads of each; they divide ``dim``.
        hidden: numbers within a feed-forward layer, by default ``4 dim``.
        max_seq_len: rows of the table of positions.
        eps: of the norms.
        attend: a causal ``attend`` function; by default PyTorch's kernel.
    """
    return Decoder(
        vocab_size,
        dim,
        num_layers,
        mixer=lambda i: Attention(dim, num_heads, attend=attend, bias=True),
        mlp=lambda i: GELU(dim, hidden or 4 * dim, approximate="tanh"),
        norm=partial(nn.LayerNorm, eps=eps),
        code=LearnedPositions(max_seq_len, dim),
        max_seq_len=max_seq_len,
    )


def llama(
    *,
    vocab_size: int = 8192,
    dim: int = 256,
    num_layers: int = 7,
    num_heads: int = 8,
    num_kv_heads: int | None = None,
    hidden: int | None = None,
    max_seq_len: int | None = None,
    rope_base: float = 1e4,
    eps: float = 1e-6,
    tied: bool = True,
    attend: Callable[..., Any] = sdpa,
) -> Decoder:
    """Make a Llama; by default of the size of the course's own model, 7.6 million.

    Args:
        vocab_size: how many ids there are.
        dim: numbers in a token.
        num_layers: blocks.
        num_heads: query heads of each; they divide ``dim``.
        num_kv_heads: key and value heads of each; they divide ``num_heads``, and are by
            default as many.
        hidden: numbers within a feed-forward layer, by default ``8/3 dim``, rounded up
            to a multiple of 16.
        max_seq_len: positions beyond which the model refuses to be used; by default it
            goes on.
        rope_base: the base of the frequencies, 10,000 in Llama, 500,000 in Llama 3.
        eps: of the norms.
        tied: whether the head is the embedding; in Llama it is not.
        attend: a causal ``attend`` function; by default PyTorch's kernel.
    """
    turn = Turn(dim // num_heads, rope_base)
    heads: Any = {"num_kv_heads": num_kv_heads, "attend": attend, "turn": turn}
    hidden = -(-8 * dim // 48) * 16 if hidden is None else hidden
    return Decoder(
        vocab_size,
        dim,
        num_layers,
        mixer=lambda i: Attention(dim, num_heads, **heads),
        mlp=lambda i: SwiGLU(dim, hidden),
        norm=partial(RMSNorm, eps=eps),
        tied=tied,
        max_seq_len=max_seq_len,
    )


def tiny(vocab_size: int = 64, **options: Any) -> Decoder:
    """Make a Llama small enough for tests: 2 layers, 2 heads of 8, one key head.

    Options are those of :func:`llama` and win over these sizes.
    """
    sizes = {"dim": 16, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1}
    return llama(vocab_size=vocab_size, **(sizes | options))
