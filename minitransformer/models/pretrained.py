"""Weights in a folder, and a model from it.

A folder holds what a model is made of, each file readable without this package::

    model.safetensors   the weights, by the names of ``state_dict``
    config.json         {"preset": "llama", "options": {"dim": 256, ...}}
    tokenizer.json      the tokenizer, as the package ``tokenizers`` writes it
    README.md           the card: what the model was trained on, and what it cannot do

``config.json`` names a function of :mod:`minitransformer.models.presets` and its
options. A tied head is stored once, as the embedding. The tokenizer and the card may be
missing; weights that do not fit the configuration are refused, by name.
"""

import inspect
import json
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from minitransformer.models import presets
from minitransformer.models.decoder import Decoder
from minitransformer.models.tensor_file import read_tensors
from minitransformer.tokenization.base import Tokenizer

PRESETS: dict[str, Callable[..., Decoder]] = {
    "gpt2": presets.gpt2,
    "llama": presets.llama,
    "tiny": presets.tiny,
}
TOKENIZERS = {"BPE": "bpe", "Unigram": "unigram", "WordPiece": "wordpiece"}
HERE = Path(__file__).parent


class Pretrained(NamedTuple):
    """What a folder holds.

    Attributes:
        model: in evaluation mode.
        tokenizer: None if there is no file of it.
        card: the text of the model card, empty if there is none.
    """

    model: Decoder
    tokenizer: Tokenizer | None
    card: str


def build(config: Mapping[str, Any], **more: Any) -> Decoder:
    """Make the decoder that a configuration describes, with new weights.

    Args:
        config: ``{"preset": name, "options": {...}}``.
        more: further options, such as ``attend``.

    Raises:
        ValueError: the preset, or one of the options, is unknown or unfit.
    """
    name, options = config.get("preset"), config.get("options", {})
    if name not in PRESETS:
        raise ValueError(f"preset is {name!r}, needs one of {', '.join(PRESETS)}")
    if not isinstance(options, Mapping):
        raise ValueError(f"options is {options!r}, needs names and numbers")
    known = inspect.signature(PRESETS["llama" if name == "tiny" else name]).parameters
    for option in options:
        if option not in known:
            raise ValueError(f"options has {option!r}, {name} has {', '.join(known)}")
    return PRESETS[name](**options, **more)


def save_pretrained(
    model: nn.Module | Mapping[str, Tensor],
    folder: str | os.PathLike[str],
    config: Mapping[str, Any],
    tokenizer: Tokenizer | None = None,
    *,
    card: str = "",
    dtype: torch.dtype | None = None,
) -> None:
    """Write a folder that :func:`load_pretrained` reads.

    Each file appears whole or not at all, the weights last.

    Args:
        model: a decoder, or its ``state_dict``.
        folder: made if it is not there.
        config: ``{"preset": name, "options": {...}}``, see :func:`build`.
        tokenizer: the tokenizer of its ids.
        card: the model card, in Markdown.
        dtype: what the weights are rounded to, such as ``torch.bfloat16``.

    Raises:
        ValueError: the weights do not fit the configuration, or the tokenizer has more
            ids than the model.
        ImportError: the package ``safetensors`` is missing.
    """
    save_file = _safetensors().save_file
    state = dict(model.state_dict() if isinstance(model, nn.Module) else model)
    with torch.device("meta"):
        wanted = build(config)
    refuse_misfit(wanted, state, "model")
    _refuse_unspoken(tokenizer, wanted)
    state = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in state.items()
        if name not in _tied(wanted)
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        tokenizer.save(folder / "tokenizer.json")
    text = json.dumps(dict(config), indent=1) + "\n"
    _write(folder / "config.json", lambda path: path.write_text(text, "utf-8"))
    if card:
        _write(folder / "README.md", lambda path: path.write_text(card, "utf-8"))
    _write(folder / "model.safetensors", lambda path: save_file(state, path))


def load_pretrained(
    name_or_folder: str | os.PathLike[str],
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    attend: Callable[..., Any] | None = None,
) -> Pretrained:
    """Read a model, its tokenizer and its card.

    Args:
        name_or_folder: a folder, or the name of a model that the package carries.
        dtype: of the weights, whatever they are stored as.
        device: where the model goes.
        attend: another causal ``attend`` function than that of the preset.

    Raises:
        FileNotFoundError: there is no such folder, or no weights in it.
        ValueError: a file is damaged, or the weights do not fit the configuration.
    """
    folder = _find(Path(name_or_folder))
    config = _read_config(folder / "config.json")
    path = folder / "model.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: there are no weights to load")
    try:
        state = read_tensors(path)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    with torch.device("meta"):
        try:
            model = build(config, **({} if attend is None else {"attend": attend}))
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{folder / 'config.json'}: {error}") from error
    weights = {name: tensor.to(device, dtype) for name, tensor in state.items()}
    fill_weights(model, weights, str(path))
    tokenizer = _read_tokenizer(folder / "tokenizer.json")
    _refuse_unspoken(tokenizer, model)
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    return Pretrained(model.eval(), tokenizer, text)


def fill_weights(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Make tensors the weights of a model, which may have been made without memory.

    Args:
        model: what they go into.
        state: all its weights by name; one that is tied may be missing.
        where: what an error calls ``state``.

    Raises:
        ValueError: a weight is missing, unexpected, of another shape, or unlike the one
            it is tied to.
    """
    refuse_misfit(model, state, where)
    weights = {name: nn.Parameter(tensor) for name, tensor in state.items()}
    weights |= {name: weights[source] for name, source in _tied(model).items()}
    model.load_state_dict(weights, assign=True)


def refuse_misfit(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Raise unless the weights fit, see :func:`fill_weights`."""
    wanted, tied = model.state_dict(), _tied(model)
    missing = [name for name in wanted if name not in state and name not in tied]
    unexpected = [name for name in state if name not in wanted]
    for problem, names in (("lacks", missing), ("has unexpected", unexpected)):
        if names:
            some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise ValueError(f"{where} {problem} weights: {some}")
    for name, tensor in wanted.items():
        if name in state and state[name].shape != tensor.shape:
            got, fit = tuple(state[name].shape), tuple(tensor.shape)
            raise ValueError(f"{where} has {name} {got}, its configuration wants {fit}")
    for name, source in tied.items():
        if name in state and not torch.equal(state[name], state[source]):
            raise ValueError(f"{where} has {name} unlike {source}, to which it is tied")


def _safetensors() -> Any:
    try:
        return import_module("safetensors.torch")
    except ImportError as error:
        raise ImportError(
            "weights are stored by the package safetensors: "
            "pip install 'minitransformer[course]'"
        ) from error


def _find(folder: Path) -> Path:
    for place in (folder, HERE / folder):
        if (place / "config.json").is_file():
            return place
    found = sorted(path.parent.name for path in HERE.glob("*/config.json"))
    shipped = ", ".join(found) or "none"
    raise FileNotFoundError(
        f"{folder} is no folder with a config.json, nor a model that the package "
        f"carries (there is {shipped})"
    )


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no JSON object")
    return config


def _read_tokenizer(path: Path) -> Tokenizer | None:
    if not path.is_file():
        return None
    try:
        kind = json.loads(path.read_text(encoding="utf-8"))["model"]["type"]
        module = import_module(f"minitransformer.tokenization.{TOKENIZERS[kind]}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no tokenizer file: {error!r}") from error
    return getattr(module, kind).from_file(path)


def _tied(model: nn.Module) -> dict[str, str]:
    """Return the names under which a weight appears again -> its first name."""
    first: dict[int, str] = {}
    named = model.named_parameters(remove_duplicate=False)
    names = {name: first.setdefault(id(weight), name) for name, weight in named}
    return {name: source for name, source in names.items() if name != source}


def _refuse_unspoken(tokenizer: Tokenizer | None, model: Decoder) -> None:
    size = model.embed.num_embeddings
    if tokenizer is not None and tokenizer.get_vocab_size() > size:
        got = tokenizer.get_vocab_size()
        raise ValueError(f"tokenizer has {got} ids, vocab_size is {size}")


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
