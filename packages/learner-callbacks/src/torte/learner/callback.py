"""The base of all callbacks.

A callback overrides the events that it wants (`torte.learner.events` shows the loop they sit in)::

    class CountBatches(Callback):
        run_valid = False                       # batch events in training only

        def before_fit(self):
            self.count = 0

        def after_batch(self):
            self.count += 1                     # its own attribute
            if self.learn.loss < 0.1:           # reads the learner; `self.loss` reads it too
                raise CancelFitException        # and steers it
            self.learn.loss_grad = ...          # to write the learner's fields, say `self.learn.`

Events that are not overridden cost nothing: the Learner keeps, for each event, the list of the
methods that are there, and makes it anew only when the callbacks change.
"""

import functools
import re
import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar

from torte.learner.events import EVENT_ALIASES, Event

if TYPE_CHECKING:
    from torte.learner.learner import Learner

__all__ = ["Callback", "EventNameWarning", "ShadowedFieldWarning", "callback_name"]

LOOP_FIELDS = frozenset(
    {"dl", "dls", "epoch", "iter", "loss", "loss_func", "loss_grad", "model", "n_epoch", "n_iter"}
    | {"opt", "pct_train", "pred", "train_iter", "training", "x", "xb", "y", "yb"}
)
"""What the loop reads from the Learner: set on a callback by mistake, it would change nothing."""


class ShadowedFieldWarning(UserWarning):
    """A callback set an attribute of its own that hides the learner's field of the same name."""


class EventNameWarning(UserWarning):
    """A callback defines a method whose name is nearly, but not, that of an event."""


def _warn_of_a_slip(cls: type, name: str) -> None:
    """Warn where a method would never run because one letter of an event's name is wrong."""
    events = (*Event.__members__, *EVENT_ALIASES)
    near = get_close_matches(name, events, 1, cutoff=0.85)
    if near and name not in events:
        warnings.warn(
            f"{cls.__name__} defines {name}, which is no event, so the loop does not run it; "
            f"did you mean {near[0]}?",
            EventNameWarning,
            stacklevel=4,
        )


@functools.cache
def callback_name(cls: type) -> str:
    """Return the attribute name of a callback class: snake case, less a final "Callback".

    >>> class EarlyStoppingCallback(Callback): ...
    >>> callback_name(EarlyStoppingCallback)
    'early_stopping'
    """
    bare = cls.__name__.removesuffix("Callback") or cls.__name__
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", bare)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words).lower()


class Callback:
    """Something that happens at events of the loop; every event is a method that does nothing.

    Attributes read through to the learner: `self.loss` is `self.learn.loss` unless the callback has
    a `loss` of its own. Writing does not: say `self.learn.loss_grad = ...`.

    Args:
        **events: Functions of one argument (the callback), by event name, for a callback without a
            class: `Callback(after_epoch=lambda self: print(self.epoch))`.

    Raises:
        TypeError: If a keyword is not the name of an event.
    """

    order: int = 0
    """Callbacks run in ascending order; those of equal order as they were added."""
    run_before: "type[Callback] | str | Sequence[type[Callback] | str]" = ()
    """Classes (or names) of callbacks that this one must precede, whatever their `order`."""
    run_after: "type[Callback] | str | Sequence[type[Callback] | str]" = ()
    """Classes (or names) of callbacks that this one must follow, whatever their `order`."""
    run: bool = True
    """Set to False to silence the callback for the rest of the fit; its end sets it again."""
    run_train: bool = True
    """Whether the batch events of training reach it."""
    run_valid: bool = True
    """Whether the batch events of validation reach it."""
    remove_on_fetch: bool = False
    """Whether to leave it out while predictions are fetched in the middle of a fit."""
    fit_only: bool = False
    """Whether to leave it out when the Learner only looks (`lr_find`, `validate`, `get_preds`,
    `predict`): for callbacks that write files or act on a fit's results."""
    rank0_only: bool = False
    """Whether only the first of several processes calls it: for what shows progress or logs."""
    state_attributes: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes (tensors or JSON-able values) that a checkpoint keeps."""

    if TYPE_CHECKING:
        learn: "Learner"
    else:
        learn = None

    def __init__(self, **events: Callable[[Any], object]) -> None:
        for name, function in events.items():
            event = EVENT_ALIASES.get(name, name)
            if event not in Event.__members__:
                near = get_close_matches(name, [*Event.__members__, *EVENT_ALIASES], 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise TypeError(f"{type(self).__name__}() knows no event {name!r}{hint}")
            setattr(self, event, MethodType(function, self))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the paper's `begin_*` methods answer to the events' present names."""
        super().__init_subclass__(**kwargs)
        for alias, event in EVENT_ALIASES.items():
            if alias in cls.__dict__ and event not in cls.__dict__:
                setattr(cls, event, cls.__dict__[alias])
        for name in vars(cls):
            if name.startswith(("before_", "after_", "begin_")):
                _warn_of_a_slip(cls, name)

    @property
    def name(self) -> str:
        """Under which name the learner holds the callback (`learn.recorder`)."""
        return self.__dict__.get("_name") or callback_name(type(self))

    @name.setter
    def name(self, value: str) -> None:
        self.__dict__["_name"] = value

    def __call__(self, event: str) -> None:
        """Run the method of an event, whatever `run`, `run_train` and `run_valid` say."""
        getattr(self, EVENT_ALIASES.get(event, event))()

    def __getattr__(self, name: str) -> Any:
        # Reached only when the callback itself has no such attribute.
        learn = self.__dict__.get("learn")
        if learn is None or name.startswith("__"):
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}"
                + ("" if name.startswith("__") else " and is not part of a Learner yet")
            )
        try:
            return getattr(learn, name)
        except AttributeError as error:
            message = f"neither {type(self).__name__} nor its Learner has an attribute {name!r}"
            raise AttributeError(message, name=name, obj=self) from error

    def __setattr__(self, name: str, value: Any) -> None:
        if name in LOOP_FIELDS and self.__dict__.get("learn") is not None:
            warnings.warn(
                f"{type(self).__name__} sets self.{name}, which hides the learner's {name!r} and "
                f"changes nothing in the loop; write self.learn.{name} to change it",
                ShadowedFieldWarning,
                stacklevel=2,
            )
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return type(self).__name__

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: tensors and JSON-able values by name.

        It is called between two batches or epochs, in every process that runs the callback, and
        may ask the others (`learn.world`); what it returns in the first process is kept. By
        default those are the attributes named in `state_attributes`.
        """
        return {name: getattr(self, name) for name in self.state_attributes if name in vars(self)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave; every process is given what the first one had.

        It is called when a fit goes on, after its events up to that point (`before_fit`,
        `before_epoch`, `before_train`), so that it replaces what these have set up; and outside of
        a fit, where that was complete already.
        """
        for name in self.state_attributes:
            if name in state:
                setattr(self, name, state[name])

    def clean_up(self) -> None:
        """Put back what was changed for a while; called once however a fit or a validation ended.

        It follows `after_fit` where that was reached, and comes also after an exception or Ctrl-C,
        when it was not. It is no event of the loop and must not count on any having taken place.
        """

    def after_create(self) -> None:
        """Once, when the Learner and its callbacks are complete."""

    def before_fit(self) -> None:
        """Before anything of a fit; the optimizer is there."""

    def before_epoch(self) -> None:
        """At the start of each epoch."""

    def before_train(self) -> None:
        """Before the training part of an epoch."""

    def before_batch(self) -> None:
        """A batch was drawn and split into `xb` and `yb`."""

    def after_pred(self) -> None:
        """The model has made `pred`."""

    def after_loss(self) -> None:
        """`loss` and `loss_grad` are computed."""

    def before_backward(self) -> None:
        """In training only, before the backward pass."""

    def after_cancel_backward(self) -> None:
        """The backward pass was cancelled."""

    def after_backward(self) -> None:
        """The gradients are there."""

    def before_step(self) -> None:
        """The last moment to change gradients before the update."""

    def after_cancel_step(self) -> None:
        """The optimizer step was cancelled."""

    def after_step(self) -> None:
        """The parameters were updated; the gradients are not zeroed yet."""

    def after_cancel_batch(self) -> None:
        """The batch was cancelled."""

    def after_batch(self) -> None:
        """The end of each batch."""

    def after_cancel_train(self) -> None:
        """The training part was cancelled."""

    def after_train(self) -> None:
        """The end of the training part of an epoch."""

    def before_validate(self) -> None:
        """Before the validation part of an epoch."""

    def after_cancel_validate(self) -> None:
        """The validation part was cancelled."""

    def after_validate(self) -> None:
        """The end of the validation part of an epoch."""

    def after_cancel_epoch(self) -> None:
        """The epoch was cancelled."""

    def after_epoch(self) -> None:
        """The end of each epoch."""

    def after_cancel_fit(self) -> None:
        """The fit was cancelled."""

    def after_fit(self) -> None:
        """The end of the fit."""
