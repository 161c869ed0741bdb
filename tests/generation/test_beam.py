import itertools
import math

import pytest
import torch

from minitransformer.caches.dense import DenseCache
from minitransformer.generation.beam import beam_search, naive_best
from minitransformer.generation.generate import generate

from .toys import NUM_LAYERS, markov, random_table, small_decoder

PROMPT = torch.tensor([[1, 0, 2]])


def log_prob(model, text):
    """The logarithm of the probability of a text after the prompt, without caches."""
    ids = torch.cat([PROMPT, torch.tensor([text])], dim=1)
    with torch.no_grad():
        rows = model(ids)[0, PROMPT.shape[1] - 1 : -1].log_softmax(dim=-1)
    return float(rows.gather(1, torch.tensor(text)[:, None]).sum())


@pytest.mark.parametrize("seed", range(5))
def test_one_beam_is_greedy(seed):
    model = small_decoder(seed=seed)
    (beam,) = beam_search(
        model, PROMPT, num_beams=1, max_new_tokens=7, num_layers=NUM_LAYERS
    )
    wanted = generate(model, PROMPT, max_new_tokens=7, num_layers=NUM_LAYERS)
    assert beam.ids == [int(new) for new in wanted]
    assert beam.log_prob == pytest.approx(log_prob(model, beam.ids), abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_one_beam_stops_where_greedy_stops(seed):
    model = small_decoder(seed=seed)
    options = {"max_new_tokens": 12, "num_layers": NUM_LAYERS, "stop_ids": [0, 4]}
    (beam,) = beam_search(model, PROMPT, num_beams=1, **options)
    assert beam.ids == [int(new) for new in generate(model, PROMPT, **options)]


@pytest.mark.parametrize("seed", range(3))
def test_as_many_beams_as_texts_find_the_best(seed):
    size, length = 3, 4
    model = small_decoder(vocab_size=size, seed=seed)

    def log_probs(written):
        ids = torch.cat([PROMPT, torch.tensor([written], dtype=torch.long)], dim=1)
        with torch.no_grad():
            return model(ids)[0, -1].log_softmax(dim=-1)

    best, total = naive_best(log_probs, length, size)
    beams = beam_search(
        model,
        PROMPT,
        num_beams=size**length,
        max_new_tokens=length,
        num_layers=NUM_LAYERS,
    )
    assert tuple(beams[0].ids) == best
    assert beams[0].log_prob == pytest.approx(total, abs=1e-10)
    assert len({tuple(beam.ids) for beam in beams}) == size**length
    assert sum(math.exp(beam.log_prob) for beam in beams) == pytest.approx(1, abs=1e-10)
    scores = [beam.score for beam in beams]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_with_stop_ids_too_the_best_of_all_texts_is_found(seed, penalty):
    model, stop, length = small_decoder(vocab_size=3, seed=seed), 2, 4
    texts = [
        text
        for n in range(1, length + 1)
        for text in itertools.product(range(3), repeat=n)
        if stop not in text[:-1] and (text[-1] == stop or n == length)
    ]
    scores = {text: log_prob(model, text) / len(text) ** penalty for text in texts}
    beams = beam_search(
        model,
        PROMPT,
        num_beams=len(texts),
        max_new_tokens=length,
        num_layers=NUM_LAYERS,
        stop_ids=[stop],
        length_penalty=penalty,
    )
    assert tuple(beams[0].ids) == max(texts, key=scores.__getitem__)
    for beam in beams:
        assert beam.score == pytest.approx(scores[tuple(beam.ids)], abs=1e-10)


@pytest.mark.parametrize("num_beams", [2, 3, 5])
def test_caches_follow_their_beams(num_beams):
    model = small_decoder(vocab_size=7, seed=3)
    beams = beam_search(
        model, PROMPT, num_beams=num_beams, max_new_tokens=8, num_layers=NUM_LAYERS
    )
    assert len(beams) == num_beams
    for beam in beams:  # a cache of another beam would give another probability
        assert beam.log_prob == pytest.approx(log_prob(model, beam.ids), abs=1e-9)


def test_a_beam_finds_what_greedy_misses():
    # after 0: 1 looks best (0.6), but then nothing is likely; 2 leads to 0.4 x 0.9
    table = [[0, 0.6, 0.4], [0.4, 0.3, 0.3], [0.05, 0.05, 0.9]]
    model, ids = markov(table), torch.tensor([[0]])
    greedy, wide = (
        beam_search(model, ids, num_beams=k, max_new_tokens=2, num_layers=0)[0]
        for k in (1, 2)
    )
    assert (greedy.ids, wide.ids) == ([1, 0], [2, 2])
    assert math.exp(greedy.log_prob) == pytest.approx(0.24)
    assert math.exp(wide.log_prob) == pytest.approx(0.36)


def test_short_texts_win_unless_length_is_paid_for():
    # 1 stops; going on with 0 costs little each time
    model, ids = markov([[0.8, 0.2], [0.5, 0.5]]), torch.tensor([[0]])
    options = {"num_beams": 3, "max_new_tokens": 10, "num_layers": 0, "stop_ids": [1]}
    short = beam_search(model, ids, **options)[0]
    long = beam_search(model, ids, length_penalty=1.0, **options)[0]
    assert short.ids == [1]
    assert long.ids == [0] * 10
    assert long.score == pytest.approx(math.log(0.8))


def test_a_text_that_is_done_leaves_its_place_to_another():
    # 3 ends; of two beams one is done at once, and 2, the third, may go on instead
    table = [[0, 0.32, 0.28, 0.4], [0.25] * 4, [0.95, 0.05, 0, 0], [0.25] * 4]
    found = beam_search(
        markov(table),
        torch.tensor([[0]]),
        num_beams=2,
        max_new_tokens=2,
        num_layers=0,
        stop_ids=[3],
    )
    assert [beam.ids for beam in found] == [[3], [2, 0]]


def test_it_ends_when_nothing_can_become_better():
    calls = []
    table = markov([[0.1, 0.9], [0.5, 0.5]])

    def model(ids, **options):
        calls.append(ids.shape)
        return table(ids)

    beam_search(
        model,
        torch.tensor([[0]]),
        num_beams=1,
        max_new_tokens=50,
        num_layers=0,
        stop_ids=[1],
    )
    assert len(calls) == 1


@pytest.mark.parametrize("seed", range(4))
def test_stopping_early_loses_nothing(seed):
    model, ids = markov(random_table(4, seed)), torch.tensor([[0]])
    options = {"max_new_tokens": 6, "num_layers": 0, "stop_ids": [3]}
    few = beam_search(model, ids, num_beams=3, **options)
    assert len(few) == 3
    best = beam_search(model, ids, num_beams=4**6, **options)
    assert few[0].log_prob <= best[0].log_prob + 1e-12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_beams": 0}, "num_beams is 0, needs at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0, needs at least 1"),
        ({"length_penalty": -1.0}, "length_penalty is -1.0, needs at least 0"),
        ({"ids": PROMPT.repeat(2, 1)}, "ids has batch 2, needs 1"),
        ({"ids": PROMPT + 10}, "ids go from 10 to 12, needs 0 to 10"),
    ],
)
def test_what_cannot_be_searched_is_refused(changes, message):
    arguments = {"ids": PROMPT, "num_beams": 2, "max_new_tokens": 3, **changes}
    with pytest.raises(ValueError, match=message):
        beam_search(small_decoder(), num_layers=NUM_LAYERS, **arguments)


def test_a_context_that_is_too_short_is_refused():
    model = small_decoder()
    model.max_seq_len = 4
    with pytest.raises(ValueError, match=r"needs 5 positions .* the context has 4"):
        beam_search(model, PROMPT, num_beams=2, max_new_tokens=3, num_layers=NUM_LAYERS)


def test_the_caches_are_those_that_were_asked_for():
    made = []

    def make():
        made.append(DenseCache())
        return made[-1]

    beam_search(
        small_decoder(),
        PROMPT,
        num_beams=2,
        max_new_tokens=3,
        num_layers=NUM_LAYERS,
        make_cache=make,
    )
    assert [cache.length for cache in made] == [PROMPT.shape[1] + 2] * NUM_LAYERS
