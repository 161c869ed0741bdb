"""One process beside several: the same losses, and how much faster.

Run ``python tests/benchmarks/bench_parallel.py [--device cuda] [--out FILE]``. One
process trains the house model alone, then ``torchrun`` starts several (on GPUs they
speak through NCCL) that train it by DDP and by FSDP: in float64 for the losses, in
bfloat16 for tokens a second with a batch as in the recipe and one that is larger. Then
bare all-reduces are timed. Random tokens do for all of it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from timing import refuse_while_red

from minitransformer.training import parallel
from minitransformer.training.data import draw
from minitransformer.training.house import LENGTH, SIZES, build
from minitransformer.training.loop import Recipe, train
from minitransformer.training.parallel import ONE, World

ON_CPU = {"batches": [4], "steps": 2, "sizes": [10**3, 10**5, 10**7]}
ON_GPU = {"batches": [64, 512], "steps": 40, "sizes": [4**n for n in range(5, 15)]}


def learn(
    place: World, device: str, batch: int, steps: int, exact: bool
) -> dict[str, Any]:
    """Train the house model on random tokens; return losses, speed and memory."""
    source = torch.randint(
        0, 8192, (1_000_000,), generator=torch.Generator().manual_seed(1)
    ).to(device)
    model = build(SIZES, device=device)
    if exact:
        model = model.double()
    recipe = Recipe(2 * steps, batch=batch, peak=1e-3, half=not exact)

    def windows(size: int, generator: torch.Generator) -> tuple[Any, Any]:
        return draw(source, size, LENGTH, generator)

    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    run = train(model, windows, recipe, place=place, every=steps, progress=False)
    found = {"losses": [row["loss"] for row in run.rows]}
    found["tokens/s"] = run.rows[-1]["tokens_per_second"]  # the first half warms up
    if device.startswith("cuda"):
        found["peak memory, GB"] = torch.cuda.max_memory_allocated() / 1e9
    return found


def all_reduces(
    sizes: list[int], device: str, wait: Callable[[], None], rounds: int = 20
) -> Iterator[float]:
    """Time sums over all processes of vectors of so many float32; the best of each."""
    for size in sizes:
        vector, times = torch.zeros(size, device=device), []
        for _ in range(rounds):
            dist.barrier()
            wait()
            start = time.perf_counter()
            dist.all_reduce(vector)
            wait()
            times.append(time.perf_counter() - start)
        yield min(times)


def work(device: str, out: Path) -> None:
    """What one process does, alone or among others; the first writes what it found."""
    torch.set_float32_matmul_precision("high")
    cuda = device.startswith("cuda")
    plan = ON_GPU if cuda else ON_CPU
    wait = torch.cuda.synchronize if cuda else lambda: None
    alone = "RANK" not in os.environ
    found: dict[str, Any] = {}
    with parallel.world("one" if alone else "ddp", device) as met:
        for kind in ("one",) if alone else ("ddp", "fsdp"):
            place = ONE if alone else met._replace(kind=kind)
            exact = learn(place, device, plan["batches"][0], plan["steps"] // 2, True)
            found[kind] = {"float64 losses": exact["losses"]}
            for batch in plan["batches"]:
                made = learn(place, device, batch, plan["steps"], False)
                del made["losses"]
                found[kind][f"batch {batch}"] = made
        if not alone:
            times = all_reduces(plan["sizes"], device, wait)
            found["all-reduce"] = dict(zip(plan["sizes"], times, strict=True))
    if met.rank == 0:
        out.write_text(json.dumps(found), encoding="utf-8")


def main() -> None:
    """Check, measure with one process and with several, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--untested", action="store_true", help="do not test first")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.device, options.work)
        return
    if not options.untested:
        refuse_while_red("training")
    cuda = options.device.startswith("cuda")
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if cuda else platform.machine(),
        "processes": options.processes,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "length": LENGTH,
    }
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    with tempfile.TemporaryDirectory() as folder:
        for start in ([], [*launch, str(options.processes)]):
            out = Path(folder) / f"{len(start)}.json"
            job = [__file__, "--device", options.device, "--work", str(out)]
            subprocess.run([sys.executable, *start, *job], check=True)
            found |= json.loads(out.read_text(encoding="utf-8"))
    wanted = torch.tensor(found["one"]["float64 losses"], dtype=torch.float64)
    for kind in ("ddp", "fsdp"):
        losses = torch.tensor(found[kind].pop("float64 losses"), dtype=torch.float64)
        found[kind]["largest gap of a loss"] = float((losses - wanted).abs().max())
    del found["one"]["float64 losses"]
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
