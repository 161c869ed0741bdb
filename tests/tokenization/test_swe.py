import itertools
import json
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from minitransformer import data
from minitransformer.tokenization import lattice, merges, swe
from minitransformer.tokenization.bpe import BPE
from minitransformer.tokenization.byte_level import BYTES_IN_ORDER, count_chunks
from minitransformer.tokenization.swe import SWE

from .strategies import any_text, assigned_text, cover

A, B = (BYTES_IN_ORDER.index(byte) for byte in b"ab")
TOY = {b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3}
corpora = st.dictionaries(
    st.text("abc", min_size=1, max_size=8).map(str.encode),
    st.integers(1, 20),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="module")
def texts():
    return [article.text for article in data.wikipedia_articles()[:12]]


@pytest.fixture(scope="module")
def tokenizer(texts):
    return SWE.train_from_iterator(texts, vocab_size=1000, special_tokens=["<s>"])


@pytest.fixture(scope="module")
def peer(tokenizer):
    return Tokenizer.from_str(json.dumps(tokenizer.to_dict()))


def test_the_likelihood_worked_by_hand():
    # two tokens, half and half: four times ln(1/2)
    assert swe.log_likelihood([2, 2]) == pytest.approx(4 * math.log(0.5))
    assert swe.log_likelihood([3, 0]) == 0.0
    assert swe.log_likelihood([]) == 0.0


@given(corpora)
def test_the_gain_is_the_difference_of_the_likelihoods(corpus):
    words = [([BYTES_IN_ORDER.index(b) for b in w], n) for w, n in corpus.items()]

    def counted(cut):
        return Counter(t for ids, n in cut for t in ids for _ in range(n))

    before = counted(words)
    for x, y in {p for ids, _ in words for p in itertools.pairwise(ids)}:
        after = counted([(merges.merge(ids, (x, y), 256), n) for ids, n in words])
        gain = swe.merge_gain(
            before[x], before[y], after[256], sum(before.values()), same=x == y
        )
        difference = swe.log_likelihood(after.values()) - swe.log_likelihood(
            before.values()
        )
        assert gain == pytest.approx(difference, abs=1e-9)


def test_a_merge_into_a_token_that_exists_adds_to_its_count():
    gain = swe.merge_gain(4, 5, 2, 20, c_xy=3)
    counts = [4, 5, 3, 8]
    difference = swe.log_likelihood([2, 3, 5, 8]) - swe.log_likelihood(counts)
    assert gain == pytest.approx(difference)


@pytest.mark.parametrize(("options", "c_x"), [({}, 2), ({"same": True}, 5)])
def test_more_merges_than_tokens_are_refused(options, c_x):
    with pytest.raises(ValueError, match="m is 3, with counts"):
        swe.merge_gain(c_x, 9, 3, 20, **options)


@given(corpora, st.integers(256, 268))
def test_the_fast_trainer_learns_what_the_definition_says(corpus, size):
    learned, _ = swe.learn(corpus, size)
    assert list(learned.items()) == list(swe.naive_learn(corpus, size).items())


def test_counts_are_those_of_the_final_segmentation():
    _, counts = swe.learn({b"ab": 5, b"abc": 3, b"x": 2}, 258)
    assert {t: n for t, n in counts.items() if n} == {b"ab": 5, b"abc": 3, b"x": 2}


@pytest.mark.parametrize("words", [{}, {b"": 3}, {b"a": 3}, {b"aa": 10}])
def test_nothing_is_merged_where_nothing_is_gained(words):
    assert swe.learn(words, 300)[0] == {} == swe.naive_learn(words, 300)


def test_the_likelihood_is_higher_than_that_of_byte_pair_encoding(texts):
    bpe = BPE.train_from_iterator(texts, vocab_size=1000)
    counts = Counter(i for text in texts for i in bpe.encode(text).ids)
    _, ours = swe.learn(count_chunks(texts, "gpt2"), 1000)
    assert swe.log_likelihood(ours.values()) > swe.log_likelihood(counts.values())


@given(corpora, st.text("abc", min_size=1, max_size=8).map(str.encode))
def test_few_steps_cost_and_enough_steps_are_viterbi(corpus, word):
    log_probs = swe.probabilities(swe.learn(corpus, 262)[1])

    def value(cut):
        return sum(log_probs[token] for token in cut)

    best = value(lattice.viterbi(word, log_probs))
    values = []
    for k in range(1, len(word) + 1):
        cuts = [c for c in lattice.segmentations(word, log_probs) if len(c) <= k]
        if cuts:
            values.append(value(swe.k_step_segment(word, log_probs, k)))
            assert values[-1] == pytest.approx(max(map(value, cuts)), abs=1e-9)
        else:
            with pytest.raises(ValueError, match=f"at most {k} tokens"):
                swe.k_step_segment(word, log_probs, k)
    assert values == sorted(values)
    assert values[-1] == pytest.approx(best, abs=1e-9)
    assert swe.k_step_segment(word, log_probs) == lattice.viterbi(word, log_probs)


def brute_force(words, num_pieces):
    """The best likelihood over all ways to cut all words."""
    everything = {w[i:j]: 0.0 for w in words for i in range(len(w)) for j in range(9)}
    best = -math.inf
    for cuts in itertools.product(
        *(lattice.segmentations(w, everything) for w in words)
    ):
        if len({t for cut in cuts for t in cut if len(t) > 1}) <= num_pieces:
            counts = Counter()
            for word, cut in zip(words, cuts, strict=True):
                for token in cut:
                    counts[token] += words[word]
            best = max(best, swe.log_likelihood(counts.values()))
    return best


small = st.dictionaries(
    st.text("ab", min_size=1, max_size=4).map(str.encode),
    st.integers(1, 9),
    min_size=1,
    max_size=3,
)


@given(small, st.integers(0, 3))
def test_the_search_finds_the_best_vocabulary(words, num_pieces):
    pieces, value = swe.best_vocabulary(words, num_pieces)
    assert len(pieces) <= num_pieces
    assert value == pytest.approx(brute_force(words, num_pieces), abs=1e-8)


@pytest.mark.parametrize("num_pieces", [1, 2, 3, 4])
def test_no_trainer_is_better_than_the_best_vocabulary(num_pieces):
    _, best = swe.best_vocabulary(TOY, num_pieces)
    _, counts = swe.learn(TOY, 256 + num_pieces)
    assert swe.log_likelihood(counts.values()) <= best
    table = [bytes([byte]) for byte in BYTES_IN_ORDER]
    cuts = [([BYTES_IN_ORDER.index(b) for b in w], n) for w, n in TOY.items()]
    for pair, new_id in merges.learn(TOY, 256 + num_pieces).items():
        table.append(table[pair[0]] + table[pair[1]])
        cuts = [(merges.merge(ids, pair, new_id), n) for ids, n in cuts]
    by_count = Counter(t for ids, n in cuts for t in ids for _ in range(n))
    assert swe.log_likelihood(by_count.values()) <= best


def test_the_search_refuses_long_words():
    with pytest.raises(ValueError, match="has 13 bytes, the search takes 12"):
        swe.best_vocabulary({b"a" * 13: 1}, 2)


def test_refining_raises_the_likelihood_and_keeps_the_size(texts):
    words = count_chunks(texts[:4], "gpt2")
    _, counts = swe.learn(words, 600)
    refined = swe.refine(words, counts)
    assert len(refined) <= len(counts)
    assert set(refined) >= {bytes([byte]) for byte in range(256)}
    before = swe.log_likelihood(counts.values())
    assert swe.log_likelihood(refined.values()) > before
    cuts = swe.segment_all(words, refined)
    assert sum(map(len, cuts.values())) > 0


@given(corpora)
def test_refining_never_lowers_the_likelihood(corpus):
    _, counts = swe.learn(corpus, 260)
    before = swe.log_likelihood(counts.values())
    after = swe.log_likelihood(swe.refine(corpus, counts).values())
    assert after >= before - 1e-9


def test_unseen_tokens_keep_a_small_probability():
    log_probs = swe.probabilities({b"a": 3, b"b": 0})
    assert math.exp(log_probs[b"a"]) == pytest.approx(3 / 3.5)
    assert math.fsum(map(math.exp, log_probs.values())) == pytest.approx(1)


@given(any_text)
def test_decoding_gives_any_string_back(tokenizer, text):
    encoding = tokenizer.encode(text)
    assert tokenizer.decode(encoding.ids, skip_special_tokens=False) == text
    assert cover(encoding.offsets, text)


@given(assigned_text)
def test_ids_and_offsets_are_those_of_the_tokenizers_package(tokenizer, peer, text):
    ours, theirs = tokenizer.encode(text), peer.encode(text)
    assert ours.ids == theirs.ids
    assert ours.offsets == theirs.offsets


@pytest.mark.parametrize("refinements", [0, 2])
def test_the_tokenizer_is_a_unigram_file_for_the_tokenizers_package(
    texts, tmp_path, refinements
):
    tokenizer = SWE.train_from_iterator(
        texts, vocab_size=1000, special_tokens=["<s>"], refinements=refinements
    )
    assert tokenizer.get_vocab_size() == 1000
    tokenizer.save(tmp_path / "swe.json")
    theirs = Tokenizer.from_file(str(tmp_path / "swe.json"))
    assert json.loads((tmp_path / "swe.json").read_text())["model"]["type"] == "Unigram"
    for text in ["Ночь 👩‍👩‍👧 don't", "x[i] *= 2;\n\n", "<s>the war of 1812"]:
        assert tokenizer.encode(text).ids == theirs.encode(text).ids
        assert SWE.from_file(tmp_path / "swe.json").encode(text).ids == (
            tokenizer.encode(text).ids
        )


def test_the_vocabulary_must_hold_the_bytes():
    with pytest.raises(ValueError, match="vocab_size is 200, needs at least 256"):
        SWE.train_from_iterator(["text"], vocab_size=200)
