"""Does a sink form, and does it hurt to drop it? The toy of lesson 5.4.

Run ``python tests/benchmarks/bench_sinks.py``; it takes one or two minutes and writes
``lessons/5_transformers/5_4_sinks.json``. One layer with one head reads Bigram-Backcopy
(Guo et al., arXiv 2410.13835): 16 symbols that follow each other by a random table, but
after each of three *triggers* comes again what stood before it. So the head has work at
triggers and none elsewhere. Each text begins with the same mark, or, for comparison,
with a symbol like any other.
"""

import argparse
import json
import platform
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.attention import masks
from minitransformer.attention.core import attention, naive_weights
from minitransformer.caches.measure import streamed_losses
from minitransformer.caches.sinks import SinkCache
from minitransformer.caches.window import WindowCache
from minitransformer.layers.attention import Attention
from minitransformer.layers.mlp import SwiGLU
from minitransformer.layers.partial import Partial
from minitransformer.models.decoder import Decoder
from minitransformer.positions import rotary

OUT = Path(__file__).parents[2] / "lessons" / "5_transformers" / "5_4_sinks.json"
SYMBOLS, TRIGGERS, MARK, DIM = 16, 3, 16, 32
STEPS, BATCH, LENGTH, WINDOW = 1000, 32, 32, 8


def texts(batch: int, length: int, marked: bool, generator: torch.Generator) -> Tensor:
    """Return ``[batch, length]``; symbols below ``TRIGGERS`` are triggers."""
    table = torch.randn(SYMBOLS, SYMBOLS, generator=torch.Generator().manual_seed(7))
    chances = table.softmax(dim=1)
    first = torch.randint(0, SYMBOLS, (batch,), generator=generator)
    columns = [torch.full_like(first, MARK), first] if marked else [first]
    while len(columns) < length:
        last = columns[-1]
        new = torch.multinomial(chances[last], 1, generator=generator).squeeze(1)
        before = columns[-2] if len(columns) > 1 else new
        copied = (last < TRIGGERS) & (before != MARK)
        columns.append(torch.where(copied, before, new))
    return torch.stack(columns, dim=1)


def trained(seed: int, marked: bool, steps: int) -> Decoder:
    """Return the model after training."""
    torch.manual_seed(seed)
    freqs = rotary.frequencies(DIM)
    model = Decoder(
        SYMBOLS + 1,
        DIM,
        1,
        mixer=lambda i: Attention(
            DIM,
            1,
            attend=partial(attention, mask_mod=masks.causal),
            turn=Partial(rotary.rotate, freqs=freqs),
        ),
        mlp=lambda i: SwiGLU(DIM, 2 * DIM),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * min(1.0, 4 * (1 - step / steps))
        ids = texts(BATCH, LENGTH, marked, generator)
        logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.requires_grad_(False)


def looked_at(model: Decoder, ids: Tensor) -> dict[str, Any]:
    """Return who the head looks at, at triggers and elsewhere, and an example map."""
    mixer: Any = model.blocks[0].mixer
    x = model.blocks[0].mixer_norm(model.embed(ids))
    pos = torch.arange(ids.shape[1])
    query, key = (
        mixer.turn(mixer.split(p(x)), pos) for p in (mixer.q_proj, mixer.k_proj)
    )
    here = pos.numpy()
    options: Any = {"q_pos": here, "kv_pos": here, "mask_mod": masks.causal}
    weights = torch.tensor(naive_weights(query.numpy(), key.numpy(), **options))[:, 0]
    trigger = ids < TRIGGERS
    trigger[:, :4] = False
    other = ~trigger
    other[:, :4] = False
    norms = mixer.v_proj(x).norm(dim=2)
    before = weights.diagonal(offset=-1, dim1=1, dim2=2)
    return {
        "first_elsewhere": float(weights[..., 0][other].mean()),
        "first_at_triggers": float(weights[..., 0][trigger].mean()),
        "previous_at_triggers": float(before[trigger[:, 1:]].mean()),
        "value_norm_first": float(norms[:, 0].mean()),
        "value_norm_others": float(norms[:, 1:].mean()),
        "map": [[round(float(w), 3) for w in row[:16]] for row in weights[0][:16]],
        "symbols": ids[0][:16].tolist(),
    }


def perplexities(model: Decoder, ids: Tensor) -> dict[str, float]:
    """Return what the model makes of long texts, through windows with and without."""
    kinds = {
        f"window {WINDOW}": WindowCache(WINDOW),
        f"1 + {WINDOW - 1}": SinkCache(1, WINDOW - 1),
        f"1 + {WINDOW}": SinkCache(1, WINDOW),
        f"4 + {WINDOW}": SinkCache(4, WINDOW),
        f"window {WINDOW + 4}": WindowCache(WINDOW + 4),
    }
    return {
        name: float(streamed_losses(model, ids, [cache])[:, LENGTH:].mean().exp())
        for name, cache in kinds.items()
    }


def main() -> None:
    """Train with and without a mark, three seeds each, and write what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for marked in (True, False):
        for seed in range(options.seeds):
            model = trained(seed, marked, options.steps)
            drawn = torch.Generator().manual_seed(100 + seed)
            ids = texts(64, LENGTH, marked, drawn)
            long_ids = texts(64, 4 * LENGTH, marked, drawn)
            row = {"marked": marked, "seed": seed, **looked_at(model, ids)}
            row["perplexity"] = perplexities(model, long_ids)
            rows.append(row)
            shown = {k: v for k, v in row.items() if k not in ("map", "symbols")}
            print(shown, flush=True)
    result = {
        "machine": platform.machine(),
        "device": "cpu",
        "dtype": "float32",
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "steps": options.steps,
        "rows": rows,
    }
    options.out.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
