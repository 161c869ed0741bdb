import pytest

from minitransformer.tokenization import byte_level


def test_the_alphabet_is_that_of_the_tokenizers_package():
    from tokenizers import pre_tokenizers

    written = byte_level.written(byte_level.BYTES_IN_ORDER)
    assert list(written) == sorted(pre_tokenizers.ByteLevel.alphabet())


def test_a_space_is_written_as_gpt2_writes_it():
    assert byte_level.written(b" the\n") == "ĠtheĊ"


def test_chunks_are_counted_as_bytes_in_the_order_of_first_occurrence():
    counted = byte_level.count_chunks(["b a a", "é"], "gpt2")
    assert list(counted.items()) == [(b"b", 1), (b" a", 2), ("é".encode(), 1)]


def test_only_texts_are_counted():
    with pytest.raises(TypeError, match="iterator is one str"):
        byte_level.count_chunks("text", "gpt2")
    with pytest.raises(TypeError, match="a text is int, needs str"):
        byte_level.count_chunks([7], "gpt2")


def test_special_tokens_take_room_from_the_pieces():
    assert byte_level.room_for_pieces(300, ["<s>"]) == 299
    with pytest.raises(ValueError, match="vocab_size is 256, needs at least 257"):
        byte_level.room_for_pieces(256, ["<s>"])


def test_an_option_that_is_set_is_refused_by_its_full_name():
    byte_level.refuse({"dropout": None}, "model.", "dropout")
    with pytest.raises(ValueError, match=r"model\.dropout is 0\.1: not supported"):
        byte_level.refuse({"dropout": 0.1}, "model.", "dropout")


def test_a_document_of_another_model_is_refused():
    with pytest.raises(ValueError, match="model is not of type Unigram"):
        byte_level.read_document({"model": {"type": "BPE"}}, "Unigram")
