"""Finding broken images, making smaller ones, downloading, on real files and a real server."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torte.data.images import ImageReadError
from torte.vision.files import (
    download_images,
    resize_image,
    resize_images,
    resize_to,
    verify_image,
    verify_images,
)


def save(path, size=(40, 20), mode="RGB", **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    Image.fromarray(random.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).convert(
        mode
    ).save(path, **kwargs)
    return path


def test_broken_files_are_found_in_order(tmp_path):
    good = save(tmp_path / "good.png")
    truncated = save(tmp_path / "cut.jpg", size=(200, 200))
    truncated.write_bytes(truncated.read_bytes()[:2000])
    text = tmp_path / "text.png"
    text.write_text("no image")
    empty = tmp_path / "empty.png"
    empty.touch()
    files = [text, good, truncated, tmp_path / "gone.png", empty]
    assert verify_images(files) == [text, truncated, tmp_path / "gone.png", empty]
    assert verify_image(good)
    assert verify_images([]) == []


def opened(path):
    with Image.open(path) as image:
        image.load()
        return image


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "I;16", "1"])
def test_unusual_kinds_of_images_are_no_broken_ones(tmp_path, mode):
    path = tmp_path / f"a.{'tif' if mode == 'CMYK' else 'png'}"
    Image.new(mode, (5, 4)).save(path)
    assert verify_image(path)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 600), st.booleans())
def test_size_keeps_proportions(width, height, target, use_min):
    new_width, new_height = resize_to(Image.new("1", (width, height)), target, use_min)
    side = (min if use_min else max)(new_width, new_height)
    assert side == target
    assert abs(new_width - width * new_height / height) <= 0.5 + max(width / height, 0.5)
    with pytest.raises(ValueError, match="at least 1 pixel, got 0"):
        resize_to(Image.new("1", (1, 1)), 0)


def test_smaller_copies_keep_folders(tmp_path):
    save(tmp_path / "src/a/wide.png", size=(100, 50))
    save(tmp_path / "src/b/small.png", size=(10, 8))
    save(tmp_path / "src/top.png", size=(30, 90))
    written = resize_images(tmp_path / "src", max_size=60, recurse=True, dest=tmp_path / "dst")
    sizes = {p.relative_to(tmp_path / "dst").as_posix(): opened(p).size for p in written}
    assert sizes == {"a/wide.png": (60, 30), "b/small.png": (10, 8), "top.png": (20, 60)}
    shallow = resize_images(tmp_path / "src", max_size=60, dest=tmp_path / "flat")
    assert [p.name for p in shallow] == ["top.png"]


def test_unchanged_images_are_copied_byte_by_byte(tmp_path):
    source = save(tmp_path / "src/a.jpg", quality=70)
    written = resize_image("a.jpg", tmp_path / "dst", src=tmp_path / "src", max_size=500)
    assert written.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(("n_channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_channels_and_ending(tmp_path, n_channels, mode):
    save(tmp_path / "a.png", mode="P")
    written = resize_image("a.png", tmp_path / "d", tmp_path, n_channels=n_channels, ext=".tif")
    assert written.name == "a.tif"
    assert opened(written).mode == mode
    with pytest.raises(ValueError, match="n_channels must be 1, 3 or 4, got 2"):
        resize_image("a.png", tmp_path / "d", tmp_path, n_channels=2)


def test_resuming_leaves_what_is_there(tmp_path):
    save(tmp_path / "src/a.png", size=(100, 100))
    (tmp_path / "dst").mkdir()
    (tmp_path / "dst/a.png").write_text("done before")
    resize_images(tmp_path / "src", max_size=10, dest=tmp_path / "dst")
    assert (tmp_path / "dst/a.png").read_text() == "done before"
    resize_images(tmp_path / "src", max_size=10, dest=tmp_path / "dst", resume=False)
    assert opened(tmp_path / "dst/a.png").size == (10, 10)


def test_resizing_in_place(tmp_path):
    save(tmp_path / "a.png", size=(100, 100))
    resize_images(tmp_path, max_size=10, dest=tmp_path)
    assert opened(tmp_path / "a.png").size == (10, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_broken_source_leaves_nothing_behind(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.png").write_text("no image")
    with pytest.raises(ImageReadError, match=r"a\.png"):
        resize_images(tmp_path / "src", max_size=10, dest=tmp_path / "dst")
    assert not list((tmp_path / "dst").glob("*")) if (tmp_path / "dst").exists() else True


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "www"
    save(folder / "cat.png")
    save(folder / "sub/cat.png", size=(7, 7))
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_downloads_are_numbered_or_named(tmp_path, server):
    urls = [f"{server}/cat.png", f"{server}/sub/cat.png?size=2"]
    numbered = download_images(tmp_path / "n", urls=urls)
    assert [p.name for p in numbered] == ["00000000.png", "00000001.png"]
    named = download_images(tmp_path / "m", urls=urls, preserve_filename=True)
    assert [p.name for p in named] == ["cat.png", "cat-1.png"]
    assert verify_images([*numbered, *named]) == []
    assert opened(named[1]).size == (7, 7)


def test_addresses_from_a_file_and_failures(tmp_path, server):
    listed = tmp_path / "urls.txt"
    listed.write_text(f"{server}/gone.png\n{server}/cat.png\nfile:///etc/passwd\n")
    with pytest.warns(UserWarning, match="was not downloaded") as caught:
        found = download_images(tmp_path / "d", listed)
    assert [p.name for p in found] == ["00000001.png"]
    messages = sorted(str(w.message) for w in caught)
    assert len(messages) == 2
    assert "not an http or https address" in messages[0]
    assert "404" in messages[1]
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["00000001.png"]
    assert len(download_images(tmp_path / "e", urls=[f"{server}/cat.png"] * 3, max_pics=2)) == 2
    with pytest.raises(ValueError, match="either url_file or urls"):
        download_images(tmp_path / "d")


def test_an_image_of_an_absolute_path_is_not_overwritten(tmp_path):
    source = tmp_path / "large.png"
    Image.new("RGB", (50, 40)).save(source)
    written = resize_image(source.absolute(), dest=tmp_path / "small", max_size=20)
    assert written == tmp_path / "small" / "large.png"
    with Image.open(written) as small, Image.open(source) as large:
        assert (small.size, large.size) == ((20, 16), (50, 40))
