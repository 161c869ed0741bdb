"""How large a step may be, and when: a linear warm-up, then half a cosine.

For step ``t`` of ``T``, ``w`` of them warm-up, and a share ``f`` that is kept::

    rate(t) = peak (t + 1) / w                                       t < w
    rate(t) = peak (f + (1 - f) (1 + cos(pi (t - w) / (T - w))) / 2)   w <= t

So the first step is no step of size zero, and step ``T`` would be of size ``f peak``.

Sources: the cosine, Loshchilov & Hutter, arXiv 1608.03983; with a warm-up and a floor
of a tenth as in Llama, Touvron et al., 2302.13971.
"""

import math


def warm_up_cosine(
    step: int, *, steps: int, peak: float, warm_up: int = 0, floor: float = 0.1
) -> float:
    """Return the learning rate of one step.

    Args:
        step: 0, 1, ...; from ``steps`` on the rate stays at its floor.
        steps: ``T``, all steps of the run.
        peak: the greatest rate.
        warm_up: ``w``, the steps in which it rises; at most ``steps``.
        floor: ``f``, the share of the peak at the end, from 0 to 1.

    Raises:
        ValueError: a number is out of its range.
    """
    if step < 0:
        raise ValueError(f"step is {step}, needs at least 0")
    if not 0 <= warm_up <= steps:
        raise ValueError(f"warm_up is {warm_up}, needs 0 to {steps} steps")
    if not 0 <= floor <= 1:
        raise ValueError(f"floor is {floor}, needs a share from 0 to 1")
    if step < warm_up:
        return peak * (step + 1) / warm_up
    if step >= steps:
        return peak * floor
    way = (step - warm_up) / (steps - warm_up)
    return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * way)) / 2)
