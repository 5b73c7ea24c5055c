"""Loggers over the real libraries, read back from their files; skipped where one is missing."""

import sys

import pytest
import torch
from support.learners import line_batches, line_learner
from torch import nn
from torte.learner import Callback
from torte.learner.callbacks.loggers import (
    FitLogger,
    MLflowCallback,
    TensorBoardCallback,
    WandbCallback,
)
from torte.learner.callbacks.tracking import SaveModelCallback
from torte.learner.metrics import mae


class Notes(FitLogger):
    def __init__(self):
        super().__init__()
        self.notes = []

    def log_values(self, values, step):
        self.notes.append((step, values))


def test_batches_and_epochs_are_logged_by_training_batch():
    notes = Notes()
    learn = line_learner(notes, metrics=mae)
    learn.fit_one_cycle(2)
    batches = [(step, values) for step, values in notes.notes if "raw_loss" in values]
    epochs = [(step, values) for step, values in notes.notes if "valid_loss" in values]
    assert [step for step, _ in batches] == list(range(1, 11))
    assert [values["raw_loss"] for _, values in batches] == learn.recorder.raw_losses
    assert [values["train_loss"] for _, values in batches] == learn.recorder.losses
    assert [values["lr"] for _, values in batches] == learn.recorder.lrs
    assert "mom" in batches[0][1]
    assert [step for step, _ in epochs] == [5, 10]
    rows = [list(row)[1:] for row in learn.recorder.values]
    assert [[values["valid_loss"], values["mae"]] for _, values in epochs] == rows
    learn.validate()
    learn.lr_find(num_it=5, show_plot=False)
    learn.fit(1)
    assert notes.notes[-1][0] == 15
    assert len(notes.notes) == 18


def test_a_logger_needs_a_recorder_and_its_library(monkeypatch):
    learn = line_learner(Notes())
    learn.remove_cb(learn.recorder)
    with pytest.raises(RuntimeError, match="Notes logs what the Recorder has"):
        learn.fit(1)
    for name, callback in [
        ("tensorboard", TensorBoardCallback),
        ("wandb", WandbCallback),
        ("mlflow", MLflowCallback),
    ]:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=rf"pip install .*\[{name}\]"):
            line_learner(callback()).fit(1)


class Fails(Callback):
    def before_validate(self):
        raise RuntimeError("boom")


# --- TensorBoard ---------------------------------------------------------------------------------


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def test_tensorboard_gets_scalars_and_the_graph(tmp_path):
    pytest.importorskip("tensorboard")
    learn = line_learner(TensorBoardCallback(tmp_path), metrics=mae)
    before = torch.get_rng_state()
    learn.fit(2)
    assert torch.equal(torch.get_rng_state(), before)
    log = events(tmp_path)
    raw = log.Scalars("raw_loss")
    assert [event.step for event in raw] == list(range(1, 11))
    assert [event.value for event in raw] == pytest.approx(learn.recorder.raw_losses)
    assert [event.step for event in log.Scalars("mae")] == [5, 10]
    assert [(n.op, list(n.input)) for n in log.Graph().node] == [
        ("input", []),
        ("Linear", ["input/input_0"]),
    ]
    assert learn.tensor_board.writer is None


def test_tensorboard_gets_features_and_takes_its_hook_off(tmp_path):
    pytest.importorskip("tensorboard")
    model = nn.Sequential(nn.Linear(1, 4), nn.Linear(4, 1))
    learn = line_learner(TensorBoardCallback(tmp_path, projector=True), model=model)
    learn.fit(1)
    tensors = next(tmp_path.rglob("tensors.tsv")).read_text().splitlines()
    assert len(tensors) == 16
    first = [float(cell) for cell in tensors[0].split("\t")]
    expected = model[0](line_batches(2, seed=2)[0][0])[0]
    assert first == pytest.approx(expected.tolist(), rel=1e-4)
    assert all(not m._forward_hooks for m in model.modules())


def test_tensorboard_closes_after_an_exception(tmp_path):
    pytest.importorskip("tensorboard")
    learn = line_learner([TensorBoardCallback(tmp_path, projector=True), Fails()])
    with pytest.raises(RuntimeError, match="boom"):
        learn.fit(1)
    assert learn.tensor_board.writer is None
    assert all(not m._forward_hooks for m in learn.model.modules())


# --- Weights & Biases ----------------------------------------------------------------------------


def test_wandb_needs_a_run():
    wandb = pytest.importorskip("wandb")
    assert wandb.run is None
    with pytest.raises(RuntimeError, match=r"call wandb.init\(\) before the fit"):
        line_learner(WandbCallback()).fit(1)


def test_wandb_logs_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(mode="offline", dir=str(tmp_path), project="torte") as run:
        cbs = [WandbCallback(log="all", log_model=True), SaveModelCallback()]
        learn = line_learner(cbs, metrics=mae, path=tmp_path)
        learn.fit(2)
        # The summary has a step once another has begun.
        run.log({"end": 1}, step=11)
        assert run.summary["raw_loss"] == pytest.approx(learn.recorder.raw_losses[-1])
        assert run.summary["mae"] == pytest.approx(learn.recorder.values[-1][2])
        assert run.config["model"] == "Linear"
        assert not learn.model._forward_hooks
    assert list(tmp_path.rglob("*.wandb"))


# --- MLflow --------------------------------------------------------------------------------------


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"file:{tmp_path / 'mlruns'}")
    yield mlflow
    mlflow.set_tracking_uri(before)


def test_mlflow_starts_and_ends_a_run(mlflow, tmp_path):
    learn = line_learner(MLflowCallback("mine", log_model=True), metrics=mae, path=tmp_path)
    learn.fit(2)
    assert mlflow.active_run() is None
    client = mlflow.MlflowClient()
    run = client.get_run(learn.mlflow.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "mine"
    assert run.data.params["model"] == "Linear"
    history = client.get_metric_history(learn.mlflow.run_id, "raw_loss")
    assert [metric.value for metric in history] == pytest.approx(learn.recorder.raw_losses)
    assert [metric.step for metric in history] == list(range(1, 11))
    assert [file.path for file in client.list_artifacts(learn.mlflow.run_id)]


def test_mlflow_joins_a_run_and_marks_a_failed_one(mlflow):
    with mlflow.start_run() as run:
        learn = line_learner(MLflowCallback())
        learn.fit(1)
        assert learn.mlflow.run_id == run.info.run_id
        assert mlflow.active_run() is not None
    learn = line_learner([MLflowCallback(), Fails()])
    with pytest.raises(RuntimeError, match="boom"):
        learn.fit(1)
    assert mlflow.active_run() is None
    assert mlflow.MlflowClient().get_run(learn.mlflow.run_id).info.status == "FAILED"
