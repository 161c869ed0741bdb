"""The house model, trained with our kernel as its ``attend`` and with PyTorch's.

Run ``python tests/benchmarks/bench_house_kernel.py --data DIR --out FILE`` on a GPU,
where DIR is what ``python -m minitransformer.training prepare --out DIR`` wrote. The
recipe of the house for a few hundred steps, three times: the kernel and SDPA from one
seed, so that start, windows and dropout are the same; and SDPA from another seed, which
shows what noise is. Then both models of one seed write on greedily from the same text.
"""

import argparse
import json
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import triton

from minitransformer.attention.sdpa import sdpa
from minitransformer.generation.generate import generate
from minitransformer.kernels import flash_attention
from minitransformer.layers.partial import Partial
from minitransformer.models.decoder import Decoder
from minitransformer.training import house
from minitransformer.training.loop import Recipe, train
from minitransformer.training.prepare import Texts

KERNEL = Partial(flash_attention.attention, causal=True)
RUNS = {"kernel": (KERNEL, 0), "sdpa": (sdpa, 0), "sdpa, other seed": (sdpa, 1)}


def trained(
    attend: Any, seed: int, steps: int, texts: Texts
) -> tuple[Decoder, dict[str, Any]]:
    """Train as ``training.house`` does; return the model and what happened."""
    recipe = Recipe(
        steps, batch=64, peak=2e-3, warm_up=steps // 10, floor=0.05, decay=2.0,
        half=True, seed=seed,
    )  # fmt: skip
    model = house.build(house.SIZES, attend=attend, device="cuda", seed=seed)
    start = time.perf_counter()
    with house.dropout(model, 0.3):
        run = train(model, texts.draw, recipe, progress=False)
    torch.cuda.synchronize()
    took = time.perf_counter() - start
    model.eval()
    judged = texts.judge(model)
    losses = [row["loss"] for row in run.rows]
    return model, {"seconds": took, "bits_per_byte": judged, "losses": losses}


def agreement(models: list[Decoder], texts: Texts, tokens: int = 64) -> dict[str, Any]:
    """Let one set of weights write with either ``attend``, and two sets with their own.

    The first compares kernels, the second all of training.
    """
    kernel, other = models
    twin = house.build(house.SIZES, device="cuda").eval()
    twin.load_state_dict(kernel.state_dict())
    prompts = texts.ids["validation"][:512].long().view(8, 64)
    written = [
        torch.stack(list(generate(model, prompts, max_new_tokens=tokens, num_layers=7)))
        for model in (kernel, twin, other)
    ]
    same = [float((written[0] == one).float().mean()) for one in written[1:]]
    with torch.no_grad():
        gap = float((kernel(prompts) - twin(prompts)).abs().max())
    return {"same_weights": same[0], "own_weights": same[1], "logit_gap": gap}


def main() -> None:
    """Train three times, and write the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--commit", default=None, help="by default git is asked")
    options = parser.parse_args()
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = options.commit or subprocess.check_output(git, text=True).strip()
    torch.set_float32_matmul_precision("high")
    texts = Texts(options.data, "cuda", house.LENGTH, 2.0)
    models, runs = [], {}
    for name, (attend, seed) in RUNS.items():
        model, runs[name] = trained(attend, seed, options.steps, texts)
        models.append(model)
        print(name, {k: v for k, v in runs[name].items() if k != "losses"}, flush=True)
    torch.set_float32_matmul_precision("highest")
    curves = torch.tensor([run["losses"] for run in runs.values()])
    gaps = (curves[:1] - curves[1:]).abs()
    result = {
        "about": {
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "triton": triton.__version__,
            "python": platform.python_version(),
            "date": datetime.now(UTC).date().isoformat(),
            "commit": commit,
        },
        "gap": {"mean": gaps.mean(1).tolist(), "most": gaps.amax(1).tolist()},
        "writing": agreement(models[:2], texts),
        "runs": runs,
    }
    print({name: result[name] for name in ("gap", "writing")})
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
