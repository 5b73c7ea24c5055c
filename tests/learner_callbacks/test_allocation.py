"""Memory that a fit on the CPU frees is kept for the next batch, and given back at its end."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc keeps memory")

SCRIPT = """
import os, resource, sys
from torte.learner import Learner, defaults
import torch
from torch import nn

torch.set_num_threads(1)
defaults.keep_memory = sys.argv[1] == "keep"
x = torch.randn(25_000, 10)
batches = [(x, x[:, :1])] * 12  # how many times the heap has to grow is chance
model = nn.Sequential(nn.Linear(10, 400), nn.ReLU(), nn.Linear(400, 1))  # 40 MB a layer
learn = Learner((batches,), model, nn.MSELoss(), opt_func=torch.optim.SGD)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

with learn.no_bar(), learn.no_logging():
    learn.fit(1)
    begun, before = faults(), resident()
    learn.fit(1)
print(faults() - begun, before, resident())
"""


def run(script, *words, **environment):
    others = {name: value for name, value in os.environ.items() if not name.startswith("THP_")}
    done = subprocess.run(
        [sys.executable, "-c", script, *words], env={**others, **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_pages_are_not_asked_for_anew():
    # Without huge pages, whose number depends on the machine.
    keeping, giving_back = (
        [float(each) for each in run(SCRIPT, word, THP_MEM_ALLOC_ENABLE="0")]
        for word in ("keep", "give back")
    )
    assert giving_back[0] > 6 * 20_000  # two layers of 40 MB, in pages of 4 KiB
    assert keeping[0] < giving_back[0] / 2  # the first batch of a fit takes it
    assert keeping[2] < keeping[1] + 50  # what the fit kept is not kept after it
    assert keeping[2] < giving_back[2] + 150


def test_huge_pages_are_asked_for_unless_somebody_says_otherwise():
    script = "import torte.learner, os; print(os.environ['THP_MEM_ALLOC_ENABLE'])"
    assert run(script) == ["1"]
    assert run(script, THP_MEM_ALLOC_ENABLE="0") == ["0"]
