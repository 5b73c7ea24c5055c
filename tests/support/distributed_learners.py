"""What single processes of the distributed Learner tests do, each against a run alone."""

import contextlib
import io
import os
import signal
import warnings

import pytest
import torch
import torch.distributed as dist
from sklearn.metrics import r2_score
from torch import nn
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset
from torte.data import DataLoader, DataLoaders, TfmdDL
from torte.learner import (
    AccumMetric,
    Callback,
    CancelFitException,
    CancelTrainException,
    CheckpointCallback,
    CheckpointExit,
    CheckpointStore,
    CSVLogger,
    EarlyStoppingCallback,
    GradientAccumulation,
    GradientClip,
    Learner,
    NonFiniteCallback,
    NonFiniteWarning,
    ProgressCallback,
    Recorder,
    SaveModelCallback,
    SplitBatchWarning,
    SplitOnOutOfMemory,
    TerminateOnNaNCallback,
    mae,
    model_builder,
    mse,
    num_distrib,
    rank0_first,
    rank_distrib,
)
from torte.learner.callbacks.gathering import read_saved
from torte.learner.packing import FileFormatError, read_file
from torte.optim import Adam, Larc

TRAIN, VALID = 25, 10


@model_builder("tests.small_net")
def small_net(width: int = 7) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))


def data(count, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return TensorDataset(x, x.sum(1, keepdim=True).sin())


def own_loaders(bs=8, seed=5):
    """The last training batch has one sample: fewer than there are processes."""
    train = TfmdDL(data(TRAIN, 1), bs=bs, shuffle=True, seed=seed)
    return DataLoaders(train, TfmdDL(data(VALID, 2), bs=4), device="cpu")


def torch_loaders():
    train = TorchLoader(data(TRAIN, 1), batch_size=8, shuffle=True)
    return DataLoaders(train, TorchLoader(data(VALID, 2), batch_size=4), device="cpu")


def list_loaders():
    return DataLoaders(
        list(TorchLoader(data(TRAIN, 1), batch_size=8)),
        list(TorchLoader(data(VALID, 2), batch_size=4)),
        device="cpu",
    )


def learner(dls=None, model=None, folder=".", **kwargs):
    torch.manual_seed(0)
    model = (small_net() if model is None else model).double()
    settings = {"loss_func": nn.MSELoss(), "lr": 0.05, "opt_func": Adam, **kwargs}
    learn = Learner(own_loaders() if dls is None else dls, model, path=folder, **settings)
    learn.logger = quiet
    learn.remove_cb(learn.progress)
    return learn


def quiet(row):
    """Logs nothing."""


def metrics():
    return [mse, AccumMetric(r2_score, to_np=True, invert_arg=True, name="r2"), mae]


def close(found, expected, **tolerance):
    torch.testing.assert_close(
        found, expected, **{"rtol": 1e-9, "atol": 1e-11, "equal_nan": True, **tolerance}
    )


def whole(value):
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def compare(learn, alone):
    """Weights, optimizer state and the record of a learner with those of one that trained alone."""
    for name, value in alone.model.state_dict().items():
        close(whole(learn.model.state_dict()[name]), value)
    for one, other in zip(
        learn.opt.state_dict()["state"].values(),
        alone.opt.state_dict()["state"].values(),
        strict=True,
    ):
        assert one.keys() == other.keys()
        for key, value in other.items():
            close(whole(one[key]), value) if isinstance(value, torch.Tensor) else None
    assert learn.recorder.lrs == alone.recorder.lrs
    assert learn.recorder.iters == alone.recorder.iters
    close(learn.recorder.raw_losses, alone.recorder.raw_losses)
    close(learn.recorder.losses, alone.recorder.losses)
    close(learn.recorder.smooth_loss.value, alone.recorder.smooth_loss.value)
    assert learn.recorder.smooth_loss.sizes == alone.recorder.smooth_loss.sizes
    close(learn.recorder.values, alone.recorder.values)
    for name, values in alone.recorder.hps.items():
        assert learn.recorder.hps[name] == values


def same_everywhere(value):
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    assert all(each == found[0] for each in found), found


def trained_alike(strategy, make, train, folder, **settings):
    """Train alone and together, and compare; returns both learners and the context."""
    alone = make()
    train(alone)
    learn = make()
    context = learn.distributed(strategy, **settings)
    train(learn)
    compare(learn, alone)
    same_everywhere(learn.recorder.raw_losses)
    same_everywhere(learn.recorder.values)
    return learn, alone, context


def cycle(learn):
    learn.fit_one_cycle(2, 0.05)


def training(rank, world, folder):
    for strategy in ("ddp", "fsdp2"):
        for loaders in (own_loaders, torch_loaders, list_loaders):

            def make(loaders=loaders):
                return learner(loaders(), metrics=metrics(), folder=folder, wd=0.1)

            learn, alone, context = trained_alike(strategy, make, cycle, folder)
            model = learn.model
            context.end()
            assert learn.world.size == 1
            assert all(type(p) is nn.Parameter for p in learn.model.parameters())
            assert (model is learn.model) == (strategy == "ddp")
            compare(learn, alone)
            if loaders is own_loaders:
                # Both go on alone from what they have.
                cycle(learn)
                cycle(alone)
                compare(learn, alone)


def training_metrics_and_sums(rank, world, folder):
    def make():
        learn = learner(metrics=metrics(), loss_func=nn.MSELoss(reduction="sum"), lr=0.001)
        learn.remove_cb(Recorder)
        learn.add_cb(Recorder(train_metrics=True))
        return learn

    for strategy in ("ddp", "fsdp2"):
        trained_alike(strategy, make, lambda learn: learn.fit(2), folder)[2].end()


def accumulation_and_clipping(rank, world, folder):
    for strategy in ("ddp", "fsdp2"):
        for n_acc in (12, 100):

            def make(n_acc=n_acc):
                cbs = [GradientAccumulation(n_acc), GradientClip(0.1)]
                return learner(own_loaders(bs=4), cbs=cbs)

            trained_alike(strategy, make, cycle, folder)[2].end()

        # Broken off within a group: its gradients were not added up yet.
        def stop(self):
            if self.learn.training and self.learn.iter == 1:
                raise CancelTrainException

        def short():
            stopper = Callback(after_batch=stop)
            stopper.order = 90
            return learner(own_loaders(bs=4), cbs=[GradientAccumulation(100), stopper])

        trained_alike(strategy, short, lambda learn: learn.fit(1), folder)[2].end()


def reductions(rank, world, folder):
    """Count how often gradients are added up."""
    calls = []

    def hook(state, bucket):
        calls.append(1)
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

        return allreduce_hook(dist.group.WORLD, bucket)

    class Watch(Callback):
        order = -15

        def before_train(self):
            self.learn.model.register_comm_hook(None, hook)

    learn = learner(own_loaders(bs=4), cbs=[GradientAccumulation(12), Watch()])
    with learn.distributed():
        learn.fit(1)
    assert len(calls) == 3  # 25 samples in batches of 4: steps after 12, 24 and 25


def freezing(rank, world, folder):
    def split(model):
        return [list(model[0].parameters()), list(model[2].parameters())]

    def train(learn):
        learn.fine_tune(1, 0.05)

    for strategy in ("ddp", "fsdp2"):
        learn, alone, context = trained_alike(
            strategy, lambda: learner(splitter=split), train, folder
        )
        learn.freeze()
        alone.freeze()
        cycle(learn)
        cycle(alone)
        compare(learn, alone)
        context.end()
        assert [p.requires_grad for p in learn.model.parameters()] == [False, False, True, True]


def looking(rank, world, folder):
    alone = learner(metrics=metrics())
    alone.fit(1)
    for strategy in ("ddp", "fsdp2"):
        learn = learner(metrics=metrics())
        with learn.distributed(strategy) as same:
            assert same is learn
            learn.fit(1)
            close(list(learn.validate()), list(alone.validate()))
            close(list(learn.validate(0)), list(alone.validate(0)))
            for settings in (
                {},
                {"ds_idx": 0, "with_input": True, "with_loss": True, "with_decoded": True},
                {"dl": own_loaders().train},
            ):
                found, expected = learn.get_preds(**settings), alone.get_preds(**settings)
                assert len(found) == len(expected)
                for one, other in zip(found, expected, strict=True):
                    close(one, other)
            item = data(1, 9)[0][0]
            close(learn.predict(item)[2], alone.predict(item)[2])
            found, expected = str(learn.summary()), str(alone.summary())
            found = found.removeprefix("FSDP")  # FSDP2 makes a class of its own of the model's
            assert found.partition("Callbacks")[0] == expected.partition("Callbacks")[0]
            before = {k: whole(v).clone() for k, v in learn.model.state_dict().items()}
            found = learn.lr_find(num_it=12, show_plot=False)
            expected = alone.lr_find(num_it=12, show_plot=False)
            close(found.valley, expected.valley)
            close(learn.last_search.losses, alone.last_search.losses)
            for name, value in before.items():
                assert torch.equal(whole(learn.model.state_dict()[name]), value)
            saved = folder / f"{strategy}-preds"
            learn.get_preds(save_preds=saved, with_preds=False)
        dist.barrier()
        close(read_saved(saved), alone.get_preds()[0])


def predicting_in_one_process(rank, world, folder):
    """What looks at single items asks nothing of the others."""
    learn = learner()
    with learn.distributed():
        if rank == world - 1:
            learn.predict(data(1, 9)[0][0])


def files(rank, world, folder):
    alone = learner(folder=folder / "alone")
    cycle(alone)
    alone.fit(1)
    for strategy in ("ddp", "fsdp2"):
        learn = learner(folder=folder / strategy)
        with learn.distributed(strategy):
            cycle(learn)
            path = learn.save("both")
            assert path.exists()
            weights = {k: whole(v).clone() for k, v in learn.model.state_dict().items()}
            learn.fit(1)
            compare(learn, alone)
            learn.load("both")
            for name, value in weights.items():
                assert torch.equal(whole(learn.model.state_dict()[name]), value)
            learn.fit(1)
            for name, value in alone.model.state_dict().items():
                if strategy == "fsdp2":
                    close(whole(learn.model.state_dict()[name]).shape, value.shape)
            exported = learn.export()
        # What several processes wrote is read by one.
        other = learner(folder=folder / strategy)
        other.load("both")
        for name, value in weights.items():
            assert torch.equal(other.model.state_dict()[name], value)
        content = read_file(exported, "learner")["weights"]
        assert list(content) == list(weights)
        assert all(type(value) is torch.Tensor for value in content.values())
        dist.barrier()
        broken = learner(folder=folder / strategy)
        context = broken.distributed(strategy)
        with pytest.raises((OSError, RuntimeError), match="File name too long"):
            broken.save(f"../{'x' * 300}")
        context.end()


def logging(rank, world, folder):
    rows, called = [], []

    class Shown(Callback):
        rank0_only = True

        def before_fit(self):
            called.append("fit")
            assert self.learn.world.size == 1

    learn = learner(folder=folder, metrics=mse)
    learn.logger = rows.append
    learn.add_cbs([Shown(), SaveModelCallback(fname="best")])
    output = io.StringIO()
    with contextlib.redirect_stdout(output), learn.distributed():
        learn.fit(2, cbs=[CSVLogger(), ProgressCallback(kind="lines")])
    assert called == (["fit"] if rank == 0 else [])
    shown = output.getvalue().splitlines()
    assert sum(line.split()[0] == "epoch" for line in shown) == (rank == 0)
    assert sum(line.split()[0] in "01" for line in shown) == 2 * (rank == 0)
    assert bool(shown) == (rank == 0)
    learn.path = folder / str(rank)  # what each saves alone is none of the others' business
    learn.fit(1)
    assert len(rows) == 1  # alone again, every process logs
    assert called[-1:] == ["fit"]
    same_everywhere(len((folder / "history.csv").read_text().splitlines()))
    assert len((folder / "history.csv").read_text().splitlines()) == 3
    same_everywhere(float(learn.save_model.best))


def decisions(rank, world, folder):
    """One process sees what the others do not, and all act on it."""

    class Poison(Callback):
        order = -12

        def before_batch(self):
            if self.learn.training and self.learn.iter == 1 and rank == world - 1:
                self.learn.xb = (self.learn.xb[0] * float("nan"),)

    learn = learner(cbs=[Poison(), TerminateOnNaNCallback()])
    with learn.distributed():
        learn.fit(3)
        same_everywhere(learn.train_iter)
        assert learn.recorder.iters == []
        assert all(bool(p.isfinite().all()) for p in learn.model.parameters())

        def stop(self):
            if self.learn.world.any(rank == world - 1 and self.learn.train_iter == 6):
                raise CancelFitException

        learn.remove_cbs([Poison, TerminateOnNaNCallback])
        learn.fit(3, cbs=Callback(after_batch=stop))
        assert len(learn.recorder.raw_losses) == 5  # the recorder comes after the callback
        same_everywhere(learn.recorder.raw_losses)
        with contextlib.redirect_stdout(io.StringIO()):
            learn.fit(6, 0.0, cbs=EarlyStoppingCallback(patience=2))
        assert len(learn.recorder.values) == 3


class PoisonOf(Callback):
    """Makes the second batch bad for the process that has its last rows."""

    order = -12
    run_valid = False

    def __init__(self, share):
        super().__init__()
        self.share = share

    def before_batch(self):
        if self.learn.iter == 1 and self.share:
            x = self.learn.xb[0].clone()
            x[-1] = float("nan")
            self.learn.xb = (x,)


def not_finite(rank, world, folder):
    """One process sees what is not finite; all skip or stop alike and tell the same."""
    for strategy in ("ddp", "fsdp2"):
        for action in ("skip", "stop"):

            def make(action=action):
                return learner(cbs=[NonFiniteCallback(action)])

            alone, learn = make(), make()
            with pytest.warns(NonFiniteWarning):
                alone.fit(2, cbs=PoisonOf(share=True))
            told = pytest.warns(NonFiniteWarning) if rank == 0 else contextlib.nullcontext()
            with told, learn.distributed(strategy):
                learn.fit(2, cbs=PoisonOf(share=rank == world - 1))
                compare(learn, alone)
                same_everywhere(learn.non_finite.found)
            mine, other = learn.non_finite.found, alone.non_finite.found
            assert len(mine) == (2 if action == "skip" else 1)
            assert [(each.epoch, each.batch, each.items) for each in mine] == [
                (each.epoch, each.batch, each.items) for each in other
            ]
            where = "the inputs are" if strategy == "ddp" else "the loss is"
            assert {each.where for each in mine} == {where}
            assert all(bool(p.isfinite().all()) for p in learn.model.parameters())


def bad_layers(rank, world, folder):
    """The layer is named by the process in whose rows it makes what is not finite."""

    class Logarithm(nn.Module):
        def forward(self, x):
            return x.log() if bool((x < -0.5).any()) else x

    net = nn.Sequential(nn.Linear(3, 4), Logarithm(), nn.Linear(4, 1))
    with torch.no_grad():
        net[0].weight.fill_(0.1)
        net[0].bias.fill_(1.0)

    class Large(Callback):
        order = -12

        def before_batch(self):
            if rank == 1:
                self.learn.xb = (self.learn.xb[0] - 100,)

    learn = learner(model=net, cbs=[NonFiniteCallback(), Large()])
    with warnings.catch_warnings(), learn.distributed():
        warnings.simplefilter("ignore", NonFiniteWarning)
        learn.fit(1)
        same_everywhere(learn.non_finite.found)
    (found,) = learn.non_finite.found
    assert found.where == "the output of '1' (Logarithm) is"
    assert len(found.items) == 8


def out_of_memory(rank, world, folder):
    """Each process splits by itself, here all but the first; gradients stay the whole batch's."""

    def make(limit=100, cbs=SplitOnOutOfMemory):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 7), Room(limit), nn.Tanh(), nn.Linear(7, 1))
        return learner(model=net, cbs=cbs(), metrics=metrics(), wd=0.1)

    alone = make()
    cycle(alone)
    learn = make(limit=1 if rank else 100)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", SplitBatchWarning)
        with learn.distributed():
            cycle(learn)
    compare(learn, alone)
    same_everywhere(learn.recorder.raw_losses)
    split = sum(issubclass(each.category, SplitBatchWarning) for each in told)
    assert (split > 0) == (learn.split_on_out_of_memory.parts > 1) == (rank > 0)
    # Where the others would have to take part, the error is raised: all run out here.
    for settings, more in (
        ({"strategy": "fsdp2"}, ()),
        ({"sync_bn": True}, ()),
        ({}, [GradientAccumulation(16)]),
    ):
        learn = make(limit=0, cbs=lambda more=more: [SplitOnOutOfMemory(), *more])
        with learn.distributed(**settings), pytest.raises(torch.OutOfMemoryError):
            learn.fit(1)


class Room(nn.Module):
    """A layer that has room for so many samples while training."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def forward(self, x):
        if self.training and len(x) > self.limit:
            raise torch.OutOfMemoryError("no room")
        return x


def batchnorm(rank, world, folder):
    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 1))

    def make(count=26):
        train = DataLoader(data(count, 1), bs=8, shuffle=True, seed=5)
        dls = DataLoaders(train, DataLoader(data(VALID, 2), bs=4), device="cpu")
        return learner(dls, net(), metrics=mse)

    for strategy in ("ddp", "fsdp2"):
        learn, alone, context = trained_alike(strategy, make, cycle, folder, sync_bn=True)
        context.end()
        assert "forward" not in vars(learn.model[1])
        compare(learn, alone)
    # With statistics of its own parts each process still ends with the same buffers.
    learn = make(24)
    with learn.distributed():
        cycle(learn)
    same_everywhere(learn.model[1].running_mean.tolist())


def layouts(rank, world, folder):
    """FSDP2 shards dense parameters alone: channels-last ones are so again afterwards."""

    def net():
        torch.manual_seed(0)
        convs = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1)]
        model = nn.Sequential(nn.Unflatten(1, (3, 1, 1)), *convs, nn.Flatten(), nn.Linear(6, 1))
        return model.to(memory_format=torch.channels_last)

    learn, alone = learner(model=net()), learner(model=net())
    with learn.alone():
        learn.fit(1)  # so that the optimizer has a state of the same layout
    alone.fit(1)
    strides = {name: p.stride() for name, p in learn.model.named_parameters()}
    assert not learn.model[3].weight.is_contiguous()
    with learn.distributed("fsdp2"):
        cycle(learn)
    cycle(alone)
    compare(learn, alone)
    assert {name: p.stride() for name, p in learn.model.named_parameters()} == strides


def fastai_names(rank, world, folder):
    assert (rank_distrib(), num_distrib()) == (rank, world)
    order = folder / "order"

    def note():
        with order.open("a") as file:
            file.write(str(rank))
        return rank

    assert rank0_first(note) == rank
    dist.barrier()
    assert order.read_text()[0] == "0"
    alone = learner(own_loaders(bs=4 * world))
    cycle(alone)
    learn = learner(own_loaders(bs=4))
    with learn.distrib_ctx(sync_bn=False):
        cycle(learn)
        compare(learn, alone)
        assert learn.dls.train.bs == 4 * world
    assert learn.dls.train.bs == 4
    assert learn.to_distributed() is learn
    with pytest.raises(RuntimeError, match="already"):
        learn.distributed()
    assert learn.detach_distributed().world.size == 1


def starting_apart(rank, world, folder):
    """Processes that begin with other weights, seeds and states follow the first one."""
    alone = learner()
    cycle(alone)
    learn = learner(own_loaders(seed=5 + rank))
    torch.manual_seed(rank)
    for parameter in learn.model.parameters():
        parameter.data += rank
    with learn.distributed():
        cycle(learn)
        compare(learn, alone)
        draws = torch.rand(3).tolist()
    found = [None] * world
    dist.all_gather_object(found, draws)
    assert len({tuple(each) for each in found}) == world


def tiny_validation(rank, world, folder):
    """Fewer samples than processes, and none at all of a metric's in some."""

    def make():
        dls = DataLoaders(DataLoader(data(9, 1), bs=4), DataLoader(data(1, 2), bs=4), device="cpu")
        return learner(dls, metrics=metrics()[::2])

    trained_alike("ddp", make, cycle, folder)[2].end()


def sharded_files(rank, world, folder):
    """A folder that this number of processes wrote is read by others; see `reading_shards`."""
    for strategy in ("ddp", "fsdp2"):
        learn = learner(folder=folder / strategy, opt_func=Larc)
        with learn.distributed(strategy):
            cycle(learn)
            for _ in range(2):  # the second time it replaces the first
                path = learn.save("shards", sharded=True)
            assert sum(file.suffix == ".safetensors" for file in path.iterdir()) >= 1
            assert not [file for file in path.parent.iterdir() if file.name.startswith(".")]
            weights = {k: whole(v).clone() for k, v in learn.model.state_dict().items()}
            learn.fit(1)
            learn.load("shards")
            for name, value in weights.items():
                assert torch.equal(whole(learn.model.state_dict()[name]), value)
            learn.save("whole")
            learn.fit(1)
            learn.save("later", with_opt=False)


def reading_shards(rank, world, folder):
    """Go on from what another number of processes wrote."""
    written = folder.parent / "sharded_files"
    for wrote in ("ddp", "fsdp2"):
        expected = learner(folder=written / wrote, opt_func=Larc)
        expected.load("whole")
        read_file(written / wrote / "models" / "whole.safetensors", "weights")
        for strategy in ("ddp", "fsdp2"):
            learn = learner(folder=written / wrote, opt_func=Larc)
            with learn.distributed(strategy):
                learn.load("shards")
                for name, value in expected.model.state_dict().items():
                    assert torch.equal(whole(learn.model.state_dict()[name]), value)
                for one, other in zip(
                    learn.opt.state_dict()["state"].values(),
                    expected.opt.state_dict()["state"].values(),
                    strict=True,
                ):
                    for key, value in other.items():
                        close(torch.as_tensor(whole(one[key])), torch.as_tensor(value))


def damaged_shards(rank, world, folder):
    learn = learner(folder=folder)
    with learn.distributed("fsdp2"):
        cycle(learn)
        path = learn.save("shards", sharded=True)
        before = {k: whole(v).clone() for k, v in learn.model.state_dict().items()}
        other = learner(folder=folder, model=small_net(9))
        with pytest.raises(FileFormatError, match="do not fit"):
            other.load("shards")
        dist.barrier()
        if rank == 0:
            file = min(file for file in path.iterdir() if file.suffix == ".safetensors")
            file.write_bytes(file.read_bytes()[:-8])
        dist.barrier()
        with pytest.raises(FileFormatError, match="damaged or incomplete"):
            learn.load("shards")
        dist.barrier()
        if rank == 0:
            (path / "content.json").write_text("{}")
        dist.barrier()
        with pytest.raises(FileFormatError, match="description"):
            learn.load("shards")
        dist.barrier()
        if rank == 0:
            (path / "content.json").unlink()
        dist.barrier()
        with pytest.raises(FileNotFoundError):
            learn.load("shards")
        for name, value in before.items():
            assert torch.equal(whole(learn.model.state_dict()[name]), value)


# -- checkpoints -----------------------------------------------------------------------------------


def checkpointed(folder, kill_at=None, strategy="ddp", share=True, **kwargs):
    """A training that goes on from a checkpoint if there is one, and may break off."""
    cbs = [GradientAccumulation(12), CheckpointCallback(every=1, beside=False)]
    learn = learner(folder=folder, metrics=[mae, AccumMetric(r2_score, flatten=False)], **kwargs)
    learn.recorder.train_metrics = True

    def leave(callback):
        if callback.learn.train_iter == kill_at:
            raise KeyboardInterrupt

    breaking = Callback(before_batch=leave)
    breaking.run_valid = False
    with learn.distributed(strategy=strategy) if share else contextlib.nullcontext():
        try:
            learn.fit_one_cycle(2, 0.05, cbs=[*cbs, breaking], resume=True)
        except KeyboardInterrupt:
            assert kill_at is not None
            return learn
    assert kill_at is None
    return learn


def checkpoints_begun(rank, world, folder):
    for kill_at in (0, 2, 5, 7):
        checkpointed(folder / f"at {kill_at}", kill_at)


def checkpoints_ended(rank, world, folder):
    """Goes on with what another number of processes has begun, in the folder beside."""
    whole = checkpointed(folder / f"whole {rank}", share=False)
    for kill_at in (0, 2, 5, 7):
        learn = checkpointed(folder.parent / "checkpoints_begun" / f"at {kill_at}")
        same_training(whole, learn)


def same_training(one, other):
    close = {"rtol": 1e-9, "atol": 1e-12}
    for mine, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, **close)
    torch.testing.assert_close(one.recorder.raw_losses, other.recorder.raw_losses, **close)
    torch.testing.assert_close(one.recorder.values, other.recorder.values, **close)
    assert one.recorder.lrs == other.recorder.lrs


def sharded_checkpoints(rank, world, folder):
    """Shards are put together in a checkpoint, which is written between accumulations."""
    whole = checkpointed(folder / f"whole {rank}", share=False)
    checkpointed(folder, 3, strategy="fsdp2")
    assert CheckpointStore(folder / "checkpoints").checkpoints()[0].facts["step"] == 2
    same_training(whole, checkpointed(folder, strategy="fsdp2"))


def one_is_told_to_end(rank, world, folder):
    """A signal that one process hears ends all of them at the same batch."""

    def tell(callback):
        if rank == world - 1 and callback.learn.train_iter == 2 and callback.learn.training:
            os.kill(os.getpid(), signal.SIGTERM)

    learn = learner(folder=folder, cbs=Callback(before_batch=tell))
    with learn.distributed(), pytest.raises(CheckpointExit) as leaving:
        learn.fit(3, cbs=CheckpointCallback())
    assert leaving.value.code == 75
    dist.barrier()
    (made,) = CheckpointStore(folder / "checkpoints").checkpoints()
    assert made.facts["step"] == learn.train_iter == 4
