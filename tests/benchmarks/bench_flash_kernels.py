"""The flash kernels beside cuDNN, FlashAttention-2 and FlexAttention, on a GPU.

Run ``python tests/benchmarks/bench_flash_kernels.py --out FILE``. 16,384 tokens in all,
2,048 numbers a token, bfloat16, all peers in turns in the same run; the median of a
tenth of a second each. TFLOP/s count the two products of the forward pass (half of them
under a causal mask) and two and a half times as many for the backward pass, whatever a
kernel computes again. Nothing is timed while the tests of the kernels fail.
"""

import argparse
import json
import platform
import statistics
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._functorch.config as functorch
import torch.nn.functional as F
import triton
from timing import refuse_while_red
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from minitransformer.kernels import flash_attention, hopper_attention

TOKENS, WIDTH = 16384, 2048
LENGTHS = (2048, 4096, 8192, 16384)


def milliseconds(run: Callable[[], Any]) -> float:
    """Return the median time of a call on the GPU."""
    return triton.testing.do_bench(run, warmup=20, rep=100, return_mode="median")


def torch_backend(backend: SDPBackend, causal: bool, *inputs: Tensor) -> Tensor:
    """Run PyTorch's attention on one of its paths."""
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(*inputs, is_causal=causal)


def flex(length: int, causal: bool) -> Callable[..., Tensor]:
    """Return compiled FlexAttention."""
    mask = None
    if causal:
        mask = create_block_mask(
            lambda b, h, q, kv: q >= kv, None, None, length, length, device="cuda"
        )
    return partial(torch.compile(flex_attention), block_mask=mask)


def compare(head_dim: int, length: int, causal: bool) -> list[dict[str, Any]]:
    """Time all peers at one size."""
    torch.compiler.reset()  # else FlexAttention would not compile for many sizes
    generator = torch.Generator("cuda").manual_seed(0)
    size = (TOKENS // length, WIDTH // head_dim, length, head_dim)

    def normal() -> Tensor:
        x = torch.randn(size, generator=generator, device="cuda").bfloat16()
        return x.requires_grad_()

    inputs, dout = [normal() for _ in range(3)], normal().detach()
    peers: dict[str, Callable[..., Tensor]] = {
        "hopper": partial(hopper_attention.attention, causal=causal),
        "triton": partial(flash_attention.attention, causal=causal),
        "cuDNN": partial(torch_backend, SDPBackend.CUDNN_ATTENTION, causal),
        "FlashAttention-2": partial(torch_backend, SDPBackend.FLASH_ATTENTION, causal),
        "FlexAttention": flex(length, causal),
    }
    work = 4 * TOKENS * length * WIDTH / (2 if causal else 1)
    rows = []
    for name, peer in peers.items():
        out = peer(*inputs)
        with torch.no_grad():
            forward = milliseconds(lambda peer=peer: peer(*inputs))
        backward = milliseconds(
            lambda out=out: torch.autograd.grad(out, inputs, dout, retain_graph=True)
        )
        rows.append(
            {
                "peer": name,
                "head_dim": head_dim,
                "length": length,
                "causal": causal,
                "forward": work / forward / 1e9,
                "both": 3.5 * work / (forward + backward) / 1e9,
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print one size, ours over the best peer's."""
    first = rows[0]
    kind = "causal" if first["causal"] else "full"
    print(f"E {first['head_dim']}, L {first['length']}, {kind} (TFLOP/s)")
    base = next(row for row in rows if row["peer"] == "cuDNN")
    for row in rows:
        print(
            f"  {row['peer']:17} forward {row['forward']:4.0f} = "
            f"{row['forward'] / base['forward']:.2f} x cuDNN, both {row['both']:4.0f} "
            f"= {row['both'] / base['both']:.2f} x",
            flush=True,
        )


def main() -> None:
    """Check, measure, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--commit", default=None, help="by default git is asked")
    arguments = parser.parse_args()
    refuse_while_red("kernels")
    functorch.donated_buffer = False  # gradients are taken many times
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = arguments.commit or subprocess.check_output(git, text=True).strip()
    rows = []
    for head_dim in (128, 64):
        for causal in (True, False):
            for length in LENGTHS:
                size = compare(head_dim, length, causal)
                show(size)
                rows += size
    source, target = torch.empty(2, 2**30, device="cuda", dtype=torch.uint8)
    copies = [milliseconds(lambda: target.copy_(source)) for _ in range(3)]
    about = {
        "device": torch.cuda.get_device_name(),
        "dtype": "bfloat16",
        "copy_terabytes": 2 * 2**30 / statistics.median(copies) / 1e9,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
    }
    text = json.dumps({"about": about, "rows": rows}, indent=1)
    arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
