"""The process in which a submission runs, and the language spoken with it.

The grader starts this file as a program of its own, in a sandbox where there is one. A
request is one line of JSON, and so is the answer:

- ``exec``: run a cell of the submission;
- ``get``: the value of a name, or an attribute of a handle;
- ``call``: call a handle with arguments.

Values travel as plain data, never as code: None, bool, int, float, str, bytes, lists,
tuples, sets, dictionaries, NumPy arrays and torch tensors. Everything else (functions,
classes, objects of the submission's own) stays where it is, and a number, its handle,
travels instead.
"""

import base64
import contextlib
import io
import itertools
import json
import linecache
import os
import sys
import traceback
from collections.abc import Callable
from types import CodeType
from typing import Any

CELL = "your cell"
MEGABYTE = 1 << 20
COLLECTIONS: dict[str, Any] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}


def encode(value: Any, handle: Callable[[Any], int]) -> Any:
    """Turn a value into JSON; ``handle`` gives the number of what cannot travel."""

    def tagged(tag: str, content: Any) -> dict[str, Any]:
        return {"t": tag, "v": content}

    def each(items: Any) -> list[Any]:
        return [encode(item, handle) for item in items]

    if value is None:
        return value
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    module = type(value).__module__.partition(".")[0]
    if module == "torch" and hasattr(value, "detach"):
        return tagged("tensor", encode(value.detach().cpu().numpy(), handle))
    if module == "numpy" and hasattr(value, "dtype") and not value.dtype.hasobject:
        import numpy

        file = io.BytesIO()
        numpy.save(file, numpy.asarray(value), allow_pickle=False)
        return tagged("array", base64.b64encode(file.getvalue()).decode())
    if isinstance(value, (bytes, bytearray)):
        return tagged("bytes", base64.b64encode(value).decode())
    for name, kind in COLLECTIONS.items():
        if isinstance(value, kind):
            return tagged(name, each(value))
    if isinstance(value, dict):
        return tagged("dict", [each(item) for item in value.items()])
    return tagged("handle", handle(value))


def decode(data: Any, resolve: Callable[[int], Any]) -> Any:
    """Turn JSON back into a value; ``resolve`` says what a handle stands for."""
    if not isinstance(data, dict):
        return data
    tag, content = data["t"], data["v"]
    if tag == "tensor":
        import torch

        return torch.from_numpy(decode(content, resolve).copy())
    if tag == "array":
        import numpy

        file = io.BytesIO(base64.b64decode(content))
        return numpy.load(file, allow_pickle=False)
    if tag == "bytes":
        return base64.b64decode(content)
    if tag == "dict":
        return {decode(k, resolve): decode(v, resolve) for k, v in content}
    if tag == "handle":
        return resolve(int(content))
    return COLLECTIONS[tag](decode(item, resolve) for item in content)


def limit(seconds: int, megabytes: int) -> None:
    """Limit what this process, and each one it starts, may use, where one can."""
    if sys.platform == "win32":
        return
    import resource

    for what, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_DATA, megabytes * MEGABYTE),
        (resource.RLIMIT_FSIZE, 64 * MEGABYTE),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))


def failure(error: BaseException) -> dict[str, Any]:
    """Describe what a cell of the submission has raised, and where."""
    if isinstance(error, SyntaxError) and str(error.filename).startswith(CELL):
        line = error.lineno
    else:
        frames = reversed(traceback.extract_tb(error.__traceback__))
        line = next((f.lineno for f in frames if f.filename.startswith(CELL)), None)
    try:
        text = str(error)[:2000]
    except Exception:
        text = ""
    return {"error": type(error).__name__, "message": text, "line": line}


def compiled(source: str, number: int) -> CodeType:
    """Compile a cell so that ``inspect.getsource`` finds it, which Triton asks."""
    name = f"{CELL} {number}"
    lines = [f"{line}\n" for line in source.split("\n")]
    linecache.cache[name] = (len(source), None, lines, name)
    return compile(source, name, "exec")


def serve() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests, sys.stdin = sys.stdin, open(os.devnull)  # noqa: SIM115
    names: dict[str, Any] = {"__name__": "__main__"}
    handles: dict[int, Any] = {}
    numbers = itertools.count(1)

    def keep(value: Any) -> int:
        handles[len(handles) + 1] = value
        return len(handles)

    def perform(request: dict[str, Any]) -> Any:
        if request["do"] == "exec":
            exec(compiled(request["source"], next(numbers)), names)
            return None
        if request["do"] == "get":
            if request["handle"]:
                return getattr(handles[request["handle"]], request["name"])
            if request["name"] not in names:
                raise NameError(f"{request['name']} is not defined")
            return names[request["name"]]
        positional, named = decode(request["arguments"], handles.__getitem__)
        return handles[request["handle"]](*positional, **named)

    for line in requests:
        try:
            answer = {"value": encode(perform(json.loads(line)), keep)}
        except BaseException as error:
            answer = failure(error)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    limit(int(sys.argv[1]), int(sys.argv[2]))
    serve()
