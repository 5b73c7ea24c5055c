"""Predicting a single item, as a server does it over and over."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from torte.data.one_item import batch_of_one
from torte.data.seeding import GlobalSeeds
from torte.data.tfmd_loader import TfmdDL
from torte.dispatch import noop
from torte.learner.callbacks.gathering import detached
from torte.learner.callbacks.progress import ProgressCallback
from torte.learner.callbacks.training_mode import TrainEvalCallback
from torte.learner.events import Event
from torte.learner.loaders import loader_length, loaders_of
from torte.learner.looking import Looking
from torte.learner.recorder import Recorder
from torte.learner.state import MODULE_TABLES, modules_of, remember_attributes

__all__ = ["Predicting"]

_BYSTANDERS = frozenset({TrainEvalCallback, Recorder, ProgressCallback})
"""Callbacks whose part in a prediction is done here, or that have none in it."""

_HEARD = [
    event.value
    for event in Event
    if event.value != "after_create"
    and event.value.split("_")[-1] not in ("train", "backward", "step")
]
"""What a pass without training lets the callbacks hear."""

_PASS = (
    *("loader", "all_batches", "epoch_validate", "one_batch", "_section", "_session"),
    *("validation_context", "looking", "_do_batch", "_compute", "compute_loss"),
)
"""Methods of a pass that a prediction without one leaves out: replaced ones have to run."""


class Predicting(Looking):
    """The part of the Learner that predicts single items."""

    if TYPE_CHECKING:

        def get_preds(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
            """Of `torte.learner.inference`."""
            ...

    def predict(
        self, item: Any, rm_type_tfms: int | None = None, with_input: bool = False
    ) -> tuple[Any, ...]:
        """Return the prediction for one item.

        The item goes through the validation set's transforms (without the labelling) as one batch
        of one. Learners over plain loaders take a sample as it is in a batch, less the batch
        dimension. Where no callback listens to validation there is neither loader nor pass: the
        cost is that of the transforms and the model.

        Args:
            item: What the data were made from: a path, an image, a row, a text.
            rm_type_tfms: How many of the first item transforms to leave out.
            with_input: Whether to return the decoded input too, first.

        Returns:
            `(decoded target, decoded prediction, prediction)`: for a classifier the category's
            name, its number as a tensor, and the probabilities.
        """
        found = self._predicted_directly(item, rm_type_tfms)
        inputs, preds, decoded = (
            self._predicted_by_pass(item, rm_type_tfms) if found is None else found
        )
        shown_input, target = self._decoded_sample(inputs, decoded)
        result = (target, _first(decoded), _first(preds))
        return (shown_input, *result) if with_input else result

    # -- without a pass --------------------------------------------------------------------------

    def _predicted_directly(self, item: Any, rm_type_tfms: int | None) -> tuple[Any, ...] | None:
        """Inputs, predictions and decoded predictions; None if somebody could tell the way."""
        if self.world.size > 1 or _replaces_a_pass(type(self)) or self._is_heard():
            return None
        like = self._test_loader()
        if isinstance(like, TfmdDL):
            with GlobalSeeds():
                batch = batch_of_one(like, item, rm_type_tfms)
        else:
            batch = _as_batch(item)
        return None if batch is None else self._outputs(like, batch)

    def _is_heard(self) -> bool:
        """Whether a callback (or a method put on this Learner) listens to a validation pass."""
        if not vars(self).keys().isdisjoint(_PASS):
            return True
        bound = self._bound
        return any(
            type(callback) not in _BYSTANDERS and not callback.fit_only
            for event in _HEARD
            for callback, _ in bound[event]
        )

    def _outputs(self, like: Any, batch: Any) -> tuple[Any, ...]:
        loss_func: Any = self.loss_func
        activation = getattr(loss_func, "activation", noop)
        decodes = getattr(loss_func, "decodes", noop)
        modules = modules_of(self.model)
        with self._untouched(modules), torch.no_grad():
            self._use(like)
            self._ready_model(modules)
            self.split(batch)
            inputs = detached(self.xb)
            self.predict_batch()
            preds = detached(activation(self.pred))
        return _single(inputs), preds, decodes(preds)

    @contextmanager
    def _untouched(self, modules: list[nn.Module]) -> Iterator[None]:
        """Put back what a forward pass and the methods around it change."""
        back = remember_attributes(modules, skip=MODULE_TABLES)
        main, gpus = torch.get_rng_state(), _gpu_generators()
        try:
            with self._loop_state_restored():
                yield
        finally:
            back()
            torch.set_rng_state(main)
            if gpus:
                torch.cuda.set_rng_state_all(gpus)

    def _ready_model(self, modules: list[nn.Module]) -> None:
        """Device, evaluation mode and a fresh hidden state, as `TrainEvalCallback` has it."""
        device = getattr(self.dls, "device", None)
        if device is not None and _device_of(modules) != self._device:
            self.model.to(device)
        reset = getattr(self.model, "reset", None)
        if callable(reset):
            reset()
        self.training = False
        # Telling a model of many small layers what it knows takes as long as running it.
        for module in modules:
            if module.training:
                self.model.eval()
                break

    # -- by a pass -------------------------------------------------------------------------------

    def _predicted_by_pass(self, item: Any, rm_type_tfms: int | None) -> tuple[Any, ...]:
        dl = self._one_item_loader(item, rm_type_tfms)
        with self.alone():  # each of several processes predicts for itself
            inputs, preds, _, decoded = self.get_preds(dl=dl, with_input=True, with_decoded=True)
        return inputs, preds, decoded

    def _one_item_loader(self, item: Any, rm_type_tfms: int | None) -> Any:
        if not isinstance(self._test_loader(), TfmdDL):
            return [_as_batch(item)]
        keywords = {} if rm_type_tfms is None else {"rm_type_tfms": rm_type_tfms}
        return self.dls.test_dl([item], num_workers=0, **keywords)

    # -- what both need --------------------------------------------------------------------------

    def _test_loader(self) -> Any:
        """The loader that `test_dl` makes others like."""
        loaders = loaders_of(self.dls) or [None]
        return loaders[min(1, len(loaders) - 1)]

    def _pipeline_loader(self) -> Any:
        loader = self._test_loader()
        if loader_length(loader) == 0 and loader is not self.dls.train:
            return self.dls.train  # without items (a GAN has no validation set) it knows no types
        return loader

    def _decoded_sample(self, inputs: Any, decoded: Any) -> tuple[Any, Any]:
        """Input and target of a sample as the transforms' decodes give them, if there are any."""
        loader = self._pipeline_loader()
        if not isinstance(loader, TfmdDL):
            return _first(inputs), _first(decoded)
        inputs = _as_tuple(inputs)
        if not hasattr(self.loss_func, "decodes"):
            # What the model returns is no target then, so there is nothing to decode it by.
            return _single(loader.decode_batch(inputs)[0]), _first(decoded)
        shown = loader.decode_batch((*inputs, *_as_tuple(decoded)))[0]
        return _single(shown[: len(inputs)]), _single(shown[len(inputs) :])


@functools.cache
def _replaces_a_pass(cls: type) -> bool:
    """Whether a class of learners has a pass of its own."""
    from torte.learner.inference import Inference

    return any(getattr(cls, name) is not getattr(Inference, name) for name in (*_PASS, "get_preds"))


def _gpu_generators() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _device_of(modules: list[nn.Module]) -> torch.device | None:
    """The device of the first parameter."""
    for module in modules:
        for parameter in module._parameters.values():
            if parameter is not None:
                return parameter.device
    return None


def _as_batch(item: Any) -> tuple[Any, ...]:
    """A sample as a batch of one."""
    parts = item if isinstance(item, tuple) else (item,)
    return tuple(torch.as_tensor(part)[None] for part in parts)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _single(parts: tuple[Any, ...]) -> Any:
    return parts[0] if len(parts) == 1 else parts


def _first(value: Any) -> Any:
    """The first sample of a batch."""
    if isinstance(value, tuple):
        return tuple(_first(item) for item in value)
    if isinstance(value, dict):
        return {key: _first(item) for key, item in value.items()}
    return value[0]
