"""What single processes of the distributed optimizer tests do (imported by spawned processes)."""

import functools
import os
import sys
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torte import optim

WORLD = 2
MAKERS = {
    "Adam": functools.partial(optim.Adam, lr=0.05),
    "SGD": functools.partial(optim.SGD, lr=0.05, mom=0.9, wd=0.1),
    "Lion": functools.partial(optim.Lion, lr=0.05),
    "Lamb": functools.partial(optim.Lamb, lr=0.05, wd=0.1),
    "Muon": functools.partial(optim.Muon, lr=0.05),
    "RAdam": functools.partial(optim.RAdam, lr=0.05),
    "whole-model": lambda params: optim.Optimizer(
        params, optim.whole_model_norms, clipped_step, lr=0.05, max_norm=0.1
    ),
}


def clipped_step(p, lr, max_norm, model_grad_sqr):
    norm = model_grad_sqr.sqrt()
    p.sub_(lr * p.grad * torch.where(norm > max_norm, max_norm / norm, 1.0))


def problem():
    torch.manual_seed(0)
    # 7 rows do not divide evenly over two shards.
    model = nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 3))
    return model, torch.randn(8, 4), torch.randn(8, 3)


def train(model, opt, x, y, steps=4):
    for _ in range(steps):
        opt.zero_grad()
        (model(x) - y).pow(2).mean().backward()
        opt.step()


def alone(name):
    """The parameters after training in one process."""
    model, x, y = problem()
    train(model, MAKERS[name](model.named_parameters()), x, y)
    return {k: v.detach() for k, v in model.state_dict().items()}


def spawn(job, folder, *arguments):
    """Run `job(rank, folder, *arguments)` in two processes and raise what one of them raised."""
    torch.multiprocessing.spawn(_process, (job, str(folder), arguments), nprocs=WORLD)


def _process(rank, job, folder, arguments):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD
    )
    try:
        job(rank, Path(folder), *arguments)
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        raise
    finally:
        dist.destroy_process_group()


def half(tensor, rank):
    return tensor.chunk(WORLD)[rank]


def data_parallel(rank, folder, names):
    for name in names:
        model, x, y = problem()
        parallel = nn.parallel.DistributedDataParallel(model)
        opt = MAKERS[name](parallel.parameters())
        train(parallel, opt, half(x, rank), half(y, rank))
        for key, expected in alone(name).items():
            torch.testing.assert_close(model.state_dict()[key], expected)


def fully_sharded(rank, folder, names):
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_optimizer_state_dict,
        set_optimizer_state_dict,
    )
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (WORLD,))

    def sharded(name):
        model, x, y = problem()
        for layer in (model[0], model[2]):
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        return model, MAKERS[name](model.named_parameters()), half(x, rank), half(y, rank)

    def compare(model, name):
        for key, expected in alone(name).items():
            whole = model.state_dict()[key].full_tensor()
            tolerance = {"rtol": 1e-2, "atol": 1e-2} if name == "Muon" else {}
            torch.testing.assert_close(whole, expected, **tolerance)

    for name in names:
        model, opt, x, y = sharded(name)
        train(model, opt, x, y)
        compare(model, name)
        if not any(opt.state_dict()["state"].values()):
            continue  # torch's checkpointing wants state to load
        # Two steps, a full state dict, two more steps in a model of its own.
        first, first_opt, x, y = sharded(name)
        train(first, first_opt, x, y, 2)
        options = StateDictOptions(full_state_dict=True)
        saved = get_optimizer_state_dict(first, first_opt, options=options)
        second, second_opt, x, y = sharded(name)
        second.load_state_dict(first.state_dict())
        set_optimizer_state_dict(second, second_opt, saved, options=options)
        train(second, second_opt, x, y, 2)
        compare(second, name)
    _whole_states(mesh, rank)


def _whole_states(mesh, rank):
    """State of whole tensors goes with sharded parameters, and back."""
    from torch.distributed.fsdp import fully_shard
    from torte.optim.shards import map_tensors_in, whole

    def wrapped(params, lr):
        return optim.OptimWrapper(params, torch.optim.AdamW, lr=lr)

    makers = {
        "Larc": optim.Larc,
        "ranger": optim.ranger,
        "wrapped": wrapped,
        "lookahead": lambda params, lr: optim.Lookahead(wrapped(params, lr), k=2),
    }
    for make in makers.values():
        expected, x, y = problem()
        opt = make(list(expected.named_parameters()), lr=0.05)
        train(expected, opt, x, y, 2)
        saved = map_tensors_in(torch.clone, opt.state_dict())
        model = problem()[0]
        model.load_state_dict(expected.state_dict())
        old = list(model.parameters())
        train(expected, opt, x, y)
        # Loaded whole into shards.
        fully_shard(model, mesh=mesh)
        sharded = make(list(model.named_parameters()), lr=0.05)
        sharded.load_state_dict(saved)
        train(model, sharded, half(x, rank), half(y, rank))
        for one, other in zip(model.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(one.full_tensor(), other)
        # Put together in place: the optimizer goes on with whole parameters.
        for one, shard in zip(old, model.parameters(), strict=True):
            one.data = whole(shard.detach())
        sharded.replace_parameters(dict(zip(model.parameters(), old, strict=True)))
        alone = problem()[0]
        for name, one in zip(dict(alone.named_parameters()), old, strict=True):
            holder, _, last = name.rpartition(".")
            setattr(alone.get_submodule(holder), last, one)
        train(alone, sharded, x, y)
        train(expected, opt, x, y)
        for one, other in zip(old, expected.parameters(), strict=True):
            torch.testing.assert_close(one, other)


def accelerated(rank, folder):
    from accelerate import Accelerator
    from torch.utils.data import DataLoader, TensorDataset

    # What `accelerate launch` would have set.
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": WORLD, "LOCAL_WORLD_SIZE": WORLD}
    os.environ.update({name: str(value) for name, value in ranks.items()})
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    assert accelerator.num_processes == WORLD
    model, x, y = problem()
    opt = optim.Lamb(model.named_parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.StepLR(opt, 1, gamma=0.5)
    loader = DataLoader(TensorDataset(x, y), batch_size=2)
    model, opt, loader, schedule = accelerator.prepare(model, opt, loader, schedule)
    losses = []
    for _ in range(3):
        for inputs, targets in loader:
            with accelerator.accumulate(model):
                loss = (model(inputs) - targets).pow(2).mean()
                accelerator.backward(loss)
                opt.step()
                opt.zero_grad()
            losses.append(accelerator.gather(loss).mean().item())
        schedule.step()
    assert losses[-1] < losses[0]
    assert opt.param_groups[0]["lr"] < 0.05
    accelerator.save_state(str(folder / "saved"))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    accelerator.wait_for_everyone()
    accelerator.load_state(str(folder / "saved"))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    parameter = next(iter(opt.optimizer.names.values()))
    assert opt.optimizer.state[parameter]["step"] == 3
