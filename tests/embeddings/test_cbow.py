import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.embeddings import cbow
from minitransformer.embeddings.vocabulary import huffman_paths

seeds = st.integers(0, 10**6)


def text(seed, length=30, words=12):
    """Words, how far their windows reach, and their sentences."""
    rng = np.random.default_rng(seed)
    sentence = np.cumsum(rng.integers(0, 5, length) == 0)
    return rng.integers(0, words, length), rng.integers(1, 5, length), sentence


def naive_windows(reach, sentence, block):
    """The places of the neighbors of each word of a block, by the definition."""
    places = range(len(reach))
    return [
        [
            i
            for i in places
            if i != j and abs(i - j) <= reach[j] and sentence[i] == sentence[j]
        ]
        for j in places[block]
    ]


def tables(seed, words=12, outputs=12, scale=1.0):
    """Two random tables, float64."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(words, 5)), scale * rng.normal(size=(outputs, 5))


def block_of(seed, block=slice(7, 21)):
    """Ids of a text, its windows in a block, and the same by the definition."""
    ids, reach, sentence = text(seed)
    near = cbow.windows(block, *cbow.edges(reach, sentence), ids)
    each = naive_windows(reach, sentence, block)
    return ids[block], near, [[int(ids[i]) for i in window] for window in each]


def test_edges_by_hand():
    first, stop = cbow.edges(np.array([1, 2, 1, 3]), np.array([0, 0, 0, 1]))
    assert first.tolist() == [0, 0, 1, 3]
    assert stop.tolist() == [2, 3, 3, 4]


@given(seeds)
def test_means_are_those_of_the_windows(seed):
    _, near, each = block_of(seed)
    vectors, _ = tables(seed)
    wanted = [vectors[w].mean(axis=0) if w else np.zeros(5) for w in each]
    got = cbow.means(torch.from_numpy(vectors), near).numpy()
    assert got == pytest.approx(np.array(wanted), abs=1e-12)


@given(seeds)
def test_each_neighbor_gets_all_of_the_change(seed):
    _, near, each = block_of(seed)
    vectors, change = tables(seed, outputs=14)
    wanted = vectors.copy()
    for window, step in zip(each, change, strict=True):
        for word in window:
            wanted[word] += step
    cbow.give_back(torch.from_numpy(vectors), near, torch.from_numpy(change))
    assert vectors == pytest.approx(wanted, abs=1e-12)


def check_step(seed, outputs, learn, questions, *, late):
    """Compare a step, with its windows, with that of the definition."""
    words, near, each = block_of(seed)
    vectors = tables(seed)[0]
    asked = [q if window else [] for q, window in zip(questions, each, strict=True)]
    each = [window or [0] for window in each]  # of one that is asked nothing
    wanted = cbow.naive_block(vectors, outputs, each, asked, 0.01, late=late)
    table, rows = torch.from_numpy(vectors), torch.from_numpy(outputs)
    change = learn(cbow.means(table, near), rows, words)
    cbow.give_back(table, near, -0.01 * change)
    assert vectors == pytest.approx(wanted[0], abs=1e-12)
    assert outputs == pytest.approx(wanted[1], abs=1e-12)


@given(seeds, st.sampled_from([1, 2, 3, 14]))
def test_noise_is_learned_by_the_definition_piece_by_piece(seed, pieces):
    noise = np.random.default_rng(seed).integers(0, 12, (pieces, 4))
    words = block_of(seed)[0]
    length = -(-len(words) // pieces)  # the last of three pieces is shorter
    check_step(
        seed,
        tables(seed)[1],
        lambda inputs, rows, words: cbow.learn_noise(
            inputs, rows, words, noise, 6, 0.01
        ),
        [
            [(w, 1, 1), *((n, 0, 6 / 4) for n in noise[place // length])]
            for place, w in enumerate(words)
        ],
        late=True,
    )


@given(seeds, st.sampled_from([1, 4, 11, 64]))
def test_turns_are_learned_by_the_definition_at_the_top_and_below(seed, top):
    paths = huffman_paths(np.random.default_rng(seed).integers(1, 50, 12))
    words = block_of(seed)[0]
    ways = [range(paths.lengths[w]) for w in words]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cbow, "TOP", top)
        tree = cbow.cut_tree(paths)
    check_step(
        seed,
        tables(seed, outputs=11)[1],
        lambda *tables: cbow.learn_turns(*tables, tree, 0.01),
        [
            [(paths.nodes[w, k], 1 - paths.turns[w, k], 1) for k in way]
            for w, way in zip(words, ways, strict=True)
        ],
        late=False,
    )


@pytest.mark.parametrize("top", [1, 64])
def test_a_step_is_cut_where_the_loss_curves_much(monkeypatch, top):
    # three words, of which the rarer two are joined first: node 0 lies below node 1
    monkeypatch.setattr(cbow, "TOP", top)
    tree = cbow.cut_tree(huffman_paths([9, 2, 1]))
    inputs, nodes = torch.full((3, 1), 4.0), torch.zeros(2, 1)
    cbow.learn_turns(inputs, nodes, np.array([1, 1, 1]), tree, 0.25)
    # three answers of one input: a step of 0.25 * 3 * 4 / 2, over 0.25 / 8 * 16 * 3
    assert nodes.abs().tolist() == [[1.0], [1.0]]


def test_a_text_of_lone_words_changes_nothing():
    ids, sentence = np.arange(4), np.arange(4)
    near = cbow.windows(slice(0, 4), *cbow.edges(np.full(4, 5), sentence), ids)
    vectors = torch.ones(4, 2)
    assert cbow.means(vectors, near).tolist() == [[0, 0]] * 4
    cbow.give_back(vectors, near, torch.ones(4, 2))
    assert vectors.tolist() == [[1, 1]] * 4


def test_a_step_on_noise_is_cut_with_all_its_repeats():
    inputs, outputs = torch.full((2, 1), 4.0), torch.zeros(3, 1)
    cbow.learn_noise(inputs, outputs, np.array([0, 0]), np.array([[2, 2]]), 3, 0.25)
    # row 0: a step of 0.25 * 2 * 4 / 2, over 0.25 / 8 * 16 * 2, which is 1
    # row 2: of 0.25 * 2 inputs * 2 repeats * 3 / 2 * 4 / 2, over 0.25 / 8 * 16 * 6
    assert outputs.flatten().tolist() == [1.0, 0.0, -1.0]
