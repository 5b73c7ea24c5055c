"""One new row, in any of the forms in which a prediction is asked for."""

from collections.abc import Mapping
from typing import Any

from torte.tabular.column_store import ColumnStore
from torte.tabular.frames import as_frame
from torte.tabular.table import Tabular

__all__ = ["in_library_of", "one_row", "row_items"]


def one_row(schema: Tabular, row: Any) -> Tabular:
    """Return a new row as a table like `schema`, processed, without targets.

    Args:
        schema: The table that the model was trained on.
        row: Values by column (a dictionary, a pandas Series), or a frame of one row.

    Raises:
        KeyError: A column that the model needs is not there.
        TypeError: `row` is neither.
        ValueError: `row` is a frame of another number of rows.
    """
    items = row_items(row)
    if isinstance(items, list):
        table = schema.new_row(items[0])
        table.process()
        return table
    return schema.test_set(items)


def row_items(row: Any) -> Any:
    """Return a row as what `test_dl` takes: a list of one dictionary, or a frame of one row.

    Raises:
        TypeError: `row` is neither a row nor a frame.
        ValueError: `row` is a frame of another number of rows.
    """
    if isinstance(row, Mapping):
        return [row]
    if hasattr(row, "to_dict") and not hasattr(row, "columns"):
        return [row.to_dict()]
    if not hasattr(row, "columns"):
        raise TypeError(
            f"predict takes a row as a dictionary, a pandas Series or a frame of one row, got "
            f"{type(row).__name__}"
        )
    n_rows = len(as_frame(row))
    if n_rows != 1:
        raise ValueError(
            f"predict takes one row, got a frame of {n_rows}: for any number of rows, "
            "learn.get_preds(dl=learn.dls.test_dl(frame))"
        )
    return row


def in_library_of(row: Any, table: Tabular) -> Tabular:
    """Return a decoded table whose frame is of the library of `row`, of pandas for plain values."""
    store = table.store
    library = as_frame(row).implementation if hasattr(row, "columns") else "pandas"
    return table._with(ColumnStore(store.source, store.places, store.made, library))
