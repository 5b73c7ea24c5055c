"""Training in two and four real processes equals training in one, with the same global batch."""

import pytest
from support import distributed_learners as jobs
from support.processes import run_processes

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("world", [2, 4])
def test_processes_agree_with_one(world, tmp_path):
    run_processes(
        world,
        tmp_path,
        jobs.training,
        jobs.training_metrics_and_sums,
        jobs.accumulation_and_clipping,
        jobs.reductions,
        jobs.freezing,
        jobs.batchnorm,
        jobs.layouts,
        jobs.starting_apart,
        jobs.tiny_validation,
    )


@pytest.mark.parametrize("world", [2, 4])
def test_what_is_around_a_fit(world, tmp_path):
    run_processes(
        world,
        tmp_path,
        jobs.looking,
        jobs.predicting_in_one_process,
        jobs.files,
        jobs.logging,
        jobs.decisions,
        jobs.not_finite,
        jobs.bad_layers,
        jobs.out_of_memory,
        jobs.fastai_names,
    )


def test_sharded_files_are_read_by_another_number_of_processes(tmp_path):
    run_processes(4, tmp_path, jobs.sharded_files)
    run_processes(2, tmp_path, jobs.reading_shards, jobs.damaged_shards)
    learn = jobs.learner(folder=tmp_path / "sharded_files" / "fsdp2", opt_func=jobs.Larc)
    learn.load("shards")
    expected = jobs.learner(folder=learn.path, opt_func=jobs.Larc)
    expected.load("whole")
    jobs.cycle(learn)
    jobs.cycle(expected)
    jobs.compare(learn, expected)


@pytest.mark.parametrize(("begun_by", "ended_by"), [(2, 1), (1, 2), (2, 2)])
def test_checkpoints_are_taken_up_by_another_number_of_processes(begun_by, ended_by, tmp_path):
    run_processes(begun_by, tmp_path, jobs.checkpoints_begun)
    run_processes(ended_by, tmp_path, jobs.checkpoints_ended)


def test_checkpoints_of_shards_and_signals(tmp_path):
    run_processes(2, tmp_path, jobs.sharded_checkpoints, jobs.one_is_told_to_end)
