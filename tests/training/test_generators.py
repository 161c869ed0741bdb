import pytest
import torch

from minitransformer.training import generators
from minitransformer.training.parallel import ONE, World


@pytest.fixture(autouse=True)
def unchanged():
    with torch.random.fork_rng():
        yield


def two_processes(windows, monkeypatch):
    """States of two processes, of which the second is seeded with 2."""
    second = {"torch": torch.Generator().manual_seed(2).get_state()}
    monkeypatch.setattr(generators, "gather", lambda own, place: [own, second])
    return generators.states(windows, World("ddp", 0, 2))


def drawn():
    return torch.rand(3).tolist()


def test_what_was_kept_is_drawn_again():
    windows = torch.Generator().manual_seed(5)
    torch.manual_seed(1)
    saved = generators.states(windows, ONE)
    wanted = drawn(), torch.rand(3, generator=windows).tolist()
    other = torch.Generator().manual_seed(6)
    torch.manual_seed(9)
    generators.restore(saved, other, 0)
    assert (drawn(), torch.rand(3, generator=other).tolist()) == wanted


def test_the_names_of_one_process_are_those_of_the_first_of_two(monkeypatch):
    windows = torch.Generator()
    alone = set(generators.states(windows, ONE)) - {"cuda"}
    both = set(two_processes(windows, monkeypatch)) - {"cuda"}
    assert alone == {"draw", "torch"}
    assert both == {"draw", "torch", "torch.1"}


@pytest.mark.parametrize("rank", [0, 1])
def test_each_process_gets_its_own_back(monkeypatch, rank):
    torch.manual_seed(1)
    saved = two_processes(torch.Generator(), monkeypatch)
    torch.manual_seed(9)
    generators.restore(saved, torch.Generator(), rank)
    got = drawn()
    torch.manual_seed([1, 2][rank])
    assert got == drawn()


def test_a_process_that_is_new_keeps_the_generator_it_began_with(monkeypatch):
    saved = two_processes(torch.Generator().manual_seed(5), monkeypatch)
    torch.manual_seed(1)
    generators.part(World("ddp", 2, 3))
    wanted = drawn()
    torch.manual_seed(1)
    generators.part(World("ddp", 2, 3))
    windows = torch.Generator()
    generators.restore(saved, windows, 2)
    assert drawn() == wanted
    assert torch.equal(windows.get_state(), saved["draw"])


def test_processes_part_and_the_first_goes_on_as_if_alone():
    firsts = []
    for rank in range(3):
        torch.manual_seed(1)
        generators.part(World("ddp", rank, 3))
        firsts.append(torch.rand(1).item())
    torch.manual_seed(1)
    assert firsts[0] == torch.rand(1).item()
    assert len(set(firsts)) == 3
