"""How much memory there is to test in, and how much a run of the tests takes.

Sizes are in bytes, a GB is a billion. Memory that processes share is counted for each
of them, so that what is said here is never too little.
"""

import threading
from collections.abc import Callable
from pathlib import Path

import psutil

GB = 10**9
WORKER = 4 * GB
LESSON = 3 * GB  # of one worker's memory: a lesson's kernel with its children
LIMITS = (  # of a container, in the two versions of Linux's control groups
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def to_be_had(limits: tuple[Path, ...] = LIMITS) -> int:
    """Return how much memory this machine, or this container, has for the tests."""
    sizes = [psutil.virtual_memory().total]
    for path in limits:
        if path.is_file() and (text := path.read_text().strip()).isdigit():
            sizes.append(int(text))
    return min(sizes)


def workers(cores: int, size: int) -> int:
    """Return how many workers fit into memory, at least 1 and one a core at most."""
    return max(1, min(cores, size // WORKER))


def allowed(count: int) -> int:
    """Return what so many workers may take in all."""
    return count * WORKER


def children() -> int:
    """Return what the processes hold that this one has started."""
    return sum(map(_held, psutil.Process().children(recursive=True)))


def everything() -> int:
    """Return what this process holds, with those that it has started."""
    return _held(psutil.Process()) + children()


def _held(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:  # it has just ended
        return 0


class Watch(threading.Thread):
    """Ask again and again how much is held, until it is stopped."""

    def __init__(self, held: Callable[[], int], every: float = 0.25) -> None:
        """Prepare to ask each ``every`` seconds."""
        super().__init__(daemon=True)
        self.held, self.every, self.peak = held, every, 0
        self._ended = threading.Event()

    def run(self) -> None:
        """Keep the greatest answer."""
        while not self._ended.wait(self.every):
            self.peak = max(self.peak, self.held())

    def stop(self) -> None:
        """Ask once more, then no more."""
        self._ended.set()
        self.join()
        self.peak = max(self.peak, self.held())

    def __enter__(self) -> "Watch":
        """Begin to ask."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop."""
        self.stop()
