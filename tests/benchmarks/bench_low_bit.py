"""Lightning attention beside fla-core, 8-bit attention beside SageAttention, on a GPU.

Run ``python tests/benchmarks/bench_low_bit.py --out FILE``. 16,384 tokens, or one
sequence where that is longer; 16 heads of 128 numbers. Linear attention, in bfloat16,
is counted in nanoseconds a token; its kernels are so short that Python could not launch
them fast enough, so calls are recorded as a CUDA graph and replayed (``graph`` in a row
says whether that worked). Softmax attention under a causal mask is counted in TFLOP/s,
from the two products of the forward pass, half of each. Peers that are not installed
are left out, with a word. Each output is compared with float64 or with the peer's
before it is timed, and nothing is timed while the tests of the kernels fail.
"""

import argparse
import json
import platform
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import triton
from timing import refuse_while_red
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from minitransformer.kernels import (
    flash_attention,
    fp8_attention,
    hopper_attention,
    int8_attention,
)
from minitransformer.kernels.lightning_attention import lightning_attention

TOKENS, HEADS, HEAD_DIM = 16384, 16, 128
LINEAR_LENGTHS = (2048, 4096, 8192, 32768)
INT8_LENGTHS = (4096, 8192, 16384)
Peers = dict[str, Callable[..., Tensor]]


def milliseconds(run: Callable[[], Any], *, graph: bool) -> tuple[float, bool]:
    """Return the median time of a call, and whether it was a replay."""
    if graph:
        try:
            time = triton.testing.do_bench_cudagraph(run, rep=60, return_mode="median")
            return float(time), True
        except RuntimeError as error:  # an operation that cannot be recorded
            print(f"  not recorded: {str(error).splitlines()[0]}")
            torch.cuda.synchronize()
    time = triton.testing.do_bench(run, warmup=20, rep=100, return_mode="median")
    return float(time), False


def normal(*shape: int, dtype: torch.dtype) -> Tensor:
    """Draw a tensor on the GPU, always the same."""
    generator = torch.Generator("cuda").manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, device="cuda").to(dtype)


def apart(got: Tensor, wanted: Tensor) -> float:
    """Return the relative distance of two tensors."""
    got, wanted = got.detach().double(), wanted.detach().double()
    return float((got - wanted).norm() / wanted.norm())


def linear_peers(slopes: Tensor) -> Peers:
    """Return what attends linearly to ``[B, H, L, E]``; fla by way of ``[B, L, H, E]``.

    The function for lightning attention in fla-core makes its slopes anew in each call,
    from a list, which no graph can record; this is the function that it then calls.
    """
    decay = slopes.exp()
    peers: Peers = {
        "ours": lambda *inputs: lightning_attention(*inputs, decay=decay)[0]
    }
    try:
        from fla.ops.simple_gla import chunk_simple_gla
    except ImportError:
        print("fla-core is not installed: left out")
        return peers

    def fla(*inputs: Tensor) -> Tensor:
        return chunk_simple_gla(*inputs, g_gamma=slopes, scale=1.0)[0]

    return peers | {"fla": fla}


def compare_linear(
    length: int, layer: int = 0, layers: int = 12
) -> list[dict[str, Any]]:
    """Time linear attention at one length, forward, and forward and backward."""
    batch = max(1, TOKENS // length)
    first = torch.arange(HEADS, device="cuda", dtype=torch.float32)
    slopes = -8 / HEADS * first
    sizes = {"ours": (HEADS, length), "fla": (length, HEADS)}
    rows, outs = [], {}
    for name, peer in linear_peers(slopes).items():
        shape = (batch, *sizes[name], HEAD_DIM)
        drawn = normal(4, batch, HEADS, length, HEAD_DIM, dtype=torch.bfloat16)
        if name == "fla":
            drawn = drawn.transpose(2, 3).contiguous()
        *inputs, dout = (x.clone().view(shape) for x in drawn)
        inputs = [x.requires_grad_() for x in inputs]
        outs[name] = peer(*inputs).detach()
        if name == "fla":
            outs[name] = outs[name].transpose(1, 2)
        with torch.no_grad():
            forward, graph = milliseconds(lambda: peer(*inputs), graph=True)  # noqa: B023
        both, both_graph = milliseconds(
            lambda: torch.autograd.grad(peer(*inputs), inputs, dout),  # noqa: B023
            graph=True,
        )
        rows.append(
            {
                "peer": name,
                "length": length,
                "batch": batch,
                "forward": forward * 1e6 / (batch * length),
                "both": both * 1e6 / (batch * length),
                "graph": graph and both_graph,
            }
        )
    for name, out in outs.items():
        assert apart(out, outs["ours"]) < 0.02, f"{name} computes something else"
    return rows


def softmax_attention(backend: SDPBackend, *inputs: Tensor) -> Tensor:
    """Run PyTorch's attention on one of its paths."""
    query, key, value = inputs
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def attention_peers() -> dict[str, tuple[Callable[..., Tensor], torch.dtype]]:
    """Return name -> (causal attention to ``[B, H, L, E]``, the type it is given)."""

    peers: dict[str, tuple[Callable[..., Tensor], torch.dtype]] = {
        "int8": (partial(int8_attention.attention, causal=True), torch.float16),
        "fp8": (partial(fp8_attention.attention, causal=True), torch.bfloat16),
        "hopper": (partial(hopper_attention.attention, causal=True), torch.bfloat16),
        "triton": (partial(flash_attention.attention, causal=True), torch.bfloat16),
        "cuDNN": (
            partial(softmax_attention, SDPBackend.CUDNN_ATTENTION),
            torch.bfloat16,
        ),
    }
    try:
        from sageattention import sageattn
    except ImportError:
        print("sageattention is not installed: left out")
        return peers
    return peers | {"sage": (partial(sageattn, is_causal=True), torch.float16)}


def compare_int8(length: int) -> list[dict[str, Any]]:
    """Time softmax attention at one length; the error is that of the first head."""
    shape = (TOKENS // length, HEADS, length, HEAD_DIM)
    work = 4 * TOKENS * length * HEADS * HEAD_DIM / 2
    rows = []
    for name, (peer, dtype) in attention_peers().items():
        inputs = normal(3, *shape, dtype=dtype).unbind()
        one = [x[:1, :1].double() for x in inputs]
        with torch.no_grad():
            wanted = softmax_attention(SDPBackend.MATH, *one)
            error = apart(peer(*inputs)[:1, :1], wanted)
            most = 0.0625 if name == "fp8" else 0.05  # a number in e4m3: a sixteenth
            assert error < most, f"{name} is off by {error}"
            time, _ = milliseconds(lambda: peer(*inputs), graph=False)  # noqa: B023
        rows.append(
            {
                "peer": name,
                "length": length,
                "forward": work / time / 1e9,
                "error": error,
            }
        )
    return rows


def main() -> None:
    """Check, measure, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--commit", default=None, help="by default git is asked")
    parser.add_argument("--untested", action="store_true", help="do not test first")
    arguments = parser.parse_args()
    if not arguments.untested:
        names = ("lightning", "int8", "fp8")
        refuse_while_red(*(f"kernels/test_{name}_attention.py" for name in names))
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = arguments.commit or subprocess.check_output(git, text=True).strip()
    linear, softmax = [], []
    for length in LINEAR_LENGTHS:
        for row in compare_linear(length):
            linear.append(row)
            print(
                f"L {length:5} {row['peer']:5} forward {row['forward']:5.1f} ns a token"
                f", both {row['both']:5.1f}{'' if row['graph'] else ' (no graph)'}",
                flush=True,
            )
    for length in INT8_LENGTHS:
        for row in compare_int8(length):
            softmax.append(row)
            print(
                f"L {length:5} {row['peer']:6} {row['forward']:4.0f} TFLOP/s, error "
                f"{row['error']:.5f}",
                flush=True,
            )
    about = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
    }
    text = json.dumps({"about": about, "lightning": linear, "int8": softmax}, indent=1)
    arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
