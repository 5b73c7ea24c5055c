"""Real image files of every kind, written by Pillow, read back and compared."""

import copy
import io
import pickle
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torte.data.errors import ImageReadError, MissingImageError
from torte.data.images import PILBase, PILImage, PILImageBW, PILMask, image2tensor, load_image
from torte.data.tensors import TensorImage, TensorImageBW, TensorMask


@pytest.fixture
def photo():
    """40 high, 60 wide: smooth colours, so that JPEG comes close."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([x * 4, y * 6, (x + y) * 2], -1).astype(np.uint8)


def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def write(tmp_path, data, name="image"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_files_come_back_exactly(tmp_path, photo, form):
    options = {"lossless": True} if form == "WEBP" else {}
    path = write(tmp_path, encoded(Image.fromarray(photo), form, **options))
    for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes())):
        image = PILImage.create(source)
        assert type(image) is PILImage
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), photo)
    with path.open("rb") as stream:
        np.testing.assert_array_equal(np.asarray(PILImage.create(stream)), photo)
        assert not stream.closed


def test_jpeg_is_what_pillow_decodes(tmp_path, photo):
    path = write(tmp_path, encoded(Image.fromarray(photo), "JPEG", quality=95))
    expected = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(PILImage.create(path)), expected)


def test_greyscale_and_colour(photo):
    grey = Image.fromarray(photo).convert("L")
    data = encoded(grey, "PNG")
    assert PILImage.create(data).to_tensor().shape == (3, 40, 60)
    image = PILImageBW.create(data)
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), np.asarray(grey))
    assert PILImageBW.create(encoded(Image.fromarray(photo), "PNG")).mode == "L"


def test_cmyk(photo):
    data = encoded(Image.fromarray(photo).convert("CMYK"), "TIFF")
    values = np.asarray(PILImage.create(data)).astype(int)
    assert np.abs(values - photo.astype(int)).max() <= 2


def test_palette(photo):
    palette = Image.fromarray(photo).quantize(16)
    colours = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(PILImage.create(encoded(palette, "PNG"))), colours)
    see_through = encoded(palette, "PNG", transparency=bytes(range(16)))
    np.testing.assert_array_equal(np.asarray(PILImage.create(see_through)), colours)
    numbers = PILMask.create(encoded(palette, "PNG")).to_tensor()
    np.testing.assert_array_equal(numbers.numpy(), np.asarray(palette))


def test_two_values():
    bits = np.random.default_rng(0).random((8, 9)) > 0.5
    data = encoded(Image.fromarray(bits), "PNG")
    assert torch.equal(
        torch.Tensor.as_subclass(PILMask.create(data).to_tensor(), torch.Tensor),
        torch.from_numpy(bits.astype(np.uint8)),
    )
    np.testing.assert_array_equal(np.asarray(PILImageBW.create(data)), bits * np.uint8(255))


def test_sixteen_bits():
    values = (np.arange(2400).reshape(40, 60) * 27).astype(np.uint16)
    data = encoded(Image.fromarray(values), "PNG")
    np.testing.assert_array_equal(np.asarray(PILImageBW.create(data)), values >> 8)
    np.testing.assert_array_equal(np.asarray(PILImage.create(data))[..., 1], values >> 8)
    mask = PILMask.create(data).to_tensor()
    assert mask.dtype == torch.int32
    np.testing.assert_array_equal(mask.numpy(), values)
    few = PILMask.create(encoded(Image.fromarray((values % 5).astype(np.uint16)), "PNG"))
    assert few.to_tensor().dtype == torch.uint8
    np.testing.assert_array_equal(few.to_tensor().numpy(), values % 5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.linspace(0, 1, 12), np.linspace(0, 255, 12)),
        (np.linspace(0, 255, 12), np.linspace(0, 255, 12)),
        (np.linspace(0, 65535, 12), np.linspace(0, 255, 12)),
    ],
)
def test_floats(values, expected):
    data = encoded(Image.fromarray(values.reshape(3, 4).astype(np.float32)), "TIFF")
    got = np.asarray(PILImageBW.create(data)).ravel()
    assert np.abs(got - expected).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_orientation(photo, orientation, form):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"quality": 95} if form == "JPEG" else {}
    stored = encoded(Image.fromarray(photo), form, exif=exif, **lossless)
    upright = {
        1: photo,
        2: photo[:, ::-1],
        3: photo[::-1, ::-1],
        4: photo[::-1],
        5: photo.transpose(1, 0, 2),
        6: np.rot90(photo, -1),
        7: photo[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(photo),
    }[orientation]
    got = np.asarray(PILImage.create(stored)).astype(int)
    assert got.shape == upright.shape
    assert np.abs(got - upright.astype(int)).mean() < (4 if form == "JPEG" else 1e-9)


def test_animation_gives_its_first_frame(photo):
    frames = [Image.fromarray(photo), Image.fromarray(255 - photo)]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(np.asarray(PILImage.create(data)), photo)


def test_draft_is_smaller_but_never_below_what_was_asked(photo):
    large = Image.fromarray(photo).resize((800, 600))
    data = encoded(large, "JPEG")
    assert PILImage.create(data).size == (800, 600)
    drafted = PILImage.create(data, draft=(150, 100))
    assert drafted.size == (200, 150)
    assert PILImage.create(encoded(large, "PNG"), draft=(150, 100)).size == (800, 600)
    assert load_image(data).size == (800, 600)


def test_missing_file(tmp_path):
    path = tmp_path / "no such.jpg"
    with pytest.raises(MissingImageError, match=r"^there is no image file '.*no such\.jpg'$"):
        PILImage.create(path)
    with pytest.raises(FileNotFoundError):
        load_image(path)


def test_folder(tmp_path):
    with pytest.raises(ImageReadError, match=r"' is a folder; expected a whole image file"):
        PILImage.create(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_not_an_image(tmp_path, content):
    path = write(tmp_path, content, "notes.jpg")
    with pytest.raises(ImageReadError, match=r"notes\.jpg'.*expected a whole image file") as info:
        PILImage.create(path)
    assert "\n" not in str(info.value)
    assert info.value.__cause__ is not None


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_cut_off_files_never_pass_for_whole(tmp_path, photo, form, part):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), form)
    path = write(tmp_path, data[: int(len(data) * part)], "cut.img")
    with pytest.raises(ImageReadError, match=r"cut\.img'") as info:
        PILImage.create(path)
    assert "\n" not in str(info.value)


def test_damaged_png(tmp_path, photo):
    data = bytearray(encoded(Image.fromarray(photo), "PNG"))
    start = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[start - 4 : start])
    data[start + 10] ^= 0xFF
    data[start + 4 + length : start + 8 + length] = struct.pack(
        ">I", zlib.crc32(bytes(data[start : start + 4 + length]))
    )
    with pytest.raises(ImageReadError, match=r"bad\.png"):
        PILImage.create(write(tmp_path, bytes(data), "bad.png"))


def test_decompression_bomb_is_refused(monkeypatch, photo):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageReadError, match="exceeds limit"):
        PILImage.create(encoded(Image.fromarray(photo), "PNG"))


def test_wrong_sources():
    with pytest.raises(TypeError, match=r"PILImage\.create takes a path, .* got int: 3"):
        PILImage.create(3)
    with pytest.raises(ImageReadError, match=r"shape \(2, 3, 4, 5\) is no image"):
        PILImage.create(np.zeros((2, 3, 4, 5)))
    with pytest.raises(ImageReadError, match=r"shape \(3, 8, 9\) is no image.*channels first"):
        PILImage.create(np.zeros((3, 8, 9)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16, torch.float64])
def test_from_tensors_and_arrays(photo, dtype):
    values = torch.from_numpy(photo.copy()).permute(2, 0, 1)
    tensor = values if dtype == torch.uint8 else (values.float() / 255).to(dtype)
    got = np.asarray(PILImage.create(tensor)).astype(int)
    assert np.abs(got - photo.astype(int)).max() <= (1 if dtype == torch.bfloat16 else 0)
    np.testing.assert_array_equal(np.asarray(PILImage.create(photo)), photo)


def test_masks_from_tensors():
    small = torch.randint(0, 200, (5, 6))
    assert PILMask.create(small).mode == "L"
    assert torch.equal(
        PILMask.create(TensorMask(small)).to_tensor().long().as_subclass(torch.Tensor), small
    )
    large = torch.randint(300, 70000, (5, 6))
    assert PILMask.create(large).to_tensor().tolist() == large.tolist()
    assert PILMask.create(torch.tensor([[True, False]])).to_tensor().tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("kind", "tensor_kind", "shape"),
    [
        (PILBase, TensorImage, (3, 40, 60)),
        (PILImage, TensorImage, (3, 40, 60)),
        (PILImageBW, TensorImageBW, (1, 40, 60)),
        (PILMask, TensorMask, (40, 60)),
    ],
)
def test_tensors(photo, kind, tensor_kind, shape):
    image = kind.create(photo)
    tensor = image.to_tensor()
    assert type(tensor) is tensor_kind
    assert tensor.dtype == torch.uint8
    assert tensor.shape == shape
    np.testing.assert_array_equal(
        tensor.numpy().reshape(shape),
        np.asarray(image).reshape(40, 60, -1).transpose(2, 0, 1).reshape(shape),
    )
    tensor[...] = 0  # a tensor of its own: writable, and the image stays
    assert np.asarray(image).max() > 0


def test_colour_tensors_are_views_of_interleaved_memory(photo):
    tensor = image2tensor(PILImage.create(photo))
    assert tensor.stride() == (1, 180, 3)


def test_class_stays_through_pillows_methods(photo):
    image = PILImage.create(photo)
    changed = [
        image.resize((20, 10)),
        image.crop((0, 0, 5, 5)),
        image.rotate(30),
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        image.copy(),
        image.convert("L"),
        image.point(lambda value: value),
        copy.deepcopy(image),
        pickle.loads(pickle.dumps(image)),
    ]
    assert [type(each) for each in changed] == [PILImage] * len(changed)
    np.testing.assert_array_equal(np.asarray(changed[-1]), photo)


def test_an_image_made_from_another_does_not_change_with_it(photo):
    source = Image.fromarray(photo)
    image = PILImage.create(source)
    image.putpixel((0, 0), (1, 2, 3))
    assert source.getpixel((0, 0)) == tuple(photo[0, 0])
    assert image.getpixel((0, 0)) == (1, 2, 3)
    assert PILImage.create(image) is image
    assert type(PILMask.create(image)) is PILMask


def test_measures(photo):
    image = PILImage.create(photo)
    assert image.shape == (40, 60)
    assert image.size == (60, 40)
    assert image.aspect == 1.5
    assert image.n_px == 2400
    assert repr(image) == "PILImage mode=RGB size=60x40"


def test_shown(photo):
    ax = PILImage.create(photo).show(title="photo", figsize=(2, 2))
    np.testing.assert_array_equal(ax.images[0].get_array(), photo)
    assert ax.get_title() == "photo"
    assert ax.figure.get_size_inches().tolist() == [2, 2]
    PILMask.create(np.ones((40, 60), np.uint8)).show(ctx=ax)
    assert ax.images[1].get_alpha() == 0.5


def test_sizes_and_bytes_of_an_image(photo):
    image = PILImage.create(photo)  # 40 high, 60 wide
    assert image.reshape(10, 20).shape == (10, 20)
    assert image.resize_max(max_h=20).shape == (20, 30)
    assert image.resize_max(max_w=30, max_h=10).shape == (10, 15)
    assert image.resize_max(max_px=600).shape == (20, 30)
    assert image.resize_max(max_px=10**6) is image
    assert image.to_thumb(30).shape == (20, 30)
    assert image.to_thumb(10, 30).shape == (10, 15)
    assert image.shape == (40, 60)
    assert type(image.to_thumb(8)) is PILImage
    assert np.array_equal(np.asarray(PILImage.create(image.to_bytes_format())), photo)
    assert image.to_bytes_format("jpeg")[:2] == b"\xff\xd8"
