"""Frames, CSV files and folders to tokens in text form."""

import json
from collections import Counter

import pandas as pd
import pytest
from torte.text import (
    SpacyTokenizer,
    WhitespaceTokenizer,
    load_tokenized_csv,
    tokenize1,
    tokenize_csv,
    tokenize_df,
    tokenize_files,
    tokenize_folder,
    tokenize_texts,
)

TEXTS = ["It isn't GOOD", "", "two  words\nand a line", 'a, b "c"']


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"label": [1, 0, 1, 0], "title": ["One", "Two", "", "four"], "words": TEXTS},
        index=["w", "x", "y", "z"],
    )


def test_texts_give_what_each_gives_alone() -> None:
    alone = [tokenize1(text, SpacyTokenizer()) for text in TEXTS]
    assert list(tokenize_texts(TEXTS)) == alone
    assert list(tokenize_texts(TEXTS, n_workers=2)) == alone


def test_a_frame_gets_columns_of_tokens_and_their_number() -> None:
    before = frame()
    made, counter = tokenize_df(before, "words", tok_text_col="tokens")
    assert list(made.columns) == ["label", "title", "tokens", "tokens_length"]
    assert list(made.index) == list("wxyz")
    expected = [tokenize1(text, SpacyTokenizer()) for text in TEXTS]
    assert made["tokens"].tolist() == expected
    assert made["tokens_length"].tolist() == [len(tokens) for tokens in expected]
    assert counter == Counter(token for tokens in expected for token in tokens)
    assert before.equals(frame())


def test_several_columns_are_joined_and_marked() -> None:
    plain = {"tok": WhitespaceTokenizer(), "rules": []}
    both, _ = tokenize_df(frame(), ["title", "words"], **plain)
    assert both["text"]["w"] == ["xxfld", "1", "One", "xxfld", "2", "It", "isn't", "GOOD"]
    by_place, _ = tokenize_df(frame(), [1, 2], mark_fields=False, **plain)
    assert by_place["text"]["w"] == ["One", "It", "isn't", "GOOD"]
    assert list(by_place.columns) == ["label", "text", "text_length"]


@pytest.mark.parametrize("chunksize", [1, 3, 50])
def test_a_csv_file_is_tokenized_part_by_part(tmp_path, chunksize) -> None:
    frame().to_csv(tmp_path / "words.csv", index=False)
    written = tokenize_csv(tmp_path / "words.csv", "words", chunksize=chunksize, rules=[str.strip])
    assert written == tmp_path / "words_tok.csv"
    assert len(list(tmp_path.iterdir())) == 3
    made, counter = load_tokenized_csv(written)
    assert made["label"].tolist() == [1, 0, 1, 0]
    tokens = [tokenize1(text, SpacyTokenizer(), [str.strip]) for text in TEXTS]
    assert made["text"].tolist() == tokens
    assert made["text_length"].tolist() == list(map(len, tokens))
    assert counter == Counter(token for each in tokens for token in each)


def test_a_folder_is_tokenized_into_another_one(tmp_path) -> None:
    source = tmp_path / "texts"
    for place, text in enumerate(TEXTS):
        file = source / "ab"[place % 2] / f"{place}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (source / "other.md").write_text("no")
    made = tokenize_folder(source, n_workers=2)
    assert made == tmp_path / "texts_tok"
    expected = {
        f"{'ab'[n % 2]}/{n}.txt": tokenize1(t, SpacyTokenizer()) for n, t in enumerate(TEXTS)
    }
    for name, tokens in expected.items():
        assert (made / name).read_text(encoding="utf-8") == " ".join(tokens)
    assert json.loads((made / "lengths.json").read_text()) == {
        n: len(t) for n, t in expected.items()
    }
    counter = Counter(token for tokens in expected.values() for token in tokens)
    assert json.loads((made / "counter.json").read_text()) == counter
    (made / "a" / "0.txt").write_text("mine")
    tokenize_folder(source)
    assert (made / "a" / "0.txt").read_text() == "mine"
    tokenize_folder(source, skip_if_exists=False, folders=["b"])
    assert sorted(path.name for path in made.iterdir()) == ["b", "counter.json", "lengths.json"]
    tokenize_folder(source, extensions=[".md"], output_dir=tmp_path / "md", rules=[])
    assert (tmp_path / "md" / "other.md").read_text() == "no"


def test_what_fails_leaves_what_was_there(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("fine")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00bad")
    out = tmp_path / "out"
    tokenize_files([tmp_path / "a.txt"], tmp_path, out, output_names=["renamed.txt"])
    with pytest.raises(UnicodeDecodeError) as caught:
        tokenize_folder(tmp_path, output_dir=out, skip_if_exists=False)
    assert any("b.txt" in note for note in caught.value.__notes__)
    assert sorted(path.name for path in out.iterdir()) == [
        "counter.json",
        "lengths.json",
        "renamed.txt",
    ]
    assert len(list(tmp_path.iterdir())) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no texts in"):
        tokenize_folder(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no folder"):
        tokenize_folder(tmp_path / "missing")


def test_a_csv_that_fails_leaves_the_old_one(tmp_path) -> None:
    def fail(text: str) -> str:
        if "line" in text:
            raise ValueError("no lines")
        return text

    source, made = tmp_path / "words.csv", tmp_path / "words_tok.csv"
    frame().to_csv(source, index=False)
    made.write_text("old")
    with pytest.raises(ValueError, match="no lines"):
        tokenize_csv(source, "words", chunksize=1, rules=[fail])
    assert made.read_text() == "old"
    assert sorted(tmp_path.iterdir()) == [source, made]
