"""A kernel says what it cannot run, before it is launched."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.kernels import launch


def here(*shape, dtype=torch.float32):
    device = "cpu" if launch.INTERPRETED else "cuda"
    return torch.zeros(shape, dtype=dtype, device=device)


def test_good_inputs_pass():
    launch.check_inputs(x=here(3, 4), y=here(4))


def test_no_axis_and_an_axis_of_one_number_pass_whatever_their_stride():
    launch.check_inputs(x=here(), y=here(3, 2)[:, ::2])


def test_a_cpu_tensor_to_a_compiled_kernel_is_refused(monkeypatch):
    monkeypatch.setattr(launch, "INTERPRETED", False)
    with pytest.raises(ValueError, match="x is on cpu, a compiled kernel needs"):
        launch.check_inputs(x=torch.zeros(3))


def test_types_must_agree():
    with pytest.raises(ValueError, match=r"y has torch.float16, x has torch.float32"):
        launch.check_inputs(x=here(3), y=here(3, dtype=torch.float16))


def test_a_type_the_kernel_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"x has torch.int64, needs one of float16"):
        launch.check_inputs(x=here(3, dtype=torch.int64))


def test_a_strided_last_axis_is_refused():
    with pytest.raises(ValueError, match=r"x has stride 4 in its last axis, needs 1"):
        launch.check_inputs(x=here(3, 4).T)


def test_devices_must_agree():
    with pytest.raises(ValueError, match="y is on meta, x on"):
        launch.check_inputs(x=here(3), y=torch.zeros(3, device="meta"))


def test_a_kernel_without_a_backward_pass_refuses_to_lose_a_gradient():
    x = here(3).requires_grad_()
    with pytest.raises(ValueError, match="x needs a gradient, it has none"):
        launch.check_forward_only("it", x=x)
    with torch.no_grad():
        launch.check_forward_only("it", x=x)


def test_nothing_is_refused_where_no_program_would_run():
    with pytest.raises(ValueError, match=r"x has shape \(0, 4\), needs numbers"):
        launch.check_forward_only("it", x=here(0, 4))
