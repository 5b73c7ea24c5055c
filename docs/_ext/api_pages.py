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
from sphinx.pycode import ModuleAnalyzer
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


def public_modules(package_name: str) -> list[str]:
    """Return the names of the public modules below a package, those that define nothing left out.

    A package is among them whether or not it defines something: it is what one imports from.
    """
    package = importlib.import_module(package_name)
    found = sorted(pkgutil.walk_packages(package.__path__, f"{package_name}."), key=_by_name)
    return [
        module.name
        for module in found
        if not any(part.startswith("_") for part in module.name.split("."))
        and module.name.rsplit(".", 1)[1] != "all"
        and (module.ispkg or own_names(module.name))
    ]


def _by_name(module: pkgutil.ModuleInfo) -> str:
    return module.name


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
    members = own_names(name)
    layer = ".".join(name.split(".")[:2])
    above = f"In :doc:`{layer} </api/{layer}>`."
    # The sidebar lists layers, not their 200 modules: it would be drawn anew on every page.
    directive = [f".. automodule:: {name}"]
    if any(not _value(name, member) for member in members):
        plain = [member for member in members if not _value(name, member)]
        directive += [f"   :members: {', '.join(plain)}", "   :show-inheritance:"]
    below = _table(name) if hasattr(importlib.import_module(name), "__path__") else []
    values = [line for member in members for line in _value(name, member)]
    return ":orphan:\n\n" + _page(name, above, "", *directive, "", *values, *below)


def _value(name: str, member: str) -> list[str]:
    """Return what describes a member that autodoc passes over: a value without words of its own."""
    found = getattr(importlib.import_module(name), member)
    told = ("", member) in ModuleAnalyzer.for_module(name).find_attr_docs()
    if told or inspect.isclass(found) or inspect.isroutine(found):
        return []
    if hasattr(found, "__wrapped__"):  # made of a function by a decorator
        return [f".. autofunction:: {name}.{member}", ""]
    return [f".. py:data:: {name}.{member}", ""]


def _layer_page(layer: str, distribution: str) -> str:
    return _page(
        f"torte.{layer}",
        f".. py:module:: torte.{layer}",
        "",
        f"{_summary(f'torte.{layer}')} Distribution: ``{distribution}``.",
        "",
        f"Every name below can be imported from ``torte.{layer}`` as well as from its module.",
        "",
        *_table(f"torte.{layer}"),
    )


def _table(package: str) -> list[str]:
    """Return a table of the modules below a package, each with what it says of itself."""
    rows = [
        f"   * - :doc:`{name} </api/{name}>`\n     - {_summary(name)}"
        for name in public_modules(package)
    ]
    return [".. list-table::", "   :widths: 40 60", "", *rows]


def _summary(name: str) -> str:
    """Return the first sentence or so of a module's docstring, on one line."""
    text = inspect.getdoc(importlib.import_module(name)) or ""
    return with_literals(" ".join(text.split("\n\n")[0].removesuffix("::").split()))


def write_pages(app: Sphinx) -> None:
    """Write all pages under `api/`, touching only files whose text changed."""
    folder = Path(app.srcdir) / "api"
    pages = {
        f"{name}.rst": _module_page(name) for x in LAYERS for name in public_modules(f"torte.{x}")
    }
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
