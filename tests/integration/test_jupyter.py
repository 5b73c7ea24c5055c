"""Life in a notebook, seen in a real browser: JupyterLab, a kernel, Chromium."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browsers import chromium, photograph

DATA = """\
from torte.vision.all import *
from torch import nn
path, adult = untar_data(URLs.FASHION_SAMPLE), untar_data(URLs.ADULT_TINY)
"""
TRAINING = """\
dls = ImageDataLoaders.from_folder(path, item_tfms=Resize(16), bs=64, seed=1, num_workers=0)
learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10)), metrics=accuracy)
learn.fit(3, 1e-3)
"""
CLEANER = """\
cleaner = ImageClassifierCleaner(learn, max_n=5)
cleaner
"""
WATCHED = """\
import threading
gate = threading.Event()
class Wait(Callback):
    def after_batch(self):
        if self.training and self.iter == 5: gate.wait(0.5)
learn.fit(1, 1e-3, cbs=Wait())
learn.validate();
"""
TABLE = """\
from torte.tabular.all import *
df = pd.read_csv(adult / "adult.csv")[:400]
kinds = {"cat_names": ["race"], "cont_names": ["age"], "y_names": "salary"}
rows = TabularDataLoaders.from_df(df, procs=[Categorify, FillMissing, Normalize], **kinds)
rows.show_batch(max_n=3)
"""
# What a cell says, how many pictures and tables come of it, and a text that is there.
LOOKS = [
    ("dls.show_batch(max_n=4)", 1, 0, ""),
    ("learn.show_results(max_n=4)", 1, 0, ""),
    ("learn.lr_find(num_it=20)", 1, 0, "SuggestedLRs"),
    ("learn.recorder.plot_loss();", 1, 0, ""),
    ("ClassificationInterpretation.from_learner(learn).plot_confusion_matrix();", 1, 0, ""),
    ("learn.summary()", 0, 1, "Linear"),
    (TABLE, 0, 1, "salary"),
]
RESULT = "print('deleted', cleaner.delete(), 'changed', cleaner.change())"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook whose cells did not run yet."""
    nbformat = pytest.importorskip("nbformat")
    sources = (DATA, TRAINING, CLEANER, RESULT, WATCHED, *(look[0] for look in LOOKS))
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    file = tmp_path / "work/notebook.ipynb"
    file.parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), file)
    return file


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server(notebook: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab of this environment, which knows no settings of the user's."""
    pytest.importorskip("jupyterlab")
    pytest.importorskip("ipywidgets")
    config = tmp_path / "config/labconfig"
    config.mkdir(parents=True)
    (config / "page_config.json").write_text(
        '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}'
    )
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(config.parent),
        "JUPYTER_DATA_DIR": str(tmp_path / "data"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "TORTE_HOME": str(tmp_path / "home"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    environment.pop("MPLBACKEND", None)  # the tests draw for nobody, a notebook for its reader
    port = _free_port()
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *("--IdentityProvider.token=", "--ServerApp.password=", "--LabApp.collaborative=False"),
        *("--LabApp.extension_manager=readonly", f"--ServerApp.root_dir={notebook.parent}"),
    ]
    address = f"http://127.0.0.1:{port}"
    with (tmp_path / "log.txt").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait_for(address, process, tmp_path / "log.txt")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(f"JupyterLab does not answer:\n{log.read_text()}")


@pytest.fixture
def page(server: str, notebook: Path) -> Iterator[Any]:
    """The notebook, open in a browser."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(60_000)
        page.goto(f"{server}/doc/tree/{notebook.name}")
        page.locator(".jp-Cell").nth(3).wait_for()
        page.get_by_text("| Idle").wait_for()  # what runs before there is a kernel is lost
        yield page
        photograph(page, "last.png")


def run_cell(page: Any, number: int) -> Any:
    """Runs a cell of the notebook as a user does, waits for its end, and returns its outputs."""
    cell = page.locator(".jp-Cell").nth(number)
    prompt = cell.locator(".jp-InputPrompt")
    before = prompt.inner_text()
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    page.wait_for_function(
        "([at, old]) => { const text = document.querySelectorAll('.jp-Cell')[at]"
        ".querySelector('.jp-InputPrompt').innerText; return /\\d/.test(text) && text != old }",
        arg=[number, before],
    )
    return cell.locator(".jp-OutputArea-child")


def check_training(page: Any) -> None:
    """One table with a row for each epoch, and nothing else."""
    outputs = run_cell(page, 1)
    table = outputs.locator("table.torte")
    table.locator("tbody tr").nth(2).wait_for()
    assert outputs.count() == 1, outputs.all_inner_texts()
    heads = table.locator("th").all_inner_texts()
    assert heads == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    rows = [row.split() for row in table.locator("tbody tr").all_inner_texts()]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert all(len(row) == 5 for row in rows)
    assert outputs.locator("progress").count() == 0


def test_training_shows_one_table_and_the_cleaner_tells_what_was_chosen(page: Any) -> None:
    run_cell(page, 0)
    check_training(page)
    photograph(page, "training.png")
    check_training(page)  # the same cell again: nothing piles up

    outputs = run_cell(page, 2)
    images = outputs.locator("img")
    images.nth(4).wait_for()
    filled = [text for text in outputs.all_inner_texts() if text.strip()]
    assert len(filled) == 1, filled  # ipywidgets adds an output without content
    assert images.count() == 5
    assert all(images.nth(at).evaluate("image => image.naturalWidth > 0") for at in range(5))
    menus = outputs.locator("select")
    assert menus.count() == 2 + 5
    for menu, choice in ((menus.nth(1), "Valid"), (menus.nth(0), "dress")):
        before = images.first.get_attribute("src")
        menu.select_option(choice)
        page.wait_for_function(
            "before => { const found = document.querySelectorAll('.jp-OutputArea img');"
            "return found.length == 5 && found[0].src != before }",
            arg=before,
        )
    menus.nth(2 + 1).select_option("<Delete>")
    menus.nth(2 + 4).select_option(index=2)
    photograph(page, "cleaner.png")

    printed = run_cell(page, 3)
    printed.first.wait_for()
    text = printed.all_inner_texts()
    name = menus.nth(0).locator("option").first.inner_text()
    assert [line.strip() for line in text] == [f"deleted [1] changed [(4, '{name}')]"]


def test_bars_come_and_go_and_what_is_looked_at_is_shown_once(page: Any) -> None:
    run_cell(page, 0)
    check_training(page)
    watch_for_bars(page)
    outputs = run_cell(page, 4)
    outputs.locator("table.torte tbody tr").first.wait_for()
    assert page.evaluate("window.bars") > 0
    assert outputs.locator("progress").count() == 0
    filled = [text for text in outputs.all_inner_texts() if text.strip()]
    assert len(filled) == 1, filled

    for number, (source, pictures, tables, text) in enumerate(LOOKS, start=5):
        outputs = run_cell(page, number)
        wanted = outputs.locator("img, table") if pictures + tables else outputs
        wanted.first.wait_for()
        images = outputs.locator("img")
        assert images.count() == pictures, source
        assert all(
            images.nth(at).evaluate("image => image.naturalWidth > 100") for at in range(pictures)
        ), source
        assert outputs.locator("table").count() == tables, source
        said = "\n".join(outputs.all_inner_texts()).strip()
        assert text in said if text else not said, (source, said)
        assert outputs.locator(".jp-RenderedText[data-mime-type*=stderr]").count() == 0, said
        photograph(page, f"look-{number}.png")


def watch_for_bars(page: Any) -> None:
    """Count the progress bars that come to be, however short their life."""
    page.evaluate(
        "() => { window.bars = 0; new MutationObserver(() => {"
        " window.bars += document.querySelectorAll('.jp-OutputArea progress').length })"
        ".observe(document.body, {subtree: true, childList: true}) }"
    )
