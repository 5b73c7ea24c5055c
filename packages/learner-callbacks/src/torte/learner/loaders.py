"""What the loop and its callbacks ask of loaders, whatever kind they are."""

from typing import Any

from torte.data.data_loaders import AnyLoader

__all__ = ["inner_loader", "loader_length", "loaders_of"]


def inner_loader(dl: Any) -> Any:
    """The loader itself, out of the `AnyLoader` that a foreign one is wrapped in."""
    return dl.loader if type(dl) is AnyLoader else dl


def loaders_of(dls: Any) -> list[Any]:
    """The loaders of `DataLoaders`, or of any object with `train` and perhaps `valid`."""
    loaders = getattr(dls, "loaders", None)
    if loaders is None:
        loaders = [getattr(dls, name, None) for name in ("train", "valid")]
    return [loader for loader in loaders if loader is not None]


def loader_length(dl: Any) -> int | None:
    """How many batches a loader has, or None if it does not know."""
    try:
        return len(dl)
    except (TypeError, NotImplementedError):
        return None
