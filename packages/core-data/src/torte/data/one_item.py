"""The batch of a single item, made without a loader and a pass: what serving does all day."""

from typing import Any

import torch

from torte.data._making import shortened
from torte.data._tasks import Problem
from torte.data.datasets import Datasets
from torte.data.devices import to_device
from torte.data.loader import DataLoader
from torte.data.seeding import draw_for, drawing, drawing_batch, sample_key, seed_globals
from torte.data.tfmd_lists import TfmdLists
from torte.data.tfmd_loader import TfmdDL

__all__ = ["batch_of_one"]

_VALIDATION = 1
_STAGES = ("create_batches", "create_items", "do_item", "create_item")


def batch_of_one(loader: Any, item: Any, rm_type_tfms: int | None = None) -> Any:
    """The batch that a loader of `[item]` like this one would give, on its device.

    The global generators are seeded as a pass seeds them: whoever calls this puts them back
    (`torte.data.seeding.GlobalSeeds`).

    A loader whose datasets have no pipelines (that of a table) can have a method
    `batch_of_item(item)` of its own: it returns the batch before the transforms of batches, or
    None.

    Args:
        loader: A validation loader.
        item: What its datasets were made from.
        rm_type_tfms: How many of the first item transforms to leave out; judged by type by default.

    Returns:
        The batch; None for a loader or a dataset that makes items in a way of its own, or if a
        transform leaves the item out.

    Raises:
        ItemError: If a transform fails on the item.
    """
    key = sample_key(loader.seed, 0, 0)
    own = getattr(type(loader), "batch_of_item", None)
    batch = _collated(loader, item, rm_type_tfms, key) if own is None else own(loader, item)
    if batch is None:
        return None
    keys = torch.tensor([key])
    if loader.device is not None:
        keys, batch = to_device((keys, batch), loader.device)
    with drawing_batch(keys):
        return loader.after_batch(batch)


def _collated(loader: Any, item: Any, rm_type_tfms: int | None, key: int) -> Any:
    """The batch as it is before it goes to the device; None where `batch_of_one` gives None."""
    if not _makes_single_items(loader):
        return None
    with drawing(None):
        draw_for(key)
        seed_globals(key)
        try:
            made = loader.after_item(_transformed(loader.dataset, item, rm_type_tfms))
        except Exception as error:
            name = type(loader.dataset).__name__
            raise Problem(error, 0, shortened(item), name).exception() from error
        if made is None:
            return None
        return loader.do_batch([made])


def _makes_single_items(loader: Any) -> bool:
    if not isinstance(loader, TfmdDL) or loader.bs is None or not loader.indexed:
        return False
    dataset, own = loader.dataset, vars(loader).keys()
    if type(dataset) in (Datasets, TfmdLists):
        if dataset.split_idx != _VALIDATION:
            return False
    elif hasattr(dataset, "test_set") or hasattr(dataset, "split_idx"):
        return False
    return all(
        name not in own and getattr(type(loader), name) is getattr(DataLoader, name)
        for name in _STAGES
    )


def _transformed(dataset: Any, item: Any, start: int | None) -> Any:
    """The inputs that the dataset's pipelines, if it has any, make of an item."""
    if isinstance(dataset, TfmdLists):
        return dataset.infer(item, start)
    if isinstance(dataset, Datasets):
        return tuple(tl.infer(item, start) for tl in dataset.tls[: dataset.n_inp])
    return item
