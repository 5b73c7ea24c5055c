"""`Program`: a model that is a list of tensor operations, read from JSON and tensors.

The JSON, which `torte.learner.programs.tracing` writes and anybody can read:

- `inputs`: for each input tensor its dtype and its shape, null for the batch dimension;
- `tensors`: the names of the weights and constants, `parameters`: which of them are weights;
- `steps`: `[operation, arguments, keyword arguments]` each. Inputs, tensors and the results of the
  steps are numbered in this order, and an argument `{"$value": 7}` is number 7;
- `takes` and `returns`: the structure of arguments and results, `{"$value": n}` at its leaves.

Nothing of it is code: operations are looked up among those permitted, and run one after the other.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn

from torte.learner.packing import FileFormatError
from torte.learner.programs.operators import UnknownOperatorError, operator_named

__all__ = ["Program", "program_description"]

_KINDS = {
    "$dtype": {
        name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)
    },
    "$memory_format": {
        name: getattr(torch, name)
        for name in ("contiguous_format", "channels_last", "channels_last_3d", "preserve_format")
    },
    "$layout": {"strided": torch.strided},
}
_NAME = re.compile(r"\w+(\.\w+)*")
_LARGEST = 2**33
"""Elements of a value, for a batch of two: a program that asks for more is forged."""


class _Value(int):
    """The number of an input, a tensor or a result, in a step's arguments."""


class _Device:
    """Stands for the device that the program runs on, in a step's arguments."""


class Program(nn.Module):
    """A model as a list of tensor operations. Only the batch dimension may vary.

    It computes what the model did in evaluation mode; `train()` changes nothing in it, and its
    weights ask for no gradients.

    Args:
        description: The JSON (see the module).
        tensors: Weights and constants by name.

    Raises:
        UnknownOperatorError: If it names an operation that programs may not use.
        FileFormatError: If it is damaged, or the operations do not fit the tensors.
    """

    def __init__(self, description: Any, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self._description = description
        try:
            self._read(description, tensors)
            self._dry_run()
        except (UnknownOperatorError, FileFormatError):
            raise
        except Exception as error:
            # Whatever operations make of forged arguments, the fault is the description's.
            raise FileFormatError(f"the program is damaged: {error}") from error

    def _read(self, description: Any, tensors: dict[str, Tensor]) -> None:
        self._inputs = [(_KINDS["$dtype"][i["dtype"]], _shape(i)) for i in description["inputs"]]
        names, parameters = description["tensors"], set(description["parameters"])
        if sorted(names) != sorted(tensors):
            raise FileFormatError("the program's tensors are not those of the file")
        for name in names:
            self._hold(name, tensors[name], name in parameters)
        self._names = list(names)
        known = len(self._inputs) + len(names)
        self._steps: list[tuple[Any, list[Any], dict[str, Any], str]] = []
        for name, args, kwargs in description["steps"]:
            function = operator_named(name)
            self._steps.append((function, _decoded(args, known), _decoded(kwargs, known), name))
            known += 1
        self._returns = _decoded(description["returns"], known)
        self._takes = _decoded(description["takes"], len(self._inputs))
        self._last_use = self._last_uses()

    def _hold(self, name: str, tensor: Tensor, is_parameter: bool) -> None:
        """Register a tensor under its dotted name, as the model that was traced had it."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise FileFormatError(f"{str(name)[:80]!r} is no name of a tensor")
        *path, last = name.split(".")
        owner: nn.Module = self
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        if is_parameter:
            owner.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
        else:
            owner.register_buffer(last, tensor)

    def _last_uses(self) -> list[list[int]]:
        """For each step, which values nobody needs any more after it."""
        kept = set(_numbers_in(self._returns))
        first = len(self._inputs) + len(self._names)
        seen: set[int] = set()
        result: list[list[int]] = []
        for place in range(len(self._steps) - 1, -1, -1):
            _, args, kwargs, _ = self._steps[place]
            used = {*_numbers_in(args), *_numbers_in(kwargs), first + place}
            result.append([n for n in used - seen - kept if n >= first])
            seen |= used
        return result[::-1]

    def _dry_run(self) -> None:
        """Run with shapes alone: whatever does not fit is found without any memory."""
        inputs = [
            torch.empty([2 if n is None else n for n in shape], dtype=dtype, device="meta")
            for dtype, shape in self._inputs
        ]
        tensors = [torch.empty_like(t, device="meta") for t in self._tensors()]
        self._run(inputs, tensors, bounded=True)

    def _tensors(self) -> list[Tensor]:
        state = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return [state[name] for name in self._names]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model would.

        Raises:
            ValueError: If the inputs are not of the structure, shapes and dtypes that the model was
                traced with; the batch dimension may be anything.
        """
        found: dict[int, Tensor] = {}
        _match(self._takes, [list(args), kwargs], found)
        inputs = [found[place] for place in range(len(self._inputs))]
        for place, (tensor, (dtype, shape)) in enumerate(zip(inputs, self._inputs, strict=True)):
            fits = len(shape) == tensor.ndim and all(
                want in (None, have) for want, have in zip(shape, tensor.shape, strict=True)
            )
            if not fits or tensor.dtype != dtype:
                want = ["batch" if n is None else n for n in shape]
                raise ValueError(
                    f"input {place} of this program is {dtype} of shape {want}, not "
                    f"{tensor.dtype} of {list(tensor.shape)}: export the model by a registered "
                    "builder (@model_builder) for inputs of several sizes"
                )
        return self._run(inputs, self._tensors())

    def _run(self, inputs: list[Tensor], tensors: list[Tensor], bounded: bool = False) -> Any:
        values: list[Any] = [*inputs, *tensors]
        device = inputs[0].device
        for (function, args, kwargs, name), dead in zip(self._steps, self._last_use, strict=True):
            try:
                value = function(*_filled(args, values, device), **_filled(kwargs, values, device))
            except Exception as error:
                error.add_note(f"in operation {len(values)} ({name}) of a program")
                raise
            if bounded and isinstance(value, Tensor) and value.numel() > _LARGEST:
                raise FileFormatError(f"operation {name} makes a tensor of {value.numel()} numbers")
            values.append(value)
            for number in dead:
                values[number] = None
        return _filled(self._returns, values, device)


def program_description(program: Program) -> dict[str, Any]:
    """Return the JSON that a program was made from."""
    # No attribute of the program: submodules of the traced model may have any name.
    return program._description


def _shape(entry: dict[str, Any]) -> list[int | None]:
    shape = list(entry["shape"])
    if not all(n is None or (type(n) is int and 0 <= n < _LARGEST) for n in shape):
        raise FileFormatError(f"{str(shape)[:80]} is no shape")
    return shape


def _decoded(value: Any, known: int) -> Any:
    """Arguments from their JSON form; they may refer to the first `known` values."""
    if isinstance(value, list):
        return [_decoded(item, known) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"$value"}:
        number = value["$value"]
        if type(number) is not int or not 0 <= number < known:
            raise FileFormatError(f"there is no value number {str(number)[:80]}")
        return _Value(number)
    if value.keys() == {"$tuple"}:
        return tuple(_decoded(item, known) for item in value["$tuple"])
    if value.keys() == {"$device"}:
        return _Device()
    if value.keys() == {"$float"}:
        return float(value["$float"])
    for kind, table in _KINDS.items():
        if value.keys() == {kind}:
            return table[value[kind]]
    return {str(key): _decoded(item, known) for key, item in value.items()}


def _filled(value: Any, values: list[Any], device: torch.device) -> Any:
    """Arguments with the values that they refer to."""
    if type(value) is _Value:
        return values[value]
    if type(value) is list:
        return [_filled(item, values, device) for item in value]
    if type(value) is dict:
        return {key: _filled(item, values, device) for key, item in value.items()}
    if type(value) is tuple:
        return tuple(_filled(item, values, device) for item in value)
    return device if type(value) is _Device else value


def _numbers_in(value: Any) -> list[int]:
    if type(value) is _Value:
        return [int(value)]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [number for item in value for number in _numbers_in(item)]
    return []


def _match(wanted: Any, given: Any, found: dict[int, Tensor]) -> None:
    """Collect the tensors of `given`, which must be built as `wanted` is."""
    is_leaf = type(wanted) is _Value
    if is_leaf and isinstance(given, Tensor):
        found[int(wanted)] = given
    elif isinstance(wanted, dict) and isinstance(given, dict) and wanted.keys() == given.keys():
        for key in wanted:
            _match(wanted[key], given[key], found)
    elif (
        isinstance(wanted, list | tuple)
        and isinstance(given, list | tuple)
        and len(wanted) == len(given)
    ):
        for want, have in zip(wanted, given, strict=True):
            _match(want, have, found)
    elif is_leaf or isinstance(given, Tensor) or wanted != given:
        raise ValueError(
            f"this program was traced with other arguments: wanted {_outline(wanted)}, "
            f"got {_outline(given)}"
        )


def _outline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_outline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_outline, value))}]"
    return "a tensor" if isinstance(value, _Value | Tensor) else str(value)[:80]
