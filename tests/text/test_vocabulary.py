"""Tokens to numbers and back."""

import pickle
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torte.data import TfmdLists
from torte.text import (
    SPECIAL_TOKENS,
    Numericalize,
    TensorText,
    Tokenizer,
    WhitespaceTokenizer,
    make_vocab,
)


def test_a_vocabulary_is_special_tokens_then_the_commonest_to_a_multiple_of_eight() -> None:
    count = Counter({"the": 9, "a": 7, "rare": 2, "xxbos": 99, "cat": 3})
    vocab = make_vocab(count)
    assert vocab == [*SPECIAL_TOKENS, "the", "a", "cat", *["xxfake"] * 4]
    assert make_vocab(count, max_vocab=11) == [*SPECIAL_TOKENS, "the", "a", *["xxfake"] * 5]
    assert make_vocab(count, min_freq=1, special_toks=["<u>"])[:3] == ["<u>", "xxbos", "the"]


def test_numbers_of_tokens_and_back_without_padding() -> None:
    numericalize = Numericalize(["xxunk", "xxpad", "a", "b"])
    numbers = numericalize(["b", "a", "zzz"])
    assert isinstance(numbers, TensorText)
    assert numbers.tolist() == [3, 2, 0]
    padded = torch.cat([numbers, torch.tensor([1, 1])]).as_subclass(TensorText)
    assert list(numericalize.decode(padded)) == ["b", "a", "xxunk"]


def test_without_an_unknown_token_a_stranger_is_named() -> None:
    with pytest.raises(KeyError, match=r"neither \['c'\] nor 'xxunk'"):
        Numericalize(["a", "b"])(["a", "c"])


def test_a_vocabulary_is_needed() -> None:
    with pytest.raises(RuntimeError, match="has no vocabulary"):
        Numericalize()(["a"])
    texts = TfmdLists(["a hat"], [Tokenizer(WhitespaceTokenizer()), Numericalize()], do_setup=False)
    with pytest.raises(RuntimeError, match="has no vocabulary"):
        texts[0]


@given(st.lists(st.lists(st.sampled_from("abcdefg"), min_size=1), min_size=1))
def test_decode_returns_the_tokens_that_went_in(texts) -> None:
    numericalize = Numericalize(min_freq=1)
    numericalize.setup(texts)
    for tokens in texts:
        assert list(numericalize.decode(numericalize(tokens))) == tokens
    again = Numericalize()
    again.load_state(numericalize.state())
    assert again.vocab == numericalize.vocab


def test_a_pipeline_numbers_the_texts_of_its_corpus_as_step_by_step() -> None:
    texts = ["A red dress", "a RED red hat!", "", "the hat, the dress"]
    tokenizer, numericalize = Tokenizer(WhitespaceTokenizer()), Numericalize(min_freq=1)
    numbered = TfmdLists(texts, [tokenizer, numericalize])

    def step_by_step(text):
        return numericalize(Tokenizer(WhitespaceTokenizer())(text))

    travelled = pickle.loads(pickle.dumps(numbered))
    strangers = ["a new hat", "another"]
    for text in [*texts, *strangers]:
        for made in (numbered(text), travelled(text)):
            assert type(made) is TensorText
            assert torch.equal(made, step_by_step(text))
    numericalize.load_state({"vocab": ["xxunk", "xxpad", "hat", "red"]})
    assert torch.equal(numbered[1], step_by_step(texts[1]))
    assert numbered[1].tolist().count(3) == 2
