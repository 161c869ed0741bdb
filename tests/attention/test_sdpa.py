import pytest
import torch

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.attention.sdpa import sdpa
from minitransformer.layers.partial import Partial
from minitransformer.testing import Shape, assert_close, check_attend, example

CAUSAL = Partial(attention, mask_mod=masks.causal)


def test_it_is_causal_attention_on_every_shape_and_position():
    check_attend(sdpa, like=CAUSAL, lse=False)


@pytest.mark.parametrize("length", [1, 3, 8, 11])
def test_the_last_query_stands_on_the_last_key(length):
    query, key, value = example(Shape(2, 4, 2, length, 8))
    assert_close(sdpa(query, key, value), CAUSAL(query, key, value), 1e-12, "same")


@pytest.mark.parametrize("length", [3, 8])
def test_gradients_are_those_of_attention(length):
    inputs = [x.requires_grad_() for x in example(Shape(2, 4, 2, length, 8))]
    weight = torch.randn(2, 4, length, 6, dtype=torch.float64)
    ours, theirs = (
        torch.autograd.grad((attend(*inputs) * weight).sum(), inputs)
        for attend in (sdpa, CAUSAL)
    )
    for got, wanted in zip(ours, theirs, strict=True):
        assert_close(got, wanted, 1e-12, "gradients are the same")


def test_a_scale_is_used():
    query, key, value = example(Shape(1, 2, 2, 4, 4))
    got, wanted = (f(query, key, value, scale=0.3) for f in (sdpa, CAUSAL))
    assert_close(got, wanted, 1e-12, "same scale")


def test_what_the_kernel_cannot_give_is_refused():
    with pytest.raises(ValueError, match="return_lse is True"):
        sdpa(*example(Shape(1, 2, 2, 4, 4)), return_lse=True)


def test_without_memory_shapes_are_known_all_the_same():
    query, key, value = (x.to("meta") for x in example(Shape(2, 4, 2, 3, 5)))
    pos = torch.arange(5, device="meta")
    out = sdpa(query, key, value, q_pos=pos[2:], kv_pos=pos)
    assert out.shape == (2, 4, 3, 6)


@pytest.mark.parametrize(
    ("q_pos", "kv_pos"),
    [
        ([4], [0, 1, 2, 3, 4]),  # the last query: no mask
        ([0, 1, 2], [0, 1, 2]),  # a prompt: the causal flag
        ([-1, 0, 1], [-1, 0, 1]),  # padded: a query without a key
        ([2, 1, 0], [2, 1, 0]),  # out of order
        ([3, 4], [0, 1, 2, 3, 4]),
    ],
)
def test_each_plan_is_what_the_positions_say(q_pos, kv_pos):
    query, key, value = example(Shape(2, 4, 2, len(q_pos), len(kv_pos)))
    given = {"q_pos": torch.tensor(q_pos), "kv_pos": torch.tensor(kv_pos)}
    wanted = CAUSAL(query, key, value, **given)
    assert_close(sdpa(query, key, value, **given), wanted, 1e-12, "same")
    given["kv_pos"] -= 1  # the same tensor, other positions
    wanted = CAUSAL(query, key, value, **given)
    assert_close(sdpa(query, key, value, **given), wanted, 1e-12, "same")
