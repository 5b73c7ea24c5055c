"""Looking at what a model does: validation, predictions, results."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torte.data.errors import LoaderError
from torte.data.loader import DataLoader
from torte.dispatch import L, noop
from torte.learner.callback_set import Callbacks, as_callbacks
from torte.learner.callbacks.gathering import GatherPredsCallback, concatenated
from torte.learner.layers.inspection import NoneReduce
from torte.learner.predicting import Predicting

__all__ = ["Inference"]


class Inference(Predicting):
    """The part of the Learner that predicts; nothing here changes anything (see `Looking`)."""

    def validate(self, ds_idx: int = 1, dl: Any = None, cbs: Callbacks = None) -> L:
        """Return the loss and the metrics over a loader.

        Args:
            ds_idx: Of which of the learner's loaders.
            dl: Or of this one: any iterable of batches with targets.
            cbs: Callbacks for this pass alone.

        Raises:
            ValueError: If there is no such loader or it has no batches.
        """
        dl = self._loader_to_look_at(ds_idx, dl)
        with self.looking(dl), self.validation_context(cbs):
            self.epoch_validate(dl=dl)
            recorder = self.__dict__.get("recorder")
            return L() if recorder is None else recorder.valid_record

    def get_preds(
        self,
        ds_idx: int = 1,
        dl: Any = None,
        with_input: bool = False,
        with_decoded: bool = False,
        with_loss: bool = False,
        act: Callable[[Any], Any] | None = None,
        inner: bool = False,
        reorder: bool = True,
        cbs: Callbacks = None,
        save_preds: "str | Path | None" = None,
        save_targs: "str | Path | None" = None,
        with_preds: bool = True,
        with_targs: bool = True,
        concat_dim: int = 0,
    ) -> tuple[Any, ...]:
        """Return predictions and targets over a loader, in main memory.

        Args:
            ds_idx: Of which of the learner's loaders.
            dl: Or of this one: any iterable of batches.
            with_input: Whether to return the inputs too, first.
            with_decoded: Whether to return the decoded predictions too, after the targets.
            with_loss: Whether to return the losses of the samples too, last.
            act: Applied to the predictions; the loss function's `activation` by default.
            inner: Whether this takes place within a fit.
            reorder: Whether to put the results into the order of the dataset, for loaders that
                have another.
            cbs: Callbacks for this pass alone.
            save_preds: Folder to write the predictions to, batch by batch (see `read_saved`).
            save_targs: Folder to write the targets to.
            with_preds: Whether to keep the predictions in memory.
            with_targs: Whether to keep the targets in memory.
            concat_dim: Along which dimension batches are joined.

        Returns:
            `(inputs, predictions, targets, decoded, losses)` without those not asked for; targets
            are None if there are none.

        Raises:
            ValueError: If there is no such loader or it has no batches.
        """
        dl = self._loader_to_look_at(ds_idx, dl)
        loss_func: Any = self.loss_func
        activation: Any = getattr(loss_func, "activation", noop) if act is None else act
        gather = GatherPredsCallback(
            with_input,
            with_loss,
            save_preds,
            save_targs,
            with_preds,
            with_targs,
            concat_dim,
            activation,
        )
        if gather.name in self.__dict__:
            gather.name = "gather_preds_of_this_pass"
        with ExitStack() as stack:
            stack.enter_context(self.looking(dl))
            self.world.agree(dl)
            dl, places = _in_known_order(dl) if reorder else (dl, None)
            if with_loss:
                stack.enter_context(self.loss_not_reduced())
            if "recorder" in self.__dict__:
                self.__dict__["recorder"].run = False
            stack.enter_context(self.validation_context([gather, *as_callbacks(cbs)], inner))
            self.epoch_validate(dl=dl)
            results = gather.all_tensors()
        if places is not None:
            results = [_taken(result, places) for result in results]
        if with_decoded:
            decodes = getattr(self.loss_func, "decodes", noop)
            results.insert(3 if with_input else 2, decodes(results[1 if with_input else 0]))
        return tuple(results)

    def _joined_targets(self, parts: Sequence[Any], dim: int) -> Any:
        """The targets of all batches in one; for a Learner to replace whose batches differ."""
        return concatenated(parts, dim)

    @contextmanager
    def loss_not_reduced(self) -> Iterator[None]:
        """Have `loss_func` return one loss an element within the block (see `NoneReduce`)."""
        loss_func: Any = self.loss_func
        with NoneReduce(loss_func) as unreduced:
            self.loss_func = unreduced
            try:
                yield
            finally:
                self.loss_func = loss_func

    def show_results(
        self, ds_idx: int = 1, dl: Any = None, max_n: int = 9, shuffle: bool = True, **kwargs: Any
    ) -> None:
        """Draw samples of a loader with their targets and predictions.

        Args:
            ds_idx: Of which of the learner's loaders.
            dl: Or of this one.
            max_n: How many samples at most.
            shuffle: Whether to draw them at random.
            **kwargs: More for the display function.
        """
        dl = self._loader_to_look_at(ds_idx, dl)
        if hasattr(dl, "new"):
            dl = dl.new(shuffle=shuffle)
        with self.alone(), self.looking(dl):
            batch = dl.one_batch()
            preds, _, decoded = self.get_preds(dl=[batch], with_decoded=True)
            self._draw_results(dl, batch, preds, decoded, max_n, **kwargs)

    def _draw_results(
        self, dl: Any, batch: Any, preds: Any, decoded: Any, max_n: int, **kwargs: Any
    ) -> None:
        """Draw a batch with what `get_preds` made of it."""
        dl.show_results(batch, decoded, max_n=max_n, **kwargs)

    def _parts_to_show(
        self, dl: Any, batch: Any, preds: Any, decoded: Any, max_n: int, options: dict[str, Any]
    ) -> tuple[Any, Any, Any, Any]:
        """What is drawn of a batch: (x, y, samples, outs), as the display functions take them.

        A Learner with predictions of its own kind replaces this, and takes out of `options`, which
        go to the display function, what is meant for it.
        """
        return dl.show_results(batch, decoded, max_n=max_n, show=False)

    def _loader_to_look_at(self, ds_idx: int, dl: Any) -> Any:
        if dl is not None:
            return dl
        dl = self.loader(ds_idx)
        if dl is None:
            raise ValueError(
                f"there is no loader number {ds_idx} with batches to look at; give one with "
                "dl=..., such as learn.dls.test_dl(items)"
            )
        if ds_idx == 0 and hasattr(dl, "new"):
            with suppress(
                LoaderError
            ):  # lists of batches cannot be made anew: they come as they are
                return dl.new(shuffle=False, drop_last=False)
        return dl


def _in_known_order(dl: Any) -> tuple[Any, Tensor | None]:
    """Fix the order of a loader that has one of its own; say where each result belongs."""
    if not isinstance(dl, DataLoader) or not dl.indexed:
        return dl, None
    # Asked of another one, since shuffling moves a loader's generator.
    order = [int(at) for at in dl.new().get_idxs()]
    if order == sorted(order):
        return dl, None
    return dl.new(get_idxs=lambda: order), torch.tensor(order).argsort()


def _taken(value: Any, places: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value[places]
    if isinstance(value, tuple):
        return tuple(_taken(item, places) for item in value)
    if isinstance(value, dict):
        return {key: _taken(item, places) for key, item in value.items()}
    return value
