"""Presets beside their twins of ``transformers`` and a model of plain torch modules.

Run ``python tests/benchmarks/bench_models.py``, on a GPU with ``--device cuda``. One
step is forward, loss and backward of the same weights on the same text, in float32 on
the CPU (one thread) and under bfloat16 autocast on a GPU. All variants run in turns,
the best of several rounds, on the CPU by the time of the process; before, all must give
the same scores. Nothing is timed while the tests of the layers and models fail.
"""

import argparse
import platform
import time

import torch
import torch.nn.functional as F
from timing import best_of, refuse_while_red
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from minitransformer.attention.sdpa import sdpa
from minitransformer.models.convert import to_hugging_face
from minitransformer.models.presets import causal, gpt2, llama

VOCAB, DIM, LAYERS, HEADS, LENGTH = 8192, 256, 7, 8, 512
HIDDEN = {"gpt2": 4 * DIM, "llama": 688}
SIZES = {"vocab_size": VOCAB, "dim": DIM, "num_layers": LAYERS, "num_heads": HEADS}


class PlainBlock(nn.Module):
    """A block as nanoGPT has it: one projection for queries, keys and values."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        bias = kind == "gpt2"
        norm = nn.LayerNorm if bias else lambda dim: nn.RMSNorm(dim, eps=1e-6)
        self.norms = nn.ModuleList([norm(DIM), norm(DIM)])
        self.qkv = nn.Linear(DIM, 3 * DIM, bias=bias)
        self.out = nn.Linear(DIM, DIM, bias=bias)
        self.up = nn.Linear(DIM, HIDDEN[kind], bias=bias)
        self.gate = None if bias else nn.Linear(DIM, HIDDEN[kind], bias=False)
        self.down = nn.Linear(HIDDEN[kind], DIM, bias=bias)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor] | None) -> Tensor:
        parts = self.qkv(self.norms[0](x)).split(DIM, dim=2)
        q, k, v = (p.unflatten(2, (HEADS, -1)).transpose(1, 2) for p in parts)
        if turns is not None:
            q, k = turned(q, *turns), turned(k, *turns)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(out.transpose(1, 2).flatten(2))
        y = self.norms[1](x)
        if self.gate is None:
            return x + self.down(F.gelu(self.up(y), approximate="tanh"))
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE in the half layout."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Plain(nn.Module):
    """A decoder of plain torch modules."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB, DIM)
        self.code = nn.Embedding(LENGTH, DIM) if kind == "gpt2" else None
        self.blocks = nn.ModuleList(PlainBlock(kind) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(DIM) if self.code else nn.RMSNorm(DIM, eps=1e-6)
        freqs = 1e4 ** (-torch.arange(0, DIM // HEADS, 2) / (DIM // HEADS))
        angles = torch.outer(torch.arange(LENGTH), freqs)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids: Tensor) -> Tensor:
        x, turns = self.embed(ids), (self.cos, self.sin)
        if self.code is not None:
            x, turns = x + self.code.weight[: ids.shape[1]], None
        for block in self.blocks:
            x = block(x, turns)
        return self.norm(x) @ self.embed.weight.T

    def take(self, state: dict[str, Tensor]) -> "Plain":
        """Copy the weights of ours."""
        names = {"mixer_norm": "norms.0", "mlp_norm": "norms.1", "mixer.o_proj": "out"}
        names |= {f"mlp.{x}_proj": x for x in ("up", "gate", "down")}
        own = dict(self.state_dict())
        for name, weight in state.items():
            for ours, plain in names.items():
                name = name.replace(ours, plain)
            if name in own:
                own[name] = weight
        for name in own:
            if ".qkv." in name:
                base = name.replace("qkv", "mixer.{}_proj")
                own[name] = torch.cat([state[base.format(x)] for x in "qkv"])
        self.load_state_dict(own)
        return self


def twins(kind: str) -> dict[str, nn.Module]:
    """Make all variants of one preset, with the same weights."""
    torch.manual_seed(0)
    preset, more = {
        "gpt2": (gpt2, {"max_seq_len": LENGTH}),
        "llama": (llama, {}),
    }[kind]
    ours = preset(**SIZES, **more, attend=causal)
    with_sdpa = preset(**SIZES, **more, attend=sdpa)
    state = ours.state_dict()
    with_sdpa.load_state_dict(state)
    theirs = their_twin(kind)
    theirs.load_state_dict(to_hugging_face(state, kind))
    plain = Plain(kind).take(state)
    return {"ours": ours, "sdpa": with_sdpa, "transformers": theirs, "plain": plain}


def their_twin(kind: str) -> nn.Module:
    """Make the model of ``transformers``, without dropout."""
    common = {"vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 0}
    common |= {"use_cache": False, "tie_word_embeddings": True}
    if kind == "gpt2":
        sizes = {"n_embd": DIM, "n_layer": LAYERS, "n_head": HEADS}
        off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        config = GPT2Config(n_positions=LENGTH, **sizes, **off, **common)
        return GPT2LMHeadModel(config)
    sizes = {"hidden_size": DIM, "num_hidden_layers": LAYERS}
    sizes |= {"num_attention_heads": HEADS, "intermediate_size": HIDDEN[kind]}
    return LlamaForCausalLM(LlamaConfig(**sizes, **common))


def scores(model: nn.Module, ids: Tensor) -> Tensor:
    """Return the scores, which ``transformers`` wraps."""
    out = model(ids)
    return out if isinstance(out, Tensor) else out.logits


def compare(
    kind: str, device: str, batch: int, rounds: int, compiled: bool = False
) -> None:
    """Time one preset, all variants in turns."""
    text = torch.randint(0, VOCAB, (batch, LENGTH + 1), device=device)
    ids, targets = text[:, :-1], text[:, 1:].flatten()
    models = {name: model.to(device) for name, model in twins(kind).items()}
    with torch.no_grad():
        wanted = scores(models["ours"], ids[:1])
        for model in models.values():
            torch.testing.assert_close(
                scores(model, ids[:1]), wanted, rtol=0, atol=1e-3
            )

    def step(model: nn.Module) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            logits = scores(model, ids)
        F.cross_entropy(logits.flatten(0, 1).float(), targets).backward()
        model.zero_grad(set_to_none=True)
        if device == "cuda":
            torch.cuda.synchronize()

    runs = [lambda model=model: step(model) for model in models.values()]
    best_of(1, *runs)
    clock = time.process_time if device == "cpu" else time.perf_counter
    times = dict(zip(models, best_of(rounds, *runs, clock=clock), strict=True))
    speeds = {name: batch * LENGTH / t for name, t in times.items()}
    print(f"{kind}: " + ", ".join(f"{n} {s:,.0f} tokens/s" for n, s in speeds.items()))
    for name in ("ours", "sdpa"):
        ratios = [f"{speeds[name] / speeds[x]:.2f} x {x}" for x in list(speeds)[2:]]
        print(f"  {name}: {', '.join(ratios)} (wanted: 1)")


def main() -> None:
    """Check, then measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="compile all variants")
    chosen = parser.parse_args()
    refuse_while_red("layers", "models")
    torch.set_num_threads(1)
    where = platform.machine() if chosen.device == "cpu" else "GPU"
    where += ", compiled" if chosen.compile else ""
    print(f"torch {torch.__version__}, {where}, {chosen.batch} x {LENGTH} ids a step")
    for kind in ("gpt2", "llama"):
        compare(kind, chosen.device, chosen.batch, chosen.rounds, chosen.compile)


if __name__ == "__main__":
    main()
