from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer import data
from minitransformer.tokenization import merges, pretokenize

A, B, C = (merges.BYTES_IN_ORDER.index(b) for b in b"abc")


def test_pairs_overlap_when_counted():
    assert merges.count_pairs([1, 1, 1, 2]) == {(1, 1): 2, (1, 2): 1}


@pytest.mark.parametrize("ids", [[], [7]])
def test_short_sequences_have_no_pairs_and_do_not_change(ids):
    assert merges.count_pairs(ids) == {}
    assert merges.merge(ids, (7, 7), 9) == ids


def test_merging_steps_past_both_ids():
    assert merges.merge([1, 1, 1, 2, 1, 1], (1, 1), 9) == [9, 1, 2, 9]


def test_merging_leaves_a_half_pair_at_the_end():
    assert merges.merge([1, 2, 1], (1, 2), 9) == [9, 1]


@pytest.mark.parametrize("learn", [merges.naive_learn, merges.learn])
class TestBothTrainers:
    def test_a_corpus_worked_by_hand(self, learn):
        # ab: 5 + 3, bc: 3, then (ab)c: 3
        assert learn({b"ab": 5, b"abc": 3}, 258) == {(A, B): 256, (256, C): 257}

    def test_ties_go_to_the_smaller_pair(self, learn):
        assert learn({b"bc": 2, b"ab": 2}, 257) == {(A, B): 256}

    def test_training_stops_when_nothing_is_left_to_merge(self, learn):
        assert learn({b"ab": 1}, 1000) == {(A, B): 256}

    def test_rare_pairs_are_not_merged(self, learn):
        words = {b"ab": 5, b"bc": 2}
        assert learn(words, 1000, min_frequency=3) == {(A, B): 256}

    @pytest.mark.parametrize("words", [{}, {b"": 4}, {b"a": 4}])
    def test_nothing_to_learn_from(self, learn, words):
        assert learn(words, 1000) == {}

    def test_repeated_letters_are_merged_from_the_left(self, learn):
        # aaaaa -> (aa)(aa)a; both next pairs occur once, and a is the smaller id
        assert learn({b"aaaaa": 1}, 258) == {(A, A): 256, (256, A): 257}

    def test_no_two_tokens_spell_the_same(self, learn):
        # (ab)c makes abc; a(bc) in another word must not make a second abc
        words = {b"abcab": 4, b"ab": 9, b"bc": 8, b"xbc": 6, b"xabc": 1}
        table = [bytes([b]) for b in merges.BYTES_IN_ORDER]
        for left, right in learn(words, 300):
            table.append(table[left] + table[right])
        assert len(table) > 260
        assert len(set(table)) == len(table)


small_words = st.dictionaries(
    st.text("abc", max_size=9).map(str.encode), st.integers(1, 20), max_size=8
)


@given(small_words, st.integers(256, 290), st.integers(0, 5))
def test_the_fast_trainer_learns_what_the_definition_says(words, size, least):
    fast = merges.learn(words, size, least)
    assert list(fast.items()) == list(merges.naive_learn(words, size, least).items())


def test_the_fast_trainer_agrees_with_the_definition_on_real_text():
    text = data.wikipedia_articles()[3].text[:20_000]
    words = {w.encode(): n for w, n in Counter(pretokenize.split(text)).items()}
    assert merges.learn(words, 400) == merges.naive_learn(words, 400)


def test_a_megabyte_of_one_letter_is_learned_in_about_log_n_merges():
    learned = merges.learn({b"a" * (1 << 20): 1}, 1000)
    assert len(learned) == 20
