r"""word2vec: word vectors from predicting neighbors.

Each word :math:`w` has an input vector :math:`v_w` and an output vector :math:`u_w`.
Skip-gram predicts each word from each neighbor, one pair at a time; CBOW predicts it
from the mean of its neighbors' vectors. With the true word and :math:`k` noise words
drawn from :math:`P(w) \propto c_w^{3/4}`, negative sampling asks of each *is it the
one?* and pays, in nats,

.. math:: -\ln \sigma(v \cdot u_{\text{true}}) - \sum_{i=1}^k \ln \sigma(-v \cdot u_i).

Hierarchical softmax asks instead which way to turn at each inner node on the path to
the word, in a Huffman tree of the counts. Both are sums of logistic losses. Each model
learns from a block of the text at a time, skip-gram in
:mod:`~minitransformer.embeddings.skip_gram` and CBOW in
:mod:`~minitransformer.embeddings.cbow`.

Source: Mikolov et al., arXiv:1301.3781 (the two models) and arXiv:1310.4546 (negative
sampling, sub-sampling). Different from the paper, and why:

- The words of a block, up to 64, share one draw of noise words, each weighted so that
  the expected loss is that of ``negative`` draws a pair. A draw a pair would move ten
  times as many rows of memory. (After Ji et al., arXiv:1604.04661, who share within a
  window.) Of the longer blocks of CBOW each piece of 64 words has a draw of its own.
- A block takes its errors before it; the authors' program updates after each pair. What
  the pairs of a block change for each other is made up for to second order in the
  learning rate. So that steps do not overshoot, blocks are shorter where a word is very
  frequent (:func:`block_length`), and steps where the loss curves much
  (:func:`~minitransformer.embeddings.skip_gram.learn_block`).
- As in that program and in gensim, the window of each word is drawn uniformly from 1 to
  ``window``, and the learning rate falls every 10,000 words of the text. On a short
  text it is higher so than if it fell with each word.
- Input vectors start uniform in plus or minus 1 / ``vector_size``, as in gensim; that
  program starts them half as long, which costs a short text several passes.
"""

import sys
from collections.abc import Callable, Iterable, Sequence

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
from minitransformer.embeddings.skip_gram import (
    ask_noise,
    ask_turns,
    learn_block,
    neighbors,
)
from minitransformer.embeddings.vocabulary import (
    count_words,
    huffman_paths,
    keep_probability,
    noise_probability,
)

Array = NDArray[np.floating]
Ints = NDArray[np.int64]

SHORTEST_BLOCK, LONGEST_BLOCK, LONGEST_CBOW_BLOCK = 4, 64, 256  # words a block
NOISE = 64  # noise words that a piece of a block shares, and words of a piece
CONSTANT = 10_000  # words that are read at one learning rate


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
            alpha: learning rate at first; it falls linearly, every 10,000 words.
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
        asked, given = np.max(share + negative * noise), (window + 1) * share.max()
        often = (window + 1) * asked if sg else max(asked, given)
        length = block_length(alpha, often, LONGEST_BLOCK if sg else LONGEST_CBOW_BLOCK)
        keep = keep[corpus.ids]
        self.alpha = alpha
        for epoch in _bar(epochs) if progress else range(epochs):
            kept = self._rng.random(len(keep)) < keep
            ids, sentence = corpus.ids[kept], corpus.sentence[kept]
            read = np.flatnonzero(kept) // CONSTANT * CONSTANT
            reach = self._rng.integers(1, window + 1, len(ids))
            ends = edges(reach, sentence)
            for begin in range(0, len(ids), length):
                done = (epoch + read[begin] / len(keep)) / epochs
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
            asked = ask_noise(inside, words, self._draw(1)[0], self._negative)
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
            outputs = torch.from_numpy(self.noise_outputs)
            noise = self._draw(-(-len(words) // NOISE))
            change += learn_noise(
                inputs, outputs, words, noise, self._negative, self.alpha
            )
        give_back(vectors, near, change.mul_(-self.alpha))

    def _draw(self, pieces: int) -> Ints:
        """Draw the noise words of so many pieces of a text, ``[pieces, NOISE]``."""
        drawn = np.searchsorted(self._noise, self._rng.random((pieces, NOISE)))
        return np.minimum(drawn, len(self._noise) - 1)


def _bar(epochs: int) -> Iterable[int]:
    from tqdm import tqdm

    return tqdm(range(epochs), desc="word2vec", unit="epoch", file=sys.stdout)
