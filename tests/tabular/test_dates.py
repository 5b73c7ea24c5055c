"""Features of dates equal what the standard library says, in any resolution and time zone."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from torte.tabular import (
    add_cyclic_datepart,
    add_datepart,
    add_elapsed_times,
    df_shrink,
    make_date,
)

MOMENTS = [
    datetime.datetime(2020, 2, 29, 13, 45, 10),
    datetime.datetime(2019, 12, 31),
    datetime.datetime(2021, 1, 1),
    datetime.datetime(1965, 7, 14, 23, 59, 59),
]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_every_resolution_gives_the_same_features(unit) -> None:
    df = pd.DataFrame({"SaleDate": pd.Series(MOMENTS).astype(f"datetime64[{unit}]")})
    added = add_datepart(df, "SaleDate", time=True)
    assert "SaleDate" not in added.columns
    assert added["SaleYear"].tolist() == [moment.year for moment in MOMENTS]
    assert added["SaleWeek"].tolist() == [moment.isocalendar().week for moment in MOMENTS]
    assert added["SaleDayofweek"].tolist() == [moment.weekday() for moment in MOMENTS]
    assert added["SaleDayofyear"].tolist() == [moment.timetuple().tm_yday for moment in MOMENTS]
    assert added["SaleIs_year_end"].tolist() == [False, True, False, False]
    assert added["SaleIs_month_start"].tolist() == [False, False, True, False]
    assert added["SaleSecond"].tolist() == [moment.second for moment in MOMENTS]
    utc = [moment.replace(tzinfo=datetime.UTC).timestamp() for moment in MOMENTS]
    assert added["SaleElapsed"].tolist() == utc


def test_a_time_zone_keeps_the_wall_clock_and_counts_seconds_in_utc() -> None:
    berlin = pd.Series(pd.to_datetime(["2021-06-01 00:30"])).dt.tz_localize("Europe/Berlin")
    added = add_datepart(pd.DataFrame({"date": berlin}), "date", time=True)
    assert added["Hour"].tolist() == [0]
    assert added["Day"].tolist() == [1]
    expected = datetime.datetime(2021, 5, 31, 22, 30, tzinfo=datetime.UTC).timestamp()
    assert added["Elapsed"].tolist() == [expected]


def test_polars_and_texts_give_what_pandas_gives() -> None:
    days = ["2020-02-29", "2021-01-01"]
    from_text = add_datepart(pd.DataFrame({"d": days}), "d", prefix="x_")
    frame = pl.DataFrame({"d": [datetime.date.fromisoformat(day) for day in days]})
    from_polars = add_datepart(frame, "d", prefix="x_")
    assert "d" in frame.columns
    for name in from_text.columns:
        assert from_text[name].tolist() == from_polars[name].to_list(), name


def test_a_missing_date_gives_missing_features() -> None:
    added = add_datepart(pd.DataFrame({"d": pd.to_datetime(["2020-02-29", None])}), "d")
    assert np.isnan(added["dYear"][1])
    assert np.isnan(added["dElapsed"][1])
    assert added["dMonth"][0] == 2


def test_no_dates_are_refused_with_the_column() -> None:
    with pytest.raises(ValueError, match="column 'd' does not hold dates"):
        add_datepart(pd.DataFrame({"d": ["soon"]}), "d")
    with pytest.raises(ValueError, match="column 'd' does not hold dates"):
        make_date(pd.DataFrame({"d": ["soon"]}), "d")


def test_cyclic_features_lie_on_the_unit_circle_and_wrap_around() -> None:
    days = pd.DataFrame({"d": pd.to_datetime(["2021-12-31", "2022-01-01", "2022-07-02"])})
    added = add_cyclic_datepart(days, "d", drop=False)
    circle = added["dday_year_cos"] ** 2 + added["dday_year_sin"] ** 2
    np.testing.assert_allclose(circle, 1.0)
    points = added[["dday_year_cos", "dday_year_sin"]].to_numpy()
    assert np.linalg.norm(points[0] - points[1]) < 0.02
    assert np.linalg.norm(points[1] - points[2]) > 1.99


def test_elapsed_times_count_days_to_the_events_of_the_same_base() -> None:
    df = pd.DataFrame(
        {
            "date": ["2019-12-04", "2019-11-29", "2019-11-15", "2019-10-24"],
            "event": [False, True, False, True],
            "base": [1, 1, 2, 2],
        }
    )
    added = add_elapsed_times(df, ["event"], "date", "base")
    assert added["event"].tolist() == [False, True, False, True]
    assert added["Afterevent"].tolist() == [5, 0, 22, 0]
    assert added["Beforeevent"].tolist() == [0, 0, 0, 0]
    assert added["event_bw"].tolist() == [1.0, 1.0, 1.0, 1.0]
    assert added["event_fw"].tolist() == [0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("function", [add_datepart, add_cyclic_datepart, make_date])
def test_numbers_are_no_dates(function):
    df = pd.DataFrame({"day": [20200101, 20200102]})
    with pytest.raises(ValueError, match=r"column 'day' holds numbers \(Int64\), not dates"):
        function(df, "day")
    assert list(df.columns) == ["day"]


def elapsed_frame(**columns):
    dates = pd.Series(["2020-01-01", "2020-01-02", "2020-01-03"])
    return pd.DataFrame({"date": dates, "store": [1, 1, 1], "sale": [1, 0, 1], **columns})


@pytest.mark.parametrize(
    "events",
    [[True, None, True], [1.0, np.nan, 2.0], pd.array([1, None, 1], dtype="Int64")],
    ids=["objects", "floats", "nullable"],
)
def test_a_missing_event_is_none(events):
    df = elapsed_frame(sale=events)
    found = add_elapsed_times(df, "sale", "date", "store")
    assert found["Aftersale"].tolist() == [0, 1, 0]
    assert found["sale_bw"].tolist() == [1, 1, 2]
    assert df["date"].tolist() == ["2020-01-01", "2020-01-02", "2020-01-03"]  # as it was


def test_what_elapsed_times_cannot_be_told_from():
    with pytest.raises(ValueError, match="column 'sale' holds text, such as 'yes'"):
        add_elapsed_times(elapsed_frame(sale=["yes", None, "no"]), "sale", "date", "store")
    with pytest.raises(ValueError, match="column 'store' is missing in row 1"):
        add_elapsed_times(elapsed_frame(store=[1, None, 1]), "sale", "date", "store")
    dates = ["2020-01-01", "2020-01-02", None]
    with pytest.raises(ValueError, match="column 'date' is missing in row 2"):
        add_elapsed_times(elapsed_frame(date=dates), "sale", "date", "store")


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("df_shrink", df_shrink),
        ("make_date", lambda df: make_date(df, "day")),
        ("add_elapsed_times", lambda df: add_elapsed_times(df, "event", "day", "base")),
    ],
)
def test_what_works_on_pandas_alone_says_so(name, call) -> None:
    with pytest.raises(TypeError, match=rf"{name} takes a pandas frame, not a polars\.DataFrame"):
        call(pl.DataFrame({"day": ["2024-01-01"], "event": [True], "base": [1]}))
