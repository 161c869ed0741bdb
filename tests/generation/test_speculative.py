import itertools
import math
from collections import Counter
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy import stats

from minitransformer.caches.dense import DenseCache
from minitransformer.generation.generate import generate
from minitransformer.generation.sample import temperature, top_k
from minitransformer.generation.speculative import (
    acceptance,
    expected_tokens,
    naive_verify,
    residual,
    speculate,
    verify,
)

from .toys import NUM_LAYERS, markov, random_table, small_decoder

SURE = 1e-6  # how rarely a test of a correct draw may fail
START = torch.tensor([[0]])


def by_name(seed):
    return torch.Generator().manual_seed(seed)


def rows(size=3):
    """Two random distributions."""
    weights = st.lists(st.integers(0, 20), min_size=size, max_size=size).filter(sum)
    return st.tuples(weights, weights).map(
        lambda pair: [torch.tensor(w, dtype=torch.float64) / sum(w) for w in pair]
    )


def total_variation_bound(outcomes, n):
    """How far the shares of ``n`` draws may lie from their probabilities.

    In the mean at most ``sqrt(outcomes / n) / 2`` (Jensen), and farther by ``t`` with
    probability ``exp(-2 n t^2)`` at most (McDiarmid: a draw moves it by 1/n).
    """
    return math.sqrt(outcomes / n) / 2 + math.sqrt(math.log(1 / SURE) / (2 * n))


def distribution_of_one_call(q, p, prompt, gamma):
    """Every way a call may go, counted out: {new ids: probability}.

    The draft's guesses, then the acceptance of each, then the token after them; by
    the package's ``residual``, and the rule ``min(1, p/q)``.
    """
    size, found = len(p), Counter()
    for guesses in itertools.product(range(size), repeat=gamma):
        text = (prompt, *guesses)
        reached = math.prod(float(q[a, b]) for a, b in itertools.pairwise(text))
        if not reached:
            continue
        for place, (last, guess) in enumerate(itertools.pairwise(text)):
            yes = min(1.0, float(p[last, guess] / q[last, guess]))
            for x, r in enumerate(residual(p[last], q[last]).tolist()):
                found[(*guesses[:place], x)] += reached * (1 - yes) * r
            reached *= yes
        for x, after in enumerate(p[text[-1]].tolist()):
            found[(*guesses, x)] += reached * after
    return found


@settings(deadline=None, max_examples=60)
@given(rows())
def test_accepted_and_drawn_again_add_up_to_the_target(pair):
    p, q = pair
    accepted = torch.minimum(p, q)
    refused = 1 - acceptance(p, q)
    assert torch.allclose(accepted + refused * residual(p, q), p, rtol=0, atol=1e-14)


@settings(deadline=None, max_examples=60)
@given(rows())
def test_the_acceptance_is_one_less_the_total_variation(pair):
    p, q = pair
    distance = (p - q).abs().sum() / 2
    assert float(acceptance(p, q)) == pytest.approx(1 - float(distance), abs=1e-14)


def test_by_hand():
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.7, 0.1])
    assert float(acceptance(p, q)) == pytest.approx(0.6)
    assert residual(p, q).tolist() == pytest.approx([0.75, 0, 0.25])
    assert residual(p, p).tolist() == p.tolist()
    q, p = np.array([[0.2, 0.7, 0.1]]), np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    for guess, u, accepted in ((0, 0.99, 1), (1, 0.42, 1), (1, 0.43, 0), (2, 0.9, 1)):
        count, following = naive_verify([guess], q, p, [u])
        assert count == accepted
        wanted = p[1] if accepted else [0.75, 0, 0.25]
        assert np.allclose(following, wanted)


@pytest.mark.parametrize("gamma", [1, 2, 3])
def test_counted_out_the_text_of_a_call_has_the_distribution_of_the_target(gamma):
    p, q = random_table(3, seed=0, sharpness=2), random_table(3, seed=1, sharpness=2)
    found = distribution_of_one_call(q, p, 0, gamma)
    assert sum(found.values()) == pytest.approx(1, abs=1e-14)
    # a call may end early; the target then goes on as it does
    whole = Counter()
    for new, reached in found.items():
        for rest in itertools.product(range(3), repeat=gamma + 1 - len(new)):
            text = (new[-1], *rest)
            then = math.prod(float(p[a, b]) for a, b in itertools.pairwise(text))
            whole[(*new, *rest)] += reached * then
    assert len(whole) == 3 ** (gamma + 1)
    for text, got in whole.items():
        steps = itertools.pairwise((0, *text))
        wanted = math.prod(float(p[a, b]) for a, b in steps)
        assert got == pytest.approx(wanted, abs=1e-14)


def test_a_wrong_rule_would_be_seen_when_counted_out():
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.7, 0.1])
    wrong = torch.minimum(p, q) + (1 - acceptance(p, q)) * p  # p, not what q lacks
    assert (wrong - p).abs().max() > 0.1


@pytest.mark.parametrize("gamma", [0, 1, 2, 4])
def test_verify_is_the_definition(gamma):
    generator = by_name(0)
    for seed in range(30):
        q = random_table(5, seed, 2.0)[:gamma]
        p = random_table(5, seed + 100, 2.0)[: gamma + 1]
        guesses = torch.randint(0, 5, (gamma,), generator=generator)
        uniforms = torch.rand(gamma, generator=by_name(seed), dtype=torch.float64)
        wanted, following = naive_verify(
            guesses.tolist(), q.numpy(), p.numpy(), uniforms.tolist()
        )
        count, new = verify(guesses, q, p, by_name(seed))
        assert count == wanted
        assert following[int(new)] > 0


def test_drawn_often_one_call_has_the_counted_distribution():
    p, q = random_table(3, seed=0, sharpness=2), random_table(3, seed=1, sharpness=2)
    n, generator, found = 2500, by_name(0), Counter()
    for _ in range(n):
        text = speculate(
            markov(p),
            markov(q),
            START,
            max_new_tokens=3,
            num_layers=(0, 0),
            gamma=2,
            generator=generator,
        )
        found[tuple(next(text).tolist())] += 1
    wanted = distribution_of_one_call(q, p, 0, 2)
    distance = sum(abs(found[new] / n - share) for new, share in wanted.items()) / 2
    assert distance < total_variation_bound(len(wanted), n)
    assert set(found) <= {new for new, share in wanted.items() if share > 0}


def drawn_texts(target, draft, n, length, **options):
    """Count the texts that are written after ``START``."""
    found = Counter()
    for _ in range(n):
        parts = speculate(target, draft, START, max_new_tokens=length, **options)
        found[tuple(torch.cat(list(parts)).tolist())] += 1
    return found


@pytest.mark.parametrize("gamma", [1, 3])
def test_drawn_often_the_texts_have_the_distribution_of_the_target(gamma):
    p, q = random_table(2, seed=4, sharpness=2), random_table(2, seed=5, sharpness=2)
    n, length = 1200, 3
    found = drawn_texts(
        markov(p),
        markov(q),
        n,
        length,
        num_layers=(0, 0),
        gamma=gamma,
        generator=by_name(1),
    )
    texts = list(itertools.product(range(2), repeat=length))
    shares = {
        text: math.prod(float(p[a, b]) for a, b in itertools.pairwise((0, *text)))
        for text in texts
    }
    distance = sum(abs(found[text] / n - shares[text]) for text in texts) / 2
    bound = total_variation_bound(len(texts), n)
    assert distance < bound
    of_draft = [
        math.prod(float(q[a, b]) for a, b in itertools.pairwise((0, *text)))
        for text in texts
    ]
    apart = sum(abs(a - b) for a, b in zip(of_draft, shares.values(), strict=True))
    assert apart / 2 > 2 * bound  # the draft's own texts would be seen
    common = [text for text in texts if n * shares[text] >= 5]
    rest = 1 - sum(shares[text] for text in common)
    counts = [found[text] for text in common]
    expected = [n * shares[text] for text in common]
    if rest > 1e-12:
        counts.append(n - sum(counts))
        expected.append(n * rest)
    assert stats.chisquare(counts, expected).pvalue > SURE


def test_with_caches_the_texts_have_the_distribution_of_the_target():
    target, draft = (small_decoder(vocab_size=2, seed=s, std=0.4) for s in (0, 1))
    n, length = 300, 3
    found = drawn_texts(
        target,
        draft,
        n,
        length,
        num_layers=(NUM_LAYERS, NUM_LAYERS),
        gamma=2,
        generator=by_name(2),
    )
    texts = torch.tensor(list(itertools.product(range(2), repeat=length)))

    def shares(model):
        ids = torch.cat([START.expand(len(texts), -1), texts], dim=1)
        with torch.no_grad():
            log_probs = model(ids)[:, :-1].log_softmax(dim=-1)
        return log_probs.gather(2, texts.unsqueeze(2)).sum(dim=(1, 2)).exp()

    got = torch.tensor([found[tuple(text)] / n for text in texts.tolist()])
    bound = total_variation_bound(len(texts), n)
    assert (got - shares(target)).abs().sum() / 2 < bound
    assert (shares(draft) - shares(target)).abs().sum() / 2 > bound


@pytest.mark.parametrize("gamma", [1, 2, 5])
def test_at_temperature_zero_it_is_greedy_whatever_the_draft(gamma):
    target, draft = small_decoder(seed=0), small_decoder(seed=1)
    ids = torch.tensor([[3, 1, 4]])
    new = speculate(
        target,
        draft,
        ids,
        max_new_tokens=13,
        num_layers=(NUM_LAYERS, NUM_LAYERS),
        gamma=gamma,
        change=partial(temperature, degree=0),
        generator=by_name(0),
    )
    wanted = generate(target, ids, max_new_tokens=13, num_layers=NUM_LAYERS)
    assert torch.cat(list(new)).tolist() == [int(each) for each in wanted]


def test_a_draft_equal_to_the_target_is_always_accepted():
    model = small_decoder()
    parts = list(
        speculate(
            model,
            model,
            torch.tensor([[3, 1]]),
            max_new_tokens=12,
            num_layers=(NUM_LAYERS, NUM_LAYERS),
            gamma=3,
            generator=by_name(0),
        )
    )
    assert [len(part) for part in parts] == [4, 4, 4]


def test_a_guess_that_the_target_excludes_is_never_kept():
    target, draft = markov([[0, 1.0], [1.0, 0]]), markov([[0.9, 0.1], [0.1, 0.9]])
    parts = speculate(
        target,
        draft,
        START,
        max_new_tokens=20,
        num_layers=(0, 0),
        gamma=4,
        generator=by_name(0),
    )
    assert torch.cat(list(parts)).tolist() == [1, 0] * 10


def test_filters_hold_for_the_text():
    target, draft = small_decoder(seed=0), small_decoder(seed=1)
    ids = torch.tensor([[3, 1]])
    new = speculate(
        target,
        draft,
        ids,
        max_new_tokens=20,
        num_layers=(NUM_LAYERS, NUM_LAYERS),
        change=partial(top_k, k=2),
        generator=by_name(3),
    )
    text = torch.cat([ids[0], *new])
    with torch.no_grad():
        best = target(text[None])[0, 1:-1].topk(2, dim=-1).indices
    assert (best == text[2:, None]).any(dim=1).all()
    assert (best[:, 1] == text[2:]).any()  # not just greedy


def test_refused_guesses_leave_no_trace_in_the_caches():
    target, draft = small_decoder(seed=0), small_decoder(seed=1)
    made = []

    def make():
        made.append(DenseCache())
        return made[-1]

    ids = torch.tensor([[3, 1, 4, 1]])
    parts = []
    for part in speculate(
        target,
        draft,
        ids,
        max_new_tokens=15,
        num_layers=(NUM_LAYERS, NUM_LAYERS),
        generator=by_name(0),
        make_cache=make,
    ):
        parts.append(part)
        text = torch.cat([ids[0], *parts])
        assert made[0].length == len(text) - 1  # all but the last is read
        caches = [DenseCache() for _ in range(NUM_LAYERS)]
        with torch.no_grad():
            read = text[None, :-1]
            target(read, pos=torch.arange(read.shape[1]), caches=caches)
        for kept, wanted in zip(made[:NUM_LAYERS], caches, strict=True):
            assert torch.allclose(kept.kept[0], wanted.kept[0], rtol=0, atol=1e-10)
            assert kept.kept[2].tolist() == wanted.kept[2].tolist()
    assert len({len(part) for part in parts}) > 1  # some were refused
    assert len(text) == 4 + 15


def test_a_seed_says_what_is_written():
    def written(seed):
        parts = speculate(
            markov(random_table(6, 0)),
            markov(random_table(6, 1)),
            START,
            max_new_tokens=12,
            num_layers=(0, 0),
            generator=by_name(seed),
        )
        return torch.cat(list(parts)).tolist()

    assert written(1) == written(1)
    assert written(1) != written(2)
    assert len(written(1)) == 12


@pytest.mark.parametrize(("rate", "gamma"), [(0.0, 3), (0.5, 3), (0.9, 5), (1.0, 4)])
def test_the_mean_of_tokens_a_call_is_the_sum_of_a_series(rate, gamma):
    got = expected_tokens(rate, gamma)
    closed = gamma + 1 if rate == 1 else (1 - rate ** (gamma + 1)) / (1 - rate)
    assert got == pytest.approx(closed)


def test_tokens_a_call_come_as_often_as_is_said():
    # rows of both tables are permutations of one row: the acceptance is the same
    # everywhere, as the formula assumes
    p = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6]])
    q = torch.tensor([[0.3, 0.3, 0.4], [0.4, 0.3, 0.3], [0.3, 0.4, 0.3]])
    assert acceptance(p, q).tolist() == pytest.approx([0.7] * 3)
    gamma, calls = 3, []
    for seed in range(40):
        parts = speculate(
            markov(p),
            markov(q),
            START,
            max_new_tokens=100,
            num_layers=(0, 0),
            gamma=gamma,
            generator=by_name(seed),
        )
        calls += [len(part) for part in parts][:-2]  # the last may be cut short
    mean = sum(calls) / len(calls)
    # Hoeffding: calls yield from 1 to gamma + 1
    bound = gamma * math.sqrt(math.log(2 / SURE) / (2 * len(calls)))
    assert abs(mean - expected_tokens(0.7, gamma)) < bound


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": START.repeat(2, 1)}, "ids has batch 2, needs 1"),
        ({"gamma": 0}, "gamma is 0, needs at least 1"),
        ({"draft": markov(random_table(2, 0))}, "the draft scores 2, the target 3"),
        ({"ids": START[:, :0]}, r"ids has shape \(1, 0\)"),
    ],
)
def test_what_cannot_be_done_is_refused(changes, message):
    arguments = {
        "target": markov(torch.ones(3, 3) / 3),
        "draft": markov(torch.ones(3, 3) / 3),
        "ids": START,
        "max_new_tokens": 4,
        "num_layers": (0, 0),
        "generator": by_name(0),
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        list(speculate(**arguments))


@pytest.mark.parametrize("short", [0, 1])
def test_a_context_that_is_too_short_is_refused(short):
    models = [small_decoder(), small_decoder()]
    models[short].max_seq_len = 3
    layers = (NUM_LAYERS, NUM_LAYERS)
    with pytest.raises(ValueError, match=r"needs 4 positions .* the context has 3"):
        next(speculate(*models, START, max_new_tokens=4, num_layers=layers))


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_an_acceptance_is_a_probability(rate):
    with pytest.raises(ValueError, match="acceptance is"):
        expected_tokens(rate, 3)
