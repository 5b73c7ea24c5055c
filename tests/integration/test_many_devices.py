"""torchrun starts real groups of processes, of which one, or a whole agent, is killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.elastic_training import RESULT, train
from support.layers import ROOT
from torte.learner.packing import read_file

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "tests/support/elastic_training.py"


def torchrun(folder: Path, *options: str, victim: tuple[str, ...] = ()) -> list[str]:
    """The command that trains in processes of torchrun."""
    own = [str(SCRIPT), str(folder), *victim]
    return [sys.executable, "-m", "torch.distributed.run", *options, *own]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "tests")}


def result(folder: Path) -> dict:
    return read_file(folder / RESULT, "test")


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict:
    """The same training in this process, never interrupted."""
    folder = tmp_path_factory.mktemp("alone")
    train(folder)
    return result(folder)


def assert_same(found: dict, expected: dict) -> None:
    """As close as sums of float64 in another order are."""
    for name, value in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], value, rtol=1e-8, atol=1e-10)
    # A record shows losses in float32's precision at least.
    torch.testing.assert_close(
        torch.tensor(found["rows"]), torch.tensor(expected["rows"]), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("victim", "after"), [(1, 10), (0, 21)])
def test_a_killed_rank_starts_the_group_again(victim, after, tmp_path, alone):
    command = torchrun(
        tmp_path, "--standalone", "--nproc-per-node=2", "--max-restarts=2",
        victim=("--victim", str(victim), "--after", str(after)),
    )  # fmt: skip
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "killed").exists()
    assert_same(result(tmp_path), alone)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_lost_machine_leaves_a_smaller_group_that_goes_on(tmp_path, alone):
    """Two agents stand for two machines; the one that does not host the rendezvous dies."""
    endpoint = f"127.0.0.1:{free_port()}"
    options = (
        "--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3", "--rdzv-backend=c10d",
        f"--rdzv-endpoint={endpoint}", "--rdzv-id=test", "--local-addr=127.0.0.1",
        "--rdzv-conf=last_call_timeout=2,keep_alive_interval=1,keep_alive_max_attempt=2",
    )  # fmt: skip
    victim = ("--victim", "1", "--after", "10", "--agent")
    agents = []
    try:
        for number in range(2):
            log = (tmp_path / f"agent{number}.log").open("w")
            command = torchrun(tmp_path, *options, victim=victim)
            agents.append(subprocess.Popen(command, env=environment(), stdout=log, stderr=log))
            log.close()
            time.sleep(0.5)  # the first one hosts the rendezvous
        ends = [agent.wait(timeout=300) for agent in agents]
    finally:
        for agent in agents:
            if agent.poll() is None:
                agent.kill()
    told = "\n".join((tmp_path / f"agent{number}.log").read_text() for number in range(2))
    assert (tmp_path / "killed").exists(), told
    assert sorted(ends) == [-signal.SIGKILL, 0], told
    assert_same(result(tmp_path), alone)


def test_the_same_function_under_ray(tmp_path):
    """A real local cluster of two workers; Ray's own deprecations are no errors of ours."""
    pytest.importorskip("ray")
    command = [sys.executable, str(ROOT / "examples/ray_train.py"), "--quick"]
    own = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "TORTE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        command, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "with 2 workers" in done.stdout
    assert (tmp_path / "outputs/garments.safetensors").exists()
