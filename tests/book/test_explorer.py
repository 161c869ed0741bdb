"""What the page on the heads of the house model says is what they do."""

import re

import pytest

from minitransformer.course.environment import ROOT

PAGE = (ROOT / "book" / "explorer.md").read_text(encoding="utf-8")
pytest.importorskip("sphinx", reason="the extra [book] is not installed")
EXTENSION = "explorer"


@pytest.fixture(scope="module")
def sentence():
    sentences = re.findall(r":::{house-(?:explorer|habits)} (.*)", PAGE)
    assert len(sentences) == 2
    assert len(set(sentences)) == 1
    return sentences[0]


def test_the_sentence_is_from_an_article_that_was_held_out(extension, sentence):
    assert any(sentence in text for text in extension.wikipedia().test)
    assert not any(sentence in text for text in extension.wikipedia().train)


def test_three_habits_stand_out_and_the_first_token_is_no_sink(extension):
    scores, evenly = extension.elsewhere()
    times = {name: float(scores[name].max() / evenly[name]) for name in scores}
    *strong, first = times.values()
    assert min(strong) > 3
    assert first < 2
    assert float(scores["the first token"].max()) < 0.1


def test_the_diagonal_head_is_in_the_first_layer(extension):
    scores, _ = extension.elsewhere()
    assert extension.best(scores["itself"])[0] == 0


def test_the_table_and_the_page_name_the_same_head(extension, sentence):
    scores, _ = extension.elsewhere()
    habit = "what followed the same token earlier"
    layer, head = extension.best(scores[habit])
    rows = extension.table(sentence).splitlines()
    assert len(rows) == 2 + len(extension.HABITS)
    assert f"| {habit} | layer {layer}, head {head} |" in "\n".join(rows)
    start = f'"start":{{"layer":{layer},"head":{head},"token":'
    assert start in extension.explorer(sentence).html


def test_a_later_of_looks_most_at_what_followed_an_earlier_one(extension, sentence):
    model, tokenizer, _ = extension.house()
    ids = tokenizer.encode(sentence).ids
    pieces = [tokenizer.decode([i]) for i in ids]
    weights = extension.read(model, extension.torch.tensor(ids))
    scores, _ = extension.elsewhere()
    head = weights[extension.best(scores["what followed the same token earlier"])]
    places = [i for i, piece in enumerate(pieces) if piece == " of"]
    most = [int(head[i].argmax()) for i in places[1:]]
    assert len(most) == 2
    assert all(pieces[j - 1 : j + 1] == [" of", " the"] for j in most)
    last = len(pieces) - 2
    assert pieces[last] == " Assembly"
    assert pieces[int(head[last].argmax()) - 1] != " Assembly"


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(code, {})
    assert "·mathematics" in (tmp_path / "heads.html").read_text(encoding="utf-8")
