"""`untar_data`: a data set's folder on this machine, fetched and unpacked if it is not there yet.

Everything happens at most once and completely: the archive is fetched through `pooch` (which
verifies it and moves it into place) by a resuming `Transfer`, unpacked beside its destination and
renamed. A file lock makes processes that ask at once wait for the one that works.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from hashlib import sha256 as sha256_digest
from pathlib import Path
from urllib.parse import unquote, urlsplit

from torte.data.config import MIRROR_VARIABLE, torte_cfg, torte_path
from torte.data.extraction import ExtractionLimits, extract_archive, remove_leftovers
from torte.data.transfers import (
    ChecksumError,
    DownloadError,
    OfflineError,
    ProgressFunction,
    Transfer,
    is_remote,
    local_path,
    shown_progress,
)
from torte.data.urls import FileCheck, archive_stem, known_check

__all__ = ["download_data", "untar_data"]


def _file_name(url: str) -> str:
    """The last part of an address as a plain file name."""
    path = urlsplit(url).path if is_remote(url) else url
    name = unquote(path).replace("\\", "/").rstrip("/").rpartition("/")[2]
    if name in {"", ".", ".."} or ":" in name or "\0" in name:
        raise ValueError(f"{url!r} does not end in a file name")
    return name


def _as_address(url: str | os.PathLike[str]) -> str:
    return Path(url).absolute().as_uri() if isinstance(url, os.PathLike) else url


def _candidates(url: str) -> list[str]:
    """The addresses to ask, the mirror's before the original."""
    mirror = torte_cfg().mirror
    if not mirror or not is_remote(url):
        return [url]
    base = mirror.rstrip("/")
    inner = urlsplit(url).path.lstrip("/")
    mirrored = list(dict.fromkeys([f"{base}/{inner}", f"{base}/{_file_name(url)}"]))
    if not is_remote(base):
        mirrored = [address for address in mirrored if local_path(address).is_file()]
    return [*mirrored, url]


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Pooch announces every download; torte shows a progress line instead."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _retrieve(url: str, target: Path, transfer: Transfer) -> None:
    """Fetch one address to `target` through pooch, which verifies the digest."""
    import pooch

    digest = transfer.check.sha256
    try:
        with _quiet_pooch():
            pooch.retrieve(
                url,
                known_hash=f"sha256:{digest}" if digest else None,
                fname=target.name,
                path=target.parent,
                downloader=transfer,  # pyright: ignore[reportArgumentType] - pooch annotates a processor
            )
    except ValueError as error:
        if "hash" not in str(error):
            raise
        raise ChecksumError(
            f"{url} does not have the SHA-256 digest {digest}: the download was thrown away. "
            "Either the file has changed at its source or the digest that was given is wrong."
        ) from error


def _help_offline(url: str, target: Path) -> str:
    return (
        f"To go on without that server, put the file at {str(target)!r} yourself, set a mirror "
        f"(environment variable {MIRROR_VARIABLE} or `mirror` in the configuration file: an "
        "address or a folder that holds "
        f"{_file_name(url)!r}), pass a `file:` address, or use a sample that ships with torte.data "
        "(URLs.FASHION_SAMPLE, URLs.ADULT_TINY, URLs.REVIEWS_SAMPLE)."
    )


def _fetch(url: str, target: Path, transfer: Transfer) -> None:
    """Fetch `url` from the first of its candidate addresses that has it."""
    failures: list[DownloadError] = []
    for candidate in _candidates(url):
        try:
            return _retrieve(candidate, target, transfer)
        except DownloadError as error:
            failures.append(error)
    error = failures[-1]
    for earlier in failures[:-1]:
        error.add_note(f"The mirror failed first: {earlier}")
    if isinstance(error, OfflineError):
        raise OfflineError(f"{error}\n{_help_offline(url, target)}") from error
    raise error


def _obtain(url: str, target: Path, transfer: Transfer, force_download: bool) -> None:
    """See that `target` is there; a forced download replaces it only once it has succeeded."""
    old = target.with_name(target.name + ".old")
    if force_download and target.exists():
        target.replace(old)
    try:
        if not force_download and transfer.check.sha256 is None:
            _drop_if_wrong_size(target, transfer.check.size)
        _fetch(url, target, transfer)
    except BaseException:
        if old.exists():
            old.replace(target)
        raise
    old.unlink(missing_ok=True)


def _drop_if_wrong_size(target: Path, size: int | None) -> None:
    """Without a digest, pooch takes any file that lies at `target`; look at its size at least."""
    if size is not None and target.exists() and target.stat().st_size != size:
        target.unlink()


def _check(url: str, size: int | None, sha256: str | None) -> FileCheck:
    known = known_check(url)
    return FileCheck(
        size=size if size is not None else known.size,
        sha256=sha256.lower() if sha256 is not None else known.sha256,
    )


def _lock(folder: Path, name: str) -> "os.PathLike[str]":
    locks = folder / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    return locks / f"{name}.lock"


def _progress(progress: bool | ProgressFunction, name: str) -> ProgressFunction:
    if callable(progress):
        return progress
    return shown_progress(name) if progress else (lambda done, total: None)


def download_data(
    url: str | os.PathLike[str],
    fname: str | os.PathLike[str] | None = None,
    c_key: str = "archive",
    force_download: bool = False,
    timeout: float = 30.0,
    *,
    size: int | None = None,
    sha256: str | None = None,
    progress: bool | ProgressFunction = True,
    attempts: int = 4,
    pause: float = 0.5,
) -> Path:
    """Fetch one file, without unpacking it; what is there already is not fetched again.

    Args:
        url: An `http:`, `https:`, `ftp:`, `doi:`, `file:` or `package:` address, or a path.
        fname: Where to put it; the configured folder `c_key` and the address's own name by default.
        c_key: Folder of the configuration.
        force_download: Fetch anew even if the file is there.
        timeout: Seconds of silence after which a connection counts as lost.
        size: Expected size in bytes.
        sha256: Expected SHA-256 digest in hexadecimal.
        progress: True shows a line on a terminal, a bar in a notebook; False nothing; or a function
            of (bytes done, bytes in all or None).
        attempts: How often in a row a transfer may stop without a new byte before it fails.
        pause: Seconds before the second attempt; doubles with every further one.

    Returns:
        The file's path.

    Raises:
        OfflineError: No server was reached.
        ChecksumError: Size or digest differ from what was expected.
        DownloadError: The file could not be had for another reason.
    """
    from filelock import FileLock

    address = _as_address(url)
    target = Path(fname) if fname is not None else torte_path(c_key) / _file_name(address)
    check = _check(address, size, sha256)
    transfer = Transfer(
        part=target.with_name(target.name + ".part"),
        check=check,
        progress=_progress(progress, target.name),
        timeout=timeout,
        attempts=attempts,
        pause=pause,
    )
    with FileLock(_lock(target.parent, target.name)):
        _obtain(address, target, transfer, force_download)
    return target


def _record_file(destination: Path) -> Path:
    return destination.parent / ".records" / f"{destination.name}.json"


def _is_current(destination: Path, url: str, check: FileCheck) -> bool:
    """Whether `destination` is there and came from `url` as it is known now.

    A folder without a record was put there by hand, and is taken as it is.
    """
    if not destination.is_dir():
        return False
    try:
        record = json.loads(_record_file(destination).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return record["url"] == url and check.sha256 in {None, record["sha256"]}


def _write_record(destination: Path, url: str, check: FileCheck) -> None:
    file = _record_file(destination)
    file.parent.mkdir(exist_ok=True)
    beside = file.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps({"url": url, **asdict(check)}), encoding="utf-8")
    beside.replace(file)


def _destination(folder: Path, url: str) -> Path:
    """The folder for `url`: its name, or, where another address took that, its name and a mark."""
    plain = folder / archive_stem(_file_name(url))
    try:
        record = json.loads(_record_file(plain).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return plain
    if record["url"] == url or not plain.is_dir():
        return plain
    return folder / f"{plain.name}-{sha256_digest(url.encode()).hexdigest()[:8]}"


def untar_data(
    url: str | os.PathLike[str],
    archive: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    c_key: str = "data",
    force_download: bool = False,
    base: str | os.PathLike[str] | None = None,
    *,
    size: int | None = None,
    sha256: str | None = None,
    progress: bool | ProgressFunction = True,
    timeout: float = 30.0,
    attempts: int = 4,
    pause: float = 0.5,
    limits: ExtractionLimits | None = None,
) -> Path:
    """The folder of a data set, after fetching and unpacking it if need be.

    Args:
        url: An address, such as those of `URLs`: `http:`, `https:`, `ftp:`, `doi:`, `file:`, or
            `package:` for a sample inside an installed package; or a path.
        archive: Folder for the archive; by default the one in the configuration.
        data: Folder in which the data set's folder is made; by default the configured one.
        c_key: Which folder of the configuration `data` defaults to.
        force_download: Fetch and unpack anew; what is there is replaced once that has succeeded.
        base: A folder to use in place of the configured home (`base/data`, `base/archive`).
        size: Expected size of the archive in bytes.
        sha256: Expected SHA-256 digest of the archive in hexadecimal.
        progress: True shows a line on a terminal, a bar in a notebook; False nothing; or a function
            of (bytes done, bytes in all or None).
        timeout: Seconds of silence after which a connection counts as lost.
        attempts: How often in a row a transfer may stop without a new byte before it fails.
        pause: Seconds before the second attempt; doubles with every further one.
        limits: What the archive may unpack to.

    Returns:
        The path of the folder; complete, or an error was raised and nothing was left there.

    Raises:
        OfflineError: No server was reached; the message says what to do.
        ChecksumError: Size or digest differ from what was expected.
        DownloadError: The file could not be had for another reason.
        ArchiveError: The archive is damaged, hostile or no archive.
    """
    from filelock import FileLock

    address = _as_address(url)
    data_folder, archive_folder = _folders(archive, data, c_key, base)
    check = _check(address, size, sha256)
    destination = _destination(data_folder, address)
    if not force_download and _is_current(destination, address, check):
        return destination
    with FileLock(_lock(data_folder, destination.name)):
        # Another process may have finished while this one waited.
        if not force_download and _is_current(destination, address, check):
            return destination
        name = _file_name(address)
        file = download_data(
            address,
            archive_folder / (destination.name + name.removeprefix(archive_stem(name))),
            force_download=force_download,
            timeout=timeout,
            size=check.size,
            sha256=check.sha256,
            progress=progress,
            attempts=attempts,
            pause=pause,
        )
        remove_leftovers(destination)
        extract_archive(file, destination, limits)
        _write_record(destination, address, replace(check, sha256=check.sha256 or _digest(file)))
    return destination


def _digest(file: Path) -> str:
    import pooch

    return pooch.file_hash(str(file))


def _folders(
    archive: str | os.PathLike[str] | None,
    data: str | os.PathLike[str] | None,
    c_key: str,
    base: str | os.PathLike[str] | None,
) -> tuple[Path, Path]:
    """Folders for data and archives: arguments win over `base`, `base` over the settings."""
    home = Path(base).expanduser() if base is not None else None

    def folder(given: str | os.PathLike[str] | None, key: str) -> Path:
        if given is not None:
            return Path(given).expanduser().absolute()
        return home.absolute() / key if home else torte_path(key)

    return folder(data, c_key), folder(archive, "archive")
