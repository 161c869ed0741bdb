r"""word2vec: word vectors from predicting neighbors.

Each word :math:`w` has an input vector :math:`v_w` and an output vector :math:`u_w`.
Skip-gram predicts each word from each neighbor, one pair at a time; CBOW predicts it
from the mean of its neighbors' vectors. With the true word and :math:`k` noise words
drawn from :math:`P(w) \propto c_w^{3/4}`, negative sampling asks of each *is it the
one?* and pays, in nats,

.. math:: -\ln \sigma(v \cdot u_{\text{true}}) - \sum_{i=1}^k \ln \sigma(-v \cdot u_i).

Hierarchical softmax asks instead which way to turn at each inner node on the path to
the word, in a Huffman tree of the counts. Both are sums of logistic losses, so one
function serves all four models: with inputs :math:`X` ``[inputs, dim]``, outputs
:math:`Y` ``[outputs, dim]`` and, for each input and output, how many times the answer
is yes and how many times no,

.. math:: L = -\sum_{ij} \text{yes}_{ij} \ln \sigma(X_i \cdot Y_j)
              + \text{no}_{ij} \ln \sigma(-X_i \cdot Y_j).

Its gradients are two matrix products (:func:`gradients`), and skip-gram works through a
text in blocks of up to 64 words, each in a few of them. CBOW, in
:mod:`~minitransformer.embeddings.cbow`, leaves out what a block does not ask.

Source: Mikolov et al., arXiv:1301.3781 (the two models) and arXiv:1310.4546 (negative
sampling, sub-sampling). Different from the paper, and why:

- The words of a block share one draw of noise words, each weighted so that the expected
  loss is that of ``negative`` draws a pair. A draw a pair would move ten times as many
  rows of memory. (After Ji et al., arXiv:1604.04661, who share within a window.)
- The gradients of a block are summed at the weights before it; the authors' program
  updates after each pair. So that the sum does not overshoot, blocks are shorter where
  a word is very frequent (:func:`block_length`), and steps where the loss curves much
  (:func:`learn_block`).
- As in that program and in gensim, the window of each word is drawn uniformly from 1 to
  ``window``.
- Input vectors start uniform in plus or minus 1 / ``vector_size``, as in gensim; that
  program starts them half as long, which costs a short text several passes.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from minitransformer.embeddings.cbow import (
    Windows,
    cut_tree,
    edges,
    give_back,
    learn_noise,
    learn_turns,
    means,
    windows,
)
from minitransformer.embeddings.keyed_vectors import KeyedVectors
from minitransformer.embeddings.vocabulary import (
    Paths,
    count_words,
    huffman_paths,
    keep_probability,
    noise_probability,
)

Array = NDArray[np.floating]
Ints = NDArray[np.int64]

SHORTEST_BLOCK, LONGEST_BLOCK, LONGEST_CBOW_BLOCK = 4, 64, 256  # words a block
NOISE = 64  # noise words a block


class Questions(NamedTuple):
    """What a block asks: of which outputs, and how often the answer is yes and no.

    Attributes:
        outputs: rows of the output table, ``[outputs]``.
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


def gradients(
    inputs: Array, outputs: Array, yes: Array, no: Array
) -> tuple[Array, Array]:
    """Return the gradients of :func:`loss`, shaped as ``inputs`` and ``outputs``."""
    error = (yes + no) * sigmoid(inputs @ outputs.T) - yes
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


def block_length(alpha: float, often: float, longest: int) -> int:
    """Return how many words to learn from at once.

    Some row of a table gets the most gradients for each word of a block. Added up at
    the same weights, they may weigh ``alpha`` times their number in all, at most 1; few
    texts have a word so frequent that this matters.

    Args:
        alpha: learning rate.
        often: gradients of that row, for each word of a block.
        longest: what the length may be at most.
    """
    length = 1 / max(alpha * often, 1e-9)
    return int(np.clip(length, SHORTEST_BLOCK, longest))


def ask_noise(predicts: Array, words: Ints, noise: Ints, negative: int) -> Questions:
    """Ask each input: is it this word? (yes) And is it this noise word? (no).

    Args:
        predicts: 1 where an input predicts a word of the block, ``[inputs, block]``.
        words: the words of the block, ``[block]``.
        noise: the noise words that all inputs share, ``[noise]``.
        negative: noise words a prediction; each shared one counts negative / noise.
    """
    zeros = np.zeros((len(predicts), len(noise)), dtype=predicts.dtype)
    share = predicts.sum(axis=1, keepdims=True) * (negative / len(noise))
    yes = np.concatenate([predicts, zeros], axis=1)
    no = np.concatenate([np.zeros_like(predicts), zeros + share], axis=1)
    return Questions(np.concatenate([words, noise]), yes, no.astype(predicts.dtype))


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
    r"""Take one gradient step on the questions of a block, in place.

    The loss as a function of one output row curves at most by
    :math:`\frac14 \sum n_i \lVert x_i \rVert^2`, with :math:`n_i` answers asked of
    input :math:`x_i`. A step longer than two over this may raise it, so it is cut
    there. At the usual settings this touches only nodes near the root of the tree,
    which every input asks.

    Args:
        vectors: the input vectors, ``[words, dim]``.
        outputs: the output vectors, ``[outputs, dim]``.
        context: rows of the words that predict, ``[context]``.
        questions: what is asked of each input.
        alpha: learning rate.
    """
    rows, yes, no = questions
    inputs, given = vectors[context], outputs[rows]
    d_inputs, d_outputs = gradients(inputs, given, yes, no)
    curvature = alpha / 8 * (np.einsum("id,id->i", inputs, inputs) @ (yes + no))
    cut = np.maximum(1, np.bincount(rows, curvature)[rows])
    rates = (alpha / cut).astype(outputs.dtype)
    add_to_rows(vectors, context, -alpha * d_inputs)
    add_to_rows(outputs, rows, -rates[:, None] * d_outputs)


class Word2Vec:
    """Word vectors of a text, by skip-gram or CBOW.

    Attributes:
        wv: the vectors, by word, in
            :class:`~minitransformer.embeddings.keyed_vectors.KeyedVectors`.
        noise_outputs: output vectors of the words, ``[words, vector_size]``; None
            without negative sampling.
        node_outputs: vectors of the inner nodes, ``[words - 1, vector_size]``; None
            without hierarchical softmax.
        counts: how often each word occurs, ``[words]``.
        alpha: the learning rate now.
    """

    def __init__(
        self,
        sentences: Iterable[Sequence[str]],
        *,
        vector_size: int = 100,
        window: int = 5,
        min_count: int = 5,
        sg: int = 0,
        hs: int = 0,
        negative: int = 5,
        ns_exponent: float = 0.75,
        sample: float = 1e-3,
        alpha: float = 0.025,
        min_alpha: float = 0.0001,
        epochs: int = 5,
        seed: int = 1,
        progress: bool = False,
        on_epoch: "Callable[[Word2Vec], None] | None" = None,
    ) -> None:
        """Count the words, then train. Names and defaults are gensim's.

        Args:
            sentences: each a sequence of words. Read once.
            vector_size: numbers a vector.
            window: furthest neighbor, in words.
            min_count: rarer words are dropped.
            sg: 1 for skip-gram, 0 for CBOW.
            hs: 1 for hierarchical softmax (with ``negative=0``, alone).
            negative: noise words a prediction; 0 for no negative sampling.
            ns_exponent: noise words are drawn as count to this power.
            sample: share of the text from which on words are thinned; 0: never.
            alpha: learning rate at first; it falls linearly.
            min_alpha: learning rate in the end.
            epochs: passes over the text.
            seed: of all chance; the same seed gives the same vectors on one thread.
            progress: show a bar (by ``tqdm``, on standard output).
            on_epoch: called with this model after each epoch.

        Raises:
            ValueError: a setting is out of range, there is nothing to learn from, or a
                sentence is a string.
        """
        for name, value, least in (
            ("vector_size", vector_size, 1),
            ("window", window, 1),
            ("min_count", min_count, 1),
            ("negative", negative, 0),
            ("sample", sample, 0),
            ("min_alpha", min_alpha, 0),
            ("alpha", alpha, min_alpha),
            ("epochs", epochs, 1),
        ):
            if not value >= least:
                raise ValueError(f"{name} is {value}, needs at least {least}")
        for name, value in (("sg", sg), ("hs", hs)):
            if value not in (0, 1):
                raise ValueError(f"{name} is {value}, needs 0 or 1")
        if not hs and not negative:
            raise ValueError("hs and negative are 0, needs one of them to learn by")
        corpus = count_words(sentences, min_count)
        self._rng = np.random.default_rng(seed)
        shape = (len(corpus.words), vector_size)
        start = (2 * self._rng.random(shape, dtype=np.float32) - 1) / vector_size
        self.wv = KeyedVectors(corpus.words, start)
        self.counts = corpus.counts
        self.noise_outputs = np.zeros(shape, np.float32) if negative else None
        self.node_outputs = (
            np.zeros((shape[0] - 1, vector_size), np.float32) if hs else None
        )
        noise = noise_probability(corpus.counts, ns_exponent)
        self._noise = np.cumsum(noise)
        self._paths = huffman_paths(corpus.counts) if hs else None
        self._tree = cut_tree(self._paths) if self._paths and not sg else None
        self._sg, self._negative, self._window = sg, negative, window
        keep = keep_probability(corpus.counts, sample)
        text = corpus.counts * keep  # what sub-sampling leaves of it
        share = text / text.sum()
        asked, read = np.max(share + negative * noise), (window + 1) * share.max()
        often = (window + 1) * asked if sg else max(asked, read)
        length = block_length(alpha, often, LONGEST_BLOCK if sg else LONGEST_CBOW_BLOCK)
        keep = keep[corpus.ids]
        self.alpha = alpha
        for epoch in _bar(epochs) if progress else range(epochs):
            kept = self._rng.random(len(keep)) < keep
            ids, sentence = corpus.ids[kept], corpus.sentence[kept]
            reach = self._rng.integers(1, window + 1, len(ids))
            ends = edges(reach, sentence)
            for begin in range(0, len(ids), length):
                done = (epoch + begin / len(ids)) / epochs
                self.alpha = alpha - (alpha - min_alpha) * done
                block = slice(begin, min(begin + length, len(ids)))
                if sg:
                    self._learn(ids, block, reach, sentence)
                else:
                    self._learn_cbow(ids, block, windows(block, *ends, ids))
            if on_epoch is not None:
                on_epoch(self)

    def _learn(self, ids: Ints, block: slice, reach: Ints, sentence: Ints) -> None:
        """Learn from the words of one block of the text."""
        first, inside = neighbors(block.start, block.stop, reach, sentence)
        context, words = ids[first : first + len(inside)], ids[block]
        if self._paths is not None and self.node_outputs is not None:
            turns = ask_turns(inside, words, self._paths)
            learn_block(self.wv.vectors, self.node_outputs, context, turns, self.alpha)
        if self.noise_outputs is not None:
            asked = ask_noise(inside, words, self._draw(), self._negative)
            learn_block(self.wv.vectors, self.noise_outputs, context, asked, self.alpha)

    def _learn_cbow(self, ids: Ints, block: slice, near: Windows) -> None:
        """Learn from the words of one block of the text, by CBOW."""
        vectors, words = torch.from_numpy(self.wv.vectors), ids[block]
        inputs = means(vectors, near)
        change = torch.zeros_like(inputs)
        if self._tree is not None and self.node_outputs is not None:
            nodes = torch.from_numpy(self.node_outputs)
            change += learn_turns(inputs, nodes, words, self._tree, self.alpha)
        if self.noise_outputs is not None:
            outputs, noise = torch.from_numpy(self.noise_outputs), self._draw()
            change += learn_noise(
                inputs, outputs, words, noise, self._negative, self.alpha
            )
        give_back(vectors, near, change.mul_(-self.alpha))

    def _draw(self) -> Ints:
        """Draw the noise words of a block."""
        drawn = np.searchsorted(self._noise, self._rng.random(NOISE))
        return np.minimum(drawn, len(self._noise) - 1)


def _bar(epochs: int) -> Iterable[int]:
    from tqdm import tqdm

    return tqdm(range(epochs), desc="word2vec", unit="epoch", file=sys.stdout)
