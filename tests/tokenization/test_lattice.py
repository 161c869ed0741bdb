import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.tokenization import lattice

TOY = {b"a": math.log(0.3), b"b": math.log(0.1), b"c": math.log(0.1)} | {
    b"ab": math.log(0.25),
    b"bc": math.log(0.2),
    b"abc": math.log(0.05),
}
words = st.text("abc", max_size=7).map(str.encode)


def log_prob(cut):
    return sum(TOY[token] for token in cut)


def test_the_best_cut_worked_by_hand():
    # abc: 0.05; ab|c: 0.025; a|bc: 0.06; a|b|c: 0.003
    assert lattice.viterbi(b"abc", TOY) == [b"a", b"bc"]


def test_all_cuts_of_a_word_are_found():
    assert sorted(lattice.segmentations(b"abc", TOY)) == [
        [b"a", b"b", b"c"],
        [b"a", b"bc"],
        [b"ab", b"c"],
        [b"abc"],
    ]


@given(words)
def test_the_best_cut_is_the_best_of_all(word):
    best = max(map(log_prob, lattice.segmentations(word, TOY)))
    assert log_prob(lattice.viterbi(word, TOY)) == pytest.approx(best, abs=1e-12)


@given(words)
def test_forward_and_backward_sum_over_all_cuts(word):
    paths = lattice.edges(word, TOY, 3)
    cuts = lattice.segmentations(word, TOY)
    total = math.log(math.fsum(math.exp(log_prob(cut)) for cut in cuts))
    assert lattice.forward(len(word), paths)[-1] == pytest.approx(total, abs=1e-12)
    assert lattice.backward(len(word), paths)[0] == pytest.approx(total, abs=1e-12)


def test_among_equals_the_last_token_is_the_longest():
    equal = dict.fromkeys([b"a", b"aa"], math.log(0.5))
    assert lattice.viterbi(b"aaa", equal) == [b"a", b"aa"]


def test_a_word_that_nothing_spells_is_an_error():
    with pytest.raises(ValueError, match="no sequence of tokens spells b'xyz'"):
        lattice.viterbi(b"xyz", TOY)
    with pytest.raises(ValueError, match="no sequence of tokens spells b'x'"):
        lattice.em_step({b"x": 1}, TOY)


def test_an_empty_word_is_cut_into_nothing():
    assert lattice.viterbi(b"", TOY) == []
    assert lattice.viterbi(b"", {}) == []


def test_expected_counts_worked_by_brute_force():
    expected = Counter()
    corpus = {b"abc": 3, b"ab": 2}
    for word, count in corpus.items():
        cuts = lattice.segmentations(word, TOY)
        total = math.fsum(math.exp(log_prob(cut)) for cut in cuts)
        for cut in cuts:
            for token in cut:
                expected[token] += count * math.exp(log_prob(cut)) / total
    new, _ = lattice.em_step(corpus, TOY)
    for token, value in new.items():
        share = expected[token] / sum(expected.values())
        assert math.exp(value) == pytest.approx(share, rel=1e-12)


@given(st.dictionaries(words, st.integers(1, 9), min_size=1, max_size=5))
def test_em_never_lowers_the_likelihood(corpus):
    log_probs, before = TOY, -math.inf
    if not any(corpus):
        return
    for _ in range(4):
        log_probs, likelihood = lattice.em_step(corpus, log_probs)
        assert likelihood >= before - 1e-9
        before = likelihood
    assert math.fsum(map(math.exp, log_probs.values())) == pytest.approx(1)


@given(st.dictionaries(words.filter(bool), st.integers(1, 9), min_size=1, max_size=5))
def test_all_lattices_at_once_give_the_same_step(corpus):
    new, likelihood = lattice.em_step(corpus, TOY)
    lattices = lattice.Lattices(corpus, list(TOY))
    counts, together = lattices.expected(np.array(list(TOY.values())))
    assert together == pytest.approx(likelihood, abs=1e-9)
    for token, count in zip(TOY, counts, strict=True):
        share = math.exp(new[token]) if token in new else 0.0
        assert count / counts.sum() == pytest.approx(share, abs=1e-12)


def test_no_words_have_no_counts():
    counts, likelihood = lattice.Lattices({}, list(TOY)).expected(np.zeros(len(TOY)))
    assert (counts.sum(), likelihood) == (0.0, 0.0)
