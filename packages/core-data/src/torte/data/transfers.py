"""Moving one file from an address onto this disk: over HTTP with resumption, or from a local place.

The exceptions of this module and of `downloads`::

    DownloadError          the file could not be had
    ├── OfflineError       no server was reached, or it stopped answering
    └── ChecksumError      what came is not what was asked for (size or SHA-256)

A transfer writes into a `.part` file that outlives failures. The next attempt, in this process or
a later one, asks the server for the missing rest only (`Range`), on the condition that the file is
still the same one there (`If-Range`), and starts over if it is not.
"""

import html
import importlib
import json
import logging
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from torte.data.urls import PACKAGE_SCHEME, FileCheck

if TYPE_CHECKING:
    import requests

__all__ = [
    "ChecksumError",
    "DownloadError",
    "OfflineError",
    "ProgressFunction",
    "Transfer",
    "is_remote",
    "local_path",
    "shown_progress",
]

_LOG = logging.getLogger(__name__)
# What of the last piece has arrived when a connection breaks is lost, so pieces are small.
_CHUNK = 1 << 15
_TEMPORARY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})

ProgressFunction = Callable[[int, "int | None"], None]


class DownloadError(Exception):
    """A file could not be had from its address."""


class OfflineError(DownloadError):
    """No server was reached, or it stopped answering again and again."""


class ChecksumError(DownloadError):
    """What arrived differs in size or SHA-256 from what was asked for."""


class _InterruptedTransferError(Exception):
    """A transfer stopped early in a way that trying again may mend."""


def is_remote(url: str) -> bool:
    """Whether `url` is fetched over a network."""
    return urlsplit(url).scheme in {"http", "https", "ftp", "sftp", "doi"}


def local_path(url: str) -> Path:
    """The path that a `file:` address, or a plain path, stands for."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(url2pathname(parts.netloc + parts.path))
    return Path(url).expanduser()


def shown_progress(label: str) -> ProgressFunction:
    """A function of (bytes done, bytes in all or None) that shows how far a download is.

    In a notebook it is a bar that goes away at the end; on a terminal, a line of standard error
    that is kept up to date; elsewhere nothing, so that logs are not flooded.
    """
    stream = sys.stderr
    if "ipykernel" in sys.modules:
        # A notebook paints what comes on standard error red, as if it were a warning.
        return _now_and_then(_notebook_bar(label))
    if stream is None or not stream.isatty():
        return lambda done, total: None

    def show(done: int, total: int | None) -> None:
        share = f" of {total / 1e6:.1f} MB ({done / total:.0%})" if total else " MB"
        end = "\n" if done == total else ""
        stream.write(f"\r{label}: {done / 1e6:.1f}{share}{end}")
        stream.flush()

    return _now_and_then(show)


def _now_and_then(show: ProgressFunction) -> ProgressFunction:
    """Call `show` at most ten times a second, and at the end."""
    last = 0.0

    def seldom(done: int, total: int | None) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= 0.1:
            last = time.monotonic()
            show(done, total)

    return seldom


def _notebook_bar(label: str) -> ProgressFunction:
    # Not a statement, as torte does not depend on it: it is there when there is a notebook.
    ipython = importlib.import_module("IPython.display")
    handle: Any = None

    def show(done: int, total: int | None) -> None:
        nonlocal handle
        if done == total:
            if handle is not None:
                handle.update(ipython.HTML(""))
            return  # what came in one go had no bar and needs none
        bar = f'<progress value="{done}" max="{total}"></progress>' if total else ""
        share = f" of {total / 1e6:.1f}" if total else ""
        page = ipython.HTML(f"<div>{html.escape(label)} {bar} {done / 1e6:.1f}{share} MB</div>")
        if handle is None:
            handle = ipython.display(page, display_id=True)
        else:
            handle.update(page)

    return show


@dataclass(frozen=True)
class Transfer:
    """Fetches one address into a file; callable as a `pooch` downloader.

    Attributes:
        part: Where an unfinished transfer is kept.
        check: What is known about the file.
        progress: Called with (bytes done, bytes in all or None) as bytes arrive.
        timeout: Seconds of silence after which a connection counts as lost.
        attempts: How often in a row a transfer may stop without a single new byte.
        pause: Seconds before the second attempt; doubles with every further one.
    """

    part: Path
    check: FileCheck
    progress: ProgressFunction
    timeout: float = 30.0
    attempts: int = 4
    pause: float = 0.5

    def __call__(self, url: str, output_file: str | Path, pooch: object = None) -> None:
        """Fetch `url` into `output_file`, a path.

        Raises:
            DownloadError: The file could not be had.
        """
        if urlsplit(url).scheme in {"http", "https"}:
            self._from_http(url)
            self.part.replace(output_file)
            self._sidecar.unlink(missing_ok=True)
        elif is_remote(url):
            self._through_pooch(url, output_file)
        else:
            self._copy(url, output_file)
        self._check_size(url, Path(output_file).stat().st_size)

    def _check_size(self, url: str, size: int) -> None:
        if self.check.size is not None and size != self.check.size:
            raise ChecksumError(f"{url} has {size} bytes, but {self.check.size} were expected")

    def _through_pooch(self, url: str, output_file: str | Path) -> None:
        from pooch.downloaders import choose_downloader

        choose_downloader(url)(url, str(output_file), None)

    def _copy(self, url: str, output_file: str | Path) -> None:
        with ExitStack() as stack:
            if url.startswith(PACKAGE_SCHEME):
                package, _, inner = url.removeprefix(PACKAGE_SCHEME).partition("/")
                resource = resources.files(package).joinpath(inner)
                source = stack.enter_context(resources.as_file(resource))
            else:
                source = local_path(url)
            if not source.is_file():
                raise DownloadError(f"{url}: there is no file {str(source)!r}")
            size = source.stat().st_size
            shutil.copyfile(source, output_file)
            self.progress(size, size)

    # -- HTTP ------------------------------------------------------------------------------------

    @property
    def _sidecar(self) -> Path:
        """Which file of which server the unfinished part belongs to."""
        return self.part.with_name(self.part.name + ".json")

    def _from_http(self, url: str) -> None:
        import requests

        failures = 0
        with requests.Session() as session:
            while True:
                before = self._held()
                try:
                    return self._fetch_rest(session, url)
                except (_InterruptedTransferError, requests.RequestException) as error:
                    if isinstance(error, requests.exceptions.InvalidURL | ValueError):
                        raise DownloadError(f"{url!r} is not a usable address: {error}") from error
                    failures = failures + 1 if self._held() <= before else 1
                    _LOG.info("%s stopped at byte %d: %s", url, self._held(), error)
                    if failures >= self.attempts:
                        raise OfflineError(f"could not fetch {url}: {error}") from error
                    time.sleep(self.pause * 2 ** (failures - 1))

    def _held(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _resume_headers(self, url: str) -> dict[str, str]:
        """Headers that ask for what is missing, if what is held can be trusted to fit."""
        headers = {"Accept-Encoding": "identity"}
        held = self._held()
        if not held:
            return headers
        try:
            origin = json.loads(self._sidecar.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            origin = {}
        validator = origin.get("validator") if origin.get("url") == url else None
        if validator:
            return {**headers, "Range": f"bytes={held}-", "If-Range": validator}
        if self.check.sha256:
            return {**headers, "Range": f"bytes={held}-"}
        self.part.unlink()
        return headers

    def _fetch_rest(self, session: "requests.Session", url: str) -> None:
        headers = self._resume_headers(url)
        with session.get(url, headers=headers, stream=True, timeout=self.timeout) as response:
            held = self._held() if "Range" in headers else 0
            if response.status_code == 416:
                return self._range_refused(response, held)
            self._require_success(response, url)
            resuming = response.status_code == 206
            if resuming and not self._continues(response, held):
                self.part.unlink(missing_ok=True)
                raise _InterruptedTransferError("the server answered with another range")
            held = held if resuming else 0
            length = response.headers.get("Content-Length")
            total = held + int(length) if length and length.isdigit() else None
            if total is not None:
                self._check_size(url, total)
            if not resuming:
                self._note_origin(response, url)
            with self.part.open("ab" if resuming else "wb") as file:
                self._receive(response, file, held, total)
        return None

    def _range_refused(self, response: "requests.Response", held: int) -> None:
        """416: either everything is here already, or what is here fits nothing on the server."""
        complete = response.headers.get("Content-Range", "").rpartition("/")[2]
        if complete == str(held):
            return
        self.part.unlink(missing_ok=True)
        raise _InterruptedTransferError("the server refused to resume")

    def _require_success(self, response: "requests.Response", url: str) -> None:
        status = response.status_code
        if status in _TEMPORARY_STATUS:
            raise _InterruptedTransferError(f"the server answered {status} {response.reason}")
        if status not in {200, 206}:
            raise DownloadError(f"{url}: the server answered {status} {response.reason}")

    @staticmethod
    def _continues(response: "requests.Response", held: int) -> bool:
        return response.headers.get("Content-Range", "").startswith(f"bytes {held}-")

    def _note_origin(self, response: "requests.Response", url: str) -> None:
        tag = response.headers.get("ETag", "")
        # A weak tag ("W/...") promises only equal meaning, not equal bytes.
        validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")
        origin = {"url": url, "validator": validator}
        self._sidecar.write_text(json.dumps(origin), encoding="utf-8")

    def _receive(
        self, response: "requests.Response", file: BinaryIO, held: int, total: int | None
    ) -> None:
        done = held
        for chunk in response.iter_content(_CHUNK):
            file.write(chunk)
            done += len(chunk)
            self.progress(done, total)
        if total is not None and done < total:
            raise _InterruptedTransferError(f"the connection closed at byte {done} of {total}")
        if total is None:
            self.progress(done, done)  # the end is how many there are
