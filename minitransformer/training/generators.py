"""The random generators of a run, in and out of a checkpoint.

Windows are drawn by one generator, alike in all processes, each of which takes its
share of them. Dropout draws from PyTorch's global generators, of the processor and of
the GPU, and each process has its own. A checkpoint keeps them under these names::

    draw                            of the windows
    torch, cuda                     of process 0
    torch.1, cuda.1, torch.2, ...   of the others

So the checkpoint of one process has ``draw`` and ``torch`` and, on a GPU, ``cuda``.

With as many processes as before, on the same kind of device, a run goes on bit for bit.
With another number it goes on too, through the same windows, but what it drops is
something else: processes that the checkpoint does not know keep the generator they
began with, and states of processes that are gone are left.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from minitransformer.training.parallel import World, gather


def part(place: World) -> None:
    """Seed the global generators of each process but the first anew, each in its way.

    All processes make the same model from the same seed; from here on, each drops
    something else.
    """
    if place.rank:
        torch.manual_seed(torch.initial_seed() + place.rank)


def states(windows: torch.Generator, place: World) -> dict[str, Tensor]:
    """Return the states of all generators by name; all processes must call it.

    Args:
        windows: the generator that draws the windows.
        place: of this process among others.
    """
    own = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        own["cuda"] = torch.cuda.get_rng_state()
    found = {"draw": windows.get_state()}
    for rank, theirs in enumerate(gather(own, place)):
        found |= {_name(kind, rank): state for kind, state in theirs.items()}
    return found


def restore(saved: Mapping[str, Tensor], windows: torch.Generator, rank: int) -> None:
    """Set the generators of one process as they were.

    Args:
        saved: what :func:`states` returned.
        windows: the generator that draws the windows.
        rank: of the process.
    """
    windows.set_state(saved["draw"])
    if (state := saved.get(_name("torch", rank))) is not None:
        torch.set_rng_state(state)
    state = saved.get(_name("cuda", rank))
    if state is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state)


def _name(kind: str, rank: int) -> str:
    return f"{kind}.{rank}" if rank else kind
