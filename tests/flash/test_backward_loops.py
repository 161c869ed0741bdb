import numpy as np
import pytest

from minitransformer.attention import masks
from minitransformer.attention.core import naive_attention_backward
from minitransformer.flash.backward_loops import (
    flash1_backward,
    flash2_backward,
    standard_backward,
)
from minitransformer.flash.forward_loops import (
    causal,
    flash1_forward,
    flash2_forward,
    standard_forward,
)
from minitransformer.flash.memory import TwoLevelMemory

from .test_forward_loops import EXACT, LENGTHS, SIZES, draw


def gradients(name, inputs, grad_out, tiles, memory=None, **options):
    """Run a forward and a backward loop."""
    memory = memory or TwoLevelMemory()
    options |= {"block_q": tiles[0], "block_k": tiles[1]}
    if name == "standard":
        _, weights = standard_forward(*inputs, TwoLevelMemory(), **options)
        grads = standard_backward(*inputs, weights, grad_out, memory, **options)
    else:
        forward, backward = {
            "flash1": (flash1_forward, flash1_backward),
            "flash2": (flash2_forward, flash2_backward),
        }[name]
        kept = forward(*inputs, TwoLevelMemory(), **options)
        grads = backward(*inputs, *kept, grad_out, memory, **options)
    assert memory.used == 0, "every tile is given back"
    return grads


def check(got, inputs, grad_out, **options):
    arrays = (x[None, None] for x in (*inputs, grad_out))
    wanted = naive_attention_backward(*arrays, **options)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b[0, 0], rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", ["standard", "flash1", "flash2"])
@pytest.mark.parametrize("tiles", SIZES, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_all_loops_derive_attention(name, lengths, tiles):
    inputs = draw(*lengths)
    grad_out = np.random.default_rng(1).normal(size=(lengths[0], 3))
    check(gradients(name, inputs, grad_out, tiles), inputs, grad_out)


@pytest.mark.parametrize("name", ["flash1", "flash2"])
@pytest.mark.parametrize("tiles", SIZES, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_masked_loops_derive_masked_attention(name, lengths, tiles):
    inputs = draw(*lengths)
    grad_out = np.random.default_rng(1).normal(size=(lengths[0], 3))
    options = {"seen": causal(*lengths), "scale": 0.3}
    got = gradients(name, inputs, grad_out, tiles, **options)
    check(got, inputs, grad_out, mask_mod=masks.causal, scale=0.3)


def test_the_slope_is_what_small_nudges_say():
    inputs = draw(3, 4)
    grad_out = np.random.default_rng(1).normal(size=(3, 3))
    grads = gradients("flash2", inputs, grad_out, (2, 2))

    def loss(arrays):
        memory = TwoLevelMemory()
        return (
            flash2_forward(*arrays, memory, block_q=2, block_k=2)[0] * grad_out
        ).sum()

    for which, grad in enumerate(grads):
        nudge = np.random.default_rng(2).normal(size=grad.shape)
        up, down = list(inputs), list(inputs)
        up[which], down[which] = (inputs[which] + h * nudge for h in (1e-5, -1e-5))
        slope = (loss(up) - loss(down)) / 2e-5
        # a central difference of step h is off by h^2 = 1e-10 times a third derivative
        assert abs(slope - (grad * nudge).sum()) < 1e-8


def test_no_more_than_the_tiles_is_held():
    """FlashAttention-2: Q, dQ, dO, lse, D; K, V, dK, dV; P and dS."""
    need = 8 * (4 * (4 + 4 + 3 + 2) + 2 * (4 + 3 + 4 + 3) + 2 * 4 * 2)
    for lengths in ((8, 8), (16, 32)):
        memory = TwoLevelMemory()
        gradients("flash2", draw(*lengths), np.ones((lengths[0], 3)), (4, 2), memory)
        assert memory.peak == need


def test_tiles_that_nobody_sees_are_skipped():
    lengths, made = (8, 8), {}
    for seen in (None, causal(*lengths)):
        memory = TwoLevelMemory()
        options = {"memory": memory, "seen": seen}
        gradients("flash2", draw(*lengths), np.ones((8, 3)), (2, 2), **options)
        made[seen is None] = sum(
            e[:1] + e.label[:1] == ("new", "S") for e in memory.log
        )
    assert made == {True: 16, False: 10}
