"""Ratings of films: MovieLens 100K beside fastai, implicit and published figures.

Run with `OMP_NUM_THREADS=1 python tests/benchmarks/bench_collab.py`, or one part of it: `training`,
`ranking`, `folds`; `--quick` for a look. The ratings may not be shipped: `TORTE_BENCHMARK_DATA`
names the folder that holds `movielens100k.parquet`, and without it nothing is run. Budgets: five
epochs at the paper's settings at least 4 times as fast as fastai, with a squared error of at most
0.872; recommendations at least level with implicit's.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import print_facts, print_table, record, timing, versions

HAS_FASTAI = importlib.util.find_spec("fastai") is not None
HAS_IMPLICIT = importlib.util.find_spec("implicit") is not None
BATCH, EPOCHS, LR, FACTORS = 64, 5, 5e-3, 50
LISTS = 10
USER, ITEM, RATING, WHEN = "user", "item", "rating", "when"
Splits = tuple[list[int], list[int]]


def ratings() -> pd.DataFrame:
    """The 100,000 ratings in the order of the file."""
    table = pd.read_parquet(Path(os.environ["TORTE_BENCHMARK_DATA"]) / "movielens100k.parquet")
    table.columns = [USER, ITEM, RATING, WHEN]
    return table.astype({RATING: "float32"})


def random_split(count: int, seed: int) -> Splits:
    """A random fifth of the rows for validation."""
    order = np.random.default_rng(seed).permutation(count).tolist()
    return order[count // 5 :], order[: count // 5]


# -- training --------------------------------------------------------------------------------------


def torte_learner(table: pd.DataFrame, splits: Splits, y_range: tuple[float, float]) -> Any:
    """The model of the paper."""
    from torte.collab.all import CollabDataLoaders, collab_learner

    dls = CollabDataLoaders.from_df(table, splitter=lambda _: splits, bs=BATCH, device="cpu")
    return collab_learner(dls, n_factors=FACTORS, y_range=y_range)


def fastai_learner(table: pd.DataFrame, splits: Splits, y_range: tuple[float, float]) -> Any:
    """The same of fastai."""
    from fastai.collab import (
        Categorify,
        CollabDataLoaders,
        TabularCollab,
        TransformBlock,
        collab_learner,
    )

    made = TabularCollab(
        table, [Categorify], [USER, ITEM], y_names=[RATING], y_block=TransformBlock(), splits=splits
    )
    loaders = made.dataloaders(bs=BATCH, device="cpu")
    dls = CollabDataLoaders(*loaders.loaders, device="cpu")
    return collab_learner(dls, n_factors=FACTORS, y_range=y_range)


MAKERS = {"torte": torte_learner, "fastai": fastai_learner}


def train_once(name: str, seed: int, wd: float | None, epochs: int) -> None:
    """Train in this process and print seconds and the squared error as JSON."""
    table = ratings()
    torch.manual_seed(seed)
    learn = MAKERS[name](table, random_split(len(table), seed), (0, 5.5))
    with learn.no_bar(), learn.no_logging():
        start = time.perf_counter()
        learn.fit_one_cycle(epochs, LR, wd=wd)
        taken = time.perf_counter() - start
        error = float(learn.validate()[0])
    print(json.dumps([taken, error]))  # noqa: T201


def bench_training(quick: bool) -> None:
    """Five epochs on random splits, each in a process of its own, in turns."""
    names = [name for name in MAKERS if name != "fastai" or HAS_FASTAI]
    seeds, epochs = (1, 1) if quick else (5, EPOCHS)
    for wd in (None, 0.1):
        found: dict[str, list[list[float]]] = {name: [] for name in names}
        for seed in range(seeds):
            for name in names if seed % 2 == 0 else reversed(names):
                once = ["once", name, "--seed", str(seed), "--epochs", str(epochs)]
                once += [] if wd is None else ["--wd", str(wd)]
                command = [sys.executable, "-W", "ignore", __file__, *once]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
        decay = "the default weight decay" if wd is None else f"weight decay {wd}"
        timings = {name: timing([taken for taken, _ in each]) for name, each in found.items()}
        absent = () if HAS_FASTAI else ("fastai",)
        print_table(f"{epochs} epochs, batches of {BATCH}, {decay}", timings, "torte", absent)
        errors = {name: [error for _, error in each] for name, each in found.items()}
        rows = {
            name: [statistics.mean(each), " ".join(f"{error:.4f}" for error in each)]
            for name, each in errors.items()
        }
        print_facts(f"Squared error in validation, {decay}", ["mean", "by split"], rows)


# -- folds -----------------------------------------------------------------------------------------

PUBLISHED = {
    "Surprise's SVD, random folds (its PyPI page, 1.1.4)": 0.9355,
    "GC-MC, u1 alone (van den Berg et al. 2017)": 0.910,
    "GC-MC with features, u1 alone (the same)": 0.905,
}


def bench_folds(quick: bool) -> None:
    """Five disjoint fifths, each tested on once, in the style of u1 to u5.

    The published files of u1 to u5 are other fifths of the same ratings; these here are drawn.
    """
    table = ratings()
    order = np.random.default_rng(0).permutation(len(table))
    folds = [part.tolist() for part in np.array_split(order, 5)]
    errors: list[float] = []
    for place, fold in enumerate(folds[: 1 if quick else 5]):
        rest = [row for other in folds if other is not fold for row in other]
        torch.manual_seed(place)
        learn = torte_learner(table, (rest, fold), (0.5, 5.5))
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(1 if quick else EPOCHS, LR, wd=0.1)
            errors.append(float(learn.validate()[0]) ** 0.5)
    own = {"torte, drawn folds": [statistics.mean(errors), " ".join(f"{e:.4f}" for e in errors)]}
    rows = own | {name: [value, "published"] for name, value in PUBLISHED.items()}
    print_facts("Root mean squared error over five folds", ["mean", "by fold"], rows)


# -- ranking ---------------------------------------------------------------------------------------

Lists = Callable[[pd.DataFrame, pd.DataFrame, int], tuple[dict[str, Any], float]]


def torte_ranking(
    train: pd.DataFrame, held: pd.DataFrame, seed: int, loss: str, **settings: Any
) -> tuple[dict[str, Any], float]:
    """Train on pairs, return the metrics of the lists and the seconds of the training."""
    from torte.collab import all as torte

    both, count = pd.concat([train, held], ignore_index=True), len(train)
    given = {"n_negatives": settings["n_negatives"], "popularity": settings["popularity"]}
    dls = torte.CollabDataLoaders.from_df(
        both,
        splitter=lambda _: (range(count), range(count, len(both))),
        implicit=True,
        bs=settings["bs"],
        device="cpu",
        **given,
    )
    torte.set_seed(seed)
    loss_func = getattr(torte, loss)()
    learn = torte.collab_learner(dls, n_factors=settings["n_factors"], loss_func=loss_func)
    with learn.no_bar(), learn.no_logging():
        start = time.perf_counter()
        learn.fit_one_cycle(settings["epochs"], settings["lr"], wd=settings["wd"])
        taken = time.perf_counter() - start
    return learn.evaluate_ranking(k=LISTS), taken


def implicit_ranking(
    train: pd.DataFrame, held: pd.DataFrame, seed: int, kind: str, **settings: Any
) -> tuple[dict[str, Any], float]:
    """The same of one of implicit's models."""
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking
    from scipy.sparse import csr_matrix
    from torte.collab import RankingScores, SeenItems

    users, user_codes = np.unique(train[USER], return_inverse=True)
    items, item_codes = np.unique(train[ITEM], return_inverse=True)
    pairs = csr_matrix((np.ones(len(train), np.float32), (user_codes, item_codes)))
    made = {"ALS": AlternatingLeastSquares, "BPR": BayesianPersonalizedRanking}[kind]
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    model = made(random_state=seed, num_threads=threads, **settings)
    start = time.perf_counter()
    model.fit(pairs, show_progress=False)
    taken = time.perf_counter() - start
    known = held[held[ITEM].isin(items) & held[USER].isin(users)]
    wanted = (np.searchsorted(users, known[USER]), np.searchsorted(items, known[ITEM]))
    scores = RankingScores(SeenItems.from_pairs(*wanted, len(users)), len(items))
    lists, _ = model.recommend(np.arange(len(users)), pairs, N=LISTS)
    scores.update(torch.arange(len(users)), torch.from_numpy(lists.astype(np.int64)))
    return scores.compute(), taken


# The settings of each that did best on the last film but one: of 36 of ALS, 36 of BPR, 12 of torte.
RANKERS: dict[str, Lists] = {
    "torte, sampled softmax": partial(
        torte_ranking, loss="SampledSoftmaxLoss", n_factors=50, n_negatives=32, popularity=0.0,
        bs=1024, epochs=10, lr=0.06, wd=0.3,
    ),
    "torte, BPR": partial(
        torte_ranking, loss="BPRLoss", n_factors=50, n_negatives=8, popularity=0.0,
        bs=1024, epochs=20, lr=0.06, wd=0.2,
    ),
    "implicit, ALS": partial(
        implicit_ranking, kind="ALS", factors=128, regularization=0.1, alpha=4.0, iterations=15
    ),
    "implicit, BPR": partial(
        implicit_ranking, kind="BPR", factors=64, learning_rate=0.01, regularization=0.001,
        iterations=100,
    ),
}  # fmt: skip


def _leave_last_out(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    from torte.collab import LeaveLastOut

    train, held = (list(part) for part in LeaveLastOut(WHEN, user_name=USER)(table))
    return table.iloc[train], table.iloc[held]


def bench_ranking(quick: bool) -> None:
    """The last film of each user, looked for among all that the user has not seen."""
    train, test = _leave_last_out(ratings()[[USER, ITEM, WHEN]])
    absent = {} if HAS_IMPLICIT else {"implicit": ["absent"] * 5}
    rows: dict[str, list[Any]] = {}
    for name, rank in RANKERS.items():
        if name.startswith("implicit") and not HAS_IMPLICIT:
            continue
        found = [rank(train, test, seed) for seed in range(1 if quick else 5)]
        means = [
            statistics.mean(metrics[kind] for metrics, _ in found)
            for kind in ("ndcg", "recall", "mrr", "coverage")
        ]
        rows[name] = [*means, min(taken for _, taken in found)]
    columns = [f"NDCG at {LISTS}", "recall", "MRR", "coverage", "seconds"]
    print_facts("The last film of each user, by the others", columns, rows | absent)


PARTS = {"training": bench_training, "ranking": bench_ranking, "folds": bench_folds}


def main() -> None:
    """Print the tables of the parts that are named, or of all."""
    parser = argparse.ArgumentParser(description="Ratings of films beside fastai and implicit.")
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="one epoch, one split")
    parser.add_argument("--seed", type=int, default=0, help="for `once torte`, one training")
    parser.add_argument("--wd", type=float, help="for `once`")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="for `once`")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if arguments.parts[:1] == ["once"]:
        train_once(arguments.parts[1], arguments.seed, arguments.wd, arguments.epochs)
        return
    versions("torch", "fastai", "implicit")
    if "TORTE_BENCHMARK_DATA" not in os.environ:
        text = "MovieLens 100K is not here (`--data`), so nothing that needs it was run."
        record("note", text=text)
        print(text)  # noqa: T201
        return
    for name in arguments.parts or PARTS:
        PARTS[name](arguments.quick)


if __name__ == "__main__":
    main()
