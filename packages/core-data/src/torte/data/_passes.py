"""Going through a loader: passes under way, looking at one batch, the loader's state."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from torte.data._making import BatchMaker
from torte.data._peeking import Replayable
from torte.data._plan import pass_tasks
from torte.data._tasks import Made, Problem
from torte.data.devices import moved_ahead, pinned, to_device
from torte.data.errors import LoaderError
from torte.data.seeding import GlobalSeeds, drawing_batch
from torte.data.sharing import BatchShare, Sharing
from torte.data.workers import run_tasks

__all__ = ["IteratedLoader", "SkippedItemsWarning"]


class SkippedItemsWarning(UserWarning):
    """Items failed in a pass and were left out, as `skip_failures` asks for."""


class _Pass:
    """A pass over the loader that is under way."""

    def __init__(self, loader: "IteratedLoader") -> None:
        self.epoch, self.position = loader.epoch, loader.resume_at
        self.load = loader.loads


class IteratedLoader:
    """The part of a `DataLoader` that runs passes."""

    dataset: Any
    device: torch.device | None
    seed: int
    num_workers: Any
    worker_kind: Any
    pins_memory: Any
    makes_batches_singly: Any

    def _start_counting(self) -> None:
        """Begin before the first pass."""
        self.epoch = self.resume_at = self.loads = self.runs = 0
        self.passes: list[_Pass] = []
        self.failures: list[Exception] = []
        self.worker_pool: Any = None

    def before_iter(self) -> Any:
        """Called when a pass begins."""

    def after_batch(self, b: Any) -> Any:
        """Called with each batch, on the device."""
        return b

    def after_iter(self) -> Any:
        """Called when a pass has ended or was given up."""

    def __iter__(self) -> Iterator[Any]:
        """Begin a pass. Several may be under way at once, each with workers of its own."""
        return self._passed(None)

    def share(self, rank: int, world: int) -> Iterator[BatchShare]:
        """Begin a pass that several processes share, each of which makes its rows of every batch.

        Where the samples of a batch are known before it is made, a process makes only its own;
        otherwise (iterable datasets, ready-made batches, a `create_batches` of the user's) it makes
        the batch and cuts it.

        Args:
            rank: Which process this is, from 0.
            world: How many there are. All need a loader of the same data, seed and epoch.

        Returns:
            For each batch this process's rows, how many count, and how many the whole batch has.
        """
        sharing = Sharing(self, rank, world)
        for batch in self._passed(sharing):
            yield BatchShare(batch, *sharing.sizes.popleft())

    def _passed(self, sharing: Sharing | None) -> Iterator[Any]:
        current = _Pass(self)
        self.passes.append(current)
        self.failures = []
        start, self.resume_at = self.resume_at, 0
        try:
            self.before_iter()
            for number, batch in self._batches(current.epoch, start, sharing):
                current.position = number + 1
                yield batch
            self._report()
        finally:
            self.passes.remove(current)
            if current.load == self.loads:
                self.epoch = max(self.epoch, current.epoch + 1)
            self.after_iter()

    def _batches(
        self, epoch: int, start: int, sharing: Sharing | None
    ) -> Iterator[tuple[int, Any]]:
        """(number, batch on the device after `after_batch`) from batch `start` on."""
        self.runs += 1
        tasks = pass_tasks(self, self.runs, epoch, start)
        if sharing is not None:
            tasks = sharing.tasks(tasks)
        results = self._usable(run_tasks(self, tasks), start)
        if sharing is not None:
            results = sharing.shares(results)
        usable = ((made.number, torch.from_numpy(made.keys), made.batch) for made in results)
        for number, keys, batch in self._on_device(usable):
            with drawing_batch(keys):
                batch = self.after_batch(batch)  # noqa: PLW2901
            yield number, self.finish_batch(batch)

    def finish_batch(self, batch: Any) -> Any:
        """Called with each batch that leaves the loader."""
        return batch

    def _usable(self, results: Iterator[Made], start: int) -> Iterator[Made]:
        """What was made and holds a batch; raises what went wrong; stops at the end."""
        ended = 0
        skip = 0 if self.makes_batches_singly else start
        try:
            for made in results:
                self.failures += map(Problem.exception, made.failures)
                if made.problem is not None:
                    raise made.problem.exception()
                if made.batch is not None and made.number >= skip:
                    yield made
                ended += made.ended
                if ended and ended >= made.streams:
                    return
        finally:
            if hasattr(results, "close"):
                results.close()  # type: ignore[attr-defined]

    def _on_device(self, results: Iterator[Any]) -> Iterator[Any]:
        device = self.device
        if device is None:
            return results
        if self.pins_memory and (not self.num_workers or self.worker_kind == "threads"):
            results = map(pinned, results)
        if device.type == "cuda" and self.num_workers:
            return moved_ahead(results, device)
        return (to_device(each, device, non_blocking=self.pins_memory) for each in results)

    def _report(self) -> None:
        if self.failures:
            indices = [getattr(failure, "index", None) for failure in self.failures]
            warnings.warn(
                f"{len(indices)} items failed and were left out: {indices[:20]}"
                f"{'…' if len(indices) > 20 else ''}; the first: {self.failures[0]}",
                SkippedItemsWarning,
                stacklevel=3,
            )

    def one_batch(self) -> Any:
        """The first batch of the next pass, made in this process; the pass is not begun.

        Raises:
            ValueError: If the loader has no batch.
        """
        with self.looking():
            for made in map(BatchMaker(self), pass_tasks(self, -1, self.epoch, 0)):
                if made.problem is not None:
                    raise made.problem.exception()
                if made.batch is not None:
                    keys, batch = torch.from_numpy(made.keys), made.batch
                    if self.device is not None:
                        keys, batch = to_device((keys, batch), self.device)
                    with drawing_batch(keys):
                        return self.finish_batch(self.after_batch(batch))
                if made.ended:
                    break
        raise ValueError(f"this {type(self).__name__} does not contain any batches")

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """A context that leaves no trace.

        A dataset that can be read only once keeps what is taken, and all global generators are put
        back.
        """
        gpus = [self.device] if self.device is not None and self.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices=gpus),
            GlobalSeeds(),
            Replayable.looking(self.dataset),
        ):
            yield

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands: {"seed", "epoch", "position"}, `position` in batches."""
        if self.passes:
            current = self.passes[-1]
            return {"seed": self.seed, "epoch": current.epoch, "position": current.position}
        return {"seed": self.seed, "epoch": self.epoch, "position": self.resume_at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next pass go on from where `state_dict` was taken, reading nothing before it."""
        missing = {"seed", "epoch", "position"} - set(state)
        if missing:
            raise LoaderError(f"the loader's state lacks {sorted(missing)}: {state!r}")
        self.seed, self.epoch = int(state["seed"]), int(state["epoch"])
        self.resume_at = int(state["position"])
        self.loads += 1
