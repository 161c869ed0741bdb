import pytest
import torch

from minitransformer.training import tasks
from minitransformer.training.tasks import IGNORE, TASKS


def made(name, batch=40, length=64, seed=0):
    ids, target = TASKS[name](batch, length, torch.Generator().manual_seed(seed))
    return ids.tolist(), target.tolist()


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("length", [16, 64, 200])
def test_every_task_has_the_length_asked_and_its_answers_in_the_vocabulary(
    name, length
):
    ids, target = TASKS[name](3, length, torch.Generator().manual_seed(0))
    assert ids.shape == target.shape == (3, length)
    assert ids.min() >= 0
    assert ids.max() < tasks.VOCAB_SIZE
    asked = target[target != IGNORE]
    assert len(asked) > 0
    assert asked.min() >= 0
    assert asked.max() < tasks.VOCAB_SIZE


@pytest.mark.parametrize("name", TASKS)
def test_a_generator_makes_a_batch_again_and_another_one_another(name):
    assert made(name) == made(name)
    assert made(name) != made(name, seed=1)


def test_a_copy_is_the_first_half():
    for ids, target in zip(*made("copy"), strict=True):
        assert ids[32] == tasks.END
        assert target[32:] == ids[:32]
        assert ids[33:] == ids[:31]
        assert target[:32] == [IGNORE] * 32


def test_a_selective_copy_is_what_stands_among_blanks():
    for ids, target in zip(*made("selective copy"), strict=True):
        field = [i for i in ids[:56] if i != tasks.BLANK]
        assert len(field) == 8
        assert ids[56] == tasks.END
        assert target[56:] == field
        assert ids[57:] == field[:-1]


def test_counting_by_loop():
    for ids, target in zip(*made("counting", length=200), strict=True):
        count = 0
        for i, wanted in zip(ids, target, strict=True):
            count = {tasks.PASS: count, tasks.INC: count + 1, tasks.SET: 0}[i]
            assert wanted == min(count, 9)


def test_flip_flop_by_loop():
    for ids, target in zip(*made("flip-flop"), strict=True):
        memory = None
        assert ids[0] == tasks.WRITE
        assert ids[62] == tasks.READ
        for order, bit, asked, after in zip(
            ids[::2], ids[1::2], target[::2], target[1::2], strict=True
        ):
            assert bit in (0, 1)
            assert after == IGNORE
            if order == tasks.WRITE:
                memory = bit
            if order == tasks.READ:
                assert bit == asked == memory
            else:
                assert asked == IGNORE


def test_a_needle_stands_once_anywhere_and_is_asked_at_the_end():
    places = set()
    for ids, target in zip(*made("needle", batch=400), strict=True):
        assert ids.count(tasks.MARK) == 1
        place = ids.index(tasks.MARK)
        places.add(place)
        assert target[-1] == ids[place + 1] < tasks.SYMBOLS
        assert target[:-1] == [IGNORE] * 63
        assert ids[-1] == tasks.END
    assert min(places) == 0
    assert max(places) == 61


@pytest.mark.parametrize(
    ("name", "length", "least"),
    [("copy", 1, 2), ("selective copy", 15, 8), ("flip-flop", 3, 4), ("needle", 3, 4)],
)
def test_too_short_a_length_is_refused(name, length, least):
    with pytest.raises(ValueError, match=f"needs at least {least}"):
        TASKS[name](2, length, torch.Generator())
