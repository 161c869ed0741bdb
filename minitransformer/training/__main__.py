"""``python -m minitransformer.training JOB ...``: prepare, house."""

import sys

from minitransformer.training import house, prepare

JOBS = {"prepare": prepare.main, "house": house.main}


def main(arguments: list[str] | None = None) -> int:
    """Run one job and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    name, *rest = given or ["nothing"]
    if name not in JOBS:
        print(f"usage: python -m minitransformer.training {{{','.join(JOBS)}}} ...")
        return 2
    return JOBS[name](rest)


if __name__ == "__main__":
    raise SystemExit(main())
