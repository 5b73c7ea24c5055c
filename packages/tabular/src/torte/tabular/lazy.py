"""Tables that outgrow the machine: the fit and the encoding run where the rows are.

    DuckDB, Dask, polars LazyFrame → fit_lazy → a schema → encode_lazy → codes and numbers

Everything is said in narwhals' lazy expressions, so that the engine of the frame does it: counts,
means and distinct values come back, rows do not. Spark goes by the same path, and was not tried.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from torte.data.categories import Categorize
from torte.data.numeric import Normalize
from torte.tabular.frames import categories
from torte.tabular.procs import Categorify, FillMissing
from torte.tabular.summaries import NumberSummary, Summaries, fit_on_summaries
from torte.tabular.table import Tabular
from torte.tabular.vocabulary import ColumnVocabulary

__all__ = ["encode_lazy", "fit_lazy"]

_SAMPLE, _GATHERED = 1000, 100_000
Lazy = nw.LazyFrame[Any]


def fit_lazy(
    df: Any,
    procs: Any = None,
    cat_names: str | Sequence[str] | None = None,
    cont_names: str | Sequence[str] | None = None,
    y_names: str | Sequence[str] | None = None,
    y_block: Any = None,
) -> Tabular:
    """Fit procs and targets on all rows of a lazy frame, by its own engine.

    The training rows are those given: filter the frame before.

    Args:
        df: A frame of DuckDB, Dask, Spark, or a LazyFrame of polars.
        procs: Of `Categorify`, `FillMissing` and `Normalize`.
        cat_names: Categorical columns.
        cont_names: Continuous columns, of numbers.
        y_names: Target column or columns.
        y_block: What the targets are; by default as for `Tabular`.

    Returns:
        A table of the first thousand rows, processed: its procs are those of all rows. Use it as
        the schema of `encode_lazy`, and of `Tabular.new` for frames in memory.

    Raises:
        KeyError: There is no such column.
        TypeError: `df` is no lazy frame, or a proc (or an argument of it) knows no lazy frames.
    """
    lazy = _as_lazy(df)
    head = _collected(lazy.head(_SAMPLE))
    table = Tabular(head, procs, cat_names, cont_names, y_names, y_block=y_block, do_setup=False)
    _check(table)
    for proc in table.procs.fs:
        if isinstance(proc, FillMissing) and proc.shared and proc.fill_strategy != "constant":
            raise TypeError(
                f"FillMissing(shared={proc.shared}) cannot be fitted on a lazy frame: fit it on a "
                "frame in memory, or take fill_strategy='constant'"
            )
    labels = [name for name in table.y_names if _needs_labels(table.target.block, lazy, name)]
    values = {name: _counted(lazy, name) for name in (*table.cat_names, *labels)}
    summaries = Summaries(_summaries_of(lazy, table), values)
    fit_on_summaries(table, summaries)
    return table


def encode_lazy(df: Any, schema: Tabular) -> Any:
    """Return a lazy frame with the columns as `schema` encodes them.

    What `Tabular.process` does to a frame in memory, as expressions that the frame's engine
    computes when it is asked for rows.

    Args:
        df: A lazy frame with the columns of `schema`, targets or not.
        schema: What `fit_lazy` returned, or any table with the procs that it takes.

    Returns:
        A lazy frame of the same library: codes (int64), numbers (float64) and, where there are
        any, indicators and encoded targets, in the order of the schema's columns.

    Raises:
        KeyError: A column is not there.
        TypeError: `df` is no lazy frame, or a proc knows no lazy frames.
        ValueError: A target is missing.
        UnknownLabelError: A label is not in the vocabulary.
    """
    lazy = _as_lazy(df)
    _check(schema)
    known = set(lazy.collect_schema().names())
    for proc in schema.procs.fs:
        if isinstance(proc, FillMissing):
            lazy = _fill(lazy, proc)
        elif isinstance(proc, Categorify):
            lazy = _give_codes(lazy, proc.classes)
        elif isinstance(proc, Normalize) and proc.mean is not None and proc.std is not None:
            statistics = zip(schema.cont_names, proc.mean.tolist(), proc.std.tolist(), strict=True)
            lazy = lazy.with_columns(
                *(((nw.col(name) - mean) / std).alias(name) for name, mean, std in statistics)
            )
    names = [*schema.cat_names, *schema.cont_names]
    if schema.y_names and known.issuperset(schema.y_names):
        lazy = _give_labels(lazy, schema)
        names += schema.y_names
    return lazy.select(names).to_native()


def _as_lazy(df: Any) -> Lazy:
    frame = nw.from_native(df, pass_through=True)
    if not isinstance(frame, nw.LazyFrame):
        kind = f"{type(df).__module__}.{type(df).__qualname__}"
        raise TypeError(
            f"expected a lazy frame of DuckDB, Dask, Spark or polars, got {kind}: "
            "frames in memory go to Tabular"
        )
    return frame


def _collected(lazy: Lazy) -> Any:
    return lazy.collect().to_native()


def _check(table: Tabular) -> None:
    """Refuse procs that need rows."""
    for proc in table.procs.fs:
        if not isinstance(proc, FillMissing | Categorify | Normalize):
            raise TypeError(
                f"{type(proc).__name__} knows no lazy frames; "
                "FillMissing, Categorify and Normalize do"
            )


def _needs_labels(y_block: Any, lazy: Lazy, name: str) -> bool:
    """Whether a target's labels are to be gathered, as `Target` will ask for them."""
    if y_block is not None:
        return any(isinstance(tfm, Categorize) for tfm in y_block.type_tfms)
    return not lazy.collect_schema()[name].is_numeric()


def _number(lazy: Lazy, name: str) -> nw.Expr:
    """A column of numbers as float64, null where a value is missing."""
    kind = lazy.collect_schema()[name]
    if not (kind.is_numeric() or kind == nw.Boolean):
        raise TypeError(f"column {name!r} holds {kind}, not numbers: cast it before")
    number = nw.col(name).cast(nw.Float64)
    return nw.when(~number.is_nan()).then(number) if kind.is_float() else number


def _missing(lazy: Lazy, name: str) -> nw.Expr:
    """Where a value is null or NaN."""
    absent = nw.col(name).is_null()
    if not lazy.collect_schema()[name].is_float():
        return absent
    return nw.when(absent).then(nw.lit(True)).otherwise(nw.col(name).is_nan())


def _row(lazy: Lazy, expressions: Mapping[str, nw.Expr]) -> dict[str, Any]:
    """Return what expressions of one number each amount to, in one query."""
    named = [each.alias(name) for name, each in expressions.items()]
    found = lazy.select(*named).collect().to_dict(as_series=False)
    return {name: values[0] for name, values in found.items()}


def _summaries_of(lazy: Lazy, table: Tabular) -> dict[str, NumberSummary]:
    """Gather moments and fills of all continuous columns: two queries, and one a mode."""
    columns = {name: _number(lazy, name) for name in table.cont_names}
    if not columns:
        return {}
    strategies = {proc.fill_strategy for proc in table.procs.fs if isinstance(proc, FillMissing)}
    asked: dict[str, nw.Expr] = {}
    for name, number in columns.items():
        asked |= {f"{name} n": number.count(), f"{name} mean": number.mean()}
        asked[f"{name} missing"] = number.is_null().cast(nw.Int64).sum()
        if "median" in strategies and not lazy.implementation.is_dask():
            asked[f"{name} fill"] = number.median()
    first = _row(lazy, asked)
    means = {name: float(first[f"{name} mean"] or 0.0) for name in columns}
    spread = _row(
        lazy, {name: ((number - means[name]) ** 2).sum() for name, number in columns.items()}
    )
    made: dict[str, NumberSummary] = {}
    for name in columns:
        count = int(first[f"{name} n"])
        fill = first.get(f"{name} fill")
        if "mode" in strategies:
            fill = _mode(lazy, name)
        elif "median" in strategies and lazy.implementation.is_dask():
            fill = _median(lazy, name)
        kept = np.array([fill] if count and fill is not None else [], dtype=np.float64)
        squares = float(spread[name] or 0.0)
        missing = int(first[f"{name} missing"])
        made[name] = NumberSummary(count, missing, means[name], squares, kept)
    return made


def _median(lazy: Lazy, name: str) -> float:
    """Return the exact median of a column, where Dask's own is one of medians of partitions.

    Each query counts the values in a thousand bins between two bounds; those of the bin with the
    middle are the next bounds, until few values or equal ones lie between them.
    """
    value = nw.col(name)
    present = lazy.select(_number(lazy, name).alias(name)).filter(~value.is_null())
    ends = _row(present, {"low": value.min(), "high": value.max(), "count": value.count()})
    low, high, inside = ends["low"], ends["high"], int(ends["count"])
    middle = [(inside - 1) // 2, inside // 2]
    bounds = {"n": nw.len(), "low": value.min(), "high": value.max()}
    while inside > _GATHERED and low < high:
        within = present.filter((value >= low) & (value <= high))
        place = ((value - low) / (high - low) * 1000).cast(nw.Int64).alias("bin")
        counts = within.with_columns(place).group_by("bin")
        counted = counts.agg(*(each.alias(key) for key, each in bounds.items())).collect()
        bins = counted.sort("bin").to_dict(as_series=False)
        reached = np.cumsum(bins["n"])
        first, last = np.searchsorted(reached, middle, side="right")
        if first != last:  # neighbours: the last value of one bin and the first of the next
            return float(bins["high"][first] + bins["low"][last]) / 2
        low, high, inside = bins["low"][first], bins["high"][first], int(bins["n"][first])
        middle = [rank - int(reached[first]) + inside for rank in middle]
    if not inside or low == high:
        return float(low) if inside else float("nan")
    held = present.filter((value >= low) & (value <= high)).collect()[name].to_numpy()
    return float(np.sort(held)[middle].mean())


def _mode(lazy: Lazy, name: str) -> Any:
    """Return the commonest number of a column, the least of several."""
    number = lazy.select(_number(lazy, name).alias(name)).filter(~nw.col(name).is_null())
    counts = number.group_by(name).agg(nw.len().alias("how often"))
    most = _row(counts, {"most": nw.col("how often").max()})["most"]
    return _row(counts.filter(nw.col("how often") == most), {"mode": nw.col(name).min()})["mode"]


def _counted(lazy: Lazy, name: str) -> dict[Any, int]:
    """Return the values of a column, missing ones not among them, and how many rows have each."""
    rows = nw.len().alias("number of rows")
    found = lazy.select(nw.col(name)).group_by(name).agg(rows).collect()
    codes, values = categories(found[name])
    counts = np.zeros(len(values) + 1, dtype=np.int64)
    np.add.at(counts, codes, found["number of rows"].to_numpy())  # the last one: missing values
    return dict(zip(values, counts.tolist(), strict=False))


def _fill(lazy: Lazy, proc: FillMissing) -> Lazy:
    made: list[nw.Expr] = []
    for name, fill in proc.na_dict.items():
        number = _number(lazy, name)
        filled = nw.when(~number.is_null()).then(number).otherwise(nw.lit(fill))
        made.append(filled.alias(name))
        if proc.add_col and name in proc.indicators:
            made.append(_missing(lazy, name).alias(f"{name}_na"))
    return lazy.with_columns(*made)


def _give_codes(lazy: Lazy, classes: Mapping[str, ColumnVocabulary]) -> Lazy:
    made: list[nw.Expr] = []
    for name, vocabulary in classes.items():
        codes = {value: code for code, value in enumerate(vocabulary.values, 1)}
        known = _code(lazy, name, codes, vocabulary.unknown)
        code = nw.when(_missing(lazy, name)).then(nw.lit(0)).otherwise(known)
        made.append(code.cast(nw.Int64).alias(name))
    return lazy.with_columns(*made)


def _code(lazy: Lazy, name: str, codes: Mapping[Any, int], unknown: int) -> nw.Expr:
    """Return the codes of a column's values, by binary search among those that are known.

    Raises:
        TypeError: The column is text where the values are not, or the other way round.
    """
    kind, pairs = lazy.collect_schema()[name], sorted(codes.items())
    is_text = kind in (nw.String, nw.Categorical, nw.Enum)
    if any(isinstance(value, str) != is_text for value, _ in pairs):
        raise TypeError(
            f"column {name!r} holds {kind}, but was fitted on values such as {pairs[0][0]!r}: "
            "cast it before"
        )
    values = nw.col(name)
    if kind == nw.Boolean:
        values, pairs = values.cast(nw.Int64), [(int(value), code) for value, code in pairs]
    elif is_text:
        values = values.cast(nw.String)
    return _searched(values, pairs, unknown) if pairs else nw.lit(unknown)


def _searched(values: nw.Expr, pairs: Sequence[tuple[Any, int]], unknown: int) -> nw.Expr:
    if len(pairs) == 1:
        value, code = pairs[0]
        return nw.when(values == value).then(nw.lit(code)).otherwise(nw.lit(unknown))
    middle = len(pairs) // 2
    low, high = (_searched(values, half, unknown) for half in (pairs[:middle], pairs[middle:]))
    return nw.when(values < pairs[middle][0]).then(low).otherwise(high)


def _give_labels(lazy: Lazy, schema: Tabular) -> Lazy:
    """Encode the targets, whose labels are looked at first."""
    made: list[nw.Expr] = []
    for place, name in enumerate(schema.y_names):
        if not schema.target.encoders:
            made.append(_number(lazy, name).cast(nw.Float32).alias(name))
            continue
        if _row(lazy, {"n": _missing(lazy, name).cast(nw.Int64).sum()})["n"]:
            raise ValueError(f"target {name!r} has rows without a value: drop such rows")
        encoder = schema.target.encoders[place]
        codes = {value: int(encoder(value)) for value in _counted(lazy, name)}
        made.append(_code(lazy, name, codes, -1).cast(nw.Int64).alias(name))
    return lazy.with_columns(*made)
