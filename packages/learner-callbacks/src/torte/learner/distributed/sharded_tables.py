"""Embeddings in pieces: each process holds some rows of every table, and all of the rest.

For tables that outgrow the memory of one device (users and items of a recommender, say), with their
gradients and the optimizer's state. Batches are shared as in data-parallel training: the codes of
all processes are gathered, each process looks up those rows that it has, and the sum of what they
found is scattered to who asked. The pieces are those of a tensor of `torch.distributed.tensor`
(`DTensor`, cut by rows), as optimizers, files and checkpoints know them. The exchange is written
out here, since the backward pass of PyTorch's own `RowwiseParallel` gives every process the
gradient of the whole table (2.15).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from torte.learner.distributed.strategies import DataParallel, ParallelModel
from torte.optim.shards import whole

__all__ = ["ShardedTables"]


class ShardedTables(DataParallel):
    """Every process holds some rows of each embedding; the rest of the model as with DDP.

    `learn.distributed("tables")` makes one. Files hold whole tensors, whatever the number of
    processes (`learn.save(name, sharded=True)` never puts a table together). When the processes
    part, every one has the whole tables again.

    Gradients of the pieces are dense: an optimizer's `lazy` rows do not apply.

    Args:
        tables: Tells of each embedding of the model whether to cut it; by default all are.
        **kwargs: For `torch.nn.parallel.DistributedDataParallel`, which has the other parameters.

    Raises:
        ValueError: There is no embedding to cut, or one has options (`max_norm`,
            `scale_grad_by_freq`) that look at whole tables or batches.
    """

    holds_all = False

    def __init__(self, tables: Callable[[nn.Embedding], bool] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tables = tables
        self._cut: dict[str, _CutTable] = {}

    def before_move(self, learn: Any, device: torch.device) -> None:
        """Cut the tables, so that no more than a process's rows of them go to its device."""
        from torch.distributed.device_mesh import init_device_mesh

        chosen = {
            name: module
            for name, module in learn.model.named_modules()
            if isinstance(module, nn.Embedding) and (self.tables is None or self.tables(module))
        }
        if not chosen:
            raise ValueError(f"{type(learn.model).__name__} has no embeddings to cut")
        limited = [n for n, m in chosen.items() if m.max_norm is not None or m.scale_grad_by_freq]
        if limited:
            raise ValueError(
                f"embeddings {limited} have max_norm or scale_grad_by_freq, which look at whole "
                "tables or batches: leave them out of `tables`"
            )
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        for name, module in chosen.items():
            self._cut[name] = _CutTable(module, mesh, device)
        self._exchange(learn, [(table.before, table.module.weight) for table in self._cut.values()])

    def _exchange(self, learn: Any, pairs: list[tuple[Any, Any]]) -> None:
        """Let the optimizer go on with other parameters in the place of these."""
        if learn.opt is not None:
            same = {p: p for group in learn.opt.param_groups for p in group["params"]}
            learn.opt.replace_parameters(same | dict(pairs))

    def _held_by_all(self, model: nn.Module) -> list[nn.Parameter]:
        cut = {table.module.weight for table in self._cut.values()}
        return [parameter for parameter in model.parameters() if parameter not in cut]

    def _wrapped(self, model: nn.Module, **defaults: Any) -> ParallelModel | None:
        names = {f"{name}.weight" for name in self._cut}
        trained = [p for n, p in model.named_parameters() if p.requires_grad and n not in names]
        if not trained:
            return None
        ParallelModel._set_params_and_buffers_to_ignore_for_model(model, names)
        return super()._wrapped(model, **defaults)

    def leave(self, learn: Any) -> None:
        """Put the tables together; all processes take part."""
        super().leave(learn)
        pairs = [table.restore() for table in self._cut.values()]
        self._exchange(learn, pairs)
        self._cut = {}
        self._parallel = None


class _CutTable:
    """An embedding of which this process holds some rows."""

    def __init__(self, module: nn.Embedding, mesh: Any, device: torch.device) -> None:
        self.module, self.mesh = module, mesh
        self.before, self.sparse = module.weight, module.sparse
        weight = nn.Parameter(_own_rows(module.weight.detach(), mesh, device))
        weight.requires_grad_(self.before.requires_grad)
        module.weight, module.sparse = weight, False
        module.forward = self.look_up

    def look_up(self, input: Tensor) -> Tensor:
        """Return the vectors of this process's codes; all processes look up together."""
        codes = input
        most = torch.tensor(codes.numel(), device=codes.device)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        # Filled up to as many as any process has; -1 is nobody's row.
        asked = codes.new_full((int(most),), -1)
        asked[: codes.numel()] = codes.reshape(-1)
        every = asked.new_empty(self.mesh.size() * len(asked))
        dist.all_gather_into_tensor(every, asked)
        weight: Any = self.module.weight
        first = self.mesh.get_rank() * _rows_each(weight, self.mesh)
        found = _Exchange.apply(weight.to_local(), every - first, self._untrained(first))
        return found[: codes.numel()].reshape(*codes.shape, -1)

    def _untrained(self, first: int) -> int:
        """Return the place of the row that has no gradient, -1 where there is none."""
        padding = self.module.padding_idx
        return -1 if padding is None else padding - first

    @torch.no_grad()
    def restore(self) -> tuple[Any, Any]:
        """Give the embedding its whole table back; returns the piece and the table."""
        cut = self.module.weight
        del self.module.forward
        self.before.data = whole(cut.detach()).clone()
        self.before.requires_grad_(cut.requires_grad)
        self.before.grad = None
        self.module.weight, self.module.sparse = self.before, self.sparse
        return cut, self.before


class _Exchange(torch.autograd.Function):
    """From rows that this process has, and places in them that all ask for, to what it asked for.

    Backwards a row gets the mean over the processes of what they send it: the trainer weights
    losses so that this is the gradient of the mean over all samples.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, untrained: int) -> Tensor:
        inside = ((places >= 0) & (places < len(rows))).nonzero().squeeze(1)
        ctx.shape, ctx.untrained = rows.shape, untrained
        ctx.save_for_backward(places, inside)
        found = rows.new_zeros(len(places), rows.shape[1])
        found[inside] = rows[places[inside]]
        own = rows.new_empty(len(places) // dist.get_world_size(), rows.shape[1])
        dist.reduce_scatter_tensor(own, found)
        return own

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = grad_outputs
        places, inside = ctx.saved_tensors
        world = dist.get_world_size()
        every = gradient.new_empty(world * len(gradient), gradient.shape[1])
        dist.all_gather_into_tensor(every, gradient.contiguous() / world)
        if ctx.untrained >= 0:
            inside = inside[places[inside] != ctx.untrained]
        rows = gradient.new_zeros(ctx.shape)
        return rows.index_add_(0, places[inside], every[inside]), None, None


def _rows_each(table: Any, mesh: Any) -> int:
    """Return how many rows a process has; the last ones may have fewer."""
    return -(-len(table) // mesh.size())


def _own_rows(table: Tensor, mesh: Any, device: torch.device) -> Any:
    """Return the first process's table cut by rows, of which this one has its own.

    Pieces go to the devices one after another, so that none has to hold more than two.
    """
    from torch.distributed.tensor import DTensor, Shard

    own = table.new_empty((0, *table.shape[1:]), device=device)
    for place, rows in enumerate(table.split(_rows_each(table, mesh))):
        piece = rows.to(device, copy=True)
        dist.broadcast(piece, src=0)
        if place == mesh.get_rank():
            own = piece
    return DTensor.from_local(
        own, mesh, [Shard(0)], run_check=False, shape=table.shape, stride=table.stride()
    )
