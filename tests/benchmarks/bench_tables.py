"""Large tables of embeddings: the time of a step, and of drawing negatives, as they grow.

    python tests/benchmarks/bench_tables.py
    python tests/benchmarks/bench_tables.py --quick

One step is forward, backward and update for 2,048 rows of 64 numbers, with as many rows in the
table as the columns say. What is lazy must not grow with the table.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torte.collab import NegativeSampler
from torte.optim import Adam, RowwiseAdagrad, lazy

from common import measure, print_curves, print_facts, print_table, versions  # isort: skip - beside

Make = Callable[[Any], Any]
OPTIMIZERS: dict[str, tuple[Make, bool]] = {
    "torch Adam, fused": (lambda ps: torch.optim.Adam(ps, lr=0.01, fused=True), False),
    "torch SparseAdam": (lambda ps: torch.optim.SparseAdam(ps, lr=0.01), True),
    "torte lazy(Adam)": (lambda ps: lazy(Adam)(ps, lr=0.01), True),
    "torte RowwiseAdagrad": (lambda ps: RowwiseAdagrad(ps, lr=0.01), True),
}


def step_of(name: str, rows: int) -> Callable[[], None]:
    """Return a step of one optimizer on a table of so many rows."""
    make, sparse = OPTIMIZERS[name]
    table = nn.Embedding(rows, 64, sparse=sparse)
    opt = make(list(table.parameters()))
    codes = torch.randint(0, rows, (2048,))

    def step() -> None:
        table(codes).square().sum().backward()
        opt.step()
        opt.zero_grad()

    return step


def steps(sizes: list[int], rounds: int) -> None:
    """Print the times of steps by size, and beside each other at the largest."""
    curves: dict[str, dict[float, float]] = {name: {} for name in OPTIMIZERS}
    for size in sizes:
        found = measure({name: step_of(name, size) for name in OPTIMIZERS}, rounds)
        for name, timing in found.items():
            curves[name][size] = timing.fastest * 1e3
    print_curves("A step for 2,048 rows of a table", "rows in the table", "ms", curves)
    print_table(f"The same, table of {sizes[-1]:,} rows", found, "torch SparseAdam")


def negatives(n_pairs: int, rounds: int) -> None:
    """Print what a negative that was never seen costs beside a random number."""
    generator = torch.Generator().manual_seed(0)
    n_users, n_items = n_pairs // 25, n_pairs // 50
    users = torch.randint(0, n_users, (n_pairs,), generator=generator)
    skewed = torch.rand(n_pairs, generator=generator) ** 3
    items = 1 + (skewed * (n_items - 2)).long()
    sampler = NegativeSampler(users, items, n_users, n_items, popularity=0.5)
    asked, keys = users[:1024], torch.arange(1024)
    found = measure(
        {
            "torch.randint": lambda: torch.randint(1, n_items - 1, (1024, 20)),
            "torte NegativeSampler": lambda: sampler.draw(asked, 20, keys),
        },
        rounds,
    )
    rows = {name: [timing.fastest / 20480 * 1e9] for name, timing in found.items()}
    print_facts(f"Negatives beside {n_pairs:,} pairs, {n_items:,} items", ["ns each"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    print(versions("torch"))  # noqa: T201
    steps([1_000, 10_000] if quick else [10_000, 100_000, 1_000_000], 3 if quick else 10)
    negatives(50_000 if quick else 5_000_000, 3 if quick else 10)
