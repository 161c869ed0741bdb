"""What decoders and encoders share: from ids to tokens that know of each other.

In the order of the computation::

    x = embed(ids) (+ code(pos))        x = block(x), layer by layer        norm(x)

What differs between models is handed in as functions of the layer's number, so that a
model whose layers differ needs no options.

Source: Vaswani et al., arXiv 1706.03762.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.layers.block import Block
from minitransformer.layers.norm import RMSNorm


class Stack(nn.Module):
    """Embedding, blocks and norm."""

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        num_layers: int,
        *,
        mixer: Callable[[int], nn.Module],
        mlp: Callable[[int], nn.Module],
        norm: Callable[[int], nn.Module] = RMSNorm,
        code: nn.Module | None = None,
        max_seq_len: int | None = None,
    ) -> None:
        """Make the layers.

        Args:
            vocab_size: how many ids there are.
            dim: numbers in a token.
            num_layers: blocks.
            mixer: from the number of a layer to its mixer.
            mlp: from the number of a layer to its feed-forward layer.
            norm: from ``dim`` to a norm.
            code: ``code(pos) -> [..., L, dim]``, added to the embedded ids.
            max_seq_len: how many positions it may be used at; None is any.

        Raises:
            ValueError: a size is below 1.
        """
        super().__init__()
        sizes = {"vocab_size": vocab_size, "dim": dim, "num_layers": num_layers}
        sizes |= {} if max_seq_len is None else {"max_seq_len": max_seq_len}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} is {size}, needs at least 1")
        self.embed = nn.Embedding(vocab_size, dim)
        self.code, self.max_seq_len = code, max_seq_len
        self.blocks = nn.ModuleList(
            Block(mixer(i), mlp(i), (norm(dim), norm(dim))) for i in range(num_layers)
        )
        self.norm = norm(dim)

    def start_small(self) -> None:
        """Draw the weights of all projections from a narrow normal distribution.

        What a block adds to the stream is smaller still, by the root of how many parts
        add to it, so that a deep stream starts no larger than a shallow one.
        """
        self.apply(_start_small)
        for block in self.blocks:
            for name, weight in block.named_parameters():
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    std = 0.02 * (2 * len(self.blocks)) ** -0.5
                    nn.init.normal_(weight, std=std)

    def tokens(
        self,
        ids: Tensor,
        *,
        pos: Tensor | None = None,
        caches: Sequence[Any] | None = None,
    ) -> Tensor:
        """Turn ids into tokens, normalized, that know of each other.

        Args:
            ids: ``[B, L]``.
            pos: where they stand, ``[L]`` or ``[B, L]``; -1 marks an empty slot. By
                default ``0, 1, ...``.
            caches: one for each layer, with ``update(key, value, pos)``; they need
                ``pos``.

        Returns:
            ``[B, L, dim]``.

        Raises:
            ValueError: an id is out of range (on a GPU its own error), the text is
                longer than ``max_seq_len``, or caches do not fit.
        """
        if caches is not None and len(caches) != len(self.blocks):
            raise ValueError(f"caches has {len(caches)}, needs {len(self.blocks)}")
        self._refuse_strange(ids)
        self._refuse_beyond(ids, pos)
        x = self.embed(ids)
        if self.code is not None:
            at = torch.arange(ids.shape[1], device=ids.device) if pos is None else pos
            x = x + self.code(at).to(x.dtype)
        for i, block in enumerate(self.blocks):
            x = block(x, pos=pos, cache=None if caches is None else caches[i])
        return self.norm(x)

    def _refuse_strange(self, ids: Tensor) -> None:
        if ids.ndim != 2:
            raise ValueError(f"ids has shape {tuple(ids.shape)}, needs (B, L)")
        size = self.embed.num_embeddings
        if ids.device.type == "cpu" and ids.numel():  # a GPU would have to wait for it
            low, high = int(ids.min()), int(ids.max())
            if low < 0 or high >= size:
                raise ValueError(f"ids go from {low} to {high}, needs 0 to {size - 1}")

    def _refuse_beyond(self, ids: Tensor, pos: Tensor | None) -> None:
        end = ids.shape[1]
        if pos is not None and pos.device.type == "cpu" and pos.numel():
            end = int(pos.max()) + 1
        if self.max_seq_len is not None and end > self.max_seq_len:
            raise ValueError(
                f"ids reach to position {end - 1}, needs at most "
                f"{self.max_seq_len - 1} (max_seq_len {self.max_seq_len})"
            )


def _start_small(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
