"""Checkpoints that a crash cannot spoil.

A checkpoint is one safetensors file: tensors by name, and what is not a tensor as JSON
in its header, with a digest of both. It is written beside its place and then moved
there::

    write NAME.part  ->  fsync  ->  rename to NAME  ->  fsync the folder

A rename happens or does not. So whenever the process is killed, ``NAME`` is either the
whole file or not there, and the checkpoint before it still is: it is removed only when
a newer one is safe.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

try:
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors
    from safetensors.torch import save as save_tensors
except ImportError as error:
    raise ImportError(
        "checkpoints are written by the package safetensors: "
        "pip install 'minitransformer[course]'"
    ) from error

SUFFIX, PART = ".safetensors", ".part"


class Checkpoint(NamedTuple):
    """What was saved.

    Attributes:
        tensors: by name, on the CPU.
        about: what JSON can hold.
    """

    tensors: dict[str, Tensor]
    about: dict[str, Any]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that at any moment there is the old one, or all of the new."""
    part = path.with_name(path.name + PART)
    with open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    if os.name == "posix":  # make the new name itself last
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def save(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write one checkpoint.

    Args:
        path: where; its folder is made.
        tensors: by name, on any device.
        about: what JSON can hold.
    """
    here = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
    text = json.dumps(about)
    header = {"about": text, "digest": _digest(here, text)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save_tensors(here, header))


def load(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged; the message says how.
    """
    content = path.read_bytes()
    try:
        tensors = load_tensors(content)
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])["__metadata__"]
        text, digest = header["about"], header["digest"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"checkpoint {path.name} is damaged: {error}") from error
    if _digest(tensors, text) != digest:
        raise ValueError(f"checkpoint {path.name} is damaged: its digest differs")
    return Checkpoint(tensors, json.loads(text))


def place(folder: Path, step: int) -> Path:
    """Return where the checkpoint after so many steps belongs."""
    return folder / f"step-{step:08d}{SUFFIX}"


def found(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, oldest first."""
    return sorted(folder.glob(f"step-*{SUFFIX}"))


def save_step(
    folder: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    about: Mapping[str, Any],
    *,
    keep: int = 2,
) -> Path:
    """Write the checkpoint of a step; then remove all but the last ``keep``."""
    path = place(folder, step)
    save(path, tensors, about)
    older = [each for each in found(folder) if each <= path]
    for old in older[: max(len(older) - keep, 0)]:
        old.unlink()
    for part in folder.glob(f"step-*{PART}"):  # what an earlier kill left behind
        part.unlink()
    return path


def load_latest(folder: Path) -> Checkpoint | None:
    """Read the newest checkpoint of a folder, or return None if it holds none.

    Raises:
        ValueError: it is damaged. It cannot have been our writing, so it is not passed
            over in silence; the message names the one before it, if that is whole.
    """
    paths = found(folder)
    if not paths:
        return None
    try:
        return load(paths[-1])
    except ValueError as error:
        for path in reversed(paths[:-1]):
            try:
                load(path)
            except ValueError:
                continue
            raise ValueError(
                f"{error}; {path.name} before it is whole: to go on from there, "
                f"move {paths[-1].name} away"
            ) from error
        raise ValueError(f"{error}; there is no whole one before it") from error


def check_same(saved: Mapping[str, Any], now: Mapping[str, Any], what: str) -> None:
    """Refuse to go on with other settings than those of the checkpoint.

    Args:
        saved: settings by name, as they were.
        now: settings by name, as they are.
        what: what they are settings of, for the message.

    Raises:
        ValueError: one differs; the message names it and both values.
    """
    for name in sorted(saved.keys() | now.keys()):
        was, is_now = saved.get(name), now.get(name)
        if was != is_now:
            raise ValueError(
                f"{what} has {name} {is_now!r}, the checkpoint was made with {was!r}"
            )


def check_fits(saved: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Refuse tensors whose names or shapes are not those wanted.

    Raises:
        ValueError: the message names the first that does not fit.
    """
    for name in sorted(saved.keys() | wanted.keys()):
        if name not in saved:
            raise ValueError(f"the checkpoint has no {name}")
        if name not in wanted:
            raise ValueError(f"the checkpoint has {name}, which nothing asks for")
        was, is_now = tuple(saved[name].shape), tuple(wanted[name].shape)
        if was != is_now:
            raise ValueError(f"the checkpoint has {name} {was}, needs {is_now}")


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    sums = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        x = tensors[name]
        sums.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
        sums.update(x.reshape(-1).view(torch.uint8).numpy().data)
    return sums.hexdigest()
