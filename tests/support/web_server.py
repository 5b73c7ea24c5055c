"""A real HTTP server on loopback that misbehaves on request."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What a server has, and how it behaves."""

    files: dict[str, bytes]
    url: str = ""
    etag: str | None = '"one"'
    last_modified: str | None = None
    ranges: bool = True
    """Whether it resumes."""
    cuts: list[int] = field(default_factory=list)
    """For each request in turn, after how many bytes of body the connection is closed."""
    statuses: list[int] = field(default_factory=list)
    """For each request in turn, the status to answer with instead."""
    pause: float = 0.0
    """Seconds between pieces of the body."""
    declared_length: bool = True
    wrong_range: bool = False
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """What was asked: path and Range header."""


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        wanted = self.headers.get("Range")
        site.requests.append((self.path, wanted))
        if site.statuses and (status := site.statuses.pop(0)) != 200:
            self.send_error(status)
            return
        path = self.path.partition("?")[0]
        if path not in site.files:
            self.send_error(404)
            return
        self._answer(site.files[path], wanted)

    def _start(self, content: bytes, wanted: str | None) -> int:
        validators = {self.site.etag, self.site.last_modified} - {None}
        condition = self.headers.get("If-Range")
        is_same = condition is None or condition in validators
        found = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        return int(found[1]) if found and self.site.ranges and is_same else 0

    def _answer(self, content: bytes, wanted: str | None) -> None:
        site, start = self.site, self._start(content, wanted)
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            shown = 0 if site.wrong_range else start
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        if site.etag:
            self.send_header("ETag", site.etag)
        if site.last_modified:
            self.send_header("Last-Modified", site.last_modified)
        if site.declared_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self._send(content[start:])

    def _send(self, body: bytes) -> None:
        limit = self.site.cuts.pop(0) if self.site.cuts else len(body)
        body = body[:limit]
        for place in range(0, len(body), 16384):
            self.wfile.write(body[place : place + 16384])
            if self.site.pause:
                self.wfile.flush()
                time.sleep(self.site.pause)
        self.close_connection = True


@contextmanager
def serving(files: dict[str, bytes], **behaviour: object) -> Iterator[Site]:
    """Serve `files` (path to content) on loopback within this context."""
    site = Site(files, **behaviour)
    handler = type("Handler", (_Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
