"""What the flash kernels share: scores, masks and the blocks that matter.

For a query at ``i`` and a key at ``j``, with the product ``x`` of both::

    s = scale x                 s = cap tanh(s / cap)
    s = s - slope |i - j|       s = mod(s, b, h, i, j)

each step only if it is asked for; and the key is seen if both positions are at least 0,
``j <= i`` (causal) and ``i - j < window``. Rows of a mask are queries, columns keys; in
the kernel that holds keys, the other way round: what is passed in decides.

Sources: the order of the blocks, Dao et al., arXiv 2205.14135; mods of scores, Dong et
al., "Flex Attention", 2412.05496.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
INF = tl.constexpr(float("inf"))


@triton.jit
def _tanh(x):
    return 2.0 / (1.0 + tl.exp(-2.0 * x)) - 1.0


@triton.jit
def score(
    s, slope, b, h, q_idx, kv_idx, scale,
    CAP: tl.constexpr, ALIBI: tl.constexpr, MOD: tl.constexpr,
):  # fmt: skip
    """Make scores of products, in units of log 2."""
    s = s * scale
    if CAP > 0:
        s = CAP * _tanh(s / CAP)
    if ALIBI:
        s = s - slope * tl.abs(q_idx - kv_idx)
    if MOD is not None:
        s = MOD(s, b, h, q_idx, kv_idx)
    return s * LOG2E


@triton.jit
def score_grad(
    s, slope, b, h, q_idx, kv_idx, scale,
    CAP: tl.constexpr, ALIBI: tl.constexpr, MOD: tl.constexpr, MOD_GRAD: tl.constexpr,
):  # fmt: skip
    """Return the derivative of a score by ``scale`` times its product."""
    s = s * scale
    grad = tl.full(s.shape, 1.0, tl.float32)
    if CAP > 0:
        bent = _tanh(s / CAP)
        grad = 1.0 - bent * bent
        s = CAP * bent
    if ALIBI:
        s = s - slope * tl.abs(q_idx - kv_idx)
    if MOD is not None:
        grad = grad * MOD_GRAD(s, b, h, q_idx, kv_idx)
    return grad


@triton.jit
def seen(
    q_idx, kv_idx, inside,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, POS: tl.constexpr,
):  # fmt: skip
    """Tell which queries see which keys; ``inside`` says which keys there are."""
    seen = inside & (kv_idx == kv_idx)
    if POS:
        seen = seen & (q_idx >= 0) & (kv_idx >= 0)
    if CAUSAL:
        seen = seen & (kv_idx <= q_idx)
    if WINDOW > 0:
        seen = seen & (q_idx - kv_idx < WINDOW)
    return seen


@triton.jit
def positions(pos_ptr, at, size, b, offset, POS: tl.constexpr):
    """Return where rows or columns ``at`` of a tensor stand; -1 beyond its end."""
    if POS:
        return tl.load(pos_ptr + b * size + at, mask=at < size, other=-1)
    return at + offset


@triton.jit
def keys_of(
    start, offset, kv_len, BM: tl.constexpr, BN: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, POS: tl.constexpr,
):  # fmt: skip
    """Bound the keys of a block of queries: begin, full begin, full end, end."""
    begin = 0
    full_begin = 0
    full_end = kv_len // BN * BN
    end = kv_len
    if POS:
        full_end = 0
    else:
        if CAUSAL:
            end = tl.maximum(tl.minimum(start + BM + offset, kv_len), 0)
            full_end = tl.maximum(tl.minimum(start + offset + 1, kv_len), 0) // BN * BN
        if WINDOW > 0:
            begin = tl.maximum(start + offset - WINDOW + 1, 0) // BN * BN
            full_begin = tl.cdiv(tl.maximum(start + BM + offset - WINDOW, 0), BN) * BN
            full_begin = tl.minimum(full_begin, tl.cdiv(end, BN) * BN)
            full_end = tl.maximum(full_end, full_begin)
    return begin, full_begin, full_end, end


@triton.jit
def queries_of(
    start, offset, q_len, BM: tl.constexpr, BN: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, POS: tl.constexpr,
):  # fmt: skip
    """Bound the queries of a block of keys: begin, full begin, full end, end."""
    begin = 0
    full_begin = 0
    full_end = tl.cdiv(q_len, BM) * BM
    end = q_len
    if POS:
        full_end = 0
    else:
        if CAUSAL:
            begin = tl.maximum(start - offset, 0) // BM * BM
            full_begin = tl.cdiv(tl.maximum(start + BN - 1 - offset, 0), BM) * BM
        if WINDOW > 0:
            end = tl.maximum(tl.minimum(start + BN - 1 + WINDOW - offset, q_len), 0)
            full_end = tl.maximum(start + WINDOW - offset, 0) // BM * BM
        full_end = tl.minimum(full_end, tl.cdiv(end, BM) * BM)
        full_begin = tl.minimum(full_begin, tl.cdiv(end, BM) * BM)
        full_end = tl.maximum(full_end, full_begin)
    return begin, full_begin, full_end, end
