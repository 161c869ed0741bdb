"""Kernels compile for a GPU that is not there, and say what they take."""

import json
import os
import subprocess

import pytest

pytest.importorskip("triton")

import triton
import triton.language as tl

from minitransformer.kernels import (
    add,
    cross_entropy,
    matmul,
    norm,
    rotary,
    softmax,
)
from minitransformer.kernels import (
    resources as module,
)
from minitransformer.kernels.resources import Build, resources

HALF, FLOAT, WHOLE = "*fp16:16", "*fp32:16", "i32:16"
ROWS = {"x_stride": WHOLE, "rows": "i32", "columns": WHOLE}
NORM = {"x_ptr": HALF, "weight_ptr": HALF, "mean_ptr": FLOAT, "scale_ptr": FLOAT}
BUILDS = {
    "add": Build(
        add._add_kernel,
        {"x_ptr": HALF, "y_ptr": HALF, "out_ptr": HALF, "size": WHOLE},
        {"BLOCK": add.BLOCK},
        warps=8,
    ),
    "softmax": Build(
        softmax._softmax_kernel,
        {"x_ptr": HALF, "out_ptr": HALF, **ROWS},
        {"ROWS": 1, "BLOCK": 32768, "STAGES": 1},
        warps=16,
    ),
    "norm forward": Build(
        norm._norm_kernel,
        {**NORM, "bias_ptr": HALF, "out_ptr": HALF, **ROWS, "eps": "fp32"},
        {"CENTER": True, "ROWS": 1, "BLOCK": 16384, "STAGES": 3},
        warps=16,
    ),
    "norm backward": Build(
        norm._norm_backward_kernel,
        {
            **{**NORM, "dy_ptr": HALF, "dx_ptr": HALF, **ROWS},
            **{"dweight_ptr": FLOAT, "dbias_ptr": FLOAT},
        },
        {"CENTER": True, "ROWS": 1, "BLOCK": 8192, "STAGES": 3},
        warps=8,
    ),
    "matmul": Build(
        matmul._matmul_kernel,
        {
            **dict.fromkeys(("a_ptr", "b_ptr", "out_ptr"), HALF),
            **dict.fromkeys(("m", "n", "k", "a_m", "b_k"), WHOLE),
        },
        {
            **{"a_k": 1, "b_n": 1, "M": 128, "N": 256, "K": 64, "GROUP": 8},
            **{"EVEN": True, "PRECISION": "ieee"},
        },
        warps=8,
    ),
    "rotary": Build(
        rotary._rotate_kernel,
        {
            **{"x_ptr": HALF, "pos_ptr": "*i64:16", "freqs_ptr": "*fp64:16"},
            **{"out_ptr": HALF, "heads": "i32", "sign": "fp32"},
            **dict.fromkeys(("x_b", "x_h", "x_l", "pos_b", "freqs_h"), WHOLE),
            **dict.fromkeys(("length", "size", "pairs"), WHOLE),
        },
        {
            **{"HALF": False, "HEADS": 4, "PLACES": 32, "PAIRS": 64},
            **{"REST": 0, "PER_HEAD": False},
        },
    ),
    "cross-entropy": Build(
        cross_entropy._cross_entropy_kernel,
        {
            **{"logits_ptr": HALF, "target_ptr": "*i64:16", "weight_ptr": FLOAT},
            **{"loss_ptr": FLOAT, "grad_ptr": HALF, "ignore": "i32"},
            **{"stride": WHOLE, "columns": WHOLE},
        },
        {"GRAD": True, "WHOLE": True, "BLOCK": 32768},
        warps=16,
    ),
}


@pytest.fixture(scope="module")
def taken():
    return dict(zip(BUILDS, resources(list(BUILDS.values())), strict=True))


def test_no_kernel_spills_a_register(taken):
    assert {name: each.spills for name, each in taken.items() if each.spills} == {}


def test_programs_fit_on_a_processor(taken):
    for name, each in taken.items():
        assert 8 <= each.registers * BUILDS[name].warps * 32 <= 65536
        assert each.shared <= 227 * 1024


def test_a_product_uses_the_matrix_unit_and_loads_ahead(taken):
    ptx = taken["matmul"].ptx
    assert "wgmma.mma_async" in ptx and "cp.async" in ptx
    # three stages of two tiles lie in shared memory
    assert taken["matmul"].shared >= 3 * (128 + 256) * 64 * 2


def test_the_assembly_is_that_of_the_gpu_asked_for(taken):
    assert ".target sm_90" in taken["add"].ptx
    (older,) = resources([BUILDS["add"]], capability=80)
    assert ".target sm_80" in older.ptx
    assert older.ptx_lines == older.ptx.count(";\n")


@triton.jit
def scale_kernel(x_ptr, by, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x_ptr + i, tl.load(x_ptr + i) * by)


def test_a_kernel_from_elsewhere_is_compiled_from_its_source():
    build = Build(scale_kernel, {"x_ptr": FLOAT, "by": "fp32"}, {"BLOCK": 128}, warps=1)
    (taken,) = resources([build])
    assert taken.ptx.count("mul.f32") == 4  # a thread has four numbers
    assert taken[:3] == (taken.registers, 0, 0)


def test_arguments_must_be_those_of_the_kernel():
    with pytest.raises(ValueError, match=r"name \['BLOCK', 'x_ptr'\], the kernel has"):
        resources([Build(scale_kernel, {"x_ptr": FLOAT}, {"BLOCK": 128})])


def test_what_does_not_compile_is_told_in_tritons_words():
    build = Build(scale_kernel, {"x_ptr": FLOAT, "by": "fp32"}, {"BLOCK": 100})
    with pytest.raises(RuntimeError, match="power of 2"):
        resources([build])


def test_it_leaves_the_environment_alone(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    seen = {}

    def run(command, **options):
        seen.update(options["env"])
        content = [{name: 0 for name in module.Resources._fields}]
        return subprocess.CompletedProcess(command, 0, json.dumps(content), "")

    monkeypatch.setattr(module.subprocess, "run", run)
    resources([BUILDS["add"]])
    assert "TRITON_INTERPRET" not in seen and os.environ["TRITON_INTERPRET"] == "1"
