"""Recording rules: the same lines, run once on stand-ins, become a program for whole lists.

The rules of an optimizer run on `Traced` objects, which have the operators and methods of a tensor
but only write down what was asked for. Numbers (hypers, step counts, everything Python computes
from them) are kept apart from the operations: two steps whose programs differ in numbers alone have
the same structure, so what an engine prepared for a structure serves every learning rate. Python's
own control flow (`if wd != 0`) just runs, and another path gives another structure.

What depends on the elements of a tensor (`if g.norm() > 1`), or on the shape of one parameter,
cannot be recorded; the engine then runs the rules parameter by parameter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torte.optim.operations import OPERATIONS, OTHER_NAMES, REDUCING
from torte.optim.rules import Rule

__all__ = ["Node", "NotRecordableError", "Program", "Tape", "Traced", "record"]


class NotRecordableError(Exception):
    """A rule did something that has no meaning for all parameters at once."""


@dataclass(frozen=True)
class Node:
    """One operation of a program.

    Attributes:
        operation: A key of `OPERATIONS`, or `"input"`.
        arguments: `("node", index)`, `("number", index)` or `("plain", value)` each.
        in_place: Whether the first argument's memory takes the result.
        per_layer: Whether the value is one number a parameter, not one an element.
    """

    operation: str
    arguments: tuple[tuple[str, Any], ...]
    in_place: bool
    per_layer: bool


@dataclass(frozen=True)
class Program:
    """The structure of one step: hashable, free of numbers.

    Attributes:
        nodes: The operations in order; `input` nodes come first.
        inputs: Names of the input nodes: `"p"`, `"grad"`, then states and whole-model sums.
        outputs: `(name, node index)` for everything to be written back.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, int], ...]

    @property
    def elementwise(self) -> bool:
        """Whether no element depends on another one."""
        return not any(node.operation in REDUCING for node in self.nodes)


class Tape:
    """Collects the nodes and numbers of one recording."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.numbers: list[float] = []

    def argument(self, value: Any) -> tuple[str, Any]:
        """Write down an argument of an operation."""
        if isinstance(value, Traced):
            return ("node", value.index)
        if isinstance(value, bool | None):
            return ("plain", value)
        if isinstance(value, int | float):
            self.numbers.append(float(value))
            return ("number", len(self.numbers) - 1)
        raise NotRecordableError(f"a {type(value).__name__} as an operand")

    def add(self, operation: str, arguments: Sequence[Any], in_place: bool = False) -> int:
        """Append an operation and return its index."""
        kind = OPERATIONS[operation]
        written = list(map(self.argument, arguments[: kind.tensors]))
        if operation == "pow" and written[1][0] == "number" and arguments[1] in _COMMON_POWERS:
            self.numbers.pop()
            written[1] = ("plain", float(arguments[1]))
        written += [self.argument(value) for value in arguments[kind.tensors :]]
        tensors = [self.nodes[i] for what, i in written if what == "node"]
        per_layer = kind.reduces or all(node.per_layer for node in tensors)
        if in_place and not per_layer and self.nodes[written[0][1]].per_layer:
            raise NotRecordableError(f"{operation}_ of elements into one number a parameter")
        self.nodes.append(Node(operation, tuple(written), in_place, per_layer))
        return len(self.nodes) - 1

    def input(self, name: str, per_layer: bool = False) -> "Traced":
        """Append an input and return what stands for it."""
        self.nodes.append(Node("input", (("plain", name),), False, per_layer))
        return Traced(self, len(self.nodes) - 1)


_COMMON_POWERS = (2, 0.5, 3, -1, -0.5)


class Traced:
    """Stands for one tensor of every parameter of a cohort while rules are recorded."""

    def __init__(self, tape: Tape, index: int) -> None:
        self.tape = tape
        self.index = index
        self._grad: Traced | None = None

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> "Traced":
        return _apply(function.__name__, args, kwargs or {})

    def __getattr__(self, name: str) -> Any:
        base = OTHER_NAMES.get(name, name)
        if base in OPERATIONS or base.removesuffix("_") in OPERATIONS:
            return lambda *args, **kwargs: _apply(name, (self, *args), kwargs)
        raise NotRecordableError(f"{name!r} of a tensor")

    @property
    def data(self) -> "Traced":
        """The same tensor: there is no gradient to record here."""
        return self

    @data.setter
    def data(self, value: "Traced") -> None:
        _apply("copy_", (self, value), {})

    @property
    def grad(self) -> "Traced":
        """The gradient."""
        if self._grad is None:
            raise NotRecordableError("the gradient of something that is not the parameter")
        return self._grad

    @grad.setter
    def grad(self, value: "Traced") -> None:
        self._grad = value

    def detach(self) -> "Traced":
        """The same tensor."""
        return self

    def __bool__(self) -> bool:
        raise NotRecordableError("a decision on the elements of a tensor")

    __hash__ = object.__hash__


def _apply(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Traced:
    """Record one call of a tensor operation, in place if its name ends with an underscore."""
    base = OTHER_NAMES.get(name, name)
    in_place = base.endswith("_") and not base.startswith("__")
    operation = base.removesuffix("_") if in_place else base
    kind = OPERATIONS.get(operation)
    tape = next((a.tape for a in args if isinstance(a, Traced)), None)
    if kind is None or tape is None:
        raise NotRecordableError(f"the operation {name!r}")
    try:
        arguments = kind.bind(*args, **kwargs)
    except TypeError as error:
        raise NotRecordableError(f"{name!r} with these arguments: {error}") from error
    index = tape.add(operation, arguments, in_place)
    if in_place:
        args[0].index = index
        return args[0]
    return Traced(tape, index)


def _operator(name: str, reflected: bool = False) -> Callable[..., Any]:
    def method(self: Traced, *others: Any) -> Traced:
        return _apply(name, (*others, self) if reflected else (self, *others), {})

    return method


_BINARY = {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "truediv": "div",
    "pow": "pow",
}
for _python, _name in _BINARY.items():
    setattr(Traced, f"__{_python}__", _operator(_name))
    setattr(Traced, f"__r{_python}__", _operator(_name, reflected=True))
    setattr(Traced, f"__i{_python}__", _operator(_name + "_"))
for _python in ("gt", "ge", "lt", "le", "eq", "ne", "neg", "abs"):
    setattr(Traced, f"__{_python}__", _operator(_python))
for _python, _name in {"and": "logical_and", "or": "logical_or"}.items():
    setattr(Traced, f"__{_python}__", _operator(_name))
    setattr(Traced, f"__r{_python}__", _operator(_name))
Traced.__invert__ = _operator("logical_not")  # pyright: ignore[reportAttributeAccessIssue]


def record(
    rules: Sequence[Rule],
    values: Mapping[str, Any],
    states: Mapping[str, bool],
) -> tuple[Program, list[float], dict[str, float]]:
    """Run rules on stand-ins.

    Args:
        rules: The rules in order.
        values: Hypers, flags and number-valued state.
        states: Names of the tensor state (and whole-model sums) that there is; true for one that
            holds one number a parameter.

    Returns:
        The program, its numbers, and the new number-valued state.

    Raises:
        NotRecordableError: A rule did something that has no meaning for all parameters at once.
    """
    tape = Tape()
    p = tape.input("p")
    p.grad = tape.input("grad")
    known: dict[str, Any] = dict(values)
    inputs = {name: tape.input(name, per_layer) for name, per_layer in states.items()}
    before = {name: traced.index for name, traced in inputs.items()}
    known.update(inputs)
    kept: dict[str, Any] = {}
    for rule in rules:
        result = rule(p, known)
        known.update(result)
        kept.update(result)
    # State that a rule changed in place without returning it is kept too.
    for name, traced in inputs.items():
        if name not in kept and traced.index != before[name]:
            kept[name] = traced
    outputs = [("p", p.index)] if p.index else []
    outputs += [(name, value.index) for name, value in kept.items() if isinstance(value, Traced)]
    numbers = {name: value for name, value in kept.items() if not isinstance(value, Traced)}
    program = Program(tuple(tape.nodes), ("p", "grad", *states), tuple(outputs))
    return program, tape.numbers, numbers
