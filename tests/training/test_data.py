import numpy as np
import pytest
import torch

from minitransformer.tokenization.bpe import BPE
from minitransformer.training import data
from minitransformer.training.data import MARK
from minitransformer.training.tasks import IGNORE


@pytest.fixture(scope="module")
def tokenizer():
    text = "the cat sat on the mat é " * 5
    return BPE.train_from_iterator([text], vocab_size=280, special_tokens=[MARK])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_mark_stands_before_every_text_and_parts_are_where_they_are_said_to_be(
    tokenizer,
):
    parts = {"one": ["the cat", "é"], "two": ["the mat"]}
    corpus = data.encode(parts, tokenizer)
    mark = tokenizer.token_to_id(MARK)
    assert corpus.ids.dtype == np.uint16
    assert (corpus.ids == mark).sum() == 3
    for name, texts in parts.items():
        start, end = corpus.parts[name]
        assert corpus.ids[start] == mark
        assert tokenizer.decode(corpus.ids[start:end].tolist()) == "".join(texts)


def test_bytes_of_tokens_add_up_to_the_text(tokenizer):
    text = "the cat sat é"
    corpus = data.encode({"one": [text]}, tokenizer)
    assert corpus.token_bytes[corpus.ids].sum() == len(text.encode())
    assert corpus.token_bytes[tokenizer.token_to_id(MARK)] == 0


def test_a_tokenizer_without_a_mark_is_refused():
    plain = BPE.train_from_iterator(["abc"], vocab_size=257)
    with pytest.raises(ValueError, match="has no token <"):
        data.encode({"one": ["abc"]}, plain)


def test_targets_are_the_ids_that_follow():
    ids, target = data.draw(torch.arange(30), 200, 4, generator())
    assert torch.equal(target, ids + 1)
    assert (ids.min(), target.max()) == (0, 29)  # every start is drawn
    assert ids.shape == (200, 4)


def test_a_generator_draws_again_what_it_drew():
    first, again, other = (
        data.draw(torch.arange(99), 8, 5, generator(seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_window_leaves_its_part_and_weights_are_kept():
    ids = torch.cat([torch.zeros(24), torch.ones(14)]).long()
    spans = [(0, 24), (24, 38)]
    drawn, target = data.draw(ids, 4000, 4, generator(), spans=spans, weights=[1, 4])
    assert torch.equal(drawn, target)
    share = float(drawn[:, 0].double().mean())
    wanted = 10 * 4 / (20 + 10 * 4)  # 20 starts of weight 1, 10 of weight 4
    assert share == pytest.approx(wanted, abs=4 * (wanted * (1 - wanted) / 4000) ** 0.5)


def test_a_part_without_room_is_refused():
    with pytest.raises(ValueError, match="length is 30, but a part has 30"):
        data.draw(torch.arange(30), 1, 30, generator())


@pytest.mark.parametrize("size", [2, 8, 9, 10, 11, 30])
def test_side_by_side_every_id_but_the_first_is_asked_once(size):
    ids = torch.arange(100, 100 + size)
    seen = []
    for inputs, target in data.consecutive(ids, 2, 4):
        asked = target != IGNORE
        assert inputs.shape == target.shape
        assert torch.equal(target[asked], inputs[asked] + 1)
        seen += target[asked].tolist()
    assert seen == list(range(101, 100 + size))


def test_one_id_cannot_be_asked():
    with pytest.raises(ValueError, match="ids has 1, needs at least 2"):
        next(data.consecutive(torch.arange(1), 1, 4))


def test_texts_are_read_by_name(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.txt").write_text("é", encoding="utf-8")
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "no.md").write_text("not this")
    assert data.read_texts(tmp_path) == {"a": "first", "sub/b": "é"}
    with pytest.raises(ValueError, match=r"holds no .txt"):
        data.read_texts(tmp_path / "nowhere")


def test_articles_are_split_whole():
    parts = data.wikipedia()
    assert [len(part) for part in parts] == [84, 11, 11]
    titles = [{text.split("\n")[0] for text in part} for part in parts]
    assert not titles[0] & (titles[1] | titles[2])
