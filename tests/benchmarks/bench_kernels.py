"""The first kernels beside PyTorch on a GPU: bandwidth, and products a second.

Run ``python tests/benchmarks/bench_kernels.py``. It checks each kernel against float64
before it times it, and, where pytest is installed, refuses while its tests are red. It
writes ``7_1_first_kernels.json`` and ``7_2_matmul.json`` into ``--out`` (by default the
folder of the lessons that plot them). With ``--tune`` it tries the tiles around those
of ``kernels/tiles.py`` instead, and prints the times.

Bytes are those that must move: a softmax reads and writes its matrix once, its gradient
reads two and writes one. The copy that they are compared with is timed in the same run.
Inputs of a gigabyte take half a millisecond or more, so that what Python needs to
launch a kernel, 30 to 60 microseconds, hides behind the kernel before it.
"""

import argparse
import importlib.util
import itertools
import json
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import triton
from timing import TESTS, refuse_while_red
from torch import Tensor
from triton.testing import do_bench

from minitransformer.kernels import cross_entropy, matmul, norm, rotary, softmax
from minitransformer.kernels.tiles import MatmulTile, RowTile
from minitransformer.positions import rotary as plain_rotary

LESSONS = TESTS.parent / "lessons" / "7_kernels"
NUMBERS = 1 << 29
GENERATOR = torch.Generator("cuda")


def normal(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Draw a tensor on the GPU."""
    return torch.randn(shape, generator=GENERATOR, device="cuda", dtype=dtype)


def milliseconds(run: Callable[[], object], *, rep: int = 60) -> float:
    """Return the median time of a call, its input not in the cache."""
    return float(do_bench(run, warmup=rep // 6, rep=rep, return_mode="median"))


def gradients(out: Tensor, of: list[Tensor], by: Tensor) -> tuple[Tensor, ...]:
    """Go back through ``out``, again and again."""
    return torch.autograd.grad(out, of, by, retain_graph=True)


def within_budget(ours: Tensor, theirs: Tensor, exact: Tensor, share: float) -> None:
    """Stop unless our greatest error is at most ``share`` times PyTorch's."""
    ours, theirs, exact = ours.detach(), theirs.detach(), exact.detach()
    errors = [float((x.double() - exact).abs().max()) for x in (ours, theirs)]
    size = float(exact.abs().max())
    allowed = share * errors[1] + torch.finfo(ours.dtype).eps * size
    assert errors[0] <= allowed, f"our error is {errors[0]}, PyTorch's {errors[1]}"


def row_kernels(columns: int) -> dict[str, tuple[Any, Any, list[Tensor], int, int]]:
    """Return name -> (ours, PyTorch's, parameters, matrices moved each way)."""
    weight, bias = normal(columns).requires_grad_(), normal(columns).requires_grad_()
    size = (columns,)
    return {
        "softmax": (softmax.softmax, lambda x: x.softmax(-1), [], 2, 3),
        "rms_norm": (
            lambda x: norm.rms_norm(x, weight),
            lambda x: F.rms_norm(x, size, weight.to(x.dtype), 1e-6),
            *([weight], 2, 3),
        ),
        "layer_norm": (
            lambda x: norm.layer_norm(x, weight, bias),
            lambda x: F.layer_norm(x, size, weight.to(x.dtype), bias.to(x.dtype)),
            *([weight, bias], 2, 3),
        ),
    }


def five_kernels(x: Tensor) -> Tensor:
    """Compute a softmax as its formula stands there."""
    power = (x - x.max(dim=-1, keepdim=True).values).exp()
    return power / power.sum(dim=-1, keepdim=True)


def check_rows(name: str, columns: int) -> None:
    """Hold one kernel on rows, both ways, to its budget of errors."""
    ours, theirs, params, *_ = row_kernels(columns)[name]
    x, by = normal(256, columns).requires_grad_(), normal(256, columns)
    wide = x.detach().double().requires_grad_()
    runs = [(ours, x, by), (theirs, x, by), (theirs, wide, by.double())]
    outs = [run(inside) for run, inside, _ in runs]
    within_budget(*outs, share=2)
    grads = [
        torch.autograd.grad(out, [inside, *params], g)
        for out, (_, inside, g) in zip(outs, runs, strict=True)
    ]
    within_budget(*(grad[0] for grad in grads), share=3)


def bench_rows(name: str, columns: int, compiled: bool) -> list[dict[str, Any]]:
    """Time one kernel on rows, forward and backward."""
    check_rows(name, columns)
    ours, theirs, params, forward, backward = row_kernels(columns)[name]
    x = normal(NUMBERS // columns, columns).requires_grad_()
    by = normal(*x.shape)
    runs = {"ours": ours, "torch": theirs}
    if compiled:
        runs["compiled"] = torch.compile(theirs)
    if compiled and name == "softmax":
        runs["unfused"] = five_kernels
    times: dict[str, dict[str, float]] = {"forward": {}, "backward": {}}
    for who, run in runs.items():
        with torch.no_grad():
            times["forward"][who] = milliseconds(lambda run=run: run(x))
        out = run(x)
        times["backward"][who] = milliseconds(
            lambda out=out: torch.autograd.grad(
                out, [x, *params], by, retain_graph=True
            )
        )
    return [
        {
            **{"kernel": name, "pass": way, "dtype": "bfloat16"},
            **{"rows": len(x), "columns": columns},
            "bytes": moved * x.numel() * x.element_size(),
            "milliseconds": times[way],
        }
        for way, moved in (("forward", forward), ("backward", backward))
    ]


def bench_copy() -> list[dict[str, Any]]:
    """Time a copy: the bandwidth that the others are measured by."""
    rows = []
    for size in (NUMBERS // 8, NUMBERS):
        x, y = normal(size), normal(size)
        rows.append(
            {
                **{"kernel": "copy", "pass": "forward", "dtype": "bfloat16"},
                **{"rows": 1, "columns": size, "bytes": 2 * size * x.element_size()},
                "milliseconds": {"torch": milliseconds(lambda x=x, y=y: y.copy_(x))},
            }
        )
    return rows


def bench_rotary() -> list[dict[str, Any]]:
    """Time the turns of 256k positions, 16 heads of 128."""
    rows = []
    pos, freqs = torch.arange(32768, device="cuda"), plain_rotary.frequencies(128)
    freqs = freqs.cuda()
    for layout in ("half", "interleaved"):
        x = normal(8, 16, 32768, 128)
        runs = {
            "ours": lambda x=x, at=layout: rotary.rotate(x, pos, freqs, layout=at),
            "torch": lambda x=x, at=layout: plain_rotary.rotate(
                x, pos, freqs, layout=at
            ),
        }
        exact = plain_rotary.rotate(x[:1].double(), pos, freqs, layout=layout)
        within_budget(runs["ours"]()[:1], runs["torch"]()[:1], exact, share=2)
        rows.append(
            {
                **{"kernel": f"rotate, {layout}", "pass": "forward"},
                **{"dtype": "bfloat16", "rows": x.numel() // 128, "columns": 128},
                "bytes": 2 * x.numel() * x.element_size(),
                "milliseconds": {who: milliseconds(run) for who, run in runs.items()},
            }
        )
    return rows


def bench_cross_entropy(vocab: int, compiled: bool) -> dict[str, Any]:
    """Time loss and gradient together."""
    tokens = NUMBERS // vocab
    logits = normal(tokens, vocab).requires_grad_()
    target = torch.randint(vocab, (tokens,), generator=GENERATOR, device="cuda")

    def loss_of(run: Callable[..., Tensor], x: Tensor) -> Tensor:
        return torch.autograd.grad(run(x, target), x)[0]

    def theirs(x: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(x.float() if x.dtype != torch.float64 else x, target)

    few = slice(0, 256)
    inputs = (logits[few].detach().requires_grad_(), target[few])
    wide = inputs[0].detach().double().requires_grad_()
    within_budget(
        torch.autograd.grad(cross_entropy.cross_entropy(*inputs), inputs[0])[0],
        torch.autograd.grad(theirs(*inputs), inputs[0])[0],
        torch.autograd.grad(theirs(wide, inputs[1]), wide)[0],
        share=3,
    )
    runs = {
        "ours": lambda: loss_of(cross_entropy.cross_entropy, logits),
        "torch": lambda: loss_of(theirs, logits),
    }
    if compiled:
        faster = torch.compile(theirs)
        runs["compiled"] = lambda: loss_of(faster, logits)
    return {
        **{"kernel": "cross_entropy", "pass": "forward and backward"},
        **{"dtype": "bfloat16", "rows": tokens, "columns": vocab},
        "bytes": 2 * logits.numel() * logits.element_size(),
        "milliseconds": {who: milliseconds(run) for who, run in runs.items()},
    }


def bench_matmul(side: int, dtype: torch.dtype) -> dict[str, Any]:
    """Time a product of square matrices."""
    a, b = normal(side, side, dtype=dtype), normal(side, side, dtype=dtype)
    few = slice(0, 128)
    exact = a[few].double() @ b.double()
    within_budget(matmul.matmul(a, b)[few], (a @ b)[few], exact, share=2)
    return {
        **{"kernel": "matmul", "dtype": str(dtype).removeprefix("torch.")},
        **{"m": side, "n": side, "k": side},
        "operations": 2 * side**3,
        "bytes": 3 * side * side * a.element_size(),
        "milliseconds": {
            "ours": milliseconds(lambda: matmul.matmul(a, b)),
            "torch": milliseconds(lambda: a @ b),
        },
    }


def bench_orders(side: int) -> list[dict[str, Any]]:
    """Time one product with its tiles in several orders."""
    a, b = normal(side, side), normal(side, side)
    chosen, rows = matmul.matmul_tile, []
    tile = chosen(side, side, side, a.dtype)
    for group in (1, 2, 4, 8, 16, 32, side // tile.m):
        other = tile._replace(group=group)
        matmul.matmul_tile = lambda *_, other=other: other
        rows.append(
            {
                **{"kernel": "matmul, order", "dtype": "bfloat16", "group": group},
                **{"m": side, "n": side, "k": side, "tile": [tile.m, tile.n, tile.k]},
                "operations": 2 * side**3,
                "bytes": 3 * side * side * a.element_size(),
                "milliseconds": {"ours": milliseconds(lambda: matmul.matmul(a, b))},
            }
        )
    matmul.matmul_tile = chosen
    return rows


def about(commit: str) -> dict[str, str]:
    """Say on what, with what and when this was measured."""
    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit,
    }


def show(row: dict[str, Any]) -> None:
    """Print one row: time, and bandwidth or operations a second."""
    shape = row.get("m") or (row["rows"], row["columns"])
    print(
        row["kernel"],
        row.get("pass", row.get("group", "")),
        row["dtype"],
        shape,
        end=": ",
    )
    for who, ms in row["milliseconds"].items():
        amount = row.get("operations", row["bytes"])
        unit = "TFLOP/s" if "operations" in row else "TB/s"
        print(f"{who} {ms:.3f} ms = {amount / ms / 1e9:.2f} {unit}", end="; ")
    print(flush=True)


def tune_forward(name: str, columns: int) -> None:
    """Print the bandwidth of one kernel on rows, forward, with other tiles."""
    module, chooser = (
        (softmax, "row_tile") if name == "softmax" else (norm, "norm_tile")
    )
    ours, _, _, forward, _ = row_kernels(columns)[name]
    x, chosen = normal(NUMBERS // columns, columns), getattr(module, chooser)
    for rows, size in itertools.product((1, 2), (512, 1024, 2048)):
        warps = rows * columns // size
        if not 2 <= warps <= 32 or rows * columns > 32768:
            continue
        line = f"{name} {columns}, forward, rows {rows}, warps {warps}:"
        for waves, stages in ((0, 1), (2, 2), (4, 2), (8, 2), (2, 3), (4, 3)):
            tile = RowTile(rows, columns, warps, waves, stages)
            setattr(module, chooser, lambda *_, tile=tile, **__: tile)
            ms = milliseconds(lambda: ours(x), rep=20)
            line += f" {waves}/{stages} {forward * x.nbytes / ms / 1e9:.2f},"
        print(line, flush=True)
    setattr(module, chooser, chosen)


def tune_long() -> None:
    """Print the bandwidth of a softmax of long rows with other blocks."""
    for columns in (65536, 131072):
        x = normal(NUMBERS // columns, columns).requires_grad_()
        by = normal(*x.shape)
        for block, warps in ((8192, 16), (8192, 32), (16384, 32), (32768, 32)):
            softmax.LONG_BLOCK, softmax.LONG_WARPS = block, warps
            out = softmax.softmax(x)
            ms = [
                milliseconds(partial(softmax.softmax, x), rep=20),
                milliseconds(partial(gradients, out, [x], by), rep=20),
            ]
            speeds = [n * x.nbytes / t / 1e9 for n, t in zip((2, 3), ms, strict=True)]
            line = f"softmax {columns}, block {block}, warps {warps}:"
            print(line, *(f"{each:.2f}" for each in speeds), flush=True)


def tune_norm_backward(name: str, columns: int) -> None:
    """Print the bandwidth of a norm, backward, with other tiles."""
    ours, _, params, _, backward = row_kernels(columns)[name]
    x = normal(NUMBERS // columns, columns).requires_grad_()
    by, chosen = normal(*x.shape), norm.norm_backward_tile
    for rows, size in itertools.product((1, 2, 4), (512, 1024)):
        warps = rows * columns // size
        if not 2 <= warps <= 16:
            continue
        line = f"{name} {columns}, backward, rows {rows}, warps {warps}:"
        for stages, waves in itertools.product((1, 2, 3), (1, 2, 4)):
            tile = RowTile(rows, columns, warps, waves, stages)
            norm.norm_backward_tile = lambda _, tile=tile: tile
            out = ours(x)
            ms = milliseconds(lambda out=out: gradients(out, [x, *params], by), rep=20)
            line += f" {waves}/{stages} {backward * x.nbytes / ms / 1e9:.2f},"
        print(line, flush=True)
    norm.norm_backward_tile = chosen


def tune() -> None:
    """Print the bandwidth (TB/s) with other tiles than those of ``tiles.py``.

    After the rows and warps of a tile come waves/stages, and what they gave.
    """
    for row in bench_copy():
        show(row)
    tune_long()
    tune_forward("softmax", 16384)
    for columns in (1024, 4096, 8192, 16384):
        tune_forward("layer_norm", columns)
    tune_norm_backward("rms_norm", 4096)
    for columns in (1024, 4096, 8192):
        tune_norm_backward("layer_norm", columns)
    a, b = normal(8192, 8192), normal(8192, 8192)
    chosen = matmul.matmul_tile
    for m, n, k, group, warps, stages in (
        *((128, 256, 64, 8, 8, 3), (128, 256, 64, 8, 8, 4), (256, 128, 64, 8, 8, 3)),
        *((128, 256, 64, 16, 8, 3), (128, 128, 64, 8, 4, 4), (128, 128, 64, 8, 8, 3)),
        *((128, 128, 64, 8, 8, 5), (128, 256, 64, 4, 8, 3), (256, 128, 64, 8, 8, 4)),
    ):
        tile = MatmulTile(m, n, k, group, warps, stages)
        matmul.matmul_tile = lambda *_, tile=tile: tile
        ms = milliseconds(lambda: matmul.matmul(a, b))
        print(f"matmul {tile}: {2 * 8192**3 / ms / 1e9:.0f} TFLOP/s", flush=True)
    matmul.matmul_tile = chosen


def main() -> None:
    """Check, then measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=LESSONS)
    parser.add_argument("--commit", default="unknown", help="what is measured")
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    GENERATOR.manual_seed(0)
    if options.tune:
        return tune()
    if importlib.util.find_spec("pytest"):
        refuse_while_red("kernels")
    rows = bench_copy()
    for name in ("softmax", "rms_norm", "layer_norm"):
        for columns in (512, 1024, 4096, 8192, 16384, 65536):
            rows += bench_rows(name, columns, compiled=columns == 4096)
    rows += bench_rows("softmax", 131072, compiled=False)
    rows += bench_rotary()
    rows += [bench_cross_entropy(v, v == 50304) for v in (8192, 50304, 131072)]
    products = [
        bench_matmul(side, dtype)
        for side in (1024, 4096, 8192)
        for dtype in (torch.float16, torch.bfloat16)
    ]
    products.append(bench_matmul(4096, torch.float32))
    products += bench_orders(16384)
    for row in rows + products:
        show(row)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in (("7_1_first_kernels", rows), ("7_2_matmul", products)):
        text = (
            json.dumps({"about": about(options.commit), "rows": content}, indent=1)
            + "\n"
        )
        (options.out / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
