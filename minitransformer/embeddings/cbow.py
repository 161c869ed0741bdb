r"""Learning from blocks of words by CBOW: each word from the mean of its neighbors.

With the window's vectors :math:`v_c`, :math:`c \in C_j`, their mean
:math:`h_j` and the questions :math:`q` asked about word :math:`j`, each with an output
vector :math:`u_q`, an answer :math:`y_q` (1 is yes) and a weight :math:`n_q`,

.. math:: e_{jq} = n_q (\sigma(h_j \cdot u_q) - y_q), \qquad
    u_q \gets u_q - \alpha \sum_j e_{jq} h_j, \qquad
    v_c \gets v_c - \alpha \sum_{j: c \in C_j} \sum_q e_{jq} u_q.

The authors' program learns word after word, so that each finds what those before it
have changed. In a block all errors are those before it. With noise words, the
:math:`u_q` that goes back to the neighbors therefore has the steps of all other words
of the block (:func:`learn_noise`), not half of them as in turn; the steps of
:math:`v_c` have none of each other. To second order in :math:`\alpha` that is the same.
Where a step is so long that this order says little, it counts less.

Three things make it fast. A window is one stretch of the text, so its mean comes from
running sums (:func:`means`), and so does what goes back (:func:`give_back`). What all
inputs share, the noise words and the top of the tree, is a product of matrices. Of the
rest each input is asked its own alone: its word, or the nodes deep in the tree.

Source: Mikolov et al., arXiv:1301.3781. As in the authors' program and in gensim, each
neighbor gets the gradient of the mean in full, though the derivative divides it.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.linalg import vecdot
from torch.nn.functional import embedding_bag, pad

from minitransformer.embeddings.vocabulary import Paths

Array = NDArray[np.floating]
Ints = NDArray[np.int64]

TOP = 64  # inner nodes at the top of the tree, which are asked of most words


class Windows(NamedTuple):
    """Where the neighbors of the words of a block are, all in one piece of the text.

    Attributes:
        piece: ids of the words of that piece, ``[piece]``.
        first: place in it of the first word in each word's window, ``[block]``.
        stop: place after the last, ``[block]``.
        middle: places of the words themselves.
    """

    piece: Tensor
    first: Tensor
    stop: Tensor
    middle: slice


def edges(reach: Ints, sentence: Ints) -> tuple[Ints, Ints]:
    """Return where each word's window begins, and the place after its last word.

    Args:
        reach: how far the window of each word reaches, ``[tokens]``.
        sentence: number of each word's sentence, ``[tokens]``, which no window leaves.
    """
    place = np.arange(len(reach))
    start = np.searchsorted(sentence, sentence, "left")
    stop = np.searchsorted(sentence, sentence, "right")
    return np.maximum(place - reach, start), np.minimum(place + reach + 1, stop)


def windows(block: slice, first: Ints, stop: Ints, ids: Ints) -> Windows:
    """Return the windows of a block of a text.

    Args:
        block: places of the words.
        first: as :func:`edges` returns it, as is ``stop``.
        stop: ``[tokens]``.
        ids: the words of the text, ``[tokens]``.
    """
    first, stop = first[block], stop[block]
    begin = first.min()
    return Windows(
        torch.from_numpy(ids[begin : stop.max()]),
        torch.from_numpy(first - begin),
        torch.from_numpy(stop - begin),
        slice(block.start - begin, block.stop - begin),
    )


def means(vectors: Tensor, near: Windows) -> Tensor:
    """Return the mean of each word's neighbors, ``[block, dim]``; 0 if it has none.

    A window is what running sums gain from its first word to its last.
    """
    words = vectors.index_select(0, near.piece)
    sums = torch.cat([torch.zeros_like(words[:1]), words.cumsum(dim=0)])
    found = sums.index_select(0, near.stop).sub_(sums.index_select(0, near.first))
    found.sub_(words[near.middle])
    size = (near.stop - near.first - 1).to(found)
    return found.mul_((size.clamp_min(1).reciprocal() * (size > 0))[:, None])


def give_back(vectors: Tensor, near: Windows, change: Tensor) -> None:
    """Add the change of each mean, in full, to each neighbor, in place.

    Each is added where its window begins, taken off where it ends; running sums fill
    what lies between.
    """
    steps = torch.zeros(len(near.piece) + 1, change.shape[1], dtype=change.dtype)
    steps.index_add_(0, near.first, change).index_add_(0, near.stop, change, alpha=-1)
    steps = steps.cumsum(dim=0)[:-1]
    steps[near.middle] -= change
    vectors.index_add_(0, near.piece, steps)


def naive_block(
    vectors: Array,
    outputs: Array,
    windows: list[list[int]],
    questions: list[list[tuple[int, float, float]]],
    alpha: float,
    *,
    late: bool,
) -> tuple[Array, Array]:
    """Return both tables after the step of a block, by the definition, none cut short.

    Args:
        vectors: the input vectors, ``[words, dim]``.
        outputs: ``[outputs, dim]``.
        windows: the neighbors of each word of the block.
        questions: row of ``outputs``, answer and weight of all that each is asked.
        alpha: learning rate.
        late: whether the outputs that go back have the steps of all other questions,
            the less the more the loss curves along them.
    """
    after, after_outputs = vectors.astype(float), outputs.astype(float)
    steps, bend = [], np.zeros(len(outputs))
    for near, asked in zip(windows, questions, strict=True):
        h = sum(vectors[c] for c in near) / len(near)
        for row, answer, weight in asked:
            error = weight * (1 / (1 + np.exp(-h @ outputs[row])) - answer)
            after_outputs[row] -= alpha * error * h
            steps.append((near, row, error, alpha * error * h))
            bend[row] += alpha / 8 * weight * (h @ h)
    for near, row, error, own in steps:
        others = after_outputs[row] + own - outputs[row]
        u = outputs[row] + late * max(0, 1 - bend[row]) * others
        for c in near:
            after[c] -= alpha * error * u
    return after, after_outputs


class Tree(NamedTuple):
    """The questions of the tree, by word: those at the top, and the others.

    Attributes:
        asked: 1 where a word is asked at a node of the top, ``[words, top]``.
        yes: 1 where turn 0 is right there, ``[words, top]``.
        nodes: all nodes on the way, ``[words, longest]``.
        left: 1 where turn 0 is right there, ``[words, longest]``.
        deep: which of these lie below the top, ``[words, longest]``.
    """

    asked: NDArray[np.float32]
    yes: NDArray[np.float32]
    nodes: Ints
    left: NDArray[np.float32]
    deep: NDArray[np.bool_]


def cut_tree(paths: Paths) -> Tree:
    """Cut a tree below its heaviest nodes, which are the last made."""
    words, longest = paths.nodes.shape
    on_way = np.arange(longest) < paths.lengths[:, None]
    top = max(words - 1 - TOP, 0)
    deep = on_way & (paths.nodes < top)
    asked, yes = np.zeros((2, words, words - 1 - top), dtype=np.float32)
    word, step = np.nonzero(on_way & ~deep)
    asked[word, paths.nodes[word, step] - top] = 1
    yes[word, paths.nodes[word, step] - top] = paths.turns[word, step] == 0
    return Tree(asked, yes, paths.nodes, (paths.turns == 0).astype(np.float32), deep)


def learn_turns(
    inputs: Tensor, nodes: Tensor, words: Ints, tree: Tree, alpha: float
) -> Tensor:
    """Learn which way to turn on the way to each word; return the inputs' gradients.

    Steps are cut as in :func:`~minitransformer.embeddings.skip_gram.learn_block`.

    Args:
        inputs: ``[block, dim]``.
        nodes: vectors of the inner nodes, ``[nodes, dim]``; changed in place.
        words: which word each input is to find, ``[block]``.
        tree: the questions.
        alpha: learning rate.
    """
    curve = inputs.square().sum(dim=1) * (alpha / 8)
    asked, yes = (
        torch.from_numpy(table[words]).to(inputs) for table in (tree.asked, tree.yes)
    )
    top = nodes[len(nodes) - asked.shape[1] :]
    error = torch.sigmoid(inputs @ top.T).mul_(asked).sub_(yes)
    change = error @ top
    top.sub_((error / (curve @ asked).clamp_min(1)).T @ inputs, alpha=alpha)
    deep = tree.deep[words]
    if not deep.any():
        return change
    size = deep.sum(axis=1)
    owner = torch.from_numpy(np.repeat(np.arange(len(words)), size))
    starts = torch.from_numpy(np.cumsum(size) - size)
    rows = torch.from_numpy(tree.nodes[words][deep])
    yes = torch.from_numpy(tree.left[words][deep]).to(inputs)
    asking = inputs.index_select(0, owner)
    scores = nodes.index_select(0, rows).mul_(asking).sum(dim=1)
    error = torch.sigmoid(scores).sub_(yes)
    change += embedding_bag(rows, nodes, starts, mode="sum", per_sample_weights=error)
    cut = torch.bincount(rows, curve[owner]).clamp_min(1)[rows].to(error)
    nodes.index_add_(0, rows, asking.mul_((error / cut)[:, None]), alpha=-alpha)
    return change


def learn_noise(
    inputs: Tensor,
    outputs: Tensor,
    words: Ints,
    noise: Ints,
    negative: int,
    alpha: float,
) -> Tensor:
    """Learn to tell each word from noise words; return the inputs' gradients.

    These are taken at the outputs as the rest of the block leaves them, or between that
    and as they were: a step as long as
    :func:`~minitransformer.embeddings.skip_gram.learn_block` allows counts 0. Steps are
    cut as there. The block is cut into as many pieces of one length as there are rows
    of noise words, which the inputs of a piece share.

    Args:
        inputs: ``[block, dim]``.
        outputs: output vectors of the words, ``[words, dim]``; changed in place.
        words: the true word of each input, ``[block]``.
        noise: noise words, ``[pieces, noise]``.
        negative: noise words a prediction; each shared one counts negative / noise.
        alpha: learning rate.
    """
    block, (pieces, shared) = len(words), noise.shape
    length = -(-block // pieces)
    rows = torch.from_numpy(np.concatenate([words, noise.ravel()]))
    given = outputs.index_select(0, rows)
    true, false = given[:block], given[block:].view(pieces, shared, -1)
    cut = pad(inputs, (0, 0, 0, pieces * length - block)).view(pieces, length, -1)
    yes = vecdot(inputs, true).sigmoid_().sub_(1)[:, None]
    no = torch.bmm(cut, false.mT).sigmoid_().mul_(negative / shared)
    curve = vecdot(cut, cut).mul_(alpha / 8)
    of_noise = curve.sum(dim=1, keepdim=True).mul_(negative / shared)
    curve = torch.cat([curve.flatten()[:block], of_noise.expand(-1, shared).flatten()])
    bend = torch.bincount(rows, curve).index_select(0, rows).to(inputs)[:, None]
    rates = bend.clamp_min(1).reciprocal_().mul_(-alpha)
    steps = torch.empty_like(given)
    torch.mul(inputs, yes * rates[:block], out=steps[:block])
    torch.bmm(no.mT, cut, out=steps[block:].view_as(false))
    steps[block:].mul_(rates[block:])
    outputs.index_add_(0, rows, steps)
    trust = (1 - bend).clamp_min_(0)
    given.lerp_(outputs.index_select(0, rows), trust)
    change = torch.bmm(no, false).flatten(0, 1)[:block].addcmul_(true, yes)
    rates *= trust
    own = torch.bmm(no.square(), rates[block:].view(pieces, shared, 1))
    own = own.flatten(0, 1)[:block].addcmul_(yes.square(), rates[:block])
    return change.addcmul_(inputs, own, value=-1)
