"""The README's first command, as a newcomer runs it: a real process on the real sample."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

QUICKSTART = Path(__file__).resolve().parents[2] / "examples/quickstart.py"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_quickstart_trains_shows_exports_and_predicts(tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TORTE_HOME": str(tmp_path / "home")}
    arguments = ["--epochs", "1", "--size", "32"]
    run = subprocess.run(
        [sys.executable, "-W", "error", str(QUICKSTART), *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1700,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    noise = [line for line in run.stderr.splitlines() if "building the font cache" not in line]
    assert noise == []
    header, *rows = [line.split() for line in run.stdout.splitlines() if line.strip()]
    assert header == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    epoch, train_loss, valid_loss, accuracy, time = rows[0]
    assert epoch == "0"
    assert 0 < float(valid_loss) < 4
    assert 0 < float(train_loss) < 3
    assert float(accuracy) > 0.2
    assert re.fullmatch(r"\d\d:\d\d", time)
    assert re.search(r"^[a-z-]+ predicted as [a-z-]+, probability [01]\.\d\d$", run.stdout, re.M)
    outputs = tmp_path / "outputs"
    # A process that knows the learner layer alone can load the file.
    load = "from torte.learner import load_learner; load_learner('outputs/garments.safetensors')"
    subprocess.run([sys.executable, "-c", load], cwd=tmp_path, check=True, timeout=600)
    assert {f.name for f in outputs.iterdir()} == {
        "batch.png", "garments.safetensors", "results.png",
    }  # fmt: skip
    for name in ("batch.png", "results.png"):
        with Image.open(outputs / name) as picture:
            pixels = np.asarray(picture.convert("L"))
        assert min(pixels.shape) > 300
        assert pixels.std() > 30
