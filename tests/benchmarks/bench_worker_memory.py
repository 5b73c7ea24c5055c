"""Memory of loader workers over three epochs of an index of a million files.

    uv run python tests/benchmarks/bench_worker_memory.py

Python objects that a forked worker touches are copied page by page, because reading one writes its
reference count: with a list of a million paths a worker's own memory grows epoch after epoch (the
complaint that PyTorch's users know as issue 13246). torte holds the index as arrays. The row beside
it is PyTorch's own loader over the same paths in a list.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import Dataset
from torte.data import Datasets, TfmdDL, parent_label

ITEMS, BATCH, WORKERS, EPOCHS = 1_000_000, 500, 2, 3


def own_memory(_: Any = None) -> torch.Tensor:
    """MiB that belong to this process alone."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    private = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
    return torch.tensor([sum(private) / 1024])


class Measured:
    """A label's length, and for one item in 20,000 the memory of the process that makes it."""

    def __init__(self) -> None:
        self.count, self.last = 0, torch.zeros(1)

    def __call__(self, path: Any) -> torch.Tensor:
        """The memory that this worker used when it was last measured."""
        self.count += 1
        if self.count % 20_000 == 1:
            self.last = own_memory()
        return self.last


class ListOfPaths(Dataset):
    """What most code does: a Python list of paths."""

    def __init__(self, paths: list[str]) -> None:
        self.paths, self.measure = paths, Measured()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        path = self.paths[i]
        return self.measure(path), len(Path(path).parent.name)


def label_length(path: Any) -> int:
    """How many letters the label of a path has."""
    return len(parent_label(path))


def peaks(loader: Iterable[Any]) -> list[float]:
    """The most that any worker owned, for each epoch, in MiB."""
    return [max(batch[0].max().item() for batch in loader) for _ in range(EPOCHS)]


def main() -> None:
    """Print the peaks of both loaders."""
    paths = [f"data/class_{i % 1000:03}/image_{i:07}.jpg" for i in range(ITEMS)]
    dsets = Datasets(paths, [[Measured()], [label_length]], do_setup=False)
    torte = TfmdDL(
        dsets, bs=BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True, device="cpu"
    )
    torch_loader = TorchLoader(
        ListOfPaths(paths), BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True
    )
    print(f"{ITEMS:,} files, {WORKERS} forked workers, MiB owned by the largest worker")  # noqa: T201
    for name, loader in {"torte": torte, "PyTorch over a list": torch_loader}.items():
        shown = "  ".join(f"{peak:7.1f}" for peak in peaks(loader))
        print(f"{name:22} epochs 0 to {EPOCHS - 1}: {shown}", flush=True)  # noqa: T201


if __name__ == "__main__":
    if not Path("/proc/self/smaps_rollup").exists():
        raise SystemExit(f"{os.name}: this measurement reads Linux's /proc")
    main()
