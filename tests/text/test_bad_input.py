"""Texts that are odd, missing or unreadable: the right result, or one error that says where."""

import os
import warnings

import numpy as np
import pandas as pd
import pytest
import spacy
import torch
from torte.data import CategoryBlock, ColReader, DataBlock, ItemError, TfmdLists
from torte.learner import load_learner
from torte.text import (
    AWD_LSTM,
    Numericalize,
    SentencePieceTokenizer,
    SpacyTokenizer,
    TextBlock,
    TextDataLoaders,
    Tokenizer,
    WhitespaceTokenizer,
    language_model_learner,
    parallel_tokenize,
    text_classifier_learner,
    tokenize1,
    tokenize_df,
)

SMALL = {"emb_sz": 8, "n_hid": 8, "n_layers": 1}
WORDS = ["some", "words", "that", "make", "a", "text", "about", "a", "dress", "or", "a", "coat"]


def frame_of(odd: list[object], count: int = 40) -> pd.DataFrame:
    """Ordinary rows with odd texts among them."""
    texts: list[object] = [" ".join(WORDS[: 3 + n % 8]) for n in range(count)]
    for place, text in enumerate(odd):
        texts[3 + 2 * place] = text
    frame = pd.DataFrame({"label": ["a", "b"] * (count // 2)})
    return frame.assign(text=pd.Series(texts, dtype=object))


ODD = {
    "empty": "",
    "only spaces": "   ",
    "only white space": "\n\t \r\n\u00a0\u2003",
    "null bytes": "a\x00b \x00 c",
    "a lone surrogate": "half \ud83d of a pair \udc00",
    "right to left": "هذا فستان جميل جدا وأنا أحبه",
    "both directions": "abc שלום \u202edef\u202c ghi",
    "combining marks": "e\u0301" * 40,
    "emoji": "👩‍👩‍👧‍👦 👍🏽 ok",
    "a byte order mark": "\ufeffhello",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("tok", [SpacyTokenizer(), WhitespaceTokenizer()])
def test_odd_texts_go_through_tokens_numbers_batches_and_a_step(text, tok) -> None:
    tokens = tokenize1(text, tok)
    assert tokens[0] == "xxbos"
    frame = frame_of([text, text])
    settings = {"text_col": "text", "bs": 8, "valid_pct": 0.2, "seed": 1}
    dls = TextDataLoaders.from_df(frame, label_col="label", tok_kwargs={"tok": tok}, **settings)
    assert sum(len(b[1]) for b in dls.train) >= 24
    learn = text_classifier_learner(dls, AWD_LSTM, config=SMALL)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)
    assert all(bool(torch.isfinite(p).all()) for p in learn.model.parameters())
    _, _, chances = learn.predict(text)
    assert float(chances.sum()) == pytest.approx(1)
    language = TextDataLoaders.from_df(
        frame, is_lm=True, seq_len=5, tok_kwargs={"tok": tok}, **settings
    )
    assert next(iter(language.train))[0].shape == (8, 5)


def test_white_space_is_all_that_a_text_of_white_space_becomes() -> None:
    for text in ("", "   ", "\n\t \n"):
        assert tokenize1(text, WhitespaceTokenizer()) == ["xxbos"]
    assert tokenize1("", WhitespaceTokenizer(), rules=[]) == []


def test_texts_without_a_token_make_batches_and_are_classified() -> None:
    plain = {"tok": WhitespaceTokenizer(), "rules": []}
    dls = TextDataLoaders.from_df(
        frame_of(["", " "]), text_col="text", label_col="label", tok_kwargs=plain, bs=8, seed=1
    )
    assert 0 in dls.train.lengths.tolist()
    learn = text_classifier_learner(dls, AWD_LSTM, config=SMALL)
    for batch in dls.train:
        assert bool(torch.isfinite(learn.model(batch[0].as_subclass(torch.Tensor))[0]).all())
    with pytest.raises(ValueError, match="no token to go on from"):
        language_model_learner(
            TextDataLoaders.from_df(frame_of([]), text_col="text", is_lm=True, bs=4, seq_len=4,
                                    tok_kwargs=plain),
            AWD_LSTM,
            config=SMALL,
        ).predict("")  # fmt: skip


@pytest.mark.parametrize("tok", [SpacyTokenizer(), WhitespaceTokenizer()])
def test_halves_of_surrogate_pairs_are_one_sign_in_tokens_tables_and_files(tok, tmp_path) -> None:
    text = ODD["a lone surrogate"]
    expected = ["xxbos", "half", "\ufffd", "of", "a", "pair", "\ufffd"]
    assert tokenize1(text, tok) == expected
    assert list(parallel_tokenize([text] * 3, tok, n_workers=2)) == [expected] * 3
    frame = frame_of([text] * 18)
    assert tokenize_df(frame, "text", tok=tok)[0]["text"][3] == expected
    dls = TextDataLoaders.from_df(
        frame, text_col="text", label_col="label", bs=8, tok_kwargs={"tok": tok}, path=tmp_path
    )
    learn = text_classifier_learner(dls, AWD_LSTM, config=SMALL)
    learn.show_results(max_n=8)  # pandas cannot hold such halves
    again = load_learner(learn.export("model.torte"))
    torch.testing.assert_close(again.predict(text)[2], learn.predict(text)[2])


def test_right_to_left_words_keep_their_order() -> None:
    text = ODD["right to left"]
    assert tokenize1(text, SpacyTokenizer("ar"))[1:] == text.split()
    assert tokenize1(text, WhitespaceTokenizer())[1:] == text.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("word " * 2_000_000, "xxwrep 2000000 word"),
        ("a" * 10_000_000, "xxrep 10000000 a"),
        ("ab" * 5_000_000, "ab" * 5_000_000),
        ("a b " * 2_500_000, "a b " * 2_500_000),
    ],
    ids=["one word", "one letter", "no space", "two words"],
)
def test_a_line_of_ten_megabytes_is_tokenized(line, expected) -> None:
    tokens = tokenize1(line, WhitespaceTokenizer())
    assert tokens == ["xxbos", *expected.split()]


def test_megabytes_are_cut_by_spacy_as_it_cuts_them_alone() -> None:
    line = " ".join(f"it isn't w{n % 90}x" for n in range(150_000))
    plain = spacy.blank("en").tokenizer(line)
    tokens = tokenize1(line, SpacyTokenizer())
    assert tokens == ["xxbos", *(token.text for token in plain)]


# -- missing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA, 3.5, b"bytes"])
def test_a_row_without_text_is_named(missing) -> None:
    frame = frame_of([missing])
    with pytest.raises(TypeError, match=r"column 'text' holds .* in row 3, not text"):
        TextDataLoaders.from_df(frame, text_col="text", label_col="label")
    with pytest.raises(TypeError, match=r"column 'text' holds .* in row 3, not text"):
        tokenize_df(frame, "text")
    with pytest.raises(TypeError, match=r"text number 3 is .*, not a string: drop or fill"):
        list(parallel_tokenize(frame["text"].tolist()))


@pytest.mark.parametrize("missing", [np.nan, None])
def test_a_row_without_a_label_is_named(missing) -> None:
    frame = frame_of([])
    frame["label"] = frame["label"].astype(object)
    frame.loc[7, "label"] = missing
    dls = TextDataLoaders.from_df(frame, text_col="text", label_col="label", seed=1, bs=4)
    place = list(dls.train.items.index).index(7)
    with pytest.raises(ItemError, match=rf"item {place} of .*Name: 7.*has no label"):
        list(dls.train)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(
        KeyError, match=r"no row with a column 'review': it has \['label', 'text'\]"
    ):
        TextDataLoaders.from_df(frame_of([]), text_col="review", label_col="label")


@pytest.mark.parametrize("item", [None, 5, ["a"], ("a",), b"a", np.nan])
def test_what_is_no_text_is_refused_by_predictions(item) -> None:
    frame = frame_of([])
    dls = TextDataLoaders.from_df(frame, text_col="text", label_col="label", bs=8)
    with pytest.raises(
        TypeError, match=r"an item of type \w+ fits nowhere.*expected one of.*'str'"
    ):
        text_classifier_learner(dls, AWD_LSTM, config=SMALL).predict(item)
    language = TextDataLoaders.from_df(frame, text_col="text", is_lm=True, bs=8, seq_len=5)
    with pytest.raises(TypeError, match="goes on with a text, not with"):
        language_model_learner(language, AWD_LSTM, config=SMALL).predict(item)


def test_a_path_is_read_by_predictions_and_a_missing_file_is_named(tmp_path) -> None:
    dls = TextDataLoaders.from_df(frame_of([]), text_col="text", label_col="label", bs=8)
    learn = text_classifier_learner(dls, AWD_LSTM, config=SMALL)
    (tmp_path / "a.txt").write_text("some words about a coat")
    said = learn.predict(tmp_path / "a.txt")
    torch.testing.assert_close(said[2], learn.predict("some words about a coat")[2])
    with pytest.raises(FileNotFoundError, match=r"b\.txt"):
        learn.predict(tmp_path / "b.txt")


def test_texts_without_a_tokenizer_are_told_from_lists_of_tokens() -> None:
    def loaders(text):
        block = DataBlock((text, CategoryBlock), get_x=ColReader("text"), get_y=ColReader("label"))
        return block.dataloaders(frame_of([]), bs=8)

    with pytest.raises(TypeError, match=r"a text of the batch is 'some .*TextBlock\(Tokenizer\(\)"):
        loaders(TextBlock()).one_batch()
    with pytest.raises(TypeError, match=r"no list of tokens.*TextBlock\(Tokenizer\(tok\)\)"):
        loaders(TextBlock(lambda text: [text.split()]))


# -- files -----------------------------------------------------------------------------------------


def folder_of(path, count=2000):
    for label in ("good", "bad"):
        (path / label).mkdir(parents=True)
        for number in range(count // 2):
            (path / label / f"{number:04}.txt").write_text(f"a {label} text {number % 7}")
    return path


def test_one_undecodable_file_among_thousands_is_named(tmp_path) -> None:
    folder_of(tmp_path / "texts")
    (tmp_path / "texts" / "good" / "0700.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(UnicodeDecodeError) as caught:
        TextDataLoaders.from_folder(tmp_path / "texts", valid_pct=0.1)
    assert any("good/0700.txt as utf-8: give another encoding" in n for n in caught.value.__notes__)
    tokenizer = Tokenizer.from_folder(tmp_path / "texts", WhitespaceTokenizer(), encoding="latin-1")
    texts = TfmdLists([tmp_path / "texts" / "good" / "0700.txt"], [tokenizer])
    assert texts[0] == ["xxbos", "café", "au", "lait"]


@pytest.mark.skipif(os.name == "nt", reason="links and permissions are those of POSIX")
def test_one_unreadable_file_among_thousands_is_named(tmp_path) -> None:
    folder_of(tmp_path / "texts")
    file = tmp_path / "texts" / "bad" / "0333.txt"
    file.unlink()
    file.symlink_to(file)  # a file that not even root can read
    for n_workers in (0, 2):
        tokenizer = Tokenizer.from_folder(tmp_path / "texts", n_workers=n_workers)
        with pytest.raises(OSError, match=r"0333\.txt") as caught:
            TfmdLists([*sorted((tmp_path / "texts").rglob("*.txt")), file], [tokenizer])
        assert any("while reading the text" in note for note in caught.value.__notes__)
    assert not list(tmp_path.glob("texts/.*"))


# -- vocabularies and scripts ----------------------------------------------------------------------


def test_a_vocabulary_of_another_tokenizer_is_told(tmp_path) -> None:
    texts = [" ".join(WORDS[: 3 + n % 8]) for n in range(300)]
    pieces = SentencePieceTokenizer(vocab_sz=60, cache_dir=tmp_path)
    pieces.setup(texts)
    frame = frame_of(["longer words that are no single letters"] * 18)
    vocab = [pieces.processor.id_to_piece(n) for n in range(pieces.processor.get_piece_size())]
    with (
        pytest.warns(UserWarning, match="may be that of another tokenizer"),
        pytest.raises(KeyError, match=r"vocabulary has neither .*'xxbos'.* nor 'xxunk'"),
    ):
        TextDataLoaders.from_df(frame, text_col="text", label_col="label", text_vocab=vocab)
    with pytest.warns(UserWarning, match="four of five tokens are not in the vocab"):
        TextDataLoaders.from_df(
            frame, text_col="text", label_col="label", text_vocab=["xxunk", "xxpad", *vocab]
        )


def test_a_script_without_spaces_is_told_and_cut_by_its_own_tokenizer() -> None:
    sentence = "这件衣服的质量非常好我很喜欢它的颜色和款式"
    texts = [sentence + str(n) + "。" for n in range(30)]
    with pytest.warns(UserWarning, match=r"a script without spaces.*SpacyTokenizer\('zh'\)"):
        Tokenizer(WhitespaceTokenizer()).setup(texts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chinese = Tokenizer(SpacyTokenizer("zh"))
        chinese.setup(texts)
        Tokenizer().setup([" ".join(WORDS)] * 50 + [sentence])
    assert chinese(texts[0])[1:4] == list(sentence[:3])


def test_numbers_of_no_word_are_an_error() -> None:
    numericalize = Numericalize(["xxunk", "xxpad", "a"])
    with pytest.raises(IndexError):
        numericalize.decode(numericalize(["a"]) + 7)
