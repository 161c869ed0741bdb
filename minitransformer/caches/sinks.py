"""The first tokens and the newest ones (StreamingLLM).

Weights sum to one, so a head with nothing to read still has to put them somewhere;
trained models put them on the first tokens, the *sinks*. A window that drops those
takes a large term out of the denominator of every softmax. So they are kept::

    kept at t:   0 .. sinks - 1   and   t - window + 1 .. t

Positions are those *inside the cache*: the kept tokens count as if they stood side by
side, so that no distance is greater than in training. With ``p = t + 1 - sinks -
window`` tokens gone, if any, sink ``j`` stands at ``j + p``, right before the window;
all others stand where they stood. Only differences matter to rotation and linear bias,
so this is the paper's ``0 .. sinks + window - 1``.

Keys are cached as they are projected and turned when they are read (``raw``), since the
sinks move. Codes that are added to tokens (sinusoidal, learned) cannot be renumbered in
a cache: there the sinks keep their old positions.

Since the sinks stand elsewhere for each query, a call with several tokens is refused
once tokens are gone: until then the cache is exact attention, for any cut into calls.

Source: Xiao et al., arXiv 2309.17453.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from minitransformer.caches.base import Kept, at_least, incoming, join


class Slots(NamedTuple):
    """Which tokens are kept, and where each stands inside the cache."""

    token: np.ndarray
    place: np.ndarray


def naive_slots(newest: int, sinks: int, window: int) -> Slots:
    """Return what the cache holds when ``newest`` is the last position, from 0."""
    token = [
        t for t in range(newest + 1) if t < sinks or t > newest - window
    ]  # each token once, also where the two overlap
    return Slots(np.array(token, dtype=int), np.arange(len(token)))


class SinkCache:
    """Keep the first ``sinks`` tokens and the last ``window`` of one layer."""

    raw = True

    def __init__(self, sinks: int, window: int) -> None:
        """Start empty.

        Args:
            sinks: tokens at positions ``0 .. sinks - 1`` of each sequence that are
                never dropped; the paper finds 4 enough.
            window: the newest tokens, besides.

        Raises:
            ValueError: ``sinks`` is below 0 or ``window`` below 1.
        """
        self.sinks = at_least("sinks", sinks, 0)
        self.window = at_least("window", window, 1)
        self.first: Kept | None = None  # [B, Hkv, sinks, ...], slot j for position j
        self.rest: Kept | None = None

    def update(
        self, key: Tensor, value: Tensor, pos: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add new tokens, and hand back what is kept where it stands now.

        Args:
            key: ``[B, Hkv, L, E]``, not turned.
            value: ``[B, Hkv, L, Ev]``.
            pos: ``[L]`` or ``[B, L]``, from 0 in every sequence.

        Returns:
            Key, value and positions ``[B, S]``.

        Raises:
            ValueError: shapes do not fit, or several tokens come in a call that goes
                beyond ``sinks + window``.
        """
        if pos.ndim == 1:
            pos = pos.expand(key.shape[0], -1)
        new = incoming(key, value, pos, self.rest)
        room = self.sinks + self.window
        newest = pos.amax(dim=1) if pos.shape[1] else pos.new_zeros(len(pos))
        if pos.shape[1] > 1 and int(newest.max()) >= room:
            raise ValueError(
                f"pos ends at {int(newest.max())} in a call of {pos.shape[1]} tokens: "
                f"beyond sinks + window = {room} they have to come one at a time"
            )
        self.first = self._with_sinks(new)
        others = new._replace(pos=new.pos.masked_fill(new.pos < self.sinks, -1))
        rest = join(self.rest, others).last(self.window)
        used = (rest.pos >= 0).any(dim=0).nonzero()
        unused = int(used[0]) if len(used) else rest.pos.shape[1]
        self.rest = rest.last(rest.pos.shape[1] - unused).own()
        gone = (newest + 1 - room).clamp_min(0).unsqueeze(1)
        moved = torch.where(self.first.pos >= 0, self.first.pos + gone, -1)
        return join(self.first._replace(pos=moved), self.rest)

    def _with_sinks(self, new: Kept) -> Kept:
        """Put the tokens at positions below ``sinks`` into their slots."""
        first = self.first
        if first is None:
            batch, heads = new.key.shape[:2]
            first = Kept(
                new.key.new_zeros(batch, heads, self.sinks, new.key.shape[3]),
                new.value.new_zeros(batch, heads, self.sinks, new.value.shape[3]),
                new.pos.new_full((batch, self.sinks), -1),
            )
        row, column = ((new.pos >= 0) & (new.pos < self.sinks)).nonzero(as_tuple=True)
        if not len(row):
            return first
        slot = new.pos[row, column]
        key, value, pos = (x.clone() for x in first)
        key[row, :, slot] = new.key[row, :, column]
        value[row, :, slot] = new.value[row, :, column]
        pos[row, slot] = slot
        return Kept(key, value, pos)

    def num_bytes(self) -> int:
        """Return ``sinks + min(tokens - sinks, window)`` times the bytes of a token."""
        return sum(x.num_bytes() for x in (self.first, self.rest) if x is not None)
