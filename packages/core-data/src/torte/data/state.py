"""Loaders as JSON: everything that inference needs of them, without any data.

`describe_loaders` keeps the transforms with what they have learned (vocabularies, statistics), the
number of inputs, the batch size and the semantic types of a batch. It keeps no items, no paths and
no code. `rebuild_loaders` makes `DataLoaders` of it that are empty, ready for `test_dl`, `decode`
and `vocab`.

Labellers of targets are not needed for that: the steps at the start of a target's pipeline that
cannot be described (`get_y=lambda o: ...`) are left out, so that a label enters where they ended.
"""

from collections.abc import Mapping
from typing import Any

from torte.data import tensors
from torte.data.data_loaders import AnyLoader, DataLoaders
from torte.data.datasets import Datasets
from torte.data.subsets import FilteredBase
from torte.data.tensors import TensorBase
from torte.data.tfmd_lists import TfmdLists
from torte.data.tfmd_loader import TfmdDL, _Kind
from torte.dispatch import StateError, describe, rebuild, serializable, undescribable

__all__ = ["describe_loaders", "rebuild_loaders", "undescribable_loaders"]

_FORMAT = 1
_EVENTS = ("after_item", "before_batch", "after_batch")
# Arguments of a loader that belong to a run or a machine, not to the kind of data.
_OF_THE_RUN = frozenset(
    {
        *("dataset", "n", "indexed", "seed", "shuffle", "drop_last", "verbose", "do_setup"),
        *("device", "pin_memory", "num_workers", "worker_kind", "timeout", "prefetch_factor"),
        *("persistent_workers", "skip_failures", "split_stream", *_EVENTS),
    }
)

_kinds = [getattr(tensors, name) for name in tensors.__all__]
_tensor_classes = [
    kind for kind in _kinds if isinstance(kind, type) and issubclass(kind, TensorBase)
]
for _class in (*_tensor_classes, TfmdDL, TfmdLists, Datasets):
    serializable(_class)


def _kinds_content(kinds: Any) -> Any:
    """The semantic types of a batch as tuples, lists, dictionaries and registered classes."""
    if isinstance(kinds, _Kind):
        metadata = {k: v for k, v in kinds.metadata.items() if not undescribable(v)}
        return {"class": kinds.cls, "metadata": metadata}
    if isinstance(kinds, tuple | list):
        return [_kinds_content(each) for each in kinds]
    if isinstance(kinds, dict):
        return {"of": {key: _kinds_content(each) for key, each in kinds.items()}}
    return None


def _kinds_from(content: Any) -> Any:
    if isinstance(content, list):
        return tuple(_kinds_from(each) for each in content)
    if isinstance(content, dict) and "class" in content:
        return _Kind(content["class"], content["metadata"])
    if isinstance(content, dict):
        return {key: _kinds_from(each) for key, each in content["of"].items()}
    return None


def _loader_content(loader: Any, shared: Any) -> dict[str, Any]:
    """What there is to describe of one loader; `shared`: the dataset that the first one has."""
    if not isinstance(loader, TfmdDL):  # it has no pipelines
        return {"class": None, "n_inp": getattr(loader, "n_inp", None)}
    arguments = {k: v for k, v in loader._current_arguments().items() if k not in _OF_THE_RUN}
    dataset = loader.dataset
    is_shared = _same_transforms(dataset, shared)
    return {
        "class": type(loader),
        "arguments": arguments,
        "events": {name: getattr(loader, name) for name in _EVENTS},
        "kinds": _kinds_content(loader._kinds()),
        "split_idx": getattr(dataset, "split_idx", None),
        "dataset": None if is_shared else _without_data(dataset),
    }


def _without_data(dataset: Any) -> Any:
    return dataset.new_empty() if hasattr(dataset, "new_empty") else None


def _same_transforms(dataset: Any, other: Any) -> bool:
    if not isinstance(dataset, FilteredBase) or type(dataset) is not type(other):
        return False
    mine, theirs = (_steps(each) for each in (dataset, other))
    return len(mine) == len(theirs) and all(a is b for a, b in zip(mine, theirs, strict=True))


def _steps(dataset: Any) -> list[Any]:
    return [step for tl in getattr(dataset, "tls", [dataset]) for step in tl.tfms.fs]


def _content(dls: Any) -> dict[str, Any]:
    """Everything that is described, still as objects."""
    first = dls.loaders[0]
    shared = first.dataset if isinstance(first, TfmdDL) else None
    rest = [_loader_content(loader, shared) for loader in dls.loaders[1:]]
    return {"format": _FORMAT, "loaders": [_loader_content(first, None), *rest]}


def describe_loaders(dls: DataLoaders) -> dict[str, Any]:
    """What inference needs of loaders, as JSON values.

    Args:
        dls: Loaders of `Datasets` or `TfmdLists` (or of any dataset class that is registered with
            `serializable` and has `new_empty()`); of plain loaders only the number of inputs.

    Raises:
        UndescribableError: A transform cannot be described; the message names every one, with
            the way to it.
    """
    return describe(_content(dls))


def undescribable_loaders(dls: DataLoaders) -> list[str]:
    """What keeps loaders from being described: each culprit by name, with the way to it."""
    return undescribable(_content(dls))


def _rebuilt_loader(content: Mapping[str, Any], first: Any) -> Any:
    if content["class"] is None:
        return AnyLoader([], n_inp=content["n_inp"])
    dataset = content["dataset"]
    if dataset is None and first is not None:
        dataset = _without_data(first.dataset)
    if isinstance(dataset, FilteredBase):
        for tl in getattr(dataset, "tls", [dataset]):
            tl.split_idx = content["split_idx"]
    loader = content["class"](
        [] if dataset is None else dataset,
        do_setup=False,
        num_workers=0,
        **content["arguments"],
        **content["events"],
    )
    loader.kinds = _kinds_from(content["kinds"])
    return loader


def rebuild_loaders(description: Mapping[str, Any]) -> DataLoaders:
    """Empty loaders with the transforms that `describe_loaders` described.

    Args:
        description: What `describe_loaders` gave, straight or by way of JSON.

    Returns:
        `DataLoaders` on the CPU, for `test_dl`, `decode_batch`, `vocab` and the like.

    Raises:
        UnknownNameError: It names a class or function that is not registered here.
        StateError: It is no such description, or one of a later version.
    """
    content = rebuild(description)
    if not isinstance(content, dict) or "loaders" not in content:
        raise StateError("this describes no loaders")
    if content.get("format") != _FORMAT:
        raise StateError(
            f"these loaders were described in format {content.get('format')!r}, but this version "
            f"of torte reads format {_FORMAT}: use the version that wrote them, or a later one"
        )
    loaders: list[Any] = []
    for each in content["loaders"]:
        loaders.append(_rebuilt_loader(each, loaders[0] if loaders else None))
    return DataLoaders(*loaders, device="cpu")
