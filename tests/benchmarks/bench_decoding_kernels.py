"""Decoding kernels and the block-sparse one, beside PyTorch's and the bytes they need.

Run ``python tests/benchmarks/bench_decoding_kernels.py --out FILE`` on a GPU. float16;
32 sequences, 32 heads on 8 key heads, 128 numbers each. A peer is captured as a graph,
so that launches cost little, and the median of its replays counts. The byte floor is
that of queries, keys and values (for the staircase: codes, ends and what waits) at the
bandwidth of a copy, measured in the same run; codes are packed, so bytes are bits / 8.
"""

import argparse
import json
import platform
import subprocess
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import triton
from timing import refuse_while_red
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from minitransformer.caches.quantized import Quantized, block
from minitransformer.caches.staircase import StaircaseCache
from minitransformer.kernels import block_sparse, flash_attention, flash_decoding
from minitransformer.kernels import staircase_decoding as staircase

BATCH, HEADS, KV_HEADS, HEAD_DIM, PAGE = 32, 32, 8, 128, 64
RESIDUAL, GROUP = 128, 64
LENGTHS = (2048, 4096, 8192, 16384)
STAIRS = ((16, 8), (16, 4), (16, 2), (16, 8, 4, 2))
SPARSE, BLOCK = 16384, 128


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers in float16 on the GPU."""
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(shape, generator=generator, device="cuda", dtype=torch.half)


def milliseconds(run: Callable[[], Any]) -> float:
    """Return the median time of a call, captured as a graph."""
    run()  # compiles
    torch.cuda.synchronize()
    return triton.testing.do_bench_cudagraph(run, rep=100, return_mode="median")


def size_of(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of some tensors."""
    return sum(x.numel() * x.element_size() for x in tensors)


def filled(key: Tensor, value: Tensor, bits: tuple[int, ...]) -> tuple[Any, int]:
    """Return the stairs of a cache that has seen these tokens, and their bytes."""
    cache = StaircaseCache(bits, residual=RESIDUAL, group=GROUP)
    old = key.shape[2] - RESIDUAL * len(bits) + 1  # a stair each, and some that wait
    old -= old % RESIDUAL
    cache.update(
        key[:, :, old:], value[:, :, old:], torch.arange(old, key.shape[2]).cuda()
    )
    more = block(key[:, :, :old], value[:, :, :old], bits[-1], GROUP)
    stairs: list[Any] = [more, *cache.blocks()]
    if cache.waiting is not None and cache.waiting.key.shape[2]:
        kept = (cache.waiting.key, cache.waiting.value)
        stairs.append(tuple(Quantized(x, None, 16, HEAD_DIM) for x in kept))
    return stairs, sum(k.num_bytes() + v.num_bytes() for k, v in stairs)


def decoding(length: int, bandwidth: float) -> list[dict[str, Any]]:
    """Time one new token of each sequence on ``length`` keys."""
    torch.compiler.reset()  # else FlexAttention would not compile for many sizes
    query = normal(BATCH, HEADS, 1, HEAD_DIM)
    key, value = (normal(BATCH, KV_HEADS, length, HEAD_DIM, seed=s) for s in (1, 2))
    whole = size_of([query, key, value])
    pages = BATCH * length // PAGE
    pool = [
        x.unflatten(2, (-1, PAGE)).transpose(1, 2).flatten(0, 1).contiguous()
        for x in (key, value)
    ]
    order = torch.randperm(pages, device="cuda")  # pages lie anywhere
    pool = [torch.empty_like(x).index_copy_(0, order, x) for x in pool]
    paged = {
        "table": order.view(BATCH, -1).int(),
        "counts": torch.full((BATCH,), length, dtype=torch.int32, device="cuda"),
    }
    dense = partial(F.scaled_dot_product_attention, query, key, value, enable_gqa=True)
    flex = partial(torch.compile(flex_attention), query, key, value, enable_gqa=True)
    in_pages = partial(flash_decoding.paged_attention, query, *pool, **paged)
    peers: dict[str, tuple[Callable[[], Any], int]] = {
        "flash decoding": (partial(flash_decoding.attention, query, key, value), whole),
        "paged": (in_pages, whole),
        "SDPA": (dense, whole),
        "FlexAttention": (flex, whole),
    }
    for bits in STAIRS:
        stairs, size = filled(key, value, bits)
        name = "staircase " + " ".join(map(str, bits))
        run = partial(staircase.attention, query, stairs)
        peers[name] = (run, size + size_of([query]))
    wanted = dense().float()
    rows = []
    for name, (run, size) in peers.items():
        took = milliseconds(run)
        rows.append(
            {
                "part": "decoding",
                "peer": name,
                "length": length,
                "milliseconds": took,
                "bytes": size,
                "floor": size / bandwidth * 1e3,
                "error": float((run().float() - wanted).norm() / wanted.norm()),
            }
        )
    for row in rows:
        row["time_ratio"] = row["milliseconds"] / rows[0]["milliseconds"]
        row["bytes_ratio"] = row["bytes"] / rows[0]["bytes"]
    return rows


def sparse(share: float) -> list[dict[str, Any]]:
    """Time a share of the blocks, drawn, with the diagonal always among them."""
    torch.compiler.reset()
    heads = 16
    query, key, value = (normal(1, heads, SPARSE, HEAD_DIM, seed=s) for s in range(3))
    blocks = SPARSE // BLOCK
    generator = torch.Generator("cuda").manual_seed(3)
    draws = torch.rand(blocks, blocks, generator=generator, device="cuda")
    seen = (draws < share) | torch.eye(blocks, dtype=torch.bool, device="cuda")
    lists = block_sparse.lists_of(seen, BLOCK)
    mask = create_block_mask(
        lambda b, h, q, kv: seen[q // BLOCK, kv // BLOCK],
        None, None, SPARSE, SPARSE, device="cuda", BLOCK_SIZE=BLOCK,
    )  # fmt: skip
    flex = torch.compile(flex_attention)
    peers: dict[str, Callable[[], Any]] = {
        "block-sparse": partial(block_sparse.attention, query, key, value, lists=lists),
        "FlexAttention": partial(flex, query, key, value, block_mask=mask),
        "dense, ours": partial(flash_attention.attention, query, key, value),
        "dense, SDPA": partial(F.scaled_dot_product_attention, query, key, value),
    }
    with torch.no_grad():
        wanted = peers["FlexAttention"]().float()
        work = 4 * heads * SPARSE**2 * HEAD_DIM
        kept = float(seen.float().mean())
        rows = []
        for name, run in peers.items():
            took, own = milliseconds(run), 1.0 if "dense" in name else kept
            error = float((run().float() - wanted).norm() / wanted.norm())
            rows.append(
                {
                    "part": "block-sparse",
                    "peer": name,
                    "share": kept,
                    "milliseconds": took,
                    "teraflops": own * work / took / 1e9,
                    "error": None if "dense" in name else error,
                }
            )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print one size."""
    for row in rows:
        words = [f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, int | float)]
        print(f"{row['peer']:22}", ", ".join(words), flush=True)


def main() -> None:
    """Check, measure, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--commit", default=None, help="by default git is asked")
    parser.add_argument("--untested", action="store_true", help="do not test first")
    arguments = parser.parse_args()
    if not arguments.untested:
        names = ("flash_decoding", "staircase_decoding", "block_sparse")
        refuse_while_red(*(f"kernels/test_{name}.py" for name in names))
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = arguments.commit or subprocess.check_output(git, text=True).strip()
    source, target = torch.empty(2, 2**30, device="cuda", dtype=torch.uint8)
    copied = triton.testing.do_bench(  # in a graph, a copy is slow
        lambda: target.copy_(source), return_mode="median"
    )
    bandwidth = 2 * 2**30 / copied * 1e3
    about = {
        "device": torch.cuda.get_device_name(),
        "dtype": "float16",
        "copy_terabytes": bandwidth / 1e12,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
    }
    rows = []
    for run in [
        *(partial(decoding, length, bandwidth) for length in LENGTHS),
        *(partial(sparse, share) for share in (1 / 16, 1 / 8, 1 / 4, 1 / 2)),
    ]:
        size = run()
        show(size)
        rows += size
        text = json.dumps({"about": about, "rows": rows}, indent=1)
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
