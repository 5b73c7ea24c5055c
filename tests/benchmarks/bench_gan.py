"""A WGAN's batch beside fastai's: the same networks, the same batches, turns of five to one.

Run with an interpreter that has fastai beside torte::

    python tests/benchmarks/bench_gan.py
"""

import importlib.util
import os
from functools import partial
from typing import Any

import torch
from common import measure, print_facts, print_table, versions
from torch import nn

HAS_FASTAI = importlib.util.find_spec("fastai") is not None
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
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    versions("torch", "fastai")
    data = batches()
    learners = {"torte": of_torte(data), **({"fastai": of_fastai(data)} if HAS_FASTAI else {})}
    sizes = {sum(p.numel() for p in learn.model.parameters()) for learn in learners.values()}
    assert len(sizes) == 1, sizes
    timings = measure(
        {name: partial(learn.fit, 1, 2e-4, wd=0) for name, learn in learners.items()},
        rounds=12,
        seconds=0.001,
    )
    title = f"WGAN, {BATCHES} batches of {BATCH}"
    print_table(title, timings, "torte", () if HAS_FASTAI else ("fastai",))
    rows = {name: [each.median * 1e3, each.spread * 1e3] for name, each in timings.items()}
    print_facts(f"{title} (ms)", ["median", "middle half"], rows)


if __name__ == "__main__":
    main()
