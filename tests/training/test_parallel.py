import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from minitransformer.training import parallel
from minitransformer.training.checkpoint import load_latest
from minitransformer.training.data import draw
from minitransformer.training.house import SIZES, build, dropout
from minitransformer.training.loop import Recipe, train
from minitransformer.training.parallel import World

TEXT = torch.randint(0, 40, (500,), generator=torch.Generator().manual_seed(5))
RECIPE = Recipe(8, batch=8, peak=0.01, warm_up=2, clip=0.5, accumulate=2)
TINY = {"vocab_size": 40, "dim": 16, "num_layers": 2, "num_heads": 2, "hidden": 24}
KINDS = ("ddp", "fsdp")


def windows(batch, generator):
    return draw(TEXT, batch, 7, generator)


def run(place=parallel.ONE, folder=None):
    model = build(SIZES | TINY | {"num_kv_heads": 2}).double()
    options = {"folder": folder, "place": place, "every": 4, "progress": False}
    return train(model, windows, RECIPE, **options)


def interrupted(draws):
    """Windows as above, until they have been drawn so often."""
    left = iter(range(draws))

    def draw_some(batch, generator):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return windows(batch, generator)

    return draw_some


def with_dropout(place, folder, draw_some=windows):
    """Return the weights and what the process's own generator draws next."""
    model = build(SIZES | TINY | {"num_kv_heads": 2}).double()
    options = {"folder": folder, "place": place, "every": 4, "progress": False}
    with dropout(model, 0.5):
        made = train(model, draw_some, RECIPE, **options)
    weights = [parallel.whole(w.detach()).tolist() for w in made.model.parameters()]
    return weights, torch.rand(1).item()


def killed_and_resumed(place, folder):
    never_killed = with_dropout(place, folder / "one-go")
    try:
        with_dropout(place, folder / "two-goes", interrupted(6))
    except KeyboardInterrupt:
        torch.manual_seed(99)  # a new process would begin anywhere
    resumed = with_dropout(place, folder / "two-goes")
    return {"equal": resumed == never_killed, "next": resumed[1]}


def main(folder):
    """What each process does under torchrun."""
    with parallel.world("ddp") as met:
        for kind in KINDS:
            place = met._replace(kind=kind)
            with parallel.Traffic() as traffic:
                made = run(place, folder / kind)
            part = sum(
                w.to_local().numel() if hasattr(w, "to_local") else w.numel()
                for w in made.model.parameters()
            )
            found = {"rows": made.rows, "numbers": part, "place": place}
            found["traffic"] = traffic.numbers
            found |= killed_and_resumed(place, folder / f"dropout-{kind}")
            (folder / f"{kind}-{place.rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes found, by DDP and by FSDP."""
    if torch.__version__.startswith("2.6"):
        pytest.skip("there weights are sharded on GPUs only")
    folder = tmp_path_factory.mktemp("parallel")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, __file__, str(folder)]
    root = Path(__file__).parents[2]
    settings = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    subprocess.run(command, env=settings, check=True, cwd=root)
    return folder


def results(folder, kind):
    return [json.loads((folder / f"{kind}-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone():
    return run()


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_have_the_loss_curve_of_one(folder, alone, kind):
    for found in results(folder, kind):
        assert found["place"][2] == 2
        for got, wanted in zip(found["rows"], alone.rows, strict=True):
            assert got["loss"] == pytest.approx(wanted["loss"], abs=1e-11)
            assert got["norm"] == pytest.approx(wanted["norm"], abs=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_their_checkpoint_is_that_of_one_process(folder, alone, kind):
    saved = load_latest(folder / kind).tensors
    for name, weight in alone.model.named_parameters():
        difference = saved[f"weights.{name}"] - weight.detach()
        assert difference.abs().max() < 1e-11


def test_each_process_holds_all_weights_or_half_of_them(folder, alone):
    size = sum(w.numel() for w in alone.model.parameters())
    assert [found["numbers"] for found in results(folder, "ddp")] == [size, size]
    first, second = (found["numbers"] for found in results(folder, "fsdp"))
    assert first + second == size
    assert abs(first - second) < 0.1 * size


def test_the_traffic_is_that_of_the_formulas(folder, alone):
    size = sum(w.numel() for w in alone.model.parameters())
    blocks = sum(w.numel() for w in alone.model.blocks.parameters())
    ddp, fsdp = (results(folder, kind)[0]["traffic"] for kind in KINDS)
    # Losses are averaged too, four steps at a time; the norm of shares is one number.
    assert 0 <= ddp["allreduce"] - 8 * size <= 16
    # Two parts a step: weights gathered forward and, of blocks, backward; one exchange.
    assert fsdp["reduce_scatter"] == 8 * size
    assert fsdp["allgather"] >= 8 * 2 * (size + blocks)


def test_one_process_goes_on_from_the_checkpoint_of_two(folder, alone):
    (newest,) = [p for p in (folder / "fsdp").glob("*8.safetensors")]
    newest.rename(folder / "away")  # step 4 is the newest now
    gone_on = run(folder=folder / "fsdp")
    for got, wanted in zip(
        gone_on.model.parameters(), alone.model.parameters(), strict=True
    ):
        assert (got - wanted).abs().max() < 1e-11


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_with_dropout_goes_on_as_if_it_had_not_been(folder, kind):
    assert [found["equal"] for found in results(folder, kind)] == [True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_each_process_drops_something_else(folder, kind):
    first, second = (found["next"] for found in results(folder, kind))
    assert first != second


def test_one_process_goes_on_from_the_dropout_of_two(folder):
    saved = load_latest(folder / "dropout-ddp" / "one-go").tensors
    states = {n for n in saved if n.startswith("random.torch")}
    assert states == {"random.torch", "random.torch.1"}
    weights, _ = with_dropout(parallel.ONE, folder / "dropout-ddp" / "one-go")
    assert weights[0] == saved["weights.embed.weight"].tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("length", [5, 12, 31])
def test_a_ring_adds_up_and_each_process_sends_as_much_as_the_formula_says(
    size, length
):
    vectors = np.random.default_rng(0).standard_normal((size, length))
    held, sent = parallel.naive_ring_all_reduce(vectors)
    for each in held:
        np.testing.assert_allclose(each, vectors.sum(0), atol=1e-12)
    assert sum(sent) == 2 * (size - 1) * length
    assert max(sent) - min(sent) <= 2  # chunks differ by a number at most


def test_three_processes_by_hand():
    held, sent = parallel.naive_ring_all_reduce(
        [np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0]), np.array([100.0] * 3)]
    )
    assert [each.tolist() for each in held] == [[111.0, 122.0, 133.0]] * 3
    assert sent == [4, 4, 4]  # four rounds of a chunk of one


def test_seconds_of_a_ring_by_hand():
    # Four processes, six rounds: each a delay of 1 and 100 / 4 bytes at 5 a second.
    seconds = parallel.all_reduce_seconds(100, 4, delay=1.0, bandwidth=5.0)
    assert seconds == pytest.approx(6 * (1 + 5))
    assert parallel.all_reduce_seconds(100, 1, delay=1.0, bandwidth=5.0) == 0
    with pytest.raises(ValueError, match="size is 0"):
        parallel.all_reduce_seconds(1, 0, delay=1.0, bandwidth=1.0)
    with pytest.raises(ValueError, match="bandwidth is 0"):
        parallel.all_reduce_seconds(1, 2, delay=1.0, bandwidth=0)


def test_a_share_is_the_rows_of_its_process():
    rows = torch.arange(6)
    shares = [parallel.share(rows, World("ddp", rank, 3)) for rank in range(3)]
    assert torch.equal(torch.cat(shares), rows)
    with pytest.raises(ValueError, match="batch has 6 rows, 4 processes share it"):
        parallel.share(rows, World("ddp", 0, 4))


def test_one_process_meets_nobody():
    with parallel.world("one") as place:
        assert place == parallel.ONE
    assert float(parallel.mean(torch.tensor(3.0), parallel.ONE)) == 3.0


def test_what_cannot_be_is_refused(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with (
        pytest.raises(ValueError, match="kind is 'two', needs 'one', 'ddp' or 'fsdp'"),
        parallel.world("two"),
    ):
        pass
    with (
        pytest.raises(ValueError, match="'ddp' needs processes that torchrun started"),
        parallel.world("ddp"),
    ):
        pass


if __name__ == "__main__":
    main(Path(sys.argv[1]))
