"""Columns that learn together: groups of them, as `Categorify` and `FillMissing` take them."""

from collections.abc import Iterable, Sequence

__all__ = ["Groups", "column_groups", "group_of"]

Groups = Sequence[Sequence[str]]


def column_groups(shared: Groups | None) -> list[list[str]]:
    """Return groups of columns as lists of lists.

    Raises:
        TypeError: A group is a lone name.
        ValueError: A column is named twice, or a group has one column only.
    """
    groups: list[list[str]] = []
    named: set[str] = set()
    for group in shared or ():
        if isinstance(group, str):
            raise TypeError(
                f"shared={shared!r} names {group!r} where a group of columns is expected: "
                "write a list of groups, such as shared=[['home', 'away']]"
            )
        groups.append(list(group))
        if len(groups[-1]) < 2:
            raise ValueError(f"shared has the group {groups[-1]}: a group has two columns or more")
        for name in groups[-1]:
            if name in named:
                raise ValueError(f"shared names column {name!r} twice")
            named.add(name)
    return groups


def group_of(groups: Groups, names: Iterable[str], role: str) -> dict[str, list[str]]:
    """Return for each column the columns that it learns with, itself among them.

    Args:
        groups: The groups.
        names: All columns of the role.
        role: What the columns are, for the error: `cat_names` or `cont_names`.

    Raises:
        KeyError: A group names a column that is not among `names`.
    """
    known = list(names)
    found = {name: [name] for name in known}
    for group in groups:
        for name in group:
            if name not in found:
                raise KeyError(f"shared names column {name!r}, which is not in {role}: {known}")
            found[name] = list(group)
    return found
