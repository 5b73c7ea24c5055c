"""`ShowGraphCallback`: training and validation losses, drawn as they come."""

import importlib
from typing import Any

from torte.learner.callback import Callback
from torte.learner.callbacks.progress import ProgressCallback

__all__ = ["ShowGraphCallback"]


class ShowGraphCallback(Callback):
    """Draw the losses after each epoch: updated in place in a notebook, at the end elsewhere.

    The axes stay at hand as `learn.show_graph.axes`.
    """

    order = 65
    run_after = ProgressCallback
    run_valid = False
    fit_only = True
    rank0_only = True

    def __init__(self) -> None:
        super().__init__()
        self.axes: Any = None
        self._handle: Any = None

    def before_fit(self) -> None:
        """Begin a drawing."""
        self.axes = self._handle = None

    def after_epoch(self) -> None:
        """Draw the curves so far."""
        recorder = self.learn.recorder
        if not recorder.iters or not recorder.iters[-1]:
            return
        if self.axes is None:
            import matplotlib.pyplot as plt

            self.axes = plt.subplots()[1]
        self.axes.clear()
        recorder.plot_loss(skip_start=0, ax=self.axes)
        batches = self.learn.n_epoch * (recorder.iters[-1] / len(recorder.iters))
        self.axes.set_xlim(0, max(batches, recorder.iters[-1]))
        self._show()

    def _show(self) -> None:
        from torte.learner.callbacks.displays import in_notebook

        if not in_notebook():
            return
        if self._handle is None:
            ipython = importlib.import_module("IPython.display")
            self._handle = ipython.display(self.axes.figure, display_id=True)
        else:
            self._handle.update(self.axes.figure)

    def after_fit(self) -> None:
        """Let pyplot forget the figure, so that many fits do not pile figures up."""
        if self.axes is not None:
            import matplotlib.pyplot as plt

            plt.close(self.axes.figure)
