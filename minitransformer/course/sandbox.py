"""Run a submission in a process of its own, and speak with it.

With bubblewrap (Linux) the process sees no network, no files but Python's and the
package's, no other process, and has no user's rights. Elsewhere it is a plain process
with limits: that keeps accidents away, not malice. :func:`sandboxed` says which it is.
"""

import builtins
import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from minitransformer.course import worker

PACKAGE = Path(__file__).resolve().parents[1]
LONGEST_ANSWER = 64 << 20
MEMORY = 4096  # megabytes
SLOW = "in a loop without end or by too slow a way"
START = 60  # seconds for Python, and for the imports of a cell that is given


class SubmissionGoneError(Exception):
    """The submission's process has ended, or was ended because it took too long."""


class SubmissionError(Exception):
    """The submission has raised an exception of a type of its own."""


@cache
def bubblewrap() -> str | None:
    """Return the path of a bubblewrap that works here, None if there is none."""
    program = shutil.which("bwrap")
    if program is None:
        return None
    command = [
        program,
        "--unshare-all",
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "true",
    ]
    return (
        program
        if subprocess.run(command, capture_output=True).returncode == 0
        else None
    )


def sandboxed() -> str:
    """Say in one sentence what keeps submissions in."""
    if bubblewrap():
        return "Submissions run in a sandbox (bubblewrap): no network, no files."
    return (
        "No bubblewrap here: submissions run as plain processes with limits. They "
        "cannot change marks by patching, but they could read and write your files. "
        "Grade only people you trust, or use Linux with bubblewrap."
    )


def _command(seconds: int, *, confined: bool) -> list[str]:
    python = [sys.executable, "-I", "-B"]
    limits = [str(seconds), str(MEMORY)]
    if not confined:
        return [*python, worker.__file__, *limits]
    program = bubblewrap()
    assert program is not None
    command = [program, "--unshare-all", "--die-with-parent", "--new-session"]
    command += ["--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"]
    command += [
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
        "--chdir",
        "/tmp",
    ]
    for path in ("/usr", "/lib", "/lib64", "/bin", "/etc/alternatives"):
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            command += ["--ro-bind", path, path]
    for path in (sys.base_prefix, sys.prefix, str(PACKAGE)):
        command += ["--ro-bind", path, path]
    return [*command, *python, worker.__file__, *limits]


class Submission:
    """A running submission.

    Args:
        seconds: how long one request may take; the process may compute ten times as
            long in all.
        confined: in bubblewrap, which must be there; by default where it is there.
    """

    def __init__(self, seconds: float = 10, confined: bool | None = None) -> None:
        """Start the process."""
        self.seconds = seconds
        confined = bubblewrap() is not None if confined is None else confined
        self._process = subprocess.Popen(
            _command(int(10 * seconds) + 10, confined=confined),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": "/tmp",
                "OMP_NUM_THREADS": "1",
                "MPLBACKEND": "agg",
            },
        )
        self._rest = b""
        self._chunks: queue.Queue[bytes] = queue.Queue(maxsize=16)
        threading.Thread(target=self._read, daemon=True).start()
        self.run("pass", START)

    def close(self) -> None:
        """End the process and all that it has started."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                if sys.platform == "win32":
                    self._process.kill()
                else:
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _read(self) -> None:
        """Pass on what the process writes, and an empty chunk at its end."""
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while chunk := os.read(pipe.fileno(), 1 << 16):
                with contextlib.suppress(queue.Full):
                    self._chunks.put(chunk, timeout=10 * self.seconds)
        with contextlib.suppress(queue.Full):
            self._chunks.put(b"", timeout=10 * self.seconds)

    def run(self, source: str, seconds: float | None = None) -> None:
        """Run one cell; ``seconds`` if it may take another time than all else."""
        self._request(seconds or self.seconds, do="exec", source=source)

    def get(self, name: str, handle: int = 0) -> Any:
        """Return the value of a name, or of an attribute of a handle."""
        return self._request(self.seconds, do="get", name=name, handle=handle)

    def call(
        self, handle: int, positional: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        """Call a handle."""
        arguments = worker.encode((positional, named), self._handle_of)
        return self._request(
            self.seconds, do="call", handle=handle, arguments=arguments
        )

    @staticmethod
    def _handle_of(value: Any) -> int:
        if isinstance(value, Proxy):
            return object.__getattribute__(value, "_handle")
        raise TypeError(f"a {type(value).__name__} cannot be sent to a submission")

    def _request(self, seconds: float, **request: Any) -> Any:
        process = self._process
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except (OSError, ValueError):  # a broken pipe, or one that is closed
            self._gone("its process has ended")
        try:
            answer = json.loads(self._line(time.monotonic() + seconds))
            if "error" not in answer:
                return worker.decode(answer["value"], lambda h: Proxy(self, h))
            kind, text, line = answer["error"], answer["message"], answer["line"]
        except (ValueError, KeyError, TypeError, RecursionError):
            self._gone("it answered in a way that cannot be read")
        where = f" (line {line} of your cell)" if isinstance(line, int) else ""
        known = getattr(builtins, str(kind), None)
        if isinstance(known, type) and issubclass(known, Exception):
            try:
                error = known(f"{text}{where}")
            except TypeError:
                error = SubmissionError(f"{kind}: {text}{where}")
            raise error
        raise SubmissionError(f"{kind}: {text}{where}")

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._rest:
            try:
                chunk = self._chunks.get(
                    timeout=max(deadline - time.monotonic(), 0.001)
                )
            except queue.Empty:
                self._gone(f"it took longer than {self.seconds:g} s, {SLOW}")
            if not chunk:
                self._gone("its process has ended")
            self._rest += chunk
            if len(self._rest) > LONGEST_ANSWER:
                self._gone("its answer is too long")
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _gone(self, why: str) -> NoReturn:
        self.close()
        raise SubmissionGoneError(why)


class Proxy:
    """A value that stays in the submission's process, to call or to look into."""

    def __init__(self, submission: Submission, handle: int) -> None:
        """Stand for a handle."""
        self._submission = submission
        self._handle = handle

    def __call__(self, *positional: Any, **named: Any) -> Any:
        """Call it there."""
        return self._submission.call(self._handle, positional, named)

    def __getattr__(self, name: str) -> Any:
        """Get an attribute there."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self._submission.get(name, self._handle)

    def __bool__(self) -> bool:
        """Refuse: truth would be the submission's word."""
        raise TypeError("a plain value is needed here, not an object of your own type")
