"""What cells leave behind in a notebook that has no data yet: nothing on the error stream."""

import hashlib
import io
import os
import random
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.web_server import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SAMPLE = """\
from torte.vision.all import *
path = untar_data(URLs.FASHION_SAMPLE)
"""
TRAINING = """\
dls = ImageDataLoaders.from_folder(path, item_tfms=Resize(16), bs=64, seed=1, num_workers=2)
learn = vision_learner(dls, xresnet18, pretrained=False, metrics=accuracy)
learn.fit_one_cycle(1, 1e-3)
"""
LOOKING = """\
learn.lr_find(num_it=5)
learn.show_results(max_n=2)
load_learner(learn.export("here.safetensors")).predict(get_image_files(path)[0])
"""
TABLE = """\
from torte.tabular.all import *
rows = TabularDataLoaders.from_csv(
    untar_data(URLs.ADULT_TINY) / "adult.csv",
    cat_names=["race"], cont_names=["age"], y_names="salary", procs=[Categorify, Normalize],
)
tabular_learner(rows, layers=[8], metrics=accuracy).fit(1)
"""


def an_archive() -> bytes:
    """A file that comes in several pieces."""
    noise = random.Random(0).randbytes(400_000)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("things/noise.bin")
        info.size = len(noise)
        archive.addfile(info, io.BytesIO(noise))
    return buffer.getvalue()


def run(cells: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """The outputs of each cell, run by a kernel of this environment in an empty home."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "TORTE_HOME"):
        monkeypatch.setenv(name, str(folder / name.lower()))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return [cell.outputs for cell in notebook.cells]


def test_first_cells_of_a_new_machine_write_nothing_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = run([SAMPLE, TRAINING, LOOKING, TABLE], tmp_path, monkeypatch)
    streams = [out for cell in outputs for out in cell if out.output_type == "stream"]
    assert [out.text for out in streams if out.name == "stderr"] == []
    assert outputs[0] == []  # a sample is there at once: no bar


def test_a_download_shows_a_bar_that_goes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = an_archive()
    digest = hashlib.sha256(content).hexdigest()
    with serving({"/things.tgz": content}, pause=0.03) as site:
        cell = (
            "from torte.data.all import untar_data\n"
            f"path = untar_data('{site.url}/things.tgz', sha256='{digest}')\n"
            "print(sorted(file.name for file in path.iterdir()))"
        )
        (outputs,) = run([cell], tmp_path, monkeypatch)
    assert [out.name for out in outputs if out.output_type == "stream"] == ["stdout"]
    (bar,) = [out for out in outputs if out.output_type == "display_data"]
    assert bar.data["text/html"] == ""
