"""Each promise, broken on purpose, is found; and functions that keep them pass."""

import pytest
import torch

from minitransformer.attention.core import attention
from minitransformer.testing import assert_close, check_attend, check_recur


def test_attention_keeps_its_promises():
    check_attend(attention, like=attention)


def without_positions(query, key, value, *, q_pos=None, kv_pos=None, return_lse=False):
    return attention(query, key, value, return_lse=return_lse)


def nan_rows(query, key, value, *, q_pos=None, kv_pos=None, return_lse=False):
    scores = query @ key.repeat_interleave(query.shape[1] // key.shape[1], 1).mT
    if q_pos is not None and kv_pos is not None:
        queries = q_pos.view(-1, 1, q_pos.shape[-1], 1)
        keys = kv_pos.view(-1, 1, 1, kv_pos.shape[-1])
        scores = scores.masked_fill((queries < 0) | (keys < 0), -torch.inf)
    weights = (scores * query.shape[-1] ** -0.5).softmax(-1)
    out = weights @ value.repeat_interleave(query.shape[1] // value.shape[1], 1)
    return (out, scores.logsumexp(-1)) if return_lse else out


def mixing_heads(query, key, value, **options):
    return attention(
        query, key, value.mean(dim=1, keepdim=True).expand_as(value), **options
    )


def off_by_one(query, key, value, **options):
    return attention(query, key, value, scale=0.3, **options)


def forgiving(query, key, value, **options):
    size = min(query.shape[-1], key.shape[-1])
    return attention(
        query[..., :size], key[..., :size], value, scale=8**-0.5, **options
    )


def shapeless(query, key, value, **options):
    out = attention(query, key, value, **options)
    return out if isinstance(out, tuple) else out[..., :-1]


def rounding(query, key, value, **options):
    out = attention(query, key, value, **options)
    return out if isinstance(out, tuple) else out.float()


@pytest.mark.parametrize(
    ("attend", "message"),
    [
        (without_positions, "a key at position -1 is never seen"),
        (nan_rows, "a query without any key does not give zeros"),
        (mixing_heads, "stands by itself"),
        (off_by_one, "agrees with its peer"),
        (forgiving, "was not refused"),
        (shapeless, "out has shape"),
        (rounding, r"out is torch.float32, value is torch.float64"),
    ],
)
def test_a_broken_promise_of_an_attend_is_found(attend, message):
    with pytest.raises(AssertionError, match=message):
        check_attend(attend, like=attention if attend is off_by_one else None)


def running_mean(query, key, value, *, decay=None, state=None):
    """The least recurrence there is: a leaky sum of values, read by nobody."""
    kind = torch.promote_types(value.dtype, torch.float32)
    total = value.new_zeros(*value.shape[:2], value.shape[3], dtype=kind)
    total = total if state is None else state
    outs = []
    for t in range(value.shape[2]):
        keep = 0.5 if decay is None else decay[:, :, t, None]
        total = keep * total + value[:, :, t].to(kind)
        outs.append(total.to(value.dtype))
    return torch.stack(outs, dim=2), total


def decays(query):
    return {"decay": torch.sigmoid(query[..., 0])}


def test_a_recurrence_keeps_its_promises():
    check_recur(running_mean)
    check_recur(running_mean, gates=decays, like=running_mean)


def forgetful(query, key, value, *, state=None):
    return running_mean(query, key, value)


def seeing_ahead(query, key, value, *, state=None):
    out, state = running_mean(query, key, value, state=state)
    return out + value.mean() * 0 + value[:, :, -1:] * (value.shape[2] == 7), state


def careless(query, key, value, *, state=None):
    out, new = running_mean(query, key, value, state=state)
    if state is not None:
        state.copy_(new)
    return out, new


def coarse(query, key, value, *, state=None):
    out, state = running_mean(query, key, value, state=state)
    return out, state.to(value.dtype)


@pytest.mark.parametrize(
    ("recur", "message"),
    [
        (forgetful, "it gives the same"),
        (seeing_ahead, "gives the same|nothing is seen of the future"),
        (careless, "the state that came was written into"),
        (coarse, "is kept in torch.bfloat16, not in float32"),
    ],
)
def test_a_broken_promise_of_a_recur_is_found(recur, message):
    with pytest.raises(AssertionError, match=message):
        check_recur(recur)


def test_a_recurrence_that_differs_from_its_peer_is_found():
    with pytest.raises(AssertionError, match="agrees with its peer"):
        check_recur(running_mean, like=lambda q, k, v: (v, None))


def test_close_means_relative_to_the_greatest_and_infinite_in_the_same_places():
    a = torch.tensor([100.0, -torch.inf])
    assert_close(a + torch.tensor([1e-3, 0.0]), a, 1e-4, "is close")
    with pytest.raises(AssertionError, match="is close: off by"):
        assert_close(a + torch.tensor([1.0, 0.0]), a, 1e-4, "is close")
    with pytest.raises(AssertionError, match="not finite in the same places"):
        assert_close(-a, a, 1e9, "is close")
    with pytest.raises(AssertionError, match=r"got shape \(1,\), wanted \(2,\)"):
        assert_close(a[:1], a, 1.0, "is close")
