import json
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations, product
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransformer.embeddings import cross_entropy, state_file
from minitransformer.embeddings.cross_entropy import (
    Settings,
    ask,
    minimize,
    start,
    tell,
)
from minitransformer.embeddings.search_space import Choice, Integer, Real

PLANE = {"x": Real(-2, 2), "y": Real(-1, 3)}
MIXED = {
    "rate": Real(1e-4, 1, log=True),
    "layers": Integer(1, 9),
    "kind": Choice(("a", "b", "c")),
}
SMALL = Settings(population=6, elite=0.5, smoothing=0.8, injected=0.1, fade=3)


def rosenbrock(point):
    return (1 - point["x"]) ** 2 + 100 * (point["y"] - point["x"] ** 2) ** 2


def rastrigin(point):
    return sum(10 + v * v - 10 * math.cos(2 * math.pi * v) for v in point.values())


def mixed(point):
    """Best at rate 0.01, 6 layers, kind b: value 0."""
    miss = math.log10(point["rate"] / 0.01) ** 2 + 0.1 * abs(point["layers"] - 6)
    return miss + {"a": 1.0, "b": 0.0, "c": 2.0}[point["kind"]]


def test_a_round_worked_by_hand():
    # four points of one number and one choice; the elite is two, the smoothing a half
    space = {"x": Real(0, 1), "c": Choice("ab")}
    state = start(space, Settings(population=4, elite=0.5, smoothing=0.5))
    state = replace(
        state,
        places=((0.0,), (0.2,), (0.4,), (1.0,)),
        picks=((0,), (0,), (0,), (1,)),
        points=tuple(
            {"x": x, "c": c} for x, c in zip((0, 0.2, 0.4, 1), "aaab", strict=True)
        ),
    )
    state = tell(state, {0: 9.0, 1: 1.0, 2: 2.0, 3: 5.0})
    # elite 0.2 and 0.4: mean 0.3, variance 0.01, all a; before 0.5, 1/12, half and half
    assert state.law.mean == pytest.approx((0.4,))
    assert state.law.covariance[0] == pytest.approx(((0.01 + 1 / 12) / 2,))
    assert state.law.probabilities[0] == pytest.approx((0.75, 0.25))
    assert state.rounds[0].threshold == 2.0
    assert state.best == ({"x": 0.2, "c": "a"}, 1.0)
    assert state.evaluations == 4


def test_the_valley_of_rosenbrock_is_followed_to_its_end():
    how = Settings(
        population=100,
        elite=0.1,
        injected=0.2,
        fade=20,
        correlated=True,
        tolerance=1e-6,
    )
    found = [
        minimize(rosenbrock, PLANE, evaluations=3000, settings=how, seed=seed).best
        for seed in range(3)
    ]
    assert sorted(value for _, value in found)[1] < 1e-4
    nearest = min(found, key=lambda pair: pair[1])[0]
    assert nearest["x"] == pytest.approx(1, abs=0.01)


def test_the_deepest_of_many_valleys_is_found():
    space = {name: Real(-4, 6) for name in "xy"}
    how = Settings(population=50, injected=0.1, fade=20, tolerance=1e-5)
    found = [
        minimize(rastrigin, space, evaluations=2500, settings=how, seed=seed).best[1]
        for seed in range(3)
    ]
    assert sorted(found)[1] < 1e-6  # the next best valley has the value 1


def test_noise_is_averaged_out_by_the_law():
    rng = np.random.default_rng(0)

    def noisy(point):
        return (point["x"] - 0.3) ** 2 + rng.normal(scale=0.05)

    how = Settings(population=50, elite=0.2, smoothing=0.5, reuse=False)
    state = minimize(noisy, {"x": Real(-2, 2)}, evaluations=1500, settings=how)
    (u,) = state.law.mean
    # where the noise is 0.05, points within sqrt(0.05) = 0.22 can hardly be told apart
    assert Real(-2, 2).decode(u) == pytest.approx(0.3, abs=0.15)


def test_a_cut_of_known_size_is_found():
    rng = np.random.default_rng(1)
    edges = [pair for pair in combinations(range(12), 2) if rng.random() < 0.4]

    def cut(sides):
        return sum(sides[a] != sides[b] for a, b in edges)

    best = max(cut((0, *rest)) for rest in product((0, 1), repeat=11))
    space = {f"n{i}": Choice((0, 1)) for i in range(12)}
    state = minimize(
        lambda point: -cut(tuple(point.values())),
        space,
        evaluations=600,
        settings=Settings(population=60, elite=0.15, injected=0.1),
    )
    assert -state.best[1] == best
    assert state.evaluations < 600 or len(state.rounds) >= 9


def test_numbers_scales_and_choices_go_together():
    how = Settings(population=40, elite=0.2, injected=0.05)
    state = minimize(mixed, MIXED, evaluations=600, settings=how, seed=2)
    point, value = state.best
    assert (point["layers"], point["kind"]) == (6, "b")
    assert point["rate"] == pytest.approx(0.01, rel=0.2)
    assert value == mixed(point) < 0.01
    assert max(range(3), key=state.law.probabilities[0].__getitem__) == 1


@given(st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_laws_stay_laws_and_the_best_never_gets_worse(seed):
    state = minimize(mixed, MIXED, evaluations=40, settings=SMALL, seed=seed)
    for each in state.rounds:
        assert sum(each.law.probabilities[0]) == pytest.approx(1)
        assert (np.linalg.eigvalsh(each.law.covariance) >= -1e-12).all()
        assert each.threshold == sorted(each.values)[2]
    seen = [value for _, value in state.seen]
    assert state.best[1] == min(seen)


def test_without_smoothing_the_law_stays_uniform():
    how = Settings(population=50, smoothing=0.0)
    state = minimize(rosenbrock, PLANE, evaluations=500, settings=how)
    assert len(state.rounds) == 10
    assert {each.law for each in state.rounds} == {state.law}
    assert state.law.uniform
    x = np.array([point["x"] for point, _ in state.seen])
    # uniform on [-2, 2]: standard deviation 4 / sqrt(12) = 1.155
    assert x.std() == pytest.approx(1.155, abs=0.1)


def test_the_order_of_the_values_of_a_choice_does_not_matter_to_the_law():
    values, other = (3, 1, 2), (1, 2, 3)
    ends = []
    for order in (values, other):
        how = Settings(population=200, elite=0.1)
        state = minimize(
            lambda point: abs(point["v"] - 2),
            {"v": Choice(order)},
            evaluations=2000,
            settings=replace(how, reuse=False),
        )
        ends.append(state.law.probabilities[0][order.index(2)])
    assert min(ends) > 0.99


def crash_after(count, objective):
    calls = []

    def crashing(point):
        if len(calls) == count:
            raise KeyboardInterrupt
        calls.append(point)
        return objective(point)

    return crashing, calls


def test_interrupted_anywhere_it_ends_as_if_it_had_not_been(tmp_path):
    whole = minimize(mixed, MIXED, evaluations=20, settings=SMALL, seed=5)
    for count in range(20):
        path = tmp_path / f"{count}.json"
        crashing, first = crash_after(count, mixed)
        with pytest.raises(KeyboardInterrupt):
            minimize(crashing, MIXED, evaluations=20, settings=SMALL, seed=5, path=path)
        counting, rest = crash_after(99, mixed)
        state = minimize(
            counting, MIXED, evaluations=20, settings=SMALL, seed=5, path=path
        )
        assert state == whole
        assert [*first, *rest] == [p for p, _ in whole.seen]  # nothing twice, none lost
        assert cross_entropy.load(path) == whole


def test_interrupted_while_writing_it_loses_one_value_at_most(tmp_path, monkeypatch):
    whole = minimize(mixed, MIXED, evaluations=12, settings=SMALL)
    path, replaced, calls = tmp_path / "search.json", os.replace, []

    def fail_on_the_fifth(*args):
        calls.append(args)
        if len(calls) == 5:
            raise OSError("power cut")
        replaced(*args)

    monkeypatch.setattr(os, "replace", fail_on_the_fifth)
    with pytest.raises(OSError, match="power cut"):
        minimize(mixed, MIXED, evaluations=12, settings=SMALL, path=path)
    assert cross_entropy.load(path).evaluations == 4
    assert minimize(mixed, MIXED, evaluations=12, settings=SMALL, path=path) == whole


KILLED = """
import sys, time
sys.path.insert(0, {here!r})
from test_cross_entropy import MIXED, SMALL, mixed
from minitransformer.embeddings.cross_entropy import minimize

def slow(point):
    time.sleep(0.02)
    return mixed(point)

minimize(slow, MIXED, evaluations=400, settings=SMALL, seed=3, path={path!r})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_it_goes_on_bit_for_bit(tmp_path):
    path = tmp_path / "search.json"
    source = KILLED.format(here=os.path.dirname(__file__), path=str(path))
    process = subprocess.Popen([sys.executable, "-c", source])
    while not (path.exists() and cross_entropy.load(path).evaluations >= 8):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    count = cross_entropy.load(path).evaluations + 10
    resumed = minimize(
        mixed, MIXED, evaluations=count, settings=SMALL, seed=3, path=path
    )
    assert resumed == minimize(mixed, MIXED, evaluations=count, settings=SMALL, seed=3)


def test_a_greater_budget_goes_on_where_the_smaller_ended(tmp_path):
    path = tmp_path / "search.json"
    for count in (1, 7, 7, 30):
        state = minimize(mixed, MIXED, evaluations=count, settings=SMALL, path=path)
        assert state.evaluations == count
    assert state == minimize(mixed, MIXED, evaluations=30, settings=SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, r"seed is 1, the search in search\.json has 0"),
        ({"space": PLANE}, "space is "),
        ({"settings": Settings()}, "settings is "),
    ],
)
def test_another_search_is_not_continued(tmp_path, change, message):
    options = {"space": MIXED, "settings": SMALL, "seed": 0}
    path = tmp_path / "search.json"
    minimize(mixed, evaluations=3, path=path, **options)
    with pytest.raises(ValueError, match=message):
        minimize(mixed, evaluations=3, path=path, **options | change)


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "search.json"
    state_file.save(SMALL, path)
    with pytest.raises(ValueError, match=r"search\.json holds no state of a search"):
        cross_entropy.load(path)
    path.write_text(json.dumps({"is": "State"}))
    with pytest.raises(ValueError, match=r"search\.json holds no state"):
        minimize(mixed, MIXED, evaluations=3, path=path)


def test_side_by_side_it_ends_as_one_by_one(tmp_path):
    def uneven(point):
        time.sleep(0.01 * (point["layers"] % 3))
        return mixed(point)

    path = tmp_path / "search.json"
    with ThreadPoolExecutor(3) as pool:
        state = minimize(
            uneven, MIXED, evaluations=15, settings=SMALL, executor=pool, path=path
        )
    assert state == minimize(mixed, MIXED, evaluations=15, settings=SMALL)
    assert cross_entropy.load(path) == state


def test_side_by_side_an_error_loses_nothing_that_was_evaluated(tmp_path):
    path, bad = tmp_path / "search.json", start(MIXED, SMALL).points[1]

    together = Barrier(6)

    def broken(point):
        together.wait(timeout=60)  # all six are under way
        if point == bad:
            raise RuntimeError("out of memory")
        time.sleep(0.05)
        return mixed(point)

    with ThreadPoolExecutor(6) as pool, pytest.raises(RuntimeError, match="of memory"):
        minimize(broken, MIXED, evaluations=6, settings=SMALL, executor=pool, path=path)
    values = cross_entropy.load(path).values
    assert [i for i, value in enumerate(values) if value is None] == [1]


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_value_that_is_no_number_is_refused_and_named(tmp_path, value):
    path, calls = tmp_path / "search.json", []

    def spoiled(point):
        calls.append(point)
        return value if len(calls) == 3 else mixed(point)

    with pytest.raises(ValueError, match=rf"the value of .*'rate'.* is {value}, needs"):
        minimize(spoiled, MIXED, evaluations=9, settings=SMALL, path=path)
    assert cross_entropy.load(path).evaluations == 2


def test_points_that_fail_are_never_in_the_elite():
    def half(point):
        return math.inf if point["x"] > 0 else rosenbrock(point)

    state = minimize(half, PLANE, evaluations=12, settings=replace(SMALL, elite=1.0))
    first = state.rounds[0]
    good = [
        p["x"] for p, v in zip(first.points, first.values, strict=True) if v < math.inf
    ]
    assert 0 < len(good) < 6
    assert first.threshold < math.inf
    law = state.rounds[1].law.mean[0]
    wanted = 0.8 * np.mean([Real(-2, 2).encode(x) for x in good]) + 0.2 * 0.5
    assert law == pytest.approx(wanted)


def test_where_all_fail_the_law_stays():
    state = minimize(lambda point: math.inf, PLANE, evaluations=6, settings=SMALL)
    assert state.law == state.rounds[0].law
    assert state.rounds[0].threshold == math.inf


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evaluations": 0}, "evaluations is 0, needs at least 1"),
        ({"seconds": 0}, "seconds is 0, needs a time above 0"),
        ({"space": {}}, "space is empty, needs at least one parameter"),
    ],
)
def test_without_a_budget_or_a_space_there_is_no_search(options, message):
    with pytest.raises(ValueError, match=message):
        minimize(mixed, **{"space": MIXED, "evaluations": 3} | options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("population", 1), ("elite", 0), ("elite", 1.1), ("smoothing", -0.1)),
        *(("injected", 2), ("fade", 0), ("tolerance", -1), ("smoothing", math.nan)),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}, needs "):
        Settings(**{name: value})


def test_numbers_that_were_not_asked_for_are_refused():
    state = start(MIXED, SMALL)
    with pytest.raises(ValueError, match=r"values has the number 6, asked were \[0, 1"):
        tell(state, {6: 1.0})
    state = tell(state, {2: 1.0})
    assert 2 not in ask(state)
    with pytest.raises(ValueError, match="values has the number 2"):
        tell(state, {2: 1.0})


def test_without_a_value_there_is_no_best():
    with pytest.raises(ValueError, match="no value yet"):
        _ = start(MIXED).best


def test_telling_leaves_the_old_state_as_it_was():
    state = start(MIXED, SMALL)
    before = repr(state)
    tell(state, {i: 0.0 for i in ask(state)})
    assert repr(state) == before


@pytest.mark.parametrize(("reuse", "calls"), [(True, 3), (False, 60)])
def test_a_point_drawn_again_is_evaluated_again_only_if_wanted(reuse, calls):
    seen = []

    def count(point):
        seen.append(point)
        return float(point["v"])

    how = Settings(population=20, elite=1.0, reuse=reuse, tolerance=0)
    state = minimize(count, {"v": Choice((1, 2, 3))}, evaluations=60, settings=how)
    assert len(seen) == state.evaluations == calls
    assert cross_entropy.finished(state) == ("no new point was drawn" if reuse else "")


def test_a_law_that_has_converged_ends_the_search():
    state = minimize(lambda p: p["x"] ** 2, {"x": Real(-1, 1)}, evaluations=10_000)
    assert cross_entropy.finished(state) == "the law has converged"
    assert cross_entropy.spread(state) < 1e-3
    assert state.evaluations < 1000


def test_what_is_injected_widens_and_fades():
    how = Settings(injected=0.4, fade=4)
    assert [cross_entropy.injection(how, t) for t in range(6)] == pytest.approx(
        [0.4, 0.3, 0.2, 0.1, 0, 0]
    )
    collapsed = replace(
        start({"x": Real(0, 1), "c": Choice("ab")}, how),
        law=cross_entropy.Law((0.5,), ((0.0,),), ((1.0, 0.0),)),
    )
    assert cross_entropy.spread(collapsed) == pytest.approx(0.4)


def test_time_is_a_budget_too(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def slow(point):
        clock[0] += 1
        return mixed(point)

    path = tmp_path / "search.json"
    state = minimize(slow, MIXED, evaluations=99, seconds=2.5, path=path)
    assert (state.evaluations, state.seconds) == (3, 3.0)
    # earlier runs count
    assert minimize(slow, MIXED, evaluations=99, seconds=2.5, path=path) == state
    more = minimize(slow, MIXED, evaluations=99, seconds=5, path=path)
    assert (more.evaluations, more.seconds) == (5, 5.0)
