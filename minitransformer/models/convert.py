"""Weights of Hugging Face's GPT-2 and Llama, and back: the same numbers, other names.

Most weights are only renamed. GPT-2 keeps three projections in one matrix and its
matrices transposed, ``x W`` instead of ``x W^T``::

    c_attn.weight [dim, 3 dim]  =  [q_proj^T | k_proj^T | v_proj^T]

Source: the models ``gpt2`` and ``llama`` of the package ``transformers``.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from minitransformer.models.decoder import Decoder
from minitransformer.models.pretrained import build, fill_weights

LLAMA = {
    "model.embed_tokens.weight": "embed.weight",
    "model.layers.#.input_layernorm.weight": "blocks.#.mixer_norm.weight",
    "model.layers.#.self_attn.q_proj.weight": "blocks.#.mixer.q_proj.weight",
    "model.layers.#.self_attn.k_proj.weight": "blocks.#.mixer.k_proj.weight",
    "model.layers.#.self_attn.v_proj.weight": "blocks.#.mixer.v_proj.weight",
    "model.layers.#.self_attn.o_proj.weight": "blocks.#.mixer.o_proj.weight",
    "model.layers.#.post_attention_layernorm.weight": "blocks.#.mlp_norm.weight",
    "model.layers.#.mlp.gate_proj.weight": "blocks.#.mlp.gate_proj.weight",
    "model.layers.#.mlp.up_proj.weight": "blocks.#.mlp.up_proj.weight",
    "model.layers.#.mlp.down_proj.weight": "blocks.#.mlp.down_proj.weight",
    "model.norm.weight": "norm.weight",
    "lm_head.weight": "head.weight",
}
"""Names of Llama -> ours; # is the number of a layer."""

GPT2 = {
    "transformer.wte.weight": "embed.weight",
    "transformer.wpe.weight": "code.weight",
    "transformer.h.#.ln_1.weight": "blocks.#.mixer_norm.weight",
    "transformer.h.#.ln_1.bias": "blocks.#.mixer_norm.bias",
    "transformer.h.#.attn.c_attn.weight": "blocks.#.mixer.?_proj.weight",
    "transformer.h.#.attn.c_attn.bias": "blocks.#.mixer.?_proj.bias",
    "transformer.h.#.attn.c_proj.weight": "blocks.#.mixer.o_proj.weight",
    "transformer.h.#.attn.c_proj.bias": "blocks.#.mixer.o_proj.bias",
    "transformer.h.#.ln_2.weight": "blocks.#.mlp_norm.weight",
    "transformer.h.#.ln_2.bias": "blocks.#.mlp_norm.bias",
    "transformer.h.#.mlp.c_fc.weight": "blocks.#.mlp.up_proj.weight",
    "transformer.h.#.mlp.c_fc.bias": "blocks.#.mlp.up_proj.bias",
    "transformer.h.#.mlp.c_proj.weight": "blocks.#.mlp.down_proj.weight",
    "transformer.h.#.mlp.c_proj.bias": "blocks.#.mlp.down_proj.bias",
    "transformer.ln_f.weight": "norm.weight",
    "transformer.ln_f.bias": "norm.bias",
    "lm_head.weight": "head.weight",
}
"""Names of GPT-2 -> ours; # is the number of a layer, ? stands for q, k and v."""

LAYOUTS = {"gpt2": GPT2, "llama": LLAMA}
TRANSPOSED = re.compile(r".*\.c_(attn|proj|fc)\.weight")
GPT = "transformer."
STORED_MASK = re.compile(r".*\.attn\.(masked_)?bias")

OPTIONS = {
    "gpt2": {
        "vocab_size": "vocab_size",
        "dim": "n_embd",
        "num_layers": "n_layer",
        "num_heads": "n_head",
        "hidden": "n_inner",
        "max_seq_len": "n_positions",
        "eps": "layer_norm_epsilon",
    },
    "llama": {
        "vocab_size": "vocab_size",
        "dim": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "num_kv_heads": "num_key_value_heads",
        "hidden": "intermediate_size",
        "max_seq_len": "max_position_embeddings",
        "eps": "rms_norm_eps",
        "tied": "tie_word_embeddings",
    },
}
"""Preset -> our options -> those of Hugging Face's ``config.json``."""

OPTIONAL = {"n_inner", "num_key_value_heads", "tie_word_embeddings"}
"""Settings without which the two packages agree on a default."""

ONLY: dict[str, dict[str, tuple[Any, ...]]] = {
    "gpt2": {
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
        "tie_word_embeddings": (True,),
    },
    "llama": {
        "hidden_act": ("silu",),
        "attention_bias": (False,),
        "mlp_bias": (False,),
    },
}
"""Preset -> settings of Hugging Face -> the values that the preset stands for."""


def config_of(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Translate Hugging Face's ``config.json`` into ours.

    Args:
        theirs: what the file holds, or ``model.config.to_dict()``.

    Returns:
        ``{"preset": name, "options": {...}}``.

    Raises:
        ValueError: it is another kind of model, or has a setting that our preset has
            not, such as stretched RoPE.
    """
    kind = theirs.get("model_type")
    if kind not in LAYOUTS:
        raise ValueError(f"model_type is {kind!r}, needs one of {', '.join(LAYOUTS)}")
    for name, known in ONLY[kind].items():
        if theirs.get(name, known[0]) not in known:
            raise ValueError(f"{name} is {theirs[name]!r}, needs {known[0]!r}")
    options = {
        ours: theirs[name] for ours, name in OPTIONS[kind].items() if name in theirs
    }
    for name in OPTIONS[kind].values():
        if name not in theirs and name not in OPTIONAL:
            raise ValueError(f"config lacks {name}")
    if kind == "llama":
        options["rope_base"] = _rope_base(theirs)
        head_dim, dim = theirs.get("head_dim"), theirs["hidden_size"]
        if head_dim not in (None, dim // theirs["num_attention_heads"]):
            raise ValueError(f"head_dim is {head_dim}, needs hidden_size / heads")
        options.setdefault("tied", False)
    return {"preset": kind, "options": options}


def _rope_base(theirs: Mapping[str, Any]) -> float:
    rope = theirs.get("rope_parameters") or theirs.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise ValueError(f"rope_type is {kind!r}, needs 'default'")
    return rope.get("rope_theta", theirs.get("rope_theta", 1e4))


def from_hugging_face(state: Mapping[str, Tensor], preset: str) -> dict[str, Tensor]:
    """Give the weights of a Hugging Face model our names.

    Args:
        state: its ``state_dict``, or what its file holds. Names of GPT-2 may lack
            their ``transformer.``, and the masks that old files store are left out.
        preset: "gpt2" or "llama".

    Returns:
        Our names -> copies of the weights.

    Raises:
        ValueError: a weight is missing or unknown, or cannot be cut in three.
    """
    if preset == "gpt2":
        state = {
            name if name.startswith(("transformer.", "lm_head.")) else f"{GPT}{name}": x
            for name, x in state.items()
            if not STORED_MASK.fullmatch(name)
        }
    pairs = _pairs(preset, state, list(_layout(preset)))
    _refuse_others(state, list(pairs), preset)
    ours: dict[str, Tensor] = {}
    for theirs, names in pairs.items():
        if theirs not in state:
            continue
        rows = state[theirs].detach()
        rows = rows.t() if TRANSPOSED.fullmatch(theirs) else rows
        if len(rows) % len(names):
            raise ValueError(f"{theirs} has {len(rows)}, needs a multiple of 3")
        cuts = rows.split(len(rows) // len(names))
        copies = [cut.clone(memory_format=torch.contiguous_format) for cut in cuts]
        ours |= dict(zip(names, copies, strict=True))
    return ours


def to_hugging_face(state: Mapping[str, Tensor], preset: str) -> dict[str, Tensor]:
    """Give our weights the names of Hugging Face: undo :func:`from_hugging_face`.

    Args:
        state: the ``state_dict`` of a decoder that the preset has made.
        preset: "gpt2" or "llama".

    Returns:
        Names of Hugging Face -> copies of the weights.

    Raises:
        ValueError: a weight is missing or unknown.
    """
    layout = [ours.replace("?", "q") for ours in _layout(preset).values()]
    pairs = _pairs(preset, state, layout)
    _refuse_others(state, [x for names in pairs.values() for x in names], preset)
    theirs = {}
    for name, ours in pairs.items():
        if ours[0] in state:
            rows = torch.cat([state[x].detach() for x in ours])
            rows = rows.t().contiguous() if TRANSPOSED.fullmatch(name) else rows
            theirs[name] = rows
    return theirs


def _layout(preset: str) -> dict[str, str]:
    if preset not in LAYOUTS:
        raise ValueError(f"preset is {preset!r}, needs one of {', '.join(LAYOUTS)}")
    return LAYOUTS[preset]


def _pairs(
    preset: str, state: Iterable[str], known: Sequence[str]
) -> dict[str, list[str]]:
    """Return all their names -> ours, for as many layers as ``state`` has."""
    layers = 0
    for name in state:
        number = re.search(r"\.(\d+)\.", name)
        if number and re.sub(r"\.\d+\.", ".#.", name, count=1) in known:
            layers = max(layers, int(number[1]) + 1)
    pairs = {}
    for theirs, ours in _layout(preset).items():
        for i in range(layers) if "#" in theirs else (0,):
            names = [ours.replace("?", x) for x in ("qkv" if "?" in ours else "q")]
            numbered = [x.replace("#", str(i)) for x in names]
            pairs[theirs.replace("#", str(i))] = numbered
    return pairs


def _refuse_others(state: Iterable[str], wanted: Sequence[str], preset: str) -> None:
    """Refuse missing and unknown names; a tied head may be missing."""
    have, need = set(state), set(wanted)
    missing = sorted(need - have - {"lm_head.weight", "head.weight"})
    for problem, some in (("lacks", missing), ("has unknown", sorted(have - need))):
        if some:
            few = ", ".join(some[:3]) + (", ..." if len(some) > 3 else "")
            raise ValueError(f"state {problem} weights of {preset}: {few}")


def decoder_from(
    theirs: Mapping[str, Any],
    state: Mapping[str, Tensor],
    *,
    attend: Callable[..., Any] | None = None,
) -> Decoder:
    """Make a decoder of a Hugging Face model.

    Args:
        theirs: its configuration, see :func:`config_of`.
        state: its weights, see :func:`from_hugging_face`.
        attend: another causal ``attend`` function than that of the preset.

    Raises:
        ValueError: the model is of another kind, or the weights do not fit.
    """
    config = config_of(theirs)
    more = {} if attend is None else {"attend": attend}
    with torch.device("meta"):
        model = build(config, **more)
    fill_weights(model, from_hugging_face(state, config["preset"]), "state")
    return model.eval()
