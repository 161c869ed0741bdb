"""A decoder: from ids to the scores of the next id.

In the order of the computation::

    x = embed(ids) (+ code(pos))        x = block(x), layer by layer
    logits = norm(x) head^T             head = embed, if they are tied

All but the head is a :class:`~minitransformer.models.stack.Stack`. What differs between
models is handed in as functions of the layer's number, so that a model whose layers
differ needs no options.

Sources: Vaswani et al., arXiv 1706.03762, without the part that reads an encoder; tied
heads, Press & Wolf, 1608.05859.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from minitransformer.models.stack import Stack


class Decoder(Stack):
    """Embedding, blocks, norm and head.

    Its mixers have to be causal: the model does not see to it.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        num_layers: int,
        *,
        tied: bool = True,
        **parts: Any,
    ) -> None:
        """Make the layers, and start them small.

        Args:
            vocab_size: how many ids there are.
            dim: numbers in a token.
            num_layers: blocks.
            tied: whether the head is the embedding.
            parts: ``mixer``, ``mlp``, ``norm``, ``code`` and ``max_seq_len``, see
                :class:`~minitransformer.models.stack.Stack`.

        Raises:
            ValueError: a size is below 1.
        """
        super().__init__(vocab_size, dim, num_layers, **parts)
        self.head = nn.Linear(dim, vocab_size, bias=False)
        if tied:
            self.head.weight = self.embed.weight
        self.start_small()

    def forward(
        self,
        ids: Tensor,
        *,
        pos: Tensor | None = None,
        caches: Sequence[Any] | None = None,
    ) -> Tensor:
        """Score the next id at every position.

        Args:
            ids: ``[B, L]``.
            pos: where they stand, ``[L]`` or ``[B, L]``; -1 marks an empty slot. By
                default ``0, 1, ...``.
            caches: one for each layer, with ``update(key, value, pos)``; they need
                ``pos``.

        Returns:
            ``[B, L, vocab_size]``.

        Raises:
            ValueError: an id is out of range (on a GPU its own error), the text is
                longer than ``max_seq_len``, or caches do not fit.
        """
        return self.head(self.tokens(ids, pos=pos, caches=caches))
