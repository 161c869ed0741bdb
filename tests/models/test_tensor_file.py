import json

import pytest
import torch
from safetensors.torch import save_file

from minitransformer.models.tensor_file import DTYPES, read_tensors


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=list(DTYPES))
def test_what_safetensors_writes_is_read_as_it_was(tmp_path, dtype):
    numbers = torch.arange(-3, 3).view(2, 3)
    tensors = {"odd": (numbers[:1] > 0).view(3), "all": numbers.to(dtype)}
    tensors |= {
        "none": torch.empty(0, 4, dtype=dtype),
        "one": torch.tensor(1).to(dtype),
    }
    save_file(tensors, tmp_path / "file", metadata={"about": "numbers"})
    read = read_tensors(tmp_path / "file")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def document(header, numbers=b"\0" * 8):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def entry(**change):
    return {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | change}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header needs"),
        (b"\xff" * 20, "header needs"),
        (document(entry())[:-1], "x ends at byte"),
        (document([1]), "no list of tensors"),
        (document({"x": {}}), "no list of tensors"),
        (document(entry(dtype="F3")), "F3"),
        (document(entry(shape=[3])), "takes 12 bytes"),
        (document(entry(shape=[-1, -2])), "takes 8 bytes"),
        (document(entry(data_offsets=[-8, 0])), "takes 8 bytes"),
        (document(entry(data_offsets=["a", "b"])), "no list of tensors"),
    ],
)
def test_a_file_that_is_cut_off_or_lies_is_refused(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_tensors(tmp_path / "file")
