"""What torte.data adds to an item: `TfmdDL` beside a plain loop of the same functions.

The budget is 15 µs an item. Both sides read a path, look its label up and make two tensors; both
put 64 items together with `torch.stack`.
"""

from pathlib import Path
from typing import Any

import torch
from common import measure, print_table
from torte.data.categories import Categorize
from torte.data.datasets import Datasets
from torte.data.labellers import parent_label
from torte.data.tfmd_loader import TfmdDL
from torte.dispatch import noop

COUNT, BATCH = 640, 64
BUDGET = 15e-6


def pixels(path: Path) -> torch.Tensor:
    """A small tensor that depends on the path."""
    return torch.full((4,), float(len(path.name)))


def main() -> None:
    """Print the time an item takes with and without torte, and the difference."""
    paths = [Path(f"/data/class_{i % 10}/image_{i}.jpg") for i in range(COUNT)]
    categorize = Categorize()
    categorize.setup([f"class_{i}" for i in range(10)])
    dsets = Datasets(paths, [[pixels], [parent_label, categorize]], do_setup=False)
    loader = TfmdDL(dsets, bs=BATCH, num_workers=0, device="cpu")
    empty = Datasets(paths, [[noop]], do_setup=False)

    def plain_loop() -> list[Any]:
        batches = []
        for start in range(0, COUNT, BATCH):
            chunk = paths[start : start + BATCH]
            items = [(pixels(path), categorize(parent_label(path))) for path in chunk]
            batches.append((torch.stack([x for x, _ in items]), torch.stack([y for _, y in items])))
        return batches

    timings = measure(
        {
            "plain loop": plain_loop,
            "Datasets": lambda: [dsets[i] for i in range(COUNT)],
            "TfmdDL": lambda: list(loader),
            "Datasets that does nothing": lambda: [empty[i] for i in range(COUNT)],
        },
        rounds=40,
        seconds=0.02,
    )
    print_table("a pass of 640 items", timings, "plain loop")
    added = (timings["TfmdDL"].fastest - timings["plain loop"].fastest) / COUNT
    print(f"TfmdDL adds {added * 1e6:.1f} µs an item; the budget is {BUDGET * 1e6:.0f}")  # noqa: T201


if __name__ == "__main__":
    main()
