"""One model on many machines: each process does a share of every batch.

The loss of a batch is a mean over its windows, and the gradient of a mean is the mean
of the gradients. So ``N`` processes that see ``B / N`` windows each and average their
gradients take the very step that one process would take with all ``B``::

    grad (1/B sum_b loss_b)  =  1/N sum_n grad (N/B sum_{b in share n} loss_b)

``ddp`` keeps the whole model in every process and averages gradients (an all-reduce).
``fsdp`` keeps a share of each weight, of its gradient and of the optimizer's means in
every process; it gathers the weights of a block when the block is computed (all-gather,
in the forward and in the backward pass), and averages gradients into shares
(reduce-scatter). Run either under ``torchrun``.

All of these can go round a ring, in which each process only speaks to the next. Of a
vector of ``n`` bytes every process then sends, with a delay ``a`` for a message and
``b`` bytes a second::

    all-reduce        2 (N - 1) / N n bytes    2 (N - 1) (a + n / (N b)) seconds
    all-gather          (N - 1) / N n bytes      (N - 1) (a + n / (N b)) seconds
    reduce-scatter      as an all-gather

Sources: the ring, Patarasuk & Yuan (2009), "Bandwidth optimal all-reduce algorithms";
PyTorch DDP, Li et al., arXiv 2006.15704; ZeRO, Rajbhandari et al., 1910.02054; FSDP,
Zhao et al., 2304.11277.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Kind = Literal["one", "ddp", "fsdp"]


class World(NamedTuple):
    """The processes of a run, seen from one of them.

    Attributes:
        kind: how they share the work.
        rank: the number of this one.
        size: how many there are.
    """

    kind: Kind = "one"
    rank: int = 0
    size: int = 1


ONE = World()


def naive_ring_all_reduce(
    vectors: Sequence[np.ndarray],
) -> tuple[list[np.ndarray], list[int]]:
    """Add up vectors that lie in a ring of processes, message by message.

    Each vector is cut into as many chunks as there are processes. In the first
    ``N - 1`` rounds every process hands one chunk on, and the next adds it to its own:
    then each holds one chunk of the sum. In the next ``N - 1`` rounds the finished
    chunks are handed round.

    Args:
        vectors: ``[n]`` each, one for each process.

    Returns:
        What each process holds in the end, and how many numbers it sent.
    """
    size = len(vectors)
    held = [np.array_split(np.array(v, dtype=np.float64), size) for v in vectors]
    sent = [0] * size
    for turn in range(2 * (size - 1)):
        adding = turn < size - 1
        first = -turn if adding else 1 - (turn - size + 1)
        messages = [(rank, (rank + first) % size) for rank in range(size)]
        copies = [held[rank][chunk].copy() for rank, chunk in messages]
        for (rank, chunk), copy in zip(messages, copies, strict=True):
            after = held[(rank + 1) % size]
            after[chunk] = after[chunk] + copy if adding else copy
            sent[rank] += len(copy)
    return [np.concatenate(chunks) for chunks in held], sent


def all_reduce_seconds(
    num_bytes: float, size: int, *, delay: float, bandwidth: float
) -> float:
    """Return how long a ring needs to add up ``num_bytes`` in each of its processes.

    Args:
        num_bytes: of the vector.
        size: how many processes.
        delay: seconds for a message of nothing.
        bandwidth: bytes a second from one process to the next.

    Raises:
        ValueError: there is no process, or no bandwidth.
    """
    if size < 1:
        raise ValueError(f"size is {size}, needs at least 1")
    if bandwidth <= 0:
        raise ValueError(f"bandwidth is {bandwidth}, needs to be above 0")
    return 2 * (size - 1) * (delay + num_bytes / (size * bandwidth))


@contextmanager
def world(kind: Kind, device: str = "cpu") -> Iterator[World]:
    """Meet the other processes that ``torchrun`` started, and part at the end.

    A process meets them once: a second meeting would find the addresses of the first.
    ``place._replace(kind=...)`` shares the work in another way within one meeting.

    Args:
        kind: "one" meets nobody.
        device: of the model: "cpu" (gloo) or "cuda" (NCCL; each process takes the GPU
            of its local rank).

    Raises:
        ValueError: the kind is unknown, or ``torchrun`` did not start this process.
    """
    if kind == "one":
        yield ONE
        return
    if kind not in ("ddp", "fsdp"):
        raise ValueError(f"kind is {kind!r}, needs 'one', 'ddp' or 'fsdp'")
    if "RANK" not in os.environ:
        raise ValueError(f"kind {kind!r} needs processes that torchrun started")
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield World(kind, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def spread(model: nn.Module, place: World) -> nn.Module:
    """Make a model share its work; call it before the optimizer is made.

    With "ddp" the result wraps the model, with "fsdp" it is the model, whose weights
    have become shares (``DTensor``), block by block.
    """
    if place.kind == "ddp":
        return DistributedDataParallel(model)
    if place.kind == "fsdp":
        for block in getattr(model, "blocks", []):
            fully_shard(block)
        fully_shard(model)
    return model


def share(x: Tensor, place: World) -> Tensor:
    """Return the rows of a batch that this process sees.

    Args:
        x: ``[B, ...]``.
        place: of this process among others.

    Returns:
        ``[B / N, ...]``, with ``N`` processes.

    Raises:
        ValueError: the rows cannot be shared evenly.
    """
    if len(x) % place.size:
        raise ValueError(f"batch has {len(x)} rows, {place.size} processes share it")
    return x.chunk(place.size)[place.rank]


@contextmanager
def quiet(model: nn.Module, silent: bool) -> Iterator[None]:
    """Add up gradients without talking, for all but the last part of a batch."""
    if not silent:
        yield
    elif isinstance(model, DistributedDataParallel):
        with model.no_sync():
            yield
    elif hasattr(model, "set_requires_gradient_sync"):
        sync: Any = model.set_requires_gradient_sync
        sync(False)
        try:
            yield
        finally:
            sync(True)
    else:
        yield


def mean(x: Tensor, place: World) -> Tensor:
    """Return the mean of a tensor, of any one shape, over all processes."""
    if place.size == 1:
        return x
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / place.size


def gather(states: dict[str, Tensor], place: World) -> list[dict[str, Tensor]]:
    """Return what each process has, in their order; all of them must call it."""
    if place.size == 1:
        return [states]
    found: list[Any] = [None] * place.size
    dist.all_gather_object(found, states)
    return found


class Traffic(TorchDispatchMode):
    """Count what PyTorch's collectives move while the mode is on.

    Attributes:
        numbers: name of a collective -> the numbers of all its vectors, each counted
            whole: what a ring sends of them is a share, see above.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        super().__init__()
        self.numbers: dict[str, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Let the operation pass, and take note of it."""
        if func.namespace == "c10d":
            name = func._opname.strip("_").removesuffix("_base")
            tensors = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
            size = max((x.numel() for x in tensors), default=0)
            self.numbers[name] = self.numbers.get(name, 0) + size
        return func(*args, **(kwargs or {}))


def whole(x: Tensor) -> Tensor:
    """Return a tensor whose shares lie in all processes, in its own shape.

    All of them must call it.
    """
    return x.full_tensor() if isinstance(x, DTensor) else x


def fill_(x: Tensor, saved: Tensor) -> None:
    """Overwrite a tensor, or this process's share, with a whole one of its shape."""
    with torch.no_grad():
        if isinstance(x, DTensor):
            saved = distribute_tensor(
                saved.to(x.device), x.device_mesh, x.placements, src_data_rank=None
            )
        x.copy_(saved)
