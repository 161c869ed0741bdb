"""Each cache: seconds and bytes of one more token, at several lengths.

Run ``python tests/benchmarks/bench_caches.py [length ...]``. One thread, float32, the
shape of the house model with random weights, batch 1. A prompt fills the caches where
they allow it; else they are filled token by token. Bytes are those of all layers.
"""

import platform
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timing import best_of, refuse_while_red

from minitransformer.caches.dense import DenseCache
from minitransformer.caches.evicting import EvictingCache
from minitransformer.caches.measure import total_bytes
from minitransformer.caches.narrow import NarrowCache
from minitransformer.caches.paged import PagedCache, PagePool
from minitransformer.caches.quantized import QuantizedCache
from minitransformer.caches.sinks import SinkCache
from minitransformer.caches.slim import SlimCache, slim_weights
from minitransformer.caches.staircase import StaircaseCache
from minitransformer.caches.window import WindowCache
from minitransformer.models.presets import llama

LENGTHS, ROUNDS, STEPS = (128, 512, 2048), 3, 8


def slim(mixer: Any, *, late: bool) -> SlimCache:
    """Make the slim cache of a layer."""
    w_kv = slim_weights(mixer.k_proj.weight.T, mixer.v_proj.weight.T)
    return SlimCache(w_kv, late=late)


def paged(mixer: Any) -> PagedCache:
    """Make a paged cache with a pool of its own."""
    heads, size = mixer.num_kv_heads, mixer.head_dim
    return PagedCache(PagePool(200, 16, num_kv_heads=heads, head_dim=size))


CACHES: dict[str, Callable[[Any], Any]] = {
    "dense": lambda mixer: DenseCache(),
    "dense, bfloat16": lambda mixer: NarrowCache(DenseCache(), torch.bfloat16),
    "window 128": lambda mixer: WindowCache(128),
    "sinks 4 + 124": lambda mixer: SinkCache(4, 124),
    "evicting 64 + 64": lambda mixer: EvictingCache(64, 64),
    "slim": partial(slim, late=False),
    "slim, late": partial(slim, late=True),
    "8 bits": lambda mixer: QuantizedCache(8),
    "2 bits": lambda mixer: QuantizedCache(2),
    "staircase": lambda mixer: StaircaseCache(residual=32, group=32),
    "paged": paged,
}


def filled(model: Any, make: Callable[[Any], Any], ids: torch.Tensor) -> list[Any]:
    """Return caches that hold a text."""
    caches = [make(block.mixer) for block in model.blocks]
    pos = torch.arange(ids.shape[1])
    pieces = [1] * len(pos) if isinstance(caches[0], SinkCache) else [len(pos)]
    for at in pos.split(pieces):
        model(ids[:, at], pos=at, caches=caches)
    return caches


@torch.no_grad()
def measure(model: Any, length: int) -> None:
    """Print a line for each cache at one length."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 8192, (1, length), generator=generator)
    held = {name: filled(model, make, ids) for name, make in CACHES.items()}
    bytes_of = {name: total_bytes(caches) for name, caches in held.items()}
    at = iter(range(length, 10 * length + 10_000))

    def decode(caches: list[Any]) -> None:
        for _ in range(STEPS):
            model(ids[:, :1], pos=torch.tensor([next(at)]), caches=caches)

    times = best_of(ROUNDS, *(partial(decode, caches) for caches in held.values()))
    for name, seconds in zip(held, times, strict=True):
        size = bytes_of[name] / bytes_of["dense"]
        speed = seconds / times[0]
        print(
            f"{length:6d} tokens  {name:18}{1e3 * seconds / STEPS:8.2f} ms a token "
            f"({speed:5.2f} of dense){bytes_of[name]:12,d} bytes ({size:.3f} of dense)"
        )


def main() -> None:
    """Check, then measure."""
    refuse_while_red("caches")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {platform.machine()}, one thread, float32")
    model = llama().eval()
    for length in [int(x) for x in sys.argv[1:]] or LENGTHS:
        measure(model, length)


if __name__ == "__main__":
    main()
