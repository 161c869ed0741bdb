"""What each cache costs and spoils on the house model: the figures of lesson 5.4.

Run ``python tests/benchmarks/bench_house_caches.py``; it takes some minutes and writes
``lessons/5_transformers/5_4_small_caches.json``. ``--model FOLDER`` takes another
model, ``--grouped FOLDER`` a sibling with grouped heads. Text is that of the held-out
test articles. The model computes in float32; caches keep bfloat16, unless they say so.
"""

import argparse
import json
import math
import platform
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from minitransformer.attention import masks
from minitransformer.attention.core import attention
from minitransformer.caches.dense import DenseCache
from minitransformer.caches.evicting import EvictingCache
from minitransformer.caches.measure import streamed_losses
from minitransformer.caches.narrow import NarrowCache
from minitransformer.caches.quantized import QuantizedCache
from minitransformer.caches.sinks import SinkCache
from minitransformer.caches.slim import SlimCache, slim_weights
from minitransformer.caches.staircase import StaircaseCache
from minitransformer.caches.window import WindowCache
from minitransformer.layers.partial import Partial
from minitransformer.models.pretrained import load_pretrained
from minitransformer.training.data import MARK, token_bytes, wikipedia

ROOT = Path(__file__).parents[2]
OUT = ROOT / "lessons" / "5_transformers" / "5_4_small_caches.json"
LENGTH, ROWS = 512, 16
LONG, LONG_ROWS, LONG_ROOM, BUCKET = 2048, 8, 256, 128
SIZES = (32, 64, 128, 256)
STAIRS = (
    *((16, 8, 4, 2), (16, 4, 2), (16, 4, 3, 2), (16, 8, 4)),
    *((16, 8, 4, 2, 1), (16, 2, 1)),
)


class Case(NamedTuple):
    """One cache: its family, its name, what makes it for a layer, ids in a call."""

    family: str
    name: str
    make: Callable[[Any], Any]
    step: int
    mask: Callable[..., Any] = masks.causal


def narrow(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Keep what a cache keeps in bfloat16."""
    return lambda mixer: NarrowCache(make(mixer), torch.bfloat16)


def slim(mixer: Any) -> SlimCache:
    """Make the slim cache of a layer."""
    return SlimCache(slim_weights(mixer.k_proj.weight.T, mixer.v_proj.weight.T))


def raw(cache: Any) -> Any:
    """Let a cache ask for keys that are not turned."""
    cache.raw = True
    return cache


def cases() -> Iterator[Case]:
    """Yield every cache that is measured."""
    yield Case("dense", "dense, float32", lambda mixer: DenseCache(), 64)
    yield Case("dense", "dense", narrow(lambda mixer: DenseCache()), 64)
    yield Case("slim", "slim, float32", slim, 64)
    yield Case("slim", "slim", narrow(slim), 64)
    for bits in (8, 6, 5, 4, 3, 2, 1):
        make = narrow(lambda mixer, bits=bits: QuantizedCache(bits))
        yield Case("uniform", f"{bits} bit{'s' * (bits > 1)}", make, 32)
    for bits in (4, 2):
        make = narrow(lambda mixer, bits=bits: raw(QuantizedCache(bits)))
        yield Case("uniform, keys not turned", f"{bits} bits, not turned", make, 32)
    for stairs in STAIRS:
        for residual in (32, 128):
            make = narrow(
                lambda mixer, s=stairs, r=residual: StaircaseCache(
                    s, residual=r, group=32
                )
            )
            name = "-".join(map(str, stairs))
            yield Case("staircase", f"{name} by {residual}", make, 32)
    for size in SIZES:
        make = narrow(lambda mixer, size=size: WindowCache(size))
        mask = masks.sliding_window(size)
        yield Case("window", f"window {size}", make, 64, mask)
    for size in SIZES:
        make = narrow(lambda mixer, size=size: SinkCache(4, size - 4))
        yield Case("sinks", f"4 + {size - 4}", make, 1)
    for size in SIZES:
        make = narrow(lambda mixer, half=size // 2: EvictingCache(half, half))
        yield Case("evicting", f"{size // 2} + {size // 2}", make, 1)


def held_out(tokenizer: Any, length: int, rows: int) -> Tensor:
    """Return windows ``[rows, length + 1]`` of the test articles, spread evenly."""
    mark, windows = tokenizer.token_to_id(MARK), []
    for text in wikipedia().test:
        ids = torch.tensor([mark, *tokenizer.encode(text).ids])
        windows += [x for x in ids.split(length + 1) if len(x) == length + 1]
    chosen = torch.linspace(0, len(windows) - 1, rows).round().long().unique()
    return torch.stack([windows[i] for i in chosen])


def attend_by(model: Any, mask: Callable[..., Any]) -> None:
    """Give every layer this mask."""
    for block in model.blocks:
        block.mixer.attend = Partial(attention, mask_mod=mask)


def caches_of(model: Any, make: Callable[[Any], Any]) -> list[Any]:
    """Make a cache for every layer."""
    return [make(block.mixer) for block in model.blocks]


def bits_per_byte(losses: Tensor, sizes: Tensor) -> float:
    """Return the bits for a byte, of nats and bytes ``[B, L]`` of the same ids."""
    return float(losses.double().sum() / math.log(2) / sizes.sum())


def bytes_held(case: Case, model: Any) -> float:
    """Return the bytes of one text, on average over the last half of its tokens.

    Tokens that wait to be quantized make them go up and down, so they are counted after
    every token, in a cache of one layer that is fed with zeros.
    """
    mixer = model.blocks[0].mixer
    cache, found = case.make(mixer), []
    token = torch.zeros(1, mixer.num_kv_heads, 1, mixer.head_dim)
    for t in range(LENGTH):
        key, value, _ = cache.update(token, token, torch.tensor([t]))
        if hasattr(cache, "around"):
            cache.around(attention)(token, key, value)
        found.append(cache.num_bytes())
    return len(model.blocks) * sum(found[LENGTH // 2 :]) / (LENGTH - LENGTH // 2)


def judged(model: Any, case: Case, ids: Tensor, sizes: Tensor) -> dict[str, Any]:
    """Measure one case; the last half of each text counts."""
    attend_by(model, case.mask)
    losses = streamed_losses(model, ids, caches_of(model, case.make), step=case.step)
    half = LENGTH // 2
    row = {
        "family": case.family,
        "name": case.name,
        "bytes": bytes_held(case, model),
        "bits": bits_per_byte(losses[:, half:], sizes[:, half:]),
    }
    attend_by(model, masks.causal)
    print(row, flush=True)
    return row


def long_texts(model: Any, ids: Tensor, sizes: Tensor) -> dict[str, list[float]]:
    """Bits per byte by the place in a long text, bucket by bucket."""

    def by_place(losses: Tensor) -> list[float]:
        parts = zip(losses.split(BUCKET, 1), sizes.split(BUCKET, 1), strict=True)
        return [bits_per_byte(a, b) for a, b in parts]

    lines = {}
    room = LONG_ROOM
    for name, make, step, mask in (
        ("all keys", lambda mixer: DenseCache(), 64, masks.causal),
        (
            f"window {room}",
            lambda mixer: WindowCache(room),
            64,
            masks.sliding_window(room),
        ),
        (
            f"sinks 4 + {room - 4}",
            lambda mixer: SinkCache(4, room - 4),
            1,
            masks.causal,
        ),
    ):
        attend_by(model, mask)
        losses = streamed_losses(model, ids, caches_of(model, make), step=step)
        lines[name] = by_place(losses)
        print(name, lines[name], flush=True)
    attend_by(model, masks.causal)
    parts = []
    for start in range(0, LONG, BUCKET):  # read anew: 128 tokens before each bucket
        first = max(0, start - BUCKET)
        piece = ids[:, first : start + BUCKET + 1]
        losses = streamed_losses(
            model, piece, caches_of(model, lambda mixer: DenseCache()), step=LONG
        )
        parts.append(losses[:, start - first :])
    lines["read anew every 128"] = by_place(torch.cat(parts, dim=1))
    return lines


class Watch(DenseCache):
    """A dense cache that keeps the attention weights of its only call."""

    def around(self, attend: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``attend``, with the weights kept on the way."""

        def watched(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Any:
            eye = torch.eye(key.shape[2]).expand(*value.shape[:2], -1, -1)
            out = attend(query, key, torch.cat([value, eye], dim=3), **options)
            self.weights, self.norms = out[..., value.shape[3] :], value.norm(dim=3)
            return out[..., : value.shape[3]]

        return watched


@torch.no_grad()
def first_token(model: Any, ids: Tensor) -> dict[str, Any]:
    """How much of the attention the first token gets, and how long its values are."""
    caches = caches_of(model, lambda mixer: Watch())
    model(ids, pos=torch.arange(ids.shape[1]), caches=caches)
    late = slice(ids.shape[1] // 2, None)
    mass = [c.weights[:, :, late, 0].mean(dim=(0, 2)).tolist() for c in caches]
    fourth = [c.weights[:, :, late, 4].mean(dim=(0, 2)).tolist() for c in caches]
    ratio = [float(c.norms[:, :, 0].mean() / c.norms[:, :, 1:].mean()) for c in caches]
    return {"first": mass, "fifth": fourth, "value_norm_ratio": ratio}


def main() -> None:
    """Measure all and write it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="house")
    parser.add_argument("--grouped", default=None)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer, _ = load_pretrained(options.model)
    model.requires_grad_(False)
    model.max_seq_len = None  # long texts are read on purpose
    size_of = torch.from_numpy(token_bytes(tokenizer))
    ids = held_out(tokenizer, LENGTH, ROWS)
    long_ids = held_out(tokenizer, LONG, LONG_ROWS)
    conditions = [
        float(torch.linalg.cond(block.mixer.k_proj.weight.double()))
        for block in model.blocks
    ]
    rows = [judged(model, case, ids, size_of[ids[:, 1:]]) for case in cases()]
    result = {
        "machine": platform.machine(),
        "device": "cpu",
        "dtype": "float32, caches bfloat16",
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "rows": len(ids),
        "length": LENGTH,
        "conditions": conditions,
        "first_token": first_token(model, ids[:4, :256]),
        "frontier": rows,
        "bucket": BUCKET,
        "long_rows": len(long_ids),
        "long": long_texts(model, long_ids, size_of[long_ids[:, 1:]]),
    }
    if options.grouped:
        grouped = load_pretrained(options.grouped).model.requires_grad_(False)
        name = f"{grouped.blocks[0].mixer.num_kv_heads} key heads"
        case = Case("grouped", name, narrow(lambda mixer: DenseCache()), 64)
        rows.append(judged(grouped, case, ids, size_of[ids[:, 1:]]))
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
