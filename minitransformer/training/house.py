"""The house model: the small decoder of this course, from text to weights.

``house`` trains on what ``prepare`` has tokenized, which may lie on another machine::

    python -m minitransformer.training prepare --out DIR --texts FOLDER
    python -m minitransformer.training house --out DIR --device cuda --compile

It draws more windows of Wikipedia than of the rest: held-out articles judge it. It sees
every text some ten to thirty times, so it is held back: by weight decay, by dropout
behind every layer (hooks, the model knows nothing of it), and by keeping the weights of
the best judgement. Then it makes a sibling with two key heads: the means of the trained
ones, judged as they are and after a twentieth of the steps more.

Source of the sibling: Ainslie et al., arXiv 2305.13245.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitransformer.attention.sdpa import sdpa
from minitransformer.layers.attention import Attention
from minitransformer.models.decoder import Decoder
from minitransformer.models.presets import llama
from minitransformer.models.pretrained import fill_weights, save_pretrained
from minitransformer.positions import rotary
from minitransformer.training.checkpoint import write_whole
from minitransformer.training.loop import Recipe, Row, Run, train
from minitransformer.training.parallel import World, world
from minitransformer.training.prepare import VOCAB_SIZE, Texts, prepare

LENGTH = 512
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "dim": 256,
    "num_layers": 7,
    "num_heads": 8,
    "num_kv_heads": 8,
    "hidden": 688,
    "rope_base": 10000.0,
}
"""Options of the preset ``llama`` that make the house model."""


class Table:
    """Turn queries and keys by cosines and sines that were computed beforehand.

    ``rotary.rotate`` computes them anew, in float64. Compiled, that work is repeated
    for every sequence and head.
    """

    def __init__(self, head_dim: int, base: float, length: int, device: str) -> None:
        """Compute rows ``[length, head_dim]``."""
        freqs = rotary.frequencies(head_dim, base=base)
        rows = rotary.angles(torch.arange(length), freqs, torch.float32)
        self.cos, self.sin = (row.to(device) for row in rows)

    def __call__(self, x: Tensor, pos: Tensor) -> Tensor:
        """Turn ``[B, H, L, E]`` by positions ``[L]`` below ``length``."""
        return rotary.turn_by(x, self.cos[pos], self.sin[pos])


def build(
    sizes: dict[str, Any],
    *,
    attend: Callable[..., Any] = sdpa,
    length: int = LENGTH,
    device: str = "cpu",
    seed: int = 0,
) -> Decoder:
    """Make a model of the house's kind to train, with new weights.

    Args:
        sizes: options of the preset ``llama``, as ``SIZES``.
        attend: a causal ``attend`` function.
        length: the longest text it will see.
        device: where it shall be.
        seed: of its start, which is the same on every device.
    """
    torch.manual_seed(seed)
    model = llama(**sizes, attend=attend).to(device)
    head_dim = sizes["dim"] // sizes["num_heads"]
    turn = Table(head_dim, sizes["rope_base"], length, device)
    for layer in model.modules():
        if isinstance(layer, Attention):
            layer.turn = turn
    return model


def pool_key_heads(
    weights: dict[str, Tensor], sizes: dict[str, Any], num_kv_heads: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Replace the key and value heads of each group by their mean.

    Args:
        weights: of a model by name.
        sizes: of that model.
        num_kv_heads: how many shall be left; a divisor of those it has.

    Returns:
        Weights and sizes of the sibling.

    Raises:
        ValueError: the groups would not be of one size.
    """
    heads = sizes["num_kv_heads"]
    if num_kv_heads < 1 or heads % num_kv_heads:
        raise ValueError(f"num_kv_heads is {num_kv_heads}, needs a divisor of {heads}")
    pooled = dict(weights)
    for name, weight in weights.items():
        if name.endswith(("k_proj.weight", "v_proj.weight")):
            groups = weight.view(
                num_kv_heads, heads // num_kv_heads, -1, weight.shape[1]
            )
            pooled[name] = groups.mean(dim=1).flatten(0, 1)
    return pooled, sizes | {"num_kv_heads": num_kv_heads}


@contextmanager
def dropout(model: Decoder, share: float) -> Iterator[None]:
    """Drop a share of what each layer adds to a token, while the model trains."""

    def drop(module: nn.Module, inputs: Any, out: Tensor) -> Tensor:
        return F.dropout(out, share, module.training)

    ends = (".mixer", ".mlp")
    layers = [layer for name, layer in model.named_modules() if name.endswith(ends)]
    hooks = [layer.register_forward_hook(drop) for layer in layers] if share else []
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def main(arguments: list[str]) -> int:
    """Train the house model and its sibling; write all that a reader needs.

    Raises:
        ValueError: nothing is prepared, and there are several processes to share it.
    """
    parser = argparse.ArgumentParser(prog="python -m minitransformer.training house")
    parser.add_argument("--out", type=Path, required=True, help="see prepare")
    parser.add_argument("--texts", type=Path, help="prepare first, with this folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--batch", type=int, default=64, help="windows of 512 a step")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--peak", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--decay", type=float, default=2.0)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--wikipedia", type=float, default=2.0, help="its weight")
    parser.add_argument("--every", type=int, default=100, help="steps to a judgement")
    parser.add_argument("--patience", type=int, default=8, help="judgements")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--parallel",
        choices=("one", "ddp", "fsdp"),
        default="one",
        help="under torchrun; see minitransformer.training.parallel",
    )
    parser.add_argument("--no-gqa", action="store_true", help="no sibling")
    options = parser.parse_args(arguments)
    if not (options.out / "tokens.npz").exists():
        if options.parallel != "one":
            raise ValueError("out has no tokens.npz: run prepare first")
        prepare(options.out, options.texts)
    with world(options.parallel, options.device) as place:
        _make(options, place)
    return 0


def _make(options: argparse.Namespace, place: World) -> None:
    torch.set_float32_matmul_precision("high")  # TF32, where bfloat16 is not asked for
    texts = Texts(options.out, options.device, LENGTH, options.wikipedia)
    recipe = Recipe(
        options.steps,
        batch=options.batch,
        peak=options.peak,
        warm_up=min(200, options.steps // 10),
        floor=0.05,
        decay=options.decay,
        accumulate=options.accumulate,
        half=options.device.startswith("cuda"),
        seed=options.seed,
    )
    began = time.perf_counter()
    run = _train(SIZES, None, recipe, texts, options, place)
    history = _about(options, recipe, run, texts)
    history |= _judged(SIZES, run.best, texts, options.device)
    history["seconds"] = round(time.perf_counter() - began, 1)
    if place.rank == 0:
        _save(options.out, run.best, SIZES)
        _write_json(options.out / "history.json", history)
    if not options.no_gqa:
        history["gqa"] = _sibling(run, recipe, texts, options, place)
    if place.rank == 0:
        _write_json(options.out / "history.json", history)
        print(json.dumps({k: v for k, v in history.items() if k != "rows"}, indent=1))


def _train(
    sizes: dict[str, Any],
    weights: dict[str, Tensor] | None,
    recipe: Recipe,
    texts: Texts,
    options: argparse.Namespace,
    place: World,
) -> Run:
    model = build(sizes, device=options.device, seed=recipe.seed)
    if weights is not None:
        _fill(model, weights, torch.float32, options.device)
    with dropout(model, options.dropout):
        return train(
            model,
            texts.draw,
            recipe,
            judge=texts.judge,
            every=min(options.every, recipe.steps),
            patience=options.patience,
            folder=options.out
            / ("checkpoints" if weights is None else "checkpoints-gqa"),
            compiled=options.compile,
            place=place,
        )


def _judged(
    sizes: dict[str, Any], weights: dict[str, Tensor], texts: Texts, device: str
) -> dict[str, float]:
    """Judge the weights as they are stored, rounded to bfloat16."""
    model = build(sizes, device=device).eval()
    _fill(model, weights, torch.bfloat16, device)
    return {part: texts.judge(model, part) for part in ("validation", "test")}


def _sibling(
    run: Run,
    recipe: Recipe,
    texts: Texts,
    options: argparse.Namespace,
    place: World,
) -> dict[str, Any]:
    weights, sizes = pool_key_heads(run.best, SIZES, 2)
    found: dict[str, Any] = {"pooled": _judged(sizes, weights, texts, options.device)}
    steps = max(recipe.steps // 20, 1)
    more = recipe._replace(steps=steps, warm_up=steps // 10, seed=recipe.seed + 1)
    more = more._replace(peak=recipe.peak / 3)  # it starts where the rate was low
    trained = _train(sizes, weights, more, texts, options, place)
    found["trained"] = _judged(sizes, trained.best, texts, options.device)
    found |= {"recipe": more._asdict(), "rows": _thin(trained.rows, 10)}
    if place.rank == 0:
        _save(options.out / "gqa", trained.best, sizes)
    return found


def _thin(rows: list[Row], size: int = 20) -> list[Row]:
    """Return the mean of each ``size`` rows; what is not in all of them, as it is."""
    thinned = []
    for end in range(size, len(rows) + 1, size):
        group = rows[end - size : end]
        row = dict(group[-1])
        for name in ("loss", "norm"):
            row[name] = round(sum(each[name] for each in group) / size, 5)
        thinned.append(row)
    return thinned


def _about(
    options: argparse.Namespace, recipe: Recipe, run: Run, texts: Texts
) -> dict[str, Any]:
    on_gpu = options.device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "compiled": options.compile,
        "recipe": recipe._asdict(),
        "length": LENGTH,
        "dropout": options.dropout,
        "wikipedia_weight": options.wikipedia,
        "tokens": {name: end - start for name, (start, end) in texts.parts.items()},
        "parameters": sum(w.numel() for w in run.model.parameters()),
        "steps_taken": run.step,
        "best_step": run.best_step,
        "rows": _thin(run.rows),
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode())


def _save(folder: Path, weights: dict[str, Tensor], sizes: dict[str, Any]) -> None:
    config = {"preset": "llama", "options": sizes}
    save_pretrained(weights, folder, config, dtype=torch.bfloat16)


def _fill(
    model: Decoder, weights: dict[str, Tensor], kind: torch.dtype, device: str
) -> None:
    """Give a model copies of weights, in float32 but rounded to another type before."""
    rounded = {name: x.to(kind) for name, x in weights.items()}
    own = {n: x.to(device, torch.float32, copy=True) for n, x in rounded.items()}
    fill_weights(model, own, "the trained model")
