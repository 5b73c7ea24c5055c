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
from typing import Any, NamedTuple

from torte.optim.operations import OPERATIONS, OTHER_NAMES, REDUCING, WHOLE
from torte.optim.rules import Rule

__all__ = ["Node", "NotRecordableError", "Program", "Tape", "Traced", "record"]


class NotRecordableError(Exception):
    """A rule did something that has no meaning for all parameters at once."""


class Node(NamedTuple):
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


class Program(NamedTuple):
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
        return not any(node.operation in REDUCING for node in self.nodes) and not self.shaped

    @property
    def shaped(self) -> bool:
        """Whether an operation needs the shapes of parameters, which only the list engine has."""
        return any(node.operation in WHOLE for node in self.nodes)


class Tape:
    """Collects the nodes and numbers of one recording."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.numbers: list[float] = []

    def add(self, operation: str, arguments: Sequence[Any], in_place: bool = False) -> int:
        """Append an operation and return its index."""
        nodes, numbers = self.nodes, self.numbers
        written: list[tuple[str, Any]] = []
        per_layer = True
        for value in arguments:
            kind = value.__class__
            if kind is Traced:
                written.append(("node", value.index))
                per_layer = per_layer and nodes[value.index].per_layer
            elif kind is float or kind is int:
                if operation == "pow" and value in _COMMON_POWERS and written:
                    written.append(("plain", float(value)))
                    continue
                written.append(("number", len(numbers)))
                numbers.append(float(value))
            elif value is None:
                written.append(("plain", None))
            else:
                raise NotRecordableError(f"a {kind.__name__} as an operand")
        if in_place and not per_layer and nodes[written[0][1]].per_layer:
            raise NotRecordableError(f"{operation}_ of elements into one number a parameter")
        nodes.append(Node(operation, tuple(written), in_place, per_layer or operation in REDUCING))
        return len(nodes) - 1

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
        # Operations are methods of the class (below); nothing else has a meaning here.
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

    def __iter__(self) -> Any:
        raise NotRecordableError("the rows of a tensor")

    def __getitem__(self, key: Any) -> Any:
        raise NotRecordableError("single elements of a tensor")

    __setitem__ = __getitem__

    __hash__ = object.__hash__


# What each name that a rule may call means: the operation, and whether it works in place.
_CALLS: dict[str, tuple[str, bool]] = {}
for _name in OPERATIONS:
    _CALLS[_name], _CALLS[_name + "_"] = (_name, False), (_name, True)
for _other, _name in OTHER_NAMES.items():
    _CALLS[_other], _CALLS[_other + "_"] = _CALLS[_name], (_name, True)


def _apply(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Traced:
    """Record one call of a tensor operation."""
    operation, in_place = _CALLS.get(name, (name, False))
    kind = OPERATIONS.get(operation)
    tape = next((arg.tape for arg in args if arg.__class__ is Traced), None)
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


def _method(name: str) -> Callable[..., Any]:
    def method(self: Traced, *args: Any, **kwargs: Any) -> Traced:
        return _apply(name, (self, *args), kwargs)

    return method


for _name in _CALLS:
    setattr(Traced, _name, _method(_name))


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
        try:
            result = rule(p, known)
        except TypeError as error:  # Python asks for a number or another method that is not there
            raise NotRecordableError(f"something in {rule.name!r}: {error}") from error
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
