import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.embeddings import skip_gram
from minitransformer.embeddings.vocabulary import huffman_paths


def questions(seed, num_inputs=5, num_outputs=4, dim=3):
    """Random inputs, outputs, and how often the answers are yes and no."""
    rng = np.random.default_rng(seed)
    inputs, outputs = rng.normal(size=(9, dim))[:num_inputs], rng.normal(size=(9, dim))
    yes, no = rng.integers(0, 3, size=(2, num_inputs, num_outputs))
    return inputs, outputs[:num_outputs], yes.astype(float), no + 0.5


def test_the_loss_worked_by_hand():
    # scores 0 and ln 3: sigma is 1/2 and 3/4
    inputs, outputs = np.array([[1.0]]), np.array([[0.0], [np.log(3)]])
    yes, no = np.array([[2.0, 1.0]]), np.array([[0.0, 4.0]])
    wanted = -2 * np.log(1 / 2) - np.log(3 / 4) - 4 * np.log(1 / 4)
    assert skip_gram.loss(inputs, outputs, yes, no) == pytest.approx(wanted)


def test_huge_scores_overflow_nowhere():
    one = np.array([[1.0]])
    for scale in (1e4, -1e4):
        loss = skip_gram.loss(one * scale, one, one, one)
        assert loss == pytest.approx(1e4)
        assert np.isfinite(skip_gram.gradients(one * scale, one, one, one)).all()


@given(st.integers(0, 10**6))
def test_gradients_are_those_of_finite_differences(seed):
    inputs, outputs, yes, no = questions(seed)
    got = skip_gram.gradients(inputs, outputs, yes, no)
    step = 1e-5
    for table, gradient in zip((inputs, outputs), got, strict=True):
        for place in np.ndindex(table.shape):
            before = table[place]
            table[place] = before + step
            above = skip_gram.loss(inputs, outputs, yes, no)
            table[place] = before - step
            below = skip_gram.loss(inputs, outputs, yes, no)
            table[place] = before
            # error of order step^2, and rounding of a loss below 1000 over the step
            assert gradient[place] == pytest.approx(
                (above - below) / 2 / step, abs=1e-6
            )


@given(st.integers(0, 10**6))
def test_gradients_are_those_of_the_definition(seed):
    arrays = questions(seed)
    got, wanted = skip_gram.gradients(*arrays), skip_gram.naive_gradients(*arrays)
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-12)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_updates_of_a_repeated_row_add_up(rows):
    rows = np.array(rows)
    rng = np.random.default_rng(0)
    updates = rng.normal(size=(len(rows), 3))
    table, wanted = np.ones((5, 3)), np.ones((5, 3))
    skip_gram.add_to_rows(table, rows, updates)
    np.add.at(wanted, rows, updates)
    assert table == pytest.approx(wanted, abs=1e-12)


def test_a_step_is_cut_where_the_loss_curves_much():
    # one input of length 4, asked 3 times of row 0 and once of row 1; rate 0.25
    vectors, outputs = np.full((1, 1), 4.0), np.zeros((2, 1))
    asked = skip_gram.Questions(
        np.array([0, 1]), np.array([[3.0, 1.0]]), np.zeros((1, 2))
    )
    skip_gram.learn_block(vectors, outputs, np.array([0]), asked, 0.25)
    # row 0: a step of 0.25 * 3 * 4 / 2, over 0.25 / 8 * 16 * 3; row 1 is not cut
    assert outputs == pytest.approx(np.array([[1.5 / 1.5], [0.5]]))


def naive_windows(reach, sentence):
    """All (neighbor, word) of a text, by the definition."""
    places = range(len(reach))
    return {
        (i, j)
        for j in places
        for i in places
        if i != j and abs(i - j) <= reach[j] and sentence[i] == sentence[j]
    }


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=12),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_blocks_find_all_pairs_once_and_cross_no_sentence(reach, length, rng):
    reach = np.array(reach)
    sentence = np.cumsum([rng.randrange(2) for _ in reach])
    found = []
    for start in range(0, len(reach), length):
        stop = min(start + length, len(reach))
        first, inside = skip_gram.neighbors(start, stop, reach, sentence)
        found += [(i + first, j + start) for i, j in np.argwhere(inside).tolist()]
    assert len(found) == len(set(found))
    assert set(found) == naive_windows(reach, sentence)


def test_noise_questions_worked_by_hand():
    predicts = np.array([[1, 0], [1, 1], [0, 0]], dtype=np.float32)
    asked = skip_gram.ask_noise(predicts, np.array([7, 8]), np.array([3, 3, 9, 7]), 2)
    assert asked.outputs.tolist() == [3, 7, 8, 9]
    assert asked.yes.tolist() == [[0, 1, 0, 0], [0, 1, 1, 0], [0] * 4]
    assert asked.no.tolist() == [[1, 0.5, 0, 0.5], [2, 1, 0, 1], [0] * 4]


def test_turns_worked_by_hand():
    paths = huffman_paths([7, 3, 2, 1])  # see test_vocabulary
    predicts = np.array([[1, 1], [0, 1]], dtype=np.float32)
    asked = skip_gram.ask_turns(predicts, np.array([0, 2]), paths)
    assert asked.outputs.tolist() == [0, 1, 2]
    assert asked.yes.tolist() == [[0, 0, 1], [0, 0, 1]]
    assert asked.no.tolist() == [[1, 1, 1], [1, 1, 0]]


def test_the_probabilities_of_the_tree_sum_to_one():
    rng = np.random.default_rng(0)
    paths = huffman_paths([9, 5, 4, 2, 1])
    nodes, vector = rng.normal(size=(4, 3)), rng.normal(size=(1, 3))
    words = np.arange(5)[:, None]
    costs = []
    for word in words:
        rows, yes, no = skip_gram.ask_turns(np.ones((1, 1)), word, paths)
        costs.append(skip_gram.loss(vector, nodes[rows], yes, no))
    assert np.exp(-np.array(costs)).sum() == pytest.approx(1)


def test_a_short_step_of_a_block_is_the_gradient_step_of_skip_gram():
    rng = np.random.default_rng(3)
    before = rng.normal(size=(2, 6, 3)) / 5
    context = np.array([0, 1, 0])
    predicts = np.array([[1, 0], [1, 1], [0, 1]], dtype=float)
    asked = skip_gram.ask_noise(predicts, np.array([2, 3]), np.array([2, 5]), 4)
    after = before.copy()
    skip_gram.learn_block(*after, context, asked, 1e-5)

    def loss(vectors, outputs):
        return skip_gram.loss(vectors[context], outputs[asked.outputs], *asked[1:])

    for place in np.ndindex(before.shape):
        moved = before.copy()
        moved[place] += 1e-6
        slope = (loss(*moved) - loss(*before)) / 1e-6
        step = (after - before)[place] / -1e-5
        assert step == pytest.approx(slope, abs=1e-4)


def learned(seed, scale, alpha):
    """Tables before, after a block, and after its answers in turn and in reverse."""
    inputs, outputs, yes, _ = questions(seed)
    no = np.random.default_rng(seed).integers(0, 3, yes.shape).astype(float)
    before = scale * inputs, scale * outputs
    block, turn, reverse = ([table.copy() for table in before] for _ in range(3))
    asked = skip_gram.Questions(np.arange(len(outputs)), yes, no)
    skip_gram.learn_block(*block, np.arange(len(inputs)), asked, alpha)
    pairs = list(np.ndindex(yes.shape))
    answers = [(*p, 1) for p in pairs for _ in range(int(yes[p]))]
    answers += [(*p, 0) for p in pairs for _ in range(int(no[p]))]
    np.random.default_rng(seed).shuffle(answers)
    for (vectors, rows), order in ((turn, answers), (reverse, answers[::-1])):
        for i, j, answer in order:
            error = 1 / (1 + np.exp(-vectors[i] @ rows[j])) - answer
            step, change = alpha * error * rows[j], alpha * error * vectors[i]
            vectors[i] -= step
            rows[j] -= change
    return before, block, turn, reverse


@given(st.integers(0, 10**6))
def test_small_vectors_change_in_a_block_as_in_turn_on_average(seed):
    before, block, turn, reverse = learned(seed, scale=0.01, alpha=0.01)
    for table in range(2):
        wanted = (turn[table] + reverse[table]) / 2
        size = np.abs(before[table]).max()
        assert block[table] == pytest.approx(wanted, abs=1e-5 * size)


@given(st.integers(0, 10**6))
def test_a_block_shifts_the_balance_of_the_tables_as_answers_in_turn_do(seed):
    before, block, turn, _ = learned(seed, scale=1, alpha=1e-5)

    def shift(tables):
        first, last = (v.T @ v - u.T @ u for v, u in (before, tables))
        return (last - first) / 1e-10

    # some ten, of second order in the rate; the next is 1e-5 of it, times the answers
    assert shift(block) == pytest.approx(shift(turn), abs=0.1)
