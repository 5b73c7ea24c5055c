"""Time series as tables: what a row knows of its past, and the future that it shall predict.

    rows of (series, time, values) → add_lags, add_windows → inputs; add_horizons → targets

A row sees rows before it alone, so that what is known when a forecast is made is all that a model
learns from. The columns are numbers, NaN where there is no past or no future; `FillMissing` says
so to the model.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from torte.dispatch import L
from torte.tabular.dates import read_moments
from torte.tabular.frames import Frame, as_frame, categories, column, numbers, with_columns

__all__ = ["WINDOW_STATISTICS", "add_horizons", "add_lags", "add_windows"]

_BLOCK = 1 << 22  # numbers of windows in memory at a time
Names = str | Sequence[str]


def add_lags(
    df: Any,
    columns: Names,
    lags: int | Sequence[int],
    by: Names | None = None,
    order: str | None = None,
    every: float | np.timedelta64 | None = None,
) -> Any:
    """Add the values of rows before: `<column>_lag<n>` is the value n rows earlier.

    Args:
        df: A frame of pandas, polars, PyArrow or cuDF; it is not changed.
        columns: Columns of numbers.
        lags: How many rows back, each at least 1.
        by: The column or columns whose values tell series apart; by default all is one series.
        order: The column of times or numbers by which the rows of a series follow each other; by
            default they do so as they come.
        every: How far apart neighbours are in `order`; a gap is an error then. By default rows
            count, whatever lies between them.

    Returns:
        A frame like `df`, its rows in the same order, with float64 columns more.

    Raises:
        KeyError: There is no such column.
        ValueError: A lag is not positive, a series or a time is missing, two rows of a series have
            one time, or a row of `every` is missing.
    """
    return _shifted(df, columns, lags, "lag", 1, _Series(as_frame(df), by, order, every))


def add_horizons(
    df: Any,
    columns: Names,
    horizons: int | Sequence[int],
    by: Names | None = None,
    order: str | None = None,
    every: float | np.timedelta64 | None = None,
) -> Any:
    """Add the values of rows to come: targets `<column>_ahead<n>`, the value n rows later.

    The last rows of a series have no future: drop them before training, predict from them after.
    Arguments, result and errors are those of `add_lags`.
    """
    return _shifted(df, columns, horizons, "ahead", -1, _Series(as_frame(df), by, order, every))


def add_windows(
    df: Any,
    columns: Names,
    windows: int | Sequence[int],
    statistics: Names = ("mean", "std", "min", "max"),
    by: Names | None = None,
    order: str | None = None,
    every: float | np.timedelta64 | None = None,
    min_rows: int = 1,
) -> Any:
    """Add statistics of the rows before: `<column>_<statistic><n>` over the n rows before this one.

    Args:
        df: A frame of pandas, polars, PyArrow or cuDF; it is not changed.
        columns: Columns of numbers.
        windows: How many rows back, the present one not among them.
        statistics: Of `mean`, `std` (of a sample, n - 1), `min`, `max`, `sum`.
        by: As for `add_lags`.
        order: As for `add_lags`.
        every: As for `add_lags`.
        min_rows: Windows with fewer values than this are NaN; missing values do not count.

    Returns:
        A frame like `df`, its rows in the same order, with float64 columns more.

    Raises:
        KeyError: There is no such column.
        ValueError: There is no such statistic, or as for `add_lags`.
    """
    chosen = list(L(statistics))
    unknown = [name for name in chosen if name not in WINDOW_STATISTICS]
    if unknown:
        raise ValueError(f"no statistics {unknown}; there are {list(WINDOW_STATISTICS)}")
    frame = as_frame(df)
    series = _Series(frame, by, order, every)
    made: dict[str, np.ndarray] = {}
    for name in L(columns):
        values = numbers(column(frame, name))[series.places]
        for size in _positive(windows, "window"):
            found: dict[str, list[np.ndarray]] = {each: [] for each in chosen}
            for window in series.windows(values, size):
                count = (~np.isnan(window)).sum(1)
                for each in chosen:
                    result = WINDOW_STATISTICS[each](window, count)
                    found[each].append(np.where(count >= max(1, min_rows), result, np.nan))
            for each, parts in found.items():
                made[f"{name}_{each}{size}"] = series.in_given_order(np.concatenate(parts))
    return with_columns(frame, made).to_native()


def _mean(window: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.nansum(window, 1) / np.maximum(count, 1)


def _std(window: np.ndarray, count: np.ndarray) -> np.ndarray:
    apart = window - _mean(window, count)[:, None]
    variance = np.nansum(apart**2, 1) / np.maximum(count - 1, 1)
    return np.where(count > 1, np.sqrt(variance), np.nan)


def _sum(window: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.nansum(window, 1)


def _min(window: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(window), np.inf, window).min(1)


def _max(window: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(window), -np.inf, window).max(1)


# Each of windows of (rows, size), NaN where there is no value, and of how many values they hold.
WINDOW_STATISTICS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": _mean,
    "std": _std,
    "min": _min,
    "max": _max,
    "sum": _sum,
}


def _shifted(
    df: Any, columns: Names, steps: int | Sequence[int], word: str, sign: int, series: "_Series"
) -> Any:
    """Return the frame with values of rows that lie `sign * steps` before."""
    frame = as_frame(df)
    made: dict[str, np.ndarray] = {}
    for name in L(columns):
        values = numbers(column(frame, name))[series.places]
        for step in _positive(steps, word):
            shifted = series.in_given_order(series.shifted(values, sign * step))
            made[f"{name}_{word}{step}"] = shifted
    return with_columns(frame, made).to_native()


def _positive(steps: int | Sequence[int], what: str) -> list[int]:
    """Return numbers of rows; one that is not positive would look into the future."""
    found = [steps] if isinstance(steps, int) else [int(step) for step in steps]
    if any(step < 1 for step in found):
        raise ValueError(f"{what} of {min(found)} rows: a row of its own or of the other side")
    return found


class _Series:
    """The rows of a frame sorted by series and time.

    Attributes:
        places: The row at each place of that order.
        starts: For each place the place at which its series begins.
    """

    def __init__(self, frame: Frame, by: Names | None, order: str | None, every: Any) -> None:
        group = _groups(frame, by)
        if order is None and every is not None:
            raise ValueError("every says how far apart rows are in a column: name it with order")
        time = np.arange(len(frame), dtype=np.float64) if order is None else _times(frame, order)
        self.places = np.lexsort((time, group))
        group, time = group[self.places], time[self.places]
        first = np.diff(group, prepend=-1) != 0
        self.starts = np.maximum.accumulate(np.where(first, np.arange(len(group)), 0))
        if order is not None:
            self._check(order, np.diff(time)[~first[1:]], np.flatnonzero(~first), every)

    def _check(self, order: str, apart: np.ndarray, places: np.ndarray, every: Any) -> None:
        """Refuse two rows of one time, and gaps where there shall be none."""
        if (same := np.flatnonzero(apart == 0)).size:
            row = int(self.places[places[same[0]]])
            raise ValueError(
                f"row {row} has the same {order!r} as another of its series: drop one of them, or "
                "name the columns that tell series apart with by"
            )
        if every is None:
            return
        step = every / np.timedelta64(1, "s") if isinstance(every, np.timedelta64) else every
        if (wrong := np.flatnonzero(~np.isclose(apart, float(step)))).size:
            row = int(self.places[places[wrong[0]]])
            raise ValueError(
                f"row {row} is {apart[wrong[0]]:g} behind the one before in {order!r}, not "
                f"{float(step):g}: put rows in for what is missing"
            )

    def shifted(self, values: np.ndarray, step: int) -> np.ndarray:
        """Return the values `step` places earlier in the same series."""
        source = np.arange(len(values)) - step
        inside = (source >= 0) & (source < len(values))
        clipped = np.where(inside, source, 0)
        inside &= self.starts[clipped] == self.starts
        return np.where(inside, values[clipped], np.nan)

    def windows(self, values: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield windows of (some places, size): the values before each place, NaN before all."""
        padded = np.concatenate([np.full(size, np.nan), values])
        held = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(values)]
        back = np.arange(-size, 0)
        rows = max(1, _BLOCK // size)
        for start in range(0, max(len(values), 1), rows):
            part = slice(start, start + rows)
            places = np.arange(start, start + len(held[part]))[:, None] + back
            yield np.where(places >= self.starts[part, None], held[part], np.nan)

    def in_given_order(self, values: np.ndarray) -> np.ndarray:
        """Return values of places as values of the frame's rows."""
        result = np.empty_like(values)
        result[self.places] = values
        return result


def _groups(frame: Frame, by: Names | None) -> np.ndarray:
    """Return a number for each row: which series it belongs to."""
    group = np.zeros(len(frame), dtype=np.int64)
    for name in L(by) if by is not None else ():
        codes, values = categories(column(frame, name))
        if (codes < 0).any():
            row = int(np.flatnonzero(codes < 0)[0])
            raise ValueError(f"column {name!r} is missing in row {row}: which series is it of?")
        # Numbered anew each time, so that many columns do not run out of integers.
        group = np.unique(group * len(values) + codes, return_inverse=True)[1]
    return group


def _times(frame: Frame, order: str) -> np.ndarray:
    """Return seconds of times, or the numbers."""
    series = column(frame, order)
    times = numbers(series) if series.dtype.is_numeric() else read_moments(series)[1]
    if np.isnan(times).any():
        row = int(np.flatnonzero(np.isnan(times))[0])
        raise ValueError(f"column {order!r} is missing in row {row}: drop such rows")
    return times
