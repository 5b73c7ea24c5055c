"""ULMFiT beside fastai's with the same budget: a language model, then a classifier on its encoder.

Run `python tests/benchmarks/bench_ulmfit.py`, or name one of the libraries; `--quick` runs a few
reviews once. Texts are the clothing reviews: the sample that ships with torte, or all with
`TORTE_BENCHMARK_DATA` naming the folder of the fetched set. Both libraries run the same lines of
users' code: the same reviews, splits, sizes, dropouts, epochs, rates and limits of the vocabulary,
each with the tokens of its own tokenizer, in a process of its own with one thread. Budget: at least
as accurate as fastai.

What is done stands in a file (`--results`), a line for each library and seed, and is not done
again, so that a run may be stopped and gone on with.
"""

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import print_facts, versions

LIBRARIES = ("torte", "fastai")
SIZES = {"emb_sz": 128, "n_hid": 256, "n_layers": 2}
LABELS = 4000
MEASURES = ("accuracy", "macro F1", "next word", "perplexity")
TIMES = ("tokens", "language model", "classifier")


def reviews(quick: bool) -> pd.DataFrame:
    """Texts and whether the garment is recommended; a fifth is for validation."""
    folder = os.environ.get("TORTE_BENCHMARK_DATA")
    if folder:
        frame = pd.read_parquet(Path(folder) / "reviews.parquet")
        frame = frame.rename(columns={"Review Text": "text", "Recommended IND": "recommended"})
    else:
        from torte.data import URLs, untar_data

        frame = pd.read_csv(untar_data(URLs.REVIEWS_SAMPLE) / "reviews.csv")
    columns: Any = frame[["text", "recommended"]]
    frame = columns.dropna().drop_duplicates("text").reset_index(drop=True)
    frame = frame[:600] if quick else frame
    return frame.assign(is_valid=np.random.default_rng(0).random(len(frame)) < 0.2)


def labelled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The training reviews whose label is known, another draw for each seed, and the others."""
    train: Any = frame[~frame["is_valid"]]
    known = train.sample(min(LABELS, len(train)), random_state=seed)
    return pd.concat([known, frame[frame["is_valid"]]]).reset_index(drop=True)


class Stopwatch:
    """Processor seconds, workers' too: what others do on the machine does not count."""

    def __init__(self) -> None:
        self.last = sum(os.times()[:4])

    def lap(self) -> float:
        """Seconds since the last call."""
        before, self.last = self.last, sum(os.times()[:4])
        return self.last - before


def train_language_model(
    text: Any, frame: pd.DataFrame, path: Path, epochs: int, scores: dict[str, float]
) -> Any:
    """Learn to predict the next word of the training reviews; return the vocabulary."""
    watch = Stopwatch()
    texts = frame[~frame["is_valid"]].reset_index(drop=True)
    texts = texts.assign(is_valid=np.arange(len(texts)) % 20 == 0)
    dls = text.TextDataLoaders.from_df(
        texts, path, text_col="text", is_lm=True, valid_col="is_valid", bs=64, num_workers=0
    )
    scores["tokens"] = watch.lap()
    learn = text.language_model_learner(
        dls,
        text.AWD_LSTM,
        config={**text.awd_lstm_lm_config, **SIZES},
        drop_mult=0.3,
        pretrained=False,
        metrics=[text.accuracy, text.Perplexity()],
    )
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(epochs, 1e-2)
        scores["language model"] = watch.lap()
        _, scores["next word"], scores["perplexity"] = map(float, learn.validate())
    learn.save_encoder("language")
    return dls.vocab


def train_classifier(
    text: Any, frame: pd.DataFrame, vocab: Any, path: Path, epochs: int, scores: dict[str, float]
) -> None:
    """Learn whether a garment is recommended, unfrozen layer by layer."""
    from sklearn.metrics import accuracy_score, f1_score

    dls = text.TextDataLoaders.from_df(
        frame,
        path,
        text_col="text",
        label_col="recommended",
        valid_col="is_valid",
        text_vocab=vocab,
        bs=32,
        num_workers=0,
    )
    watch = Stopwatch()
    learn = text.text_classifier_learner(
        dls,
        text.AWD_LSTM,
        config={**text.awd_lstm_clas_config, **SIZES},
        drop_mult=0.7,
        pretrained=False,
        metrics=text.accuracy,
    )
    learn.load_encoder("language")
    lr = 2e-2
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(1, 2 * lr)
        learn.freeze_to(-2)
        learn.fit_one_cycle(1, slice(lr / 2.6**2, lr))
        learn.freeze_to(-3)
        learn.fit_one_cycle(1, slice(lr / 2 / 2.6**3, lr / 2))
        learn.unfreeze()
        learn.fit_one_cycle(epochs, slice(lr / 4 / 2.6**3, lr / 4))
        scores["classifier"] = watch.lap()
        predictions, targets = learn.get_preds()
    found, wanted = np.asarray(predictions).argmax(1), np.asarray(targets)
    scores["accuracy"] = float(accuracy_score(wanted, found))
    scores["macro F1"] = float(f1_score(wanted, found, average="macro"))


def train(library: str, seed: int, quick: bool) -> dict[str, float]:
    """Train both models by one library: what a process of its own does."""
    import torch

    torch.set_num_threads(1)
    text = importlib.import_module(f"{library}.text.all")
    frame = reviews(quick)
    scores: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        text.set_seed(seed)
        vocab = train_language_model(text, frame, Path(folder), 1 if quick else 2, scores)
        parts = labelled(frame, seed)
        train_classifier(text, parts, vocab, Path(folder), 1 if quick else 3, scores)
    return scores


def _read(results: Path) -> dict[tuple[str, int], dict[str, float]]:
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    done = map(json.loads, lines)
    return {(each["library"], each["seed"]): each["scores"] for each in done}


def run(libraries: list[str], seeds: list[int], results: Path, quick: bool) -> None:
    """Train what is chosen and not done yet, each in a process of its own."""
    for seed in seeds:
        for library in libraries:
            is_done = (library, seed) in _read(results)
            if is_done or importlib.util.find_spec(library) is None:
                continue
            command = [sys.executable, "-W", "ignore", __file__, "once", library, str(seed)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                [*command, "--quick"] if quick else command,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env=environment,
            )
            scores = json.loads(done.stdout.splitlines()[-1])
            with results.open("a", encoding="utf-8") as file:
                line = {"library": library, "seed": seed, "scores": scores}
                file.write(json.dumps(line) + "\n")
            print(library, seed, {k: round(v, 4) for k, v in scores.items()}, flush=True)  # noqa: T201


def report(results: Path) -> None:
    """Print the means and standard deviations of all that is done, and the fastest times."""
    done = _read(results)
    quality: dict[str, list[str]] = {}
    seconds: dict[str, list[str]] = {}
    for library in LIBRARIES:
        found = [scores for (name, _), scores in done.items() if name == library]
        quality[library], seconds[library] = [str(len(found))], []
        for measure in MEASURES:
            values = [scores[measure] for scores in found]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            shown = f"{statistics.mean(values):.4g}±{spread:.2g}" if values else "absent"
            quality[library].append(shown)
        for part in TIMES:
            values = [scores[part] for scores in found]
            seconds[library].append(f"{min(values):.0f} s" if values else "absent")
    print_facts("ULMFiT on the clothing reviews", ["seeds", *MEASURES], quality)
    print_facts("Processor time, the fastest of the seeds", TIMES, seconds)


def main() -> None:
    """Train and report, or train once."""
    if sys.argv[1:2] == ["once"]:
        library, seed, *rest = sys.argv[2:]
        print(json.dumps(train(library, int(seed), bool(rest))))  # noqa: T201
        return
    parser = argparse.ArgumentParser(description="ULMFiT beside fastai's.")
    parser.add_argument("libraries", nargs="*", choices=[*LIBRARIES, []], help="none: both")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="few reviews, one seed, one epoch")
    parser.add_argument("--results", type=Path, help="where what is done is kept")
    arguments = parser.parse_args()
    default = Path("outputs") / f"ulmfit{'_quick' if arguments.quick else ''}.jsonl"
    file = arguments.results or default
    file.parent.mkdir(parents=True, exist_ok=True)
    versions("torch", "spacy", "fastai")
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    run(arguments.libraries or list(LIBRARIES), seeds, file, arguments.quick)
    report(file)


if __name__ == "__main__":
    main()
