"""Pillow images with a meaning: pictures, greyscale pictures and masks.

`create` reads a file (or bytes, an array, a tensor, another image) into the mode of the class:
orientation from EXIF applied, palettes, CMYK and 16-bit values converted, of an animation the
first frame. `to_tensor` gives the semantic tensor that belongs to the class. What Pillow's own
methods return (`resize`, `crop`, …) keeps the class.
"""

import io
import os
import struct
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from torte.data.errors import ImageReadError, MissingImageError
from torte.data.showing import show_image
from torte.data.tensors import TensorBase, TensorImage, TensorImageBW, TensorMask, plain
from torte.dispatch import serializable

__all__ = ["PILBase", "PILImage", "PILImageBW", "PILMask", "image2tensor", "load_image"]

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)
_EXPECTED = "expected a whole image file that Pillow reads (JPEG, PNG, WebP, GIF, TIFF, …)"
_ORIENTATION = 0x0112


def _name_of(source: Any) -> str:
    """How to call `source` in a message."""
    if isinstance(source, (str, os.PathLike)):
        return repr(os.fspath(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"{len(source)} bytes"
    return repr(getattr(source, "name", source))


def _read_error(source: Any, error: Exception) -> ImageReadError:
    """The exception that says what is wrong with `source`, on one line."""
    name = _name_of(source)
    if isinstance(error, FileNotFoundError):
        return MissingImageError(f"there is no image file {name}")
    if isinstance(error, IsADirectoryError):
        return ImageReadError(f"{name} is a folder; {_EXPECTED}")
    if isinstance(error, PermissionError):
        return ImageReadError(f"{name} may not be read: {error.strerror}")
    if isinstance(error, UnidentifiedImageError):
        return ImageReadError(f"{name} is not an image: {_EXPECTED}")
    reason = " ".join(str(error).split()) or type(error).__name__
    return ImageReadError(f"cannot read image {name}: {reason}; {_EXPECTED}")


def _decode(source: Any, draft: tuple[int, int] | None) -> Image.Image:
    """The pixels of `source`, the right way up, in the file's own mode."""
    stream = io.BytesIO(source) if isinstance(source, (bytes, bytearray, memoryview)) else source
    try:
        with Image.open(stream) as image:
            if draft is not None:
                image.draft("RGB" if image.mode == "RGB" else image.mode, draft)
            image.load()
            orientation = image.getexif().get(_ORIENTATION, 1)
            upright = ImageOps.exif_transpose(image) if orientation != 1 else image
            return upright._new(upright.im) if upright is image else upright
    except _BROKEN as error:
        raise _read_error(source, error) from error


def _narrowed(image: Image.Image) -> Image.Image:
    """An image of wide integers or floats with its values brought to 8 bits."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        narrow = values >> 8
    else:
        top = float(values.max(initial=0))
        scales = ((1.0, 255.0), (255.0, 1.0), (65535.0, 1 / 257), (float("inf"), 2.0**-24))
        if values.dtype.kind != "f":
            scales = scales[1:]
        narrow = values * next(scale for limit, scale in scales if top <= limit)
    return Image.fromarray(narrow.clip(0, 255).astype(np.uint8))


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """`image` in `mode`, with palettes, transparency and wide values seen to."""
    if image.mode == mode:
        return image
    if image.mode[:1] in ("I", "F") and mode in ("L", "RGB", "RGBA"):
        image = _narrowed(image)
    elif image.mode in ("P", "PA") and (image.mode == "PA" or "transparency" in image.info):
        image = image.convert("RGBA")  # Pillow warns when this step is left out
    return image if image.mode == mode else image.convert(mode)


def _class_numbers(image: Image.Image, mode: str) -> Image.Image:
    """A mask's class numbers: of a palette the indices, of wide integers the values."""
    if image.mode == "P":
        return Image.fromarray(np.asarray(image))
    if image.mode == "1":
        return Image.fromarray(np.asarray(image).astype(np.uint8))
    if image.mode[:1] == "I":
        values = np.asarray(image)
        wide = int(values.max(initial=0)) > 255
        return Image.fromarray(values.astype(np.int32 if wide else np.uint8))
    return _converted(image, mode)


def load_image(
    fn: Any, mode: str | None = None, draft: tuple[int, int] | None = None
) -> Image.Image:
    """Read an image file.

    Args:
        fn: A path, an open binary file or the bytes of a file.
        mode: The Pillow mode to convert to; the file's own if `None`.
        draft: Decode a JPEG at a reduced size that is still at least this (width, height). Faster,
            but the pixels differ from those of the whole decode scaled down.

    Raises:
        MissingImageError: If there is no such file.
        ImageReadError: If it is no image, or is cut off or damaged.
    """
    image = _decode(fn, draft)
    return image if mode is None else _convert(fn, image, mode, _converted)


def _convert(
    source: Any, image: Image.Image, mode: str, by: Callable[[Image.Image, str], Image.Image]
) -> Image.Image:
    try:
        return by(image, mode)
    except ValueError as error:
        raise ImageReadError(
            f"cannot convert image {_name_of(source)} from mode {image.mode!r} to {mode!r}: {error}"
        ) from error


def _array_image(array: np.ndarray) -> Image.Image:
    """An image of an array of shape (H, W) or (H, W, C); floats are taken to lie in [0, 1]."""
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (2, 3, 4)):
        raise ImageReadError(
            f"an array of shape {array.shape} is no image: expected (H, W) or (H, W, C) with 1, 3"
            " or 4 channels; a tensor has its channels first"
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype.kind == "f":
        array = (array * 255).round().clip(0, 255).astype(np.uint8)
    elif array.dtype in (np.int64, np.uint32, np.int16, np.uint64):
        array = array.astype(np.int32)
    elif array.dtype == np.int8:
        array = array.astype(np.uint8)
    if array.ndim == 3 and array.dtype != np.uint8:
        array = array.clip(0, 255).astype(np.uint8)
    elif array.dtype == np.int32 and array.size and array.min() >= 0 and array.max() <= 255:
        array = array.astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array))


def _tensor_image(tensor: Tensor) -> Image.Image:
    """An image of a tensor of shape (H, W) or (C, H, W)."""
    values = plain(tensor).detach().cpu()
    if values.dtype in (torch.bfloat16, torch.float16):
        values = values.float()
    if values.ndim == 3:
        values = values.permute(1, 2, 0)
    return _array_image(values.numpy())


def _raw_image(source: Any, draft: tuple[int, int] | None) -> Image.Image | None:
    """The image of anything that holds one, in its own mode; `None` if this does not."""
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, Tensor):
        return _tensor_image(source)
    if isinstance(source, np.ndarray):
        return _array_image(source)
    if isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)):
        return _decode(source, draft)
    return _decode(source, draft) if hasattr(source, "read") else None


class PILBase(Image.Image):
    """A Pillow image whose class says what it shows."""

    _mode_wanted: str = "RGB"
    _show_args: dict[str, Any] = {"cmap": "viridis"}  # noqa: RUF012 - read only
    _tensor_class: type[TensorBase] = TensorImage
    _by: Callable[[Image.Image, str], Image.Image] = staticmethod(_converted)

    @classmethod
    def create(cls, fn: Any, mode: str | None = None, draft: tuple[int, int] | None = None) -> Self:
        """Read or convert `fn` into an image of this class.

        Args:
            fn: A path, an open binary file, the bytes of a file, an array of shape (H, W) or
                (H, W, C), a tensor of shape (H, W) or (C, H, W), or a Pillow image. Floats are
                taken to lie in [0, 1].
            mode: The Pillow mode; the one of the class if `None`.
            draft: See `load_image`.

        Raises:
            MissingImageError: If there is no such file.
            ImageReadError: If it is no image, or is cut off or damaged.
        """
        image = _raw_image(fn, draft)
        if image is None:
            raise TypeError(
                f"{cls.__name__}.create takes a path, bytes, an array, a tensor or an image,"
                f" got {type(fn).__name__}: {fn!r}"
            )
        return cls._of(_convert(fn, image, mode or cls._mode_wanted, cls._by))

    @classmethod
    def _of(cls, image: Image.Image) -> Self:
        """`image` as this class; pixels are shared until one of the two is changed."""
        if type(image) is cls:
            return image
        image.load()
        result = Image.Image._new(image, image.im)
        result.readonly = 1  # Pillow copies before it changes such an image in place
        result.__class__ = cls
        return result  # type: ignore[return-value]

    def _new(self, im: Any) -> Self:
        """Pillow's own methods build their results here: keep the class."""
        result = super()._new(im)
        result.__class__ = type(self)
        return result  # type: ignore[return-value]

    def transform(self, *args: Any, **kwargs: Any) -> Self:
        """As Pillow's (`rotate` goes through it too), but keeps the class."""
        return self._of(super().transform(*args, **kwargs))

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.size[1], self.size[0]

    @property
    def aspect(self) -> float:
        """Width by height."""
        return self.size[0] / self.size[1]

    @property
    def n_px(self) -> int:
        """Number of pixels."""
        return self.size[0] * self.size[1]

    def reshape(self, h: int, w: int, resample: int = 0) -> Self:
        """Scaled to height `h` and width `w`; `resample` is one of Pillow's filters."""
        return self if self.shape == (h, w) else self._of(self.resize((w, h), resample=resample))

    def resize_max(
        self,
        resample: int = 0,
        max_px: int | None = None,
        max_h: int | None = None,
        max_w: int | None = None,
    ) -> Self:
        """Scaled down, with its aspect, until it keeps to every limit that is given.

        Args:
            resample: one of Pillow's filters.
            max_px: the most pixels.
            max_h: the greatest height.
            max_w: the greatest width.
        """
        limits = [1.0]
        if max_px is not None:
            limits.append((max_px / self.n_px) ** 0.5)
        if max_h is not None:
            limits.append(max_h / self.size[1])
        if max_w is not None:
            limits.append(max_w / self.size[0])
        height, width = (max(1, round(side * min(limits))) for side in self.shape)
        return self.reshape(height, width, resample=resample)

    def to_thumb(self, h: int, w: int | None = None) -> Self:
        """A copy scaled down, with its aspect, to fit into height `h` and width `w` (or `h`)."""
        small = self._of(self.copy())
        small.thumbnail((h if w is None else w, h))
        return small

    def to_bytes_format(self, format: str = "png") -> bytes:
        """The bytes of a file in a format."""
        buffer = io.BytesIO()
        self.save(buffer, format=format)
        return buffer.getvalue()

    def to_tensor(self) -> TensorBase:
        """The pixels as the semantic tensor of this class."""
        return self._tensor_class(image2tensor(self))

    def show(  # pyright: ignore[reportIncompatibleMethodOverride] - Pillow's opens a viewer
        self, ctx: Any = None, **kwargs: Any
    ) -> Any:
        """Draw it on the axes `ctx`; see `show_image`."""
        return show_image(self, ctx=ctx, **{**self._show_args, **kwargs})

    def __repr__(self) -> str:
        return f"{type(self).__name__} mode={self.mode} size={self.size[0]}x{self.size[1]}"


@serializable
class PILImage(PILBase):
    """A colour image; its tensor is a uint8 `TensorImage` of shape (3, H, W)."""


@serializable
class PILImageBW(PILImage):
    """A greyscale image; its tensor is a uint8 `TensorImageBW` of shape (1, H, W)."""

    _mode_wanted = "L"
    _show_args = {"cmap": "Greys_r"}  # noqa: RUF012
    _tensor_class = TensorImageBW


@serializable
class PILMask(PILBase):
    """Class numbers by pixel; its tensor is a `TensorMask` of shape (H, W).

    Of a palette image the class numbers are the indices, of a two-valued image 0 and 1; values
    above 255 are kept (int32).
    """

    _mode_wanted = "L"
    _show_args = {"alpha": 0.5, "cmap": "tab20", "interpolation": "nearest"}  # noqa: RUF012
    _tensor_class = TensorMask
    _by = staticmethod(_class_numbers)

    def to_tensor(self) -> TensorBase:
        """The class numbers: uint8 (or int32 if there are larger ones) of shape (H, W)."""
        return TensorMask(image2tensor(self)[0])


def image2tensor(img: Image.Image) -> Tensor:
    """The pixels of a Pillow image as a tensor of shape (C, H, W), uint8 for 8-bit modes.

    The tensor's memory is (H, W, C), as the image's: a channels-last view, made with one copy.
    """
    pixels = torch.tensor(np.asarray(img))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
