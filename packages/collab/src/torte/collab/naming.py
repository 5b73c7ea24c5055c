"""Names of users and items as callers give them."""

from typing import Any

__all__ = ["as_names"]


def as_names(given: Any) -> list[Any]:
    """Return one name or several (a list, an array, a tensor, a column of a frame) as a list."""
    for method in ("tolist", "to_list"):
        if hasattr(given, method):
            given = getattr(given, method)()
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        return [given]
    return list(given)
