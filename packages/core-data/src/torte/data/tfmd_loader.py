"""TfmdDL: a DataLoader whose items and batches go through pipelines of transforms.

`after_item`, `before_batch` and `after_batch` are Pipelines, so that a batch can also be decoded,
back to what can be shown. Semantic types are noted beside the batches: a plain tensor at a place
where batches have a `TensorImage` is decoded and shown as one.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from torch import Tensor

from torte.data._structure import map_leaves, rebuild_mapping, rebuild_sequence
from torte.data.devices import to_cpu, to_device
from torte.data.display import show_batch, show_results
from torte.data.loader import DataLoader
from torte.data.tensors import TensorBase
from torte.dispatch.collection import L
from torte.dispatch.delegation import GetAttr
from torte.dispatch.pipeline import Pipeline
from torte.dispatch.semantic import retain_type

__all__ = ["TfmdDL", "batch_to_samples"]

_PIPES = ("after_item", "before_batch", "after_batch")


class _Kind(NamedTuple):
    """What a tensor of a batch is: its semantic class and its metadata."""

    cls: type
    metadata: dict[str, Any]

    def put_on(self, value: Any) -> Any:
        """`value` as this kind, if it is a tensor that has no kind yet."""
        if type(value) is not Tensor or not issubclass(self.cls, TensorBase):
            return value
        return self.cls(value, **self.metadata)


def _kinds_of(batch: Any) -> Any:
    """The structure of `batch` with a `_Kind` for each tensor, other leaves left out."""
    return map_leaves(
        lambda leaf: _Kind(type(leaf), dict(vars(leaf))) if isinstance(leaf, TensorBase) else None,
        batch,
    )


def _with_kinds(batch: Any, kinds: Any) -> Any:
    """`batch` with its plain tensors as `kinds` has it, as far as the two have one structure."""
    if isinstance(kinds, _Kind):
        return kinds.put_on(batch)
    if isinstance(batch, (tuple, list)) and isinstance(kinds, (tuple, list)):
        values = [
            _with_kinds(value, kinds[place]) if place < len(kinds) else value
            for place, value in enumerate(batch)
        ]
        return rebuild_sequence(batch, values)
    if isinstance(batch, Mapping) and isinstance(kinds, Mapping):
        return rebuild_mapping(
            batch, {key: _with_kinds(value, kinds.get(key)) for key, value in batch.items()}
        )
    return batch


def batch_to_samples(b: Any, max_n: int = 10) -> Any:
    """A batch taken apart into at most `max_n` samples of the structure of its items."""
    if isinstance(b, Tensor):
        return list(b[:max_n])
    if isinstance(b, Mapping):
        columns = {key: batch_to_samples(value, max_n) for key, value in b.items()}
        count = min(map(len, columns.values()), default=0)
        return [{key: column[n] for key, column in columns.items()} for n in range(count)]
    if isinstance(b, (tuple, list)) and any(
        isinstance(each, (Tensor, tuple, list, Mapping)) for each in b
    ):
        samples = zip(*(batch_to_samples(each, max_n) for each in b), strict=False)
        return [retain_type(sample, b) if type(b) is not list else sample for sample in samples]
    return list(b[:max_n]) if hasattr(b, "__getitem__") else [b]


def _one_or_all(values: Any) -> Any:
    """The element of a sequence of one, otherwise the sequence."""
    return values[0] if isinstance(values, (tuple, list)) and len(values) == 1 else values


class TfmdDL(DataLoader, GetAttr):
    """A `DataLoader` with pipelines of transforms over items and batches.

    Args:
        dataset: See `DataLoader`. Attributes that the loader lacks are read from it.
        bs: Samples in a batch.
        shuffle: A new order for each pass.
        num_workers: How many workers make batches; `None` to choose by the dataset's size.
        verbose: Print each pipeline as it is set up.
        do_setup: Set the pipelines up, each with this loader.
        after_item: A transform, function, list of them or Pipeline for each item.
        before_batch: The same for each list of items.
        after_batch: The same for each batch, on the device.
        n_inp: How many elements of a batch are the model's input; by default the dataset's, or all
            but the last.
        kwargs: For `DataLoader`.
    """

    _default: str = "dataset"
    _wrapped: ClassVar[tuple[str, ...]] = _PIPES

    def __init__(
        self,
        dataset: Any = None,
        bs: int | None = 64,
        shuffle: bool = False,
        num_workers: int | None = None,
        verbose: bool = False,
        do_setup: bool = True,
        after_item: Any = None,
        before_batch: Any = None,
        after_batch: Any = None,
        n_inp: int | None = None,
        **kwargs: Any,
    ) -> None:
        split_idx = getattr(dataset, "split_idx", None)
        given = {"after_item": after_item, "before_batch": before_batch, "after_batch": after_batch}
        pipes = {name: _pipeline(steps, split_idx) for name, steps in given.items()}
        super().__init__(
            dataset, bs=bs, shuffle=shuffle, num_workers=num_workers, **pipes, **kwargs
        )
        self.verbose, self.given_n_inp = verbose, n_inp
        self.kinds: Any = None
        if do_setup:
            self._set_up(pipes)
        if self.device is not None:
            self._move_transforms()

    def _set_up(self, pipes: dict[str, Pipeline]) -> None:
        """Set the pipelines up one after the other, on batches made with those before."""
        for name in _PIPES:
            setattr(self, name, _pipeline(None, pipes[name].split_idx))
        for name, pipe in pipes.items():
            setattr(self, name, pipe)
            if self.verbose and len(pipe):
                print(f"Setting up {name}: {pipe}")  # noqa: T201 - asked for
            with self._as_items_of(pipe):
                pipe.setup(self)

    @contextlib.contextmanager
    def _as_items_of(self, pipe: Pipeline) -> Iterator[None]:
        """Tells the pipeline that the batches of this loader already go through it."""
        self.tfms = pipe
        try:
            yield
        finally:
            del self.tfms

    # -- types and inputs ----

    def finish_batch(self, batch: Any) -> Any:
        """Note the batch's types."""
        if self.kinds is None:
            self.kinds = _kinds_of(batch)
        return batch

    def _kinds(self) -> Any:
        if self.kinds is None:
            with contextlib.suppress(ValueError):
                self.one_batch()
        return self.kinds

    @property
    def n_inp(self) -> int:
        """How many elements of a batch are the model's input."""
        if self.given_n_inp is not None:
            return self.given_n_inp
        found = getattr(self.dataset, "n_inp", None)
        if found is not None:
            return found
        kinds = self._kinds()
        is_many = isinstance(kinds, (tuple, list)) and len(kinds) > 1
        return len(kinds) - 1 if is_many else 1

    @n_inp.setter
    def n_inp(self, value: int | None) -> None:
        self.given_n_inp = value

    # -- back from batches ----

    def decode(self, b: Any) -> Any:
        """Undo `after_batch` on a batch; the result is on the CPU."""
        return to_cpu(self.after_batch.decode(_with_kinds(b, self._kinds())))  # type: ignore[attr-defined]

    def decode_batch(self, b: Any, max_n: int = 9, full: bool = True) -> L[Any]:
        """The samples of a batch with every transform undone.

        Args:
            b: A batch, or predictions of its structure.
            max_n: How many samples at most.
            full: Undo all; otherwise stop as soon as a sample can show itself.
        """
        return self._decode_samples(self.decode(b), max_n, full)

    def _decode_samples(self, b: Any, max_n: int, full: bool = True) -> L[Any]:
        def back(sample: Any) -> Any:
            sample = self.before_batch.decode(sample)  # type: ignore[attr-defined]
            sample = self.after_item.decode(sample)  # type: ignore[attr-defined]
            decode = getattr(self.dataset, "decode", None)
            return sample if decode is None else decode(sample, full=full)

        return L([back(sample) for sample in batch_to_samples(b, max_n)])

    def _shown_parts(self, b: Any, max_n: int) -> tuple[Any, Any, Any]:
        """(input, target, samples) of a batch, decoded as far as showing needs."""
        b = self.decode(b)
        if hasattr(b, "show"):
            return b, None, None
        samples = self._decode_samples(b, max_n, full=False)
        if not isinstance(b, (tuple, list)):
            b, samples = [b], L([(sample,) for sample in samples])
        inputs, targets = b[: self.n_inp], b[self.n_inp :]
        return _one_or_all(inputs), _one_or_all(targets), samples

    def show_batch(
        self,
        b: Any = None,
        max_n: int = 9,
        ctxs: Any = None,
        show: bool = True,
        unique: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Show some samples of a batch, each as its types are shown.

        Args:
            b: The batch; one of this loader if `None`.
            max_n: How many samples at most.
            ctxs: What to draw on, one for each sample.
            show: Otherwise return (input, target, samples) for `torte.data.display.show_batch`.
            unique: Show one sample over and over, as its random transforms vary.
            kwargs: For the function that `show_batch` dispatches to.
        """
        if b is None:
            b = self._one_sample_batch(max_n) if unique else self.one_batch()
        parts = self._shown_parts(b, max_n)
        if not show:
            return parts
        show_batch(*parts, ctxs=ctxs, max_n=max_n, **kwargs)
        return None

    def _one_sample_batch(self, max_n: int) -> Any:
        """A batch of the first sample of the next pass, `max_n` times with draws of its own."""
        first = self.new(n=1, do_setup=False, bs=1) if not self.indexed else self
        samples = first.sample()
        place = next(iter(samples))
        repeated = np.full(max_n, int(place), dtype=np.int64)
        return self.new(
            get_idxs=lambda: repeated, n=None, bs=max_n, do_setup=False, drop_last=False
        ).one_batch()

    def show_results(
        self, b: Any, out: Any, max_n: int = 9, ctxs: Any = None, show: bool = True, **kwargs: Any
    ) -> Any:
        """Show some samples of a batch with what a model made of them.

        Args:
            b: The batch.
            out: Decoded predictions, of the structure of the targets.
            max_n: How many samples at most.
            ctxs: What to draw on.
            show: Otherwise return what `torte.data.display.show_results` takes.
            kwargs: For the function that `show_results` dispatches to.
        """
        x, y, samples = self._shown_parts(b, max_n)
        inputs = b[: self.n_inp] if isinstance(b, (tuple, list)) else (b,)
        outs = tuple(out) if isinstance(out, (tuple, list)) else (out,)
        x_out, y_out, out_samples = self._shown_parts((*inputs, *outs), max_n)
        if samples is None:
            parts = (x, x_out, None, None)
        else:
            shown = L([tuple(sample[self.n_inp :]) for sample in out_samples])
            parts = (x, y if y is not None else y_out, samples, shown)
        if not show:
            return parts
        show_results(*parts, ctxs=ctxs, max_n=max_n, **kwargs)
        return None

    # -- changing it ----

    def new(self, dataset: Any = None, cls: type | None = None, **kwargs: Any) -> Any:
        """A loader like this one, but for what is given; see `DataLoader.new`.

        Its pipelines hold the same transforms, which are not set up again, for the new dataset's
        `split_idx`.
        """
        if issubclass(type(self) if cls is None else cls, TfmdDL):
            kwargs = {"do_setup": False, **kwargs}
        made = super().new(dataset, cls, **kwargs)
        if getattr(made, "kinds", self) is None:
            made.kinds = self.kinds
        return made

    def _current_arguments(self) -> dict[str, Any]:
        arguments = super()._current_arguments()
        for name in _PIPES:
            arguments[name] = getattr(self, name)
        arguments["n_inp"] = self.given_n_inp
        return arguments

    def add_tfms(self, tfms: Any, event: str, setup: bool = True) -> None:
        """Add transforms to a pipeline, set up with this loader.

        Args:
            tfms: One or several.
            event: "after_item", "before_batch" or "after_batch".
            setup: Whether to set them up.
        """
        if event not in _PIPES:
            raise ValueError(f"transforms are added to one of {', '.join(_PIPES)}, got {event!r}")
        pipe = _pipeline(getattr(self, event), self._split_idx())
        setattr(self, event, pipe)
        with self._as_items_of(pipe):
            pipe.add(tfms, items=self if setup else None)
        self.kinds = None
        if self.device is not None:
            self._move_transforms()

    def _split_idx(self) -> int | None:
        return getattr(self.dataset, "split_idx", None)

    def to(self, device: Any) -> Self:
        """Move batches, and the tensors of `after_batch`'s transforms, to `device`."""
        super().to(device)
        if self.device is not None:
            self._move_transforms()
        return self

    def _move_transforms(self) -> None:
        """Move what the transforms name in their `parameters`."""
        for step in self.after_batch:  # type: ignore[attr-defined]
            for name in getattr(step, "parameters", None) or ():
                value = getattr(step, name, None)
                if isinstance(value, Tensor):
                    setattr(step, name, to_device(value, self.device))


def _pipeline(steps: Any, split_idx: int | None) -> Pipeline:
    """A pipeline of these steps for this subset, whatever subset they were for before."""
    steps = list(steps.fs) if isinstance(steps, Pipeline) else steps
    return Pipeline(steps, split_idx=split_idx)
