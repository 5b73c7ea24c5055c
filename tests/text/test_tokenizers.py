"""Tokenizers behind one interface, the same result for any number of processes."""

import json
import pickle

import pandas as pd
import pytest
import spacy
from torte.data import DataBlock, RandomSplitter
from torte.dispatch import describe, rebuild
from torte.text import (
    BaseTokenizer,
    HuggingFaceTokenizer,
    SentencePieceTokenizer,
    SpacyTokenizer,
    TextBlock,
    TextDataLoaders,
    Tokenizer,
    TokenizeWithRules,
    WhitespaceTokenizer,
    parallel_tokenize,
    tokenize1,
)

TEXTS = [
    "It isn't GOOD, it's great!!!!",
    "",
    "   ",
    "Straße und Übermut",
    "x\x00y \ud800",
    "日本語",
]


def test_spacy_gives_what_spacy_gives_on_the_ruled_text() -> None:
    ruled = "xxbos xxmaj it is n't xxup good , it 's great xxrep 4 !"
    assert tokenize1("It isn't GOOD, it's great!!!!", SpacyTokenizer()) == ruled.split()
    plain = spacy.blank("de").tokenizer
    text = "Das ist z.B. ein Test, oder?"
    assert list(SpacyTokenizer("de")([text])) == [[token.text for token in plain(text)]]


def test_special_tokens_of_ones_own_are_kept_whole() -> None:
    tokenizer = SpacyTokenizer(special_toks=["<mask>", "xxbos"])
    assert list(tokenizer(["a <mask> b"])) == [["a", "<mask>", "b"]]


def test_spacy_forgets_strings_when_there_are_too_many(monkeypatch) -> None:
    monkeypatch.setattr("torte.text.tokenizers.MOST_STRINGS", 1000)
    tokenizer = SpacyTokenizer()
    texts = [[f"word{n}x isn't {k}" for k in range(10)] for n in range(3000)]
    sizes = []
    for chunk in texts:
        expected = [[f"{part.split()[0]}", "is", "n't", part.split()[-1]] for part in chunk]
        assert list(tokenizer(chunk)) == expected
        sizes.append(len(tokenizer._strings))
    assert max(sizes) < min(sizes) + 1100


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(ValueError, match="no tokenizer for the language 'qq'"):
        SpacyTokenizer("qq")


@pytest.mark.parametrize("tokenizer", [SpacyTokenizer(), WhitespaceTokenizer(), BaseTokenizer()])
def test_tokenizers_come_back_from_pickle_and_json(tokenizer) -> None:
    texts = ["one two", "It's 3"]
    expected = [list(tokens) for tokens in tokenizer(texts)]
    for again in (
        pickle.loads(pickle.dumps(tokenizer)),
        rebuild(json.loads(json.dumps(describe(tokenizer)))),
    ):
        assert [list(tokens) for tokens in again(texts)] == expected


def test_processes_change_nothing() -> None:
    texts = [f"Text number {n} is NOT long" for n in range(1200)] + TEXTS[:4]
    alone = list(parallel_tokenize(texts, n_workers=0))
    assert list(parallel_tokenize(texts, n_workers=2)) == alone
    assert len(alone) == len(texts)


@pytest.mark.parametrize("text", TEXTS)
def test_odd_texts_give_tokens(text) -> None:
    tokens = tokenize1(text, SpacyTokenizer())
    assert tokens[0] == "xxbos"
    assert all(isinstance(token, str) and " " not in token for token in tokens)


def test_something_else_than_text_is_named_by_its_place() -> None:
    with pytest.raises(TypeError, match="text number 1 is nan, not a string"):
        list(parallel_tokenize(["a", float("nan")]))


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_sentencepiece_trains_and_keeps_special_tokens(tmp_path, model_type) -> None:
    texts = [f"the quick brown fox number {n} jumps over lazy dogs" for n in range(300)]
    tokenizer = SentencePieceTokenizer(vocab_sz=96, model_type=model_type, cache_dir=tmp_path)
    assert tokenizer.setup(texts)["sp_model"] == str(tmp_path / "spm.model")
    tokens = tokenize1("The quick fox", tokenizer)
    assert tokens[:2] == ["▁xxbos", "▁xxmaj"]
    assert "".join(tokens).replace("▁", " ").split() == ["xxbos", "xxmaj", "the", "quick", "fox"]
    again = SentencePieceTokenizer(sp_model=tmp_path / "spm.model")
    assert tokenize1("The quick fox", again) == tokens


def test_sentencepiece_without_a_model_says_what_to_do(tmp_path) -> None:
    with pytest.raises(RuntimeError, match=r"call setup\(texts\), or give sp_model"):
        list(SentencePieceTokenizer()(["a"]))
    with pytest.raises(FileNotFoundError, match="no SentencePiece model at"):
        SentencePieceTokenizer(sp_model=tmp_path / "none.model")


def test_a_hugging_face_tokenizer_serves_as_it_is() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, "?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    wrapped = HuggingFaceTokenizer(made)
    assert wrapped.vocab == ["a", "b", "?"]
    assert list(TokenizeWithRules(wrapped, rules=[], post_rules=[])(["b a c"])) == [["b", "a", "?"]]


def test_bare_tokenizers_classes_and_hugging_faces_own_are_taken() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, "?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    assert Tokenizer(made, rules=[])("b a c") == ["b", "a", "?"]
    assert Tokenizer(WhitespaceTokenizer)("b-a c") == ["xxbos", "b-a", "c"]
    for wrong in (Tokenizer(), "spacy", 5):
        with pytest.raises(TypeError, match=f"tok is {wrong!r}"):
            Tokenizer(wrong)


@pytest.mark.parametrize(
    "wrong", [str.split, lambda texts: texts, lambda text: text.split(), lambda texts: 5]
)
def test_what_is_called_with_one_text_is_told_from_a_tokenizer(wrong) -> None:
    with pytest.raises((TypeError, AttributeError)) as caught:
        Tokenizer(wrong)("a b")
    assert (
        "called with an iterable of texts and gives a list of tokens" in caught.value.__notes__[0]
    )


def words_by_dash(text: str) -> list[str]:
    return text.split("-")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (WhitespaceTokenizer(), ["xxbos", "a-b", "c"]),
        (WhitespaceTokenizer, ["xxbos", "a-b", "c"]),
        (SpacyTokenizer(), ["xxbos", "a", "-", "b", "c"]),
        (Tokenizer(WhitespaceTokenizer(), rules=[]), ["a-b", "c"]),
        (Tokenizer, ["xxbos", "a", "-", "b", "c"]),
        (words_by_dash, ["a", "b c"]),
    ],
    ids=["tokenizer", "its class", "spaCy", "step", "its class too", "function of one text"],
)
def test_a_block_takes_a_tokenizer_in_any_form(given, expected) -> None:
    block = DataBlock(TextBlock(given, min_freq=1), splitter=RandomSplitter(0.5))
    (numbers,) = block.datasets(["a-b c"] * 4).train[0]
    words = block.datasets(["a-b c"] * 4).vocab
    assert [words[n] for n in numbers.tolist()] == expected
    frame = pd.DataFrame({"text": ["a-b c"] * 8, "label": ["x", "y"] * 4})
    dls = TextDataLoaders.from_df(frame, text_col="text", label_col="label", bs=2, tok_tfm=given)
    assert len(dls.one_batch()[0]) == 2


def test_a_corpus_is_tokenized_once_and_found_again(tmp_path) -> None:
    class Counting(WhitespaceTokenizer):
        calls = 0

        def __call__(self, items):
            items = list(items)
            Counting.calls += len(items)
            return super().__call__(items)

    texts = ["a b c", "d e", ""]
    first = Tokenizer(Counting())
    first.setup(texts)
    assert Counting.calls == 3
    assert [list(first(text)) for text in texts] == [["xxbos", *text.split()] for text in texts]
    assert Counting.calls == 3
    assert list(first("new text")) == ["xxbos", "new", "text"]
    stored = Tokenizer(WhitespaceTokenizer(), cache_dir=tmp_path)
    stored.setup(texts)
    folders = list(tmp_path.iterdir())
    again = Tokenizer(WhitespaceTokenizer(), cache_dir=tmp_path)
    again.setup(texts)
    assert list(tmp_path.iterdir()) == folders
    assert [again(text) for text in texts] == [stored(text) for text in texts]
    other = Tokenizer(WhitespaceTokenizer(), rules=[], cache_dir=tmp_path)
    other.setup(texts)
    assert len(list(tmp_path.iterdir())) == 2
