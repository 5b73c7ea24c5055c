"""Embeddings cut over two real processes train as in one."""

import pytest
from support import sharded_tables as jobs
from support.processes import run_processes

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("world", [2, 3])
def test_cut_tables_train_save_and_recommend_as_whole_ones(world, tmp_path) -> None:
    of_two = (
        jobs.files_hold_whole_tables,
        jobs.chosen_tables_and_refusals,
        jobs.checkpoints_of_pieces,
        jobs.sparse_gradients_with_ddp,
    )
    run_processes(world, tmp_path, jobs.tables_of_ratings, *(of_two if world == 2 else ()))
