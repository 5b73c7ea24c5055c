"""`NonFiniteCallback`: what to do about gradients that are not finite, and where they come from."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from torte.data._plan import plan_samples
from torte.data._structure import leaves
from torte.data.loader import DataLoader
from torte.learner.callback import Callback
from torte.learner.control import CancelFitException, CancelStepException
from torte.learner.loaders import inner_loader
from torte.learner.persistence import unwrapped
from torte.learner.state import model_restored, rng_restored

__all__ = ["NonFinite", "NonFiniteCallback", "NonFiniteWarning"]


class NonFiniteWarning(UserWarning):
    """A loss or gradients were not finite."""


@dataclass(frozen=True)
class NonFinite:
    """A step whose gradients were not finite.

    Attributes:
        epoch: In which epoch.
        batch: Which batch of it, counted from 0.
        where: What was not finite first: the inputs, the output of a layer, the loss or a gradient.
        items: The batch's items, as indices into the dataset; None for loaders that do not tell.
    """

    epoch: int
    batch: int
    where: str
    items: list[int] | None

    def __str__(self) -> str:
        items = "" if self.items is None else f"; its items are {_short(self.items)}"
        return f"epoch {self.epoch}, batch {self.batch}: {self.where} not finite{items}"


class _Seen(NamedTuple):
    """What one process can tell of a bad step: the more the larger `detail`."""

    detail: int
    batch: int
    place: int | None
    where: str


class NonFiniteCallback(Callback):
    """Stop, or skip the step, when gradients (or the loss) are not finite, and say why.

    They are looked at before the step: one reduction over all gradients on the device. With
    `action="skip"` the step is left out: weights and optimizer state stay exactly as they are. That
    has a price on a GPU, which is waited for once a step. With `action="stop"` the fit ends; on a
    GPU the flag is read when the next step is due, so that nothing waits, and the weights have then
    taken one bad step (no checkpoint is written of them). On the CPU nothing comes late.

    Where several processes train together, the gradients that they look at are those of all, so all
    decide alike, and report what the process tells whose part of the batch was bad. Under float16's
    loss scaling, whose search for a scale makes gradients overflow and skips such steps by itself,
    the loss is looked at instead.

    The report names the first layer that makes something that is not finite out of what is: the
    batch is put through the model once more, which changes nothing. Where the flag was read late,
    it names the parameters whose gradients were bad. Dropout draws other numbers then.

    Args:
        action: "stop" or "skip".
        limit: How many steps in a row may be skipped before the fit is stopped after all.

    Attributes:
        found: What was found, a `NonFinite` for each step.
    """

    # Between mixed precision, which unscales (10), and clipping (11).
    order = 10
    run_after = "MixedPrecision"
    run_before = "GradientClip"
    run_valid = False
    state_attributes: ClassVar[tuple[str, ...]] = ("in_a_row",)

    def __init__(self, action: Literal["stop", "skip"] = "stop", limit: int = 10) -> None:
        super().__init__()
        if action not in ("stop", "skip"):
            raise ValueError(f"action must be 'stop' or 'skip', got {action!r}")
        self.action = action
        self.limit = limit
        self.in_a_row = 0
        self.found: list[NonFinite] = []
        self._batches: list[tuple[int, int | None, Any, Tensor]] = []
        self._earlier: tuple[Tensor, list[Any]] | None = None

    def before_fit(self) -> None:
        """Begin to watch."""
        self.found, self.in_a_row = [], 0
        self._batches, self._earlier = [], None

    def after_loss(self) -> None:
        """Keep the batch until its step is due."""
        learn: Any = self.learn
        if learn.loss is not None:
            entry = (learn.iter, _position(learn.dl), (learn.xb, learn.yb), learn.loss)
            self._batches.append(entry)

    def before_step(self) -> None:
        """Look at the gradients."""
        batches, self._batches = self._batches, []
        flags = self._flags(batches)
        if flags is None:
            return
        if self.action == "stop" and flags.is_cuda:
            earlier, self._earlier = self._earlier, (flags, [(*b[:2], None, b[3]) for b in batches])
            if earlier is None or not self._is_bad(earlier[0]):
                return
            flags, batches = earlier
        elif not self._is_bad(flags):
            self.in_a_row = 0
            return
        self._report(flags, batches)

    def after_train(self) -> None:
        """Look at the last step."""
        earlier, self._earlier = self._earlier, None
        if earlier is not None and self._is_bad(earlier[0]):
            self._report(*earlier)

    def _scales(self) -> bool:
        precision = vars(self.learn).get("mixed_precision")
        return getattr(precision, "scaler", None) is not None

    def _flags(self, batches: list[Any]) -> Tensor | None:
        """Whether each gradient (or each loss) is bad, on the device."""
        if self._scales():
            losses = [entry[3].reshape(-1).float().sum() for entry in batches]
            return ~torch.isfinite(torch.stack(losses)) if losses else None
        grads = [grad for _, grad in self._own_gradients()]
        if not grads:  # of small models not every process has a part
            return torch.zeros(1, dtype=torch.bool) if self.learn.world.size > 1 else None
        largest = torch._foreach_norm(grads, math.inf)
        device = grads[0].device
        return ~torch.isfinite(torch.stack([one.to(device, torch.float32) for one in largest]))

    def _own_gradients(self) -> list[tuple[str, Tensor]]:
        """What this process has of each gradient, with the parameter's name."""
        named = unwrapped(self.learn.model).named_parameters()
        parts = [(name, _local(p.grad)) for name, p in named if p.grad is not None]
        return [(name, part) for name, part in parts if part.numel()]

    def _is_bad(self, flags: Tensor) -> bool:
        bad, world = flags.any(), self.learn.world
        if world.size > 1 and (self._scales() or not world.holds_all):
            return world.any(bad)
        return bool(bad)

    def _report(self, flags: Tensor, batches: list[Any]) -> None:
        learn: Any = self.learn
        # The process whose part of the batch is bad tells most; the first of them is believed.
        told = max(learn.world.gathered(self._seen(flags, batches)), key=lambda seen: seen.detail)
        found = NonFinite(learn.epoch, told.batch, told.where, _items(learn, told.place))
        self.found.append(found)
        self.in_a_row += 1
        stops = self.action == "stop" or self.in_a_row > self.limit
        what = "the fit is stopped" if stops else "the step is skipped"
        if learn.world.is_first:
            warnings.warn(f"{found} ({what})", NonFiniteWarning, stacklevel=2)
        raise CancelFitException if stops else CancelStepException

    def _seen(self, flags: Tensor, batches: list[Any]) -> _Seen:
        """What this process can tell of a bad step."""
        learn: Any = self.learn
        at, place, parts, loss = next(
            (entry for entry in batches if not bool(torch.isfinite(entry[3]).all())), batches[-1]
        )
        # Layers whose weights are spread over the processes cannot be run by one of them alone.
        where = first_bad_layer(learn, parts[0]) if parts and learn.world.holds_all else None
        if where is not None:
            return _Seen(2, at, place, where)
        if bool(torch.isfinite(loss).all()):
            return _Seen(0, at, place, self._gradient(flags))
        return _Seen(1, at, place, "the loss is")

    def _gradient(self, flags: Tensor) -> str:
        """The first bad gradient on the way back from the loss."""
        names = [name for name, _ in self._own_gradients()]
        bad = [name for name, flag in zip(names, flags.tolist(), strict=False) if flag]
        return f"the gradient of {bad[-1]!r} is" if bad and not self._scales() else "a gradient is"

    def clean_up(self) -> None:
        """Let go of the batches."""
        self._batches, self._earlier = [], None


def first_bad_layer(learn: Any, xb: tuple[Any, ...]) -> str | None:
    """Name the first layer of a Learner's model whose output for a batch is not finite.

    Args:
        learn: The Learner, which is left as it is.
        xb: The batch's inputs.

    Returns:
        Words that name it (or the inputs); None if all outputs are finite.
    """
    if not _is_finite(xb):
        return "the inputs are"
    found: list[str] = []
    before = learn.model, learn.xb, learn.output, learn.pred, learn.loss_grad
    hooks = []
    model = unwrapped(learn.model)
    for name, module in model.named_modules():
        if next(module.children(), None) is None:
            hooks.append(module.register_forward_hook(_watcher(name, found)))
    try:
        with model_restored(model), rng_restored(), torch.no_grad():
            learn.model, learn.xb = model, xb
            learn.predict_batch()
            if not found and not _is_finite(learn.pred):
                found.append("the model's output is")
    finally:
        learn.model, learn.xb, learn.output, learn.pred, learn.loss_grad = before
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def _watcher(name: str, found: list[str]) -> Any:
    def watch(module: nn.Module, inputs: Any, output: Any) -> None:
        if not found and not _is_finite(output):
            found.append(f"the output of {name!r} ({type(module).__name__}) is")

    return watch


def _is_finite(value: Any) -> bool:
    """Whether all numbers of a tensor, or of a structure of them, are finite."""
    tensors = (leaf for leaf in leaves(value) if isinstance(leaf, Tensor))
    return all(bool(torch.isfinite(t).all()) for t in tensors if t.is_floating_point())


def _local(grad: Tensor) -> Tensor:
    return grad.to_local() if hasattr(grad, "to_local") else grad  # pyright: ignore[reportAttributeAccessIssue]


def _position(dl: Any) -> int | None:
    """Which batch of its pass a loader of torte's has just given."""
    loader = inner_loader(dl)
    return loader.state_dict()["position"] - 1 if isinstance(loader, DataLoader) else None


def _items(learn: Any, place: int | None) -> list[int] | None:
    """The indices of the items of a batch, by the plan of its pass."""
    loader = inner_loader(learn.dl)
    if place is None or not isinstance(loader, DataLoader) or not loader.planned:
        return None
    size = loader.bs or 1
    samples = plan_samples(loader, loader.state_dict()["epoch"])
    if not hasattr(samples, "__len__"):
        return None
    chosen = samples[place * size : (place + 1) * size]
    return [int(sample) for sample in chosen] if hasattr(chosen, "tolist") else list(chosen)


def _short(items: list[int]) -> str:
    return str(items) if len(items) <= 64 else f"{str(items[:64])[:-1]}, … {len(items)} in all]"
