"""Lags, windows and horizons, beside pandas' own shift and rolling."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torte.data import Normalize
from torte.tabular import (
    Categorify,
    FillMissing,
    TabularPandas,
    add_horizons,
    add_lags,
    add_windows,
    tabular_learner,
)


@pytest.fixture
def df() -> pd.DataFrame:
    """Three shops of different lengths, two kinds, rows in no order, values missing."""
    rng = np.random.default_rng(2)
    days = pd.date_range("2024-01-01", periods=40)
    parts = [
        pd.DataFrame({"shop": shop, "kind": kind, "day": days[:length]})
        for shop, kind, length in [("b", 1, 40), ("a", 1, 25), ("a", 2, 3), ("c", 1, 1)]
    ]
    df = pd.concat(parts, ignore_index=True)
    df["sales"] = rng.normal(100, 20, len(df))
    df.loc[rng.choice(len(df), 9), "sales"] = np.nan
    return df.sample(frac=1, random_state=0)


def _reference(df: pd.DataFrame, of) -> np.ndarray:
    ordered = df.sort_values("day")
    return ordered.groupby(["shop", "kind"])["sales"].transform(of)[df.index].to_numpy()


ROLES = {"by": ["shop", "kind"], "order": "day"}


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_lags_and_horizons_are_shifts_of_each_series(df, library) -> None:
    frame = df if library == "pandas" else pl.from_pandas(df)
    lagged = add_lags(frame, "sales", [1, 7], **ROLES)
    ahead = add_horizons(frame, "sales", 2, **ROLES)
    assert type(lagged) is type(frame)
    for found, name, step in [(lagged, "lag1", 1), (lagged, "lag7", 7), (ahead, "ahead2", -2)]:
        expected = _reference(df, lambda s, step=step: s.shift(step))
        np.testing.assert_array_equal(found[f"sales_{name}"].to_numpy(), expected)
    assert list(lagged["day"]) == list(frame["day"]), "rows stay where they were"
    assert "sales_lag1" not in frame.columns


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("min_rows", [1, 3])
def test_windows_are_rolling_statistics_of_the_rows_before(df, library, min_rows) -> None:
    frame = df if library == "pandas" else pl.from_pandas(df)
    statistics = ["mean", "std", "min", "max", "sum"]
    found = add_windows(frame, "sales", [3, 14], statistics, min_rows=min_rows, **ROLES)
    for size in (3, 14):
        for name in statistics:
            expected = _reference(
                df,
                lambda s, size=size, name=name: getattr(
                    s.shift(1).rolling(size, min_periods=min_rows), name
                )(),
            )
            column = found[f"sales_{name}{size}"].to_numpy()
            np.testing.assert_allclose(column, expected, rtol=1e-9, atol=1e-9)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-9, 9)), min_size=1, max_size=40), st.data())
@settings(max_examples=40, deadline=None)
def test_no_row_sees_itself_or_what_comes_after(rows, data) -> None:
    df = pd.DataFrame(rows, columns=["series", "value"])
    place = data.draw(st.integers(0, len(df) - 1))
    changed = df.copy()
    changed.loc[place:, "value"] += 100.0

    def past(frame: pd.DataFrame) -> pd.DataFrame:
        lagged = add_lags(frame, "value", [1, 2], by="series")
        return add_windows(lagged, "value", 3, by="series").drop(columns="value")

    pd.testing.assert_frame_equal(past(df)[: place + 1], past(changed)[: place + 1])


def test_blocks_of_windows_join_seamlessly(df, monkeypatch) -> None:
    whole = add_windows(df, "sales", 5, **ROLES)
    monkeypatch.setattr("torte.tabular.timeseries._BLOCK", 35)
    pd.testing.assert_frame_equal(add_windows(df, "sales", 5, **ROLES), whole)
    assert add_windows(df[:0], "sales", 5, **ROLES).shape == (0, 8)


def test_what_cannot_be_ordered_is_refused_by_row_and_column(df) -> None:
    twice = pd.concat([df, df[:1]], ignore_index=True)
    with pytest.raises(ValueError, match=r"row 69 has the same 'day' .* drop one"):
        add_lags(twice, "sales", 1, **ROLES)
    gap = pd.DataFrame({"day": [1, 2, 4], "sales": [1.0, 2.0, 3.0]})
    assert add_lags(gap, "sales", 1, order="day")["sales_lag1"].tolist()[1:] == [1.0, 2.0]
    with pytest.raises(ValueError, match=r"row 2 is 2 behind the one before in 'day', not 1"):
        add_lags(gap, "sales", 1, order="day", every=1)
    holey = df.drop(index=df[(df["shop"] == "b") & (df["day"] == "2024-01-05")].index)
    with pytest.raises(ValueError, match=r"is 172800 behind"):
        add_lags(holey, "sales", 1, every=np.timedelta64(1, "D"), **ROLES)
    with pytest.raises(ValueError, match=r"column 'shop' is missing in row 0"):
        add_lags(df.assign(shop=None), "sales", 1, by="shop")
    with pytest.raises(ValueError, match=r"column 'day' is missing in row 3"):
        add_lags(gap.reindex(range(4)), "sales", 1, order="day")
    with pytest.raises(ValueError, match=r"lag of 0 rows"):
        add_lags(df, "sales", [1, 0])
    with pytest.raises(ValueError, match=r"no statistics \['mode'\]"):
        add_windows(df, "sales", 3, "mode")
    with pytest.raises(KeyError, match="no column 'sale': did you mean 'sales'"):
        add_lags(df, "sale", 1)


def test_a_forecast_from_lags_beats_the_value_of_a_week_ago() -> None:
    rng = np.random.default_rng(0)
    day, shop = np.arange(500), np.arange(4)[:, None]
    level = 50 + 20 * shop + 0.05 * day + 15 * np.sin(2 * np.pi * (day + shop) / 7)
    sales = level + rng.normal(0, 4, level.shape)
    df = pd.DataFrame({"day": np.tile(day, 4), "shop": np.repeat([*"abcd"], 500)})
    df["sales"] = sales.ravel()
    roles = {"by": "shop", "order": "day", "every": 1}
    df = add_lags(df, "sales", range(1, 15), **roles)
    df = add_horizons(add_windows(df, "sales", [7, 28], **roles), "sales", 1, **roles)
    df["week_ago"] = add_lags(df, "sales", 6, **roles)["sales_lag6"]
    df = df[df["day"].between(28, 498)].reset_index(drop=True)
    late = df["day"] >= 400
    inputs = [name for name in df.columns if name.startswith("sales") and "ahead" not in name]
    splits = (np.flatnonzero(~late), np.flatnonzero(late))
    procs = [Categorify, FillMissing, Normalize]
    to = TabularPandas(df, procs, "shop", inputs, "sales_ahead1", splits=splits)
    config = {"k": 4, "layers": [32]}
    learn = tabular_learner(to.dataloaders(bs=64), arch="tabm", config=config)
    with learn.no_bar(), learn.no_logging():
        learn.fit_recipe(8)
        predictions, targets = learn.get_preds()
    error = float((predictions - targets).abs().mean())
    target = df.loc[late, "sales_ahead1"]
    naive = float((df.loc[late, "sales"] - target).abs().mean())
    seasonal = float((df.loc[late, "week_ago"] - target).abs().mean())
    assert error < 0.9 * min(naive, seasonal)
