"""Our training loop beside a plain one, and how much of a GPU it uses.

Run ``python tests/benchmarks/bench_training.py [--device cuda] [--out FILE]``. The
plain loop is written after nanoGPT, with modules and optimizer of torch alone: the same
model, the same data, in turns in the same run. Of the model-flops utilisation the flops
are those of PaLM (Chowdhery et al., arXiv 2204.02311, appendix B): 6 for each weight
that multiplies, and ``12 layers dim length`` for attention, for each token. The peak is
that of the datasheet of an H100 or H200: 990 TFLOP/s in bfloat16, without sparsity.
"""

import argparse
import json
import platform
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import torch
import torch.nn.functional as F
from timing import best_of, refuse_while_red
from torch import Tensor, nn

from minitransformer.attention.sdpa import sdpa
from minitransformer.models.decoder import Decoder
from minitransformer.models.presets import gpt2
from minitransformer.training.data import draw
from minitransformer.training.house import SIZES, build
from minitransformer.training.loop import Recipe, Run, make_loss, take_step
from minitransformer.training.optim import AdamW, decay_groups

PEAK = 990e12


class PlainBlock(nn.Module):
    """A Llama block as one writes it with torch alone."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        """Make its parts."""
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.RMSNorm(dim, eps=1e-6), nn.RMSNorm(dim, eps=1e-6)
        self.q, self.k, self.v, self.o = (
            nn.Linear(dim, dim, bias=False) for _ in range(4)
        )
        self.gate, self.up = (nn.Linear(dim, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Mix the tokens, then change each."""
        y = self.norm1(x)
        q, k, v = (
            layer(y).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        out = F.scaled_dot_product_attention(
            turned(q, cos, sin), turned(k, cos, sin), v, is_causal=True
        )
        x = x + self.o(out.transpose(1, 2).flatten(2))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate by tables that were computed beforehand."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


class Plain(nn.Module):
    """The house model with torch alone."""

    def __init__(self, sizes: dict, length: int) -> None:
        """Make it, with tables of positions."""
        super().__init__()
        dim, heads = sizes["dim"], sizes["num_heads"]
        self.embed = nn.Embedding(sizes["vocab_size"], dim)
        self.blocks = nn.ModuleList(
            PlainBlock(dim, heads, sizes["hidden"]) for _ in range(sizes["num_layers"])
        )
        self.norm = nn.RMSNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, sizes["vocab_size"], bias=False)
        self.head.weight = self.embed.weight
        size = dim // heads
        freqs = sizes["rope_base"] ** (-torch.arange(0, size, 2).double() / size)
        angle = torch.arange(length).double()[:, None] * freqs
        self.register_buffer("cos", angle.cos().float())
        self.register_buffer("sin", angle.sin().float())

    def forward(self, ids: Tensor) -> Tensor:
        """Score the next id at every position."""
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return self.head(self.norm(x))


def same_weights(plain: Plain, ours: Decoder) -> None:
    """Copy our weights into the plain model."""
    theirs = dict(plain.named_parameters())
    names = {"mixer.q_proj": "q", "mixer.k_proj": "k", "mixer.v_proj": "v"}
    names |= {"mixer.o_proj": "o", "mlp.gate_proj": "gate", "mlp.up_proj": "up"}
    names |= {"mlp.down_proj": "down", "mixer_norm": "norm1", "mlp_norm": "norm2"}
    with torch.no_grad():
        for name, weight in ours.named_parameters():
            for old, new in names.items():
                name = name.replace(f".{old}.", f".{new}.")
            theirs[name].copy_(weight)


def flops_of_a_token(model: Decoder, length: int) -> float:
    """Count as PaLM does: forward and backward."""
    matrices = [w for n, w in model.named_parameters() if not n.startswith("code.")]
    weights = sum(w.numel() for w in matrices if w.ndim == 2)  # a tied head once
    return 6 * weights + 12 * len(model.blocks) * model.embed.embedding_dim * length


def our_loop(
    model: nn.Module, get_batch: Callable, recipe: Recipe, compiled: bool
) -> Callable[[int], Tensor]:
    """Return what takes so many steps of our loop."""
    optimizer = AdamW(decay_groups(model, recipe.decay), betas=recipe.betas)
    run = Run(model, optimizer, torch.Generator().manual_seed(0))
    loss_of = make_loss(model, recipe, compiled)

    def take(steps: int) -> Tensor:
        for _ in range(steps):
            loss, _, _ = take_step(run, loss_of, get_batch(run.generator), recipe)
        return loss

    return take


def plain_loop(
    model: nn.Module, get_batch: Callable, recipe: Recipe, compiled: bool
) -> Callable[[int], Tensor]:
    """Return what takes so many steps of a loop after nanoGPT."""
    device = next(model.parameters()).device.type
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2]},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=recipe.peak,
        betas=recipe.betas,
        weight_decay=recipe.decay,
        fused=True,
    )
    forward = torch.compile(model) if compiled else model
    generator = torch.Generator().manual_seed(0)

    def take(steps: int) -> Tensor:
        for _ in range(steps):
            ids, target = get_batch(generator)
            half = (
                torch.autocast(device, torch.bfloat16) if recipe.half else nullcontext()
            )
            with half:
                logits = forward(ids)
                loss = F.cross_entropy(
                    logits.view(-1, logits.shape[-1]), target.flatten()
                )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return take


def tokens_per_second(
    loops: list[Callable[[int], Tensor]],
    tokens: int,
    steps: int,
    rounds: int,
    cuda: bool,
) -> list[float]:
    """Time loops in turns, after a warm-up."""

    def timed(take: Callable[[int], Tensor]) -> Callable[[], None]:
        def run() -> None:
            take(steps)
            if cuda:
                torch.cuda.synchronize()

        return run

    for take in loops:
        timed(take)()
    times = best_of(rounds, *(timed(take) for take in loops))
    return [steps * tokens / seconds for seconds in times]


def main() -> None:
    """Check, then measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--gpt2-batch", type=int, default=48, help="windows of 1,024")
    parser.add_argument("--untested", action="store_true", help="do not test first")
    options = parser.parse_args()
    if not options.untested:
        refuse_while_red("training")
    cuda = options.device.startswith("cuda")
    torch.set_float32_matmul_precision("high")
    if not cuda:
        torch.set_num_threads(1)
    length, batch, steps, rounds = (512, 64, 30, 5) if cuda else (128, 4, 2, 5)
    recipe = Recipe(10_000, batch=batch, peak=1e-3, half=cuda)
    source = torch.randint(0, 8192, (1_000_000,)).to(options.device)
    ours = build(SIZES, device=options.device)
    plain = Plain(SIZES, length).to(options.device)
    same_weights(plain, ours)

    def get_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return draw(source, batch, length, generator)

    first = [
        float(loop(m, get_batch, recipe, False)(1))
        for loop, m in ((our_loop, ours), (plain_loop, plain))
    ]
    assert abs(first[0] - first[1]) < (1e-2 if cuda else 1e-4), first
    loops = [
        our_loop(ours, get_batch, recipe, cuda),
        plain_loop(plain, get_batch, recipe, cuda),
    ]
    speeds = tokens_per_second(loops, batch * length, steps, rounds, cuda)
    found = {
        "device": torch.cuda.get_device_name() if cuda else platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "house": {
            "batch": batch,
            "length": length,
            "compiled": cuda,
            "ours, tokens/s": speeds[0],
            "plain, tokens/s": speeds[1],
            "ratio": speeds[0] / speeds[1],
        },
    }
    if cuda:
        flops = flops_of_a_token(ours, length)
        found["house"] |= {"flops a token": flops, "MFU": speeds[0] * flops / PEAK}
        del ours, plain, loops
        torch.cuda.empty_cache()
        found["gpt2"] = gpt2_figures(options.gpt2_batch, options.device)
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def gpt2_figures(batch: int, device: str) -> dict:
    """Measure steps of a 124 million GPT-2 at length 1,024."""
    length = 1024
    model = gpt2(vocab_size=50304, attend=sdpa).to(device)
    recipe = Recipe(10_000, batch=batch, peak=1e-4, half=True)
    source = torch.randint(0, 50257, (1_000_000,)).to(device)

    def get_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return draw(source, batch, length, generator)

    take = our_loop(model, get_batch, recipe, True)
    (speed,) = tokens_per_second([take], batch * length, 10, 3, True)
    flops = flops_of_a_token(model, length)
    return {
        "batch": batch,
        "length": length,
        "parameters": sum(w.numel() for w in model.parameters()),
        "tokens/s": speed,
        "flops a token": flops,
        "MFU": speed * flops / PEAK,
        "peak memory, GB": torch.cuda.max_memory_allocated() / 1e9,
    }


if __name__ == "__main__":
    main()
