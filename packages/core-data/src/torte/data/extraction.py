"""Unpacking archives that may be hostile.

`extract_archive` unpacks tar (plain, gzip, bzip2, xz) and zip into a new folder. Whatever the
archive holds, nothing is written outside that folder, no link points out of it, no device or pipe
is made, permissions are reset, and the amount that comes out is bounded. The work happens in a
temporary folder beside the destination, which is renamed into place at the very end: a failure
leaves nothing behind.
"""

import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

__all__ = ["ArchiveError", "ExtractionLimits", "extract_archive", "is_archive", "remove_leftovers"]

_CHUNK = 1 << 20
_UNPACKING = "unpacking"
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    UnicodeError,
    NotImplementedError,  # zipfile: a compression method that it does not know
)
_DRIVE_OR_STREAM = ":"


class ArchiveError(Exception):
    """An archive is damaged, of an unknown kind, or holds what must not be unpacked."""


@dataclass(frozen=True)
class ExtractionLimits:
    """Bounds that stop decompression bombs.

    An archive may always unpack to `free_bytes`; beyond that, to at most `max_ratio` times its own
    size and never more than `max_bytes`.
    """

    max_bytes: int = 1 << 40
    max_members: int = 20_000_000
    max_ratio: float = 200.0
    free_bytes: int = 256 << 20

    def budget(self, archive_size: int) -> int:
        """Bytes that an archive of `archive_size` bytes may unpack to."""
        return min(self.max_bytes, max(self.free_bytes, int(self.max_ratio * archive_size)))


@dataclass(frozen=True)
class _Member:
    """One entry of an archive, whatever its format."""

    name: str
    kind: str  # "file", "folder", "symlink", "hardlink"; anything else is refused by that name
    executable: bool
    link: str
    open: Callable[[], IO[bytes] | None]


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.isfile():
        return "file"
    if info.isdir():
        return "folder"
    if info.issym():
        return "symlink"
    if info.islnk():
        return "hardlink"
    return "device or pipe"


def _tar_members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        yield _Member(
            name=info.name,
            kind=_tar_kind(info),
            executable=bool(info.mode & stat.S_IXUSR),
            link=info.linkname,
            open=lambda info=info: archive.extractfile(info),
        )


def _zip_kind(mode: int, is_folder: bool) -> str:
    if stat.S_IFMT(mode) == stat.S_IFLNK:
        return "symlink"
    if stat.S_IFMT(mode) in {stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}:
        return "device or pipe"
    return "folder" if is_folder else "file"


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        if info.flag_bits & 1:
            raise ArchiveError(f"member {info.filename!r} is encrypted; unpack it by hand")
        mode = info.external_attr >> 16
        kind = _zip_kind(mode, info.is_dir())
        link = ""
        if kind == "symlink":
            if info.file_size > 4096:
                raise ArchiveError(f"member {info.filename!r} is a link with an overlong target")
            link = archive.read(info).decode("utf-8", "surrogateescape")
        yield _Member(
            name=info.filename,
            kind=kind,
            executable=bool(mode & stat.S_IXUSR),
            link=link,
            open=lambda info=info: archive.open(info),
        )


def _safe_parts(name: str, what: str) -> tuple[str, ...]:
    """The path components of a member name; refuses everything that could leave the folder."""
    if "\0" in name or "\\" in name:
        raise ArchiveError(f"{what} {name!r} holds a backslash or a null character")
    path = PurePosixPath(name)
    parts = path.parts
    if path.is_absolute():
        raise ArchiveError(f"{what} {name!r} is an absolute path")
    if ".." in parts:
        raise ArchiveError(f"{what} {name!r} leaves the folder through '..'")
    if parts and _DRIVE_OR_STREAM in parts[0] and (os.name == "nt" or len(parts[0]) == 2):
        raise ArchiveError(f"{what} {name!r} names a drive")
    return parts


class _Unpacker:
    """Writes members below `root`; links are kept for last so that no write passes through one."""

    def __init__(self, root: Path, budget: int, max_members: int) -> None:
        self.root = root
        self.budget = budget
        self.max_members = max_members
        self.written = 0
        self.count = 0
        self.links: list[tuple[Path, _Member]] = []

    def add(self, member: _Member) -> None:
        """Unpack one member, or note it if it is a link."""
        self.count += 1
        if self.count > self.max_members:
            raise ArchiveError(f"more than {self.max_members} members")
        parts = _safe_parts(member.name, "member")
        target = self.root.joinpath(*parts)
        if member.kind == "folder":
            target.mkdir(parents=True, exist_ok=True)
        elif not parts:
            raise ArchiveError(f"member {member.name!r} names no file")
        elif member.kind == "file":
            self._write(member, target)
        elif member.kind in {"symlink", "hardlink"}:
            self.links.append((target, member))
        else:
            raise ArchiveError(f"member {member.name!r} is a {member.kind}")

    def _write(self, member: _Member, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        source = member.open()
        if source is None:
            raise ArchiveError(f"member {member.name!r} has no content")
        with source, target.open("wb") as file:
            while chunk := source.read(_CHUNK):
                self._spend(len(chunk), f"at member {member.name!r}")
                file.write(chunk)
        target.chmod(0o755 if member.executable else 0o644)

    def drain(self, stream: Any) -> None:
        """Read what follows the last member: only at its end does a stream verify its checksum."""
        while stream is not None and (chunk := stream.read(_CHUNK)):
            self._spend(len(chunk), "after the last member")

    def _spend(self, amount: int, where: str) -> None:
        self.written += amount
        if self.written > self.budget:
            raise ArchiveError(
                f"unpacks to more than {self.budget} bytes ({where}): "
                "if it is no decompression bomb, pass larger `limits`"
            )

    def finish(self) -> None:
        """Make the links, then see that each ends inside the folder."""
        for target, member in self.links:
            target.parent.mkdir(parents=True, exist_ok=True)
            # A link that was just made may stand where a later link's folder would be.
            self._require_inside(target.parent, member)
            if target.exists() or target.is_symlink():
                raise ArchiveError(f"member {member.name!r} stands in the place of another")
            if member.kind == "hardlink":
                self._copy(self.root.joinpath(*_safe_parts(member.link, "link to")), target, member)
            else:
                self._make_link(target, member)
        # The folder that will remain: a link out of it must not be left, even to beside it.
        self.root = _content_root(self.root)
        for target, member in self.links:
            self._require_inside(target, member)

    def _make_link(self, target: Path, member: _Member) -> None:
        if PurePosixPath(member.link).is_absolute() or "\\" in member.link or "\0" in member.link:
            raise ArchiveError(f"member {member.name!r} links to {member.link!r}, outside")
        end = Path(os.path.normpath(target.parent / member.link))
        if not end.is_relative_to(self.root):
            raise ArchiveError(f"member {member.name!r} links to {member.link!r}, outside")
        try:
            target.symlink_to(member.link)
        except OSError:
            # Windows makes links only for privileged users; a copy reads the same.
            self._copy(end, target, member)

    def _copy(self, source: Path, target: Path, member: _Member) -> None:
        self._require_inside(source, member)
        if not source.is_file():
            raise ArchiveError(
                f"member {member.name!r} links to {member.link!r}, not in the archive"
            )
        self._spend(source.stat().st_size, f"at member {member.name!r}")
        shutil.copy2(source, target)

    def _require_inside(self, path: Path, member: _Member) -> None:
        real_root = Path(os.path.realpath(self.root))
        if not Path(os.path.realpath(path)).is_relative_to(real_root):
            raise ArchiveError(f"member {member.name!r} links to {member.link!r}, outside")


def is_archive(path: Path) -> bool:
    """Whether `path` is a tar (compressed or not) or zip file, by content."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def _unpack(archive: Path, root: Path, limits: ExtractionLimits) -> Path:
    """Unpack into `root`, and return the folder of it that is to remain."""
    unpacker = _Unpacker(root, limits.budget(archive.stat().st_size), limits.max_members)
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            for member in _tar_members(tar):
                unpacker.add(member)
            unpacker.drain(tar.fileobj)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for member in _zip_members(zipped):
                unpacker.add(member)
    elif _starts_compressed(archive):
        raise ArchiveError("it is damaged, or no tar file once decompressed")
    else:
        raise ArchiveError("neither a tar nor a zip file")
    unpacker.finish()
    return unpacker.root


def _starts_compressed(archive: Path) -> bool:
    with archive.open("rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ"))


def _content_root(folder: Path) -> Path:
    """The single folder inside `folder` if there is nothing beside it, else `folder` itself."""
    entries = [entry for entry in folder.iterdir() if entry.name != "__MACOSX"]
    if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink():
        return entries[0]
    return folder


def extract_archive(
    archive: str | Path, destination: str | Path, limits: ExtractionLimits | None = None
) -> Path:
    """Unpack `archive` as the new folder `destination`, completely or not at all.

    If the archive holds one folder, that folder becomes `destination`; otherwise `destination` is
    a folder of everything in it. An existing `destination` is replaced, once all is unpacked.

    Args:
        archive: A tar file (plain, gzip, bzip2 or xz) or a zip file.
        destination: Path of the folder to make.
        limits: Bounds on what may come out; `ExtractionLimits()` unless told.

    Returns:
        `destination` as a `Path`.

    Raises:
        ArchiveError: The archive is damaged, not an archive, or holds a path or link that leaves
            the folder, a device or pipe, an encrypted member, or more than `limits` allows.
    """
    archive, destination = Path(archive), Path(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(f".{_UNPACKING}", f".{destination.name}.", dir=destination.parent))
    try:
        inner = work / "content"
        inner.mkdir()
        try:
            content = _unpack(archive, inner, limits or ExtractionLimits())
        except ArchiveError as error:
            raise ArchiveError(f"{str(archive)!r} was not unpacked: {error}") from error
        except _DAMAGE as error:
            raise ArchiveError(f"{str(archive)!r} is damaged: {error}") from error
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            message = f"{str(archive)!r} holds a file and a folder of one name: {error.filename!r}"
            raise ArchiveError(message) from error
        except OSError as error:
            if error.errno is not None:
                raise
            # The decompressors report bad data as an OSError without a number.
            raise ArchiveError(f"{str(archive)!r} is damaged: {error}") from error
        _swap_into_place(content, destination, work / "old")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return destination


def remove_leftovers(destination: Path) -> None:
    """Remove what processes left that were killed while they unpacked `destination`.

    Only for who holds the lock of `destination`: a process at work has such a folder too.
    """
    pattern = re.compile(rf"\.{re.escape(destination.name)}\.[^.]{{8}}\.{_UNPACKING}")
    for folder in destination.parent.iterdir():
        if pattern.fullmatch(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _swap_into_place(new: Path, destination: Path, old: Path) -> None:
    if destination.exists():
        destination.rename(old)
    try:
        new.rename(destination)
    except OSError:
        with suppress(FileNotFoundError):
            old.rename(destination)
        raise
