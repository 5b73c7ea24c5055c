"""Where loaders stand, and how a pass is taken up in the middle.

torte's own loaders, and others with `state_dict` and `load_state_dict`, go to a position at once.
Any other loader (PyTorch's, a list of batches) is begun again with the random generators as they
were when its pass began, and the batches that were seen are drawn and passed over.
"""

import itertools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from torte.data.loader import DataLoader
from torte.learner.checkpoints.randomness import random_state, restore_random, restore_random_of
from torte.learner.checkpoints.store import CheckpointError
from torte.learner.loaders import inner_loader, loaders_of

__all__ = ["continued_pass", "loader_states", "pass_start", "restore_loaders"]


def _loaders(learn: Any) -> list[Any]:
    return [inner_loader(dl) for dl in loaders_of(learn.dls)]


def _has_state(loader: Any) -> bool:
    return all(callable(getattr(loader, name, None)) for name in ("state_dict", "load_state_dict"))


def _generators(loader: Any) -> list[torch.Generator]:
    """The generators of a PyTorch loader's own."""
    found: list[torch.Generator] = []
    sampler = getattr(loader, "sampler", None)
    batch_sampler = getattr(loader, "batch_sampler", None)
    for owner in (loader, sampler, batch_sampler, getattr(batch_sampler, "sampler", None)):
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator) and generator not in found:
            found.append(generator)
    return found


def _generator_states(loader: Any) -> list[torch.Tensor]:
    return [generator.get_state() for generator in _generators(loader)]


def pass_start(learn: Any) -> dict[str, Any] | None:
    """What is to be known of the start of a pass over `learn.dl` to begin it again."""
    loader = inner_loader(learn.dl)
    if _has_state(loader):
        return None
    return {"random": random_state(), "generators": _generator_states(loader)}


def loader_states(learn: Any) -> list[dict[str, Any]]:
    """Where each loader stands."""
    return [_loader_state(loader) for loader in _loaders(learn)]


def _loader_state(loader: Any) -> dict[str, Any]:
    if isinstance(loader, DataLoader):
        return {"n": loader.n, "bs": loader.bs, "state": loader.state_dict()}
    if _has_state(loader):
        return {"state": loader.state_dict()}
    return {"generators": _generator_states(loader)}


def restore_loaders(learn: Any, states: list[dict[str, Any]]) -> None:
    """Let each loader's next pass go on from where it stood.

    Raises:
        CheckpointError: If a loader is of another kind or has other data.
    """
    loaders = _loaders(learn)
    if len(loaders) != len(states):
        raise CheckpointError(
            f"the checkpoint is of {len(states)} loaders, and there are {len(loaders)}"
        )
    for place, (loader, state) in enumerate(zip(loaders, states, strict=True)):
        if ("state" in state) != _has_state(loader):
            raise CheckpointError(
                f"loader {place} is a {type(loader).__name__}, which is not what it was: "
                "its position cannot be taken up"
            )
        if isinstance(loader, DataLoader):
            loader.load_state_dict(_position(loader, place, state))
        elif "state" in state:
            loader.load_state_dict(state["state"])
        else:
            for generator, found in zip(_generators(loader), state["generators"], strict=True):
                generator.set_state(found)


def _position(loader: DataLoader, place: int, saved: Mapping[str, Any]) -> dict[str, int]:
    """The state for a loader that may have another batch size: on from the same sample."""
    if loader.n != saved["n"]:
        raise CheckpointError(
            f"loader {place} has {loader.n} samples, and had {saved['n']} when the checkpoint was "
            "written: give it the same data, or resume=False"
        )
    state = dict(saved["state"])
    if loader.bs == saved["bs"] or not loader.bs or not saved["bs"]:
        return state
    samples = min(state["position"] * saved["bs"], loader.n or state["position"] * saved["bs"])
    whole = samples == loader.n
    state["position"], rest = divmod(samples, loader.bs)
    if whole:
        state["position"] += bool(rest)
    elif rest:
        warnings.warn(
            f"loader {place} has batches of {loader.bs}, and had batches of {saved['bs']}: "
            f"{rest} samples are seen again",
            stacklevel=2,
        )
    return state


def continued_pass(
    learn: Any, dl: Any, done: int, states: list[dict[str, Any]], random: list[dict[str, Any]]
) -> tuple[int, Iterator[Any]]:
    """Go on with a pass over a loader, once the loaders' positions are restored.

    Args:
        learn: The Learner.
        dl: The loader.
        done: How many batches the pass has done.
        states: What `loader_states` gave.
        random: Where the random generators of each process are to stand.

    Returns:
        The number of the next batch, and the rest of the batches.
    """
    loader = inner_loader(dl)
    if not _has_state(loader):
        batches = _begun_again(learn, dl, loader, done)
    else:
        if isinstance(loader, DataLoader):
            place = next(i for i, each in enumerate(_loaders(learn)) if each is loader)
            position = loader.state_dict()["position"]
            if position != states[place]["state"]["position"]:
                done = position  # in batches of another size
        batches = learn.world.batches(learn, dl)
    restore_random_of(learn.world.rank, random)
    return done, batches


def _begun_again(learn: Any, dl: Any, loader: Any, done: int) -> Iterator[Any]:
    start = learn.pass_start
    restore_random(start["random"])
    for generator, found in zip(_generators(loader), start["generators"], strict=True):
        generator.set_state(found)
    batches = iter(learn.world.batches(learn, dl))
    seen = sum(1 for _ in itertools.islice(batches, done))
    if seen < done:
        raise CheckpointError(
            f"{type(loader).__name__} has {seen} batches, and {done} were done when the checkpoint "
            "was written: give it the same data, or resume=False"
        )
    return batches
