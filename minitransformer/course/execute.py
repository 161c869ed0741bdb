"""Run lessons from top to bottom and store their outputs.

The stored file is a function of its sources: no times, no widget states, streams in one
piece. Running a lesson twice leaves it byte for byte as it was, but for cells that are
tagged ``nbval-ignore-output`` because they print times.
"""

import argparse
import time
from pathlib import Path

from minitransformer.course.environment import ROOT


def lessons(root: Path = ROOT) -> list[Path]:
    """Return all lessons, in reading order."""
    paths = (root / "lessons").rglob("[0-9]*.ipynb")
    return sorted(
        (path for path in paths if ".ipynb_checkpoints" not in path.parts),
        key=lambda path: [int(part) for part in path.stem.split("_") if part.isdigit()],
    )


def execute(path: Path, *, store: bool = True, timeout: float = 120) -> None:
    """Run one notebook in a fresh kernel, in its own folder.

    Args:
        path: the notebook.
        store: write the outputs into the file.
        timeout: seconds that one cell may take.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell has failed; nothing is written.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata.pop("widgets", None)
    NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # the kernel's, not the lesson's
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    if store:
        nbformat.write(notebook, path)


def main(argv: list[str]) -> int:
    """Run the lessons that are named, or all; return 1 if one fails."""
    parser = argparse.ArgumentParser(
        prog="python3 -m minitransformer execute",
        description="Run lessons from top to bottom and store their outputs.",
    )
    parser.add_argument("lesson", nargs="*", help="for example 1_1 (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="change no file")
    options = parser.parse_args(argv)
    chosen = [
        path
        for path in lessons()
        if not options.lesson
        or any(f"{path.stem}_".startswith(f"{name}_") for name in options.lesson)
    ]
    if not chosen:
        print("There is no such lesson:", *options.lesson)
        return 2
    failed = 0
    for path in chosen:
        start = time.monotonic()
        print(f"{path.stem} ... ", end="", flush=True)
        try:
            execute(path, store=not options.dry_run)
        except Exception as error:
            if getattr(error, "ename", "") == "NeedsTriton":
                print(f"left out. {getattr(error, 'evalue', '')}")
                continue
            failed += 1
            print(f"failed\n{error}")
        else:
            print(f"{time.monotonic() - start:.1f} s")
    return 1 if failed else 0
