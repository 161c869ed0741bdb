"""The fused turn is the turn of ``positions.rotary``, in both layouts."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.kernels.rotary import rotate
from minitransformer.positions import rotary as twin

from .budget import DEVICE, DTYPES, normal, within_budget

POS = torch.tensor([-1, 0, 1, 7, 100_000, 3, 3], device=DEVICE)
FREQS = {
    "all": twin.frequencies(20),
    "some": twin.frequencies(20)[:3],
    "a head each": twin.frequencies(20) * torch.arange(1, 6)[:, None],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["half", "interleaved"])
@pytest.mark.parametrize("name", FREQS)
def test_it_keeps_to_its_budget_of_errors(name, layout, dtype):
    freqs = FREQS[name]
    within_budget(
        lambda x: rotate(x, POS, freqs, layout=layout),
        lambda x: twin.rotate(x, POS, freqs, layout=layout),
        [normal(2, 5, 7, 20, dtype=dtype)],
    )


@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (3, 9, 1, 64), (2, 4, 130, 8)])
def test_each_sequence_has_its_own_positions(shape):
    batch, _, length, size = shape
    pos = torch.arange(batch * length, device=DEVICE).reshape(batch, length) * 977
    x, freqs = normal(*shape), twin.frequencies(size)
    torch.testing.assert_close(rotate(x, pos, freqs), twin.rotate(x, pos, freqs))
    one = pos[:1]
    torch.testing.assert_close(rotate(x, one, freqs), twin.rotate(x, one, freqs))


def test_far_away_it_turns_as_exactly_as_nearby():
    freqs = torch.tensor([1.0], dtype=torch.float64)
    pos = torch.tensor([10**7, 2**30], device=DEVICE)
    x = torch.tensor([1.0, 0.0], device=DEVICE).expand(1, 1, 2, 2).contiguous()
    wanted = torch.stack([pos.double().cos(), pos.double().sin()], dim=-1)
    error = (rotate(x, pos, freqs)[0, 0] - wanted).abs().max()
    assert error < 5e-7


def test_every_quarter_of_a_turn_is_right():
    pos = torch.arange(-40, 40, device=DEVICE)
    x, freqs = normal(1, 1, 80, 2), torch.tensor([0.3], dtype=torch.float64)
    exact = twin.rotate(x.double(), pos, freqs)
    assert (rotate(x, pos, freqs) - exact).abs().max() < 1e-6


def test_axes_before_the_last_may_lie_in_any_order():
    x = normal(2, 7, 5, 20).transpose(1, 2)
    assert not x.is_contiguous()
    wanted = twin.rotate(x, POS, FREQS["all"])
    torch.testing.assert_close(rotate(x, POS, FREQS["all"]), wanted)


def test_a_gradient_of_any_strides_will_do():
    x = normal(2, 5, 7, 20).requires_grad_()
    rotate(x, POS, FREQS["all"]).sum().backward()
    ours, x.grad = x.grad, None
    twin.rotate(x, POS, FREQS["all"]).sum().backward()
    torch.testing.assert_close(ours, x.grad)


def test_there_and_back_is_where_it_was():
    x, freqs = normal(1, 2, 7, 20), FREQS["all"]
    torch.testing.assert_close(rotate(rotate(x, POS, freqs), -POS, freqs), x)


@pytest.mark.parametrize("shape", [(0, 2, 7, 4), (2, 2, 0, 4)])
def test_of_nothing_it_is_nothing(shape):
    pos = torch.arange(shape[2], device=DEVICE)
    assert rotate(normal(*shape), pos, twin.frequencies(4)).shape == shape


def test_without_frequencies_nothing_turns():
    x = normal(1, 2, 7, 4)
    assert torch.equal(rotate(x, POS, twin.frequencies(4)[:0]), x)


@pytest.mark.parametrize(
    ("x", "pos", "freqs", "options", "message"),
    [
        (normal(2, 7, 4), POS, FREQS["some"], {}, r"needs \(B, H, L, E\)"),
        (normal(1, 1, 7, 5), POS, FREQS["some"], {}, "x has head_dim 5, needs an even"),
        (normal(1, 1, 7, 4), POS, FREQS["some"], {}, "freqs has 3 pairs, x has 2"),
        (normal(1, 2, 7, 20), POS, FREQS["a head each"], {}, "freqs has 5 heads, x"),
        (normal(1, 1, 6, 20), POS, FREQS["all"], {}, r"pos has shape \(7,\), x has"),
        (normal(1, 1, 7, 20), POS.float(), FREQS["all"], {}, "needs whole numbers"),
        (
            *(normal(1, 1, 7, 20), POS, FREQS["all"], {"layout": "thirds"}),
            "layout is 'thirds'",
        ),
        (normal(1, 1, 20, 7).mT, POS, FREQS["all"], {}, "x has stride 7 in its last"),
        (
            *(normal(1, 1, 7, 20), POS.to("meta"), FREQS["all"], {}),
            "pos is on meta, x on",
        ),
    ],
)
def test_it_refuses_what_it_cannot_turn(x, pos, freqs, options, message):
    with pytest.raises(ValueError, match=message):
        rotate(x, pos, freqs, **options)
