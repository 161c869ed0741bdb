"""The kernel for Hopper GPUs is FlashAttention, faster."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.kernels import flash_attention, launch
from minitransformer.kernels.hopper_attention import attention

HOPPER = (
    not launch.INTERPRETED
    and torch.cuda.is_available()
    and torch.cuda.get_device_capability()[0] == 9
)
on_a_hopper = pytest.mark.skipif(not HOPPER, reason="needs a Hopper GPU")


def test_without_a_hopper_it_says_what_it_needs():
    query = torch.zeros(1, 1, 4, 64)
    with pytest.raises(ValueError, match="query is on cpu, needs a compiled Hopper"):
        attention(query, query, query)


@pytest.mark.gpu
@on_a_hopper
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "size",
    [  # batch, heads, kv_heads, length, kv_length, head_dim
        (2, 4, 4, 512, 512, 128),
        (1, 4, 2, 1000, 1000, 64),
        (1, 2, 1, 333, 777, 128),
        (1, 2, 1, 777, 333, 64),
        (3, 2, 2, 1, 1000, 128),
        (1, 2, 2, 5, 3, 128),
    ],
    ids=str,
)
def test_it_agrees_with_the_portable_kernel(size, dtype, causal):
    """Their sums differ in order alone: by a rounding of the type at the most."""
    batch, heads, kv_heads, length, kv_length, head_dim = size
    generator = torch.Generator("cuda").manual_seed(0)

    def normal(*size):
        x = torch.randn(size, generator=generator, device="cuda").to(dtype)
        return x.requires_grad_()

    query = normal(batch, heads, length, head_dim)
    key = normal(batch, kv_heads, kv_length, head_dim)
    value = normal(batch, kv_heads, kv_length, head_dim)
    results = []
    for function in (attention, flash_attention.attention):
        out, lse = function(query, key, value, causal=causal, return_lse=True)
        number = out.float().sin().sum() + lse.nan_to_num(neginf=0.0).sum()
        results.append([out, lse, *torch.autograd.grad(number, (query, key, value))])
    for ours, theirs in zip(*results, strict=True):
        same = ours.nan_to_num(neginf=0.0).double()
        wanted = theirs.nan_to_num(neginf=0.0).double()
        assert (same - wanted).norm() <= 2 * torch.finfo(dtype).eps * wanted.norm()


@pytest.mark.gpu
@on_a_hopper
def test_what_it_cannot_do_is_named():
    query = torch.zeros(1, 1, 4, 32, device="cuda", dtype=torch.float16)
    with pytest.raises(ValueError, match="head_dim 32, needs float16 or bfloat16"):
        attention(query, query, query)
