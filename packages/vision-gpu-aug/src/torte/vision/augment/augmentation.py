"""The base classes of all augmentations, which users subclass too.

An augmentation is a `Transform`: it has a place in a pipeline (`order`), runs on the training
subset alone (`split_idx = 0`) and may be called by itself. Called with images it is an engine of
one transform; in a `Pipeline` neighbouring augmentations, and the conversion to float and
`Normalize` around them, fuse into one engine (`composing.py`).
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from torte.dispatch import ItemTransform
from torte.vision.augment.coordinates import Frame, compose, identity, resizing
from torte.vision.augment.declaration import Drawn, Homography, Part
from torte.vision.augment.sampling import MODES, PAD_MODES, Sampling

if TYPE_CHECKING:
    from torte.vision.augment.composing import Augment

__all__ = ["Augmentation", "Size", "SpatialAugmentation", "size_pair"]

Size = int | Sequence[int]


def size_pair(size: Size | None) -> tuple[int, int] | None:
    """(height, width) from one number or from two.

    Raises:
        ValueError: It is neither.
    """
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ValueError(f"size={size!r}: give one positive int or (height, width)")
    return pair


class Augmentation(ItemTransform):
    """A random change of images, stated sample by sample; see `declaration.py`.

    Subclasses say how many random numbers they need and define `declare`.

    Args:
        p: Probability that a sample is changed.
        batch: One draw for all samples of the batch (that of its first sample).
    """

    draws: int = 0
    split_idx: int | None = 0
    order: float = 30

    def __init__(self, p: float = 1.0, batch: bool = False) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p={p!r} is no probability")
        super().__init__()
        self.p, self.batch = p, batch
        self._alone: Augment | None = None

    @abstractmethod
    def declare(self, drawn: Drawn, frame: Frame) -> Part | Sequence[Part]:
        """What this transform does to the samples, given their random numbers.

        Args:
            drawn: The numbers.
            frame: The size of the images that it sees.
        """

    def settled(self, like: Tensor, frame: Frame) -> Part | Sequence[Part]:
        """What it does where nothing is to be random (validation): by default nothing.

        Args:
            like: float32 (n,), a number a sample, for its length and device.
            frame: The size of the images that it sees.
        """
        return ()

    @property
    def sampling(self) -> Sampling | None:
        """How it wants the source to be sampled; None if it does not sample."""
        return None

    def engine(self) -> "Augment":
        """The engine that applies this transform alone."""
        from torte.vision.augment.composing import Augment

        engine = self._alone
        if engine is None:
            engine = self._alone = Augment(self)
        return engine

    def __call__(self, x: Any, split_idx: int | None = 0, **kwargs: Any) -> Any:
        """Apply it to images or to a batch; see `Augment.__call__`."""
        if self.split_idx is not None and self.split_idx != split_idx:
            return x
        return self.engine()(x, split_idx=split_idx, **kwargs)

    def fuse(self, following: Any) -> "Augment | None":
        """One engine for this transform and the one that follows it in a pipeline."""
        return self.engine().fuse(following)

    def absorb(self, earlier: Any) -> "Augment | None":
        """One engine for a conversion to float and this transform, which follows it."""
        return self.engine().absorb(earlier)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_alone": None}


class SpatialAugmentation(Augmentation):
    """An augmentation that moves pixels by a homography a sample, given by `matrix`.

    Args:
        p: Probability that a sample is changed.
        batch: One draw for all samples.
        size: Resize to this (int, or height and width) in the same go, in validation too.
        mode: "bilinear", "bicubic" or "nearest", for images (masks: always nearest).
        pad_mode: What lies beyond the frame: "reflection", "border" or "zeros".
        align_corners: What relative amounts refer to; see `coordinates.py`.
    """

    def __init__(
        self,
        p: float = 0.5,
        batch: bool = False,
        size: Size | None = None,
        mode: str = "bilinear",
        pad_mode: str = "reflection",
        align_corners: bool = True,
    ) -> None:
        super().__init__(p=p, batch=batch)
        name = type(self).__name__
        if mode not in MODES:
            raise ValueError(f"{name}: {mode=} is not one of {', '.join(MODES)}")
        if pad_mode not in PAD_MODES:
            raise ValueError(f"{name}: {pad_mode=} is not one of {', '.join(PAD_MODES)}")
        self.size = size
        self.mode, self.pad_mode, self.align_corners = mode, pad_mode, align_corners
        self._output = size_pair(size)
        if self._output is not None:
            self.split_idx = None

    @property
    def sampling(self) -> Sampling:
        """How it wants the source to be sampled."""
        return Sampling(self.mode, self.pad_mode, self.align_corners)

    @abstractmethod
    def matrix(self, drawn: Drawn, frame: Frame) -> Tensor:
        """(n, 3, 3), centred coordinates of the output to those of the input, at one size."""

    def shrink(self, frame: Frame) -> float:
        """How many input pixels, on a side, an output pixel may at most stand for, at one size."""
        return 1.0

    def declare(self, drawn: Drawn, frame: Frame) -> Homography:
        """The homography, followed by the resize if there is one."""
        frame = frame._replace(align_corners=self.align_corners)
        return self._resized(self.matrix(drawn, frame), frame, self.shrink(frame))

    def settled(self, like: Tensor, frame: Frame) -> Part | Sequence[Part]:
        """The resize alone."""
        if self._output in (None, frame[:2]):
            return ()
        frame = frame._replace(align_corners=self.align_corners)
        return self._resized(identity(like), frame, 1.0)

    def _resized(self, matrix: Tensor, frame: Frame, shrink: float) -> Homography:
        if self._output is None or self._output == frame[:2]:
            return Homography(matrix, frame, shrink)
        output = Frame(*self._output, align_corners=self.align_corners)
        resize = resizing(frame, output, matrix[:, 0, 0])
        factors = (a / b for a, b in zip(frame[:2], output[:2], strict=True))
        return Homography(compose(matrix, resize), output, shrink * max(1.0, *factors))
