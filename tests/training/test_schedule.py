import pytest

from minitransformer.training.schedule import warm_up_cosine


def rates(**options):
    return [warm_up_cosine(t, **options) for t in range(options["steps"] + 2)]


def test_the_rate_by_hand():
    # Two steps up, then a cosine over four: 1, (2 + sqrt 2) / 4, 1 / 2, ...
    got = rates(steps=6, peak=1.0, warm_up=2, floor=0.0)
    wanted = [0.5, 1.0, 1.0, 0.85355, 0.5, 0.14645, 0.0, 0.0]
    assert got == pytest.approx(wanted, abs=1e-5)


def test_it_ends_at_a_share_of_the_peak():
    got = rates(steps=10, peak=3.0, warm_up=0, floor=0.1)
    assert got[0] == 3.0
    assert got[5] == pytest.approx(3.0 * (1 + 0.1) / 2)
    assert got[10] == got[11] == pytest.approx(0.3)


def test_a_run_may_be_all_warm_up():
    assert rates(steps=2, peak=1.0, warm_up=2, floor=0.5) == [0.5, 1.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("step", "options", "message"),
    [
        (-1, {}, "step is -1"),
        (0, {"warm_up": 5}, "warm_up is 5, needs 0 to 4"),
        (0, {"floor": 1.5}, "floor is 1.5"),
    ],
)
def test_what_makes_no_sense_is_refused(step, options, message):
    with pytest.raises(ValueError, match=message):
        warm_up_cosine(step, steps=4, peak=1.0, **options)
