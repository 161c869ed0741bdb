"""Beam search: keep the best few beginnings, and look for the likeliest text.

With ``k`` beams, each step scores all continuations of the beams by

    log p(x_1 .. x_t) = log p(x_1 .. x_{t-1}) + log p(x_t | x_1 .. x_{t-1})

and keeps the ``k`` best. One beam is greedy decoding; with as many beams as there are
texts of the length, none is left out and the best is found. Log-probabilities fall with
every token, so short texts win; a length penalty ``a`` compares ``log p / length^a``
instead. (Wu et al. divide by ``((5 + length) / 6)^a``; the idea is the same.)

The caches go with the beams: a beam that is kept twice has its caches copied.

Source: the length penalty, Wu et al., arXiv 1609.08144.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from minitransformer.caches.dense import DenseCache
from minitransformer.generation.generate import check_prompt, start, step


class Beam(NamedTuple):
    """One text that was found.

    Attributes:
        ids: what was written, a stop id at its end included.
        log_prob: the logarithm of its probability after the prompt, in nats.
        score: what it was judged by, ``log_prob / len(ids)^length_penalty``.
    """

    ids: list[int]
    log_prob: float
    score: float


def naive_best(
    log_probs: Callable[[tuple[int, ...]], Any], length: int, vocab_size: int
) -> tuple[tuple[int, ...], float]:
    """Find the likeliest text of a length by trying them all.

    Args:
        log_probs: from what was written so far to the log-probabilities ``[V]`` of the
            next id.
        length: how many ids to write.
        vocab_size: ``V``.

    Returns:
        The ids and the logarithm of their probability.
    """
    texts: dict[tuple[int, ...], float] = {(): 0.0}
    for _ in range(length):
        texts = {
            (*text, i): total + float(row[i])
            for text, total in texts.items()
            for row in [log_probs(text)]
            for i in range(vocab_size)
        }
    best = max(texts, key=lambda text: texts[text])
    return best, texts[best]


@torch.no_grad()
def beam_search(
    model: Callable[..., Tensor],
    ids: Tensor,
    *,
    num_beams: int,
    max_new_tokens: int,
    num_layers: int | None = None,
    stop_ids: Iterable[int] = (),
    length_penalty: float = 0.0,
    make_cache: Callable[[], Any] = DenseCache,
) -> list[Beam]:
    """Return the best texts that were found, best first.

    It ends when no beam can become better than the worst of ``num_beams`` texts that
    are done.

    Args:
        model: ``model(ids, *, pos, caches) -> logits``, such as ``Decoder``.
        ids: the prompt, ``[1, L]``.
        num_beams: how many beginnings to keep.
        max_new_tokens: how many ids to write at most.
        num_layers: how many caches the model wants, by default as it has ``blocks``.
        stop_ids: with one of these a text is done.
        length_penalty: 0 compares probabilities; 1 their mean by token; from 0.
        make_cache: makes the cache of a layer; it needs ``reorder(rows)``.

    Returns:
        At most ``num_beams`` texts.

    Raises:
        ValueError: a number is too small, there is more than one prompt, or it cannot
            be continued.
    """
    check_prompt(model, ids, ids.shape[-1] + max(max_new_tokens - 1, 0))
    for name, number, least in (
        ("num_beams", num_beams, 1),
        ("max_new_tokens", max_new_tokens, 1),
        ("length_penalty", length_penalty, 0),
    ):
        if number < least:
            raise ValueError(f"{name} is {number}, needs at least {least}")
    if len(ids) != 1:
        raise ValueError(f"ids has batch {len(ids)}, needs 1")
    stops = set(stop_ids)
    state = start(model, ids, num_layers=num_layers, make_cache=make_cache)
    texts: list[list[int]] = [[]]
    totals = torch.zeros(1, dtype=torch.float64, device=ids.device)
    done: list[Beam] = []
    for length in range(1, max_new_tokens + 1):
        log_probs = totals[:, None] + state.logits.double().log_softmax(dim=-1)
        vocab_size = log_probs.shape[1]
        # so many that num_beams go on even if all stop ids are among them
        wanted = min(num_beams * (1 + len(stops)), log_probs.numel())
        best = log_probs.flatten().topk(wanted)
        going: list[tuple[int, int, float]] = []
        for rank, (total, place) in enumerate(
            zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ):
            row, new = divmod(place, vocab_size)
            if new in stops or length == max_new_tokens:
                if rank < num_beams:
                    score = total / length**length_penalty
                    done.append(Beam([*texts[row], new], total, score))
            elif len(going) < num_beams:
                going.append((row, new, total))
        done = sorted(done, key=lambda beam: -beam.score)[:num_beams]
        if not going or length == max_new_tokens:
            break
        # a log-probability only falls: this is the best that a beam can come to
        hope = going[0][2] / max_new_tokens**length_penalty
        if len(done) == num_beams and hope <= done[-1].score:
            break
        rows = torch.tensor([row for row, _, _ in going], device=ids.device)
        new_ids = torch.tensor([new for _, new, _ in going], device=ids.device)
        texts = [[*texts[row], new] for row, new, _ in going]
        totals = torch.tensor(
            [total for *_, total in going], dtype=torch.float64, device=ids.device
        )
        for cache in state.caches:
            cache.reorder(rows)
        state = step(model, state, new_ids)
    return done
