"""Writing with a cache, beside a plain loop of torch modules with the same weights.

Run ``python tests/benchmarks/bench_generation.py``, on a GPU with ``--device cuda``,
and with ``--out FILE.json`` to keep the result. The model is the course's own size
(Llama, 7.6 million weights), in float32 on the CPU (one thread) and in bfloat16 on a
GPU. The plain loop is what one writes by hand: one projection for queries, keys and
values, a table of cosines, ``torch.cat`` for its cache, PyTorch's attention. Both must
write the same tokens (on the CPU) before they are timed, in turns, the best of several
rounds. Nothing is timed while the tests of generation and caches fail; on a machine
that lacks what they need, ``--untested`` leaves them out.
"""

import argparse
import json
import platform
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from timing import best_of, refuse_while_red
from torch import Tensor, nn

from minitransformer.generation.generate import generate
from minitransformer.models.decoder import Decoder
from minitransformer.models.presets import causal, llama

VOCAB, DIM, LAYERS, HEADS, HIDDEN = 8192, 256, 7, 8, 688
PROMPT = 64


class Plain(nn.Module):
    """The decoder as a plain torch module, with the weights of ours."""

    def __init__(self, model: Decoder, longest: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for block in model.blocks:
            a, m = block.mixer, block.mlp
            layer = nn.ModuleDict({"one": block.mixer_norm, "two": block.mlp_norm})
            layer["qkv"] = nn.Linear(DIM, 3 * DIM, bias=False)
            layer["up"] = nn.Linear(DIM, 2 * HIDDEN, bias=False)
            layer["out"], layer["down"] = a.o_proj, m.down_proj
            qkv = [a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]
            layer["qkv"].weight.data = torch.cat(qkv).data
            layer["up"].weight.data = torch.cat([m.gate_proj.weight, m.up_proj.weight])
            self.layers.append(layer)
        self.embed, self.norm = model.embed, model.norm
        freqs = 1e4 ** (-torch.arange(0, 32, 2, dtype=torch.float64) / 32)
        angles = torch.outer(torch.arange(longest), freqs)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids: Tensor, past: list, at: int) -> Tensor:
        x, end = self.embed(ids), at + ids.shape[1]
        cos, sin = self.cos[at:end], self.sin[at:end]
        for i, layer in enumerate(self.layers):
            qkv = layer["qkv"](layer["one"](x)).split(DIM, dim=2)
            q, k, v = (p.unflatten(2, (HEADS, -1)).transpose(1, 2) for p in qkv)
            q, k = turned(q, cos, sin), turned(k, cos, sin)
            if past[i] is not None:
                k = torch.cat([past[i][0], k], dim=2)
                v = torch.cat([past[i][1], v], dim=2)
            past[i] = (k, v)
            out = F.scaled_dot_product_attention(q, k, v, is_causal=at == 0)
            x = x + layer["out"](out.transpose(1, 2).flatten(2))
            gate, up = layer["up"](layer["two"](x)).chunk(2, dim=-1)
            x = x + layer["down"](F.silu(gate) * up)
        return self.norm(x[:, -1]) @ self.embed.weight.T


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn by angles whose cosines and sines are known, in the half layout."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


@torch.no_grad()
def plain_loop(model: Plain, ids: Tensor, count: int) -> Tensor:
    """Write greedily, as one writes it by hand."""
    past: list = [None] * LAYERS
    new, at = [], 0
    for _ in range(count):
        best = model(ids, past, at).argmax(dim=-1, keepdim=True)
        at, ids = at + ids.shape[1], best
        new.append(best)
    return torch.cat(new, dim=1)


def our_loop(model: Decoder, ids: Tensor, count: int) -> Tensor:
    """Write greedily with the package."""
    new = generate(model, ids, max_new_tokens=count, num_layers=LAYERS)
    return torch.stack(list(new), dim=1)


@torch.no_grad()
def without_cache(model: Decoder, ids: Tensor, count: int) -> Tensor:
    """Write greedily and read the whole text for every token."""
    start = ids.shape[1]
    for _ in range(count):
        ids = torch.cat([ids, model(ids)[:, -1:].argmax(dim=-1)], dim=1)
    return ids[:, start:]


def compare(device: str, batch: int, count: int, rounds: int) -> dict:
    """Time one batch size, all loops in turns; return tokens in a second."""
    kind = torch.float32 if device == "cpu" else torch.bfloat16
    torch.manual_seed(0)
    model = llama().to(device, kind).eval()
    by_core = llama(attend=causal).to(device, kind).eval()
    by_core.load_state_dict(model.state_dict())
    plain = Plain(model, PROMPT + count).to(device, kind).eval()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, VOCAB, (batch, PROMPT), generator=generator).to(device)

    def run(loop: Callable[..., Tensor], which: nn.Module) -> Callable[[], Tensor]:
        def timed() -> Tensor:
            new = loop(which, ids, count)
            if device == "cuda":
                torch.cuda.synchronize()
            return new

        return timed

    loops = {
        "ours": run(our_loop, model),
        "ours, by attention.core": run(our_loop, by_core),
        "plain": run(plain_loop, plain),
        "without cache": run(without_cache, model),
    }
    texts = {name: loop() for name, loop in loops.items()}
    if device == "cpu":
        assert all(torch.equal(text, texts["plain"]) for text in texts.values())
    best = best_of(rounds, *loops.values())
    speeds = {
        name: round(batch * count / t, 1) for name, t in zip(loops, best, strict=True)
    }
    print(f"batch {batch}, {PROMPT} + {count} tokens: ", end="")
    print(", ".join(f"{name} {speed:,.0f} tokens/s" for name, speed in speeds.items()))
    for name in ("ours", "ours, by attention.core"):
        print(f"  {name}: {speeds[name] / speeds['plain']:.2f} times as fast as plain")
    return {"batch": batch, "prompt": PROMPT, "new": count, "tokens_per_s": speeds}


def main() -> None:
    """Check, then measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--untested", action="store_true", help="skip the tests")
    chosen = parser.parse_args()
    if not chosen.untested:
        refuse_while_red("generation", "caches")
    torch.set_num_threads(1)
    on_gpu = chosen.device != "cpu"
    device = torch.cuda.get_device_name() if on_gpu else platform.machine()
    print(f"torch {torch.__version__}, {device}")
    rows = [compare(chosen.device, b, chosen.new, chosen.rounds) for b in (1, 32)]
    about = {"date": str(date.today()), "torch": torch.__version__, "device": device}
    if chosen.out:
        chosen.out.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
