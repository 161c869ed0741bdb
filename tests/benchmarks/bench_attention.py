"""``attention`` beside PyTorch's attention on the CPU.

Run ``python tests/benchmarks/bench_attention.py``. One thread, float32, all variants in
turns, the best of several rounds; nothing is timed while the tests of ``attention``
fail.
"""

import platform

import torch
import torch.nn.functional as F
from timing import best_of, refuse_while_red
from torch.nn.attention import SDPBackend, sdpa_kernel

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.testing import Shape, assert_close, example

SHAPE, HEAD_DIM, ROUNDS = Shape(4, 8, 8, 1024, 1024), 64, 5


def with_backend(backend: SDPBackend, causal: bool, inputs: tuple) -> torch.Tensor:
    """Run PyTorch's attention on one of its paths."""
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(*inputs, is_causal=causal)


def compare(causal: bool, gradients: bool) -> None:
    """Time one setting, ours and theirs in turns."""
    inputs = example(SHAPE, head_dim=HEAD_DIM, value_dim=HEAD_DIM, dtype=torch.float32)
    inputs = tuple(x.requires_grad_(gradients) for x in inputs)
    mask = masks.causal if causal else None
    variants = {
        "ours": lambda: attention(*inputs, mask_mod=mask),
        "math": lambda: with_backend(SDPBackend.MATH, causal, inputs),
        "flash": lambda: with_backend(SDPBackend.FLASH_ATTENTION, causal, inputs),
    }
    for run in variants.values():
        assert_close(run(), variants["math"](), 1e-5, "all compute the same")
    if gradients:
        forward = dict(variants)
        variants = {
            name: lambda run=run: torch.autograd.grad(run().sum(), inputs)
            for name, run in forward.items()
        }
    times = dict(zip(variants, best_of(ROUNDS, *variants.values()), strict=True))
    what = (
        f"{'causal' if causal else 'full'}, {'with' if gradients else 'no'} gradients"
    )
    print(what + ": " + ", ".join(f"{name} {t:.3f} s" for name, t in times.items()))
    math, flash = (times[name] / times["ours"] for name in ("math", "flash"))
    print(f"  {math:.2f} times as fast as the math path (wanted: 1), ", end="")
    print(f"{flash:.2f} times as the flash path")


def main() -> None:
    """Check, then measure."""
    refuse_while_red("attention")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.machine()}, one thread, {SHAPE}")
    for gradients in (False, True):
        for causal in (False, True):
            compare(causal, gradients)


if __name__ == "__main__":
    main()
