"""Changes to scores: functions that make a ``score_mod``.

A ``score_mod(score, b, h, q_idx, kv_idx)`` gets a score and where it stands: sequence,
head, position of the query and of the key. It is written with operators alone, so the
same function runs on NumPy numbers, on whole torch tensors and in
``torch.nn.attention.flex_attention``. How positions bend scores (ALiBi and its kin) is
in ``minitransformer.positions``.

In torch, positions are whole numbers, and times a Python number they become float32.
For float64 scores write ``0.3 * (q_idx - kv_idx).double()``, or multiply by a tensor.

Sources: ``score_mod``, Dong et al., "Flex Attention", arXiv 2412.05496; soft caps,
Gemma 2, 2408.00118; biases by distance, Raffel et al., 1910.10683.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

ScoreMod = Callable[[Any, Any, Any, Any, Any], Any]


def soft_cap(cap: float) -> ScoreMod:
    """Keep scores within ``(-cap, cap)``, smoothly: ``cap tanh(s / cap)``.

    Raises:
        ValueError: ``cap`` is not above 0.
    """
    if not cap > 0:
        raise ValueError(f"cap is {cap}, needs to be above 0")

    def score_mod(score: Any, b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        x = score / cap
        return cap * (x.tanh() if hasattr(x, "tanh") else np.tanh(x))

    return score_mod


def bias(table: Any) -> ScoreMod:
    """Add ``table[h, q_idx, kv_idx]``, an array ``[H, L, S]`` by positions."""

    def score_mod(score: Any, b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        return score + table[h, q_idx, kv_idx]

    return score_mod


def relative_bias(table: Any) -> ScoreMod:
    """Add a number for each distance between key and query.

    Args:
        table: ``[H, 2 R + 1]``; column ``R + d`` is for keys that stand ``d`` after the
            query. Distances beyond ``R`` take the outermost column.

    Raises:
        ValueError: the table has not two axes, or an even number of columns.
    """
    if table.ndim != 2 or table.shape[1] % 2 == 0:
        raise ValueError(f"table has shape {tuple(table.shape)}, needs (H, 2 R + 1)")
    reach = table.shape[1] // 2

    def score_mod(score: Any, b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        return score + table[h, (kv_idx - q_idx).clip(-reach, reach) + reach]

    return score_mod


def chain(*mods: ScoreMod) -> ScoreMod:
    """Apply several mods, the first one first."""

    def score_mod(score: Any, b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        for mod in mods:
            score = mod(score, b, h, q_idx, kv_idx)
        return score

    return score_mod
