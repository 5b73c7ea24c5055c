"""Accuracy on the Adult census: torte's tabular models beside fastai's, boosting and widedeep.

Run `python tests/benchmarks/bench_tabular_accuracy.py`, or name some of the methods; `--quick` runs
the sample that ships with torte once. The full table is in the folder that `TORTE_BENCHMARK_DATA`
names. Every method trains on the same four fifths of the rows (of which those
that watch themselves hold a tenth out) and is scored on the last fifth, with five seeds. None is
tuned: each runs with its documented defaults.

What is done stands in a file (`--results`), a line for each method and seed, and is not done again,
so that a run may be stopped and gone on with, and a method whose library needs an environment of
its own (pytorch-widedeep) be run by another interpreter into the same file.
"""

import argparse
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import print_facts, versions

CATEGORIES = [
    "workclass", "education", "marital-status", "occupation", "relationship", "race", "sex",
    "native-country",
]  # fmt: skip
NUMBERS = [
    "age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week",
]  # fmt: skip
NAMES = {"educational-num": "education-num", "gender": "sex", "income": "salary"}
TARGET = "salary"
SEEDS = range(5)
Probabilities = np.ndarray


def table() -> pd.DataFrame:
    """All rows where the fetched data is, else those that ship with torte."""
    folder = os.environ.get("TORTE_BENCHMARK_DATA")
    if folder:
        df = pd.read_parquet(Path(folder) / "adult.parquet").rename(columns=NAMES)
    else:
        from torte.data import URLs, untar_data

        df = pd.read_csv(untar_data(URLs.ADULT_TINY) / "adult.csv")
    df[CATEGORIES] = df[CATEGORIES].astype(object).replace("?", None)
    # Text of Python strings: what every one of the libraries reads.
    return df[[*CATEGORIES, *NUMBERS, TARGET]].reset_index(drop=True)


def parts(df: pd.DataFrame, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows for training, for watching it, and for the score."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(df))
    rest, test = train_test_split(rows, test_size=0.2, random_state=seed, stratify=df[TARGET])
    train, valid = train_test_split(
        rest, test_size=0.1, random_state=seed, stratify=df[TARGET].iloc[rest]
    )
    return train, valid, test


def labels(df: pd.DataFrame) -> np.ndarray:
    """1 where somebody earned more than 50,000 dollars."""
    return (df[TARGET].astype(str).str.strip().str.startswith(">")).to_numpy().astype(int)


def _torte(
    arch: str, bs: int, epochs: int | None = None, **config: Any
) -> Callable[..., Probabilities]:
    """torte's `tabular_learner`."""

    def run(df: pd.DataFrame, seed: int, quick: bool) -> Probabilities:
        from torte.tabular.all import (
            Categorify,
            FillMissing,
            Normalize,
            TabularPandas,
            set_seed,
            tabular_learner,
        )

        train, valid, test = parts(df, seed)
        set_seed(seed)
        procs = [Categorify, FillMissing, Normalize]
        to = TabularPandas(df, procs, CATEGORIES, NUMBERS, TARGET, splits=(train, valid))
        learn = tabular_learner(to.dataloaders(bs=bs, val_bs=1024), arch=arch, config=config)
        with learn.no_bar(), learn.no_logging():
            learn.fit_recipe(2 if quick else epochs)
            dl = learn.dls.test_dl(df.iloc[test].drop(columns=TARGET))
            return learn.get_preds(dl=dl)[0][:, 1].numpy()

    return run


def _fastai(df: pd.DataFrame, seed: int, quick: bool) -> Probabilities:
    """fastai's `tabular_learner`, trained as its tutorial does, for five epochs."""
    from fastai.tabular.all import (
        Categorify,
        FillMissing,
        Normalize,
        TabularPandas,
        set_seed,
        tabular_learner,
    )

    train, valid, test = parts(df, seed)
    set_seed(seed)
    procs = [Categorify, FillMissing, Normalize]
    splits = (list(map(int, train)), list(map(int, valid)))
    to = TabularPandas(df.copy(), procs, list(CATEGORIES), list(NUMBERS), TARGET, splits=splits)
    learn = tabular_learner(to.dataloaders(bs=64, val_bs=1024))
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(2 if quick else 5)
        dl = learn.dls.test_dl(df.iloc[test].drop(columns=TARGET))
        return learn.get_preds(dl=dl)[0][:, 1].numpy()


def _boosting(df: pd.DataFrame, seed: int, quick: bool) -> Probabilities:
    """scikit-learn's histogram boosting; it holds a tenth out by itself and stops early."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    train, valid, test = parts(df, seed)
    inputs = df[[*CATEGORIES, *NUMBERS]].astype(dict.fromkeys(CATEGORIES, "category"))
    model = HistGradientBoostingClassifier(random_state=seed, categorical_features="from_dtype")
    rest = np.concatenate([train, valid])
    model.fit(inputs.iloc[rest], labels(df)[rest])
    return model.predict_proba(inputs.iloc[test])[:, 1]


def _widedeep(df: pd.DataFrame, seed: int, quick: bool) -> Probabilities:
    """pytorch-widedeep's wide and deep model of its first example, for five epochs."""
    from pytorch_widedeep import Trainer
    from pytorch_widedeep.models import TabMlp, Wide, WideDeep
    from pytorch_widedeep.preprocessing import TabPreprocessor, WidePreprocessor

    train, valid, test = parts(df, seed)
    torch.manual_seed(seed)
    df = df.fillna(dict.fromkeys(CATEGORIES, "?"))
    rest, y = df.iloc[np.concatenate([train, valid])], labels(df)
    wide = WidePreprocessor(wide_cols=CATEGORIES)
    deep = TabPreprocessor(cat_embed_cols=CATEGORIES, continuous_cols=NUMBERS, scale=True)
    inputs: dict[str, Any] = {"X_wide": wide.fit_transform(rest), "X_tab": deep.fit_transform(rest)}
    model = WideDeep(
        wide=Wide(input_dim=np.unique(inputs["X_wide"]).shape[0], pred_dim=1),
        deeptabular=TabMlp(
            column_idx=deep.column_idx,
            cat_embed_input=deep.cat_embed_input,
            continuous_cols=NUMBERS,
        ),
    )
    trainer = Trainer(model, objective="binary", verbose=0, num_workers=0)
    target = y[np.concatenate([train, valid])]
    trainer.fit(**inputs, target=target, n_epochs=2 if quick else 5, batch_size=64)
    held = df.iloc[test]
    found = trainer.predict_proba(X_wide=wide.transform(held), X_tab=deep.transform(held))
    return found[:, 1]


METHODS: Mapping[str, tuple[str, Callable[..., Probabilities]]] = {
    "torte MLP": ("torte", _torte("mlp", 64)),
    "torte RealMLP, 64 epochs": ("torte", _torte("realmlp", 256, 64)),
    "torte TabM, 16 of 256": ("torte", _torte("tabm", 256, k=16, layers=[256, 256])),
    "fastai MLP": ("fastai", _fastai),
    "scikit-learn HistGradientBoosting": ("sklearn", _boosting),
    "pytorch-widedeep Wide & Deep": ("pytorch_widedeep", _widedeep),
}


def _scores(y: np.ndarray, found: Probabilities) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

    found = found.astype(np.float64)
    return {
        "accuracy": float(accuracy_score(y, found > 0.5)),
        "AUC": float(roc_auc_score(y, found)),
        "log loss": float(log_loss(y, found)),
    }


def _read(results: Path) -> dict[tuple[str, int], dict[str, float]]:
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    done = map(json.loads, lines)
    return {(each["method"], each["seed"]): each["scores"] for each in done}


def run(chosen: list[str], results: Path, quick: bool) -> None:
    """Run what is chosen and not done yet."""
    df = table()
    for seed in SEEDS[:1] if quick else SEEDS:
        for name in chosen:
            library, method = METHODS[name]
            if (name, seed) in _read(results) or importlib.util.find_spec(library) is None:
                continue
            start = time.perf_counter()
            scores = _scores(labels(df)[parts(df, seed)[2]], method(df, seed, quick))
            scores["seconds"] = time.perf_counter() - start
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"method": name, "seed": seed, "scores": scores}) + "\n")
            print(name, seed, {key: round(value, 4) for key, value in scores.items()}, flush=True)  # noqa: T201


def report(results: Path) -> None:
    """Print mean and standard deviation of all that is done."""
    done = _read(results)
    rows: dict[str, list[str]] = {}
    for name in METHODS:
        found = [scores for (method, _), scores in done.items() if method == name]
        rows[name] = [f"{len(found)}"]
        for measure in ("accuracy", "AUC", "log loss"):
            values = [scores[measure] for scores in found]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            rows[name].append(f"{statistics.mean(values):.4f}±{spread:.4f}" if values else "absent")
        rows[name].append(f"{min(each['seconds'] for each in found):.0f}" if found else "")
    print_facts(
        "Adult: the last fifth of the rows, five seeds",
        ["seeds", "accuracy", "AUC", "log loss", "seconds"],
        rows,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Accuracy on the Adult census.")
    parser.add_argument("methods", nargs="*", help="parts of their names; none: all")
    parser.add_argument("--quick", action="store_true", help="one seed, two epochs")
    parser.add_argument("--results", type=Path, help="where what is done is kept")
    arguments = parser.parse_args()
    default = Path("outputs") / f"tabular_accuracy{'_quick' if arguments.quick else ''}.jsonl"
    file = arguments.results or default
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    versions("torch", "scikit-learn", "fastai", "pytorch-widedeep")
    wanted = arguments.methods
    names = [name for name in METHODS if not wanted or any(each in name for each in wanted)]
    run(names, file, arguments.quick)
    report(file)
