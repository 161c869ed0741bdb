import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from minitransformer.training import checkpoint

TENSORS = {
    "a": torch.arange(6.0).view(2, 3),
    "b": torch.tensor([1, 2], dtype=torch.uint8),
}


def save(folder, step, **about):
    return checkpoint.save_step(folder, step, TENSORS, {"step": step, **about})


def test_what_was_saved_comes_back(tmp_path):
    save(tmp_path, 7, rows=[{"loss": 0.1 + 0.2}])
    tensors, about = checkpoint.load_latest(tmp_path)
    assert about == {"step": 7, "rows": [{"loss": 0.1 + 0.2}]}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].dtype == tensor.dtype


def test_a_folder_without_any_has_none(tmp_path):
    assert checkpoint.load_latest(tmp_path) is None
    assert checkpoint.load_latest(tmp_path / "nowhere") is None


def test_the_last_two_are_kept_and_the_newest_is_read(tmp_path):
    for step in (9, 10, 100):
        save(tmp_path, step)
    assert [path.name for path in checkpoint.found(tmp_path)] == [
        "step-00000010.safetensors",
        "step-00000100.safetensors",
    ]
    assert checkpoint.load_latest(tmp_path).about["step"] == 100


@pytest.mark.parametrize("size", [0, 4, 8, 100, -1])
def test_a_truncated_one_is_an_error_that_names_the_one_before(tmp_path, size):
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    path.write_bytes(path.read_bytes()[:size])
    message = f"{path.name} is damaged: .*step-00000001.safetensors before it is whole"
    with pytest.raises(ValueError, match=message):
        checkpoint.load_latest(tmp_path)
    path.rename(tmp_path / "away")
    assert checkpoint.load_latest(tmp_path).about["step"] == 1


def test_a_flipped_bit_is_found(tmp_path):
    path = save(tmp_path, 1)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    message = "its digest differs; there is no whole one before it"
    with pytest.raises(ValueError, match=message):
        checkpoint.load_latest(tmp_path)


def test_a_weights_file_of_another_make_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = checkpoint.place(tmp_path, 1)
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="is damaged"):
        checkpoint.load_latest(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    checkpoint.write_whole(path, b"old")

    def full(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.write_whole(path, b"new")
    assert path.read_bytes() == b"old"


def test_until_the_rename_the_old_file_stands(tmp_path, monkeypatch):
    path = tmp_path / "file"
    checkpoint.write_whole(path, b"old")

    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write_whole(path, b"new")
    assert path.read_bytes() == b"old"


WRITER = """
import sys
from pathlib import Path
import torch
from minitransformer.training import checkpoint
print("ready", flush=True)
for step in range(1, 100_000):
    x = torch.full((200_000,), float(step))
    checkpoint.save_step(Path(sys.argv[1]), step, {"x": x}, {"step": step})
"""


def test_killed_in_the_middle_of_writing_nothing_is_lost(tmp_path):
    torn = 0
    for kill in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE
        )
        writer.stdout.readline()
        while not list(tmp_path.glob("*.part")):  # it is writing now
            time.sleep(0.0005)
        time.sleep(0.0007 * kill)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        torn += bool(list(tmp_path.glob("*.part")))
        saved = checkpoint.load_latest(tmp_path)
        if saved is not None:
            assert (saved.tensors["x"] == saved.about["step"]).all()
        for path in checkpoint.found(tmp_path):
            checkpoint.load(path)
            path.unlink()
    assert torn > 0  # some kill did hit a half-written file


def test_what_a_kill_left_behind_is_cleared_away(tmp_path):
    (tmp_path / "step-00000001.safetensors.part").write_bytes(b"half")
    save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002.safetensors"]


def test_other_settings_are_refused_by_name():
    checkpoint.check_same({"a": 1}, {"a": 1}, "the recipe")
    with pytest.raises(ValueError, match=r"the recipe has a 2, .* made with 1"):
        checkpoint.check_same({"a": 1}, {"a": 2}, "the recipe")
    with pytest.raises(ValueError, match=r"has b None, .* made with 3"):
        checkpoint.check_same({"b": 3}, {}, "the recipe")


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({}, "has no a"),
        ({"a": torch.ones(2), "z": torch.ones(1)}, "has z, which nothing asks for"),
        ({"a": torch.ones(3)}, r"has a \(3,\), needs \(2,\)"),
    ],
)
def test_another_model_is_refused_by_name(saved, message):
    with pytest.raises(ValueError, match=message):
        checkpoint.check_fits(saved, {"a": torch.ones(2)})
