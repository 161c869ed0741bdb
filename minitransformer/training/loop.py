"""The training loop: draw a batch, differentiate, clip, step; and lose nothing.

A step over a batch of ``B`` windows, in ``A`` parts that fit into memory::

    g = mean over parts of grad loss(part)           accumulation
    g = g min(1, clip / |g|)                         clipping, over all weights at once
    w = adamw(w, g, rate(step))

The parts are of one size, so the mean of their gradients is the gradient of the whole
batch. Everything that a step depends on goes into a checkpoint: weights, means of the
optimizer, number of the step, and the generators, so that a run that was killed goes on
as if it had not been. Of many processes each draws its own dropout; a checkpoint has
the generators of all (:mod:`~minitransformer.training.generators`).

Source of clipping: Pascanu et al., arXiv 1211.5063.
"""

import csv
import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from minitransformer.training import checkpoint, generators
from minitransformer.training.checkpoint import write_whole
from minitransformer.training.loss import cross_entropy
from minitransformer.training.optim import AdamW, Betas, decay_groups
from minitransformer.training.parallel import (
    ONE,
    World,
    fill_,
    mean,
    quiet,
    share,
    spread,
    whole,
)
from minitransformer.training.schedule import warm_up_cosine

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
Row = dict[str, float]
COLUMNS = ("step", "loss", "rate", "norm", "bits_per_byte", "tokens_per_second")


class Recipe(NamedTuple):
    """All numbers on which the result of a run depends.

    Attributes:
        steps: of the optimizer.
        batch: windows a step, over all parts and processes.
        peak: the greatest learning rate.
        warm_up: steps in which the rate rises.
        floor: the share of the peak at the end.
        decay: of matrices.
        betas: of AdamW.
        clip: the greatest norm of a gradient; infinite for none.
        accumulate: parts of a batch.
        half: whether matrices are multiplied in bfloat16 (weights stay as they are).
        seed: of the generator that draws.
    """

    steps: int
    batch: int = 32
    peak: float = 3e-3
    warm_up: int = 0
    floor: float = 0.1
    decay: float = 0.1
    betas: Betas = Betas()
    clip: float = 1.0
    accumulate: int = 1
    half: bool = False
    seed: int = 0


@dataclass
class Run:
    """A run between two steps.

    Attributes:
        model: what learns.
        optimizer: its means.
        generator: draws the windows.
        step: how many steps were taken.
        rows: one for each step.
        best: weights of the best judgement, on the CPU; empty before the first.
        best_bits: that judgement.
        best_step: the step after which it was made.
    """

    model: nn.Module
    optimizer: AdamW
    generator: torch.Generator
    step: int = 0
    rows: list[Row] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_bits: float = math.inf
    best_step: int = 0


def clip_(model: nn.Module, limit: float) -> Tensor:
    """Shorten a gradient that is longer than ``limit``; return its norm, ``[]``."""
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
    return whole(norm)


def take_step(
    run: Run,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    batch: tuple[Tensor, Tensor],
    recipe: Recipe,
    *,
    spread_model: nn.Module | None = None,
) -> tuple[Tensor, Tensor, float]:
    """Take one step.

    Args:
        run: changed in place.
        loss_of: from ids and targets to the mean loss.
        batch: ids and targets ``[B, L]`` of this process.
        recipe: its clip, rate and number of parts are used.
        spread_model: what ``parallel.spread`` returned, if there are more processes.

    Returns:
        The loss, the norm of the gradient before clipping, and the rate.

    Raises:
        ValueError: the batch does not divide into so many parts.
    """
    parts = recipe.accumulate
    if len(batch[0]) % parts:
        raise ValueError(f"batch has {len(batch[0])} rows, needs a multiple of {parts}")
    losses = []
    for i, (ids, target) in enumerate(
        zip(*(x.chunk(parts) for x in batch), strict=True)
    ):
        with quiet(spread_model or run.model, i < parts - 1):
            loss = loss_of(ids, target) / parts
            loss.backward()
        losses.append(loss.detach())
    norm = clip_(run.model, recipe.clip)
    rate = _rate(recipe, run.step)
    run.optimizer.step(rate)
    run.optimizer.clear()
    run.step += 1
    return torch.stack(losses).sum(), norm, rate


def train(
    model: nn.Module,
    draw: Draw,
    recipe: Recipe,
    *,
    judge: Callable[[nn.Module], float] | None = None,
    every: int = 100,
    patience: int | None = None,
    folder: Path | None = None,
    compiled: bool = False,
    place: World = ONE,
    progress: bool = True,
    watch: Callable[[list[Row]], None] | None = None,
) -> Run:
    """Train a model, from the newest checkpoint on if there is one.

    Args:
        model: from ids ``[B, L]`` to logits ``[B, L, V]``; changed in place.
        draw: ``draw(batch, generator) -> (ids, targets)``, on the model's device.
        recipe: all numbers on which the result depends.
        judge: bits per byte of held-out text; its best weights are kept.
        every: steps between two judgements, checkpoints and calls of ``watch``.
        patience: stop after so many judgements in a row without a better one.
        folder: where checkpoints and ``log.csv`` go; none are written without it.
        compiled: whether to run ``torch.compile``.
        place: of this process among others, see :mod:`~.parallel`. A run that began
            with another number of processes goes on, see :mod:`~.generators`.
        progress: whether to show a bar.
        watch: is shown all rows, for instance to draw them.

    Returns:
        The run; ``run.rows`` has loss, rate and norm of each step.

    Raises:
        ValueError: the recipe makes no sense, or the checkpoint is damaged, or of
            another model or recipe.
    """
    if patience is not None and judge is None:
        raise ValueError("patience is given without judge")
    _rate(recipe, 0)  # a schedule that makes no sense is refused now
    spread_model = spread(model, place)
    generators.part(place)
    optimizer = AdamW(decay_groups(model, recipe.decay), betas=recipe.betas)
    run = Run(model, optimizer, torch.Generator().manual_seed(recipe.seed))
    if folder is not None:
        _resume(run, recipe, folder, place)
    loss_of = make_loss(spread_model, recipe, compiled)
    bar = _bar(recipe, run, progress and place.rank == 0)
    waiting: list[tuple[Tensor, Tensor, float]] = []
    start, began = time.perf_counter(), run.step
    while run.step < recipe.steps and not _enough(run, every, patience):
        ids, target = draw(recipe.batch, run.generator)
        batch = share(ids, place), share(target, place)
        waiting.append(
            take_step(run, loss_of, batch, recipe, spread_model=spread_model)
        )
        bar.update()
        if run.step % every and run.step != recipe.steps:
            continue
        _read_out(run, waiting, place)
        seconds = time.perf_counter() - start
        run.rows[-1]["tokens_per_second"] = (run.step - began) * ids.numel() / seconds
        if judge is not None:
            _judge(run, judge, place)
        bar.set_postfix_str(_words(run.rows[-1]))
        if folder is not None:
            _save(run, recipe, folder, place)
        if watch is not None and place.rank == 0:
            watch(run.rows)
        start, began = time.perf_counter(), run.step
    bar.close()
    return run


def _rate(recipe: Recipe, step: int) -> float:
    return warm_up_cosine(
        step,
        steps=recipe.steps,
        peak=recipe.peak,
        warm_up=recipe.warm_up,
        floor=recipe.floor,
    )


def make_loss(
    model: nn.Module, recipe: Recipe, compiled: bool = False
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function from ids and targets to the mean loss of a model.

    With ``recipe.half`` it multiplies in bfloat16. Compiled, the loss is part of what
    is compiled: the logits, the largest tensor of all, then need not be kept in full.
    """

    def loss_of(ids: Tensor, target: Tensor) -> Tensor:
        kind = ids.device.type
        half = torch.autocast(kind, torch.bfloat16) if recipe.half else nullcontext()
        with half:
            return cross_entropy(model(ids), target)

    return torch.compile(loss_of) if compiled else loss_of


def _enough(run: Run, every: int, patience: int | None) -> bool:
    """Say whether the last judgements were all no better than the best."""
    return patience is not None and run.step - run.best_step >= patience * every


def _read_out(
    run: Run, waiting: list[tuple[Tensor, Tensor, float]], place: World
) -> None:
    """Turn the results of several steps into rows: a GPU is waited for once."""
    losses = mean(torch.stack([loss for loss, _, _ in waiting]), place).tolist()
    norms = torch.stack([norm for _, norm, _ in waiting]).tolist()
    for loss, norm, (_, _, rate) in zip(losses, norms, waiting, strict=True):
        step = len(run.rows) + 1
        run.rows.append({"step": step, "loss": loss, "rate": rate, "norm": norm})
    waiting.clear()


def _judge(run: Run, judge: Callable[[nn.Module], float], place: World) -> None:
    run.model.eval()
    bits = judge(run.model)
    run.model.train()
    run.rows[-1]["bits_per_byte"] = bits
    if bits < run.best_bits:
        run.best_bits, run.best_step = bits, run.step
        weights = {n: whole(w.detach()) for n, w in run.model.named_parameters()}
        run.best = {name: w.to("cpu", copy=True) for name, w in weights.items()}


def _words(row: Row) -> str:
    words = f"loss {row['loss']:.3f}"
    return words + (f", {b:.3f} bits/byte" if (b := row.get("bits_per_byte")) else "")


def _bar(recipe: Recipe, run: Run, shown: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=recipe.steps, initial=run.step, desc="steps", disable=not shown)


def _tensors(run: Run) -> Iterator[tuple[str, Tensor]]:
    for name, weight in run.model.named_parameters():
        yield f"weights.{name}", weight
    yield from run.optimizer.tensors().items()


def _save(run: Run, recipe: Recipe, folder: Path, place: World) -> None:
    tensors = {name: whole(x) for name, x in _tensors(run)}
    random = generators.states(run.generator, place)
    if place.rank != 0:
        return
    tensors |= {f"best.{name}": x for name, x in run.best.items()}
    tensors |= {f"random.{name}": x for name, x in random.items()}
    about = {
        "recipe": _plain(recipe),
        "step": run.step,
        "rows": run.rows,
        "best": [run.best_bits, run.best_step] if run.best else None,
    }
    checkpoint.save_step(folder, run.step, tensors, about)
    write_log(folder / "log.csv", run.rows)


def write_log(path: Path, rows: list[Row]) -> None:
    """Write rows as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


def _resume(run: Run, recipe: Recipe, folder: Path, place: World) -> None:
    saved = checkpoint.load_latest(folder)
    if saved is None:
        return
    checkpoint.check_same(saved.about["recipe"], _plain(recipe), "the recipe")
    wanted = dict(_tensors(run))
    rest = ("best.", "random.")
    ours = {n: x for n, x in saved.tensors.items() if not n.startswith(rest)}
    checkpoint.check_fits(ours, wanted)
    for name, x in wanted.items():
        fill_(x, ours[name])
    run.step = run.optimizer.steps = saved.about["step"]
    run.rows = saved.about["rows"]
    if saved.about["best"] is not None:
        run.best_bits, run.best_step = saved.about["best"]
        run.best = _under("best.", saved.tensors)
    generators.restore(_under("random.", saved.tensors), run.generator, place.rank)


def live_curve() -> Callable[[list[Row]], None]:
    """Make a ``watch`` for notebooks: the losses so far, each figure over the last."""
    from IPython.display import display
    from matplotlib import pyplot as plt

    from minitransformer import plot

    handle: list[Any] = []

    def watch(rows: list[Row]) -> None:
        figure, ax = plt.subplots(figsize=(plot.WIDTH, plot.WIDTH / 2))
        steps = [row["step"] for row in rows]
        losses = {"training": [row["loss"] for row in rows]}
        plot.curves(steps, losses, xlabel="step", ylabel="loss, nats", ax=ax)
        if handle:
            handle[0].update(figure)
        else:
            handle.append(display(figure, display_id=True))
        plt.close(figure)

    return watch


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)
    }


def _plain(recipe: Recipe) -> dict[str, Any]:
    plain = recipe._asdict()
    plain["betas"] = list(recipe.betas)
    plain["clip"] = None if math.isinf(recipe.clip) else recipe.clip
    return plain
