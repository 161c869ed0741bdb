import pytest
import torch

from minitransformer.caches.slim import SlimCache, naive_slim, slim_weights
from minitransformer.testing import Shape, example

from .small import HEAD_DIM, HEADS, close, decoder, in_pieces, text

DIM = HEADS * HEAD_DIM


def matrix(rows, columns, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def conditioned(size, condition, seed=0):
    """A square matrix with this condition number."""
    left, right = (torch.linalg.qr(matrix(size, size, seed + i))[0] for i in (0, 1))
    values = torch.logspace(0, -torch.tensor(condition).log10().item(), size).double()
    return left * values @ right


def test_values_come_back_from_keys():
    w_k, w_v, x = matrix(6, 6), matrix(6, 6, 1), matrix(9, 6, 2)
    close((x @ w_k) @ slim_weights(w_k, w_v), x @ w_v)
    close(
        torch.tensor(naive_slim((x @ w_k).numpy(), w_k.numpy(), w_v.numpy())), x @ w_v
    )


def test_keys_wider_than_tokens_give_them_back_too():
    w_k, w_v, x = matrix(6, 10), matrix(6, 10, 1), matrix(9, 6, 2)
    close((x @ w_k) @ slim_weights(w_k, w_v), x @ w_v)


def layer_weights(model):
    for block in model.blocks:
        yield block.mixer.k_proj.weight.T, block.mixer.v_proj.weight.T


def test_the_two_orders_of_multiplication_agree():
    query, key, _ = example(Shape(3, HEADS, HEADS, 4, 7), head_dim=HEAD_DIM)
    early, late = (SlimCache(matrix(DIM, DIM), late=late) for late in (False, True))
    outs = []
    for cache in (early, late):
        k, v, _ = cache.update(key, key, torch.arange(7))

        def attend(query, key, value):
            return (query @ key.mT).softmax(-1) @ value

        outs.append(cache.around(attend)(query, k, v))
        assert k is not None and cache.num_bytes() == 3 * 7 * DIM * 8
    assert v.shape == (3, HEADS, 7, DIM)
    assert v.stride(1) == 0, "the keys are not copied for every head"
    close(outs[0], outs[1])


def test_its_bytes_are_half():
    ids, model = text(9, batch=3), decoder()
    caches = [SlimCache(slim_weights(k, v)) for k, v in layer_weights(model)]
    in_pieces(model, ids, caches, [4, 5])
    assert caches[0].num_bytes() == 3 * 9 * DIM * 8  # a dense one has twice as many


@pytest.mark.parametrize("late", [False, True])
def test_in_float32_the_error_grows_with_the_condition_number(late):
    errors = []
    for condition in (1e1, 1e3, 1e5):
        w_k, w_v = conditioned(64, condition).float(), matrix(64, 64, 5).float()
        x = matrix(50, 64, 3).float()
        key = (x @ w_k).unflatten(1, (4, 16)).transpose(0, 1)[None]
        cache = SlimCache(slim_weights(w_k, w_v), late=late)
        v = cache.update(key, key, torch.arange(50))[1]
        if late:
            by_head = v[:, :1] @ cache.w_kv
            v = by_head[:, 0].unflatten(2, (4, 16)).transpose(1, 2)
        wanted = (x @ w_v).unflatten(1, (4, 16)).transpose(0, 1)[None]
        errors.append(float((v - wanted).norm() / wanted.norm()))
    assert errors == sorted(errors)
    assert errors[0] < 1e-5 and errors[2] > 100 * errors[0]


def test_lse_goes_through_the_late_order():
    cache = SlimCache(matrix(4, 4), late=True)

    def attend(query, key, value, return_lse):
        return query, query[..., 0]

    query, _, _ = example(Shape(1, 2, 2, 3, 3), head_dim=4)
    out, lse = cache.around(attend)(query, None, None, return_lse=True)
    assert out.shape == (1, 2, 3, 2) and torch.equal(lse, query[..., 0])


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: slim_weights(matrix(6, 6), matrix(6, 5)), "w_v has shape"),
        (lambda: slim_weights(matrix(6, 3), matrix(6, 3)), "must not be grouped"),
        (lambda: slim_weights(torch.ones(6, 6), matrix(6, 6)), "rank below 6"),
        (lambda: SlimCache(matrix(6, 4)), r"w_kv has shape \(6, 4\), needs a square"),
    ],
)
def test_weights_that_cannot_give_tokens_back_are_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run()


def test_grouped_heads_are_refused_by_the_cache_too():
    _, key, value = example(Shape(1, 4, 2, 3, 3), value_dim=8)
    with pytest.raises(ValueError, match="heads times size 32"):
        SlimCache(matrix(32, 32)).update(key, value, torch.arange(3))
