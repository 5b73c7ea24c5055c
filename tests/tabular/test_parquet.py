"""Streaming a Parquet file in row groups, beside the same rows in memory."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torte.data import Normalize
from torte.learner import load_learner
from torte.tabular import (
    Categorify,
    FillMissing,
    NumberSummary,
    TabularDataLoaders,
    TabularPandas,
    tabular_learner,
)

PROCS = [Categorify, FillMissing, Normalize]
ROLES = {"cat_names": ["kind", "size"], "cont_names": ["price", "row"], "y_names": "label"}


@pytest.fixture(scope="module")
def df() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    price = rng.normal(100, 5, 1000)
    price[::13] = np.nan
    return pd.DataFrame(
        {
            "row": np.arange(1000),
            "kind": rng.choice(["a", "b", None, "c"], 1000),
            "size": rng.integers(0, 5, 1000),
            "price": price,
            "label": rng.choice(["no", "yes"], 1000),
            "other": 1,
        }
    )


@pytest.fixture(scope="module")
def file(df, tmp_path_factory):
    path = tmp_path_factory.mktemp("parquet") / "rows.parquet"
    df.to_parquet(path, row_group_size=64)
    return path


def _stream(file, **kwargs):
    return TabularDataLoaders.stream_parquet(
        file, procs=PROCS, **ROLES, **{"bs": 32, "seed": 5, **kwargs}
    )


def _rows(dl, epochs: int = 1) -> list[list[int]]:
    place = list(dl.dataset.cont_names).index("row")
    norm = dl.dataset.procs.fs[-1]
    found = [torch.cat([batch[1][:, place] for batch in dl]) for _ in range(epochs)]
    return [(part * norm.std[place] + norm.mean[place]).round().int().tolist() for part in found]


def test_what_is_learned_is_what_the_rows_in_memory_teach(df, file) -> None:
    dls = _stream(file)
    valid = _rows(dls.valid)[0]
    train = [row for row in range(1000) if row not in set(valid)]
    assert 120 < len(valid) < 280
    assert (len(dls.train.dataset), len(dls.valid.dataset)) == (len(train), len(valid))
    table = TabularPandas(df, PROCS, **ROLES, splits=(train, valid))
    for name, words in table.classes.items():
        assert list(words) == list(dls.train.dataset.classes[name])
    for mine, other in zip(dls.train.dataset.procs.fs, table.procs.fs, strict=True):
        if isinstance(mine, FillMissing):
            assert mine.na_dict == other.na_dict
        if isinstance(mine, Normalize):
            torch.testing.assert_close(mine.mean, other.mean)
            torch.testing.assert_close(mine.std, other.std)
    expected = table.dataloaders(32).valid
    for streamed, held in zip(dls.valid, expected, strict=True):
        for part, other in zip(streamed, held, strict=True):
            torch.testing.assert_close(torch.as_tensor(part), torch.as_tensor(other))


def test_each_pass_has_every_row_once_in_an_order_from_seed_and_epoch(file) -> None:
    first, second = _rows(_stream(file, bs=1).train, 2)
    assert sorted(first) == sorted(second)
    assert len(set(first)) == len(first)
    assert first != second
    assert _rows(_stream(file, bs=1).train, 2) == [first, second]
    assert _rows(_stream(file, bs=1, n_mixed=1).train)[0] != first
    ahead = np.diff(first)
    assert (ahead == 1).mean() < 0.05


def test_a_pass_is_taken_up_in_the_middle(file) -> None:
    dls = _stream(file)
    whole = [batch[1] for batch in dls.train]
    dls = _stream(file)
    passing = iter(dls.train)
    for _ in range(5):
        next(passing)
    state = dls.train.state_dict()
    passing.close()
    again = _stream(file)
    again.train.load_state_dict(state)
    for batch, expected in zip(again.train, whole[5:], strict=True):
        torch.testing.assert_close(batch[1], expected)


@pytest.mark.parametrize("arch", ["mlp", "realmlp"])
def test_a_learner_trains_on_it_and_is_exported(df, file, tmp_path, arch) -> None:
    learn = tabular_learner(_stream(file), layers=[8], arch=arch, path=tmp_path)
    with learn.no_bar(), learn.no_logging():
        learn.fit_recipe(1)
    predictions, targets = learn.get_preds()
    assert len(predictions) == len(targets) == len(learn.dls.valid.dataset)
    row, label, _ = learn.predict(df.iloc[3])
    assert row["label"][0] == learn.dls.vocab[int(label)]
    again = load_learner(learn.export("streamed.torte"))
    expected, _ = learn.get_preds(dl=learn.dls.test_dl(df.head(9)))
    found, _ = again.get_preds(dl=again.dls.test_dl(df.head(9)))
    torch.testing.assert_close(found, expected)


def test_a_column_that_is_not_there_is_named(file) -> None:
    with pytest.raises(KeyError, match="'prize'"):
        TabularDataLoaders.stream_parquet(file, procs=PROCS, cont_names=["prize"])


def test_moments_in_parts_are_those_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(1e6, 3, 5000)
    values[::7] = np.nan
    summary = NumberSummary()
    for part in np.array_split(values, 37):
        summary.add(part)
    present = values[~np.isnan(values)]
    assert summary.missing == np.isnan(values).sum()
    assert summary.mean == pytest.approx(present.mean(), rel=1e-14)
    assert summary.std == pytest.approx(present.std(), rel=1e-9)
    summary.fill(5.0)
    filled = np.nan_to_num(values, nan=5.0)
    assert summary.mean == pytest.approx(filled.mean(), rel=1e-12)
    assert summary.std == pytest.approx(filled.std(), rel=1e-9)


STREAM = """
import re, sys
from pathlib import Path
from torte.data import Normalize
from torte.tabular import Categorify, FillMissing, TabularDataLoaders

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text()).group(1))

def stream(file):
    dls = TabularDataLoaders.stream_parquet(
        file, procs=[Categorify, FillMissing, Normalize],
        cat_names=[f"c{n}" for n in range(9)], cont_names="x", y_names="y", bs=4096, n_mixed=2,
    )
    rows = sum(len(batch[0]) for loader in dls.loaders for batch in loader)
    return rows, peak()

few, at_first = stream(sys.argv[1])
many, in_the_end = stream(sys.argv[2])
print(few, many, (in_the_end - at_first) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's peak memory from /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path) -> None:
    files = []
    for n_groups in (4, 60):
        rng = np.random.default_rng(n_groups)
        rows = 20_000 * n_groups
        columns = {f"c{n}": rng.integers(0, 50, rows) for n in range(9)}
        df = pd.DataFrame({**columns, "x": rng.random(rows), "y": rng.random(rows) < 0.5})
        files.append(tmp_path / f"{n_groups}.parquet")
        df.to_parquet(files[-1], row_group_size=20_000)
    command = [sys.executable, "-c", STREAM, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    few, many, grown = map(float, done.stdout.split())
    assert many > 14 * few
    # The values alone of 1,200,000 rows take 100 MiB; what grows is the sample for the median, and
    # by how much the system rounds memory up.
    assert grown < 75
