"""The documentation as a reader meets it: built as CI builds it, opened in a real browser."""

import functools
import http.server
import importlib
import pkgutil
import re
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
from support.browsers import chromium, photograph
from support.layers import PORTIONS

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "docs/_build/html"


def written() -> list[Path]:
    """The sources of the pages, those that the build makes left out."""
    pages = sorted((ROOT / "docs").glob("**/*.md"))
    return [page for page in pages if not {"_build", "jupyter_execute"} & {*page.parts}]


# Every page that somebody wrote, and of the reference the index, a layer, a package, a module.
PAGES = [
    *(page.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for page in written()),
    "api/index.html", "api/torte.learner.html", "api/torte.vision.augment.html",
    "api/torte.learner.policies.html", "genindex.html",
]  # fmt: skip
NO_LINKS = {"a", "h1", "h2", "h3", "h4"}
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


class _Page(HTMLParser):
    """Collects what a page links to, its anchors, and the names in backticks that are no links."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.unlinked: set[str] = set()
        self._links = 0  # how many links and headings are open: in those, names are no links
        self._literal: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors.add(given.get("id") or "")
        target = given.get("href") if tag == "a" else given.get("src")
        if target:
            self.targets.append(target)
        self._links += tag in NO_LINKS
        if tag == "code" and not self._links and "literal" in (given.get("class") or ""):
            self._literal = ""

    def handle_endtag(self, tag: str) -> None:
        self._links -= tag in NO_LINKS
        if tag == "code" and self._literal is not None:
            self.unlinked.add(re.sub(r"\(.*\)$", "", self._literal))
            self._literal = None

    def handle_data(self, data: str) -> None:
        if self._literal is not None:
            self._literal += data


@functools.cache
def links(page: Path) -> _Page:
    parser = _Page()
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


def test_no_public_name_in_backticks_is_left_without_a_link(site: Path) -> None:
    """But for those on the page of their own module, which describes them."""
    left = set()
    for page in site.rglob("*.html"):
        for name in links(page).unlinked:
            module = home(name)
            if module and page.stem != module and page.stem != module.rsplit(".", 1)[0]:
                left.add(f"{page.relative_to(site)}: {name}")
    assert not left


def home(name: str) -> str | None:
    """The module of a public name, or of the class whose member it is; None if it is none."""
    for portion in PORTIONS.values():
        layer = importlib.import_module(f"torte.{portion}")
        first = name.split(".", maxsplit=1)[0]
        if first in layer.__all__:
            found = getattr(layer, first)
            if "." not in name or hasattr(found, name.split(".")[1]):
                return getattr(found, "__module__", None)
    return name if name in modules() else None


@functools.cache
def modules() -> set[str]:
    """Every public module and package of every layer."""
    found = {f"torte.{portion}" for portion in PORTIONS.values()}
    for layer in sorted(found):
        package = importlib.import_module(layer)
        found |= {module.name for module in pkgutil.walk_packages(package.__path__, f"{layer}.")}
    return {name for name in found if "._" not in name and not name.endswith(".all")}


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
    with chromium() as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_pages_open_without_complaint_and_fit_the_window(
    browser: Any, address: str, size: dict[str, int], scheme: str
) -> None:
    context = browser.new_context(viewport=size, color_scheme=scheme)
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
        photograph(page, f"{name.replace('/', '-')}-{size['width']}-{scheme}.png")
    context.close()


def test_search_finds_fit_one_cycle(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/search.html?q=fit_one_cycle")
    page.wait_for_selector("#search-results li", timeout=60_000)
    found = page.inner_text("#search-results")
    assert "fit_one_cycle" in found
    page.close()
