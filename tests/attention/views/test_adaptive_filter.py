"""Adaptive filter attention: a filter with exact laws, and attention in a limit."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransformer.attention.core import attention
from minitransformer.attention.masks import causal
from minitransformer.attention.views.adaptive_filter import (
    adaptive_filter,
    forgetting,
    gaussian,
    isotropic_adaptive_filter,
    naive_adaptive_filter,
    precision,
    student,
)
from minitransformer.attention.views.kalman import (
    kalman_filter,
    optimal_weights,
    prediction_covariance,
    steady_gain,
)
from minitransformer.attention.views.linear_sde import Dynamics, simulate
from minitransformer.testing import check_attend

WEIGHTS = {
    "precision": precision,
    "student": partial(student, nu=0.7),
    "student, sharp": partial(student, nu=2.0, tau=3.0),
    "gaussian": partial(gaussian, nu=0.6),
    "forgetting": partial(forgetting, rate=0.3),
}
EVERY_WEIGHT = pytest.mark.parametrize("weight", WEIGHTS.values(), ids=list(WEIGHTS))
FIELDS = ("mu", "sigma2", "eta2", "gamma2")
SHARED = Dynamics(omega=0.4, mu=-0.1, sigma2=0.3, eta2=0.5, gamma2=0.2)
SEEDS = st.integers(0, 2**32 - 1)


def tokens(*, batch=2, heads=4, kv_heads=2, length=3, size=5, dim=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = (heads, length), (kv_heads, size), (kv_heads, size)
    return [
        torch.randn(batch, *shape, dim, generator=generator, dtype=torch.float64)
        for shape in shapes
    ]


def as_complex(x):
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()).numpy()


def as_tokens(z):
    """Complex paths ``[T, paths]`` to tokens ``[paths, 1, T, 2]``."""
    return torch.view_as_real(torch.from_numpy(z.T.copy()))[:, None]


def close(got, wanted, tolerance=1e-12):
    return torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)


def test_two_keys_by_hand():
    # variances: newest 1 (lag 0), older 1 + 3 (lag 1); weights 4/5 and 1/5
    key = torch.tensor([[[[8.0, 2.0], [3.0, 1.0]]]])
    got = isotropic_adaptive_filter(
        key[:, :, 1:], key, key, dynamics=Dynamics(sigma2=3.0)
    )
    close(got, torch.tensor([[[[4.0, 1.2]]]]), 1e-6)


def test_a_quarter_turn_by_hand():
    # i per unit of time is a quarter turn: (1, 0) predicts (0, 1)
    key = torch.tensor([[[[1.0, 0.0]]]])
    pos = torch.tensor([0]), torch.tensor([1])
    got = isotropic_adaptive_filter(
        key, key, key, dynamics=Dynamics(omega=np.pi / 2), kv_pos=pos[0], q_pos=pos[1]
    )
    close(got, torch.tensor([[[[0.0, 1.0]]]]), 1e-6)


def test_a_surprise_of_nu_halves_the_weight_of_a_key():
    # lag 0, eta2 1: keys 1 and 0, query 1, two numbers a mode: surprises 0 and 1
    key = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    pos = torch.zeros(2, dtype=int)
    got = isotropic_adaptive_filter(
        key[:, :, :1],
        key,
        key,
        dynamics=Dynamics(),
        weight=partial(student, nu=1.0),
        q_pos=pos[:1],
        kv_pos=pos,
    )
    close(got, torch.tensor([[[[2 / 3, 0.0]]]]), 1e-6)


@EVERY_WEIGHT
@pytest.mark.parametrize("per_head", [False, True], ids=["one for all", "per head"])
def test_isotropic_general_and_naive_are_one(weight, per_head):
    query, key, value = tokens()
    rng = np.random.default_rng(0)
    shape = (4, 1) if per_head else ()
    mu, *noise = rng.uniform(0.05, 2, size=(4, *shape))
    fields = dict(zip(FIELDS, (-mu, *noise), strict=True))
    dynamics = Dynamics(omega=rng.normal(size=3), **fields)
    naive = naive_adaptive_filter(
        query.numpy(), key.numpy(), value.numpy(), dynamics=dynamics, weight=weight
    )
    for function in (adaptive_filter, isotropic_adaptive_filter):
        got = function(query, key, value, dynamics=dynamics, weight=weight)
        close(got, torch.from_numpy(naive))


@EVERY_WEIGHT
@pytest.mark.parametrize("shape", [(3,), (4, 3)], ids=["per mode", "per head and mode"])
def test_modes_of_their_own_follow_the_definition(weight, shape):
    query, key, value = tokens(seed=1)
    rng = np.random.default_rng(1)
    mu, *noise = rng.uniform(0.05, 2, size=(4, *shape))
    fields = dict(zip(FIELDS, (-mu, *noise), strict=True))
    dynamics = Dynamics(omega=rng.normal(size=shape), **fields)
    pos = {"q_pos": rng.uniform(0, 9, size=(2, 3)), "kv_pos": rng.uniform(-1, 9, 5)}
    naive = naive_adaptive_filter(
        *(x.numpy() for x in (query, key, value)),
        dynamics=dynamics,
        weight=weight,
        **pos,
    )
    given = {name: torch.from_numpy(times) for name, times in pos.items()}
    got = adaptive_filter(query, key, value, dynamics=dynamics, weight=weight, **given)
    close(got, torch.from_numpy(naive))


@EVERY_WEIGHT
def test_it_is_an_attend(weight):
    def naive(*arrays, **options):
        arrays = [x.numpy() for x in arrays]
        return torch.from_numpy(
            naive_adaptive_filter(*arrays, dynamics=SHARED, weight=weight)
        )

    bound = {"dynamics": SHARED, "weight": weight}
    check_attend(partial(isotropic_adaptive_filter, **bound), like=naive)
    check_attend(partial(adaptive_filter, **bound), like=naive, lse=False)


@EVERY_WEIGHT
@given(seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_a_path_without_noise_is_returned_as_it_is(weight, seed):
    rng = np.random.default_rng(seed)
    dynamics = Dynamics(omega=rng.normal(), mu=-rng.uniform(0, 0.3), sigma2=0.4)
    moves = np.exp((dynamics.mu + 1j * dynamics.omega) * np.arange(7))
    path = as_tokens(moves[:, None] * rng.normal(size=2))
    got = isotropic_adaptive_filter(path, path, path, dynamics=dynamics, weight=weight)
    close(got, path)


@EVERY_WEIGHT
@given(seed=SEEDS, shift=st.floats(0, 100))
@settings(max_examples=15, deadline=None)
def test_only_differences_of_time_count(weight, seed, shift):
    query, key, value = tokens(seed=seed % 2**31)
    pos = torch.arange(2.0, 5.0).double(), torch.arange(5.0).double()
    now, later = (
        isotropic_adaptive_filter(
            query,
            key,
            value,
            dynamics=SHARED,
            weight=weight,
            q_pos=pos[0] + moved,
            kv_pos=pos[1] + moved,
        )
        for moved in (0, shift)
    )
    close(later, now, 1e-10)


@EVERY_WEIGHT
def test_the_units_of_time_and_of_size_are_free(weight):
    query, key, value = tokens(seed=2)
    wanted = isotropic_adaptive_filter(
        query, key, value, dynamics=SHARED, weight=weight
    )
    pos = {"q_pos": torch.arange(2, 5) * 10, "kv_pos": torch.arange(5) * 10}
    slower = Dynamics(omega=0.04, mu=-0.01, sigma2=0.03, eta2=0.5, gamma2=0.2)
    if weight is not WEIGHTS["forgetting"]:  # its rate is per unit of time
        got = isotropic_adaptive_filter(
            query, key, value, dynamics=slower, weight=weight, **pos
        )
        close(got, wanted)
    louder = Dynamics(omega=0.4, mu=-0.1, sigma2=2.7, eta2=4.5, gamma2=1.8)
    got = isotropic_adaptive_filter(
        3 * query, 3 * key, 3 * value, dynamics=louder, weight=weight
    )
    close(got, 3 * wanted)


@EVERY_WEIGHT
def test_turning_all_tokens_turns_the_output(weight):
    query, key, value = tokens(seed=3)
    turn = np.exp(1j * np.array([0.3, 2.0, -1.0]))

    def turned(x):
        return torch.view_as_real(torch.from_numpy(as_complex(x) * turn)).flatten(-2)

    plain, other = (
        isotropic_adaptive_filter(*inputs, dynamics=SHARED, weight=weight)
        for inputs in ((query, key, value), map(turned, (query, key, value)))
    )
    close(other, turned(plain))


@EVERY_WEIGHT
def test_the_order_in_memory_is_free_and_a_later_key_unseen(weight):
    query, key, value = tokens(seed=4)
    order = torch.tensor([3, 0, 4, 1, 2])
    wanted = isotropic_adaptive_filter(
        query, key, value, dynamics=SHARED, weight=weight
    )
    got = isotropic_adaptive_filter(
        query,
        key[:, :, order],
        value[:, :, order],
        dynamics=SHARED,
        weight=weight,
        q_pos=torch.arange(2, 5),
        kv_pos=order,
    )
    close(got, wanted)
    changed = value.clone()
    changed[:, :, 4] = 1e6
    got = isotropic_adaptive_filter(query, key, changed, dynamics=SHARED, weight=weight)
    close(got[:, :, :2], wanted[:, :, :2])


@EVERY_WEIGHT
def test_parts_of_the_keys_merge_by_their_lse(weight):
    query, key, value = tokens(seed=5)
    q_pos, kv_pos = torch.arange(2, 5), torch.arange(5)
    whole, total = isotropic_adaptive_filter(
        query, key, value, dynamics=SHARED, weight=weight, return_lse=True
    )
    outs, sums = zip(
        *(
            isotropic_adaptive_filter(
                query,
                key[:, :, part],
                value[:, :, part],
                dynamics=SHARED,
                weight=weight,
                q_pos=q_pos,
                kv_pos=kv_pos[part],
                return_lse=True,
            )
            for part in (slice(0, 3), slice(3, 5))
        ),
        strict=True,
    )
    sums = torch.stack(sums)
    close(sums.logsumexp(0), total)
    close((sums.softmax(0)[..., None] * torch.stack(outs)).sum(0), whole)


def test_the_lse_of_precisions_is_their_sum():
    query, key, value = tokens(seed=6)
    dynamics = Dynamics(sigma2=0.5, eta2=1.0)
    _, lse = isotropic_adaptive_filter(
        query, key, value, dynamics=dynamics, return_lse=True
    )
    precisions = 1 / (1 + 0.5 * torch.arange(5, dtype=torch.float64))
    close(lse[0, 0].exp(), precisions.cumsum(0)[2:])


def test_without_motion_and_noise_it_is_the_mean_so_far():
    query, key, value = tokens(length=5, heads=2)
    got = isotropic_adaptive_filter(query, key, value, dynamics=Dynamics())
    wanted = value.cumsum(2) / torch.arange(1, 6).view(-1, 1)
    close(got, wanted)


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


@given(seed=st.integers(0, 2**31), nu=st.floats(0.1, 10), eta2=st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_still_and_calm_it_is_dot_product_attention_exactly(seed, nu, eta2):
    query, key, value = tokens(seed=seed)
    got = isotropic_adaptive_filter(
        query,
        unit(key),
        value,
        dynamics=Dynamics(eta2=eta2, gamma2=0.5),
        weight=partial(gaussian, nu=nu),
    )
    scale = 2 / (nu * (eta2 + 0.5) * 3)  # three modes
    close(got, attention(query, unit(key), value, scale=scale, mask_mod=causal))


def test_turning_and_calm_it_is_attention_with_rotary_positions():
    query, key, value = tokens(seed=7, heads=2)
    omega = np.array([1.0, 0.3, 0.01])
    angles = np.exp(1j * np.arange(5)[:, None] * omega)

    def turned(x, by):
        return torch.view_as_real(torch.from_numpy(as_complex(x) * by)).flatten(-2)

    got = isotropic_adaptive_filter(
        query, unit(key), value, dynamics=Dynamics(omega=omega), weight=gaussian
    )
    back = angles.conj()
    mixed = attention(
        turned(query, back[2:]),
        turned(unit(key), back),
        turned(value, back),
        scale=2 / 3,
        mask_mod=causal,
    )
    close(got, turned(mixed, angles[2:]))


def slope(sizes, errors):
    return np.polyfit(np.log(sizes), np.log(errors), 1)[0]


@pytest.mark.parametrize("name", ["mu", "sigma2"])
def test_dot_product_attention_is_reached_in_proportion_to_decay_and_noise(name):
    query, key, value = tokens(seed=8)
    wanted = attention(query, unit(key), value, scale=2 / 3, mask_mod=causal)
    sizes, errors = 10.0 ** -np.arange(3, 7), []
    for size in sizes:
        moving = Dynamics(**{name: -size if name == "mu" else size})
        got = isotropic_adaptive_filter(
            query, unit(key), value, dynamics=moving, weight=gaussian
        )
        errors.append(float((got - wanted).norm()))
    assert slope(sizes, errors) == pytest.approx(1, abs=0.01)


def test_robust_weights_reach_those_of_softmax_as_nu_grows():
    query, key, value = (unit(x) for x in tokens(seed=9))
    sizes, errors = 10.0 ** np.arange(2, 6), []
    wanted = attention(query, key, value, scale=2 / 3, mask_mod=causal)
    for nu in sizes:  # with tau = nu: (1 + s / nu)^-nu -> exp(-s)
        weight = partial(student, nu=nu, tau=nu)
        got = isotropic_adaptive_filter(
            query, key, value, dynamics=Dynamics(), weight=weight
        )
        errors.append(float((got - wanted).norm()))
    assert slope(sizes, errors) == pytest.approx(-1, abs=0.02)


def test_robust_weights_reach_those_of_softmax_with_the_fourth_power_of_the_angle():
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(1, 1, 6, 4, generator=generator, dtype=torch.float64)
    value = torch.randn(1, 1, 6, 4, generator=generator, dtype=torch.float64)
    axis = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    sizes, errors, effects = 10.0 ** -np.linspace(1, 2, 4), [], []
    for angle in sizes:
        key = unit(axis + angle * spread)
        robust = isotropic_adaptive_filter(
            key, key, value, dynamics=Dynamics(), weight=student
        )
        soft = attention(key, key, value, scale=1.0, mask_mod=causal)
        mean = isotropic_adaptive_filter(key, key, value, dynamics=Dynamics())
        errors.append(float((robust - soft).norm()))
        effects.append(float((soft - mean).norm()))
    assert slope(sizes, errors) == pytest.approx(4, abs=0.1)
    assert slope(sizes, effects) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("weight", [precision, student], ids=["precision", "student"])
def test_gradients_reach_tokens_and_dynamics(weight):
    query, key, value = tokens(batch=1, heads=2, kv_heads=1, length=2, size=3, dim=4)
    start = [-0.3, 0.4, 0.5, 0.2]
    numbers = [torch.tensor([[x], [x]], dtype=torch.float64) for x in start]
    numbers.append(torch.tensor([0.3, 1.0], dtype=torch.float64))
    inputs = [x.requires_grad_() for x in (query, key, value, *numbers)]

    def run(query, key, value, mu, sigma2, eta2, gamma2, omega):
        return isotropic_adaptive_filter(
            query,
            key,
            value,
            dynamics=Dynamics(omega, mu, sigma2, eta2, gamma2),
            weight=weight,
        )

    assert torch.autograd.gradcheck(run, inputs)


def test_with_no_process_noise_it_is_the_kalman_filter():
    dynamics = Dynamics(omega=0.4, mu=-0.1, eta2=0.5)
    times = np.array([0.0, 0.3, 2.0, 2.5, 6.0])
    _, measured = simulate(times, dynamics, np.random.default_rng(0), shape=(3,))
    z, pos = as_tokens(measured), torch.from_numpy(times)
    got = isotropic_adaptive_filter(z, z, z, dynamics=dynamics, q_pos=pos, kv_pos=pos)
    close(got, as_tokens(kalman_filter(measured, times, dynamics)[0]))


def test_forgetting_at_the_steady_rate_is_the_kalman_filter_in_the_long_run():
    dynamics = Dynamics(omega=0.4, mu=-0.1, sigma2=0.5)
    times = np.arange(80.0)
    _, measured = simulate(times, dynamics, np.random.default_rng(0), shape=(3,))
    gain = steady_gain(1.0, -0.1, 0.5, 1.0)
    z = as_tokens(measured)
    got = isotropic_adaptive_filter(
        z,
        z,
        z,
        dynamics=dynamics,
        weight=partial(forgetting, rate=-np.log1p(-gain)),
    )
    best = as_tokens(kalman_filter(measured, times, dynamics)[0])
    # what is left of the start after 60 steps: (1 - gain)^60 < 1e-9
    close(got[:, :, 60:], best[:, :, 60:], 1e-8)


def test_no_precision_weights_err_less_than_the_best():
    lags = np.arange(30.0)
    covariance = prediction_covariance(lags, 0.0, 0.5, 1.0)
    weights = 1 / np.diag(covariance)
    weights /= weights.sum()
    best = optimal_weights(lags, 0.0, 0.5, 1.0)
    error, least = (w @ covariance @ w for w in (weights, best))
    assert error > 1 > least  # worse than the newest measurement alone


def test_robust_weights_forget_an_outlier_once_they_start_from_the_plain_estimate():
    z = torch.zeros(1, 1, 20, 2, dtype=torch.float64)
    z[0, 0, 19] = 100.0  # the newest measurement is wild
    bound = {"dynamics": Dynamics(sigma2=0.01)}
    plain = isotropic_adaptive_filter(z, z, z, **bound)
    robust = isotropic_adaptive_filter(plain, z, z, weight=student, **bound)
    naive = isotropic_adaptive_filter(z, z, z, weight=student, **bound)
    assert robust[0, 0, -1].norm() < 0.2 * plain[0, 0, -1].norm()
    assert naive[0, 0, -1].norm() > 0.9 * z[0, 0, -1].norm()  # it believes its query


def test_old_and_certain_predictions_do_not_overflow():
    # the prediction of a state that has died out long ago is 0, for certain
    key = torch.ones(1, 1, 2, 2)
    pos = torch.tensor([0, 10_000])
    got = isotropic_adaptive_filter(
        key, key, key, dynamics=Dynamics(mu=-1.0), q_pos=pos, kv_pos=pos
    )
    close(got[0, 0, 1], torch.zeros(2))


def test_half_precision_comes_back_as_it_was():
    query, key, value = (x.to(torch.bfloat16) for x in tokens(dim=4))
    got = isotropic_adaptive_filter(query, key, value, dynamics=SHARED)
    assert got.dtype == torch.bfloat16
    wanted = isotropic_adaptive_filter(
        query.double(), key.double(), value.double(), dynamics=SHARED
    )
    close(got.double(), wanted, 2**-7)  # eight bits, and sizes of about 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": torch.zeros(2, 2, 5, 4)}, "key has head_dim 4, query has 6"),
        ({"query": torch.zeros(2, 3, 6)}, "query has shape .*needs 4 axes"),
        (
            {"query": torch.zeros(2, 4, 3, 5), "key": torch.zeros(2, 2, 5, 5)},
            "query has head_dim 5, needs an even one",
        ),
        ({"value": torch.zeros(2, 2, 5, 3)}, "value has head_dim 3, needs an even"),
        (
            {"dynamics": Dynamics(omega=np.ones(2))},
            "omega has 2 modes, query has 3",
        ),
        (
            {"value": torch.zeros(2, 2, 5, 4), "dynamics": Dynamics(omega=np.ones(3))},
            "omega has 3 modes, value has 2",
        ),
        (
            {"dynamics": Dynamics(mu=-np.ones((3, 1)))},
            r"mu has shape \(3, 1\), needs \(heads, modes\)",
        ),
        (
            {"dynamics": Dynamics(sigma2=np.ones(3))},
            r"sigma2 has shape \(3,\), needs \(heads, 1\)",
        ),
        ({"q_pos": torch.arange(3)}, "q_pos is given without kv_pos"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    query, key, value = tokens()
    call = {"query": query, "key": key, "value": value, "dynamics": Dynamics()}
    with pytest.raises(ValueError, match=message):
        isotropic_adaptive_filter(**(call | change))
