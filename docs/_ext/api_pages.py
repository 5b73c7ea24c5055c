"""Write the API pages: one for each layer, and below it one for each public module.

The pages are made anew at each build from what the modules state in `__all__`, so a name cannot be
forgotten: at the end of the build, every public name of every layer must have been documented, or
the build warns (and with `-W` fails).
"""

import importlib
import inspect
import pkgutil
import shutil
from pathlib import Path
from types import ModuleType

from docstrings import with_literals
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
LAYERS = {
    "dispatch": "torte-core-dispatch",
    "optim": "torte-optim-generic",
    "data": "torte-core-data",
    "learner": "torte-learner-callbacks",
    "vision": "torte-vision-gpu-aug",
    "text": "torte-text",
    "tabular": "torte-tabular",
    "collab": "torte-collab",
}


def public_modules(layer: str) -> list[str]:
    """Return the names of the modules of a layer that define something, façades left out."""
    package = importlib.import_module(f"torte.{layer}")
    found = [m.name for m in pkgutil.walk_packages(package.__path__, f"torte.{layer}.")]
    public = [name for name in found if not any(p.startswith("_") for p in name.split("."))]
    return [name for name in sorted(public) if name.rsplit(".", 1)[1] != "all" and own_names(name)]


def own_names(name: str) -> list[str]:
    """Return what a module defines itself, of the names in its `__all__`."""
    module = importlib.import_module(name)
    return [public for public in getattr(module, "__all__", []) if _is_own(module, public)]


def _is_own(module: ModuleType, public: str) -> bool:
    member = getattr(module, public)
    if inspect.ismodule(member):
        return False
    home = getattr(member, "__module__", None)
    if (inspect.isclass(member) or inspect.isroutine(member)) and isinstance(home, str):
        private = home.rsplit(".", 1)[-1].startswith("_") and home.startswith(_layer(module))
        return home == module.__name__ or (private and not hasattr(module, "__path__"))
    # A value says nothing of its home: it is the module's whose source assigns it.
    return not hasattr(module, "__path__")


def _layer(module: ModuleType) -> str:
    return ".".join(module.__name__.split(".")[:2])


def _page(title: str, *parts: str) -> str:
    return "\n".join([title, "=" * len(title), "", *parts, ""])


def _module_page(name: str) -> str:
    members = ", ".join(own_names(name))
    layer = ".".join(name.split(".")[:2])
    above = f"In :doc:`{layer} </api/{layer}>`."
    # The sidebar lists layers, not their 200 modules: it would be drawn anew on every page.
    directive = (f".. automodule:: {name}", f"   :members: {members}", "   :show-inheritance:")
    return ":orphan:\n\n" + _page(name, above, "", *directive)


def _layer_page(layer: str, distribution: str) -> str:
    modules = public_modules(layer)
    rows = [f"   * - :doc:`{name} </api/{name}>`\n     - {_summary(name)}" for name in modules]
    return _page(
        f"torte.{layer}",
        f"{_summary(f'torte.{layer}')} Distribution: ``{distribution}``.",
        "",
        f"Every name below can be imported from ``torte.{layer}`` as well as from its module.",
        "",
        ".. list-table::",
        "   :widths: 40 60",
        "",
        *rows,
    )


def _summary(name: str) -> str:
    """Return the first sentence or so of a module's docstring, on one line."""
    text = inspect.getdoc(importlib.import_module(name)) or ""
    return with_literals(" ".join(text.split("\n\n")[0].removesuffix("::").split()))


def write_pages(app: Sphinx) -> None:
    """Write all pages under `api/`, touching only files whose text changed."""
    folder = Path(app.srcdir) / "api"
    pages = {f"{name}.rst": _module_page(name) for x in LAYERS for name in public_modules(x)}
    pages |= {f"torte.{layer}.rst": _layer_page(layer, name) for layer, name in LAYERS.items()}
    rows = [f"   torte.{layer}" for layer in LAYERS]
    pages["index.rst"] = _page("API reference", ".. toctree::", "   :maxdepth: 2", "", *rows)
    folder.mkdir(exist_ok=True)
    for stale in set(folder.iterdir()) - {folder / name for name in pages}:
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def check_coverage(app: Sphinx, exception: Exception | None) -> None:
    """Warn of public names that no page documents."""
    if exception is not None or app.builder.name != "html":
        return
    documented = {name.rsplit(".", 1)[1] for name in app.env.domains["py"].objects if "." in name}
    for layer in LAYERS:
        package = importlib.import_module(f"torte.{layer}")
        for public in package.__all__:
            member = getattr(package, public)
            described = inspect.isclass(member) or inspect.isroutine(member)
            if described and public not in documented and not _is_alias(member, documented):
                LOGGER.warning("torte.%s.%s is public but not documented", layer, public)


def _is_alias(member: object, documented: set[str]) -> bool:
    return getattr(member, "__name__", "") in documented


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", write_pages)
    app.connect("build-finished", check_coverage)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
