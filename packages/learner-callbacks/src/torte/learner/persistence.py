"""Saving and loading weights and optimizer state."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torte.learner.loop import TrainingLoop
from torte.learner.packing import FileFormatError, read_file, write_file
from torte.learner.world import World
from torte.optim.shards import is_sharded, map_tensors_in, sharded_like, whole

__all__ = [
    "Persistence",
    "bare_name",
    "load_model",
    "model_state",
    "restore_model",
    "save_model",
    "unwrapped",
    "whole_state",
]

WEIGHTS = "weights"


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model itself, out of what compilation and data parallelism wrap around it."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(
            model, nn.DataParallel | nn.parallel.DistributedDataParallel
        ):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def bare_name(name: str) -> str:
    """A parameter's name in the model itself, free of the prefixes of compiled modules."""
    return name.replace("_orig_mod.", "")


def model_state(model: nn.Module) -> dict[str, Any]:
    """Return the model's state by name, free of wrappers' prefixes."""
    return {bare_name(name): value for name, value in unwrapped(model).state_dict().items()}


def restore_model(model: nn.Module, state: Mapping[str, Any], strict: bool = True) -> None:
    """Load a state; nothing is changed unless it fits.

    Raises:
        FileFormatError: If shapes or kinds of numbers differ or, when strict, names.
    """
    model = unwrapped(model)
    own = {name: bare_name(name) for name in model.state_dict()}
    problems = _differences(model_state(model), state, strict)
    if problems:
        raise FileFormatError(
            f"the weights do not fit {type(model).__name__}: " + "; ".join(problems)
        )
    mine = model.state_dict()
    renamed = {
        name: _laid_out(state[bare], mine[name]) for name, bare in own.items() if bare in state
    }
    model.load_state_dict(renamed, strict=False)


def _laid_out(value: Any, like: Any) -> Any:
    """A whole tensor as this process's shard, where the model is sharded."""
    return sharded_like(value, like) if isinstance(value, Tensor) and is_sharded(like) else value


def whole_state(state: Any, keep: bool = True) -> Any:
    """Return a nested state with sharded tensors put together, in main memory.

    All processes must call it at the same time.

    Args:
        state: Dicts, lists and tuples with tensors in them.
        keep: Whether this process wants them; None stands for each in those that do not.
    """

    def put_together(tensor: Tensor) -> Tensor | None:
        if not is_sharded(tensor):
            return tensor
        found = whole(tensor.detach())
        return found.cpu() if keep else None

    return map_tensors_in(put_together, state)


def _differences(own: Mapping[str, Any], given: Mapping[str, Any], strict: bool) -> list[str]:
    problems = []
    missing, extra = own.keys() - given.keys(), given.keys() - own.keys()
    if strict and missing:
        problems.append(f"missing {_some(missing)}")
    if strict and extra:
        problems.append(f"unknown {_some(extra)}")
    for name in (name for name in own if name in given):
        mine, other = own[name], given[name]
        if isinstance(mine, Tensor) != isinstance(other, Tensor):
            problems.append(f"{name!r} is a tensor on one side only")
        elif isinstance(mine, Tensor) and mine.shape != other.shape:
            problems.append(f"{name!r} is {tuple(mine.shape)} here, {tuple(other.shape)} there")
        elif isinstance(mine, Tensor) and _sort(mine) != _sort(other):
            problems.append(f"{name!r} is {mine.dtype} here, {other.dtype} there")
    return problems[:5]


def _sort(tensor: Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _some(names: Any) -> str:
    shown = sorted(names)[:3]
    return ", ".join(map(repr, shown)) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def model_content(model: nn.Module, opt: Any = None, with_opt: bool = True) -> dict[str, Any]:
    """Return what a file of weights holds: the model's state and, if asked for, the optimizer's."""
    content = {"model": model_state(model)}
    if with_opt and opt is not None:
        content["opt"] = opt.state_dict()
    return content


def save_model(
    file: "str | Path",
    model: nn.Module,
    opt: Any = None,
    with_opt: bool = True,
    world: World | None = None,
) -> Path:
    """Write a model's weights and, if asked for, an optimizer's state to a safetensors file.

    Args:
        file: The file.
        model: The model.
        opt: The optimizer.
        with_opt: Whether to write its state too.
        world: The processes that share the model, all of which must call this; the first writes.

    Returns:
        The path.
    """
    world = world or World()
    content = whole_state(model_content(model, opt, with_opt), keep=world.is_first)
    world.first_does(lambda: write_file(Path(file), WEIGHTS, content))
    return Path(file)


def load_model(
    file: "str | Path",
    model: nn.Module,
    opt: Any = None,
    with_opt: bool = True,
    device: "torch.device | str | int | None" = None,
    strict: bool = True,
) -> None:
    """Load what `save_model` wrote; if anything does not fit, nothing has changed.

    Raises:
        FileFormatError: If the file is not of that kind, damaged, or from another model.
    """
    restore_content(
        read_file(Path(file), WEIGHTS, _device_name(device)), file, model, opt, with_opt, strict
    )


def restore_content(
    content: Any, file: "str | Path", model: nn.Module, opt: Any, with_opt: bool, strict: bool
) -> None:
    """Load what `model_content` gave and a file had; if anything does not fit, nothing has changed.

    Raises:
        FileFormatError: If it is of another kind, or from another model.
    """
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise FileFormatError(f"{str(file)!r} holds no model")
    before = {name: _copied(value) for name, value in model_state(model).items()}
    restore_model(model, content["model"], strict)
    if with_opt and opt is not None and "opt" in content:
        try:
            opt.load_state_dict(content["opt"])
        except Exception as error:
            restore_model(model, before)
            error.add_note(
                f"while loading the optimizer's state from {str(file)!r}; "
                "load the weights alone with with_opt=False"
            )
            raise


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _device_name(device: Any) -> str:
    if device is None:
        return "cpu"
    return f"cuda:{device}" if isinstance(device, int) else str(device)


class Persistence(TrainingLoop):
    """The part of the Learner that saves and loads weights."""

    path: Path
    model_dir: Path

    def model_file(self, file: "str | Path") -> Path:
        """Return the file that `save` and `load` mean: in `path/model_dir`, as `.safetensors`."""
        path = self.path / self.model_dir / file
        return path if path.suffix else path.with_suffix(".safetensors")

    def save(self, file: "str | Path", with_opt: bool = True, sharded: bool = False) -> Path:
        """Write weights and optimizer state to a file in `path/model_dir`.

        Several processes write one file, which the first puts together; with `sharded` they write a
        folder instead, each its own part: for models that no process could hold whole. Either can
        be loaded by any number of processes.

        Args:
            file: Its name; `.safetensors` is added.
            with_opt: Whether to write the optimizer's state too.
            sharded: Whether to write a folder, of that name, to which every process adds its part.

        Returns:
            The path.
        """
        if sharded:
            from torte.learner.distributed.sharded_files import write_sharded

            content = model_content(self.model, self.opt, with_opt)
            folder = self.path / self.model_dir / file
            return write_sharded(folder, WEIGHTS, content, self.world)
        return save_model(self.model_file(file), self.model, self.opt, with_opt, self.world)

    def load(
        self,
        file: "str | Path",
        device: "torch.device | str | int | None" = None,
        with_opt: bool = True,
        strict: bool = True,
    ) -> "Persistence":
        """Load weights and, if they are there, the optimizer's state.

        Args:
            file: As for `save`; a file, or a folder that several processes wrote.
            device: Where to read the file to on the way; main memory by default.
            with_opt: Whether to load the optimizer's state too.
            strict: Whether the names must be the model's.

        Raises:
            FileNotFoundError: If there is no such file.
            FileFormatError: If it does not fit. Nothing has changed then.
        """
        if with_opt and self.opt is None:
            self.create_opt()
        folder = self.path / self.model_dir / file
        if folder.is_dir():
            self._load_sharded(folder, with_opt, strict)
        else:
            load_model(self.model_file(file), self.model, self.opt, with_opt, device, strict)
        return self

    def _load_sharded(self, folder: Path, with_opt: bool, strict: bool) -> None:
        from torte.learner.distributed.sharded_files import read_sharded

        weights = model_state(self.model)
        groups = self.opt.param_groups if self.opt is not None else []
        parameters = [parameter for group in groups for parameter in group["params"]]

        def like(name: str) -> Tensor | None:
            if name.startswith("model."):
                return weights.get(name.removeprefix("model."))
            found = re.match(r"opt\.state\.(\d+)\.", name)
            place = len(parameters) if found is None else int(found[1])
            return parameters[place] if place < len(parameters) else None

        content = read_sharded(folder, WEIGHTS, like, self.world)
        restore_content(content, folder, self.model, self.opt, with_opt, strict)

    def create_opt(self) -> None:
        """Make the optimizer; the Learner fills this in."""
        raise NotImplementedError
