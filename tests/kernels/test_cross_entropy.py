"""The fused loss is the loss, with its gradient, for short and long vocabularies."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("triton")

from minitransformer.kernels import launch
from minitransformer.kernels.cross_entropy import cross_entropy
from minitransformer.kernels.tiles import LONGEST
from minitransformer.kernels.trace import trace

from .budget import DEVICE, DTYPES, normal, within_budget


def targets(rows, vocab, ignored=(2,)):
    generator = torch.Generator().manual_seed(5)
    target = torch.randint(vocab, (rows,), generator=generator)
    for row in ignored:
        target[row] = -100
    return target.to(DEVICE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("vocab", [1, 5, 64, 1000, LONGEST, LONGEST + 1, 50_001])
def test_it_keeps_to_its_budget_of_errors(vocab, reduction, dtype):
    target = targets(5, vocab)

    def theirs(x):
        wide = x if x.dtype == torch.float64 else x.float()
        return F.cross_entropy(wide, target, reduction=reduction)

    within_budget(
        lambda x: cross_entropy(x, target, reduction=reduction),
        theirs,
        [3 * normal(5, vocab, dtype=dtype)],
    )


def test_of_equal_logits_it_is_the_logarithm_of_their_number():
    loss = cross_entropy(normal(4, 50) * 0 + 7, targets(4, 50))
    torch.testing.assert_close(loss, torch.tensor(50.0, device=DEVICE).log())


def test_more_axes_are_rows():
    x, target = normal(2, 3, 11), targets(6, 11).reshape(2, 3)
    wanted = F.cross_entropy(x.flatten(0, 1), target.flatten())
    torch.testing.assert_close(cross_entropy(x, target), wanted)
    torch.testing.assert_close(
        cross_entropy(x[0, 0], target[0, 0]), F.cross_entropy(x[0, 0], target[0, 0])
    )


def test_another_target_may_be_the_one_that_does_not_count():
    x, target = normal(6, 11), targets(6, 11, ignored=())
    target[1] = 3
    wanted = F.cross_entropy(x, target, ignore_index=3)
    torch.testing.assert_close(cross_entropy(x, target, ignore=3), wanted)


def test_rows_that_do_not_count_may_hold_anything():
    x = normal(3, 9)
    x[2] = float("nan")
    x.requires_grad_()
    loss = cross_entropy(x, targets(3, 9))
    loss.backward()
    assert loss.isfinite() and not x.grad[2].any() and x.grad[:2].all()


def test_logits_of_minus_infinity_have_no_share():
    x, target = normal(2, 9), targets(2, 9, ignored=())
    x[:, 4] = -float("inf")
    target[:] = 3
    x.requires_grad_()
    loss = cross_entropy(x, target)
    loss.backward()
    torch.testing.assert_close(loss, F.cross_entropy(x, target))
    assert not x.grad[:, 4].any()


@pytest.mark.parametrize("by", [1.0, 3.0])
def test_the_gradient_is_multiplied_by_what_comes_in(by):
    x, target = normal(4, LONGEST + 3).requires_grad_(), targets(4, 100)
    (ours,) = torch.autograd.grad(by * cross_entropy(x, target), x)
    (theirs,) = torch.autograd.grad(by * F.cross_entropy(x, target), x)
    torch.testing.assert_close(ours, theirs)


def test_the_gradient_is_kept_once():
    x = normal(4, 9).requires_grad_()
    loss = cross_entropy(x, targets(4, 9))
    torch.autograd.grad(loss, x, retain_graph=True)
    with pytest.raises(RuntimeError, match="call cross_entropy again"):
        torch.autograd.grad(loss, x)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_the_mean_of_nothing_is_no_number():
    x = normal(2, 9).requires_grad_()
    assert cross_entropy(x, targets(2, 9, ignored=(0, 1))).isnan()
    assert cross_entropy(x, targets(2, 9, ignored=(0, 1)), reduction="sum") == 0
    empty = x[:0], targets(0, 9, ignored=())
    assert cross_entropy(*empty).isnan()
    assert cross_entropy(*empty, reduction="sum") == 0


def test_rows_need_not_lie_side_by_side():
    x, target = normal(8, 40)[::2, 3:30], targets(4, 27)
    torch.testing.assert_close(cross_entropy(x, target), F.cross_entropy(x, target))


def test_a_target_outside_of_the_vocabulary_does_not_pass():
    x, target = normal(3, 9), torch.tensor([1, 9, 2], device=DEVICE)
    if launch.INTERPRETED:
        with pytest.raises(ValueError, match="target has the id 9, the vocabulary has"):
            cross_entropy(x, target)
    else:
        assert cross_entropy(x, target).isnan()


@pytest.mark.parametrize(
    ("x", "target", "options", "message"),
    [
        (
            normal(3, 9),
            targets(4, 9),
            {},
            r"target has shape \(4,\), logits have \(3,\)",
        ),
        (normal(3, 9), targets(3, 9).float(), {}, "needs whole numbers"),
        (normal(3, 9), targets(3, 9), {"reduction": "max"}, "reduction is 'max'"),
        (normal(9, 3).T, targets(3, 9), {}, "logits has stride 3 in its last axis"),
        (normal(3, 9), targets(3, 9).to("meta"), {}, "target is on meta, logits on"),
        (normal(3, 0), targets(3, 9), {}, "need a vocabulary"),
    ],
)
def test_it_refuses_what_it_cannot_judge(x, target, options, message):
    with pytest.raises(ValueError, match=message):
        cross_entropy(x, target, **options)


@pytest.mark.skipif(not launch.INTERPRETED, reason="a trace needs the interpreter")
def test_of_rows_that_do_not_count_nothing_is_read():
    x, target = normal(3, 9), targets(3, 9)
    with trace() as record:
        cross_entropy(x, target)
    read = record.touched(x, "read")
    assert read[0][0].all() and 2 not in read
