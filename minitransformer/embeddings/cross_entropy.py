r"""The cross-entropy method: optimize by fitting a law of chance to its best draws.

To minimize :math:`f`, draw :math:`N` points from a law :math:`p_v`, keep the elite
:math:`E`, the :math:`\lceil \rho N \rceil` best, and take the law that is closest to
them in relative entropy. That is the maximum likelihood of the elite,

.. math:: v' = \arg\max_v \sum_{x \in E} \ln p_v(x), \qquad
          v \leftarrow \alpha v' + (1 - \alpha) v,

for a Gaussian the mean and the covariance of the elite, for a categorical law its
frequencies; :math:`\alpha` smooths. The first round is uniform. Numbers are searched in
the unit box of :mod:`minitransformer.embeddings.search_space`; draws outside are drawn
again. *Injected* variance widens what is drawn from, by a standard deviation
:math:`\delta_t` (in box widths; for choices, a share :math:`\delta_t` of uniform draws)
that fades to 0, so that the law does not collapse on the first good place.

All state is plain data that is passed in and handed back: :func:`start`, :func:`ask`,
:func:`tell`. :func:`minimize` is the loop around them, which can store its state after
each evaluation and go on after any interruption, bit for bit as if there had been none.

Sources: Rubinstein (1999); injected variance: Szita & Lőrincz (2006). Tuning word2vec
by it: Fulu Li, arXiv:2410.18441 (from its abstract and a review of it), with a
categorical law for each; numbers, their scales and correlations are added here.
"""

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from minitransformer.embeddings import state_file
from minitransformer.embeddings.laws import Law, Matrix, blend, draw, fit, rows
from minitransformer.embeddings.search_space import (
    Choice,
    Integer,
    Point,
    Real,
    Space,
    decode,
    split,
)

Objective = Callable[[Point], float]


@dataclass(frozen=True)
class Settings:
    """How a search goes.

    Attributes:
        population: points a round.
        elite: the share of them that the law is fitted to.
        smoothing: weight of the new law against the old; 1 forgets the old at once, 0
            never leaves the uniform law, which is random search.
        injected: standard deviation that widens the law in the first round, in widths
            of the box; for choices, the share of uniform draws.
        fade: rounds after which nothing is injected.
        correlated: fit correlations between the numbers too; independent by default.
        tolerance: stop where no number has a greater standard deviation (in widths) and
            no choice a greater probability of another value than the likeliest.
        reuse: a point that is drawn again has its known value; without, as befits a
            noisy objective, it is evaluated again.

    Raises:
        ValueError: a setting is out of its range.
    """

    population: int = 20
    elite: float = 0.2
    smoothing: float = 0.7
    injected: float = 0.0
    fade: int = 10
    correlated: bool = False
    tolerance: float = 1e-3
    reuse: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        for name, fits, wanted in (
            ("population", self.population >= 2, "at least 2"),
            ("elite", 0 < self.elite <= 1, "a share above 0, up to 1"),
            ("smoothing", 0 <= self.smoothing <= 1, "a weight from 0 to 1"),
            ("injected", 0 <= self.injected <= 1, "from 0 to 1"),
            ("fade", self.fade >= 1, "at least 1"),
            ("tolerance", self.tolerance >= 0, "0 or more"),
        ):
            if not fits:
                raise ValueError(f"{name} is {getattr(self, name)}, needs {wanted}")


@dataclass(frozen=True)
class Round:
    """A round that is over: its law, points and values, and the worst of the elite."""

    law: Law
    points: tuple[Point, ...]
    values: tuple[float, ...]
    threshold: float


@dataclass(frozen=True)
class State:
    """All that a search is: what was, the law, and the round that is open.

    Attributes:
        space: name -> parameter.
        settings: how the search goes.
        seed: round r is drawn with the generator of ``[seed, r]``.
        law: what the open round is drawn from.
        places: ``[population, numbers]``, in the unit box.
        picks: ``[population, choices]``, indices of values.
        points: ``[population]``, what they stand for.
        values: ``[population]``, None where nothing is told yet.
        rounds: those that are over.
        evaluations: how many values were told.
        exhausted: a whole round of points was known already.
        seconds: time that :func:`minimize` took; no part of a comparison.
    """

    space: dict[str, Any]
    settings: Settings
    seed: int
    law: Law
    places: Matrix
    picks: tuple[tuple[int, ...], ...]
    points: tuple[Point, ...]
    values: tuple[float | None, ...]
    rounds: tuple[Round, ...] = ()
    evaluations: int = 0
    exhausted: bool = False
    seconds: float = field(default=0.0, compare=False)

    @property
    def seen(self) -> list[tuple[Point, float]]:
        """All points with a value, in the order drawn."""
        pairs = [p for r in self.rounds for p in zip(r.points, r.values, strict=True)]
        known = zip(self.points, self.values, strict=True)
        return pairs + [(point, value) for point, value in known if value is not None]

    @property
    def best(self) -> tuple[Point, float]:
        """The best point seen, the first of equals, and its value.

        Raises:
            ValueError: no value was told yet.
        """
        if not (seen := self.seen):
            raise ValueError("the search has no value yet, so it has no best point")
        return min(seen, key=lambda pair: pair[1])


def injection(settings: Settings, number: int) -> float:
    """Return the standard deviation injected in round ``number``, counted from 0."""
    return settings.injected * max(0.0, 1 - number / settings.fade)


def start(space: Space, settings: Settings | None = None, seed: int = 0) -> State:
    """Return the state before the first round, whose points are drawn uniformly.

    Args:
        space: name -> parameter.
        settings: how the search goes.
        seed: a number, 0 or greater.

    Raises:
        ValueError: the space is empty or holds something else than parameters.
    """
    settings = settings or Settings()
    numbers, choices = split(space)
    sizes = [len(space[name].values) for name in choices]  # type: ignore[union-attr]
    law = Law(
        mean=(0.5,) * len(numbers),
        covariance=rows(np.eye(len(numbers)) / 12),
        probabilities=tuple((1 / m,) * m for m in sizes),
        uniform=True,
    )
    return _open(State(dict(space), settings, seed, law, (), (), (), ()), {})


def ask(state: State) -> dict[int, Point]:
    """Return the points of the open round whose values are wanted, by number."""
    wanted: dict[int, Point] = {}
    names: set[str] = set()
    for i, point in enumerate(state.points):
        if state.values[i] is None and not (
            state.settings.reuse and repr(point) in names
        ):
            names.add(repr(point))
            wanted[i] = point
    return wanted


def tell(state: State, values: Mapping[int, float]) -> State:
    """Take values of points in; when the round is complete, fit and draw the next.

    Args:
        state: is left as it is.
        values: number of the point in :func:`ask` -> its value, smaller is better;
            infinity says that a point failed. All of the round or a part, in any order.

    Returns:
        The new state.

    Raises:
        ValueError: a value is NaN or minus infinity, or a number was not asked for.
    """
    known = list(state.values)
    for i, value in values.items():
        if i not in range(len(known)) or state.values[i] is not None:
            raise ValueError(f"values has the number {i}, asked were {[*ask(state)]}")
        told = state.points[i]
        if math.isnan(value) or value == -math.inf:
            raise ValueError(f"the value of {told} is {value}, needs a number")
        same = [j for j, point in enumerate(state.points) if point == told]
        for j in same if state.settings.reuse else [i]:
            known[j] = float(value)
    evaluations = state.evaluations + len(values)
    state = replace(state, values=tuple(known), evaluations=evaluations)
    return state if None in known else _advance(state)


def _advance(state: State) -> State:
    values = [value for value in state.values if value is not None]
    settings, law = state.settings, state.law
    count = math.ceil(settings.elite * settings.population - 1e-9)
    elite = [i for i in np.argsort(values, kind="stable")[:count] if values[i] < np.inf]
    if elite:
        x, picks = np.array(state.places)[elite], np.array(state.picks)[elite]
        sizes = [len(p) for p in law.probabilities]
        law = blend(law, fit(x, picks, sizes, settings.correlated), settings.smoothing)
    threshold = max((values[i] for i in elite), default=math.inf)
    over = Round(state.law, state.points, tuple(values), threshold)
    state = replace(state, law=law, rounds=(*state.rounds, over))
    return _open(state, {repr(p): v for p, v in state.seen} if settings.reuse else {})


def _open(state: State, known: Mapping[str, float]) -> State:
    """Draw the next round; what is known need not be asked."""
    settings, number = state.settings, len(state.rounds)
    rng = np.random.default_rng([state.seed, number])
    widen = injection(settings, number)
    places, picks = draw(state.law, settings.population, rng, widen)
    pairs = [
        (tuple(x), tuple(c)) for x, c in zip(rows(places), picks.tolist(), strict=True)
    ]
    points = tuple(decode(state.space, *pair) for pair in pairs)
    values = tuple(known.get(repr(point)) for point in points)
    return replace(
        state,
        places=tuple(x for x, _ in pairs),
        picks=tuple(c for _, c in pairs),
        points=points,
        values=values,
        exhausted=None not in values,
    )


def spread(state: State) -> float:
    """Return how wide the law is, which ``Settings.tolerance`` is compared with."""
    law, widen = state.law, injection(state.settings, len(state.rounds))
    variances = np.diag(np.array(law.covariance)) if law.mean else np.zeros(1)
    others = [(1 - widen) * (1 - max(p)) for p in law.probabilities]
    stray = [widen * (1 - 1 / len(p)) for p in law.probabilities]
    either = [a + b for a, b in zip(others, stray, strict=True)]
    width = math.sqrt(variances.max() + widen**2) if law.mean else 0.0
    return max([width, *either])


def finished(state: State) -> str:
    """Return why the search is over, or an empty text while it is not."""
    if spread(state) < state.settings.tolerance:
        return "the law has converged"
    return "no new point was drawn" if state.exhausted else ""


KINDS: dict[str, type] = {
    kind.__name__: kind for kind in (State, Round, Law, Settings, Real, Integer, Choice)
}


def load(path: str | Path) -> State:
    """Read the state that :func:`minimize` has stored.

    Raises:
        ValueError: the file holds none.
    """
    state = state_file.load(path, KINDS)
    if not isinstance(state, State):
        raise ValueError(f"{Path(path).name} holds no state of a search")
    return state


def minimize(
    objective: Objective,
    space: Space,
    *,
    evaluations: int,
    seconds: float = math.inf,
    settings: Settings | None = None,
    seed: int = 0,
    path: str | Path | None = None,
    executor: Any = None,
) -> State:
    """Search until the budget is spent or the search is over.

    Args:
        objective: point -> value, smaller is better; infinity if it fails.
        space: name -> parameter.
        evaluations: how many values at most, those of earlier runs included.
        seconds: after which no evaluation begins, those of earlier runs included.
        settings: how the search goes.
        seed: a number, 0 or greater.
        path: a file that has the state after each evaluation. If it exists, the search
            goes on from it, to the same end as if it had never stopped. It may be
            stopped at any moment: what was evaluated to its end is not lost.
        executor: one of ``concurrent.futures``, which evaluates the points of a round
            side by side; with processes, they must be able to import the objective.

    Returns:
        The state, with its ``best``, its ``rounds``, and all else.

    Raises:
        ValueError: no budget, no space, a value that is no number, or a file with
            another search; what was evaluated before stays in the file.
    """
    if evaluations < 1:
        raise ValueError(f"evaluations is {evaluations}, needs at least 1")
    if not seconds > 0:
        raise ValueError(f"seconds is {seconds}, needs a time above 0")
    state = start(space, settings, seed)
    if path is not None and Path(path).exists():
        stored = load(path)
        for name in ("space", "settings", "seed"):
            theirs, ours = getattr(stored, name), getattr(state, name)
            if theirs != ours:
                raise ValueError(
                    f"{name} is {ours}, the search in {Path(path).name} has {theirs}"
                )
        state = stored
    begun = time.monotonic() - state.seconds

    def keep(state: State, i: int, value: float) -> State:
        state = tell(state, {i: value})
        state = replace(state, seconds=time.monotonic() - begun)
        if path is not None:
            state_file.save(state, path)
        return state

    def in_time() -> bool:
        return time.monotonic() - begun < seconds

    while not finished(state) and state.evaluations < evaluations and in_time():
        wanted = list(ask(state).items())[: evaluations - state.evaluations]
        if executor is not None:
            futures = {executor.submit(objective, point): i for i, point in wanted}
            state = _gather(state, futures, keep, in_time)
            continue
        for i, point in wanted:
            if in_time():
                state = keep(state, i, objective(point))
    return state


def _gather(
    state: State,
    futures: Mapping["Future[float]", int],
    keep: Callable[[State, int, float], State],
    in_time: Callable[[], bool],
) -> State:
    """Take values in as they come; after an error, those that are under way as well."""
    errors: list[BaseException] = []
    try:
        for future in as_completed(futures):
            if not future.cancelled():
                try:
                    state = keep(state, futures[future], future.result())
                except Exception as error:
                    errors.append(error)
            if errors or not in_time():
                for other in futures:
                    other.cancel()
    finally:
        for other in futures:
            other.cancel()
    if errors:
        raise errors[0]
    return state
