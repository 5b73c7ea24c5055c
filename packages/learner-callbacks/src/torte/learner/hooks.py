"""Hooks: looking into a model while it runs, on modules and in callbacks.

A `Hook` stores what a function makes of one module's output (or of its gradient) at each call;
`Hooks` holds several; `HookCallback` has them in place during a fit. All are context managers and
take the hooks off again whatever happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from torte.learner.callback import Callback
from torte.learner.layers.inspection import flatten_model, has_params, in_channels
from torte.learner.state import module_attributes_restored, rng_restored

__all__ = [
    "Hook",
    "HookCallback",
    "Hooks",
    "dummy_eval",
    "evaluating",
    "hook_output",
    "hook_outputs",
    "model_sizes",
    "num_features_model",
]

HookFunction = Callable[[nn.Module, Any, Any], Any]


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """Apply a function to every tensor in a structure of tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(function, item) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(function, item) for item in value)
    if isinstance(value, dict):
        return {key: map_tensors(function, item) for key, item in value.items()}
    return value


class Hook:
    """Store what a function makes of a module's input and output at each call.

    Args:
        m: The module.
        hook_func: Called as `hook_func(module, input, output)`; what it returns is `stored`. With
            `is_forward=False` it gets the gradients of the module's inputs and outputs instead.
        is_forward: Hook the forward pass rather than the backward pass.
        detach: Hand over detached tensors.
        cpu: Hand over tensors on the CPU (which waits for the device at each call).
        gather: Keep a list of what is stored rather than the last one.
    """

    def __init__(
        self,
        m: nn.Module,
        hook_func: HookFunction,
        is_forward: bool = True,
        detach: bool = True,
        cpu: bool = False,
        gather: bool = False,
    ) -> None:
        self.hook_func = hook_func
        self.detach = detach
        self.cpu = cpu
        self.gather = gather
        self.reset()
        self.hook = self._register(m, is_forward)
        self.removed = False

    def _register(self, m: nn.Module, is_forward: bool) -> RemovableHandle:
        if is_forward:
            return m.register_forward_hook(self.hook_fn)
        if self.hook_func is _gradient:
            # Of the outputs alone: inputs of a first layer have no gradients, which would warn.
            return m.register_full_backward_pre_hook(lambda m, grad: self.hook_fn(m, None, grad))
        return m.register_full_backward_hook(self.hook_fn)

    def reset(self) -> None:
        """Forget what was stored."""
        self.stored: Any = [] if self.gather else None

    def hook_fn(self, module: nn.Module, inp: Any, out: Any) -> None:
        """Store the function's result for one call."""
        if self.detach:
            inp, out = map_tensors(self._taken, inp), map_tensors(self._taken, out)
        result = self.hook_func(module, inp, out)
        if self.gather:
            self.stored.append(result)
        else:
            self.stored = result

    def _taken(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach()
        return tensor.cpu() if self.cpu else tensor

    def remove(self) -> None:
        """Take the hook off the module; doing so twice does no harm."""
        if not self.removed:
            self.hook.remove()
            self.removed = True

    def __enter__(self) -> Hook:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()


class Hooks:
    """Several hooks with one function; see `Hook` for the arguments.

    Args:
        ms: The modules.
        hook_func: What each hook calls.
        is_forward: Hook the forward pass rather than the backward pass.
        detach: Hand over detached tensors.
        cpu: Hand over tensors on the CPU.
        gather: Keep lists.
    """

    def __init__(
        self,
        ms: Iterable[nn.Module],
        hook_func: HookFunction,
        is_forward: bool = True,
        detach: bool = True,
        cpu: bool = False,
        gather: bool = False,
    ) -> None:
        self.hooks = [Hook(m, hook_func, is_forward, detach, cpu, gather) for m in ms]

    @property
    def stored(self) -> list[Any]:
        """What each hook has stored."""
        return [hook.stored for hook in self.hooks]

    def reset(self) -> None:
        """Forget what was stored."""
        for hook in self.hooks:
            hook.reset()

    def remove(self) -> None:
        """Take all hooks off."""
        for hook in self.hooks:
            hook.remove()

    def __getitem__(self, index: int) -> Hook:
        return self.hooks[index]

    def __len__(self) -> int:
        return len(self.hooks)

    def __iter__(self) -> Iterator[Hook]:
        return iter(self.hooks)

    def __enter__(self) -> Hooks:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()


def _output(module: nn.Module, inp: Any, out: Any) -> Any:
    return out


def _gradient(module: nn.Module, grad_inp: Any, grad_out: Any) -> Any:
    return grad_out


def hook_output(
    module: nn.Module, detach: bool = True, cpu: bool = False, grad: bool = False
) -> Hook:
    """Return a hook that stores a module's output or, with `grad`, its outputs' gradients.

    Gradients come as PyTorch's backward hooks give them: a tuple with one for each output, so
    that the gradient of a module's only output is `hook.stored[0]`.
    """
    function = _gradient if grad else _output
    return Hook(module, function, is_forward=not grad, detach=detach, cpu=cpu)


def hook_outputs(
    modules: Iterable[nn.Module], detach: bool = True, cpu: bool = False, grad: bool = False
) -> Hooks:
    """Return hooks that store several modules' outputs or, with `grad`, tuples of gradients."""
    function = _gradient if grad else _output
    return Hooks(modules, function, is_forward=not grad, detach=detach, cpu=cpu)


@contextmanager
def evaluating(m: nn.Module) -> Iterator[nn.Module]:
    """For the length of a `with` block, a model is in evaluation mode, without gradients.

    Every module's mode and plain attributes (the state that recurrent models carry), and the random
    number generators, are put back afterwards.

    Args:
        m: The model.
    """
    with rng_restored(), module_attributes_restored(m), torch.no_grad():
        m.eval()
        yield m


def dummy_eval(m: nn.Module, size: Sequence[int] = (64, 64)) -> Any:
    """Run a model in evaluation mode on one batch of zeros, and return what it says.

    The model, its modes and the random number generators are left as they were.

    Args:
        m: A model of images, whose first weight tells the number of channels.
        size: Height and width (or whatever follows the channels).
    """
    channels = in_channels(m)
    first = next(m.parameters())
    x = torch.zeros(1, channels, *size, device=first.device, dtype=first.dtype)
    with evaluating(m):
        return m(x)


def model_sizes(m: nn.Module, size: Sequence[int] = (64, 64)) -> list[torch.Size]:
    """Return the shape of each child's output for one image of a size; nothing is changed."""
    with hook_outputs(m.children()) as hooks:
        dummy_eval(m, size=size)
        return [hook.stored.shape for hook in hooks if hook.stored is not None]


def num_features_model(m: nn.Module) -> int:
    """Return the number of channels of the output of a model's last child."""
    size = 32
    while True:
        # Small images can vanish in a deep model: look at larger ones before giving up.
        try:
            return model_sizes(m, (size, size))[-1][1]
        except RuntimeError:
            size *= 2
            if size > 2048:
                raise


class HookCallback(Callback):
    """Have hooks in place during training; subclasses write `hook(module, input, output)`.

    Args:
        modules: What to hook; by default every leaf of the model that has parameters.
        every: Hook each `every`-th batch only; `None` hooks all.
        remove_end: Take the hooks off at the end of the fit.
        is_forward: Hook the forward pass rather than the backward pass.
        detach: Hand over detached tensors.
        cpu: Hand over tensors on the CPU (which waits for the device at each call).
        include_paramless: By default, hook leaves without parameters too.
        hook: The function, for a callback without a class of its own.
    """

    run_valid = False

    def __init__(
        self,
        modules: Iterable[nn.Module] | None = None,
        every: int | None = None,
        remove_end: bool = True,
        is_forward: bool = True,
        detach: bool = True,
        cpu: bool = False,
        include_paramless: bool = False,
        hook: HookFunction | None = None,
    ) -> None:
        super().__init__()
        self.modules = None if modules is None else list(modules)
        self.every = every
        self.remove_end = remove_end
        self.is_forward = is_forward
        self.detach = detach
        self.cpu = cpu
        self.include_paramless = include_paramless
        self._hook_func = hook
        self.hooks: Hooks | None = None

    def hook(self, module: nn.Module, inp: Any, out: Any) -> Any:
        """Return what to store of one call."""
        if self._hook_func is None:
            raise NotImplementedError(
                f"{type(self).__name__} must write hook(self, module, input, output), or be given "
                f"a function: HookCallback(hook=...)"
            )
        return self._hook_func(module, inp, out)

    def before_fit(self) -> None:
        """Choose the modules and hook them, unless only some batches are hooked."""
        if self.modules is None:
            leaves = flatten_model(self.learn.model)
            self.modules = [m for m in leaves if self.include_paramless or has_params(m)]
        if self.every is None:
            self._register()

    def before_batch(self) -> None:
        """Hook this batch if it is one of those to hook."""
        if self.every is not None and self.learn.train_iter % self.every == 0:
            self._register()

    def after_batch(self) -> None:
        """Take the hooks off again if only some batches are hooked."""
        if self.every is not None:
            self._remove()

    @property
    def is_hooked(self) -> bool:
        """Whether hooks are in place now."""
        return self.hooks is not None

    def after_fit(self) -> None:
        """Take the hooks off."""
        if self.remove_end:
            self._remove()

    def clean_up(self) -> None:
        """Take the hooks off after an exception too."""
        if self.remove_end:
            self._remove()

    def _register(self) -> None:
        self._remove()
        self.hooks = Hooks(self.modules or (), self.hook, self.is_forward, self.detach, self.cpu)

    def _remove(self) -> None:
        if self.hooks is not None:
            self.hooks.remove()
            self.hooks = None

    def __del__(self) -> None:
        hooks = self.__dict__.get("hooks")
        if hooks is not None:
            hooks.remove()
