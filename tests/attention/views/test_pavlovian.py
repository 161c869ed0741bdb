import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransformer.attention.core import attention
from minitransformer.attention.masks import causal
from minitransformer.attention.normalizers import identity
from minitransformer.attention.views import pavlovian
from minitransformer.attention.views.pavlovian import delta, hebbian
from minitransformer.testing import check_recur

EXACT = 1e-12  # float64 sums of a few dozen numbers of size 1
RULES = [
    pytest.param(hebbian, pavlovian.naive_hebbian, "decay", id="hebbian"),
    pytest.param(delta, pavlovian.naive_delta, "rate", id="delta"),
]


def draw(seed, heads=3, length=17, key_dim=4, value_dim=5, dtype=torch.float64):
    """Queries, unit keys, values, a gate in [0, 1] and a state, all at random."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    query, key = normal(2, heads, length, key_dim), normal(2, heads, length, key_dim)
    key = torch.nn.functional.normalize(key, dim=-1)
    value = normal(2, heads, length, value_dim)
    gate = torch.rand(2, heads, length, generator=generator, dtype=torch.float64)
    return query, key, value, gate.to(dtype), normal(2, heads, key_dim, value_dim)


def condition(rule, phases, salience=None, **gates):
    """Run an experiment; return cue -> its response after each trial."""
    key, value, cues = pavlovian.trials(phases, salience)
    asked = np.diag([(salience or {}).get(cue, 1.0) for cue in cues])
    shape = (1, len(cues), len(key), -1)  # a head for each question
    query = torch.tensor(asked)[None, :, None].expand(shape)
    key, value = torch.tensor(key).expand(shape), torch.tensor(value).expand(shape)
    out, _ = rule(query, key, value, **gates)
    return {cue: out[0, i, :, 0].numpy() for i, cue in enumerate(cues)}


@pytest.mark.parametrize("chunk", [1, 2, 64])
def test_two_trials_worked_by_hand(chunk):
    key = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]])
    value = torch.tensor([[[[2.0], [3.0]]]])
    query = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    out, state = hebbian(query, key, value, chunk=chunk)
    assert out.flatten().tolist() == [2.0, 3.0]
    assert state.flatten().tolist() == [5.0, 3.0]
    out, state = hebbian(query, key, value, decay=0.5, chunk=chunk)
    assert state.flatten().tolist() == [4.0, 3.0]
    # first trial: half of 2. Second: 1 is expected of 3, half of the rest to each cue
    out, state = delta(query, key, value, rate=0.5, chunk=chunk)
    assert out.flatten().tolist() == [1.0, 1.0]
    assert state.flatten().tolist() == [2.0, 1.0]


@pytest.mark.parametrize(("rule", "naive", "gate"), RULES)
@settings(max_examples=30)
@given(st.integers(0, 20), st.integers(1, 8), st.integers(1, 3), st.integers(0, 99))
def test_the_fast_rule_learns_what_the_definition_says(
    rule, naive, gate, length, chunk, value_dim, seed
):
    q, k, v, g, state = draw(seed, length=length, value_dim=value_dim)
    out, after = rule(q, k, v, **{gate: g}, state=state, chunk=chunk)
    wanted, memory = naive(q, k, v, **{gate: g}, state=state)
    np.testing.assert_allclose(out, wanted, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(after, memory, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize(("rule", "naive", "gate"), RULES)
@pytest.mark.parametrize("cut", [0, 1, 7, 16, 17])
def test_a_sequence_cut_in_two_is_learned_the_same(rule, naive, gate, cut):
    q, k, v, g, state = draw(3)
    whole, after = rule(q, k, v, **{gate: g}, state=state, chunk=4)
    outs = []
    for at in (slice(None, cut), slice(cut, None)):
        part = [each[:, :, at] for each in (q, k, v)]
        out, state = rule(*part, **{gate: g[:, :, at]}, state=state, chunk=4)
        outs.append(out)
    torch.testing.assert_close(torch.cat(outs, 2), whole, rtol=EXACT, atol=EXACT)
    torch.testing.assert_close(state, after, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize(("rule", "naive", "gate"), RULES)
def test_no_answer_depends_on_a_later_trial(rule, naive, gate):
    q, k, v, g, _ = draw(4)
    before, _ = rule(q, k, v, **{gate: g}, chunk=5)
    for each in (q, k, v, g):
        each[:, :, 9:] = 0.7
    after, _ = rule(q, k, v, **{gate: g}, chunk=5)
    assert torch.equal(before[:, :, :9], after[:, :, :9])


@pytest.mark.parametrize(("rule", "naive", "gate"), RULES)
def test_the_state_that_is_given_stays_as_it_was(rule, naive, gate):
    q, k, v, g, state = draw(5)
    kept = state.clone()
    rule(q, k, v, **{gate: g}, state=state)
    naive(q, k, v, **{gate: g}, state=state.numpy())
    assert torch.equal(state, kept)


@pytest.mark.parametrize(("rule", "naive", "gate"), RULES)
def test_half_precision_keeps_its_memory_in_float32(rule, naive, gate):
    q, k, v, g, _ = draw(6, dtype=torch.bfloat16)
    out, state = rule(q, k, v, **{gate: g})
    assert (out.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    wanted, memory = naive(q.double(), k.double(), v.double(), **{gate: g.double()})
    np.testing.assert_allclose(state, memory, atol=1e-5)  # 17 steps of 6e-8, enlarged
    np.testing.assert_allclose(out.double(), wanted, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize(("rule", "naive", "gate"), RULES)
def test_gradients_are_those_of_finite_differences(rule, naive, gate):
    q, k, v, g, state = draw(7, heads=1, length=5, key_dim=2, value_dim=2)
    inputs = [each.requires_grad_() for each in (q, k, v, g, state)]
    assert torch.autograd.gradcheck(
        lambda q, k, v, g, s: rule(q, k, v, **{gate: g}, state=s, chunk=2), inputs
    )


@pytest.mark.parametrize(("rule", "naive", "gate"), RULES)
def test_a_number_is_a_gate_for_all(rule, naive, gate):
    q, k, v, _, _ = draw(8)
    for shape in ((), (3, 1), (2, 1, 17)):
        out, _ = rule(q, k, v, **{gate: torch.full(shape, 0.3)})
        torch.testing.assert_close(
            out, rule(q, k, v, **{gate: 0.3})[0], rtol=1e-6, atol=1e-6
        )  # 0.3 in float32


def test_hebbs_rule_is_attention_without_normalizer():
    q, k, v, _, _ = draw(9)
    out, _ = hebbian(q, k, v, chunk=5)
    same = attention(q, k, v, scale=1.0, mask_mod=causal, normalize=identity)
    torch.testing.assert_close(out, same, rtol=EXACT, atol=EXACT)


def test_fading_is_attention_with_a_weight_for_age():
    q, k, v, _, _ = draw(9)
    out, _ = hebbian(q, k, v, decay=0.9, chunk=5)

    def fade(score, b, h, q_idx, kv_idx):
        return score * 0.9 ** (q_idx - kv_idx)

    same = attention(
        q, k, v, scale=1.0, score_mod=fade, mask_mod=causal, normalize=identity
    )
    torch.testing.assert_close(out, same, rtol=1e-6, atol=1e-6)  # powers in float32


@pytest.mark.parametrize(("rule", "naive", "gate"), RULES)
def test_the_rules_keep_what_a_recurrence_promises(rule, naive, gate):
    def gates(query):
        return {gate: torch.sigmoid(query[..., 0]) / 8}  # keys are longer than 1

    def like(query, key, value, **gates):
        return tuple(map(torch.tensor, naive(query, key, value, **gates)))

    check_recur(rule)
    check_recur(rule, gates=gates, like=like, tolerance=1e-9)


def test_the_order_of_the_trials_is_nothing_to_hebbs_rule():
    q, k, v, _, _ = draw(10)
    turned = torch.arange(16, -1, -1)
    _, forth = hebbian(q, k, v)
    _, back = hebbian(q, k[:, :, turned], v[:, :, turned])
    torch.testing.assert_close(forth, back, rtol=EXACT, atol=EXACT)
    _, forth = delta(q, k, v)
    _, back = delta(q, k[:, :, turned], v[:, :, turned])
    assert not torch.allclose(forth, back, atol=0.1)


def test_a_memory_that_is_wiped_knows_only_the_last_trial():
    q, k, v, g, _ = draw(11)
    g[:, :, 6] = 0.0
    g = g.requires_grad_()
    out, _ = hebbian(q, k, v, decay=g, chunk=4)
    wanted = (q * k).sum(-1, keepdim=True)[:, :, 6] * v[:, :, 6]
    torch.testing.assert_close(out[:, :, 6], wanted, rtol=EXACT, atol=EXACT)
    out.sum().backward()
    assert torch.isfinite(g.grad).all()


def test_a_long_decay_fades_without_overflow():
    q, k, v, _, state = draw(12, length=3000)
    out, after = hebbian(q, k, v, decay=0.01, state=1e300 * state, chunk=512)
    assert torch.isfinite(after).all()
    assert torch.isfinite(out).all()
    wanted = k[:, :, -1:].mT @ v[:, :, -1:] + 0.01 * k[:, :, -2:-1].mT @ v[:, :, -2:-1]
    torch.testing.assert_close(after, wanted, rtol=0.0, atol=1e-3)  # 0.01 squared, x10


@given(st.integers(1, 6), st.integers(0, 99))
def test_orthogonal_keys_are_recalled_exactly_by_both_rules(num_pairs, seed):
    rng = np.random.default_rng(seed)
    key = torch.tensor(np.linalg.qr(rng.standard_normal((6, 6)))[0][:num_pairs])
    value = torch.tensor(rng.standard_normal((num_pairs, 3)))
    k, v = key[None, None], value[None, None]
    for rule in (hebbian, delta):
        recalled = key @ rule(k, k, v)[1][0, 0]
        torch.testing.assert_close(recalled, value, rtol=EXACT, atol=EXACT)


def test_at_full_rate_the_last_pair_is_recalled_exactly():
    q, k, v, _, state = draw(13)
    _, after = delta(q, k, v, state=state, chunk=4)
    recalled = k[:, :, -1:] @ after
    torch.testing.assert_close(recalled, v[:, :, -1:], rtol=EXACT, atol=EXACT)


def test_a_trial_is_a_step_down_the_squared_surprise():
    q, k, v, _, state = draw(14, length=1)
    memory = state.clone().requires_grad_()
    (0.5 * (v - k @ memory) ** 2).sum().backward()
    _, after = delta(q, k, v, rate=0.3, state=state)
    torch.testing.assert_close(after, state - 0.3 * memory.grad, rtol=EXACT, atol=EXACT)


def test_the_delta_rule_is_hebbs_on_surprises():
    q, k, v, g, _ = draw(15)
    out, state = delta(q, k, v, rate=g, chunk=4)
    taught = pavlovian.surprises(k, v, g)
    again, same = hebbian(q, k, taught)
    torch.testing.assert_close(out, again, rtol=EXACT, atol=EXACT)
    torch.testing.assert_close(state, same, rtol=EXACT, atol=EXACT)


phases = st.lists(
    st.tuples(
        st.sampled_from(["A", "B", "C", "AB", "BC", "ABC"]),
        st.sampled_from([0.0, 1.0, 2.0]),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=4,
).filter(lambda each: sum(times for _, _, times in each))


@given(phases)
def test_the_delta_rule_is_that_of_rescorla_and_wagner(experiment):
    size = {"A": 0.5, "B": 0.8, "C": 0.3}
    strength = dict.fromkeys("ABC", 0.0)
    history = []
    for cues, us, times in experiment:
        for _ in range(times):
            surprise = us - sum(strength[cue] for cue in cues)
            for cue in cues:
                strength[cue] += size[cue] ** 2 * 0.4 * surprise
            history.append(dict(strength))
    response = condition(delta, experiment, size, rate=0.4)
    for cue, course in response.items():
        wanted = [each[cue] for each in history]
        np.testing.assert_allclose(course, wanted, rtol=EXACT, atol=EXACT)


def test_acquisition_and_extinction_follow_their_curves():
    experiment = [("A", 1.0, 20), ("A", 0.0, 20)]
    trial = np.arange(1, 21)
    learned = condition(delta, experiment, rate=0.2)["A"]
    np.testing.assert_allclose(learned[:20], 1 - 0.8**trial, rtol=EXACT)
    np.testing.assert_allclose(learned[20:], learned[19] * 0.8**trial, rtol=1e-11)
    paired = condition(hebbian, experiment)["A"]
    np.testing.assert_array_equal(paired, np.r_[trial, [20.0] * 20])  # never unlearned


def test_only_the_delta_rule_blocks():
    experiment = [("A", 1.0, 40), ("AB", 1.0, 40)]
    control = [("AB", 1.0, 40)]
    blocked = condition(delta, experiment, rate=0.2)["B"][-1]
    assert blocked == pytest.approx(0.8**40 / 2, rel=1e-6)  # half of what A left over
    assert condition(delta, control, rate=0.2)["B"][-1] == pytest.approx(0.5, abs=1e-8)
    assert condition(hebbian, experiment)["B"][-1] == 40
    assert condition(hebbian, control)["B"][-1] == 40


def test_overshadowing_shares_by_squared_salience():
    size = {"A": 1.0, "B": 0.5}
    response = condition(delta, [("AB", 1.0, 200)], size, rate=0.2)
    assert response["A"][-1] == pytest.approx(0.8)
    assert response["B"][-1] == pytest.approx(0.2)


def test_what_cancels_a_promise_becomes_an_inhibitor():
    response = condition(delta, [("A", 1.0, 1), ("AB", 0.0, 1)] * 200, rate=0.2)
    assert response["B"][-1] == pytest.approx(-1, abs=1e-3)
    together = condition(hebbian, [("A", 1.0, 1), ("AB", 0.0, 1)] * 200)
    assert together["B"][-1] == 0


def test_two_sure_signs_together_lose_half():
    experiment = [("A", 1.0, 60), ("B", 1.0, 60), ("AB", 1.0, 60)]
    response = condition(delta, experiment, rate=0.2)
    assert response["A"][119] == pytest.approx(1, abs=1e-5)
    assert response["A"][-1] == pytest.approx(0.5, abs=1e-5)


def test_long_keys_make_the_delta_rule_diverge():
    key = torch.full((1, 1, 30, 1), 2.0, dtype=torch.float64)
    value = torch.ones_like(key)
    out, _ = delta(key, key, value, rate=1.0)
    errors = (out - 1).flatten().abs()
    torch.testing.assert_close(errors[1:] / errors[:-1], torch.full_like(errors[1:], 3))


def test_an_experiment_becomes_keys_and_values():
    key, value, cues = pavlovian.trials([("AB", 1.0, 1), ("B", 0.0, 2)], {"A": 0.5})
    assert cues == "AB"
    assert key.tolist() == [[0.5, 1.0], [0.0, 1.0], [0.0, 1.0]]
    assert value.tolist() == [[1.0], [0.0], [0.0]]
    key, value, cues = pavlovian.trials([("A", 1.0, 0)])
    assert (key.shape, value.shape) == ((0, 1), (0, 1))


@pytest.mark.parametrize("phase", [("", 1.0, 3), ("A", 1.0, -1)])
def test_an_experiment_without_cue_or_time_is_refused(phase):
    with pytest.raises(ValueError, match="needs a cue and no negative number"):
        pavlovian.trials([phase])


@pytest.mark.parametrize(("rule", "naive", "gate"), RULES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": (2, 3, 5, 6)}, "key has head_dim 4, query has 6"),
        ({"query": (2, 3, 7, 4)}, r"query has \(B, H, L\) \(2, 3, 7\), key has"),
        ({"value": (2, 1, 5, 2)}, r"value has \(B, H, L\) \(2, 1, 5\), key has"),
        ({"key": (5, 4)}, r"key has shape \(5, 4\), needs \(B, H, L, head_dim\)"),
        ({"state": (2, 3, 2, 4)}, r"state has shape .*, needs \(2, 3, 4, 2\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(rule, naive, gate, change, message):
    shapes = {"query": (2, 3, 5, 4), "key": (2, 3, 5, 4), "value": (2, 3, 5, 2)}
    tensors = {name: torch.zeros(size) for name, size in (shapes | change).items()}
    for function in (rule, naive):
        with pytest.raises(ValueError, match=message):
            function(**tensors)


@pytest.mark.parametrize(("rule", "naive", "gate"), RULES)
def test_gates_and_chunks_that_cannot_be_are_named(rule, naive, gate):
    q, k, v, _, _ = draw(16)
    with pytest.raises(ValueError, match=rf"{gate} has shape \(5,\), needs to broad"):
        rule(q, k, v, **{gate: torch.ones(5)})
    with pytest.raises(ValueError, match="chunk is 0, needs 1 or more"):
        rule(q, k, v, chunk=0)
