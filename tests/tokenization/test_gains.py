from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.tokenization import gains, swe
from minitransformer.tokenization.byte_level import BYTES_IN_ORDER
from minitransformer.tokenization.merges import merge

A, B, C = (BYTES_IN_ORDER.index(byte) for byte in b"abc")
corpora = st.dictionaries(
    st.text("ab", min_size=1, max_size=9).map(str.encode),
    st.integers(1, 9),
    min_size=1,
    max_size=5,
)


def mergeable(words, pair):
    """How often a pair can be merged, by merging it."""
    return sum(n * (len(ids) - len(merge(ids, pair, -7))) for ids, n in words)


@pytest.mark.parametrize(
    ("word", "times"), [(b"aa", 1), (b"aaa", 1), (b"aaaa", 2), (b"aabaaa", 2)]
)
def test_a_run_of_equal_tokens_holds_half_as_many_merges(word, times):
    assert gains.Text({word: 1}).counts[A, A] == times


def test_tokens_are_counted_with_the_weight_of_their_word():
    counts = gains.Text({b"ab": 3, b"a": 2}).token_counts(300)
    assert (counts[A], counts[B], counts.sum()) == (5, 3, 8)


@given(corpora, st.lists(st.integers(0, 50), max_size=5))
def test_counts_stay_true_through_any_merges(corpus, choices):
    text = gains.Text(corpus)
    words = [([BYTES_IN_ORDER.index(b) for b in w], n) for w, n in corpus.items()]
    for new_id, choice in enumerate(choices, start=256):
        pairs = sorted({p for ids, _ in words for p in pairwise(ids)})
        if not pairs:
            break
        pair = pairs[choice % len(pairs)]
        times, changed = text.merge(pair, new_id)
        assert times == mergeable(words, pair)
        before = {p: mergeable(words, p) for p in pairs}
        words = [(merge(ids, pair, new_id), n) for ids, n in words]
        now = {p for ids, _ in words for p in pairwise(ids)}
        for each in now:
            assert text.counts[each] == mergeable(words, each)
            assert before.get(each) == text.counts[each] or each in changed
        assert all(text.counts.get(p, 0) == 0 for p in before.keys() - now)


def test_a_gain_is_that_of_the_formula():
    text = gains.Text({b"ab": 3, b"aab": 2, b"c": 4})
    table = gains.Gains(300, text)
    for pair, times in text.counts.items():
        table.add(pair, -1)
        table.set_times(pair, times)
    rows = range(len(table.pairs))
    found = dict(zip(table.pairs, table.refresh(list(rows)), strict=True))
    counts = Counter({A: 7, B: 5, C: 4})
    assert found[A, B] == pytest.approx(swe.merge_gain(counts[A], counts[B], 5, 16))
    assert found[A, A] == pytest.approx(swe.merge_gain(7, 7, 2, 16, same=True))


def test_without_pairs_there_is_no_best():
    table = gains.Gains(300, gains.Text({b"a": 3}))
    assert table.best(0.0, 1e-9) is None
