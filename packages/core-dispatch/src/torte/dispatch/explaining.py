"""What dispatch says: tables for people to read, and the messages of its errors."""

from collections.abc import Iterable

from torte.dispatch.implementation import Implementation
from torte.dispatch.resolution import Absent

__all__ = ["explain_no_match", "explain_tie", "table_rows", "types_shown"]

_SHOWN = 12  # implementations listed in a message


def types_shown(*given: type) -> str:
    """Return how messages write the types of the arguments: `(int, float)`."""
    names = [
        "anything" if cls is object else cls.__qualname__ for cls in given if cls is not Absent
    ]
    return f"({', '.join(names)})"


def table_rows(implementations: Iterable[Implementation]) -> list[str]:
    """Return one line an implementation: its types, its name, its file and line."""
    return [
        f"{each.describe()} -> {each.location}{' (inherited)' if each.depth else ''}"
        for each in implementations
    ]


def explain_no_match(name: str, first: type, second: type, existing: list[Implementation]) -> str:
    """Return the message for types that nothing takes.

    Args:
        name: of the table.
        first: the type of the first argument.
        second: the type of the second one.
        existing: all implementations, closest first.
    """
    lines = [f"{name} has no implementation for {types_shown(first, second)}"]
    lines[0] += "; what exists, closest first:" if existing else ", nor any other"
    lines += [f"    {row}" for row in table_rows(existing[:_SHOWN])]
    if len(existing) > _SHOWN:
        lines.append(f"    … and {len(existing) - _SHOWN} more")
    lines.append(f"Add one with @{name.rpartition('.')[2]}.register")
    return "\n".join(lines)


def explain_tie(name: str, first: type, second: type, found: list[Implementation]) -> str:
    """Return the message for types that several implementations take equally well."""
    types = types_shown(first, second)
    lines = [f"{name} has {len(found)} equally good implementations for {types}:"]
    lines += [f"    {row}" for row in table_rows(found)]
    lines.append(f"Register one for exactly {types} before them, or make them differ")
    return "\n".join(lines)
