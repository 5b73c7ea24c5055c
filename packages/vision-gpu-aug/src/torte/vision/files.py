"""Collections of image files: finding broken ones, making smaller copies, downloading."""

import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image, UnidentifiedImageError

from torte.data.images import ImageReadError, load_image
from torte.data.sources import get_image_files
from torte.dispatch import L

__all__ = [
    "download_images",
    "resize_image",
    "resize_images",
    "resize_to",
    "verify_image",
    "verify_images",
]

Result = TypeVar("Result")
FilePath = str | os.PathLike[str]


def verify_image(fn: FilePath) -> bool:
    """Whether the file can be read to its end as an image."""
    try:
        with warnings.catch_warnings():
            # A strange EXIF entry, say, does not keep the pixels from being read.
            warnings.simplefilter("ignore")
            load_image(fn)
    except (ImageReadError, UnidentifiedImageError, Image.DecompressionBombError, ValueError):
        return False
    return True


def verify_images(fns: Iterable[FilePath], max_workers: int | None = None) -> L:
    """The files among `fns` that are no images, or are damaged.

    Every image is decoded to its end, so truncated files are found too. `failed.map(Path.unlink)`
    then removes them.

    Args:
        fns: Paths.
        max_workers: Threads, as many as there are processors by default.

    Returns:
        The failing ones, in the order given.
    """
    paths = [Path(fn) for fn in fns]
    good = _in_threads(verify_image, paths, max_workers)
    return L([path for path, is_good in zip(paths, good, strict=True) if not is_good])


def resize_to(img: Image.Image, targ_sz: int, use_min: bool = False) -> tuple[int, int]:
    """The (width, height) with `img`'s proportions whose longer side is `targ_sz`.

    Args:
        img: The image.
        targ_sz: Pixels, at least 1.
        use_min: Whether the shorter side shall be `targ_sz` instead.
    """
    if targ_sz < 1:
        raise ValueError(f"the size must be at least 1 pixel, got {targ_sz!r}")
    width, height = img.size
    ratio = targ_sz / (min if use_min else max)(width, height)
    return max(round(width * ratio), 1), max(round(height * ratio), 1)


def resize_image(
    file: FilePath,
    dest: FilePath,
    src: FilePath = ".",
    max_size: int | None = None,
    n_channels: int = 3,
    ext: str | None = None,
    img_format: str | None = None,
    resample: int = Image.Resampling.BILINEAR,
    resume: bool = False,
    **kwargs: Any,
) -> Path:
    """Writes a copy of `src / file` to `dest / file`, made smaller if it is larger than `max_size`.

    Args:
        file: Path below `src`; kept below `dest`. Of an absolute path `dest` gets the name alone.
        dest: Folder to write to.
        src: Folder to read from.
        max_size: Largest length of the longer side; None keeps the size.
        n_channels: 1 for grey, 3 for colour, 4 for colour with transparency.
        ext: Ending of the new file (".png"); the old one's by default.
        img_format: Pillow's name of a format; by default told from the ending.
        resample: Pillow's filter.
        resume: Whether to leave files alone that are there already.
        **kwargs: For Pillow's `save`.

    Returns:
        The path written.

    Raises:
        ImageReadError: If the file is no image.
        ValueError: If `n_channels` is none of 1, 3 and 4.
    """
    if n_channels not in _MODES:
        raise ValueError(f"n_channels must be 1, 3 or 4, got {n_channels!r}")
    # Joined to an absolute path, a folder vanishes: the copy would overwrite the image itself.
    below = Path(file).name if Path(file).is_absolute() else file
    source, target = Path(src) / file, Path(dest) / below
    if ext is not None:
        target = target.with_suffix(ext)
    if resume and target.exists():
        return target
    image = load_image(source)
    unchanged = max_size is None or max(image.size) <= max_size
    target.parent.mkdir(parents=True, exist_ok=True)
    same_form = ext is None and img_format is None and image.mode == _MODES[n_channels]
    if unchanged and same_form:
        if source.resolve() != target.resolve():
            shutil.copy2(source, target)
        return target
    image = load_image(source, mode=_MODES[n_channels])
    if max_size is not None and not unchanged:
        image = image.resize(resize_to(image, max_size), resample=Image.Resampling(resample))
    _save_beside(image, target, img_format, **kwargs)
    return target


_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def _save_beside(image: Image.Image, target: Path, img_format: str | None, **kwargs: Any) -> None:
    """Writes beside and renames, so that no half-written image is ever found under the name."""
    partial_path = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        image.save(partial_path, format=img_format, **kwargs)
        partial_path.replace(target)
    finally:
        partial_path.unlink(missing_ok=True)


def resize_images(
    path: FilePath | Sequence[FilePath],
    max_workers: int | None = None,
    max_size: int | None = None,
    recurse: bool = False,
    dest: FilePath = ".",
    n_channels: int = 3,
    ext: str | None = None,
    img_format: str | None = None,
    resample: int = Image.Resampling.BILINEAR,
    resume: bool | None = None,
    **kwargs: Any,
) -> L:
    """Copies images to `dest`, no side longer than `max_size`; folders below `path` are kept.

    Args:
        path: Folder with images, or a list of files (their paths are kept below `dest`).
        max_workers: Threads, as many as there are processors by default.
        max_size: Largest length of the longer side; None keeps the sizes.
        recurse: Whether to descend into folders.
        dest: Folder to write to.
        n_channels: 1 for grey, 3 for colour, 4 for colour with transparency.
        ext: Ending of the new files.
        img_format: Pillow's name of a format.
        resample: Pillow's filter.
        resume: Whether to leave files alone that are there already. By default so, unless `dest`
            is the folder read from.
        **kwargs: For Pillow's `save`.

    Returns:
        The paths written.
    """
    if isinstance(path, str | os.PathLike):
        folder = Path(path)
        same_folder = folder.resolve() == Path(dest).resolve()
        files = [fn.relative_to(folder) for fn in get_image_files(folder, recurse=recurse)]
    else:
        folder, same_folder, files = Path(), False, [Path(fn) for fn in path]
    job = partial(
        resize_image,
        dest=dest,
        src=folder,
        max_size=max_size,
        n_channels=n_channels,
        ext=ext,
        img_format=img_format,
        resample=resample,
        resume=not same_folder if resume is None else resume,
        **kwargs,
    )
    return L(_in_threads(job, files, max_workers))


def _in_threads(
    function: Callable[[Any], Result], items: Sequence[Any], max_workers: int | None
) -> list[Result]:
    """Pillow lets go of Python's lock while it decodes, so threads use every processor."""
    with ThreadPoolExecutor(max_workers or os.cpu_count() or 1) as executor:
        return list(executor.map(function, items))


def download_images(
    dest: FilePath,
    url_file: FilePath | None = None,
    urls: Iterable[str] | None = None,
    max_pics: int = 1000,
    n_workers: int = 8,
    timeout: float = 4,
    preserve_filename: bool = False,
) -> L:
    """Downloads images into the folder `dest`; addresses that fail are passed over with a warning.

    Args:
        dest: Folder to write to.
        url_file: Text file with one address a line, in place of `urls`.
        urls: Addresses.
        max_pics: How many addresses to try.
        n_workers: Threads.
        timeout: Seconds to wait for a server.
        preserve_filename: Whether to keep the names; by default files are numbered.

    Returns:
        The files written, in the order of their addresses.

    Raises:
        ValueError: If neither or both of `url_file` and `urls` are given.
    """
    if (url_file is None) == (urls is None):
        raise ValueError("give either url_file or urls")
    if url_file is not None:
        urls = Path(url_file).read_text(encoding="utf-8").split()
    addresses = list(urls or [])[:max_pics]
    folder = Path(dest)
    folder.mkdir(parents=True, exist_ok=True)
    names = _file_names(addresses, preserve_filename)
    jobs = list(zip(addresses, [folder / name for name in names], strict=True))
    failures = _in_threads(partial(_download, timeout=timeout), jobs, n_workers)
    for (address, _), failure in zip(jobs, failures, strict=True):
        if failure is not None:
            warnings.warn(f"{address} was not downloaded: {failure}", stacklevel=2)
    return L([p for (_, p), failure in zip(jobs, failures, strict=True) if failure is None])


def _file_names(urls: Sequence[str], preserve: bool) -> list[str]:
    """One name an address, none twice; only the last part of an address's path is ever used."""
    from urllib.parse import unquote, urlsplit

    names: list[str] = []
    taken: set[str] = set()
    for i, url in enumerate(urls):
        last = Path(unquote(urlsplit(url).path).replace("\\", "/")).name
        name = last if preserve and last else f"{i:08d}{Path(last).suffix or '.jpg'}"
        if name in taken:
            name = f"{Path(name).stem}-{i}{Path(name).suffix}"
        taken.add(name)
        names.append(name)
    return names


def _download(job: tuple[str, Path], timeout: float) -> str | None:
    """Fetches one file; gives what went wrong, or None."""
    from urllib.request import Request, urlopen

    url, path = job
    if not url.startswith(("http://", "https://")):
        return "not an http or https address"
    beside = path.with_name(f".{path.name}.part")
    try:
        request = Request(url, headers={"User-Agent": "torte"})
        with urlopen(request, timeout=timeout) as response, beside.open("wb") as file:
            shutil.copyfileobj(response, file)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        return f"{type(error).__name__}: {error}"
    return None
