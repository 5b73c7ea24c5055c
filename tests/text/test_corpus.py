"""A corpus made in one pass: bounded memory, kept and found again, whole or not there."""

import itertools
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torte.data import TfmdLists
from torte.text import (
    LMDataLoader,
    Numericalize,
    SentencePieceTokenizer,
    SortedDL,
    TextDataLoaders,
    TokenizedCorpus,
    Tokenizer,
    TokenizeWithRules,
    WhitespaceTokenizer,
    cached_corpus,
    numbered_texts,
    parallel_tokenize,
)
from torte.text.parallel import tokenized_chunks

PLAIN = TokenizeWithRules(WhitespaceTokenizer(), rules=[], post_rules=[])
WORDS = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6), min_size=1, max_size=30)


@settings(max_examples=40, deadline=None)
@given(WORDS, st.randoms())
def test_counts_are_those_of_a_counter_in_its_order(texts, random) -> None:
    corpus = TokenizedCorpus.of(texts)
    places = random.sample(range(len(texts)), len(texts) // 2)
    for chosen in (None, np.array(places, np.int64)):
        expected = Counter(
            t for p in (range(len(texts)) if chosen is None else places) for t in texts[p]
        )
        assert list(corpus.counter(chosen).items()) == list(expected.items())


@pytest.mark.parametrize("n_workers", [0, 2, 3])
def test_a_corpus_is_the_same_for_any_number_of_processes(tmp_path, n_workers) -> None:
    texts = [f"word{n % 97} other{n % 13} {'x' * (n % 700)}" for n in range(2500)]
    made = cached_corpus(texts, PLAIN, n_workers, tmp_path)
    assert made.words == list(dict.fromkeys(word for text in texts for word in text.split()))
    assert list(made) == [text.split() for text in texts]
    assert made.store.tokens.dtype == "<u2"
    assert made.find(texts[77]) == texts[77].split()
    assert made.find("word1 other") is None
    again = pickle.loads(pickle.dumps(made))
    assert again.find(texts[5]) == texts[5].split()


def test_workers_are_only_a_little_ahead_of_what_is_taken() -> None:
    taken = itertools.count()
    source = (f"text {next(taken)}" for _ in range(10**9))
    chunks = tokenized_chunks(source, PLAIN, 2)
    next(chunks)
    chunks.close()
    assert next(taken) < 500 * 10


def test_functions_of_a_script_may_be_rules_in_processes() -> None:
    texts = [f"a{n} B" for n in range(1200)]
    tokens = list(parallel_tokenize(texts, WhitespaceTokenizer(), [lambda t: t.lower()], [], 2))
    assert tokens == [[f"a{n}", "b"] for n in range(1200)]


def test_an_error_in_a_process_names_the_text() -> None:
    def rule(text):
        if text == "text 700":
            raise KeyError("odd")
        return text

    texts = [f"text {n}" for n in range(1200)]
    for n_workers in (0, 2):
        with pytest.raises(KeyError, match="odd") as caught:
            list(parallel_tokenize(texts, WhitespaceTokenizer(), [rule], n_workers=n_workers))
        assert "while tokenizing text number 700" in caught.value.__notes__


def test_a_process_that_dies_is_an_error() -> None:
    def rule(text):
        if text == "text 700":
            os.kill(os.getpid(), signal.SIGKILL)
        return text

    texts = [f"text {n}" for n in range(1200)]
    with pytest.raises(RuntimeError, match="a process that tokenizes died"):
        list(parallel_tokenize(texts, WhitespaceTokenizer(), [rule], n_workers=2))


def test_an_iterator_is_read_once_and_its_corpus_found_by_its_content(tmp_path) -> None:
    texts = ["a b", "c", "a b"]
    once = cached_corpus(iter(texts), PLAIN, 0, tmp_path)
    assert list(once) == [["a", "b"], ["c"], ["a", "b"]]
    twice = cached_corpus(texts, PLAIN, 0, tmp_path)
    assert twice.store.folder == once.store.folder
    other = TokenizeWithRules(WhitespaceTokenizer("b"), rules=[], post_rules=[])
    assert cached_corpus(texts, other, 0, tmp_path)[0] == ["a ", ""]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_large_corpus_is_found_again_by_other_processes(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORTE_HOME", str(tmp_path))
    script = (
        "import time\n"
        "from torte.text import *\n"
        "texts = ['word ' * 2000 + str(n) for n in range(450)]\n"
        "tokenizer = Tokenizer(WhitespaceTokenizer(), rules=[], n_workers=0)\n"
        "tokenizer.setup(texts)\n"
        "print(tokenizer.corpus.store.folder, (tokenizer.corpus.store.folder / 'meta.json')"
        ".stat().st_mtime_ns, len(tokenizer('word ' * 2000 + '7')))\n"
    )
    run = [sys.executable, "-c", script]
    first, second = (
        subprocess.run(run, check=True, capture_output=True, text=True).stdout for _ in range(2)
    )
    assert first == second
    assert first.startswith(str(tmp_path / "tmp" / "tokens"))
    assert first.split()[-1] == "2001"


def test_a_killed_tokenization_leaves_no_half_corpus(tmp_path) -> None:
    script = (
        "import sys\n"
        "from torte.text import *\n"
        "def texts():\n"
        "    for n in range(3000):\n"
        "        if n == 2900: print('far', flush=True); sys.stdin.read()\n"
        "        yield f'word {n}'\n"
        "cached_corpus(texts(), TokenizeWithRules(WhitespaceTokenizer()), 0, sys.argv[1])\n"
    )
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=pipe, stdout=pipe
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"far\n"
    process.kill()
    process.communicate()
    left = list(tmp_path.iterdir())
    assert left, "the test kills before anything is written"
    assert all(path.name.startswith(".") for path in left)
    tokenize = TokenizeWithRules(WhitespaceTokenizer())
    corpus = cached_corpus([f"word {n}" for n in range(3000)], tokenize, 0, tmp_path)
    assert len(corpus) == 3000


def test_a_tokenizer_that_cannot_be_described_keeps_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tokenize = TokenizeWithRules(WhitespaceTokenizer(), rules=[lambda text: text.upper()])
    corpus = cached_corpus(["a b"], tokenize, 0, tmp_path / "cache")
    assert list(corpus) == [["A", "B"]]
    assert len(list(tmp_path.iterdir())) == 1
    del corpus
    assert not list(tmp_path.iterdir())


# -- loaders over a corpus -------------------------------------------------------------------------


def frame_of(count=60):
    texts = [f"Word{n % 7} and {'more ' * (n % 9)}of {n}" for n in range(count)]
    return pd.DataFrame({"text": texts, "label": ["a", "b"] * (count // 2)})


@pytest.mark.parametrize("backwards", [False, True])
def test_language_batches_come_from_the_corpus_as_from_the_items(tmp_path, backwards) -> None:
    dls = TextDataLoaders.from_df(
        frame_of(),
        is_lm=True,
        bs=4,
        seq_len=7,
        seed=1,
        backwards=backwards,
        tok_kwargs={"tok": WhitespaceTokenizer(), "cache_dir": tmp_path},
    )
    dataset = dls.train.dataset
    looked_up = numbered_texts(dataset)
    assert looked_up.tokens.base is not None  # mapped, not copied
    items = [np.asarray(item[0]) for item in dataset]
    assert len(looked_up) == len(items)
    assert all(np.array_equal(text, item) for text, item in zip(looked_up, items, strict=True))
    collected = LMDataLoader(items, bs=4, seq_len=7, shuffle=True, seed=3)
    mapped = LMDataLoader(dataset, bs=4, seq_len=7, shuffle=True, seed=3)
    for _ in range(2):
        for (x, y), (a, b) in zip(collected, mapped, strict=True):
            assert torch.equal(x, a)
            assert torch.equal(y, b)
    assert numbered_texts(dls.valid.dataset)[0].tolist() == dls.valid.dataset[0][0].tolist()


def test_a_pipeline_with_more_in_it_is_not_taken_for_its_corpus() -> None:
    texts = ["a b", "c a", "b b a"]
    tokenizer = Tokenizer(WhitespaceTokenizer())
    doubled = TfmdLists(
        texts, [tokenizer, lambda tokens: list(tokens) * 2, Numericalize(min_freq=1)]
    )
    assert [len(text) for text in numbered_texts(doubled)] == [6, 6, 8]
    assert SortedDL(doubled, bs=2).lengths.tolist() == [6, 6, 8]
    others = TfmdLists(texts, [tokenizer, Numericalize(min_freq=1)]).new(["a", "b b c"])
    assert [len(text) for text in numbered_texts(others)] == [2, 4]


def test_lengths_are_known_without_making_texts(monkeypatch) -> None:
    dls = TextDataLoaders.from_df(frame_of(), bs=8, tok_kwargs={"tok": WhitespaceTokenizer()})
    expected = [len(text) for text, _ in dls.train.dataset]
    assert dls.train.lengths.tolist() == expected
    monkeypatch.setattr(Numericalize, "encodes", None)
    assert SortedDL(dls.train.dataset, bs=8, do_setup=False).lengths.tolist() == expected


def test_the_vocabulary_is_that_of_the_training_texts_whichever_way_it_is_counted() -> None:
    dls = TextDataLoaders.from_df(frame_of(), is_lm=True, bs=4, seed=2, seq_len=5)
    tokens = [
        list(dls.train_ds.tls[0].tfms[Tokenizer](text)) for text in dls.train_ds.items["text"]
    ]
    by_hand = Numericalize()
    by_hand.setup(tokens)
    assert list(dls.vocab) == by_hand.vocab


def test_tokenizers_of_rows_and_folders(tmp_path) -> None:
    frame = frame_of(6).assign(title="Some Title")
    rows = TfmdLists(frame, [Tokenizer.from_df(["title", "text"], WhitespaceTokenizer())])
    assert rows[0][:6] == ["xxbos", "xxfld", "1", "xxmaj", "some", "xxmaj"]
    column = TfmdLists(
        frame, [attrgetter("text"), Tokenizer.from_df("text", WhitespaceTokenizer())]
    )
    assert column[1][:3] == ["xxbos", "xxmaj", "word1"]
    (tmp_path / "a.txt").write_text("One two")
    files = TfmdLists(
        [tmp_path / "a.txt"], [Tokenizer.from_folder(tmp_path, WhitespaceTokenizer(), [])]
    )
    assert files[0] == ["One", "two"]
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing"):
        Tokenizer.from_folder(tmp_path / "missing")


# -- SentencePiece ---------------------------------------------------------------------------------


def test_sentencepiece_trains_once_for_the_same_texts(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORTE_HOME", str(tmp_path))
    texts = [f"the quick brown fox number {n} jumps over lazy dogs" for n in range(300)]
    first = SentencePieceTokenizer(vocab_sz=96).setup(texts)["sp_model"]
    assert first is not None
    assert first.startswith(str(tmp_path))
    made = Path(first).stat().st_mtime_ns
    assert SentencePieceTokenizer(vocab_sz=96).setup(texts)["sp_model"] == first
    assert Path(first).stat().st_mtime_ns == made
    assert SentencePieceTokenizer(vocab_sz=88).setup(texts)["sp_model"] != first
    assert SentencePieceTokenizer(vocab_sz=96).setup(texts[1:])["sp_model"] != first
    own = tmp_path / "own"
    for chosen in (texts, texts[5:]):
        SentencePieceTokenizer(vocab_sz=96, cache_dir=own).setup(chosen)
    assert sorted(path.name for path in own.iterdir()) == ["spm.key", "spm.model", "spm.vocab"]


def test_sentencepiece_reads_long_lines_and_keeps_corpora_of_models_apart(tmp_path) -> None:
    line = " ".join(f"word{n % 50} is here" for n in range(3000))
    texts = [line, line[::-1]]
    sizes = []
    for vocab_sz in (60, 90):
        tok = SentencePieceTokenizer(vocab_sz=vocab_sz, cache_dir=tmp_path / "model")
        tokenizer = Tokenizer(tok, cache_dir=tmp_path / "tokens")
        tokenizer.setup(texts)
        assert tokenizer.corpus is not None
        sizes.append(len(tokenizer.corpus.words))
    assert len(list((tmp_path / "tokens").iterdir())) == 2
    assert sizes[0] < sizes[1]


# -- memory ----------------------------------------------------------------------------------------

LIMITED = """
import mmap, resource, sys
from pathlib import Path
import torch
from torte.learner import Callback, CancelFitException
from torte.text import *

def data_mib():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmData:")[1].split()[0]) / 1024

def train(folder, cache):
    tok = {"tok": WhitespaceTokenizer(), "rules": [], "n_workers": 0, "cache_dir": cache}
    dls = TextDataLoaders.from_folder(folder, is_lm=True, bs=8, seq_len=72, tok_kwargs=tok,
                                      valid_pct=0.1, seed=1)
    learn = language_model_learner(dls, AWD_LSTM, config={"emb_sz": 8, "n_hid": 8, "n_layers": 1})
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, cbs=Stop())
    return dls

class Stop(Callback):
    def after_batch(self):
        if self.iter == 20: raise CancelFitException

torch.set_num_threads(1)
small, large, cache, headroom = *map(Path, sys.argv[1:4]), int(sys.argv[4])
train(small, cache)                     # whatever is made only once is there now
limit = int((data_mib() + headroom) * 2**20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    # Memory of its own: an object might find room among what was freed.
    mmap.mmap(-1, (headroom + 8) << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    sys.exit("the limit does not hold")
except OSError:
    pass
dls = train(large, cache)
print(int(numbered_texts(dls.train.dataset).lengths.sum()), data_mib() <= limit / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of data is Linux's")
def test_a_corpus_ten_times_the_memory_is_tokenized_and_trained_on(tmp_path) -> None:
    headroom = 16
    text = " ".join(f"word{n % 700}" for n in range(13_000))
    for name, count in (("small", 8), ("large", headroom * 11 * 2**20 // len(text))):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{number}.txt").write_text(f"{number} {text}")
    size = sum(path.stat().st_size for path in (tmp_path / "large").iterdir())
    assert size > 10 * headroom * 2**20
    arguments = [tmp_path / "small", tmp_path / "large", tmp_path / "cache", headroom]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    tokens, is_within = done.stdout.split()
    assert int(tokens) == pytest.approx(0.9 * size / len(text) * 13_001, rel=0.02)
    assert is_within == "True"
