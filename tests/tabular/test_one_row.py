"""`predict` of a row: no loader, no frame, and to the bit what `get_preds` gives."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from torte.collab import CollabDataLoaders, collab_learner
from torte.data import Normalize
from torte.learner import Callback, load_learner
from torte.tabular import (
    Categorify,
    FillMissing,
    TabDataLoader,
    TabularDataLoaders,
    TabularProc,
    tabular_learner,
)

PROCS = [Categorify, FillMissing, Normalize]
CATS, CONTS = ["colour", "grade", "member", "day"], ["size", "price", "year"]
TARGETS = {
    "classes": "kind",
    "a number": "price_2",
    "two numbers": ["price_2", "size_2"],
    "labels": ["wet", "cold"],
}


def table(n=48):
    rng = np.random.default_rng(0)
    size = rng.normal(20, 6, n)
    return pd.DataFrame(
        {
            "colour": rng.choice(["red", "green", "blue"], n),
            "size": np.where(rng.random(n) < 0.2, np.nan, size),
            "grade": rng.integers(1, 6, n),
            "price": rng.lognormal(3, 1, n),
            "member": rng.random(n) < 0.5,
            "day": pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 4, n), "D"),
            "year": rng.integers(1990, 2024, n),
            "kind": rng.choice(["a", "b", "c"], n),
            "price_2": rng.normal(size=n),
            "size_2": rng.normal(size=n),
            "wet": rng.random(n) < 0.5,
            "cold": rng.random(n) < 0.5,
        }
    )


def loaders(target="kind", frame=None, **kwargs):
    return TabularDataLoaders.from_df(
        table() if frame is None else frame,
        procs=PROCS,
        cat_names=CATS,
        cont_names=CONTS,
        y_names=target,
        seed=1,
        bs=16,
        **kwargs,
    )


def learner(target="kind", arch="mlp", **kwargs):
    torch.manual_seed(0)
    learn = tabular_learner(loaders(target, **kwargs), arch=arch)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-2)
    return learn


@pytest.fixture(scope="module")
def trained():
    return learner()


def by_a_loader(learn, rows):
    """What `get_preds` gives for a frame of one row."""
    preds, _, decoded = learn.get_preds(dl=learn.dls.test_dl(rows), with_decoded=True)
    return decoded[0], preds[0]


def check(learn, row, rows):
    shown, decoded, preds = learn.predict(row)
    expected = by_a_loader(learn, rows)
    assert torch.equal(preds, expected[1])
    assert torch.equal(decoded, expected[0])
    return shown


@pytest.mark.parametrize("arch", ["mlp", "realmlp", "tabm"])
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_same_to_the_bit_as_a_frame_of_one_row(target, arch) -> None:
    learn, frame = learner(target, arch), table()
    for place in range(6):
        shown = check(learn, frame.iloc[place], frame[place : place + 1])
        items = shown.items
        names = [target] if isinstance(target, str) else target
        assert set(items.columns) == {*CATS, *CONTS, *names}
        assert items["colour"][0] == frame["colour"][place]
        assert items["year"][0] == pytest.approx(frame["year"][place], abs=0.01)
        if target == "kind":
            assert items["kind"][0] == learn.dls.vocab[int(learn.predict(frame.iloc[place])[1])]


def forms(rows):
    """Every form of a row that is taken."""
    return {
        "series": rows.iloc[0],
        "objects": rows.iloc[0].astype(object),
        "dictionary": rows.iloc[0].to_dict(),
        "python": {name: getattr(v, "item", lambda v=v: v)() for name, v in rows.iloc[0].items()},
        "numpy": {name: rows[name].to_numpy()[0] for name in rows},
        "pandas": rows,
        "polars": pl.from_pandas(rows),
        "arrow": pa.Table.from_pandas(rows),
        "arrow types": rows.convert_dtypes(dtype_backend="pyarrow").iloc[0],
        "nullable": rows.convert_dtypes().iloc[0],
        "text": {name: str(value) for name, value in rows.iloc[0].items()},
        "reversed, with more": dict(reversed([("else", object()), *rows.iloc[0].items()])),
    }


@pytest.mark.parametrize("form", forms(table(1)))
def test_every_form_of_a_row(trained, form) -> None:
    for place in (3, 4):
        rows = table()[place : place + 1].fillna({"size": 17.5})
        check(trained, forms(rows)[form], rows)


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "colour": ["red", "never seen", None, np.nan, pd.NA, np.str_("green"), ("a", 1)],
        "grade": [3, 3.0, "3", np.int8(3), np.float32(3), True, 99, None, pd.NA, Decimal(3)],
        "member": [True, 1, 1.0, "True", np.True_, None],
        "day": [
            datetime.date(2024, 1, 2),
            datetime.datetime(2024, 1, 2),
            np.datetime64("2024-01-02"),
            pd.Timestamp("2024-01-02"),
            "2024-01-02",
            pd.NaT,
        ],
        "size": [20, 20.5, "20.5", np.float32(20.5), np.int16(20), False, Decimal("20.5"), 10**25],
        "price": [None, np.nan, pd.NA, "nan"],
        "year": [2000, 1e-300, -0.0, np.uint8(7), pd.NA],
    }.items(),
)
def test_values_are_read_as_in_a_frame(trained, name, values) -> None:
    row = table().iloc[3].to_dict()
    for value in values:
        changed = {**row, name: value}
        check(trained, changed, pd.DataFrame([changed]))


def test_rows_of_a_learner_from_a_file(trained, tmp_path) -> None:
    again = load_learner(trained.export(tmp_path / "rows.safetensors"))
    row = table().iloc[5]
    for mine, its in zip(trained.predict(row)[1:], again.predict(row)[1:], strict=True):
        assert torch.equal(mine, its)
    shown = check(again, row.to_dict(), row.to_frame().T)
    assert shown.items["kind"][0] == trained.predict(row)[0].items["kind"][0]


def test_no_loader_is_made_unless_somebody_listens(trained, monkeypatch) -> None:
    row, made = table().iloc[0], []
    init = TabDataLoader.__init__
    monkeypatch.setattr(
        TabDataLoader, "__init__", lambda self, *a, **k: (made.append(1), init(self, *a, **k))[1]
    )
    short = trained.predict(row)
    assert not made
    heard = []
    with trained.added_cbs(Callback(after_pred=lambda callback: heard.append(1))):
        long = trained.predict(row)
    assert made
    assert heard == [1]
    assert torch.equal(short[2], long[2])
    assert torch.equal(short[1], long[1])
    pd.testing.assert_frame_equal(short[0].items, long[0].items)


def test_nothing_is_left_changed(trained) -> None:
    trained.model.train()
    state = torch.get_rng_state()
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    trained.predict(table().iloc[0])
    assert trained.model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], v) for name, v in trained.model.state_dict().items())


def test_what_is_no_row_is_refused(trained) -> None:
    frame = table()
    for several in (frame[:3], pl.from_pandas(frame[:3]), pa.Table.from_pandas(frame[:3])):
        with pytest.raises(
            ValueError, match=r"one row, got a frame of 3.*get_preds\(dl=learn\.dls"
        ):
            trained.predict(several)
    with pytest.raises(ValueError, match="one row, got a frame of 0"):
        trained.predict(frame[:0])
    with pytest.raises(TypeError, match="a dictionary, a pandas Series or a frame of one row, got"):
        trained.predict([1, 2])
    with pytest.raises(KeyError, match="no column 'colour'"):
        trained.predict(frame.iloc[0].drop("colour"))
    with pytest.raises(
        ValueError, match=r"column 'size' is among the continuous.*'big' is no numb"
    ):
        trained.predict({**frame.iloc[0], "size": "big"})


class Halves(TabularProc):
    """A proc that works on the frame itself, as a user may write one."""

    order = -1

    def encodes(self, to) -> None:
        to.set_columns({"price": to.items["price"].to_numpy() / 2})


def test_procs_that_read_the_frame() -> None:
    frame = table()
    dls = TabularDataLoaders.from_df(
        frame, procs=[Halves, *PROCS], cat_names=CATS, cont_names=CONTS, y_names="kind", seed=1
    )
    check(tabular_learner(dls), frame.iloc[2], frame[2:3])


def test_loaders_that_make_batches_in_their_own_way() -> None:
    class Doubled(TabDataLoader):
        def do_batch(self, b):
            codes, numbers, *rest = super().do_batch(b)
            return (codes, numbers * 2, *rest)

    frame = table()
    learn = tabular_learner(loaders(dl_type=Doubled))
    check(learn, frame.iloc[2], frame[2:3])
    learn = tabular_learner(loaders(after_batch=lambda x: x * 2 if x.is_floating_point() else x))
    check(learn, frame.iloc[2], frame[2:3])


def test_a_polars_table_and_a_streamed_one(tmp_path) -> None:
    frame = table()
    learn = tabular_learner(loaders(frame=pl.from_pandas(frame)))
    assert isinstance(check(learn, frame.iloc[2], frame[2:3]).items, pd.DataFrame)
    shown, *_ = learn.predict(pl.from_pandas(frame[2:3]))
    assert isinstance(shown.items, pl.DataFrame)
    frame.to_parquet(tmp_path / "t.parquet")
    dls = TabularDataLoaders.stream_parquet(
        tmp_path / "t.parquet", procs=PROCS, cat_names=CATS, cont_names=CONTS, y_names="kind", bs=16
    )
    check(tabular_learner(dls), frame.iloc[2], frame[2:3])


@pytest.mark.parametrize("kind", ["plain", "sides", "neural", "implicit"])
def test_ratings(kind) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "user": rng.integers(0, 9, 60),
            "item": rng.choice(list("abcdefg"), 60),
            "rating": rng.integers(1, 6, 60).astype(float),
            "age": rng.normal(40, 9, 60),
            "hour": rng.choice(["am", "pm"], 60),
        }
    )
    sides = {} if kind == "plain" else {"user_cols": "age", "cat_names": "hour"}
    implicit = kind == "implicit"
    dls = CollabDataLoaders.from_df(frame, seed=1, bs=8, implicit=implicit, **sides)
    learn = collab_learner(dls, n_factors=4, use_nn=kind == "neural")
    for place in (0, 7):
        row = frame.iloc[place].to_dict()
        check(learn, row, frame[place : place + 1])
        strange = {**row, "user": "nobody"}
        check(learn, strange, pd.DataFrame([strange]))
