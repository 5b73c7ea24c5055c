"""Recommendations for all users in less memory than their scores would take."""

import os
import subprocess
import sys

import pytest

LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np, pandas as pd, torch
from torte.collab.all import *

def data_mib():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmData:")[1].split()[0]) / 1024

torch.set_num_threads(1)
n_users, n_items, headroom = 6_000, 60_000, 128
places = np.arange(n_items)
df = pd.DataFrame({"user": places % n_users, "item": places, "rating": places % 5 + 1.0})
dls = CollabDataLoaders.from_df(df, valid_pct=0.0, bs=1024)
learn = collab_learner(dls, n_factors=8, y_range=(0.5, 5.5))
learn.recommend([0], k=10)              # whatever is made only once is there now
limit = int((data_mib() + headroom) * 2**20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    learn.model.user_table()[0] @ learn.model.item_table()[0].T
    sys.exit("the limit does not hold")
except RuntimeError:
    pass
lists = learn.recommend(k=10)
found = learn.evaluate_ranking(k=10, ds_idx=0, exclude_seen=False)
print(len(lists["item"]), found["n_users"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of data is Linux's")
def test_lists_of_all_users_in_a_tenth_of_the_memory_of_the_scores() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["60000", "6000"]
