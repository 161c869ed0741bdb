r"""Word vectors by name: neighbors, analogies, scores against people, files.

Words are compared by the cosine of their vectors, :math:`\cos(a, b) = \hat a \cdot \hat
b`, where a hat divides a vector by its length. An analogy, *a is to b as c is to ?*, is
answered by the word nearest to :math:`\hat b - \hat a + \hat c`, the three words left
out (Mikolov et al., arXiv:1301.3781).

Names, results and files are those of gensim 4's ``KeyedVectors``; the file format, text
and binary, is that of the word2vec program. Differences: an unknown word raises
wherever it comes up, scores are plain floats, and word pairs and analogies are passed
in, not read from a file.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]


class PairScores(NamedTuple):
    """How well similarities agree with people's: two correlations, and what is missing.

    Attributes:
        pearson: correlation of the values.
        spearman: correlation of the ranks.
        oov_ratio: percentage of the pairs with a word out of the vocabulary.
    """

    pearson: float
    spearman: float
    oov_ratio: float


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Return the rank of each value, from 1; equal values share their mean rank.

    Args:
        values: numbers, ``[n]``.
    """
    _, group, sizes = np.unique(
        np.asarray(values), return_inverse=True, return_counts=True
    )
    return (np.cumsum(sizes) - (sizes - 1) / 2)[group]


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Return the correlation of the ranks of ``a`` and ``b``, each ``[n]``, n >= 2."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


class KeyedVectors:
    """Vectors with names.

    Attributes:
        index_to_key: the words; of a trained model, the most frequent first.
        key_to_index: word -> its row.
        vectors: ``[words, vector_size]``, float32.
    """

    def __init__(self, keys: Iterable[str], vectors: ArrayLike) -> None:
        """Name the rows of ``vectors``, ``[words, vector_size]``.

        Raises:
            ValueError: the names are not distinct, or not as many as rows.
        """
        self.index_to_key: list[str] = list(keys)
        self.vectors: Floats = np.asarray(vectors, dtype=np.float32)
        self.key_to_index = {key: i for i, key in enumerate(self.index_to_key)}
        shape = self.vectors.shape
        if len(shape) != 2 or shape[0] != len(self.index_to_key):
            raise ValueError(
                f"vectors has shape {shape}, needs ({len(self.index_to_key)} keys, "
                "vector_size)"
            )
        if len(self.key_to_index) != len(self.index_to_key):
            raise ValueError("keys holds a word twice")

    @property
    def vector_size(self) -> int:
        """How many numbers a vector has."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        """Return how many words there are."""
        return len(self.index_to_key)

    def __contains__(self, key: object) -> bool:
        """Say whether ``key`` is a word of the vocabulary."""
        return key in self.key_to_index

    def __getitem__(self, keys: str | Sequence[str]) -> Floats:
        """Return the vector of a word, ``[vector_size]``, or of several, one a row.

        Raises:
            KeyError: a word is not in the vocabulary.
        """
        if isinstance(keys, str):
            return self.vectors[self._row(keys)]
        return self.vectors[[self._row(key) for key in keys]]

    def _row(self, key: str) -> int:
        if key not in self.key_to_index:
            near = key.lower() if isinstance(key, str) else key
            hint = f"; {near!r} is" if near in self.key_to_index else ""
            size = f"of {len(self)} words{hint}"
            raise KeyError(f"{key!r} is not in the vocabulary {size}")
        return self.key_to_index[key]

    def unit_vectors(self) -> Floats:
        """Return the vectors divided by their length, ``[words, vector_size]``.

        A vector of zeros stays zero.
        """
        length = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        length[length == 0] = 1
        return self.vectors / length

    def similarity(self, first: str, second: str) -> float:
        """Return the cosine of two words, from -1 to 1.

        Raises:
            KeyError: a word is not in the vocabulary.
        """
        a, b = self[first], self[second]
        return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30))

    def most_similar(
        self,
        positive: str | ArrayLike | Sequence[str | ArrayLike] = (),
        negative: str | ArrayLike | Sequence[str | ArrayLike] = (),
        topn: int = 10,
    ) -> list[tuple[str, float]]:
        """Return the words nearest to the sum of ``positive`` minus ``negative``.

        ``most_similar(["woman", "king"], ["man"])`` asks: man is to king as woman to ?

        Args:
            positive: words, or vectors ``[vector_size]``; each is divided by its
                length.
            negative: words or vectors to subtract.
            topn: how many to return.

        Returns:
            (word, cosine), the best first, the given words left out.

        Raises:
            KeyError: a word is not in the vocabulary.
            ValueError: nothing is given, or a vector has another size.
        """
        wanted, given = np.zeros(self.vector_size, dtype=np.float32), []
        parts = [(1, part) for part in _several(positive)]
        parts += [(-1, part) for part in _several(negative)]
        if not parts:
            raise ValueError("positive and negative are empty, needs a word or vector")
        for sign, part in parts:
            if isinstance(part, str):
                given.append(self._row(part))
                part = self.vectors[given[-1]]
            vector = np.asarray(part, dtype=np.float32)
            if vector.shape != wanted.shape:
                raise ValueError(
                    f"a vector has shape {vector.shape}, needs {wanted.shape}"
                )
            wanted += sign * vector / max(float(np.linalg.norm(vector)), 1e-30)
        wanted /= max(float(np.linalg.norm(wanted)), 1e-30)
        cosines = self.unit_vectors() @ wanted
        order = np.argsort(-cosines, kind="stable")
        best = [int(i) for i in order if i not in given][:topn]
        return [(self.index_to_key[i], float(cosines[i])) for i in best]

    def doesnt_match(self, words: Iterable[str]) -> str:
        """Return the word whose cosine with the mean of all is smallest.

        Raises:
            KeyError: a word is not in the vocabulary.
            ValueError: there is no word.
        """
        words = list(words)
        if not words:
            raise ValueError("words is empty, needs at least one")
        units = self.unit_vectors()[[self._row(word) for word in words]]
        return words[int(np.argmin(units @ units.mean(axis=0)))]

    def evaluate_word_pairs(
        self, pairs: Iterable[tuple[str, str, float]]
    ) -> PairScores:
        """Compare cosines with people's scores, on the pairs in the vocabulary.

        Args:
            pairs: (word, word, score), as :func:`minitransformer.data.wordsim353`
                gives. Words that are not in the vocabulary are lower-cased.

        Raises:
            ValueError: fewer than three pairs are in the vocabulary.
        """
        pairs = list(pairs)
        known = [
            (score, self.similarity(a, b))
            for first, second, score in pairs
            if (a := self._known(first)) and (b := self._known(second))
        ]
        if len(known) < 3:
            raise ValueError(f"pairs has {len(known)} in the vocabulary, needs 3")
        people, ours = np.array(known).T
        missing = 100 * (len(pairs) - len(known)) / len(pairs)
        pearson = float(np.corrcoef(people, ours)[0, 1])
        return PairScores(pearson, spearman(people, ours), missing)

    def _known(self, word: str) -> str | None:
        forms = (word, word.lower())
        return next((form for form in forms if form in self), None)

    def evaluate_word_analogies(
        self, sections: Mapping[str, Iterable[tuple[str, str, str, str]]]
    ) -> dict[str, tuple[int, int]]:
        """Count the analogies that come out right, among all words of the vocabulary.

        Args:
            sections: name -> (a, b, c, d), a is to b as c is to d, as
                :func:`minitransformer.data.analogies` gives. Words that are not in the
                vocabulary are lower-cased.

        Returns:
            name -> (right, asked); questions with an unknown word are not asked.
        """
        units, scores = self.unit_vectors(), {}
        for name, questions in sections.items():
            known = [
                [self._row(word) for word in words if word]
                for question in questions
                if all(words := [self._known(word) for word in question])
            ]
            right = 0
            for a, b, c, d in known:
                cosines = units @ (units[b] - units[a] + units[c])
                cosines[[a, b, c]] = -np.inf
                right += int(np.argmax(cosines)) == d
            scores[name] = (right, len(known))
        return scores

    def save_word2vec_format(self, path: str | Path, binary: bool = False) -> None:
        """Write the vectors to a file of the word2vec program's format.

        Args:
            path: the file.
            binary: 4 bytes a number; otherwise text, in the shortest digits that give
                the same float32 again.

        Raises:
            ValueError: a word is empty or holds white space, which the format cannot
                store.
        """
        for key in self.index_to_key:
            if key.split() != [key]:
                raise ValueError(f"keys holds {key!r}: the format cannot store spaces")
        with open(path, "wb") as file:
            file.write(f"{len(self)} {self.vector_size}\n".encode())
            for key, vector in zip(self.index_to_key, self.vectors, strict=True):
                if binary:
                    file.write(key.encode() + b" " + vector.astype("<f4").tobytes())
                else:
                    file.write(f"{key} {' '.join(map(str, vector))}\n".encode())

    @classmethod
    def load_word2vec_format(cls, path: str | Path, binary: bool = False) -> Self:
        """Read vectors that word2vec, gensim or this class has written.

        Raises:
            ValueError: the file is not of this format, or cut off. The message names
                the word at which it fails.
        """
        content = Path(path).read_bytes()
        first, _, rest = content.partition(b"\n")
        try:
            count, size = map(int, first.split())
        except ValueError:
            raise ValueError(
                f"{Path(path).name} begins with {first[:40]!r}, needs 'words size'"
            ) from None
        read = _read_binary if binary else _read_text
        keys, vectors = read(rest, count, size)
        return cls(keys, vectors)


def _several(given: Any) -> list[Any]:
    """Return a list of words and vectors, from one or several of them."""
    if isinstance(given, str) or (isinstance(given, np.ndarray) and given.ndim == 1):
        return [given]
    return list(given)


def _read_text(content: bytes, count: int, size: int) -> tuple[list[str], Floats]:
    lines = content.decode("utf-8").split("\n")[:count]
    keys, vectors = [], np.empty((count, size), dtype=np.float32)
    for i in range(count):
        key, *numbers = lines[i].rstrip().split(" ") if i < len(lines) else [""]
        if len(numbers) != size:
            raise ValueError(
                f"word {i + 1} of {count}, {key!r}, has {len(numbers)} numbers, "
                f"needs {size}"
            )
        keys.append(key)
        vectors[i] = np.array(numbers, dtype=np.float32)
    return keys, vectors


def _read_binary(content: bytes, count: int, size: int) -> tuple[list[str], Floats]:
    keys, vectors, at = [], np.empty((count, size), dtype=np.float32), 0
    for i in range(count):
        end = content.find(b" ", at)
        numbers = content[end + 1 : end + 1 + 4 * size]
        if end < 0 or len(numbers) < 4 * size:
            raise ValueError(f"word {i + 1} of {count} is cut off")
        keys.append(content[at:end].lstrip(b"\n").decode("utf-8"))
        vectors[i] = np.frombuffer(numbers, dtype="<f4")
        at = end + 1 + 4 * size
    return keys, vectors
