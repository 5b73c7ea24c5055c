"""The documentation as a reader meets it: built as CI builds it, opened in a real browser."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "docs/_build/html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
# A page from each section, those with pictures and tables among them.
PAGES = [
    "index.html", "tutorials/vision.html", "tutorials/tabular.html", "layers/augment.html",
    "guides/many_devices.html", "coming_from/fastai.html", "paper.html", "architecture.html",
    "api/index.html", "api/torte.learner.html", "api/torte.learner.policies.html",
]  # fmt: skip
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def site() -> Path:
    """Build the site with warnings as errors; pages that ran before are not run again."""
    pytest.importorskip("furo", reason="the docs group is not installed")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q"]
    with FileLock(ROOT / "docs/_build.lock"):
        done = subprocess.run(
            [*command, str(ROOT / "docs"), str(SITE)],
            capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return SITE


class _Links(HTMLParser):
    """Collects what a page links to and the anchors that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors.add(given.get("id") or "")
        target = given.get("href") if tag == "a" else given.get("src")
        if target:
            self.targets.append(target)


@functools.cache
def links(page: Path) -> _Links:
    parser = _Links()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def test_every_link_and_anchor_within_the_site_resolves(site: Path) -> None:
    broken = []
    for page in site.rglob("*.html"):
        for target in links(page).targets:
            address, anchor = urldefrag(target)
            if ":" in address or address.startswith("//"):
                continue
            file = page if not address else page.parent / unquote(address.split("?")[0])
            if not file.exists():
                broken.append(f"{page.relative_to(site)} -> {target}")
            elif anchor and file.suffix == ".html" and unquote(anchor) not in links(file).anchors:
                broken.append(f"{page.relative_to(site)} -> {target} (no such anchor)")
    assert not broken


def test_names_in_backticks_are_links_to_the_reference(site: Path) -> None:
    text = (site / "tutorials/vision.html").read_text(encoding="utf-8")
    assert (
        "api/torte.vision.augment.presets.html#torte.vision.augment.presets.aug_transforms" in text
    )
    assert "api/torte.vision.learner.html#torte.vision.learner.vision_learner" in text


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        assert not os.environ.get("CI"), "CI opens the site in a browser, and there is none"
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=QUIET)
        yield opened
        opened.close()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_pages_open_without_complaint_and_fit_the_window(
    browser: Any, address: str, size: dict[str, int]
) -> None:
    context = browser.new_context(viewport=size)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for name in PAGES:
        page.goto(f"{address}/{name}", wait_until="load")
        assert not complaints, (name, complaints)
        blank = page.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)")
        assert not blank, (name, blank)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"] + 1, f"{name} is {width} pixels wide"
    context.close()


def test_search_finds_fit_one_cycle(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/search.html?q=fit_one_cycle")
    page.wait_for_selector("#search-results li", timeout=60_000)
    found = page.inner_text("#search-results")
    assert "fit_one_cycle" in found
    page.close()
