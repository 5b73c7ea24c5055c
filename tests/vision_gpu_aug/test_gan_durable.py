"""GANs in several processes, and taken up from a checkpoint at any batch."""

import pytest
import torch
from support.processes import run_processes
from torch import Tensor
from torch.utils.data import Dataset
from torte.vision.all import (
    Adam,
    Callback,
    CheckpointCallback,
    DataLoaders,
    FixedGANSwitcher,
    GANDiscriminativeLR,
    GANLearner,
    TfmdDL,
    basic_critic,
    basic_generator,
)

EPOCHS = 2
BATCHES = 4


class Pairs(Dataset):
    """Noise and images in float64."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(1)
        self.noise = torch.randn(count, 5, generator=generator, dtype=torch.float64)
        self.images = torch.rand(count, 1, 8, 8, generator=generator, dtype=torch.float64) * 2 - 1

    def __len__(self) -> int:
        return len(self.noise)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.noise[index], self.images[index]


def wgan(cbs=(), path="."):
    """Batches of 8, 8, 8 and 2; turns of 2 and 1."""
    torch.manual_seed(0)
    generator = basic_generator(8, 1, in_sz=5, n_features=4, norm_type=None).double()
    critic = basic_critic(8, 1, n_features=4, norm_type=None).double()
    dls = DataLoaders(TfmdDL(Pairs(26), bs=8, shuffle=True, seed=3), TfmdDL(Pairs(6), bs=4))
    learn = GANLearner.wgan(
        dls,
        generator,
        critic,
        switcher=FixedGANSwitcher(2, 1),
        opt_func=Adam,
        lr=1e-2,
        cbs=[GANDiscriminativeLR(3.0), *cbs],
        path=path,
    )
    learn.logger = quiet
    learn.remove_cb(learn.progress)
    return learn


def quiet(row):
    """Logs nothing."""


class Killed(Exception):
    pass


class KillAfter(Callback):
    """Ends the fit after a training batch, as if the process were gone."""

    order = 99
    run_valid = False

    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def after_batch(self):
        if self.learn.train_iter == self.batch:
            raise Killed


@pytest.mark.parametrize("batch", range(1, EPOCHS * BATCHES + 1))
def test_a_gan_goes_on_to_the_bit_from_any_batch(batch, tmp_path):
    expected = wgan(path=tmp_path / "whole")
    expected.fit(EPOCHS)
    killed = wgan([CheckpointCallback(every=1), KillAfter(batch)], tmp_path)
    with pytest.raises(Killed):
        killed.fit(EPOCHS)
    learn = wgan([CheckpointCallback(every=1)], tmp_path)
    learn.fit(EPOCHS, resume=True)
    for name, value in expected.model.state_dict().items():
        assert torch.equal(learn.model.state_dict()[name], value), name
    assert learn.recorder.raw_losses == expected.recorder.raw_losses
    assert learn.recorder.values == expected.recorder.values
    assert learn.gan_trainer.gen_mode == expected.gan_trainer.gen_mode
    for mine, theirs in (
        (learn.gan_trainer.gen_loss, expected.gan_trainer.gen_loss),
        (learn.gan_trainer.crit_loss, expected.gan_trainer.crit_loss),
    ):
        assert float(mine.value) == float(theirs.value)


def two_processes(rank, world, folder):
    alone = wgan()
    alone.fit(3)
    learn = wgan()
    with learn.distributed():
        learn.fit(3)
    close = {"rtol": 1e-9, "atol": 1e-11}
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(learn.model.state_dict()[name], value, **close)
    torch.testing.assert_close(learn.recorder.values, alone.recorder.values, **close)
    torch.testing.assert_close(learn.recorder.raw_losses, alone.recorder.raw_losses, **close)
    sharded = wgan()
    with sharded.distributed("fsdp2"), pytest.raises(ValueError, match="hold both of them"):
        sharded.fit(1)


@pytest.mark.slow
def test_two_processes_train_a_gan_as_one_does(tmp_path):
    run_processes(2, tmp_path, two_processes)
