"""Text: tokenizing, batches, training of language models and classifiers beside fastai's.

Run with `OMP_NUM_THREADS=1 python tests/benchmarks/bench_text.py`, or one part of it: `tokens`,
`batches`, `training`, `classifier`. Texts are the clothing reviews: the sample that ships with
torte, or all with `TORTE_BENCHMARK_DATA` naming the folder of the fetched set. Budgets: tokenizing
at least 5 times as fast as fastai, and 0.9 of spaCy and the rules added up; training at least 1.3
times as fast. A classifier's training does not reach that: nearly nine tenths of its time are
oneDNN's LSTM (88 % of a small model's batch, by PyTorch's profiler), which fastai calls as well,
and which runs at 0.8 of the speed of one large product of matrices.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from common import measure, print_facts, print_table, timing, versions

TEXTS = 1000
HAS_FASTAI = importlib.util.find_spec("fastai") is not None
# Embedding, state, layers, rows, steps: of the published model, and of one that fits caches.
MODELS = {"published sizes": (400, 1152, 3, 64, 72), "small": (64, 128, 2, 64, 72)}
ROUNDS = 2


def reviews() -> list[str]:
    """The reviews that there are."""
    import pandas as pd
    from torte.data import URLs, untar_data

    folder = os.environ.get("TORTE_BENCHMARK_DATA")
    if folder:
        texts = pd.read_parquet(Path(folder) / "reviews.parquet")["Review Text"]
    else:
        texts = pd.read_csv(untar_data(URLs.REVIEWS_SAMPLE) / "reviews.csv")["text"]
    return texts.dropna().tolist()


def bench_tokens() -> None:
    """Texts to tokens in one process, rules included."""
    import spacy
    from torte.text import SpacyTokenizer, TokenizeWithRules, WhitespaceTokenizer, apply_rules
    from torte.text.parallel import tokenized_chunks
    from torte.text.rules import DEFAULT_RULES

    texts = reviews()[:TEXTS]
    plain = spacy.blank("en").tokenizer
    ruled = [apply_rules(text, DEFAULT_RULES) for text in texts]
    tokenize = TokenizeWithRules(SpacyTokenizer())
    candidates: dict[str, Callable[[], Any]] = {
        "torte, spaCy with rules": lambda: list(tokenize(texts)),
        "torte, to numbers of a corpus": lambda: list(tokenized_chunks(texts, tokenize, 0)),
        "spaCy alone": lambda: [[token.text for token in plain(text)] for text in ruled],
        "torte's rules alone": lambda: [apply_rules(text, DEFAULT_RULES) for text in texts],
        "torte, white space with rules": lambda: list(
            TokenizeWithRules(WhitespaceTokenizer())(texts)
        ),
    }
    if HAS_FASTAI:
        from fastai.text.core import TokenizeWithRules as Theirs
        from fastai.text.core import WordTokenizer

        theirs = Theirs(WordTokenizer())
        candidates["fastai, spaCy with rules"] = lambda: list(theirs(texts))
    if importlib.util.find_spec("tokenizers"):
        candidates["tokenizers, BPE alone"] = _byte_pairs(texts)
    timings = measure(candidates, rounds=9, seconds=0.01)
    absent = () if HAS_FASTAI else ("fastai, spaCy with rules",)
    print_table(f"{TEXTS} reviews to tokens", timings, "torte, spaCy with rules", absent)
    fastest = {name: each.fastest for name, each in timings.items()}
    own = fastest["torte, spaCy with rules"]
    parts = fastest["spaCy alone"] + fastest["torte's rules alone"]
    rows = {name: [f"{TEXTS / taken:,.0f}"] for name, taken in fastest.items()}
    print_facts("Texts a second", ["texts/s"], rows)
    budgets = {"of spaCy and rules added up (budget 0.9)": [f"{parts / own:.2f}"]}
    if HAS_FASTAI:
        gain = fastest["fastai, spaCy with rules"] / own
        budgets["times as fast as fastai (budget 5)"] = [f"{gain:.1f}"]
    print_facts("Tokenizing", ["ratio"], budgets)


def _byte_pairs(texts: list[str]) -> Callable[[], Any]:
    """Hugging Face's byte pairs, trained on the texts, in one thread."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=8000, show_progress=False))
    return lambda: [encoding.tokens for encoding in tokenizer.encode_batch(texts)]


def _numbers(texts: list[str]) -> tuple[list[torch.Tensor], list[str]]:
    """Texts as token numbers, and their words."""
    from torte.text import Numericalize, SpacyTokenizer, TokenizeWithRules

    tokens = list(TokenizeWithRules(SpacyTokenizer())(texts))
    numericalize = Numericalize()
    numericalize.setup(tokens)
    return [torch.tensor(numericalize(each).tolist()) for each in tokens], list(
        numericalize.vocab or ()
    )


def _pass(loader: Any) -> Callable[[], None]:
    def run() -> None:
        for _ in loader:
            pass

    return run


def bench_batches() -> None:
    """Token numbers to batches: rows of a language model, and padded texts of like length."""
    from torte.text import LMDataLoader, SortedDL, pad_input_chunk

    numbers, _ = _numbers(reviews()[:TEXTS])
    labelled = [(text, torch.tensor(place % 2)) for place, text in enumerate(numbers)]
    settings: dict[str, Any] = {"bs": 32, "shuffle": True}
    rows: dict[str, Callable[[], None]] = {
        "torte LMDataLoader": _pass(LMDataLoader(numbers, seq_len=72, **settings))
    }
    padded: dict[str, Callable[[], None]] = {
        "torte SortedDL": _pass(
            SortedDL(labelled, before_batch=pad_input_chunk, num_workers=0, **settings)
        )
    }
    if HAS_FASTAI:
        from fastai.text import data as fastai

        theirs = fastai.LMDataLoader(numbers, seq_len=72, num_workers=0, **settings)
        rows["fastai LMDataLoader"] = _pass(theirs)
        sorted_loader = fastai.SortedDL(
            labelled, before_batch=fastai.pad_input_chunk, num_workers=0, **settings
        )
        padded["fastai SortedDL"] = _pass(sorted_loader)
    print_table("A pass of a language model's batches", measure(rows, 9, 0.01), next(iter(rows)))
    print_table("A pass of padded texts", measure(padded, 9, 0.01), next(iter(padded)))


def _few(numbers: list[torch.Tensor]) -> list[torch.Tensor]:
    """Tokens to validate on: as few as will do, for no time of that is counted."""
    return [numbers[0][:500]]


def _torte_learner(numbers: Any, vocab: list[str], sizes: tuple[int, ...]) -> Any:
    from torte.data import DataLoaders
    from torte.text import AWD_LSTM, LMDataLoader, language_model_learner

    emb_sz, n_hid, n_layers, bs, seq_len = sizes
    loader = LMDataLoader(numbers, bs=bs, seq_len=seq_len, shuffle=True)
    dls: Any = DataLoaders(loader, LMDataLoader(_few(numbers), bs=bs, seq_len=seq_len))
    dls.vocab = vocab
    config = {"emb_sz": emb_sz, "n_hid": n_hid, "n_layers": n_layers}
    return language_model_learner(dls, AWD_LSTM, config=config)


def _fastai_learner(numbers: Any, vocab: list[str], sizes: tuple[int, ...]) -> Any:
    from fastai.data.core import DataLoaders
    from fastai.text.data import LMDataLoader
    from fastai.text.learner import language_model_learner
    from fastai.text.models.awdlstm import AWD_LSTM, awd_lstm_lm_config

    emb_sz, n_hid, n_layers, bs, seq_len = sizes
    loader = LMDataLoader(numbers, bs=bs, seq_len=seq_len, shuffle=True, num_workers=0)
    few = LMDataLoader(_few(numbers), bs=bs, seq_len=seq_len, num_workers=0)
    dls = DataLoaders(loader, few)
    dls.vocab = vocab
    config = {**awd_lstm_lm_config, "emb_sz": emb_sz, "n_hid": n_hid, "n_layers": n_layers}
    return language_model_learner(dls, AWD_LSTM, config=config, pretrained=False)


def _documents(numbers: torch.Tensor, bs: int, steps: int) -> list[tuple[torch.Tensor, ...]]:
    """Documents of one length with labels: every batch is as much to compute as the others."""
    count = len(numbers) // (bs * steps) * bs
    texts = numbers[: count * steps].view(count, steps)
    return [(text, torch.tensor(place % 2)) for place, text in enumerate(texts)]


def _torte_classifier(numbers: Any, vocab: list[str], sizes: tuple[int, ...]) -> Any:
    from torte.data import DataLoaders
    from torte.learner import CrossEntropyLossFlat
    from torte.text import AWD_LSTM, SortedDL, pad_input_chunk, text_classifier_learner

    emb_sz, n_hid, n_layers, bs, steps = sizes
    texts = _documents(numbers[0], bs, steps)
    loader = SortedDL(texts, bs=bs, shuffle=True, num_workers=0, before_batch=pad_input_chunk)
    few = SortedDL(texts[:4], bs=4, num_workers=0, before_batch=pad_input_chunk)
    dls: Any = DataLoaders(loader, few)
    dls.vocab = vocab
    config = {"emb_sz": emb_sz, "n_hid": n_hid, "n_layers": n_layers}
    loss = CrossEntropyLossFlat()
    return text_classifier_learner(dls, AWD_LSTM, config=config, n_out=2, loss_func=loss)


def _fastai_classifier(numbers: Any, vocab: list[str], sizes: tuple[int, ...]) -> Any:
    from fastai.data.core import DataLoaders
    from fastai.losses import CrossEntropyLossFlat
    from fastai.text.data import SortedDL, pad_input_chunk
    from fastai.text.learner import text_classifier_learner
    from fastai.text.models.awdlstm import AWD_LSTM, awd_lstm_clas_config

    emb_sz, n_hid, n_layers, bs, steps = sizes
    texts = _documents(numbers[0], bs, steps)
    loader = SortedDL(texts, bs=bs, shuffle=True, num_workers=0, before_batch=pad_input_chunk)
    few = SortedDL(texts[:4], bs=4, num_workers=0, before_batch=pad_input_chunk)
    dls = DataLoaders(loader, few)
    dls.vocab = vocab
    config = {**awd_lstm_clas_config, "emb_sz": emb_sz, "n_hid": n_hid, "n_layers": n_layers}
    return text_classifier_learner(
        dls, AWD_LSTM, config=config, pretrained=False, n_out=2, loss_func=CrossEntropyLossFlat()
    )


MAKERS = {
    "training": {"torte": _torte_learner, "fastai": _fastai_learner},
    "classifier": {"torte": _torte_classifier, "fastai": _fastai_classifier},
}
WHAT = {"training": "AWD-LSTM", "classifier": "A classifier on AWD-LSTM"}


def _training(make: Callable[..., Any], seconds: dict[str, list[float]], name: str) -> Any:
    """Return what trains through a pass, noting the time of each batch from its end to the next."""

    def run(*data: Any) -> None:
        learn = make(*data)
        ends: list[float] = []
        before = learn.loss_func

        def watched(*arguments: Any, **kwargs: Any) -> Any:
            if learn.model.training:
                ends.append(time.perf_counter())
            return before(*arguments, **kwargs)

        learn.loss_func = watched
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-3)
        seconds[name] += [after - earlier for earlier, after in pairwise(ends)]

    return run


def _sizes(part: str, which: str) -> tuple[int, ...]:
    """The sizes of a model, with fewer rows for a classifier, so that it ends in two minutes."""
    emb_sz, n_hid, n_layers, rows, steps = MODELS[which]
    return emb_sz, n_hid, n_layers, rows // 2 if part == "classifier" else rows, steps


def train_once(part: str, name: str, which: str, file: str) -> None:
    """Print the seconds of the batches of one pass, as JSON: what a process of its own does."""
    numbers, vocab = torch.load(file)
    taken: dict[str, list[float]] = {name: []}
    _training(MAKERS[part][name], taken, name)(numbers, vocab, _sizes(part, which))
    print(json.dumps(taken[name]))  # noqa: T201


def bench_training(part: str, which: str) -> None:
    """A training batch of a model: forward, backward, penalties, clipping none, Adam.

    Each pass runs in a process of its own: how memory is allocated is a matter of the process.
    """
    numbers, vocab = _numbers(reviews())
    sizes = _sizes(part, which)
    tokens = sizes[3] * sizes[4]
    batches = 3 if sizes[0] > 100 else 25
    names = [name for name in MAKERS[part] if name != "fastai" or HAS_FASTAI]
    taken: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/numbers.pt"
        torch.save(([torch.cat(numbers)[: tokens * batches + 1]], vocab), file)
        for _ in range(ROUNDS):
            for name in names:
                command = [sys.executable, "-W", "ignore", __file__, "once", part, name]
                command += [which, file]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                taken[name] += json.loads(done.stdout.splitlines()[-1])
    timings = {name: timing(each) for name, each in taken.items()}
    title = f"{WHAT[part]}, {which}: a training batch of {tokens} tokens, {len(vocab)} words"
    print_table(title, timings, "torte", () if HAS_FASTAI else ("fastai",))
    rows = {name: [f"{tokens / each.fastest:,.0f}"] for name, each in timings.items()}
    print_facts(f"Tokens a second, {WHAT[part]}, {which}", ["tokens/s"], rows)


def main() -> None:
    """Print every table, or those of the parts that are named."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    chosen = sys.argv[1:] or ["tokens", "batches", *MAKERS]
    if chosen[0] == "once":
        train_once(*chosen[1:])
        return
    versions("torch", "spacy", "tokenizers", "fastai")
    if "tokens" in chosen:
        bench_tokens()
    if "batches" in chosen:
        bench_batches()
    for part in MAKERS:
        for which in MODELS:
            if part in chosen or which.split()[0] in chosen:
                bench_training(part, which)


if __name__ == "__main__":
    main()
