import pytest

from minitransformer.training import __main__ as training


def test_a_job_gets_the_rest_of_the_line(monkeypatch):
    monkeypatch.setitem(training.JOBS, "house", lambda rest: len(rest))
    assert training.main(["house", "--out", "DIR"]) == 2


@pytest.mark.parametrize("arguments", [[], ["fly"]])
def test_an_unknown_job_prints_those_there_are(arguments, capsys):
    assert training.main(arguments) == 2
    assert "{prepare,house}" in capsys.readouterr().out


def test_a_job_says_what_it_takes(capsys):
    with pytest.raises(SystemExit) as end:
        training.main(["house", "--help"])
    assert end.value.code == 0
    assert "--compile" in capsys.readouterr().out
