r"""What a search may choose from: real numbers, integers, and values without an order.

A number :math:`x` of a range :math:`[l, h]` is searched as
:math:`u = (x - l) / (h - l) \in [0, 1]`, or, where the scale is logarithmic, as
:math:`u = \ln(x / l) / \ln(h / l)`. The integers from :math:`l` to :math:`h` share
:math:`[l - 1/2, h + 1/2]` out among themselves and are found by rounding, so that the
two ends are as likely as those between.

A space maps names to such parameters; a point maps the same names to values.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def _check_range(low: float, high: float, log: bool) -> None:
    for name, value in (("low", low), ("high", high)):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}, needs a finite number")
    if low >= high:
        raise ValueError(f"low is {low}, needs to be below high, which is {high}")
    if log and low <= 0:
        raise ValueError(f"low is {low}, a logarithmic scale needs it above 0")


@dataclass(frozen=True)
class Real:
    """A real number from ``low`` to ``high``, on a logarithmic scale if ``log``.

    Raises:
        ValueError: the range is empty or not finite, or logarithmic and not positive.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        """Check the range."""
        _check_range(self.low, self.high, self.log)

    def decode(self, u: float) -> float:
        """Return the number at the place ``u`` of [0, 1]."""
        if self.log:
            x = self.low * math.exp(u * math.log(self.high / self.low))
        else:
            x = self.low + u * (self.high - self.low)
        return float(min(max(x, self.low), self.high))

    def encode(self, x: float) -> float:
        """Return the place in [0, 1] of a number."""
        if self.log:
            return math.log(x / self.low) / math.log(self.high / self.low)
        return (x - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Integer:
    """An integer from ``low`` to ``high``, both included.

    Raises:
        ValueError: as :class:`Real`, or an end is no integer.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        """Check the range."""
        _check_range(self.low, self.high, self.log)
        for name, value in (("low", self.low), ("high", self.high)):
            if value != int(value):
                raise ValueError(f"{name} is {value}, needs an integer")

    def _line(self) -> Real:
        return Real(self.low - 0.5, self.high + 0.5, self.log)

    def decode(self, u: float) -> int:
        """Return the integer whose share of [0, 1] holds the place ``u``."""
        return min(max(math.floor(self._line().decode(u) + 0.5), self.low), self.high)

    def encode(self, x: float) -> float:
        """Return the place in [0, 1] of an integer, which is amid its share."""
        return self._line().encode(x)


@dataclass(frozen=True)
class Choice:
    """One of several values, which have no order.

    Raises:
        ValueError: there is no value, or one occurs twice.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Check the values."""
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values:
            raise ValueError("values is empty, needs at least one")
        for i, value in enumerate(self.values):
            if value in self.values[:i]:
                raise ValueError(f"values has {value!r} twice")


Parameter = Real | Integer | Choice
Space = Mapping[str, Parameter]
Point = dict[str, Any]


def split(space: Space) -> tuple[list[str], list[str]]:
    """Return the names of the numbers and the names of the choices, in order.

    Raises:
        ValueError: the space is empty, or a parameter is of no known kind.
    """
    if not space:
        raise ValueError("space is empty, needs at least one parameter")
    for name, parameter in space.items():
        if not isinstance(parameter, Parameter):
            raise ValueError(
                f"space[{name!r}] is {parameter!r}, needs Real, Integer or Choice"
            )
    numbers = [n for n, p in space.items() if not isinstance(p, Choice)]
    return numbers, [n for n, p in space.items() if isinstance(p, Choice)]


def decode(space: Space, places: tuple[float, ...], picks: tuple[int, ...]) -> Point:
    """Return the point with these places of its numbers and picks of its choices."""
    numbers, choices = split(space)
    found: Point = {}
    for name, u in zip(numbers, places, strict=True):
        parameter = space[name]
        assert not isinstance(parameter, Choice)
        found[name] = parameter.decode(u)
    for name, pick in zip(choices, picks, strict=True):
        parameter = space[name]
        assert isinstance(parameter, Choice)
        found[name] = parameter.values[pick]
    return {name: found[name] for name in space}
