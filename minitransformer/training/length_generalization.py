"""One protocol for all position schemes: train short, test long.

A small decoder learns a task at length 64 and is tested up to length 1,024, with fresh
input at every step and in every test. On text it learns from windows of 64 bytes, and
the test is the bits a byte of the last 32 bytes of a window.

Run the whole grid, on a GPU in minutes, with

    python -m minitransformer.training.length_generalization --out FILE --date TODAY

What FILE already holds is kept, so an interrupted run goes on.

Source of the question: Press et al., "Train Short, Test Long", arXiv 2108.12409.
"""

import argparse
import json
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.models.positioned import SCHEMES, decoder_with
from minitransformer.training.tasks import IGNORE, TASKS, VOCAB_SIZE, Batch

TRAIN_LEN = 64
LENGTHS = (64, 128, 256, 512, 1024)
STEPS = {
    "copy": 2500,
    "selective copy": 2500,
    "counting": 400,
    "flip-flop": 1000,
    "needle": 4000,
    "text": 2500,
}
BATCH, PEAK_RATE, WARM_UP = 32, 3e-3, 50
LAST_BYTES = 32


def text_batches(text: bytes) -> Callable[[int, int, torch.Generator], Batch]:
    """Return what makes batches of windows of a text, every next byte asked."""
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()

    def batches(batch: int, length: int, generator: torch.Generator) -> Batch:
        start = torch.randint(0, len(data) - length, (batch, 1), generator=generator)
        window = data[start + torch.arange(length + 1)]
        return window[:, :-1], window[:, 1:]

    return batches


def train(
    scheme: str,
    batches: Callable[[int, int, torch.Generator], Batch],
    *,
    vocab_size: int,
    steps: int,
    seed: int,
    device: str = "cpu",
) -> tuple[Any, list[float]]:
    """Train one decoder at ``TRAIN_LEN``; AdamW, warm-up, then a cosine.

    Args:
        scheme: a name in ``models.positioned.SCHEMES``.
        batches: makes ids and targets.
        vocab_size: how many ids there are.
        steps: of the optimizer.
        seed: of the start and of the data.
        device: where it runs.

    Returns:
        The model and the loss of each step, in nats.
    """
    torch.manual_seed(seed)
    model = decoder_with(scheme, vocab_size=vocab_size, train_len=TRAIN_LEN).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=PEAK_RATE,
        betas=(0.9, 0.98),
        weight_decay=0.01,
        fused=True,
    )
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for step in range(steps):
        decay = 0.55 + 0.45 * math.cos(math.pi * step / steps)
        rate = min((step + 1) / WARM_UP, 1.0) * decay
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * rate
        ids, target = (x.to(device) for x in batches(BATCH, TRAIN_LEN, generator))
        logits = model(ids).flatten(0, 1)
        loss = F.cross_entropy(logits, target.flatten(), ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.detach())
    return model, torch.stack(losses).tolist()


@torch.no_grad()
def test(
    model: Callable[..., Tensor],
    batches: Callable[[int, int, torch.Generator], Batch],
    length: int,
    *,
    bits: bool = False,
    sequences: int = 256,
    seed: int = 1_000_000,
    device: str = "cpu",
) -> float | None:
    """Return the share of right answers at a length, or the bits a byte.

    Args:
        model: ids ``[B, L]`` -> logits ``[B, L, vocab_size]``.
        batches: makes ids and targets, both ``[B, L]``.
        length: of the test.
        bits: whether to return the bits of the last 32 targets instead.
        sequences: how many to test, rounded up to whole batches of 16,384 ids.
        seed: of the data; other data than in training.
        device: where it runs.

    Returns:
        The figure, or None where the model has no such position.
    """
    generator = torch.Generator().manual_seed(seed + length)
    count, right, cost = 0, 0.0, 0.0
    size = 64 * 256 // max(length, 256)  # 16,384 ids at a time
    for _ in range(math.ceil(sequences / size)):
        ids, target = (x.to(device) for x in batches(size, length, generator))
        try:
            logits = model(ids)
        except ValueError:  # a table that ends
            return None
        if bits:
            logits, target = logits[:, -LAST_BYTES:], target[:, -LAST_BYTES:]
        asked = target != IGNORE
        count += int(asked.sum())
        right += float((logits.argmax(-1) == target)[asked].sum())
        cost += float(F.cross_entropy(logits[asked], target[asked], reduction="sum"))
    return cost / count / math.log(2) if bits else right / count


def cell(
    scheme: str, task: str, seed: int, *, text: Any = None, device: str = "cpu"
) -> dict[str, Any]:
    """Train and test one cell of the grid.

    Args:
        scheme: a name in ``models.positioned.SCHEMES``.
        task: a name in ``STEPS``.
        seed: of the run.
        text: for the task "text": the bytes to learn from and the bytes to test on.
        device: where it runs.

    Returns:
        Scheme, task, seed, loss at the end, seconds, and the figure at each length.
    """
    bits = task == "text"
    learn = text_batches(text[0]) if bits else TASKS[task]
    judge = text_batches(text[1]) if bits else TASKS[task]
    start = time.perf_counter()
    model, losses = train(
        scheme,
        learn,
        vocab_size=256 if bits else VOCAB_SIZE,
        steps=STEPS[task],
        seed=seed,
        device=device,
    )
    figures = [test(model, judge, n, bits=bits, device=device) for n in LENGTHS]
    return {
        "scheme": scheme,
        "task": task,
        "seed": seed,
        "loss": sum(losses[-50:]) / 50,
        "seconds": time.perf_counter() - start,
        "figures": dict(zip(map(str, LENGTHS), figures, strict=True)),
    }


def corpus() -> tuple[bytes, bytes]:
    """Return the training and the test articles as bytes."""
    from minitransformer import data

    articles = data.split(data.wikipedia_articles(), key=lambda each: each.title)
    train_text, test_text = (
        "\n".join(text for _, text in part).encode()
        for part in (articles.train, articles.test)
    )
    return train_text, test_text


def _run(job: tuple[str, str, int, Any, str]) -> dict[str, Any]:
    torch.set_num_threads(1)
    scheme, task, seed, text, device = job
    return cell(scheme, task, seed, text=text, device=device)


def _place(made: dict[str, Any]) -> tuple[str, str, int]:
    return made["task"], made["scheme"], made["seed"]


def main(arguments: list[str] | None = None) -> int:
    """Run the grid in several processes, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu", help="such as cuda")
    parser.add_argument("--processes", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--text", type=Path, nargs=2, help="instead of the corpus")
    parser.add_argument("--date", required=True, help="of the run, YYYY-MM-DD")
    options = parser.parse_args(arguments)
    texts = tuple(p.read_bytes() for p in options.text) if options.text else corpus()
    on_gpu = options.device.startswith("cuda")
    about = {
        "device": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": options.date,
    }
    cells = []
    if options.out.exists():
        cells = json.loads(options.out.read_text(encoding="utf-8"))["cells"]
    done = {_place(made) for made in cells}
    jobs = [
        (scheme, task, seed, texts if task == "text" else None, options.device)
        for seed in range(options.seeds)
        for task in STEPS
        for scheme in SCHEMES
        if (task, scheme, seed) not in done
    ]
    context = torch.multiprocessing.get_context("spawn")
    with context.Pool(options.processes) as pool:
        for i, made in enumerate(pool.imap_unordered(_run, jobs), start=1):
            cells = sorted([*cells, made], key=_place)
            print(f"{i}/{len(jobs)} {json.dumps(made)}", flush=True)
            found = json.dumps({"about": about, "cells": cells}, indent=1)
            options.out.write_text(found + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
