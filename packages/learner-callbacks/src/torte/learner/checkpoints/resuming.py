"""Going on with a fit from a checkpoint, in the middle of an epoch or between two.

The events before the point where the checkpoint was written take place as in any fit
(`before_fit`, and within an epoch `before_epoch`, `before_train` or `before_validate`); then
everything they set up is replaced by what the checkpoint has, and the loop goes on with the next
batch or epoch. A training part that was complete is not entered again.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torte.learner.checkpoints.content import restore, restore_weights
from torte.learner.checkpoints.positions import continued_pass
from torte.learner.checkpoints.randomness import restore_random_of
from torte.learner.checkpoints.store import Checkpoint, CheckpointError, CheckpointStore

__all__ = ["Resumption", "find_resumption"]


class Resumption:
    """A checkpoint on its way into a fit.

    Args:
        checkpoint: Where it was read.
        content: What is in it.
    """

    def __init__(self, checkpoint: Checkpoint, content: Mapping[str, Any]) -> None:
        self.checkpoint, self.content = checkpoint, content
        self.source = str(checkpoint.path)
        self.phase: str = content["phase"]

    def is_over(self, n_epoch: int) -> bool:
        """Whether a fit of so many epochs has nothing left to do."""
        loop = self.content["loop"]
        stopped = self.phase == "done" and loop["n_epoch"] == n_epoch
        return stopped or self.first_epoch >= n_epoch

    @property
    def first_epoch(self) -> int:
        """The epoch to go on with."""
        return self.content["loop"]["epoch"] + (self.phase in ("epoch", "done"))

    def restore_end(self, learn: Any) -> None:
        """Let the Learner be as it was at the end of a fit."""
        restore(learn, self.content, self.source)
        restore_random_of(learn.world.rank, self.content["random"])

    def check(self, learn: Any) -> None:
        """Put the weights and the optimizer's state back already, which finds out whether they fit.

        Raises:
            FileFormatError: If the checkpoint is of another model.
            StateMismatchError: If it is of another optimizer. Nothing has changed.
        """
        restore_weights(learn, self.content, self.source)

    def at_start(self, learn: Any) -> int:
        """Return the first epoch to run; if it is a new one, everything is put back."""
        if self.phase in ("epoch", "done"):
            learn._resumption = None
            self.restore_end(learn)
        return self.first_epoch

    def is_in(self, phase: str) -> bool:
        """Whether the checkpoint was written in that part of an epoch."""
        return self.phase == phase

    def batches(self, learn: Any, dl: Any) -> tuple[int, Iterator[Any]]:
        """Put everything back; return the number of the next batch, and the rest of the pass."""
        learn._resumption = None
        content = self.content
        restore(learn, content, self.source)
        done = content["loop"]["iter"] + 1
        return continued_pass(learn, dl, done, content["loaders"], content["random"])


def find_resumption(learn: Any, resume: "bool | str | Path", fit: int) -> Resumption | None:
    """Find the checkpoint to go on from: the same one in all processes.

    Args:
        learn: The Learner.
        resume: True for the newest whole one of this fit, in the folder of `CheckpointCallback`;
            or the path of a checkpoint.
        fit: Which of the Learner's fits this is.

    Returns:
        None if there is none yet.

    Raises:
        CheckpointError: If all are damaged, or the one that was named is.
        ValueError: If no callback says where they are.
    """
    world = learn.world
    store = _store(learn) if resume is True else None  # raises in all processes
    found: list[Checkpoint | None] = [None]

    def look() -> None:
        found[0] = _named(resume) if store is None else store.newest(learn.run_id, fit)

    world.first_does(look)
    checkpoint = world.gathered(found[0])[0]
    if checkpoint is None:
        return None
    content = _read_in_all(world, checkpoint)
    learn.run_id = checkpoint.facts["run"]
    return Resumption(checkpoint, content)


def _named(resume: Any) -> Checkpoint:
    path = Path(resume)
    try:
        checkpoint = Checkpoint.at(path)
        checkpoint.verify()
    except ValueError as error:
        raise CheckpointError(f"the checkpoint {path} is damaged: {error}") from error
    return checkpoint


def _store(learn: Any) -> CheckpointStore:
    for callback in learn.cbs:
        store = getattr(type(callback), "store", None)
        if store is not None:
            return callback.store
    raise ValueError(
        "resume=True needs a CheckpointCallback among the callbacks, which says where checkpoints "
        "are; or give the path of one: resume='checkpoints/checkpoint-00000012'"
    )


def _read_in_all(world: Any, checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Read a checkpoint in every process; all of them fail if one does."""
    content, problem = None, None
    try:
        content = checkpoint.read()
    except Exception as error:  # noqa: BLE001 - raised below, when all know
        problem = error
    problems = [p for p in world.gathered(None if problem is None else str(problem)) if p]
    if problems:
        raise CheckpointError(
            f"a process cannot read {checkpoint.path} ({problems[0]}): all of them need a folder "
            "that they share"
        ) from problem
    assert content is not None
    return content
