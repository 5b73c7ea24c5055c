"""How processes share a model: each holds all of it (DDP), or a part of every tensor (FSDP2)."""

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from torte.optim.shards import whole

__all__ = [
    "DataParallel",
    "FullyShardedDataParallel",
    "Strategy",
    "repeated_blocks",
]


class Strategy:
    """How processes share a model. `learn.model` is what the loop calls."""

    holds_all = True
    """Whether each process holds all of the weights."""

    def __init__(self) -> None:
        self.model: nn.Module | None = None
        """The model itself, as it was before the processes shared it."""

    def before_move(self, learn: Any, device: torch.device) -> None:
        """Called before the model goes to this process's device, for what is not to go there."""

    def enter(self, learn: Any) -> None:
        """Begin: all processes start from the first one's weights."""
        self.model = learn.model
        _send_from_first([*self._held_by_all(learn.model), *learn.model.buffers()])

    def _held_by_all(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters that every process has the whole of."""
        return list(model.parameters())

    def leave(self, learn: Any) -> None:
        """End: the Learner has its own model back, with the weights as they are now."""
        learn.model = self.model

    def before_train(self, learn: Any) -> None:
        """Called before the training part of each epoch."""

    def after_train(self, learn: Any) -> None:
        """Called after the training part of each epoch, however it ended."""

    def synchronize(self, wanted: bool) -> None:
        """Say whether the next backward pass is to add the gradients up."""

    def finish(self, learn: Any) -> None:
        """Add up the gradients of backward passes that were told not to."""


@torch.no_grad()
def _send_from_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors by those of the first process."""
    for tensor in {id(t): t for t in tensors}.values():
        dist.broadcast(tensor.detach(), src=0)


def _buckets(tensors: Iterable[Tensor], size: int = 2**24) -> Iterator[list[Tensor]]:
    """Tensors of one device and dtype after another, about `size` bytes of them at a time."""
    kinds: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    for alike in kinds.values():
        bucket, filled = [], 0
        for tensor in alike:
            if bucket and filled + tensor.nbytes > size:
                yield bucket
                bucket, filled = [], 0
            bucket.append(tensor)
            filled += tensor.nbytes
        yield bucket


class ParallelModel(DistributedDataParallel):
    """PyTorch's DDP, which also answers for the model in it: names, attributes, items."""

    def __init__(self, module: nn.Module, **kwargs: Any) -> None:
        super().__init__(module, **kwargs)
        # Found at once, not by way of `__getattr__`: every batch asks for it several times.
        object.__setattr__(self, "module", module)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)

    def __getitem__(self, place: Any) -> Any:
        return self.module[place]

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        """The model's parameters by its own names."""
        return self.module.named_parameters(*args, **kwargs)

    def named_buffers(self, *args: Any, **kwargs: Any) -> Any:
        """The model's buffers by its own names."""
        return self.module.named_buffers(*args, **kwargs)


class DataParallel(Strategy):
    """Every process holds the model, and gradients are averaged while they are computed (DDP).

    The Learner's model is wrapped for the training part of each epoch alone, and anew when other
    parameters are to be trained, so that names are always the model's own.

    Args:
        **kwargs: For `torch.nn.parallel.DistributedDataParallel`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.kwargs = kwargs
        self._parallel: ParallelModel | None = None
        self._trained: list[Any] = []

    def before_train(self, learn: Any) -> None:
        """Put the wrapped model into the Learner."""
        model = learn.model
        trained = [(id(p), p.requires_grad, p.device, p.dtype) for p in model.parameters()]
        if self._parallel is None or trained != self._trained or self._parallel.module is not model:
            in_parts = any(getattr(callback, "trains_in_parts", False) for callback in learn.cbs)
            self._parallel = self._wrapped(model, find_unused_parameters=in_parts)
            self._trained = trained
        if self._parallel is not None:
            self.model, learn.model = model, self._parallel

    def _wrapped(self, model: nn.Module, **defaults: Any) -> ParallelModel | None:
        first = next((p for p in model.parameters() if p.requires_grad), None)
        if first is None:
            return None
        devices = {p.device for p in model.parameters()}
        on_one_gpu = len(devices) == 1 and first.device.type == "cuda"
        ids = {"device_ids": [first.device.index]} if on_one_gpu else {}
        return ParallelModel(model, **{**defaults, **ids, **self.kwargs})

    def after_train(self, learn: Any) -> None:
        """Give the Learner its model back."""
        if learn.model is self._parallel:
            learn.model = self.model

    def synchronize(self, wanted: bool) -> None:
        """Say whether the next backward pass is to add the gradients up."""
        if self._parallel is not None:
            self._parallel.require_backward_grad_sync = wanted
            # Buffers would be sent around once more by the next forward pass.
            self._parallel.require_forward_param_sync = wanted

    @torch.no_grad()
    def finish(self, learn: Any) -> None:
        """Average the gradients that the processes have kept to themselves."""
        grads = [p.grad for p in self._held_by_all(learn.model) if p.grad is not None]
        for bucket in _buckets(grads):
            is_single = len(bucket) == 1
            flat = bucket[0] if is_single else torch.cat([grad.reshape(-1) for grad in bucket])
            dist.all_reduce(flat)
            flat.div_(dist.get_world_size())
            if not is_single:
                pieces = flat.split([grad.numel() for grad in bucket])
                shaped = [part.view(grad.shape) for part, grad in zip(pieces, bucket, strict=True)]
                torch._foreach_copy_(bucket, shaped)


class FullyShardedDataParallel(Strategy):
    """Every process holds a part of each parameter, gradient and optimizer state (FSDP2).

    The Learner works with a twin of its model, whose parameters are sharded; the model itself is
    left empty meanwhile, and filled when the processes part.

    Args:
        shard: Which submodules are gathered and freed by themselves, beside the whole model: module
            classes, or a function that tells; by default the blocks that a model repeats.
        **kwargs: For `torch.distributed.fsdp.fully_shard`.
    """

    holds_all = False

    def __init__(
        self,
        shard: "Callable[[nn.Module], bool] | tuple[type[nn.Module], ...] | None" = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.shard, self.kwargs = shard, kwargs
        self._twin: Any = None
        self._flags: list[bool] = []
        self._strides: dict[str, tuple[int, ...]] = {}

    def enter(self, learn: Any) -> None:
        """Give the Learner a sharded twin of its model."""
        super().enter(learn)
        assert self.model is not None
        self._make_twin(learn, self.model)

    def _make_twin(self, learn: Any, model: nn.Module) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        self._strides = {name: p.stride() for name, p in model.named_parameters()}
        for parameter in model.parameters():  # all that PyTorch shards, whatever its layout was
            parameter.data = parameter.data.contiguous()
        tensors = [*model.parameters(), *model.buffers()]
        twin: Any = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
        kind = next((p.device.type for p in model.parameters()), "cpu")
        settings = {"mesh": init_device_mesh(kind, (dist.get_world_size(),)), **self.kwargs}
        for block in self._blocks(twin):
            fully_shard(block, **settings)
        fully_shard(twin, **settings)
        self._twin = learn.model = twin
        self._free_after_forward(True)
        self._exchange(learn, model, twin)
        for parameter in model.parameters():
            parameter.data = parameter.data.new_empty(0)

    def before_train(self, learn: Any) -> None:
        """Keep gathered weights for the backward pass."""
        self._free_after_forward(bool(self.kwargs.get("reshard_after_forward", False)))

    def after_train(self, learn: Any) -> None:
        """Where no backward pass follows, free gathered weights after the forward pass."""
        self._free_after_forward(True)

    def _free_after_forward(self, wanted: bool) -> None:
        # Of the whole model alone: its blocks do so in any case, unless told otherwise.
        if self._twin is not None:
            self._twin.set_reshard_after_forward(wanted, recurse=False)

    def _blocks(self, model: nn.Module) -> list[nn.Module]:
        """The submodules to shard by themselves, inner ones first."""
        if self.shard is None:
            return repeated_blocks(model)
        shard = self.shard
        chosen = shard if callable(shard) and not isinstance(shard, type | tuple) else None
        kinds: Any = shard
        found = [
            module
            for module in model.modules()
            if module is not model and (chosen(module) if chosen else isinstance(module, kinds))
        ]
        return found[::-1]

    def _exchange(self, learn: Any, old: nn.Module, new: nn.Module) -> None:
        """Let the optimizer go on with the parameters of another module of the same names."""
        if learn.opt is None:
            return
        names = dict(old.named_parameters(remove_duplicate=False))
        others = dict(new.named_parameters(remove_duplicate=False))
        learn.opt.replace_parameters({p: others[name] for name, p in names.items()})

    @torch.no_grad()
    def leave(self, learn: Any) -> None:
        """Fill the model with the weights of its sharded twin; all processes take part."""
        model, twin = self.model, self._twin
        assert model is not None
        _gather_no_more(twin)
        sharded = dict(twin.named_parameters(remove_duplicate=False))
        for name, parameter in model.named_parameters():
            value = whole(sharded[name].detach())
            laid_out = value.new_empty_strided(value.shape, self._strides[name])
            parameter.data = laid_out.copy_(value)
            parameter.requires_grad_(sharded[name].requires_grad)
            parameter.grad = None
        _copy_attributes(twin, model)
        self._exchange(learn, twin, model)
        super().leave(learn)
        self._twin = None

    def synchronize(self, wanted: bool) -> None:
        """Say whether the next backward pass is to add the gradients up."""
        self._twin.set_requires_gradient_sync(wanted)

    def finish(self, learn: Any) -> None:
        """Add up the gradients that were kept whole, by a backward pass that adds nothing."""
        self.synchronize(True)
        modes = [(module, module.training) for module in self._twin.modules()]
        self._twin.eval()
        try:
            learn.predict_batch()
            outputs: list[Tensor] = []
            _collect(learn.pred, outputs)
            sum(output.sum() * 0 for output in outputs).backward()  # type: ignore[union-attr]
        finally:
            for module, mode in modes:
                module.training = mode


def _collect(output: Any, found: list[Tensor]) -> None:
    if isinstance(output, Tensor):
        found.append(output)
    elif isinstance(output, dict):
        _collect(list(output.values()), found)
    elif isinstance(output, list | tuple):
        for each in output:
            _collect(each, found)


def _gather_no_more(twin: nn.Module) -> None:
    """Free gathered weights: a pass that failed on the way leaves some in the model."""
    from torch.distributed.fsdp import FSDPModule

    for module in twin.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def _copy_attributes(source: nn.Module, target: nn.Module) -> None:
    """Modes of the modules."""
    for one, other in zip(source.modules(), target.modules(), strict=True):
        other.training = one.training


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """The modules that a model repeats in a `ModuleList` (layers of a transformer), inner first.

    Blocks that share a parameter with anything outside of them are left out.
    """
    owners: dict[Any, int] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners[parameter] = owners.get(parameter, 0) + 1
    found: list[nn.Module] = []
    for holder in model.modules():
        blocks = list(holder) if isinstance(holder, nn.ModuleList) else []
        if len({type(block) for block in blocks}) != 1 or len(blocks) < 2:
            continue
        for block in blocks:
            own = list(block.parameters())
            if own and all(owners[parameter] == 1 for parameter in own):
                found.append(block)
    return found[::-1]
