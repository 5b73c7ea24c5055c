"""Several real processes of one test, forked from it so that torch is imported once."""

import os
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing

SECONDS = 120


def run_processes(world: int, folder: Path, *jobs: Callable[..., Any]) -> None:
    """Run `job(rank, world, folder)` of each job, one after another, in `world` processes.

    Each job gets a folder of its own. The first failure of a process is raised, with its traceback.
    """
    handle, rendezvous = tempfile.mkstemp(dir=folder)
    os.close(handle)
    Path(rendezvous).unlink()
    context = torch.multiprocessing.start_processes(
        _process, (world, rendezvous, str(folder), jobs), world, join=False, start_method="fork"
    )
    assert context is not None
    while not context.join(timeout=SECONDS):
        pass


def _process(rank: int, world: int, rendezvous: str, folder: str, jobs: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{rendezvous}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=SECONDS),
    )
    for job in jobs:
        own = Path(folder) / job.__name__
        own.mkdir(exist_ok=True)
        torch.manual_seed(0)
        try:
            job(rank, world, own)
        except BaseException as error:
            error.add_note(f"in process {rank} of {world}, {job.__name__}")
            traceback.print_exc()
            raise
        dist.barrier()
    dist.destroy_process_group()
