"""What single processes of the tests of sharded embeddings do, each against a run alone."""

import numpy as np
import pandas as pd
import pytest
import torch
from support.distributed_learners import compare, cycle, quiet, same_everywhere
from torch import nn
from torte.collab import CollabDataLoaders, SampledSoftmaxLoss, collab_learner, ranking_metrics
from torte.learner import Callback, CheckpointCallback
from torte.learner.distributed import ShardedTables
from torte.optim import RowwiseAdagrad


def ratings():
    random = np.random.default_rng(2)
    users, items = random.integers(0, 23, 300), random.integers(0, 12, 300)
    stars = np.where((users + items) % 2, 4.5, 1.5)
    return pd.DataFrame({"user": users, "item": items, "stars": stars})


def learner(folder, implicit=False, **kwargs):
    torch.manual_seed(0)
    frame = ratings()
    dls = CollabDataLoaders.from_df(frame, bs=31, seed=1, implicit=implicit, device="cpu")
    dls.train.seed = 7
    if not implicit:
        kwargs["y_range"] = (0, 6)
    learn = collab_learner(dls, n_factors=5, path=folder, **kwargs)
    learn.model.double()
    learn.logger = quiet
    learn.remove_cb(learn.progress)
    return learn


def is_cut(parameter):
    return hasattr(parameter, "device_mesh")


def tables_of_ratings(rank, world, folder):
    kinds = [
        {},
        {"use_nn": True, "layers": [8]},
        {"opt_func": RowwiseAdagrad},
        {"implicit": True, "loss_func": SampledSoftmaxLoss()},
    ]
    for kwargs in kinds if world == 2 else kinds[:1]:
        alone = learner(folder, **kwargs)
        cycle(alone)
        learn = learner(folder, **kwargs)
        context = learn.distributed("tables", sync_bn="use_nn" in kwargs)
        cut = [p for p in learn.model.parameters() if is_cut(p)]
        assert len(cut) == (2 if "use_nn" in kwargs else 4)
        assert all(len(p.to_local()) <= -(-len(p) // world) for p in cut)
        cycle(learn)
        compare(learn, alone)
        same_everywhere(learn.recorder.values)
        own = learn.recommend([1, 2], k=3)
        assert own["item"].tolist() == alone.recommend([1, 2], k=3)["item"].tolist()
        context.end()
        assert not any(map(is_cut, learn.model.parameters()))
        compare(learn, alone)
        cycle(learn)  # each by itself goes on from whole tables
        cycle(alone)
        compare(learn, alone)


def files_hold_whole_tables(rank, world, folder):
    alone = learner(folder)
    cycle(alone)
    learn = learner(folder)
    with learn.distributed("tables"):
        cycle(learn)
        learn.save("whole")
        learn.save("pieces", sharded=True)
        learn.export("export.safetensors")
    for name in ("whole", "pieces"):
        again = learner(folder).load(name)
        compare_models(again, alone)
        other = learner(folder)
        with other.distributed("tables"):
            other.load(name)
            cycle(other)
        cycle(again)
        compare_models(other, again)
    with pytest.raises(AssertionError):
        compare_models(again, alone)  # it went on


def compare_models(one, other):
    for name, value in other.model.state_dict().items():
        torch.testing.assert_close(one.model.state_dict()[name], value, rtol=1e-9, atol=1e-11)


def chosen_tables_and_refusals(rank, world, folder):
    learn = learner(folder)
    strategy = ShardedTables(lambda table: table.embedding_dim > 1)
    with learn.distributed(strategy):
        assert is_cut(learn.model.u_weight.weight)
        assert not is_cut(learn.model.u_bias.weight)
        cycle(learn)
    alone = learner(folder)
    cycle(alone)
    compare_models(learn, alone)
    other = learner(folder)
    other.model.u_bias.max_norm = 1.0
    with pytest.raises(ValueError, match=r"\['u_bias'\] have max_norm"):
        other.distributed("tables")
    other.model = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="Linear has no embeddings to cut"):
        other.distributed("tables")


def sparse_gradients_with_ddp(rank, world, folder):
    for implicit in (False, True):

        def made(implicit=implicit):
            metrics = ranking_metrics("ndcg", "coverage", k=3)
            return learner(folder, implicit, sparse=True, metrics=metrics)

        alone = made()
        cycle(alone)
        learn = made()
        with learn.distributed():
            cycle(learn)
            assert learn.opt.lazy_rows
            compare(learn, alone)


def checkpoints_of_pieces(rank, world, folder):
    def stop(self):
        if self.learn.training and self.learn.train_iter == 5:
            raise KeyboardInterrupt

    def made():
        return learner(folder, cbs=CheckpointCallback(every=2))

    alone = learner(folder)
    cycle(alone)
    learn = made()
    with learn.distributed("tables"), pytest.raises(KeyboardInterrupt):
        learn.fit_one_cycle(2, 0.05, cbs=Callback(after_batch=stop))
    again = made()
    with again.distributed("tables"):
        counted = []
        counter = Callback(after_batch=lambda self: counted.append(self.learn.training))
        again.fit_one_cycle(2, 0.05, resume=True, cbs=counter)
    assert 0 < sum(counted) < 2 * len(again.dls.train)  # it went on from a checkpoint
    compare_models(again, alone)
