"""Features out of dates and times."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from torte.tabular.frames import as_frame, check_pandas, column, with_columns

__all__ = ["add_cyclic_datepart", "add_datepart", "add_elapsed_times", "make_date"]

# The new columns and the attributes of a pandas index that give them.
_PARTS = {
    "Year": "year",
    "Month": "month",
    "Week": "week",
    "Day": "day",
    "Dayofweek": "day_of_week",
    "Dayofyear": "day_of_year",
    "Is_month_end": "is_month_end",
    "Is_month_start": "is_month_start",
    "Is_quarter_end": "is_quarter_end",
    "Is_quarter_start": "is_quarter_start",
    "Is_year_end": "is_year_end",
    "Is_year_start": "is_year_start",
}
_TIMES = {"Hour": "hour", "Minute": "minute", "Second": "second"}


def read_moments(series: nw.Series[Any]) -> tuple[Any, np.ndarray]:
    """Return a column's wall-clock times as a pandas index and its seconds since 1970 in UTC.

    Raises:
        ValueError: The column holds something that is no date.
    """
    import pandas as pd

    if not series.dtype.is_temporal():
        _refuse_numbers(series)
        try:
            parsed = pd.to_datetime(pd.Series(series.to_list()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"column {series.name!r} does not hold dates: {error}") from error
        series = nw.from_native(parsed, series_only=True)
    series = series.cast(nw.Datetime("us", getattr(series.dtype, "time_zone", None)))
    wall, utc = series, series
    if getattr(series.dtype, "time_zone", None) is not None:
        wall = series.dt.replace_time_zone(None)
        utc = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    # Always microseconds, whatever the frame's own resolution: reading nanoseconds where a library
    # gives microseconds is off by a factor of a thousand.
    micros = utc.to_numpy().astype("datetime64[us]")
    elapsed = np.where(np.isnat(micros), np.nan, micros.astype(np.int64) / 1e6)
    return pd.DatetimeIndex(wall.to_numpy().astype("datetime64[us]")), elapsed


def _refuse_numbers(series: nw.Series[Any]) -> None:
    """Numbers say neither unit nor format: read as nanoseconds, 20200101 would be in 1970."""
    if series.dtype.is_numeric():
        raise ValueError(
            f"column {series.name!r} holds numbers ({series.dtype}), not dates: turn them into "
            "dates first, such as by pd.to_datetime(..., unit='s') or format='%Y%m%d'"
        )


def _added(data: Any, columns: dict[str, np.ndarray], drop: str | None) -> Any:
    """Return the user's frame with columns added; a pandas frame is changed in place."""
    frame = as_frame(data)
    if frame.implementation.is_pandas():
        for name, values in columns.items():
            data[name] = values
        if drop is not None:
            del data[drop]
        return data
    frame = with_columns(frame, columns)
    return (frame.drop(drop) if drop is not None else frame).to_native()


def _prefix(field_name: str, prefix: str | None) -> str:
    """Return the beginning of the new columns' names: `SaleDate` gives `Sale`."""
    return re.sub("[Dd]ate$", "", field_name) if prefix is None else prefix


def add_datepart(
    df: Any, field_name: str, prefix: str | None = None, drop: bool = True, time: bool = False
) -> Any:
    """Add what a model can learn from a column of dates: year, month, week, day of the week.

    Args:
        df: A frame; pandas frames are changed in place, others copied.
        field_name: The column of dates, of any resolution and time zone, or of text with dates.
        prefix: Beginning of the new names; by default `field_name` without a `Date` at its end.
        drop: Whether the column itself goes.
        time: Whether to add hour, minute and second.

    Returns:
        The frame with columns `<prefix>Year`, `Month`, `Week` (ISO 8601), `Day`, `Dayofweek` (0 is
        Monday), `Dayofyear`, six `Is_…` columns and `Elapsed` (seconds since 1970-01-01 UTC; NaN
        where the date is missing).

    Raises:
        KeyError: There is no such column.
        ValueError: It holds something that is no date.
    """
    start = _prefix(field_name, prefix)
    moments, elapsed = read_moments(column(as_frame(df), field_name))
    columns: dict[str, np.ndarray] = {}
    for name, part in {**_PARTS, **(_TIMES if time else {})}.items():
        values = moments.isocalendar().week if part == "week" else getattr(moments, part)
        columns[start + name] = _numeric(values)
    columns[start + "Elapsed"] = elapsed
    return _added(df, columns, field_name if drop else None)


def _numeric(values: Any) -> np.ndarray:
    """Return a part as integers or truth values, or floats with NaN where a date is missing."""
    import pandas as pd

    series = pd.Series(np.asarray(values)) if not isinstance(values, pd.Series) else values
    if series.isna().any():
        return series.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    array = series.to_numpy()
    return array if array.dtype == bool else array.astype(np.int64)


def add_cyclic_datepart(
    df: Any,
    field_name: str,
    prefix: str | None = None,
    drop: bool = True,
    time: bool = False,
    add_linear: bool = False,
) -> Any:
    """Add sine and cosine of the place in the week, the month and the year (and the day).

    Neighbouring moments get neighbouring features: the last day of December lies beside the first
    of January.

    Args:
        df: A frame; pandas frames are changed in place, others copied.
        field_name: The column of dates.
        prefix: Beginning of the new names; by default `field_name` without a `Date` at its end.
        drop: Whether the column itself goes.
        time: Whether to add the place in the day.
        add_linear: Whether to add `Elapsed`, the seconds since 1970-01-01 UTC.
    """
    start = _prefix(field_name, prefix)
    moments, elapsed = read_moments(column(as_frame(df), field_name))
    cycles: dict[str, Callable[[], Any]] = {
        "weekday": lambda: moments.day_of_week / 7,
        "day_month": lambda: (moments.day - 1) / moments.days_in_month,
        "month_year": lambda: (moments.month - 1) / 12,
        "day_year": lambda: (moments.day_of_year - 1) / (365 + moments.is_leap_year),
    }
    if time:
        cycles["clock"] = lambda: (
            (moments.hour * 3600 + moments.minute * 60 + moments.second) / 86400
        )
    columns: dict[str, np.ndarray] = {}
    for name, fraction in cycles.items():
        angle = 2 * np.pi * np.asarray(fraction(), dtype=np.float64)
        columns[f"{start}{name}_cos"] = np.cos(angle)
        columns[f"{start}{name}_sin"] = np.sin(angle)
    if add_linear:
        columns[start + "Elapsed"] = elapsed
    return _added(df, columns, field_name if drop else None)


def make_date(df: Any, date_field: str) -> None:
    """Turn a column of a pandas frame into dates, in place, if it holds none yet.

    Raises:
        KeyError: There is no such column.
        TypeError: `df` is no pandas frame.
        ValueError: It holds something that is no date.
    """
    import pandas as pd

    check_pandas(df, "make_date")
    series = column(as_frame(df), date_field)
    if series.dtype.is_temporal():
        return
    _refuse_numbers(series)
    try:
        df[date_field] = pd.to_datetime(df[date_field])
    except (ValueError, TypeError) as error:
        raise ValueError(f"column {date_field!r} does not hold dates: {error}") from error


def add_elapsed_times(
    df: Any, field_names: str | Sequence[str], date_field: str, base_field: str
) -> Any:
    """Add, for each event column, the time since its last event and until its next one.

    Args:
        df: A pandas frame with a row a base value and date.
        field_names: Columns that are true where the event happens.
        date_field: The column of dates.
        base_field: The column whose values (stores, say) have events of their own.

    Returns:
        A new frame in the order of `df`, with `After<event>` and `Before<event>`: days since the
        last event (0 on its day, and before the first) and days until the next as a negative
        number, and `<event>_bw` and `<event>_fw`: the number of events in the last and the next
        seven rows of the base. A missing event is none.

    Raises:
        KeyError: There is no such column.
        TypeError: `df` is no pandas frame.
        ValueError: An event column holds text, or a date or a base value is missing.
    """
    import pandas as pd

    check_pandas(df, "add_elapsed_times")
    names = [field_names] if isinstance(field_names, str) else list(field_names)
    for name in (*names, date_field, base_field):
        column(as_frame(df), name)
    given_order, df = df.index, df.reset_index(drop=True)
    make_date(df, date_field)
    for name in (date_field, base_field):
        if df[name].isna().any():
            label = given_order[int(df[name].isna().to_numpy().argmax())]
            raise ValueError(f"column {name!r} is missing in row {label!r}")
    result = df.sort_values([base_field, date_field])
    dates, bases = result[date_field], result[base_field]
    happened = {name: _events(result[name]) for name in names}
    for name, events in happened.items():
        event = dates.where(events)
        last = event.groupby(bases, sort=False).ffill()
        following = event.groupby(bases, sort=False).bfill()
        result[f"After{name}"] = (dates - last).dt.days.fillna(0).astype(np.int64)
        result[f"Before{name}"] = (dates - following).dt.days.fillna(0).astype(np.int64)
    for name, events in happened.items():
        counts = events.astype(np.float64).groupby(bases, sort=False)
        result[f"{name}_bw"] = counts.transform(lambda days: days.rolling(7, min_periods=1).sum())
        result[f"{name}_fw"] = counts.transform(
            lambda days: days[::-1].rolling(7, min_periods=1).sum()[::-1]
        )
    return pd.DataFrame(result).sort_index().set_axis(given_order)


def _events(values: Any) -> Any:
    """Where an event happens: what is true or not zero; what is missing is no event."""
    import pandas as pd

    present = values.notna()
    texts = values[present].map(lambda value: isinstance(value, str))
    if texts.any():
        raise ValueError(
            f"column {values.name!r} holds text, such as {values[present][texts].iloc[0]!r}; an "
            "event column holds truth values or numbers"
        )
    happened = pd.Series(False, index=values.index)
    happened[present] = values[present].astype(bool)
    return happened
