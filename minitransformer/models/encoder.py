"""An encoder: from ids to tokens that have seen the whole text, and to one for it all.

A text shorter than its row is padded with any ids at position -1. Nobody sees those,
and the mean over a text leaves them out::

    pooled = sum_i [pos_i >= 0] x_i / sum_i [pos_i >= 0]

Source: Devlin et al., "BERT", arXiv 1810.04805; unlike BERT it has the norm before each
part. The mean of all tokens follows Reimers & Gurevych, 1908.10084.
"""

from typing import Any

import torch
from torch import Tensor

from minitransformer.models.stack import Stack


class Encoder(Stack):
    """Embedding, blocks and norm, whose mixers look both ways."""

    def __init__(
        self, vocab_size: int, dim: int, num_layers: int, **parts: Any
    ) -> None:
        """Make the layers, and start them small.

        Args:
            vocab_size: how many ids there are.
            dim: numbers in a token.
            num_layers: blocks.
            parts: ``mixer``, ``mlp``, ``norm``, ``code`` and ``max_seq_len``, see
                :class:`~minitransformer.models.stack.Stack`.

        Raises:
            ValueError: a size is below 1.
        """
        super().__init__(vocab_size, dim, num_layers, **parts)
        self.start_small()

    def forward(self, ids: Tensor, *, pos: Tensor | None = None) -> Tensor:
        """Give every token what the text says of it.

        Args:
            ids: ``[B, L]``.
            pos: where they stand, ``[L]`` or ``[B, L]``; -1 marks an empty slot. By
                default ``0, 1, ...``.

        Returns:
            ``[B, L, dim]``; what stands in an empty slot means nothing.

        Raises:
            ValueError: an id is out of range, or the text longer than ``max_seq_len``.
        """
        return self.tokens(ids, pos=pos)


def mean_pool(x: Tensor, pos: Tensor | None = None) -> Tensor:
    """Return the mean of a text's tokens.

    Args:
        x: ``[B, L, dim]``.
        pos: ``[L]`` or ``[B, L]``; tokens at -1 are left out.

    Returns:
        ``[B, dim]``; zeros for a text without tokens.

    Raises:
        ValueError: ``pos`` does not fit ``x``.
    """
    if pos is None:
        pos = torch.zeros(x.shape[1], dtype=torch.long, device=x.device)
    if tuple(pos.shape) not in ((x.shape[1],), tuple(x.shape[:2])):
        raise ValueError(f"pos has shape {tuple(pos.shape)}, x {tuple(x.shape)}")
    empty = (pos < 0).expand(x.shape[:2]).unsqueeze(-1)
    return x.masked_fill(empty, 0).sum(dim=1) / (~empty).sum(dim=1).clamp_min(1)
