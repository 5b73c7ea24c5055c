import io
import re
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from support.learners import line_batches, line_learner
from torch import nn
from torch.nn import functional as F
from torte.learner import Callback, CSVLogger, Learner, ProgressCallback, ShowGraphCallback
from torte.learner.callbacks import displays
from torte.learner.callbacks.displays import (
    LineDisplay,
    NotebookDisplay,
    TerminalDisplay,
    choose_display,
    format_value,
)
from torte.learner.loss_log import LateValue


def learner(kind="lines", batches=5, **kwargs):
    torch.manual_seed(0)
    dls = (line_batches(batches), line_batches(2, seed=2))
    learn = Learner(dls, nn.Linear(1, 1), loss_func=F.mse_loss, lr=0.05, **kwargs)
    learn.progress.kind = kind
    return learn


def test_a_log_gets_one_line_an_epoch_and_nothing_else(capsys):
    learn = learner(metrics=F.l1_loss)
    learn.fit(2)
    learn.validate()
    learn.get_preds()
    learn.lr_find(show_plot=False)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert len(lines) == 3
    assert lines[0].split() == ["epoch", "train_loss", "valid_loss", "l1_loss", "time"]
    for line, row in zip(lines[1:], learn.recorder.values, strict=True):
        assert [float(cell) for cell in line.split()[1:4]] == pytest.approx(row, abs=1e-6)
    assert len({len(line) for line in lines}) == 1


def test_where_the_output_goes_is_found_out(monkeypatch):
    assert isinstance(choose_display(), LineDisplay)
    monkeypatch.setattr(
        sys, "stdout", SimpleNamespace(isatty=lambda: True, write=lambda text: None)
    )
    assert isinstance(choose_display(), TerminalDisplay)
    assert choose_display("off") is None
    with pytest.raises(ValueError, match=r"progress must be one of .* got 'loud'"):
        choose_display("loud")


@pytest.mark.parametrize("quiet", ["no_bar", "no_logging", "no_mbar"])
def test_silence(capsys, quiet):
    learn = learner()
    with getattr(learn, quiet)():
        learn.fit(1)
    out = capsys.readouterr().out
    if quiet == "no_bar":
        assert out.startswith("[0, ")
        with learn.no_bar(), learn.no_logging():
            learn.fit(1)
        assert capsys.readouterr().out == ""
    elif quiet == "no_logging":
        assert out == ""
    learn.fit(1)
    assert len(capsys.readouterr().out.splitlines()) == 2
    learn.progress.kind = "off"
    learn.logger = lambda row: None
    learn.fit(1)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("error", [ArithmeticError, KeyboardInterrupt])
def test_a_failed_fit_gives_the_logger_back(capsys, error):
    def fail(self):
        raise error

    learn = learner()
    logger = learn.logger
    with pytest.raises(error):
        learn.fit(1, cbs=Callback(after_batch=fail))
    assert learn.logger is logger
    assert learn.progress.display is None
    capsys.readouterr()
    learn.fit(1)
    assert len(capsys.readouterr().out.splitlines()) == 2


def terminal(monkeypatch, width=100):
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, color_system=None)
    display = TerminalDisplay(console)
    monkeypatch.setattr("torte.learner.callbacks.progress.choose_display", lambda kind: display)
    return display, out


def test_a_terminal_gets_a_bar_and_rows_above_it(monkeypatch):
    monkeypatch.setattr(displays, "SECONDS_BETWEEN_UPDATES", 0.0)
    _, out = terminal(monkeypatch)
    learn = learner()
    learn.fit(2)
    text = out.getvalue()
    assert "epoch 1/2 train" in text
    assert "5/5" in text
    assert "epoch 2/2 valid" in text
    assert f"loss {learn.recorder.losses[0]:.4f}" in text
    bare = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")
    rows = [line.split() for line in bare.splitlines() if line.strip()[:2] in ("0 ", "1 ")]
    assert [row[0] for row in rows] == ["0", "1"]
    shown = len(text)
    learn.get_preds()
    assert "epoch" not in out.getvalue()[shown:]


def test_bars_are_drawn_at_most_ten_times_a_second(monkeypatch):
    display, _ = terminal(monkeypatch)
    drawn = []
    monkeypatch.setattr(display, "_bar", lambda *args: drawn.append(args) or "")
    clock = [0.0]
    monkeypatch.setattr(displays.time, "monotonic", lambda: clock[0])

    def tick(self):
        clock[0] += 0.03

    learner(batches=100).fit(1, cbs=Callback(after_batch=tick))
    assert 20 <= len(drawn) <= 102 * 0.03 / 0.1 + 2


def test_unknown_lengths_and_narrow_terminals(monkeypatch):
    monkeypatch.setattr(displays, "SECONDS_BETWEEN_UPDATES", 0.0)
    _, out = terminal(monkeypatch, width=40)

    class Stream:
        def __iter__(self):
            return iter(line_batches(4))

    learn = line_learner(dls=(Stream(), Stream()))
    learn.add_cb(ProgressCallback)
    learn.logger = print
    learn.fit(1)
    assert "epoch 1/1 train" in out.getvalue()


def test_a_notebook_gets_one_table_updated_in_place(monkeypatch):
    shown, updates = [], []

    class Handle:
        def update(self, page):
            updates.append(page)

    def display(page, display_id):
        shown.append(page)
        return Handle()

    module = ModuleType("IPython.display")
    module.display, module.HTML = display, lambda text: text
    package = ModuleType("IPython")
    package.display = module
    package.get_ipython = lambda: type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(displays, "SECONDS_BETWEEN_UPDATES", 0.0)
    assert isinstance(choose_display(), NotebookDisplay)
    learn = learner("auto", metrics=F.l1_loss)
    learn.fit(2)
    assert len(shown) == 1
    assert any("<progress value=" in page for page in updates)
    final = updates[-1]
    assert "progress" not in final
    assert final.count("<tr>") == 3
    assert f"<td>{learn.recorder.values[1][0]:.6f}</td>" in final


def test_html_is_escaped():
    display = NotebookDisplay()
    display._names, display._rows = ["<b>"], [["a&b"]]
    assert "&lt;b&gt;" in display.table_html()
    assert "a&amp;b" in display.table_html()


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (1.5, "1.500000"), (3, "3"), ("00:01", "00:01")]
)
def test_cells(value, text):
    assert format_value(value) == text


def test_late_values_on_the_cpu_are_there_at_once():
    late = LateValue()
    assert late.offer(None) is None
    assert late.offer(torch.tensor(2.5)) == 2.5
    assert late.offer(None) == 2.5


# -- files and graphs ---------------------------------------------------------------------------


def test_csv_logger(tmp_path, capsys):
    learn = learner(path=tmp_path, cbs=CSVLogger(), metrics=F.l1_loss)
    learn.fit(2)
    learn.validate()
    learn.get_preds()
    learn.lr_find(show_plot=False)
    log = learn.csv_logger.read_log()
    assert list(log.columns) == list(learn.recorder.metric_names)
    for name, column in zip(
        log.columns[1:4], zip(*learn.recorder.values, strict=True), strict=True
    ):
        assert list(log[name]) == list(column)  # to the last digit
    assert len(capsys.readouterr().out.splitlines()) == 3
    learn.csv_logger.append = True
    learn.fit(1)
    assert len(learn.csv_logger.read_log()) == 3
    learn.csv_logger.append = False
    learn.fit(1)
    assert len(learn.csv_logger.read_log()) == 1


def test_csv_of_a_fit_that_fails_holds_what_was_done(tmp_path):
    def fail(self):
        if self.epoch == 1:
            raise KeyboardInterrupt

    learn = learner("off", path=tmp_path, cbs=CSVLogger("log/rows.csv"))
    learn.logger = lambda row: None
    with pytest.raises(KeyboardInterrupt):
        learn.fit(3, cbs=Callback(before_train=fail))
    assert learn.csv_logger._file is None
    assert (tmp_path / "log/rows.csv").read_text().count("\n") == 2


def test_show_graph():
    learn = line_learner(ShowGraphCallback())
    learn.fit(3)
    axes = learn.show_graph.axes
    train, valid = axes.get_lines()
    assert list(train.get_ydata()) == learn.recorder.losses
    assert len(valid.get_ydata()) == 3
    assert axes.get_xlim() == (0, 15)
