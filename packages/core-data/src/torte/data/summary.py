"""The step-by-step account of one sample and one batch: `DataBlock.summary`.

Each step is run on its own and its result printed. The first step that fails is printed with what
it was given, and its exception goes on to the caller as it is. Nothing outside is changed: random
numbers are drawn apart and the global generators are put back.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from torte.data.devices import to_device
from torte.data.item_store import item_at
from torte.data.seeding import GlobalSeeds, drawing, drawing_batch
from torte.data.tensors import plain
from torte.data.tfmd_lists import TfmdLists
from torte.dispatch import Pipeline

if TYPE_CHECKING:
    from torte.data.data_block import DataBlock
    from torte.data.datasets import Datasets

__all__ = ["describe_value", "summarize"]

T = TypeVar("T")
_LONGEST = 300


def describe_value(value: Any) -> str:
    """A value in one line: tensors by type, dtype and shape, everything else by `repr`."""
    if isinstance(value, Tensor):
        kind, dtype = type(value).__name__, str(value.dtype).removeprefix("torch.")
        if value.ndim == 0:
            return f"{kind}({plain(value).item()})"
        return f"{kind} {dtype} of shape {'x'.join(map(str, value.shape))}"
    if type(value) in {tuple, list} and any(isinstance(v, Tensor | tuple | dict) for v in value):
        inside = ", ".join(describe_value(v) for v in value)
        return f"({inside})" if type(value) is tuple else f"[{inside}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {describe_value(v)}" for k, v in value.items()) + "}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


class _Account:
    """Prints what each step makes of its input, or that it fails."""

    def __init__(self, write: Callable[[str], Any]) -> None:
        self.write = write

    def title(self, text: str) -> None:
        self.write(f"\n{text}\n")

    def line(self, text: str) -> None:
        self.write(f"  {text}\n")

    def step(self, name: str, run: Callable[[], T], given: Any = None, quiet: bool = False) -> T:
        """Run one step; `quiet` ones are printed only if they fail."""
        try:
            result = run()
        except Exception as error:
            self.line(f"{name} FAILED: {type(error).__name__}: {error}")
            if given is not None:
                self.line(f"  it was given {describe_value(given)}")
            error.add_note(f"DataBlock.summary: the failing step is {name}")
            raise
        if not quiet:
            self.line(f"{name} -> {describe_value(result)}")
        return result


def _name(function: Any) -> str:
    return getattr(function, "__name__", None) or getattr(function, "name", None) or repr(function)


def _collect(account: _Account, block: "DataBlock", source: Any) -> tuple[Any, Any]:
    account.title(f"Items from {describe_value(source)}")
    get = "the source itself" if block.get_items is None else _name(block.get_items)
    items = account.step(get, lambda: block.items_of(source), source, quiet=True)
    account.line(f"{get} -> {len(items)} items, the first: {describe_value(item_at(items, 0))}")
    split = "RandomSplitter (default)" if block.splitter is None else _name(block.splitter)
    splits = account.step(split, lambda: block.splits_of(items), items, quiet=True)
    sizes = ", ".join(str(len(part)) for part in splits)
    account.line(f"{split} -> {len(splits)} subsets of {sizes} items")
    return items, splits


def _part(
    account: _Account, block: "DataBlock", number: int, items: Any, splits: Any, tfms: list[Any]
) -> TfmdLists:
    """Set up and apply the type transforms of one part, one after the other."""
    role = "input" if number < block.n_inp else "target"
    account.title(f"Part {number} ({role}) of one training sample")
    tl = TfmdLists(items, None, splits=splits, do_setup=False)
    x = account.step("the item", lambda: tl.train.raw(0))
    for tfm in Pipeline(tfms).fs:
        account.step(
            f"{tfm.name} (setting up)",
            lambda tfm=tfm: tl.tfms.add(tfm, items=tl, train_setup=True),
            quiet=True,
        )
        x = account.step(tfm.name, lambda tfm=tfm, x=x: tfm(x, split_idx=0), x)
    decoded = account.step("decoding", lambda: tl.decode(x), x, quiet=True)
    account.line(f"decoded again: {describe_value(decoded)}")
    return tl


def _item_steps(account: _Account, loader: Any, dsets: "Datasets", tfms: list[Any], bs: int) -> Any:
    account.title("Transforms on items")
    sample = account.step("the sample", lambda: dsets.train[0])
    for tfm in Pipeline(tfms).fs:
        account.step(
            f"{tfm.name} (setting up)",
            lambda tfm=tfm: loader.add_tfms(tfm, "after_item"),
            quiet=True,
        )
        sample = account.step(
            tfm.name, lambda tfm=tfm, sample=sample: tfm(sample, split_idx=0), sample
        )
    account.title(f"A batch of {bs} items")
    return [account.step(f"item {i}", lambda i=i: loader.do_item(i), quiet=True) for i in range(bs)]


def _batch_steps(account: _Account, loader: Any, samples: list[Any], tfms: list[Any]) -> Any:
    samples = account.step(
        "transforms before the batch", lambda: loader.before_batch(samples), samples, quiet=True
    )
    batch = account.step("collating", lambda: loader.create_batch(samples), samples)
    batch = account.step(
        "moving to the device", lambda: to_device(batch, loader.device), batch, quiet=True
    )
    account.title("Transforms on batches")
    with drawing_batch(torch.arange(len(samples))):
        for tfm in Pipeline(tfms).fs:
            account.step(
                f"{tfm.name} (setting up)",
                lambda tfm=tfm: loader.add_tfms(tfm, "after_batch"),
                quiet=True,
            )
            batch = account.step(
                tfm.name, lambda tfm=tfm, batch=batch: tfm(batch, split_idx=0), batch
            )
    return batch


def summarize(
    block: "DataBlock",
    source: Any,
    bs: int = 4,
    show_batch: bool = False,
    write: Callable[[str], Any] | None = None,
    **kwargs: Any,
) -> None:
    """Walk one sample and one batch of a block through every step.

    Args:
        block: The recipe.
        source: What its `get_items` takes.
        bs: Items in the batch.
        show_batch: Whether to show the batch at the end.
        write: Where the account goes; standard output by default.
        kwargs: For `show_batch`.

    Raises:
        Exception: What the failing step raised, with a note that names the step.
    """
    from torte.data.datasets import Datasets

    account = _Account(write or sys.stdout.write)
    with GlobalSeeds(), drawing(0):
        items, splits = _collect(account, block, source)
        parts = [
            _part(account, block, number, items, splits, tfms)
            for number, tfms in enumerate(block.fresh_type_tfms())
        ]
        dsets = Datasets(tls=parts, n_inp=block.n_inp, dl_type=block.dl_type)
        bs = min(bs, len(dsets.train))
        dls = account.step(
            "making loaders",
            lambda: dsets.dataloaders(
                **{**block.dls_kwargs, "bs": bs, "shuffle": False, "num_workers": 0}
            ),
            quiet=True,
        )
        item_tfms, batch_tfms = block.fresh_tfms()
        samples = _item_steps(account, dls.train, dsets, item_tfms, bs)
        _batch_steps(account, dls.train, samples, batch_tfms)
        account.write("\n")
        if show_batch:
            dls.show_batch(**kwargs)
