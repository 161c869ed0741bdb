import csv
import functools
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from minitransformer.training import loop
from minitransformer.training.checkpoint import found, load_latest
from minitransformer.training.data import draw
from minitransformer.training.loop import Recipe, train
from minitransformer.training.loss import cross_entropy
from minitransformer.training.optim import AdamW, decay_groups

TEXT = torch.randint(0, 11, (500,), generator=torch.Generator().manual_seed(5))
RECIPE = Recipe(12, batch=8, peak=0.05, warm_up=2, seed=3)


def model(seed=0, drop=0.0):
    torch.manual_seed(seed)
    parts = nn.Embedding(11, 6), nn.Dropout(drop), nn.Linear(6, 11)
    return nn.Sequential(*parts).double()


def windows(batch, generator):
    return draw(TEXT, batch, 7, generator)


def quick(learner, recipe=RECIPE, **options):
    return train(learner, windows, recipe, **{"progress": False, "every": 4} | options)


def weights(run):
    return torch.cat([w.detach().flatten() for w in run.model.parameters()])


def test_training_lowers_the_loss_and_is_the_same_again():
    runs = [quick(model(), RECIPE._replace(steps=60)) for _ in range(2)]
    losses = [row["loss"] for row in runs[0].rows]
    assert runs[0].rows[0] == runs[1].rows[0]
    assert torch.equal(weights(runs[0]), weights(runs[1]))
    assert sum(losses[-10:]) < 0.97 * sum(losses[:10])
    assert [row["step"] for row in runs[0].rows] == list(range(1, 61))


def test_a_step_by_hand():
    learner, reference = model(), model()
    run = quick(learner, RECIPE._replace(steps=1, warm_up=0, clip=0.05))
    ids, target = windows(8, torch.Generator().manual_seed(3))
    loss = cross_entropy(reference(ids), target)
    grads = torch.autograd.grad(loss, list(reference.parameters()))
    norm = sum(float(g.pow(2).sum()) for g in grads) ** 0.5
    assert run.rows[0]["loss"] == pytest.approx(float(loss.detach()))
    assert run.rows[0]["norm"] == pytest.approx(norm)
    assert norm > 0.05
    for weight, grad in zip(reference.parameters(), grads, strict=True):
        weight.grad = grad * 0.05 / norm
    AdamW(decay_groups(reference, RECIPE.decay)).step(RECIPE.peak)
    for got, wanted in zip(learner.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=0)


def test_a_gradient_is_shortened_to_the_limit_and_never_made_longer():
    learner = nn.Linear(2, 1, bias=False)
    for grad, wanted in (([3.0, 4.0], [0.6, 0.8]), ([0.3, 0.4], [0.3, 0.4])):
        learner.weight.grad = torch.tensor([grad])
        norm = loop.clip_(learner, 1.0)
        assert float(norm) == pytest.approx((grad[0] ** 2 + grad[1] ** 2) ** 0.5)
        assert learner.weight.grad[0].tolist() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_of_a_batch_give_the_step_of_the_whole(parts):
    whole = quick(model())
    run = quick(model(), RECIPE._replace(accumulate=parts))
    assert (weights(run) - weights(whole)).abs().max() < 1e-12
    for got, wanted in zip(run.rows, whole.rows, strict=True):
        assert got["loss"] == pytest.approx(wanted["loss"], abs=1e-12)


def test_a_batch_that_has_no_such_parts_is_refused():
    with pytest.raises(ValueError, match="batch has 8 rows, needs a multiple of 3"):
        quick(model(), RECIPE._replace(accumulate=3))


def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(tmp_path):
    wanted = quick(model(drop=0.5), judge=falling())
    first = model(drop=0.5)
    with pytest.raises(KeyboardInterrupt):
        quick(first, folder=tmp_path, judge=falling(), watch=interrupt_at(8))
    torch.manual_seed(99)  # a new process draws other numbers
    run = quick(model(seed=1, drop=0.5), folder=tmp_path, judge=falling(8))
    assert torch.equal(weights(run), weights(wanted))
    assert without_times(run.rows) == without_times(wanted.rows)
    assert run.best_step == wanted.best_step == 12


def interrupt_at(step):
    def watch(rows):
        if rows[-1]["step"] == step:
            raise KeyboardInterrupt

    return watch


def falling(start=0):
    """A judge whose verdicts fall by 1 each time."""
    verdicts = iter(range(100 - start // 4, 0, -1))
    return lambda learner: float(next(verdicts))


def without_times(rows):
    return [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in rows]


RUN = """
import sys
from pathlib import Path
from tests.training.test_loop import RECIPE, model, quick, weights
import torch
print("ready", flush=True)
run = quick(model(), RECIPE._replace(steps=400), every=5, folder=Path(sys.argv[1]))
torch.save(weights(run), sys.argv[2])
"""


def test_killed_at_random_moments_it_ends_in_the_very_same_weights(tmp_path):
    folder, result = tmp_path / "run", tmp_path / "weights.pt"
    chance = random.Random(0)
    command = [sys.executable, "-c", RUN, str(folder), str(result)]
    reached = []
    for _ in range(2):
        run = subprocess.Popen(command, stdout=subprocess.PIPE)
        run.stdout.readline()
        before = len(reached)
        while not found(folder) or (before and newest(folder) <= reached[-1]):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        run.send_signal(signal.SIGKILL)
        run.wait()
        reached.append(newest(folder))
    assert reached[0] < reached[1] < 400  # it was killed under way, and had gone on
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wanted = quick(model(), RECIPE._replace(steps=400), every=5)
    assert torch.equal(torch.load(result), weights(wanted))


def newest(folder):
    return int(found(folder)[-1].stem.removeprefix("step-"))


def test_another_recipe_or_model_is_refused_and_nothing_is_lost(tmp_path):
    quick(model(), folder=tmp_path)
    before = load_latest(tmp_path)
    with pytest.raises(ValueError, match=r"recipe has peak 0.1, .* made with 0.05"):
        quick(model(), RECIPE._replace(peak=0.1), folder=tmp_path)
    other = nn.Sequential(nn.Embedding(11, 5), nn.Dropout(0), nn.Linear(5, 11))
    with pytest.raises(ValueError, match=r"the checkpoint has .* \(11, 6\), needs"):
        quick(other, folder=tmp_path)
    after = load_latest(tmp_path)
    assert after.about == before.about
    assert all(torch.equal(after.tensors[n], x) for n, x in before.tensors.items())


def test_a_finished_run_has_nothing_to_do(tmp_path):
    first = quick(model(), folder=tmp_path)
    again = quick(model(seed=1), folder=tmp_path)
    assert torch.equal(weights(first), weights(again))
    assert again.rows == first.rows


def test_the_log_has_a_line_for_each_step(tmp_path):
    run = quick(model(), folder=tmp_path, judge=falling())
    with open(tmp_path / "log.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["step"]) for line in lines] == list(range(1, 13))
    assert [float(line["loss"]) for line in lines] == [row["loss"] for row in run.rows]
    assert [line["bits_per_byte"] for line in lines[:4]] == ["", "", "", "100.0"]


def test_the_best_weights_are_kept_and_a_run_without_hope_is_stopped():
    verdicts = iter([3.0, 2.0, 2.5, 2.0, 1.0])
    seen = []

    def judge(learner):
        assert not learner.training
        seen.append(learner[0].weight.detach().clone())
        return next(verdicts)

    recipe = RECIPE._replace(steps=40)
    run = quick(model(), recipe, judge=judge, patience=2)
    assert (run.step, run.best_step, run.best_bits) == (16, 8, 2.0)
    assert torch.equal(run.best["0.weight"], seen[1])
    assert run.model.training


def test_a_live_curve_is_drawn_over_the_last(monkeypatch):
    import IPython.display
    from matplotlib.figure import Figure

    shown = []

    class Handle:
        def update(self, figure):
            shown.append(("again", figure))

    def display(figure, display_id):
        shown.append(("first", figure))
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    run = quick(model(), watch=loop.live_curve())
    assert [kind for kind, _ in shown] == ["first", "again", "again"]
    assert all(isinstance(figure, Figure) for _, figure in shown)
    (line,) = shown[-1][1].axes[0].lines
    assert line.get_ydata().tolist() == [row["loss"] for row in run.rows]


def test_patience_needs_a_judge():
    with pytest.raises(ValueError, match="patience is given without judge"):
        quick(model(), patience=2)


def test_a_bar_shows_where_the_run_is(capsys):
    quick(model(), progress=True, judge=falling())
    assert "12/12" in capsys.readouterr().err


def test_a_compiled_run_is_the_same(monkeypatch):
    traced = functools.partial(torch.compile, backend="eager", fullgraph=True)
    wanted = quick(model())
    monkeypatch.setattr(torch, "compile", traced)
    run = quick(model(), compiled=True)
    torch.testing.assert_close(weights(run), weights(wanted), atol=1e-12, rtol=0)


def test_half_precision_keeps_the_weights_and_is_close():
    wanted = quick(model().float())
    run = quick(model().float(), RECIPE._replace(half=True))
    assert weights(run).dtype == torch.float32
    losses = [row["loss"] for row in run.rows]
    assert losses != [row["loss"] for row in wanted.rows]
    # bfloat16 keeps 8 bits: a logit of size 1 is off by at most 2^-8.
    assert losses == pytest.approx([row["loss"] for row in wanted.rows], abs=2**-6)
