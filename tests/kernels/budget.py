"""What the tests of kernels share: tensors, their budget of errors, poison."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.kernels import launch

DEVICE = "cpu" if launch.INTERPRETED else "cuda"
needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(launch.INTERPRETED, reason="kernels run in the interpreter"),
]
DTYPES = [
    torch.float32,
    torch.float16,
    pytest.param(torch.bfloat16, marks=needs_gpu),
]


def normal(*shape, seed=0, dtype=torch.float32):
    """Random numbers, on a GPU where kernels are compiled."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(DEVICE, dtype)


def within_budget(ours, theirs, inputs, seed=9):
    """Hold output and gradients to a multiple of PyTorch's error in the same type.

    All are compared with ``theirs`` in float64: twice the error is allowed forward,
    three times backward, and beyond it a rounding or two of the largest number.
    """
    results = []
    for run, dtype in ((ours, None), (theirs, None), (theirs, torch.float64)):
        given = [x.detach().to(dtype or x.dtype).requires_grad_() for x in inputs]
        out = run(*given)
        by = normal(*out.shape, seed=seed).to(out.dtype)
        results.append([out, *torch.autograd.grad((out * by).sum(), given)])
    for i, (got, peer, exact) in enumerate(zip(*results, strict=True)):
        assert got.shape == exact.shape
        assert not got.isnan().any()
        error, allowed = ((x.double() - exact).abs().max() for x in (got, peer))
        slack = 2 * torch.finfo(got.dtype).eps * exact.abs().max()
        assert error <= (3 if i else 2) * allowed + slack, (i, error, allowed)
