"""Dataclasses as JSON files that are written as a whole or not at all.

Numbers come back bit for bit: JSON spells a float with the digits that identify it.
"""

import json
import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any


def pack(value: Any) -> Any:
    """Turn nested dataclasses, tuples, dictionaries and plain values into JSON's kinds.

    Raises:
        ValueError: a value is of another kind, and would not come back as it is.
    """
    if is_dataclass(value) and not isinstance(value, type):
        content = {f.name: pack(getattr(value, f.name)) for f in fields(value)}
        return {"is": type(value).__name__} | content
    if isinstance(value, tuple):
        return [pack(each) for each in value]
    if isinstance(value, dict) and "is" not in value and all(map(_is_text, value)):
        return {name: pack(each) for name, each in value.items()}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise ValueError(f"{value!r} cannot be stored: needs numbers, texts and tuples")


def _is_text(name: Any) -> bool:
    return isinstance(name, str)


def unpack(data: Any, kinds: dict[str, type]) -> Any:
    """Turn back what :func:`pack` has made.

    Args:
        data: what JSON gives.
        kinds: name -> dataclass.
    """
    if isinstance(data, list):
        return tuple(unpack(each, kinds) for each in data)
    if not isinstance(data, dict):
        return data
    content = {name: unpack(each, kinds) for name, each in data.items() if name != "is"}
    return kinds[data["is"]](**content) if "is" in data else content


def save(value: Any, path: str | Path) -> None:
    """Write a dataclass into a file, which at any moment holds all of old or of new.

    Raises:
        ValueError: the value holds something that JSON cannot.
    """
    path = Path(path)
    text = json.dumps(pack(value))
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load(path: str | Path, kinds: dict[str, type]) -> Any:
    """Read a dataclass from a file.

    Raises:
        ValueError: the file holds something else.
    """
    path = Path(path)
    try:
        value = unpack(json.loads(path.read_text(encoding="utf-8")), kinds)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} holds no state: {error}") from error
    if type(value) not in kinds.values():
        raise ValueError(f"{path.name} holds no state")
    return value
