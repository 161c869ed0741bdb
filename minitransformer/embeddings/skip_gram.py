r"""Learning from blocks of words by skip-gram: each word from each neighbor.

With inputs :math:`X` ``[inputs, dim]``, outputs :math:`Y` ``[outputs, dim]`` and, for
each input and output, how many times the answer is yes and how many times no, the loss
of a block is

.. math:: L = -\sum_{ij} \text{yes}_{ij} \ln \sigma(X_i \cdot Y_j)
              + \text{no}_{ij} \ln \sigma(-X_i \cdot Y_j),

and with the errors :math:`E = (\text{yes} + \text{no})\, \sigma(X Y^\top) - \text{yes}`
its gradients are two products, :math:`E Y` and :math:`E^\top X` (:func:`gradients`).

The authors' program learns pair after pair, each from the vectors that those before it
have changed. Added up at the vectors before the block, the gradients of a few hundred
pairs make these grow too slowly. On average over the order, a pair finds half of what
all others change. So a block takes its errors before it, and the vectors that they are
multiplied with from half of its own step (:func:`learn_block`):

.. math:: X \gets X - \alpha E \left(Y - \tfrac{\alpha}{2} E^\top X\right), \qquad
          Y \gets Y - \alpha E^\top \left(X - \tfrac{\alpha}{2} E Y\right),

less what each pair would find of itself. With half on both sides,
:math:`X^\top X - Y^\top Y` changes as it does pair after pair, to second order in
:math:`\alpha`; all on one side would let one table grow at the cost of the other. That
the errors change too is left out: it matters little.

Source: Mikolov et al., arXiv:1301.3781 and arXiv:1310.4546.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from minitransformer.embeddings.vocabulary import Paths

Array = NDArray[np.floating]
Ints = NDArray[np.int64]


class Questions(NamedTuple):
    """What a block asks: of which outputs, and how often the answer is yes and no.

    Attributes:
        outputs: rows of the output table, each once, ``[outputs]``.
        yes: ``[inputs, outputs]``.
        no: ``[inputs, outputs]``.
    """

    outputs: Ints
    yes: Array
    no: Array


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), by torch: three times as fast as NumPy's tanh."""
    return torch.sigmoid(torch.from_numpy(x)).numpy()


def loss(inputs: Array, outputs: Array, yes: Array, no: Array) -> float:
    """Return the logistic loss of all answers, in nats.

    Args:
        inputs: ``[inputs, dim]``.
        outputs: ``[outputs, dim]``.
        yes: how many times each pair's answer is yes, ``[inputs, outputs]``.
        no: how many times it is no, ``[inputs, outputs]``.
    """
    scores = inputs @ outputs.T
    return float(
        np.sum(yes * np.logaddexp(0, -scores)) + np.sum(no * np.logaddexp(0, scores))
    )


def naive_gradients(
    inputs: Array, outputs: Array, yes: Array, no: Array
) -> tuple[Array, Array]:
    """Return the gradients of :func:`loss` by the definition, a pair at a time."""
    d_inputs, d_outputs = np.zeros(inputs.shape), np.zeros(outputs.shape)
    for i, x in enumerate(inputs):
        for j, y in enumerate(outputs):
            p = 1 / (1 + np.exp(-np.dot(x, y)))
            error = no[i, j] * p - yes[i, j] * (1 - p)
            d_inputs[i] += error * y
            d_outputs[j] += error * x
    return d_inputs, d_outputs


def answers(
    inputs: Array, outputs: Array, yes: Array, no: Array
) -> tuple[Array, Array]:
    """Return how likely each yes is, and the derivative of :func:`loss` by each score.

    Both are ``[inputs, outputs]``.
    """
    likely = sigmoid(inputs @ outputs.T)
    return likely, (yes + no) * likely - yes


def gradients(
    inputs: Array, outputs: Array, yes: Array, no: Array
) -> tuple[Array, Array]:
    """Return the gradients of :func:`loss`, shaped as ``inputs`` and ``outputs``."""
    _, error = answers(inputs, outputs, yes, no)
    return error @ outputs, error.T @ inputs


def add_to_rows(table: Array, rows: Ints, updates: Array) -> None:
    """Add ``updates[i]`` to ``table[rows[i]]``, in place, though rows may repeat.

    ``table[rows] += updates`` would keep one update of each repeated row. torch adds
    all of them, in order, in memory that it shares with the arrays: several times as
    fast as ``np.add.at``.

    Args:
        table: ``[words, dim]``.
        rows: ``[n]``.
        updates: ``[n, dim]``, of the type of ``table``.
    """
    from_numpy = torch.from_numpy
    from_numpy(table).index_add_(0, from_numpy(rows), from_numpy(updates))


def neighbors(start: int, stop: int, reach: Ints, sentence: Ints) -> tuple[int, Array]:
    """Return which words are in the windows of the words from ``start`` to ``stop``.

    Args:
        start: place of the first word to predict, in a row of sentences.
        stop: place after the last.
        reach: how far the window of each word reaches, ``[tokens]``.
        sentence: number of each word's sentence, ``[tokens]``; no window crosses it.

    Returns:
        The place of the first word that may be in a window, and
        ``[neighbors, stop - start]``: 1 where it is.
    """
    reach = reach[start:stop]
    furthest = int(reach.max())
    first = max(0, start - furthest)
    places = np.arange(first, min(len(sentence), stop + furthest))
    distance = np.abs(places[:, None] - np.arange(start, stop))
    inside = (distance > 0) & (distance <= reach)
    inside &= sentence[places, None] == sentence[start:stop]
    return first, inside.astype(np.float32)


def ask_noise(predicts: Array, words: Ints, noise: Ints, negative: int) -> Questions:
    """Ask each input: is it this word? (yes) And is it this noise word? (no).

    Args:
        predicts: 1 where an input predicts a word of the block, ``[inputs, block]``.
        words: the words of the block, ``[block]``.
        noise: the noise words that all inputs share, ``[noise]``.
        negative: noise words a prediction; each shared one counts negative / noise.
    """
    rows, column = np.unique(np.concatenate([words, noise]), return_inverse=True)
    place = np.zeros((len(words), len(rows)), dtype=predicts.dtype)
    place[np.arange(len(words)), column[: len(words)]] = 1
    drawn = np.bincount(column[len(words) :], minlength=len(rows))
    share = (drawn * (negative / len(noise))).astype(predicts.dtype)
    return Questions(
        rows, predicts @ place, predicts.sum(axis=1, keepdims=True) * share
    )


def ask_turns(predicts: Array, words: Ints, paths: Paths) -> Questions:
    """Ask each input at each node on the way to its words: turn 0 (yes) or turn 1?

    Args:
        predicts: 1 where an input predicts a word of the block, ``[inputs, block]``.
        words: the words of the block, ``[block]``.
        paths: the tree.
    """
    on_way = np.arange(paths.nodes.shape[1]) < paths.lengths[words, None]
    nodes, column = np.unique(paths.nodes[words][on_way], return_inverse=True)
    of_word = np.repeat(np.arange(len(words)), paths.lengths[words])
    turns = np.zeros((2, len(words), len(nodes)), dtype=predicts.dtype)
    turns[paths.turns[words][on_way], of_word, column] = 1
    return Questions(nodes, predicts @ turns[0], predicts @ turns[1])


def learn_block(
    vectors: Array,
    outputs: Array,
    context: Ints,
    questions: Questions,
    alpha: float,
) -> None:
    r"""Learn from the questions of a block, in place, as if they were asked in turn.

    The loss as a function of one output row curves at most by
    :math:`\frac14 \sum n_i \lVert x_i \rVert^2`, with :math:`n_i` answers asked of
    input :math:`x_i`. A step longer than two over this may raise it, so it is cut
    there. The longer a step is beside that, the less of it the others find: none of one
    that is cut, and likewise of an input's step. At the usual settings this matters
    only for nodes near the root of the tree, which every input asks, and the most
    frequent words. Places of one word in the context find nothing of each other.

    Args:
        vectors: the input vectors, ``[words, dim]``.
        outputs: the output vectors, ``[outputs, dim]``.
        context: rows of the words that predict, ``[context]``.
        questions: what is asked of each input.
        alpha: learning rate.
    """
    rows, yes, no = questions
    inputs, given = vectors[context], outputs[rows]
    likely, error = answers(inputs, given, yes, no)
    own = likely * (error - yes) + yes  # the sum of the squared errors of each answer
    rate, count = inputs.dtype.type(alpha), yes + no
    bend = rate / 8 * (count.T @ np.einsum("id,id->i", inputs, inputs)[:, None])
    rates = rate / np.maximum(1, bend)
    half = rates / 2 * np.maximum(0, 1 - bend)
    d_inputs = error @ (given - half * (error.T @ inputs)) + own @ half * inputs
    bend = rate / 8 * (count @ np.einsum("id,id->i", given, given)[:, None])
    half = rate / 2 * np.maximum(0, 1 - bend)
    d_outputs = error.T @ (inputs - half * (error @ given)) + own.T @ half * given
    add_to_rows(vectors, context, -rate * d_inputs)
    outputs[rows] = given - rates * d_outputs
