"""Item transforms on Pillow images, before items are batched.

Every one of them changes the whole item in step: pictures and masks (masks always by their own
resampling, nearest by default), points and boxes, all from the same draw. On the training subset
(or when no subset is named) places are random; on the validation subset they are central.

`size` is one number or (height, width), as everywhere; Pillow's own `size` is (width, height).
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, ClassVar

from PIL import Image

from torte.data.images import PILBase, PILImage, PILMask
from torte.data.seeding import current_random
from torte.data.tensors import TensorPoint
from torte.dispatch import ItemTransform, Transform, serializable
from torte.vision.augment.augmentation import Size, size_pair
from torte.vision.placement import TURNS, PadMode, Placement, move_item, size_of, turn_item

__all__ = [
    "CenterCrop",
    "CropPad",
    "DihedralItem",
    "FlipItem",
    "PadMode",
    "RandomCrop",
    "RandomResizedCrop",
    "RatioResize",
    "ReducedDecode",
    "Resize",
    "ResizeMethod",
]

BILINEAR, NEAREST = int(Image.Resampling.BILINEAR), int(Image.Resampling.NEAREST)
_TRIES = 10


class ResizeMethod:
    """How an image comes to a size that has another aspect ratio."""

    Squish = "squish"
    Crop = "crop"
    Pad = "pad"


class _ItemAugmentation(ItemTransform):
    """What all item transforms share: one draw an item, every part of it in step."""

    order = 1
    split_idx: int | None = None

    def __call__(self, x: Any, split_idx: int | None = None, **kwargs: Any) -> Any:
        """Change an image, or every image, mask, point and box of a tuple."""
        if self.split_idx is not None and self.split_idx != split_idx:
            return x
        parts = list(_parts(x))
        if not any(isinstance(part, Image.Image) or size_of(part) for part in parts):
            return x
        size = _common_size(parts)
        change = self.change(current_random(), bool(split_idx))
        return _changed(x, size, change)

    @abstractmethod
    def change(self, random: Random, central: bool) -> Any:
        """Draw once; return a function of (part, size of its image) that gives the changed part.

        Args:
            random: What to draw from.
            central: Whether nothing is to be random (validation).
        """


def _parts(x: Any) -> Iterator[Any]:
    if isinstance(x, tuple):
        for each in x:
            yield from _parts(each)
    else:
        yield x


def _common_size(parts: Sequence[Any]) -> tuple[int, int]:
    """Size of the first image (else: of the points' image), which masks have to agree with.

    Raises:
        ValueError: A mask has another aspect ratio than the image, or points another size.
    """
    images = [p for p in parts if isinstance(p, Image.Image) and not isinstance(p, PILMask)]
    sized = [p for p in parts if size_of(p) is not None]
    size = (images or sized)[0]
    width, height = size_of(size) or (0, 0)
    for part in parts:
        own = size_of(part)
        if own is None or own == (width, height) or any(part is image for image in images):
            continue
        alike = abs(own[0] * height - own[1] * width) <= max(*own, width, height)
        if isinstance(part, TensorPoint) or not alike:
            raise ValueError(
                f"a {type(part).__name__} of size {own[0]}x{own[1]} belongs to no image of size "
                f"{width}x{height}: item transforms keep images and targets in step, so they have "
                "to show the same field"
            )
    return width, height


def _changed(x: Any, size: tuple[int, int], change: Any) -> Any:
    if isinstance(x, tuple):
        parts = [_changed(each, size, change) for each in x]
        kind: Any = type(x)
        return kind._make(parts) if hasattr(kind, "_make") else kind(parts)
    return change(x, size_of(x) or size)


class _Placing(_ItemAugmentation):
    """An item transform that places a rectangle of the image in its result."""

    resamples: Sequence[int] = (BILINEAR, NEAREST)

    @abstractmethod
    def placing(self, random: Random, central: bool) -> Any:
        """Draw once; return a function from a size (width, height) to a `Placement`."""

    def change(self, random: Random, central: bool) -> Any:
        """Place every part."""
        placing = self.placing(random, central)
        images, masks = self.resamples
        return lambda part, size: move_item(part, placing(size), (int(images), int(masks)))


def _output(size: Size | None, name: str) -> tuple[int, int]:
    """(width, height) from a size given as one number or (height, width)."""
    pair = size_pair(size)
    if pair is None:
        raise ValueError(f"{name} needs a size")
    return pair[1], pair[0]


def _check_choice(name: str, argument: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: {argument}={value!r} is not one of {', '.join(choices)}")


_PAD_MODES = (PadMode.Zeros, PadMode.Border, PadMode.Reflection)


def _cropped_or_padded(
    size: tuple[int, int],
    output: tuple[int, int],
    at: tuple[float, float] | None,
    pad_mode: str,
) -> Placement:
    """Place an image in an output without resizing; `at` in [0, 1)² chooses where, None: middle."""
    source, target = [], []
    for axis, (whole, room) in enumerate(zip(size, output, strict=True)):
        spare = abs(whole - room)
        offset = spare // 2 if at is None else int(at[axis] * (spare + 1))
        shown = min(whole, room)
        start, place = (offset, 0) if whole >= room else (0, offset)
        source.append((start, start + shown))
        target.append((place, place + shown))
    from_box, to_box = ((x[0], y[0], x[1], y[1]) for x, y in (source, target))
    return Placement(from_box, to_box, output, pad_mode)


@serializable
class Resize(_Placing):
    """Bring images to one size.

    Args:
        size: int, or (height, width).
        method: "crop": fill the size and cut what is too much, at a random place in training;
            "pad": fit into the size and fill the rest; "squish": change the aspect ratio.
        pad_mode: What "pad" fills with: "reflection", "border" or "zeros".
        resamples: Pillow's resampling for images and for masks.
    """

    def __init__(
        self,
        size: Size,
        method: str = ResizeMethod.Crop,
        pad_mode: str = PadMode.Reflection,
        resamples: Sequence[int] = (BILINEAR, NEAREST),
    ) -> None:
        super().__init__()
        methods = (ResizeMethod.Crop, ResizeMethod.Pad, ResizeMethod.Squish)
        _check_choice("Resize", "method", method, methods)
        _check_choice("Resize", "pad_mode", pad_mode, _PAD_MODES)
        self.size, self.method, self.pad_mode, self.resamples = size, method, pad_mode, resamples
        self._output = _output(size, "Resize")

    def placing(self, random: Random, central: bool) -> Any:
        """The rectangle that `method` asks for."""
        at = None if central else (random.random(), random.random())
        if self.method == ResizeMethod.Pad:
            return self._padded
        if self.method == ResizeMethod.Squish:
            return lambda size: Placement((0, 0, *size), (0, 0, *self._output), self._output)
        return lambda size: self._filled(size, at)

    def _filled(self, size: tuple[int, int], at: tuple[float, float] | None) -> Placement:
        """The largest rectangle of the output's aspect ratio, in whole pixels, at `at`."""
        scale = min(whole / part for whole, part in zip(size, self._output, strict=True))
        shown = [
            min(max(1, round(part * scale)), whole)
            for part, whole in zip(self._output, size, strict=True)
        ]
        cut = _cropped_or_padded(size, (shown[0], shown[1]), at, PadMode.Zeros)
        return Placement(cut.source, (0, 0, *self._output), self._output)

    def _padded(self, size: tuple[int, int]) -> Placement:
        scale = min(part / whole for whole, part in zip(size, self._output, strict=True))
        width, height = (max(1, round(whole * scale)) for whole in size)
        left, top = (self._output[0] - width) // 2, (self._output[1] - height) // 2
        target = (left, top, left + width, top + height)
        return Placement((0, 0, *size), target, self._output, self.pad_mode)


@serializable
class RatioResize(_Placing):
    """Resize so that the longer side has `max_sz` pixels, keeping the aspect ratio.

    Args:
        max_sz: Pixels of the longer side.
        resamples: Pillow's resampling for images and for masks.
    """

    def __init__(self, max_sz: int, resamples: Sequence[int] = (BILINEAR, NEAREST)) -> None:
        super().__init__()
        if max_sz < 1:
            raise ValueError(f"RatioResize: {max_sz=} must be at least 1")
        self.max_sz, self.resamples = max_sz, resamples

    def placing(self, random: Random, central: bool) -> Any:
        """The whole image."""

        def place(size: tuple[int, int]) -> Placement:
            scale = self.max_sz / max(size)
            width, height = (max(1, round(side * scale)) for side in size)
            return Placement((0, 0, *size), (0, 0, width, height), (width, height))

        return place


@serializable
class CropPad(_Placing):
    """Cut from the middle, or fill around, to a size, without resizing.

    Args:
        size: int, or (height, width).
        pad_mode: What fills: "zeros", "border" or "reflection".
    """

    def __init__(self, size: Size, pad_mode: str = PadMode.Zeros) -> None:
        super().__init__()
        _check_choice(type(self).__name__, "pad_mode", pad_mode, _PAD_MODES)
        self.size, self.pad_mode = size, pad_mode
        self._output = _output(size, type(self).__name__)

    def placing(self, random: Random, central: bool) -> Any:
        """The middle."""
        return lambda size: _cropped_or_padded(size, self._output, None, self.pad_mode)


@serializable
class CenterCrop(CropPad):
    """Cut a size from the middle; an image that is too small is filled around with zeros.

    Args:
        size: int, or (height, width).
    """

    def __init__(self, size: Size) -> None:
        super().__init__(size, PadMode.Zeros)


@serializable
class RandomCrop(_Placing):
    """Cut a size at a random place, without resizing; in validation from the middle.

    Args:
        size: int, or (height, width).
        pad_mode: What fills around an image that is too small.
    """

    def __init__(self, size: Size, pad_mode: str = PadMode.Zeros) -> None:
        super().__init__()
        _check_choice("RandomCrop", "pad_mode", pad_mode, _PAD_MODES)
        self.size, self.pad_mode = size, pad_mode
        self._output = _output(size, "RandomCrop")

    def placing(self, random: Random, central: bool) -> Any:
        """A random place."""
        at = None if central else (random.random(), random.random())
        return lambda size: _cropped_or_padded(size, self._output, at, self.pad_mode)


@serializable
class RandomResizedCrop(_Placing):
    """Cut a random share of the area with a random aspect ratio, and resize it.

    Of ten pairs of area and ratio the first that fits is taken (Szegedy et al., "Going deeper with
    convolutions", 2015), and the largest central crop with a ratio in range if none does. In
    validation: that central crop, resized to a size larger by `val_xtra`, of which the middle.

    Args:
        size: int, or (height, width).
        min_scale: The least share of the area.
        ratio: The range of width / height.
        resamples: Pillow's resampling for images and for masks.
        val_xtra: How much larger validation images are before their middle is cut.
        max_scale: The largest share of the area.
    """

    def __init__(
        self,
        size: Size,
        min_scale: float = 0.08,
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        resamples: Sequence[int] = (BILINEAR, NEAREST),
        val_xtra: float = 0.14,
        max_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < min_scale <= max_scale <= 1:
            raise ValueError(
                f"RandomResizedCrop: need 0 < min_scale <= max_scale <= 1, got {min_scale=}, "
                f"{max_scale=}"
            )
        if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"RandomResizedCrop: {ratio=} must be (least, largest), above 0")
        self.size, self.min_scale, self.max_scale = size, min_scale, max_scale
        self.ratio, self.resamples, self.val_xtra = tuple(ratio), resamples, val_xtra
        self._output = _output(size, "RandomResizedCrop")

    def placing(self, random: Random, central: bool) -> Any:
        """The first crop that fits, or the central one."""
        if central:
            return self._central_shrunk
        tries = [(random.random(), random.random()) for _ in range(_TRIES)]
        at = (random.random(), random.random())
        return lambda size: self._first_fit(size, tries, at)

    def _first_fit(
        self, size: tuple[int, int], tries: list[tuple[float, float]], at: tuple[float, float]
    ) -> Placement:
        least, largest = (math.log(bound) for bound in self.ratio)
        for share, place in tries:
            area = size[0] * size[1] * (self.min_scale + share * (self.max_scale - self.min_scale))
            ratio = math.exp(least + place * (largest - least))
            width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < width <= size[0] and 0 < height <= size[1]:
                left = int(at[0] * (size[0] - width + 1))
                top = int(at[1] * (size[1] - height + 1))
                return self._resized((left, top, left + width, top + height))
        return self._resized(self._central(size))

    def _central(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        ratio = min(max(size[0] / size[1], self.ratio[0]), self.ratio[1])
        width, height = min(size[0], size[1] * ratio), min(size[1], size[0] / ratio)
        left, top = (size[0] - width) / 2, (size[1] - height) / 2
        return (left, top, left + width, top + height)

    def _central_shrunk(self, size: tuple[int, int]) -> Placement:
        left, top, right, bottom = self._central(size)
        extra = math.ceil(max(self._output) * self.val_xtra / 8) * 8
        cut_x = (right - left) * (1 - self._output[0] / (self._output[0] + extra)) / 2
        cut_y = (bottom - top) * (1 - self._output[1] / (self._output[1] + extra)) / 2
        return self._resized((left + cut_x, top + cut_y, right - cut_x, bottom - cut_y))

    def _resized(self, source: tuple[float, float, float, float]) -> Placement:
        return Placement(source, (0, 0, *self._output), self._output)


class _Turning(_ItemAugmentation):
    """An item transform that applies one of the eight symmetries of the square."""

    split_idx: int | None = 0
    first: ClassVar[int] = 0
    last: ClassVar[int] = 1

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p={p!r} is no probability")
        self.p = p

    def change(self, random: Random, central: bool) -> Any:
        """Turn every part alike."""
        number = random.randint(self.first, self.last) if random.random() < self.p else 0
        return lambda part, size: turn_item(part, number, size)


@serializable
class FlipItem(_Turning):
    """Mirror left and right.

    Args:
        p: Probability.
    """

    first = 1

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)


@serializable
class DihedralItem(_Turning):
    """One of the eight symmetries of the square, each as likely as the others.

    Args:
        p: Probability that any of them (the identity among them) is applied.
    """

    last = len(TURNS) - 1

    def __init__(self, p: float = 1.0) -> None:
        super().__init__(p)


@serializable
class ReducedDecode(Transform):
    """Open images, JPEGs at a half, a quarter or an eighth of their size where that is enough.

    The decoder of JPEG can leave out the high frequencies, several times faster than decoding all
    and resizing. The result is at least `margin` times `size` on each side, so that what a `Resize`
    to `size` makes of it differs by little from the exact result; targets in pixels of the full
    image do not fit to it.

    Args:
        size: What the images will be resized to: int, or (height, width).
        margin: How much larger the decoded image has to be at least; 2 is safe.
    """

    order = 0

    def __init__(self, size: Size, margin: float = 2.0) -> None:
        super().__init__()
        if margin < 1:
            raise ValueError(f"ReducedDecode: {margin=} must be at least 1")
        self.size, self.margin = size, margin
        width, height = _output(size, "ReducedDecode")
        self._draft = math.ceil(width * margin), math.ceil(height * margin)

    def encodes(self, fn: Any) -> PILBase:
        """A `PILImage` of a path or bytes."""
        return PILImage.create(fn, draft=self._draft)
