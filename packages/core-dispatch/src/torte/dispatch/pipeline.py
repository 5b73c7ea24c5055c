"""Pipeline: transforms composed in order, run forwards to encode and backwards to decode."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torte.dispatch.collection import L
from torte.dispatch.helpers import camel2snake
from torte.dispatch.indexing import is_single_index
from torte.dispatch.registry import serializable
from torte.dispatch.transform import make_transform

__all__ = ["Pipeline", "SetupItems", "compose_tfms", "is_showable"]

_NO_STEPS = (str, bytes, Mapping)


def compose_tfms(
    x: Any,
    tfms: Iterable[Any],
    is_enc: bool = True,
    reverse: bool = False,
    split_idx: int | None = None,
    **kwargs: Any,
) -> Any:
    """Apply transforms one after the other: `tfm(x)`, or `tfm.decode(x)` where not `is_enc`."""
    for tfm in reversed(list(tfms)) if reverse else tfms:
        x = (tfm if is_enc else tfm.decode)(x, split_idx=split_idx, **kwargs)
    return x


def is_showable(x: Any) -> bool:
    """Whether `x`, or every element of a tuple, has a `show` method."""
    if isinstance(x, tuple) and not hasattr(x, "show"):
        return bool(x) and all(hasattr(each, "show") for each in x)
    return hasattr(x, "show")


class SetupItems:
    """What a step of a pipeline learns from: items as the steps before it make them, lazily.

    It has the length, the indices and all other attributes of the collection that it wraps; its
    `train` part is transformed likewise.
    """

    def __init__(self, items: Any, steps: list[Any], split_idx: int | None) -> None:
        self._items, self._steps, self._split_idx = items, steps, split_idx

    def _made(self, item: Any) -> Any:
        return compose_tfms(item, self._steps, split_idx=self._split_idx)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        if is_single_index(index):
            return self._made(self._items[index])
        return SetupItems(self._items[index], self._steps, self._split_idx)

    def __iter__(self) -> Iterator[Any]:
        return map(self._made, self._items)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self._items, name)
        return SetupItems(found, self._steps, self._split_idx) if name == "train" else found


@serializable
class Pipeline:
    """Transforms, sorted by their `order`, applied one after the other.

    Args:
        funcs: transforms, Transform classes, functions, pipelines; one or several, or `None`.
        split_idx: the subset (0: training, 1: validation) that it runs for when a call does not
            say; steps meant for another one are left out.

    Attributes:
        fs: the steps, in the order in which they run.
        split_idx: as above.

    A step may define `fuse(self, following)`, which returns one transform that does the work of
    both, or `None`. Running forwards, neighbours that are active for the subset are merged that
    way, from the left; `fs`, `decode`, `setup` and descriptions go on seeing the steps themselves.
    A merged transform is kept as long as the steps and their `split_idx` stay the same, so it has
    to read the attributes of its parts when it runs.
    """

    order: float = 0
    fuse: Any = None

    def __init__(self, funcs: Any = None, split_idx: int | None = None) -> None:
        self.split_idx = split_idx
        self._fused: dict[Any, tuple[list[Any], tuple[Any, ...]]] = {}
        self.fs: list[Any] = L(self._sorted(self._steps_of(funcs)))

    def _steps_of(self, funcs: Any) -> list[Any]:
        if funcs is None:
            return []
        if isinstance(funcs, Pipeline):
            return list(funcs.fs) if funcs.split_idx in (None, self.split_idx) else [funcs]
        # A letter of a text is a text again: what is no collection of steps goes to make_transform.
        if isinstance(funcs, Iterable) and not callable(funcs) and not isinstance(funcs, _NO_STEPS):
            return [step for each in funcs for step in self._steps_of(each)]
        return [make_transform(funcs)]

    @staticmethod
    def _sorted(steps: Iterable[Any]) -> list[Any]:
        return sorted(steps, key=lambda step: step.order)

    @property
    def name(self) -> str:
        """The names of its steps, joined by arrows."""
        return " -> ".join(step.name for step in self.fs)

    # -- running -------------------------------------------------------------------------------

    def __call__(self, o: Any, split_idx: int | None = None, **kwargs: Any) -> Any:
        """Encode `o` with every step in turn.

        Args:
            o: anything; transforms take tuples element by element.
            split_idx: the subset it belongs to; the pipeline's own where it is not given.
            **kwargs: passed on to every step.
        """
        if split_idx is None:
            split_idx = self.split_idx
        step: Any = None
        try:
            for step in self._forward_steps(split_idx):
                # Passing **kwargs that are empty costs a third of a cheap step.
                if kwargs:
                    o = step(o, split_idx=split_idx, **kwargs)
                else:
                    o = step(o, split_idx=split_idx)
        except Exception as error:
            error.add_note(f"in the step {_name(step)} of the pipeline {self.name}, on {_type(o)}")
            raise
        return o

    def _forward_steps(self, split_idx: int | None) -> list[Any]:
        for step in self.fs:
            if step.fuse is not None:
                return self._fused_steps(split_idx)
        return self.fs

    def _fused_steps(self, split_idx: int | None) -> list[Any]:
        key = (split_idx, *((id(step), step.split_idx) for step in self.fs))
        if key not in self._fused:
            steps: list[Any] = []
            for step in self.fs:
                if _is_active(step, split_idx):
                    last: Any = steps[-1] if steps else None
                    merged = None if last is None or last.fuse is None else last.fuse(step)
                    steps = [*steps, step] if merged is None else [*steps[:-1], merged]
            # Whatever was merged from other steps is of no more use.
            kept = {k: v for k, v in self._fused.items() if k[1:] == key[1:]}
            self._fused = kept | {key: (steps, tuple(self.fs))}  # held, so that no id is used again
        return self._fused[key][0]

    def decode(self, o: Any, full: bool = True, split_idx: int | None = None, **kwargs: Any) -> Any:
        """Undo every step, last one first.

        Args:
            o: an encoded item.
            full: undo all; otherwise stop as soon as the item can show itself.
            split_idx: the subset it belongs to; the pipeline's own where it is not given.
            **kwargs: passed on to every step.
        """
        if split_idx is None:
            split_idx = self.split_idx
        step: Any = None
        try:
            for step in reversed(self.fs):
                if not full and is_showable(o):
                    break
                o = step.decode(o, split_idx=split_idx, **kwargs)
        except Exception as error:
            error.add_note(
                f"decoding the step {_name(step)} of the pipeline {self.name}, on {_type(o)}"
            )
            raise
        return o

    def show(self, o: Any, ctx: Any = None, **kwargs: Any) -> Any:
        """Decode `o` until it can show itself, and let it.

        Args:
            o: an encoded item; of a tuple every element that has a `show` is shown.
            ctx: what to draw on; each element's `show` is given what the one before it returned.
            **kwargs: passed on to `show`.

        Returns:
            What the last `show` returned, or `ctx`.
        """
        decoded = self.decode(o, full=False)
        parts: Any = decoded
        if hasattr(decoded, "show") or not isinstance(decoded, (tuple, list)):
            parts = (decoded,)
        for each in parts:
            if hasattr(each, "show"):
                ctx = each.show(ctx=ctx, **kwargs)
        return ctx

    # -- setting up ------------------------------------------------------------------------------

    def setup(self, items: Any = None, train_setup: bool = False) -> None:
        """Set up each step on what the steps before it produce.

        Args:
            items: a collection of raw items. One whose `tfms` is this very pipeline applies it by
                itself, and so sees only the steps set up so far; any other is transformed lazily.
            train_setup: learn from the `train` part of the items alone.
        """
        steps = self.fs
        self.fs = L()
        try:
            for step in steps:
                self._set_up(step, items, train_setup)
                self.fs.append(step)
        finally:
            self.fs = steps

    def _set_up(self, step: Any, items: Any, train_setup: bool) -> None:
        if items is not None and self.fs and getattr(items, "tfms", None) is not self:
            items = SetupItems(items, list(self.fs), self.split_idx)
        try:
            step.setup(items, train_setup)
        except Exception as error:
            error.add_note(f"while setting up {_name(step)}, after the steps {self.name or 'none'}")
            raise

    def add(self, ts: Any, items: Any = None, train_setup: bool = False) -> None:
        """Add steps, set up on `items` where those are given, and sort again.

        Args:
            ts: transforms or functions, one or several.
            items: as for `setup`.
            train_setup: as for `setup`.
        """
        for step in self._sorted(self._steps_of(ts)):
            if items is not None:
                self._set_up(step, items, train_setup)
            self.fs = L(self._sorted([*self.fs, step]))

    # -- steps and attributes ---------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments: the steps (each with its state) and the subset."""
        return {"funcs": list(self.fs), "split_idx": self.split_idx}

    def __len__(self) -> int:
        return len(self.fs)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fs)

    def __getitem__(self, index: Any) -> Any:
        """Return a step by place, class or name; several by slice."""
        if isinstance(index, (int, slice)):
            return self.fs[index]
        for step in self.fs:
            if step.name == index or (isinstance(index, type) and isinstance(step, index)):
                return step
        raise KeyError(f"no step {index!r} in the pipeline {self.name}")

    def __contains__(self, step: Any) -> bool:
        if isinstance(step, type):
            return any(isinstance(each, step) for each in self.fs)
        return any(each is step or each.name == step for each in self.fs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("fs", "state", "load_state", "as_subclass"):
            raise AttributeError(name)
        found = [getattr(step, name) for step in self.fs if hasattr(step, name)]
        if not found:  # the step itself, by its class: `dls.categorize`
            found = [step for step in self.fs if camel2snake(type(step).__name__) == name]
        if not found:
            raise AttributeError(
                f"neither the pipeline nor any of its steps ({self.name}) has {name!r}"
            )
        return found[0] if len(found) == 1 else L(found)

    def __dir__(self) -> list[str]:
        return sorted(
            {*super().__dir__(), *(n for step in self.fs for n in dir(step) if n[0] != "_")}
        )

    def __repr__(self) -> str:
        return f"Pipeline: {self.name}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fused": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _is_active(step: Any, split_idx: int | None) -> bool:
    is_for_all = isinstance(step, Pipeline) or step.split_idx is None
    return is_for_all or step.split_idx == split_idx


def _name(step: Any) -> str:
    return getattr(step, "name", repr(step))


def _type(value: Any) -> str:
    if isinstance(value, tuple):
        return f"a {type(value).__qualname__} of {', '.join(type(v).__qualname__ for v in value)}"
    return f"a {type(value).__qualname__}"
