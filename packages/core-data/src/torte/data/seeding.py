"""Randomness as a function of (seed, epoch, sample index).

Nothing here keeps a stream that is shared by samples: each sample has a *key*, one integer below
2**63 mixed from the loader's seed, the number of the pass and the sample's index, and whatever is
drawn for that sample is computed from its key. So the draws are the same in any order of arrival,
with any number of workers and after a resumed run.

* Item transforms draw from `current_random()`, a `random.Random` seeded with the item's key.
* Batch transforms draw from `uniform(current_keys(n, device), count)`, which computes numbers on
  the batch's device with integer arithmetic, so that they compile and need no generator.
* `GlobalSeeds` seeds Python's, NumPy's and torch's global generators for code that uses those.

The mixing function is the finaliser of SplitMix64: Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014.
"""

import random
import threading
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "GlobalSeeds",
    "current_keys",
    "current_random",
    "draw_for",
    "drawing",
    "drawing_batch",
    "fresh_seed",
    "integers",
    "mix",
    "next_stream",
    "repeated_keys",
    "sample_key",
    "sample_keys",
    "seed_globals",
    "set_seed",
    "uniform",
]

# The C function under `random.seed`, whose checks of its argument's type take 0.7 µs.
_python: Any = random.random.__self__
_python_base: Any = super(random.Random, _python)
_seed_python = _python_base.seed
_numpy_random: Any = np.random  # the type stubs lack its bit generators
_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def _signed(value: int) -> int:
    """The int64 that has the bits of an unsigned 64-bit `value`."""
    return value - (1 << 64) if value >> 63 else value


_GAMMA_SIGNED, _FIRST_SIGNED, _SECOND_SIGNED = map(_signed, (_GAMMA, _FIRST, _SECOND))


def _finalise(value: int) -> int:
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def mix(*ints: int) -> int:
    """Mix integers of any size and sign into one integer in [0, 2**63).

    Every argument and its place count: `mix(1, 2)` and `mix(2, 1)` are unrelated.
    """
    state = 0
    for value in ints:
        state = _finalise(((state ^ (value & _MASK)) + _GAMMA) & _MASK)
    return state >> 1


def sample_key(seed: int, epoch: int, index: int) -> int:
    """The key of sample `index` in pass `epoch` of a loader with this `seed`, in [0, 2**63)."""
    return mix(seed, epoch, index)


def sample_keys(seed: int, epoch: int, indices: np.ndarray) -> np.ndarray:
    """`sample_key` for a whole array of indices at once: int64 of the shape of `indices`."""
    state = np.uint64(_prefix(seed, epoch))
    value = indices.astype(np.int64, copy=False).view(np.uint64) ^ state
    return _finalise_array(value + np.uint64(_GAMMA))


def _prefix(*ints: int) -> int:
    """The state of `mix` after `ints`, before its last shift."""
    state = 0
    for value in ints:
        state = _finalise(((state ^ (value & _MASK)) + _GAMMA) & _MASK)
    return state


def repeated_keys(keys: np.ndarray, repetition: np.ndarray) -> np.ndarray:
    """Other keys for samples that come more than once: unchanged where `repetition` is 0."""
    again = repetition > 0
    if not again.any():
        return keys
    state = keys.view(np.uint64) ^ (repetition.astype(np.uint64) * np.uint64(_GAMMA))
    return np.where(again, _finalise_array(state), keys)


def _finalise_array(value: np.ndarray) -> np.ndarray:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(_FIRST)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(_SECOND)
    value ^= value >> np.uint64(31)
    return (value >> np.uint64(1)).view(np.int64)


def fresh_seed() -> int:
    """A new seed in [0, 2**31), drawn from torch's default generator."""
    return int(torch.randint(0, 1 << 31, ()).item())


class _Local(threading.local):
    """What is being drawn for on this thread."""

    key: int | None = None
    generator: random.Random | None = None
    keys: Tensor | None = None
    stream: int = 0


_local = _Local()


class drawing:  # noqa: N801 - used like a function: `with drawing(key):`
    """Within this context `current_random()` draws for the sample that has this key.

    Args:
        key: The sample's key, as `sample_key` makes it; `None` for no sample.
    """

    __slots__ = ("_outer", "key")

    def __init__(self, key: int | None) -> None:
        self.key = key

    def __enter__(self) -> None:
        local = _local
        self._outer = (local.key, local.generator)
        local.key, local.generator = self.key, None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _local.key, _local.generator = self._outer


def current_random() -> random.Random:
    """The generator to draw an item's random numbers from.

    Inside `drawing(key)` (a loader is making an item) it is one generator for the whole item,
    seeded with the item's key at the first call. Elsewhere each call makes a new one, seeded from
    torch's default generator.
    """
    local = _local
    if local.key is None:
        return random.Random(fresh_seed())
    if local.generator is None:
        local.generator = random.Random(local.key)
    return local.generator


def draw_for(key: int | None) -> None:
    """From here on `current_random()` on this thread draws for this key; `None` ends that.

    What `drawing` does, without a context: the loader's loop calls it once an item.
    """
    local = _local
    local.key, local.generator = key, None


class drawing_batch:  # noqa: N801 - used like a function: `with drawing_batch(keys):`
    """Within this context `current_keys` are these keys, one a sample of the batch.

    Args:
        keys: int64 tensor of shape (n,).
    """

    __slots__ = ("_outer", "keys")

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys

    def __enter__(self) -> None:
        local = _local
        self._outer = (local.keys, local.stream)
        local.keys, local.stream = self.keys, 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _local.keys, _local.stream = self._outer


def current_keys(n: int, device: torch.device | str | None = None) -> Tensor:
    """The keys of the batch's `n` samples: int64 of shape (n,) on `device`.

    Inside `drawing_batch(keys)` these are the batch's own keys (where a transform made more rows
    than there are samples, the keys are repeated and mixed with the number of the repetition).
    Elsewhere they are drawn from torch's default generator.
    """
    keys = _local.keys
    if keys is None:
        return torch.randint(0, (1 << 63) - 1, (n,)).to(device)
    if keys.shape[0] != n:
        keys = _spread(keys, n)
    return keys if device is None else keys.to(device, non_blocking=True)


def _spread(keys: Tensor, n: int) -> Tensor:
    """Keys for `n` rows out of those of another number of samples."""
    if not keys.shape[0]:
        keys = keys.new_zeros(1)
    rows = torch.arange(n, device=keys.device)
    return keys[rows % keys.shape[0]] + _GAMMA_SIGNED * (rows // keys.shape[0])


def next_stream() -> int:
    """The number of a stream that nothing else in this batch has taken yet.

    Two transforms that draw for one batch need different streams of `uniform`; the numbers start
    again with each batch, so they repeat from run to run: 0, 1, 2, … Outside `drawing_batch` it is
    always 0: there the keys themselves are new at each call.
    """
    local = _local
    if local.keys is None:
        return 0
    local.stream += 1
    return local.stream - 1


def _shift_right(value: Tensor, bits: int) -> Tensor:
    """Logical shift: int64's own shift would copy the sign bit."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _finalise_tensor(value: Tensor) -> Tensor:
    value = (value ^ _shift_right(value, 30)) * _FIRST_SIGNED
    value = (value ^ _shift_right(value, 27)) * _SECOND_SIGNED
    return value ^ _shift_right(value, 31)


def integers(keys: Tensor, count: int, stream: int = 0) -> Tensor:
    """`count` integers for each key, uniform in [0, 2**63), each computed from its key alone.

    Args:
        keys: int64 of shape (n,), one key a sample.
        count: How many numbers each sample gets.
        stream: Which of a key's unrelated streams, as for `uniform`: the numbers of one stream are
            the same bits there and here.

    Returns:
        int64 of shape (count, n) on the keys' device.
    """
    return _shift_right(_bits(keys, count, stream), 1)


def _bits(keys: Tensor, count: int, stream: int) -> Tensor:
    base = _finalise_tensor(keys + _signed((_GAMMA * (stream + 1)) & _MASK))
    steps = torch.arange(1, count + 1, device=keys.device, dtype=torch.int64) * _GAMMA_SIGNED
    return _finalise_tensor(base[None] + steps[:, None])


def uniform(keys: Tensor, count: int, stream: int = 0) -> Tensor:
    """`count` numbers for each key, uniform in [0, 1), each computed from its key alone.

    Args:
        keys: int64 of shape (n,), one key a sample.
        count: How many numbers each sample gets.
        stream: Which of a key's unrelated streams (two transforms of one batch take two).

    Returns:
        float32 of shape (count, n) on the keys' device, multiples of 2**-24.
    """
    return _shift_right(_bits(keys, count, stream), 40).to(torch.float32) * (2.0**-24)


def seed_globals(key: int) -> None:
    """Seed the global generators of Python, NumPy and torch (of the CPU) with a sample's key."""
    _seed_python(key)
    _python.gauss_next = None
    np.random.seed(key & 0xFFFFFFFF)  # noqa: NPY002 - users' transforms may draw from it
    torch.default_generator.manual_seed(key)


_spare: list[Any] = []  # bit generators for GlobalSeeds; they are seeded before they are used


def set_seed(s: int, reproducible: bool = False) -> None:
    """Seed the global generators of Python, NumPy and torch (of every device).

    Loaders and models that are made afterwards draw from them, so a script that begins with it
    gives the same results each time.

    Args:
        s: The seed.
        reproducible: Whether cuDNN is to use deterministic algorithms only, which may be slower.
    """
    random.seed(s)
    np.random.seed(s % (1 << 32))  # noqa: NPY002 - users' code may draw from it
    torch.manual_seed(s)
    if reproducible:
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False


class GlobalSeeds:
    """Puts the global generators of Python, NumPy and torch back as they were on leaving.

    Within it the loader calls `seed_globals(key)` for each item. NumPy gets another bit generator
    for the while: exchanging it takes 0.3 µs, saving and setting its state 65 µs (and making a
    new one 90 µs, so they are kept).
    """

    __slots__ = ("_numpy", "_python", "_torch")

    def __enter__(self) -> None:
        self._python = random.getstate()
        self._torch = torch.default_generator.get_state()
        self._numpy = _numpy_random.get_bit_generator()
        _numpy_random.set_bit_generator(_spare.pop() if _spare else np.random.MT19937(0))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _spare.append(_numpy_random.get_bit_generator())
        _numpy_random.set_bit_generator(self._numpy)
        random.setstate(self._python)
        torch.default_generator.set_state(self._torch)
