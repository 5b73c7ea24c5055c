"""A WGAN's batch beside fastai's: the same networks, the same batches, turns of five to one.

Run with an interpreter that has fastai beside torte::

    python tests/benchmarks/bench_gan.py
"""

from functools import partial
from typing import Any

import torch
from common import measure, print_table
from torch import nn

FEATURES, BATCH, BATCHES = 48, 64, 6


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """One round of turns: five batches for the critic, one for the generator."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(BATCH, 100, generator=generator),
            torch.rand(BATCH, 1, 32, 32, generator=generator) * 2 - 1,
        )
        for _ in range(BATCHES)
    ]


def of_torte(data: Any) -> Any:
    """A learner of torte."""
    from torte.vision.all import Adam, GANLearner, basic_critic, basic_generator

    leaky = partial(nn.LeakyReLU, negative_slope=0.2)
    learn = GANLearner.wgan(
        data,
        basic_generator(32, 1, n_features=FEATURES, n_extra_layers=1),
        basic_critic(32, 1, n_features=FEATURES, n_extra_layers=1, act_cls=leaky),
        opt_func=partial(Adam, mom=0.0),
    )
    learn.remove_cb(learn.progress)
    learn.logger = lambda row: None
    return learn


def of_fastai(data: Any) -> Any:
    """A learner of fastai."""
    from fastai.data.core import DataLoaders
    from fastai.optimizer import Adam
    from fastai.vision.gan import GANLearner, basic_critic, basic_generator

    leaky = partial(nn.LeakyReLU, negative_slope=0.2)
    loader = torch.utils.data.DataLoader(data, batch_size=None)
    learn = GANLearner.wgan(
        DataLoaders(loader, []),
        basic_generator(32, 1, n_features=FEATURES, n_extra_layers=1),
        basic_critic(32, 1, n_features=FEATURES, n_extra_layers=1, act_cls=leaky),
        opt_func=partial(Adam, mom=0.0),
        show_img=False,
    )
    learn.remove_cb(learn.progress)
    learn.logger = lambda row: None
    return learn


def main() -> None:
    """Print the time of an epoch of six batches for both, and the ratio."""
    data = batches()
    ours, theirs = of_torte(data), of_fastai(data)
    sizes = [sum(p.numel() for p in learn.model.parameters()) for learn in (ours, theirs)]
    assert sizes[0] == sizes[1], sizes
    timings = measure(
        {
            "fastai": lambda: theirs.fit(1, 2e-4, wd=0),
            "torte": lambda: ours.fit(1, 2e-4, wd=0),
        },
        rounds=12,
        seconds=0.001,
    )
    print_table(f"WGAN, {BATCHES} batches of {BATCH}", timings, "fastai")


if __name__ == "__main__":
    main()
