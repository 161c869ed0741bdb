"""Any tensor becomes one whose tiles the copy engine can read."""

import pytest
import torch

pytest.importorskip("triton")

from minitransformer.kernels.descriptors import ALIGNMENT, aligned, descriptor, strides


def test_a_good_tensor_is_left_alone():
    x = torch.zeros(2, 3, 4, 16)
    assert aligned(x) is x


def test_a_transposed_one_is_good_too():
    x = torch.zeros(2, 4, 3, 16).transpose(1, 2)
    assert aligned(x) is x


@pytest.mark.parametrize(
    "x",
    [
        torch.arange(2 * 3 * 4 * 17.0).view(2, 3, 4, 17)[..., :16],  # rows of 68 bytes
        torch.arange(2 * 3 * 4 * 16.0 + 1)[1:].view(2, 3, 4, 16),  # begins at byte 4
        torch.arange(16.0).expand(2, 3, 4, 16),  # a stride of 0
        torch.arange(2 * 3 * 4 * 16.0).view(2, 3, 16, 4).mT,  # the last axis strided
    ],
    ids=["rows", "address", "expanded", "last axis"],
)
def test_another_is_copied(x):
    copy = aligned(x)
    assert torch.equal(copy, x)
    assert copy.data_ptr() % ALIGNMENT == 0
    steps = [4 * step for step in strides(copy)]
    assert steps[3] == 4 and all(s > 0 and s % ALIGNMENT == 0 for s in steps[:3])


def test_the_stride_of_an_axis_of_one_is_what_the_axes_after_it_take():
    x = torch.zeros(1, 4, 1, 16).as_strided((1, 4, 1, 16), (3, 16, 7, 1))
    assert aligned(x) is x
    assert strides(x) == [64, 16, 16, 1]


def test_a_descriptor_names_blocks_of_rows_and_columns():
    x = torch.zeros(2, 3, 40, 64)
    assert descriptor(x, 16).block_shape == [1, 1, 16, 64]
    assert descriptor(x, 16, 32).block_shape == [1, 1, 16, 32]
    assert descriptor(x, 16).shape == [2, 3, 40, 64]
