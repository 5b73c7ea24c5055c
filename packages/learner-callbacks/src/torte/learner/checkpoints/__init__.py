"""Checkpoints from which a fit goes on as if it had never been interrupted.

`torte.learner.checkpoints.store` is the page to read first: what a checkpoint is on disk, and how
the newest whole one is found. `content` gathers what is in it, `resuming` puts it back in the
middle of a fit, `writer` writes beside the training, `signals` hears that the process is to end.
The callback that ties them together is `torte.learner.callbacks.checkpoint.CheckpointCallback`.
"""

from torte.learner.checkpoints.signals import EXIT_CODE, CheckpointExit
from torte.learner.checkpoints.store import (
    Checkpoint,
    CheckpointError,
    CheckpointStore,
    DamagedCheckpointWarning,
)

__all__ = [
    "EXIT_CODE",
    "Checkpoint",
    "CheckpointError",
    "CheckpointExit",
    "CheckpointStore",
    "DamagedCheckpointWarning",
]
