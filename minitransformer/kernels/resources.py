"""What the compiler makes of a kernel, on a machine without a GPU.

Triton compiles for a GPU that is not there: to PTX, the assembly language that all
NVIDIA GPUs share, and on to the machine code of one of them. From the machine code one
can read what limits how many programs run side by side:

- registers of a thread: a processor has 65,536, a program takes 32 of each warp's;
- shared memory of a program: a processor of an H100 or H200 has 227 KiB;
- spills: bytes of each thread that found no register and went to memory. None, please.

A process that has imported Triton for the interpreter cannot compile, so this runs in a
process of its own.
"""

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
HEADER = "import triton\nimport triton.language as tl\n\n"


class Build(NamedTuple):
    """A kernel to compile.

    Attributes:
        kernel: a function under ``@triton.jit``. One from a module may use what its
            module has; one from a notebook only ``triton`` and ``tl``.
        types: its arguments by name, as Triton writes types: ``*fp16`` is a pointer to
            float16, ``i32`` a whole number, ``*fp32:16`` and ``i32:16`` say that the
            address or number is a multiple of 16, as a launch finds out by itself.
        constants: its ``tl.constexpr`` arguments by name.
        warps: of 32 threads, for a program.
        stages: loads under way at once, in loops that feed products.
        registers: the most that a thread may take, or None.
    """

    kernel: Any
    types: Mapping[str, str]
    constants: Mapping[str, Any]
    warps: int = 4
    stages: int = 3
    registers: int | None = None


class Resources(NamedTuple):
    """What a compiled kernel takes: see the top of this page. Bytes and lines."""

    registers: int
    shared: int
    spills: int
    ptx_lines: int
    ptx: str


def resources(builds: Sequence[Build], *, capability: int = 90) -> list[Resources]:
    """Compile kernels and read off what they take.

    Args:
        builds: what to compile, all in one process, some seconds.
        capability: of the GPU: 80 is an A100, 90 an H100 or H200.

    Raises:
        ValueError: types and constants are not the kernel's arguments.
        RuntimeError: one does not compile; the message ends with Triton's own.
    """
    jobs = [_described(build) for build in builds]
    names = ("TRITON_INTERPRET", "TRITON_CACHE_DIR")
    outside = {name: x for name, x in os.environ.items() if name not in names}
    with tempfile.TemporaryDirectory() as folder:
        answer = subprocess.run(
            [sys.executable, "-m", "minitransformer.kernels.resources"],
            input=json.dumps({"jobs": jobs, "capability": capability}),
            env={**outside, "TRITON_CACHE_DIR": folder, "PYTHONPATH": str(ROOT)},
            cwd=folder,
            capture_output=True,
            text=True,
        )
    if answer.returncode:
        raise RuntimeError(f"a kernel does not compile: {answer.stderr[-2000:]}")
    return [Resources(**each) for each in json.loads(answer.stdout.splitlines()[-1])]


def _described(build: Build) -> dict[str, Any]:
    function = build.kernel.fn
    wanted = set(inspect.signature(function).parameters)
    given = {*build.types, *build.constants}
    if wanted != given:
        raise ValueError(
            f"types and constants name {sorted(given)}, the kernel has {sorted(wanted)}"
        )
    module = function.__module__
    at_home = module.startswith("minitransformer.")
    return {
        "name": function.__name__,
        "module": module if at_home else None,
        "source": None if at_home else HEADER + inspect.getsource(function),
        "types": dict(build.types),
        "constants": dict(build.constants),
        "options": {
            "num_warps": build.warps,
            "num_stages": build.stages,
            "maxnreg": build.registers,
        },
    }


def _compiled(job: dict[str, Any], capability: int, folder: Path) -> Resources:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    name = job["name"]
    if job["module"]:
        kernel = getattr(importlib.import_module(job["module"]), name)
    else:
        (folder / f"{name}_alone.py").write_text(job["source"], encoding="utf-8")
        kernel = getattr(importlib.import_module(f"{name}_alone"), name)
    types = {key: kind.partition(":")[0] for key, kind in job["types"].items()}
    order = list(inspect.signature(kernel.fn).parameters)
    signature = {key: types.get(key, "constexpr") for key in order}
    multiples = {
        (order.index(key),): [["tt.divisibility", int(kind.partition(":")[2])]]
        for key, kind in job["types"].items()
        if ":" in kind
    }
    source = ASTSource(kernel, signature, job["constants"], multiples)
    target = GPUTarget("cuda", capability, 32)
    built = triton.compile(source, target=target, options=job["options"])
    binary = folder / f"{name}.cubin"
    binary.write_bytes(built.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    report = subprocess.run(
        [tool, "--dump-resource-usage", binary], capture_output=True, text=True
    ).stdout
    took = {key: int(number) for key, number in re.findall(r"(\w+):(\d+)", report)}
    ptx = built.asm["ptx"]
    return Resources(
        registers=took["REG"],
        shared=built.metadata.shared,
        spills=took["STACK"] + took["LOCAL"],
        ptx_lines=len([line for line in ptx.splitlines() if line.endswith(";")]),
        ptx=ptx,
    )


def main() -> None:
    """Compile what standard input asks for, in JSON, and answer in JSON."""
    request, folder = json.load(sys.stdin), Path.cwd()
    sys.path.insert(0, str(folder))
    done = [_compiled(job, request["capability"], folder) for job in request["jobs"]]
    print(json.dumps([each._asdict() for each in done]))


if __name__ == "__main__":
    main()
