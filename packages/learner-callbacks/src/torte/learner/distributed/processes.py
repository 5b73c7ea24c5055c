"""`Processes`: the `World` of a Learner that trains in several processes."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.utils.data
from torch import Tensor

from torte.data.errors import LoaderError
from torte.data.loader import DataLoader
from torte.data.sharing import BatchShare, TorchLoaderShares, row_shares
from torte.learner.distributed.strategies import Strategy
from torte.learner.loaders import inner_loader
from torte.learner.world import World

__all__ = ["Processes"]

T = TypeVar("T")


class Processes(World):
    """Several processes that go through every batch together, each with its part of the samples.

    Args:
        strategy: How they share the model.
        shares_statistics: Whether its layers normalise over the whole batch.
    """

    def __init__(self, strategy: Strategy, shares_statistics: bool = False) -> None:
        super().__init__(dist.get_rank(), in_group=True, holds_all=strategy.holds_all)
        self.size = dist.get_world_size()
        self.strategy = strategy
        self.computes_apart = strategy.holds_all and not shares_statistics
        self._alone = World(self.rank, in_group=True, holds_all=strategy.holds_all)
        self._torch_loaders: dict[int, TorchLoaderShares] = {}
        # Gloo serves main memory; where there is NCCL alone everything goes through the GPU.
        has_gloo = "gloo" in str(dist.get_backend_config())
        self._device = torch.device("cpu") if has_gloo else torch.device("cuda")

    @property
    def alone(self) -> World:
        """This process working by itself."""
        return self._alone

    # -- batches ---------------------------------------------------------------------------------

    def agree(self, dl: Any) -> None:
        """Let a loader stand where the first process's does.

        Raises:
            LoaderError: If it has another number of samples or another batch size than there.
        """
        dl = inner_loader(dl)
        if not isinstance(dl, DataLoader):
            return
        mine = {"n": dl.n, "bs": dl.bs, **dl.state_dict()}
        first = self._from_first(mine)
        for name, what in (("n", "samples"), ("bs", "samples in a batch")):
            if mine[name] != first[name]:
                raise LoaderError(
                    f"process {self.rank} has a loader of {mine[name]} {what}, the first process"
                    f" one of {first[name]}: all must be given the same data, all of it"
                )
        if mine != first:
            dl.load_state_dict({name: first[name] for name in ("seed", "epoch", "position")})

    def batches(self, learn: Any, dl: Any) -> Iterator[Any]:
        """This process's part of each batch of a loader; sets `learn.share` for each."""
        self.agree(dl)
        for share in self._shares(inner_loader(dl)):
            learn.share = share
            yield share.batch

    def _shares(self, dl: Any) -> Iterator[BatchShare]:
        if isinstance(dl, DataLoader):
            return dl.share(self.rank, self.size)
        if isinstance(dl, torch.utils.data.DataLoader):
            known = self._torch_loaders.get(id(dl))
            if known is None or known.loader is not dl:
                known = self._torch_loaders[id(dl)] = TorchLoaderShares(dl, self.rank, self.size)
            state = self._from_first(torch.get_rng_state())
            return known.shares(None if self.is_first else state)
        return row_shares(dl, self.rank, self.size)

    # -- agreeing --------------------------------------------------------------------------------

    def _from_first(self, value: T) -> T:
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self._device)
        return box[0]

    def any(self, flag: Any) -> bool:
        """Whether `flag` (a bool or a tensor of one) is true in any process: in all the same."""
        found = torch.as_tensor(flag, device=self._device).to(torch.float32).reshape(1)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)

    def ask(self, flag: bool) -> Callable[[], bool]:
        """Ask whether `flag` is true in any process; the answer is fetched by a call, later."""
        found = torch.tensor([float(flag)], device=self._device)
        work = dist.all_reduce(found, dist.ReduceOp.MAX, async_op=True)

        def answer() -> bool:
            assert work is not None
            work.wait()
            return bool(found)

        return answer

    def average(self, value: Tensor, learn: Any) -> Tensor:
        """The mean over all samples of a batch, of a mean over this process's part of it."""
        share = learn.share
        if share is None or value is None:
            return value
        sums_up = getattr(learn.loss_func, "reduction", "mean") == "sum"
        mine = value.detach().mean().double().to(self._device).reshape(1)
        weight = float(share.size > 0) if sums_up else float(share.size)
        total = torch.stack([mine * weight if weight else mine * 0, mine.new_tensor([weight])])
        dist.all_reduce(total)
        found = total[0] if sums_up else total[0] / total[1].clamp(min=1)
        return found.reshape(()).to(value)

    def summed(self, numbers: Tensor) -> Tensor:
        """Float64 numbers added up over the processes, in main memory: one collective."""
        total = numbers.to(self._device, copy=True)
        dist.all_reduce(total)
        return total.cpu()

    def gathered(self, value: T) -> list[T]:
        """`value` of every process in order of rank; tensors in it must be in main memory."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def first_does(self, action: Callable[[], object]) -> None:
        """Let the first process do something (write a file) while the others wait for it.

        Raises:
            RuntimeError: In the others, if it failed.
        """
        failure: Exception | None = None
        if self.is_first:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - raised below, when the others know
                failure = error
        told = self._from_first(None if failure is None else f"{type(failure).__name__}: {failure}")
        if failure is not None:
            raise failure
        if told is not None:
            raise RuntimeError(f"the first process failed: {told}")

    # -- gradients -------------------------------------------------------------------------------

    def synchronize_gradients(self, wanted: bool) -> None:
        """Say whether the next backward pass is to add the gradients up over the processes."""
        self.synchronized = wanted
        self.strategy.synchronize(wanted)

    def finish_gradients(self, learn: Any) -> None:
        """Add up gradients of backward passes that were told not to."""
        self.strategy.finish(learn)
