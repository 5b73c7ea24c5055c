"""Logging a fit with TensorBoard, Weights & Biases or MLflow, over their own libraries.

Losses and hyper-parameters of the batches are sent at the end of each epoch, together with the
metrics: reading them batch by batch would make a GPU wait each time. What the Learner only looks at
(`lr_find`, `validate`, `get_preds`) is not logged.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from torte.learner.callback import Callback
from torte.learner.hooks import Hook, hook_output
from torte.learner.layers.inspection import flatten_model
from torte.learner.model_graph import trace_model
from torte.learner.persistence import unwrapped

__all__ = ["FitLogger", "MLflowCallback", "TensorBoardCallback", "WandbCallback"]


def _load(name: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'{name} is not installed: pip install "torte-learner-callbacks[{extra}]"'
        ) from error


class FitLogger(Callback):
    """Base of callbacks that log a fit somewhere; subclasses write `log_values`.

    Steps are training batches, counted over all fits of the callback.
    """

    # After the recorder (50) and the trackers (60 to 65).
    order = 75
    remove_on_fetch = True
    fit_only = True
    rank0_only = True

    def __init__(self) -> None:
        super().__init__()
        self._done = 0
        self._sent = 0
        self._hypers: list[dict[str, Any]] = []

    def log_values(self, values: dict[str, float], step: int) -> None:
        """Log numbers by name."""
        raise NotImplementedError(f"{type(self).__name__} must write log_values(values, step)")

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        """Log a matplotlib figure; by default it is left out."""

    def before_fit(self) -> None:
        """Begin a fit.

        Raises:
            RuntimeError: The learner has no recorder.
        """
        if not hasattr(self.learn, "recorder"):
            kind = type(self).__name__
            raise RuntimeError(f"{kind} logs what the Recorder has, and there is none")
        self._sent = 0
        self._hypers = []

    @property
    def step(self) -> int:
        """How many training batches are done."""
        return self._done + self._sent

    def after_batch(self) -> None:
        """Note the hyper-parameters of a training batch that was recorded."""
        learn: Any = self.learn
        if learn.training and learn.recorder.smooth_loss.count > len(self._hypers):
            self._hypers.append(_hyper_parameters(learn.opt.param_groups[-1]))

    def after_epoch(self) -> None:
        """Send the batches' losses and hyper-parameters, then the epoch's metrics."""
        recorder: Any = self.learn.recorder
        raw, smooth = recorder.raw_losses, recorder.losses
        for i in range(self._sent, len(raw)):
            values = {"train_loss": smooth[i], "raw_loss": raw[i], **self._hypers[i]}
            self.log_values(_numbers(values), self._done + i + 1)
        self._sent = len(raw)
        names = [str(name) for name in recorder.metric_names]
        names = [name for name in names if name not in ("epoch", "time")]
        row = dict(zip(names, recorder.values[-1], strict=True))
        row.pop("train_loss", None)
        self.log_values(_numbers({"epoch": self.learn.epoch + 1, **row}), self.step)

    def log_predictions(self, count: int) -> None:
        """Log a drawing of predictions for validation data that can be shown."""
        learn: Any = self.learn
        loader = learn.loader(1)
        if not hasattr(loader, "show_results") or not learn.world.holds_all:
            return
        import matplotlib.pyplot as plt

        before = set(plt.get_fignums())
        learn.show_results(ds_idx=1, max_n=count, shuffle=False)
        for number in sorted(set(plt.get_fignums()) - before):
            figure = plt.figure(number)
            self.log_figure("predictions", figure, self.step)
            plt.close(figure)

    def state(self) -> dict[str, Any]:
        """Return how far the record was sent, and what is still to be sent of it."""
        return {"done": self._done, "sent": self._sent, "hypers": self._hypers[self._sent :]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on after what was sent."""
        self._done, self._sent = state["done"], state["sent"]
        self._hypers = [{} for _ in range(self._sent)] + list(state["hypers"])

    def after_fit(self) -> None:
        """Count the fit's batches as done."""
        self._done, self._sent = self.step, 0


def _hyper_parameters(group: dict[str, Any]) -> dict[str, float]:
    """Return a parameter group's numbers, flags left out."""
    return {
        name: value
        for name, value in group.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """Keep what is a number."""
    kept = {}
    for name, value in values.items():
        number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        if isinstance(number, (int, float)):
            kept[name] = float(number)
    return kept


class TensorBoardCallback(FitLogger):
    """Log a fit for TensorBoard (extra `tensorboard`).

    Args:
        log_dir: Where to; by default a new folder under `runs`.
        trace_model: Log the model's graph.
        log_preds: Draw predictions after each epoch, for data that can be shown.
        n_preds: How many.
        projector: Log the features of the validation data at the end of the fit.
        layer: Whose output the features are; by default the input of the last layer.
    """

    def __init__(
        self,
        log_dir: str | Path | None = None,
        trace_model: bool = True,
        log_preds: bool = True,
        n_preds: int = 9,
        projector: bool = False,
        layer: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.log_dir = log_dir
        self.trace_model = trace_model
        self.log_preds = log_preds
        self.n_preds = n_preds
        self.projector = projector
        self.layer = layer
        self.writer: Any = None
        self._hook: Hook | None = None
        self._traced = False
        self._features: list[Tensor] = []
        self._labels: list[Tensor] = []

    def before_fit(self) -> None:
        """Open the log."""
        super().before_fit()
        _load("tensorboard", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(None if self.log_dir is None else str(self.log_dir))
        self._traced = False

    def before_batch(self) -> None:
        """Log the model's graph for the first batch."""
        learn = self.learn
        if not self.trace_model or self._traced or not learn.training:
            return
        self._traced = True
        if learn.world.holds_all:
            self.writer.file_writer.add_event(_graph_event(unwrapped(learn.model), learn.xb))

    def before_validate(self) -> None:
        """Begin to collect features."""
        if self.projector:
            self._features, self._labels = [], []
            layer = self.layer or flatten_model(self.learn.model)[-1]
            at_input = self.layer is None
            self._hook = Hook(layer, lambda m, i, o: i[0]) if at_input else hook_output(layer)

    def after_pred(self) -> None:
        """Collect the batch's features."""
        learn = self.learn
        if self._hook is not None and not learn.training and self._hook.stored is not None:
            self._features.append(self._hook.stored.flatten(1).cpu())
            self._labels.extend(target.cpu() for target in learn.yb[:1])

    def after_validate(self) -> None:
        """Take the hook off."""
        self._unhook()

    def log_values(self, values: dict[str, float], step: int) -> None:
        """Write numbers."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        """Write a picture."""
        self.writer.add_figure(name, figure, step, close=False)

    def after_epoch(self) -> None:
        """Write the epoch, and a drawing of predictions."""
        super().after_epoch()
        if self.log_preds:
            self.log_predictions(self.n_preds)
        self.writer.flush()

    def after_fit(self) -> None:
        """Write the features and close the log."""
        if self._features:
            labels = torch.cat(self._labels).reshape(-1).tolist() if self._labels else None
            features = torch.cat(self._features)
            fits = labels is not None and len(labels) == len(features)
            metadata = [self._class_name(label) for label in labels or ()] if fits else None
            self.writer.add_embedding(features, metadata=metadata, global_step=self.step)
        super().after_fit()
        self._close()

    def _class_name(self, label: Any) -> str:
        vocab = getattr(self.learn.dls, "vocab", None)
        return str(label if vocab is None or not isinstance(label, int) else vocab[label])

    def clean_up(self) -> None:
        """Close the log after an exception too."""
        self._unhook()
        self._close()

    def _unhook(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


class WandbCallback(FitLogger):
    """Log a fit to the present run of Weights & Biases (extra `wandb`); call `wandb.init` first.

    `wandb.init(mode="offline")` keeps everything in a folder.

    Args:
        log: What `wandb.watch` is to log of the model: "gradients", "parameters", "all", or `None`.
        log_preds: Draw predictions at the end of the fit, for data that can be shown.
        log_preds_every_epoch: Draw them after each epoch.
        log_model: Keep the model's file, as `SaveModelCallback` or this callback saves it, as an
            artifact.
        model_name: Name of that file and artifact.
        n_preds: How many predictions to draw.
    """

    def __init__(
        self,
        log: str | None = None,
        log_preds: bool = True,
        log_preds_every_epoch: bool = False,
        log_model: bool = False,
        model_name: str | None = None,
        n_preds: int = 36,
    ) -> None:
        super().__init__()
        self.log = log
        self.log_preds = log_preds
        self.log_preds_every_epoch = log_preds_every_epoch
        self.log_model = log_model
        self.model_name = model_name
        self.n_preds = n_preds
        self._run: Any = None
        self._wandb: Any = None

    def before_fit(self) -> None:
        """Find the run.

        Raises:
            RuntimeError: There is none.
        """
        super().before_fit()
        self._wandb = _load("wandb", "wandb")
        self._run = self._wandb.run
        if self._run is None:
            raise RuntimeError("there is no run to log to: call wandb.init() before the fit")
        self._run.config.update(_settings(self.learn), allow_val_change=True)
        if self.log is not None:
            self._run.watch(self.learn.model, log=self.log)

    def log_values(self, values: dict[str, float], step: int) -> None:
        """Log numbers."""
        self._run.log(values, step=step)

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        """Log a picture."""
        self._run.log({name: self._wandb.Image(figure)}, step=step)

    def after_epoch(self) -> None:
        """Log the epoch, and a drawing of predictions if each epoch is to have one."""
        super().after_epoch()
        if self.log_preds and self.log_preds_every_epoch:
            self.log_predictions(self.n_preds)

    def after_fit(self) -> None:
        """Log a drawing of predictions and the model."""
        if self.log_preds and not self.log_preds_every_epoch:
            self.log_predictions(self.n_preds)
        if self.log_model:
            path = _saved_model(self.learn, self.model_name or "model")
            name = self.model_name or f"run-{self._run.id}-model"
            artifact = self._wandb.Artifact(name=name, type="model", metadata=_settings(self.learn))
            artifact.add_file(str(path))
            self._run.log_artifact(artifact)
        super().after_fit()

    def clean_up(self) -> None:
        """Take hooks off the model."""
        if self.log is not None and self._run is not None:
            self._run.unwatch(self.learn.model)
        self._run = None


class MLflowCallback(FitLogger):
    """Log a fit to MLflow (extra `mlflow`): to the active run, or to one that it starts and ends.

    Args:
        run_name: Name of the run that is started.
        log_model: Keep the model's file as an artifact.
        model_name: Name of that file.
    """

    def __init__(
        self, run_name: str | None = None, log_model: bool = False, model_name: str = "model"
    ) -> None:
        super().__init__()
        self.name = "mlflow"
        self.run_name = run_name
        self.log_model = log_model
        self.model_name = model_name
        self.run_id: str | None = None
        self._mlflow: Any = None
        self._started = False

    def before_fit(self) -> None:
        """Find or start the run, and log how the fit was set up."""
        super().before_fit()
        self._mlflow = _load("mlflow", "mlflow")
        active = self._mlflow.active_run()
        self._started = active is None
        if active is None:
            active = self._mlflow.start_run(run_name=self.run_name)
        self.run_id = active.info.run_id
        if self._done == 0:
            self._mlflow.log_params(_settings(self.learn))

    def log_values(self, values: dict[str, float], step: int) -> None:
        """Log numbers."""
        self._mlflow.log_metrics(values, step=step)

    def log_figure(self, name: str, figure: Any, step: int) -> None:
        """Keep a picture as an artifact."""
        self._mlflow.log_figure(figure, f"{name}_{step}.png")

    def after_fit(self) -> None:
        """Log the model and end the run if it was started here."""
        if self.log_model:
            self._mlflow.log_artifact(str(_saved_model(self.learn, self.model_name)))
        super().after_fit()
        self._end("FINISHED")

    def clean_up(self) -> None:
        """End the run as failed if the fit did not come to its end."""
        self._end("FAILED")

    def _end(self, status: str) -> None:
        if self._started:
            self._started = False
            self._mlflow.end_run(status)


def _graph_event(model: nn.Module, xb: tuple[Any, ...]) -> Any:
    """Return a model's graph as TensorBoard reads it, found without `torch.jit.trace`."""
    protos = "tensorboard.compat.proto"
    graph_event = _load(f"{protos}.event_pb2", "tensorboard").Event
    definition = _load(f"{protos}.graph_pb2", "tensorboard").GraphDef
    node_definition = _load(f"{protos}.node_def_pb2", "tensorboard").NodeDef
    graph = trace_model(model, *xb)
    # Slashes make the nested scopes that TensorBoard folds; numbers tell repeated calls apart.
    names = {n.number: f"{n.name.replace('.', '/')}/{n.kind}_{n.number}" for n in graph.nodes}
    nodes = [
        node_definition(
            name=names[node.number],
            op=node.kind if node.kind != "function" else node.name,
            input=[names[start] for start, end in graph.edges if end == node.number],
        )
        for node in graph.nodes
    ]
    return graph_event(graph_def=definition(node=nodes).SerializeToString())


def _settings(learn: Any) -> dict[str, Any]:
    """Return how the fit is set up, by name."""
    batch_size = getattr(learn.dls.train, "bs", None)
    optimizer = getattr(learn.opt_func, "__name__", None) or repr(learn.opt_func)
    loss = getattr(learn.loss_func, "__name__", None) or repr(learn.loss_func)
    return {
        "model": type(learn.model).__name__,
        "parameters": sum(p.numel() for p in learn.model.parameters()),
        "optimizer": optimizer,
        "loss_func": loss,
        "batch_size": batch_size,
        "n_epoch": learn.n_epoch,
        "callbacks": ", ".join(map(repr, learn.cbs)),
    }


def _saved_model(learn: Any, name: str) -> Path:
    """Return the file of the model: the best that was saved in the fit, or one saved now."""
    saver = getattr(learn, "save_model", None)
    path = getattr(saver, "last_saved_path", None)
    if path is not None:
        return Path(path)
    if not learn.world.holds_all:
        raise RuntimeError(
            "the model is sharded over processes, and only the first of them logs: add"
            " SaveModelCallback, whose file can then be logged"
        )
    return Path(learn.save(name, with_opt=False))
