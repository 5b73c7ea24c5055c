"""The engine: it draws for all transforms at once, composes their parts, samples once.

    augment = Augment(*aug_transforms(), Normalize.from_stats(mean, std))
    images = augment(images)                                  # in anyone's loop
    images, masks, *_ = augment(images, masks=masks)           # targets in step
    batch = augment((TensorImage(x), TensorMask(y)))           # or a batch of semantic tensors

The draws. Each sample has a key (from the loader, from `seed`, or from torch's default generator),
and each transform a stream of its own, named by its class and its place among those of that class.
All numbers of a batch come from one call of `torte.data.seeding.uniform`; the numbers of a
transform depend on the sample's key and its stream alone, not on what else is in the list.

The order. Geometry composes in the order given, however many colour maps stand between (a colour
map and a sampling commute but for rounding). An effect that looks at neighbours or places (blur,
noise, erasing) does not commute: geometry that follows one takes a second sampling, and so does
geometry that asks for another interpolation or padding. `Augment.plan` tells how many there are.
"""

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torte.data.numeric import IntToFloatTensor, Normalize
from torte.data.seeding import current_keys, mix, uniform
from torte.data.tensors import plain
from torte.dispatch import ItemTransform
from torte.vision.augment.augmentation import Augmentation
from torte.vision.augment.batches import augment_batch
from torte.vision.augment.colour import ChannelAffine, channel_affine
from torte.vision.augment.coordinates import Frame
from torte.vision.augment.declaration import Drawn, Part
from torte.vision.augment.planning import Plan
from torte.vision.augment.rendering import Segment, render
from torte.vision.augment.targets import OUTSIDE, check_boxes, check_masks, check_points

__all__ = ["Augment", "Augmented"]


class Augmented(NamedTuple):
    """What an engine returns when it is given targets.

    Attributes:
        images: Floating point (n, channels, height, width).
        masks: As given, of the output's size; None if none were given, as for the rest.
        points: (n, k, 2), pixel coordinates of the output.
        boxes: (n, k, 4), pixel coordinates of the output.
        points_valid: bool (n, k), which points lie in the frame.
        boxes_valid: bool (n, k), which boxes have some area in the frame.
    """

    images: Tensor
    masks: Tensor | None = None
    points: Tensor | None = None
    boxes: Tensor | None = None
    points_valid: Tensor | None = None
    boxes_valid: Tensor | None = None


class Augment(ItemTransform):
    """Augmentations, with what surrounds them, as one step that samples the source once.

    Args:
        transforms: `Augmentation`s, in the order in which they act, and among them conversions to
            float (`IntToFloatTensor`, needed by none: whole numbers are divided by 255 anyway) and
            `Normalize`. Lists are flattened.
        dtype: Of the output: float32, float16 or bfloat16; None: float32, or the input's if that is
            floating point.
        channels_last: Memory format of the output; None: contiguous.
        outside: What to do with targets that leave the frame: "keep", "clip" or "drop"; see
            `targets.py`.
        min_visible: The fraction of a box that has to stay in the frame for it to be valid.
        kernels: Whether to use the fused kernels where they can run; False: plain PyTorch.
        split_idx: Which subset it runs on; each of its transforms also has its own.

    Raises:
        TypeError: One of the transforms states no part.
    """

    order = 30

    def __init__(
        self,
        *transforms: Any,
        dtype: torch.dtype | None = None,
        channels_last: bool | None = None,
        outside: str = "keep",
        min_visible: float = 0.0,
        kernels: bool = True,
        split_idx: int | None = None,
    ) -> None:
        super().__init__(split_idx=split_idx)
        self.transforms = list(_flattened(transforms))
        for transform in self.transforms:
            if not isinstance(transform, Augmentation | IntToFloatTensor | Normalize):
                raise TypeError(
                    f"{transform!r} is no Augmentation: the engine cannot keep images and targets "
                    "in step through a transform that does not state what it does"
                )
        if outside not in OUTSIDE:
            raise ValueError(f"{outside=} is not one of {', '.join(OUTSIDE)}")
        if dtype is not None and not dtype.is_floating_point:
            raise ValueError(f"{dtype=}: augmented images are floating point")
        self.dtype, self.channels_last = dtype, channels_last
        self.outside, self.min_visible, self.kernels = outside, min_visible, kernels
        self._streams = _streams(self.transforms)
        self._placed: dict[Any, tuple[Tensor, Tensor, ChannelAffine]] = {}

    # -- calling -----------------------------------------------------------------------------------

    # Keywords that it does not know are errors: a misspelt target would stay out of step.
    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        x: Any,
        split_idx: int | None = 0,
        *,
        masks: Tensor | None = None,
        points: Tensor | None = None,
        boxes: Tensor | None = None,
        keys: Tensor | None = None,
        seed: int | None = None,
    ) -> Any:
        """Augment images, with their targets, or a batch.

        Args:
            x: Images, (n, channels, height, width), uint8 in [0, 255] or floating point in [0, 1];
                or a tuple of semantic tensors, in which `TensorImage`, `TensorMask`, `TensorPoint`
                and `TensorBBox` (both in unit coordinates) are changed in step.
            split_idx: 0: training; 1: validation, where only resizes happen (and `Normalize`).
            masks: (n, height, width) or (n, c, height, width).
            points: (n, k, 2) in pixels; see `coordinates.py`.
            boxes: (n, k, 4) in pixels.
            keys: int64 (n,), one a sample; the same keys give the same result.
            seed: Instead of keys.

        Returns:
            Images, if no targets are given; else `Augmented`; for a tuple, a tuple.
        """
        if self.split_idx is not None and self.split_idx != split_idx:
            return x
        if isinstance(x, tuple):
            return augment_batch(self, x, split_idx, keys)
        targets = masks is not None or points is not None or boxes is not None
        result = self.apply(plain(x), split_idx, masks, points, boxes, keys, seed)
        if not targets:
            images = result.images
            return images if type(x) is Tensor else images.as_subclass(type(x))
        return result

    def apply(
        self,
        images: Tensor,
        split_idx: int | None = 0,
        masks: Tensor | None = None,
        points: Tensor | None = None,
        boxes: Tensor | None = None,
        keys: Tensor | None = None,
        seed: int | None = None,
    ) -> Augmented:
        """`__call__` on plain tensors, always returning `Augmented`."""
        _check_images(images)
        plan = self.plan(images, split_idx, keys, seed)
        found = Augmented(self.render(plan, images))
        if masks is not None:
            check_masks(masks, images)
            found = found._replace(masks=plan.masks(plain(masks)))
        if points is not None:
            check_points(points, images)
            moved, valid = plan.points(plain(points), self.outside)
            found = found._replace(points=moved, points_valid=valid)
        if boxes is not None:
            check_boxes(boxes, images)
            moved, valid = plan.boxes(plain(boxes), self.outside, self.min_visible)
            found = found._replace(boxes=moved, boxes_valid=valid)
        return found

    def render(self, plan: Plan, images: Tensor) -> Tensor:
        """Run a plan on the images that it was made for."""
        dtype = self.dtype
        if dtype is None:
            dtype = images.dtype if images.is_floating_point() else torch.float32
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return render(plan.segments, images, dtype, (layout, self.kernels))

    # -- planning ----------------------------------------------------------------------------------

    def plan(
        self,
        images: Tensor,
        split_idx: int | None = 0,
        keys: Tensor | None = None,
        seed: int | None = None,
    ) -> Plan:
        """Draw for every transform and compose what they state."""
        n, _, height, width = images.shape
        frame = Frame(height, width)
        plan = Plan([Segment(frame, frame, scale=_input_scale(images, self.transforms))], frame)
        drawn = self._draw(images, keys, seed) if split_idx in (0, None) else None
        like = torch.ones(n, device=images.device)
        for index, transform in enumerate(self.transforms):
            if isinstance(transform, Augmentation):
                if drawn is not None:
                    parts = transform.declare(drawn[index], plan.frame)
                else:
                    parts = transform.settled(like, plan.frame)
                for part in [parts] if isinstance(parts, Part) else parts:
                    plan.add(part, transform.sampling)
            elif isinstance(transform, Normalize):
                plan.add(self._standardizing(transform, images), None)
        return plan

    def _draw(self, images: Tensor, keys: Tensor | None, seed: int | None) -> dict[int, Drawn]:
        n = images.shape[0]
        keys = _keys(n, images.device, keys, seed)
        if not self._streams:
            return {}
        streamed = torch.cat([keys + salt for salt in self._streams.values()])
        most = max(self.transforms[index].draws for index in self._streams)
        numbers = uniform(streamed, 1 + most).unflatten(1, (len(self._streams), n))
        drawn = {}
        for place, index in enumerate(self._streams):
            transform: Augmentation = self.transforms[index]
            own = numbers[:, place]
            own = own[:, :1].expand_as(own) if transform.batch else own
            stream = streamed[place * n : (place + 1) * n]
            stream = stream[:1].expand_as(stream) if transform.batch else stream
            rows = own[1 : 1 + transform.draws]
            drawn[index] = Drawn(rows, own[0] < transform.p, stream, images)
        return drawn

    def _standardizing(self, transform: Normalize, images: Tensor) -> ChannelAffine:
        """`Normalize` as an affine map on the device of the images, kept for the next batch."""
        mean, std = _statistics(transform, images.shape[1])
        key = (id(mean), id(std), images.device)
        if key not in self._placed:
            affine = channel_affine(1 / std, -mean / std, images)
            if torch.compiler.is_compiling():
                return affine
            self._placed[key] = (mean, std, affine)  # with the tensors, so that ids stay theirs
        return self._placed[key][2]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_placed": {}}

    # -- fusing ------------------------------------------------------------------------------------

    def fuse(self, following: Any) -> "Augment | None":
        """One engine for this one and what follows it, or None where that states no part."""
        if isinstance(following, Augmentation | IntToFloatTensor | Normalize):
            return self._with([*self.transforms, following])
        if isinstance(following, Augment):
            return self._with([*self.transforms, *following.transforms])
        return None

    def absorb(self, earlier: Any) -> "Augment | None":
        """One engine for a conversion to float and this one, which follows it."""
        if isinstance(earlier, IntToFloatTensor):
            return self._with([earlier, *self.transforms])
        return None

    def _with(self, transforms: Sequence[Any]) -> "Augment":
        return Augment(
            *transforms,
            dtype=self.dtype,
            channels_last=self.channels_last,
            outside=self.outside,
            min_visible=self.min_visible,
            kernels=self.kernels,
            split_idx=self.split_idx,
        )


def _flattened(transforms: Any) -> Any:
    for transform in transforms:
        if isinstance(transform, Augment):
            yield from transform.transforms
        elif isinstance(transform, list | tuple):
            yield from _flattened(transform)
        else:
            yield transform


def _streams(transforms: Sequence[Any]) -> dict[int, int]:
    """The stream of each transform that draws, by its place in the list."""
    seen: dict[str, int] = {}
    streams = {}
    for index, transform in enumerate(transforms):
        if isinstance(transform, Augmentation):
            name = type(transform).__name__
            seen[name] = seen.get(name, -1) + 1
            streams[index] = mix(zlib.crc32(name.encode()), seen[name])
    return streams


def _keys(n: int, device: torch.device, keys: Tensor | None, seed: int | None) -> Tensor:
    if keys is None and seed is None:
        return current_keys(n, device)
    if keys is None:
        return torch.arange(n, device=device) + mix(int(seed or 0))
    if seed is not None:
        raise ValueError("give keys or a seed, not both")
    if keys.shape != (n,) or keys.dtype != torch.int64:
        raise ValueError(
            f"keys must be int64 of shape ({n},), one a sample, got {keys.dtype} of shape "
            f"{tuple(keys.shape)}"
        )
    return keys.to(device)


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(
            f"images must be a tensor (n, channels, height, width), got {type(images).__name__}: "
            "images of different sizes have to be brought to one size before they are batched "
            "(item_tfms=Resize(size))"
        )
    if images.ndim != 4:
        raise ValueError(
            f"images must be (n, channels, height, width), got shape {tuple(images.shape)}"
        )
    if not images.is_floating_point() and images.dtype != torch.uint8:
        raise TypeError(
            f"images must be uint8 in [0, 255] or floating point in [0, 1], got {images.dtype}"
        )


def _input_scale(images: Tensor, transforms: Sequence[Any]) -> float:
    """What values are multiplied by to lie in [0, 1]."""
    if images.is_floating_point():
        return 1.0
    return next((1 / t.div for t in transforms if isinstance(t, IntToFloatTensor)), 1 / 255)


def _statistics(transform: Normalize, channels: int) -> tuple[Tensor, Tensor]:
    mean, std = transform.mean, transform.std
    if mean is None or std is None:
        raise ValueError(
            "Normalize has no statistics: use Normalize.from_stats or let a loader set it up"
        )
    if mean.numel() not in (1, channels):
        raise ValueError(f"Normalize has {mean.numel()} means for images of {channels} channels")
    return mean, std
