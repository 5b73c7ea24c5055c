"""`RandTransform`: the base of random transforms of one's own."""

from collections.abc import Callable
from typing import Any

from torte.data.seeding import current_random
from torte.dispatch import DisplayedTransform

__all__ = ["RandTransform"]


class RandTransform(DisplayedTransform):
    """A transform that is run with some probability, its state drawn before each call.

    `before_call` draws; `encodes` uses what it drew, so that all parts of a tuple are changed
    alike. It runs on the training subset alone unless a subclass sets `split_idx`. Numbers should
    come from `torte.data.seeding.current_random()`, or from Python's, NumPy's or torch's global
    generators: a loader makes all of them a function of (seed, epoch, sample).

    Args:
        p: Probability that it is run.
        nm: Its name, where it is shown; that of its class by default.
        before_call: Called as `before_call(b, split_idx=...)` before each call, in place of the
            method.
        **kwargs: `enc`, `dec`, `order`, `split_idx` of `Transform`.

    Attributes:
        do: Whether this call is run.

    Example:
        >>> class Posterized(RandTransform):
        ...     def before_call(self, b, split_idx):
        ...         super().before_call(b, split_idx)
        ...         self.bits = current_random().randint(2, 7)
        ...     def encodes(self, img: PILImage):
        ...         return ImageOps.posterize(img, self.bits)
    """

    # Of the class: a subclass need not call `__init__`.
    split_idx: int | None = 0
    do: bool = True
    p: float = 1.0
    nm: str | None = None

    def __init__(
        self,
        p: float = 1.0,
        nm: str | None = None,
        before_call: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p={p!r} is no probability")
        super().__init__(**kwargs)
        self.p = p
        self.nm = nm
        if before_call is not None:
            self.before_call = before_call

    @property
    def name(self) -> str:
        """`nm`, or its class and its stored arguments."""
        return super().name if self.nm is None else self.nm

    def before_call(self, b: Any, split_idx: int | None) -> None:
        """Draw the state of the call to come: whether it is run at all.

        Args:
            b: What it will be called with.
            split_idx: The subset that `b` belongs to.
        """
        self.do = self.p == 1 or current_random().random() < self.p

    def __call__(self, x: Any, split_idx: int | None = None, **kwargs: Any) -> Any:
        """Draw, then run or return `x` as it is."""
        if self.split_idx is not None and self.split_idx != split_idx:
            return x
        self.before_call(x, split_idx=split_idx)
        return super().__call__(x, split_idx=split_idx, **kwargs) if self.do else x
