"""Token numbers on disk: whole or not there."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torte.text import TokenStore, TokenWriter


def written(folder, texts, vocab_size=100):
    with TokenWriter(folder, vocab_size, {"who": "me"}) as writer:
        writer.add_all(texts)
    return TokenStore(folder)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 65535))), st.sampled_from([65536, 65537]))
def test_what_was_written_is_read(tmp_path_factory, texts, vocab_size) -> None:
    store = written(tmp_path_factory.mktemp("t") / "corpus", texts, vocab_size)
    assert [text.tolist() for text in store] == texts
    assert store.lengths.tolist() == list(map(len, texts))
    assert store.tokens.dtype == ("<u2" if vocab_size == 65536 else "<u4")
    assert store.meta["who"] == "me"
    again = pickle.loads(pickle.dumps(store))
    assert [text.tolist() for text in again[:]] == texts


def test_a_writer_that_fails_leaves_nothing(tmp_path) -> None:
    def fail() -> None:
        with TokenWriter(tmp_path / "corpus", 10) as writer:
            writer.add([1, 2])
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_writer_that_is_killed_leaves_no_corpus(tmp_path) -> None:
    script = (
        "import os, signal, sys\n"
        "from torte.text.storage import TokenWriter\n"
        "writer = TokenWriter(sys.argv[1], 10).__enter__()\n"
        "writer.add(range(9))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "corpus")], check=False)
    assert done.returncode != 0
    assert not (tmp_path / "corpus").exists()
    assert written(tmp_path / "corpus", [[1, 2]])[0].tolist() == [1, 2]


def test_a_corpus_is_not_written_over(tmp_path) -> None:
    written(tmp_path / "corpus", [[1]])
    with pytest.raises(FileExistsError, match="there are tokens at"):
        TokenWriter(tmp_path / "corpus", 10)


def test_two_writers_at_once_both_find_the_corpus(tmp_path) -> None:
    first, second = (TokenWriter(tmp_path / "corpus", 10) for _ in range(2))
    with first, second:
        first.add([1])
        second.add([1])
    assert TokenStore(tmp_path / "corpus")[0].tolist() == [1]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_cut_short_is_refused(tmp_path) -> None:
    written(tmp_path / "corpus", [[1, 2, 3]])
    tokens = tmp_path / "corpus" / "tokens.bin"
    tokens.write_bytes(tokens.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"are not whole .expected 1 texts and 3 tokens"):
        TokenStore(tmp_path / "corpus")


def test_the_numbers_are_mapped_not_read(tmp_path) -> None:
    store = written(tmp_path / "corpus", [np.arange(5)])
    assert isinstance(store.tokens, np.memmap)
    assert json.loads((tmp_path / "corpus" / "meta.json").read_text())["tokens"] == 5
    with pytest.raises(IndexError, match="text 1 of 1"):
        store[1]
