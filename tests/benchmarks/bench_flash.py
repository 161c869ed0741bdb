"""``tiled_attention`` beside PyTorch's own FlashAttention on the CPU.

Run ``python tests/benchmarks/bench_flash.py [threads]``. float32, 8 heads, 4,096
queries and keys of 64 numbers, all variants in turns with the same threads, the best of
several rounds; nothing is timed while the tests of ``flash`` fail. Wanted is at most
1.5 times PyTorch's time, and the aim is the same time.
"""

import platform
import sys
from functools import partial

import torch
import torch.nn.functional as F
from timing import best_of, refuse_while_red
from torch.nn.attention import SDPBackend, sdpa_kernel

from minitransformer.attention import masks
from minitransformer.flash.chunked import chunked_attention
from minitransformer.flash.tiled import tiled_attention
from minitransformer.testing import Shape, assert_close, example

SHAPE, HEAD_DIM, ROUNDS = Shape(1, 8, 8, 4096, 4096), 64, 5


def pytorch(*inputs: torch.Tensor, causal: bool) -> torch.Tensor:
    """Run PyTorch's attention on its flash path."""
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return F.scaled_dot_product_attention(*inputs, is_causal=causal)


def compare(causal: bool, gradients: bool) -> None:
    """Time one setting, ours and theirs in turns."""
    inputs = example(SHAPE, head_dim=HEAD_DIM, value_dim=HEAD_DIM, dtype=torch.float32)
    inputs = tuple(x.requires_grad_(gradients) for x in inputs)
    mask_mod = masks.causal if causal else None
    functions = {
        "PyTorch": partial(pytorch, causal=causal),
        "tiled": partial(tiled_attention, mask_mod=mask_mod),
        "chunked": partial(chunked_attention, mask_mod=mask_mod),
    }
    wanted = functions["PyTorch"](*inputs)
    grad_out = torch.ones_like(wanted)

    def run(attend):
        out = attend(*inputs)
        return torch.autograd.grad(out, inputs, grad_out) if gradients else out

    for name, attend in functions.items():
        assert_close(attend(*inputs), wanted, 1e-5, f"{name} computes the same")
    times = best_of(ROUNDS, *(partial(run, attend) for attend in functions.values()))
    what = "causal" if causal else "full"
    what += ", forward and backward" if gradients else ", forward"
    line = [f"{name} {t:.3f} s" for name, t in zip(functions, times, strict=True)]
    ratio = times[1] / times[0]
    print(f"{what}: {', '.join(line)}; tiled takes {ratio:.2f} times PyTorch's time")


def main() -> None:
    """Check, then measure."""
    refuse_while_red("flash")
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    threads = torch.get_num_threads()
    print(f"torch {torch.__version__}, {platform.machine()}, threads: {threads}")
    print(f"{SHAPE}, head_dim {HEAD_DIM}")
    for gradients in (False, True):
        for causal in (False, True):
            compare(causal, gradients)


if __name__ == "__main__":
    main()
