"""Files as items: every file below a folder, by ending, by subfolder, in a fixed order."""

import mimetypes
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from torte.dispatch import L

__all__ = [
    "FileGetter",
    "ImageGetter",
    "get_files",
    "get_image_files",
    "get_text_files",
    "image_extensions",
]

image_extensions: frozenset[str] = frozenset(
    ending for ending, kind in mimetypes.types_map.items() if kind.startswith("image/")
) | {".webp", ".avif", ".jp2", ".jfif", ".apng"}
"""File endings that mean an image, in lower case with their dot."""


def _check_folder(path: Path) -> None:
    if not path.exists():
        near = next((p for p in path.parents if p.exists()), None)
        hint = f"; the nearest folder that exists is {str(near)!r}" if near else ""
        raise FileNotFoundError(f"there is no folder {str(path)!r}{hint}")
    if not path.is_dir():
        raise NotADirectoryError(f"{str(path)!r} is a file; a folder of files was expected")


def _walk(
    path: str, recurse: bool, folders: Collection[str], followlinks: bool
) -> Iterator[tuple[str, list[str]]]:
    """Folders with their visible file names, in sorted order; `folders` bounds the top level."""
    for level, (folder, subfolders, names) in enumerate(os.walk(path, followlinks=followlinks)):
        is_top = level == 0
        # os.walk descends into what is left in the list that it handed out.
        subfolders[:] = sorted(
            name
            for name in subfolders
            if recurse and (name in folders if is_top and folders else not name.startswith("."))
        )
        if not (is_top and folders and "." not in folders):
            yield folder, sorted(name for name in names if not name.startswith("."))


def get_files(
    path: str | os.PathLike[str],
    extensions: str | Collection[str] | None = None,
    recurse: bool = True,
    folders: str | Collection[str] | None = None,
    followlinks: bool = True,
) -> L:
    """Every file below `path` that is not hidden, in sorted order.

    Args:
        path: The folder to look in.
        extensions: Endings to keep (any case, with their dot); all if not given.
        recurse: Whether to look into subfolders.
        folders: Names of the only subfolders of `path` to look into; `"."` stands for `path`
            itself.
        followlinks: Whether to follow links to folders.

    Returns:
        An `L` of `Path`s; empty when nothing matches.

    Raises:
        FileNotFoundError: There is no `path`.
        NotADirectoryError: `path` is a file.
    """
    root = Path(path)
    _check_folder(root)
    only = {folders} if isinstance(folders, str) else set(folders or ())
    endings = {extensions} if isinstance(extensions, str) else extensions
    wanted = tuple(e.lower() for e in endings) if endings is not None else ("",)
    return L(
        [
            Path(folder, name)
            for folder, names in _walk(str(root), recurse, only, followlinks)
            for name in names
            if name.lower().endswith(wanted)
        ]
    )


def get_image_files(
    path: str | os.PathLike[str],
    recurse: bool = True,
    folders: str | Collection[str] | None = None,
) -> L:
    """Every image file below `path`, by ending (see `get_files`)."""
    return get_files(path, extensions=image_extensions, recurse=recurse, folders=folders)


def get_text_files(
    path: str | os.PathLike[str],
    recurse: bool = True,
    folders: str | Collection[str] | None = None,
) -> L:
    """Every `.txt` file below `path` (see `get_files`)."""
    return get_files(path, extensions={".txt"}, recurse=recurse, folders=folders)


class FileGetter:
    """`get_files` with its arguments fixed, for `DataBlock(get_items=...)`.

    Args:
        suf: A subfolder of the path that is given later.
        extensions: As for `get_files`.
        recurse: As for `get_files`.
        folders: As for `get_files`.
    """

    def __init__(
        self,
        suf: str = "",
        extensions: str | Collection[str] | None = None,
        recurse: bool = True,
        folders: str | Collection[str] | None = None,
    ) -> None:
        self.suf, self.extensions, self.recurse, self.folders = suf, extensions, recurse, folders

    def __call__(self, path: str | os.PathLike[str]) -> L:
        """The files below `path / suf`."""
        return get_files(Path(path) / self.suf, self.extensions, self.recurse, self.folders)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"


class ImageGetter(FileGetter):
    """`get_image_files` with its arguments fixed, for `DataBlock(get_items=...)`."""

    def __init__(
        self, suf: str = "", recurse: bool = True, folders: str | Collection[str] | None = None
    ) -> None:
        super().__init__(suf, image_extensions, recurse, folders)
