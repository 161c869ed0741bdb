"""Write on, token by token.

A text's probability is a product, ``p(x_1 .. x_n) = prod_t p(x_t | x_1 .. x_{t-1})``,
and a model gives the scores of each factor. To write on is to choose from the last one,
add the choice to the text, and ask again.

The prompt goes through the model once and fills the caches; then each new token is the
only one that goes through, and looks at what is cached. The result is that of running
the model on the whole text every time.

Prompts of several lengths are one batch with empty slots on the left: position -1,
which nobody sees. Each sequence is then written as if it were alone.

Source: the chain rule, as a language model uses it in Bengio et al. (2003), "A Neural
Probabilistic Language Model".
"""

import codecs
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from minitransformer.caches.dense import DenseCache


class State(NamedTuple):
    """What it takes to write on.

    Attributes:
        logits: scores of the next id, ``[B, vocab_size]``.
        pos: where the last token stands, ``[1]`` or ``[B, 1]``.
        caches: one for each layer; the next step writes into them.
    """

    logits: Tensor
    pos: Tensor
    caches: Sequence[Any]


def greedy(logits: Tensor) -> Tensor:
    """Choose the best id of each row ``[B, vocab_size]``: ``[B]``."""
    return logits.argmax(dim=-1)


def left_pad(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Make one batch of prompts: they end together, and begin with empty slots.

    Args:
        prompts: ids, at least one in each.

    Returns:
        Ids and positions, both ``[B, L]``; an empty slot has id 0 and position -1.

    Raises:
        ValueError: there is no prompt, or an empty one.
    """
    if not prompts or not all(len(prompt) for prompt in prompts):
        raise ValueError("prompts needs at least one, and no empty one")
    longest = max(map(len, prompts))
    ids = torch.zeros((len(prompts), longest), dtype=torch.long)
    pos = torch.full((len(prompts), longest), -1)
    for b, prompt in enumerate(prompts):
        ids[b, longest - len(prompt) :] = torch.as_tensor(prompt)
        pos[b, longest - len(prompt) :] = torch.arange(len(prompt))
    return ids, pos


def check_prompt(model: Any, ids: Tensor, positions: int) -> None:
    """Refuse what cannot be continued, before a GPU has seen it.

    Args:
        model: its ``embed`` is as long as the vocabulary, its context as
            ``max_seq_len``, if it has them.
        ids: ``[B, L]``.
        positions: how many will be used.

    Raises:
        ValueError: the prompt is empty, holds what is no id, or is too long.
    """
    if ids.ndim != 2 or not ids.numel():
        raise ValueError(
            f"ids has shape {tuple(ids.shape)}, needs (B, L) with L above 0"
        )
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise ValueError(f"ids is {ids.dtype}, needs whole numbers")
    size = getattr(getattr(model, "embed", None), "num_embeddings", None)
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or (size is not None and high >= size):
        end = "up" if size is None else f"to {size - 1}"
        raise ValueError(f"ids go from {low} to {high}, needs 0 {end}")
    max_seq_len = getattr(model, "max_seq_len", None)
    if max_seq_len is not None and positions > max_seq_len:
        raise ValueError(
            f"ids has length {ids.shape[1]} and needs {positions} positions to write "
            f"on, the context has {max_seq_len}"
        )


def layers_of(model: Any, num_layers: int | None) -> int:
    """Return how many caches a model wants: ``num_layers``, or one for each block.

    Raises:
        ValueError: the model has no ``blocks`` to count.
    """
    if num_layers is not None:
        return num_layers
    blocks = getattr(model, "blocks", None)
    if blocks is None:
        raise ValueError("num_layers is None, and the model has no blocks to count")
    return len(blocks)


@torch.no_grad()
def start(
    model: Callable[..., Tensor],
    ids: Tensor,
    *,
    num_layers: int | None = None,
    pos: Tensor | None = None,
    make_cache: Callable[[], Any] = DenseCache,
) -> State:
    """Read the prompt.

    Args:
        model: ``model(ids, *, pos, caches) -> logits``, such as ``Decoder``.
        ids: ``[B, L]``.
        num_layers: how many caches the model wants, by default as it has ``blocks``.
        pos: ``[L]`` or ``[B, L]``, see :func:`left_pad`; by default ``0, 1, ...``.
        make_cache: makes the cache of one layer.

    Raises:
        ValueError: positions do not fit, or a sequence ends with an empty slot.
    """
    if pos is None:
        pos = torch.arange(ids.shape[1], device=ids.device)
    if tuple(pos.shape) not in ((ids.shape[1],), tuple(ids.shape)):
        raise ValueError(f"pos has shape {tuple(pos.shape)}, ids {tuple(ids.shape)}")
    if bool((pos[..., -1] < 0).any()):
        raise ValueError("pos ends with an empty slot, needs them on the left")
    caches = [make_cache() for _ in range(layers_of(model, num_layers))]
    logits = model(ids, pos=pos, caches=caches)
    return State(logits[:, -1], pos[..., -1:], caches)


@torch.no_grad()
def step(model: Callable[..., Tensor], state: State, ids: Tensor) -> State:
    """Read one more token of each sequence, ``[B]``."""
    pos = state.pos + 1
    logits = model(ids.unsqueeze(1), pos=pos, caches=state.caches)
    return State(logits[:, -1], pos, state.caches)


def generate(
    model: Callable[..., Tensor],
    ids: Tensor,
    *,
    max_new_tokens: int,
    num_layers: int | None = None,
    choose: Callable[[Tensor], Tensor] = greedy,
    adjust: Callable[[Tensor, Tensor], Tensor] | None = None,
    pos: Tensor | None = None,
    stop_ids: Iterable[int] = (),
    make_cache: Callable[[], Any] = DenseCache,
) -> Iterator[Tensor]:
    """Yield new ids, one for each sequence at a time.

    Args:
        model: ``model(ids, *, pos, caches) -> logits``, such as ``Decoder``.
        ids: the prompt, ``[B, L]``.
        max_new_tokens: how many to write.
        num_layers: how many caches the model wants, by default as it has ``blocks``.
        choose: from the last scores ``[B, vocab_size]`` to ids ``[B]``; see
            :func:`~minitransformer.generation.sample.sampler`.
        adjust: ``adjust(logits, ids) -> logits`` changes the scores by all ids so far
            ``[B, T]`` (-1: none), such as a repetition penalty; before ``choose``.
        pos: positions of the prompt, see :func:`left_pad`; by default ``0, 1, ...``.
        stop_ids: after one of these a sequence yields -1; after all have, the end.
        make_cache: makes the cache of one layer.

    Raises:
        ValueError: the prompt is empty, holds what is no id of the model, or is longer
            than the context together with what is to be written.
    """
    last = ids.shape[-1] if pos is None or not pos.numel() else int(pos.max()) + 1
    check_prompt(model, ids, last + max(max_new_tokens - 1, 0))
    stops = torch.tensor(sorted(stop_ids), dtype=torch.long, device=ids.device)
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    if max_new_tokens < 1:
        return
    state = start(model, ids, num_layers=num_layers, pos=pos, make_cache=make_cache)
    text = ids if pos is None else ids.where(pos >= 0, -1)
    for left in reversed(range(max_new_tokens)):
        logits = state.logits if adjust is None else adjust(state.logits, text)
        new = choose(logits)
        shown = new.masked_fill(done, -1) if len(stops) else new
        yield shown
        if len(stops):
            done = done | torch.isin(new, stops)
            if bool(done.all()):
                return
        if left:
            if adjust is not None:
                text = torch.cat([text, shown.unsqueeze(1)], dim=1)
            state = step(model, state, new)


class SpellsBytes(Protocol):
    """A tokenizer whose tokens stand for bytes."""

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that a token stands for."""

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids into text, without special tokens."""


def stream_text(tokenizer: SpellsBytes, ids: Iterable[Any]) -> Iterator[str]:
    """Yield the text of one sequence as its ids come, never part of a character.

    The pieces in a row are what ``tokenizer.decode`` makes of all ids: bytes of a
    character are held back until it is whole, and bytes that are no UTF-8 become
    U+FFFD. (A lone surrogate, which is no UTF-8, does too.)

    Args:
        tokenizer: such as ``BPE``.
        ids: whole numbers, or tensors of one number, as ``generate`` yields them.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for each in ids:
        token_id = int(each)
        shown = tokenizer.decode([token_id]) != ""  # a special token is not
        piece = decoder.decode(tokenizer.token_bytes(token_id) if shown else b"")
        if piece:
            yield piece
    if piece := decoder.decode(b"", final=True):
        yield piece
