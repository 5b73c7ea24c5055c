"""Files below a folder: which, in which order, and what is said when there is no folder."""

from pathlib import Path

import pytest
from torte.data.sources import (
    FileGetter,
    ImageGetter,
    get_files,
    get_image_files,
    get_text_files,
    image_extensions,
)


@pytest.fixture
def tree(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", "sub/c.png", "sub/deep/d.txt", ".hidden/e.png"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "sub/.secret.png").touch()
    return tmp_path


def names(files, root):
    return [file.relative_to(root).as_posix() for file in files]


def test_files_are_sorted_and_hidden_ones_left_out(tree):
    found = get_files(tree)
    assert names(found, tree) == ["a.JPG", "b.png", "notes.txt", "sub/c.png", "sub/deep/d.txt"]
    assert all(isinstance(file, Path) for file in found)
    assert get_files(str(tree)) == found


def test_endings_in_any_case(tree):
    assert names(get_files(tree, ".jpg"), tree) == ["a.JPG"]
    assert names(get_files(tree, {".PNG", ".jpg"}), tree) == ["a.JPG", "b.png", "sub/c.png"]
    assert names(get_image_files(tree), tree) == ["a.JPG", "b.png", "sub/c.png"]
    assert names(get_text_files(tree), tree) == ["notes.txt", "sub/deep/d.txt"]
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".bmp"} <= image_extensions


def test_recursion_and_folders(tree):
    assert names(get_files(tree, recurse=False), tree) == ["a.JPG", "b.png", "notes.txt"]
    assert names(get_files(tree, folders="sub"), tree) == ["sub/c.png", "sub/deep/d.txt"]
    assert names(get_files(tree, folders=["sub", "."]), tree)[-1] == "sub/deep/d.txt"
    assert names(get_image_files(tree, folders=["sub", "."]), tree) == [
        "a.JPG",
        "b.png",
        "sub/c.png",
    ]
    assert get_files(tree, folders=["nowhere"]) == []


def test_linked_folders(tree, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "linked.png").touch()
    (tree / "link").symlink_to(other, target_is_directory=True)
    assert "link/linked.png" in names(get_files(tree), tree)
    assert "link/linked.png" not in names(get_files(tree, followlinks=False), tree)


def test_getters_with_fixed_arguments(tree):
    assert names(ImageGetter("sub")(tree), tree) == ["sub/c.png"]
    assert names(FileGetter(extensions=".txt", recurse=False)(tree), tree) == ["notes.txt"]
    assert repr(FileGetter("sub")) == (
        "FileGetter(suf='sub', extensions=None, recurse=True, folders=None)"
    )


def test_a_missing_folder_is_named_with_the_nearest_that_exists(tree):
    with pytest.raises(FileNotFoundError, match=rf"no folder '{tree}/x/y'.* exists is '{tree}'"):
        get_files(tree / "x/y")
    with pytest.raises(NotADirectoryError, match=r"b\.png' is a file; a folder"):
        get_image_files(tree / "b.png")


def test_an_empty_folder_has_no_files(tmp_path):
    assert get_files(tmp_path) == []
