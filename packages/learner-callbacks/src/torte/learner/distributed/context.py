"""`learn.distributed()`: the same script in one process or in many, on one machine or several.

::

    learn = Learner(dls, model, ...)
    with learn.distributed():              # or strategy="fsdp2"
        learn.fit_one_cycle(3)
        learn.save("model")

Run by `python train.py` this is a plain single process; `torchrun --nproc-per-node 4 train.py`
starts four, which compute the same: the batches are those of the single process, each cut into
four parts, so that losses, metrics, schedules and weights do not depend on how many there are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from torte.data.loader import DataLoader
from torte.data.seeding import mix
from torte.dispatch import patch
from torte.learner.distributed.batchnorm import synchronized_batchnorm
from torte.learner.distributed.environment import join_group, own_device
from torte.learner.distributed.processes import Processes
from torte.learner.distributed.sharded_tables import ShardedTables
from torte.learner.distributed.strategies import DataParallel, FullyShardedDataParallel, Strategy
from torte.learner.distributed.trainer import DistributedTrainer
from torte.learner.learner import Learner
from torte.learner.loop import no_log

__all__ = ["DistributedContext"]

STRATEGIES: dict[str, type[Strategy]] = {
    "ddp": DataParallel,
    "fsdp2": FullyShardedDataParallel,
    "tables": ShardedTables,
}


class DistributedContext:
    """A Learner's work with other processes: begun when it is made, ended by `end` or by `with`.

    See `Learner.distributed`. In a single process it does nothing.
    """

    def __init__(
        self,
        learn: Learner,
        strategy: Strategy,
        sync_bn: bool,
        bs: str,
        device: torch.device,
    ) -> None:
        self.learn, self.strategy = learn, strategy
        self.is_active = True
        strategy.before_move(learn, device)
        learn.to(device)
        self._loaders = _scaled_loaders(learn) if bs == "each" else None
        strategy.enter(learn)
        self._batchnorm = synchronized_batchnorm(learn) if sync_bn else None
        self._before = learn.enter_world(Processes(strategy, sync_bn))
        self._logger = learn.logger
        if not learn.world.is_first:
            learn.logger = no_log
        self._draw_apart()
        learn.add_cb(DistributedTrainer(strategy))
        vars(learn)["distributed_context"] = self

    def _draw_apart(self) -> None:
        """Give each process but the first a random stream of its own (for dropout, say)."""
        world = self.learn.world
        seed = world.gathered(torch.initial_seed())[0]
        if not world.is_first:
            torch.manual_seed(mix(seed, world.rank))

    def __enter__(self) -> Learner:
        return self.learn

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self.end(failed=error is not None)

    def end(self, failed: bool = False) -> None:
        """Let the Learner work alone again.

        Args:
            failed: Whether this process ends it because of an error: the others are asked nothing
                then, and a sharded model stays in pieces.
        """
        if not self.is_active:
            return
        self.is_active = False
        learn = self.learn
        learn.remove_cbs(DistributedTrainer)
        if not failed or self.strategy.holds_all:
            self.strategy.leave(learn)
        if self._batchnorm is not None:
            self._batchnorm()
        learn.enter_world(self._before)
        learn.logger = self._logger
        if self._loaders is not None:
            _restore_loaders(learn, self._loaders)
        del vars(learn)["distributed_context"]


def _scaled_loaders(learn: Learner) -> list[Any]:
    """Let batches be as many times larger as there are processes; returns the old loaders."""
    import torch.distributed as dist

    old = list(learn.dls.loaders)
    for place, loader in enumerate(old):
        if isinstance(loader, DataLoader) and loader.bs is not None:
            state = loader.state_dict()
            made = loader.new(bs=loader.bs * dist.get_world_size())
            made.load_state_dict({**state, "position": 0})
            learn.dls.loaders[place] = made
    return old


def _restore_loaders(learn: Learner, loaders: list[Any]) -> None:
    for place, loader in enumerate(loaders):
        used = learn.dls.loaders[place]
        if used is not loader:
            loader.load_state_dict(used.state_dict())
        learn.dls.loaders[place] = loader


class _SingleProcess(DistributedContext):
    """What there is to begin and to end where nothing started several processes."""

    def __init__(self, learn: Learner) -> None:
        self.learn, self.is_active = learn, False


@patch
def distributed(
    self: Learner,
    strategy: "Literal['ddp', 'fsdp2', 'tables'] | Strategy" = "ddp",
    sync_bn: bool = False,
    bs: Literal["global", "each"] = "global",
    backend: str | None = None,
    timeout: float | None = None,
    **kwargs: Any,
) -> DistributedContext:
    """Train in all the processes that this one was started with, by `torchrun` or the like.

    It takes effect at once; as a context (`with learn.distributed():`) it ends with the block.
    Started as a single process, the script is an ordinary one.

    The processes go through the same batches, in the order that derives from the loader's (seed,
    epoch), and each takes its part of every one of them: nothing is repeated or dropped, uneven and
    small last batches included, and gradients are those of whole batches. Metrics and losses are
    put together once an epoch, so every process has the same record; the first one alone shows
    progress, logs and writes files. `validate`, `get_preds`, `lr_find`, `save`, `load` and `export`
    must be called in all of them; `predict` and `show_results` work in each by itself (with
    "fsdp2" they too need all).

    Args:
        self: The Learner.
        strategy: "ddp": every process holds the model; "fsdp2": each holds a part of every
            parameter, gradient and optimizer state; "tables": each holds some rows of every
            embedding, and all of the rest (see `ShardedTables`). Or a `Strategy`.
        sync_bn: Whether batch normalisation takes its statistics over the whole batch rather than
            over each process's part.
        bs: Whether the loaders' `bs` is the size of the whole batch ("global", the same training
            with any number of processes) or of each process's part ("each": batches are as many
            times larger as there are processes; for torte's own loaders).
        backend: PyTorch's communication library; by default NCCL for GPUs and Gloo for the rest.
        timeout: Seconds until a process that waits for the others gives up; PyTorch's by default.
        **kwargs: For `DistributedDataParallel` or `fully_shard`; with "fsdp2" also `shard`, which
            submodules are gathered by themselves (see `FullyShardedDataParallel`).

    Returns:
        The context; its `end` lets the Learner work alone again.

    Raises:
        ValueError: If there is no such strategy.
        RuntimeError: If the Learner works with other processes already.
    """
    if "distributed_context" in vars(self):
        raise RuntimeError("this Learner works with other processes already: end that first")
    if isinstance(strategy, str) and strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
    if bs not in ("global", "each"):
        raise ValueError(f"bs must be 'global' or 'each', got {bs!r}")
    device = own_device((self.device or torch.device("cpu")).type)
    if not join_group(device, backend, timeout):
        return _SingleProcess(self)
    made = STRATEGIES[strategy](**kwargs) if isinstance(strategy, str) else strategy
    return DistributedContext(self, made, sync_bn, bs, device)


@patch
@contextmanager
def distrib_ctx(
    self: Learner, sync_bn: bool = True, in_notebook: bool = False, **kwargs: Any
) -> Iterator[Learner]:
    """Train in several processes within the block, by fastai's name and with its meaning of `bs`.

    That is `learn.distributed(sync_bn=True, bs="each")`: the loaders' `bs` is each process's.

    Args:
        self: The Learner.
        sync_bn: See `distributed`.
        in_notebook: Kept for the interface: processes that a notebook starts are joined like any.
        **kwargs: For `distributed`.
    """
    with self.distributed(**{"sync_bn": sync_bn, "bs": "each", **kwargs}) as learn:
        yield learn


@patch
def to_distributed(self: Learner, sync_bn: bool = True, **kwargs: Any) -> Learner:
    """Train in several processes from now on, with fastai's meaning of `bs`; see `distrib_ctx`."""
    self.distributed(**{"sync_bn": sync_bn, "bs": "each", **kwargs})
    return self


@patch
def detach_distributed(self: Learner) -> Learner:
    """Let the Learner work alone again."""
    context = vars(self).get("distributed_context")
    if context is not None:
        context.end()
    return self
