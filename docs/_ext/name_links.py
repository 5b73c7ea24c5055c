"""Make every documented name in backticks a link to where it is documented.

It works on pages and docstrings alike: `Learner`, `learn.fit_one_cycle`, `Callback.before_fit`,
`aug_transforms()`, `torte.optim.Adam`, `Datasets.dataloaders` which another class brought along. Of
several that share a name, functions and classes go before methods, and those of the page's own
layer before others; what is still open is left alone.
"""

import builtins
import importlib
import re
from collections import defaultdict
from typing import Any, NamedTuple

from api_pages import LAYERS
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import find_pending_xref_condition

NAME = re.compile(r"(?P<name>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)(\(.*\))?", re.DOTALL)
# How the pages call an instance of a class whose methods they write about.
INSTANCES = {
    "learn": "Learner",
    "dls": "DataLoaders",
    "block": "DataBlock",
    "opt": "Optimizer",
    "interp": "Interpretation",
}

# What is found before a method of the same name, such as `show_batch`.
STANDING_ALONE = {"class", "exception", "function", "data", "module"}


class Target(NamedTuple):
    """Where a name is documented."""

    document: str
    anchor: str
    kind: str


class NameLinks(SphinxPostTransform):
    """Replaces inline literals that name a documented object by references to it."""

    default_priority = 5

    def run(self, **_: Any) -> None:
        """Go through the inline literals of a page."""
        self._unlink_builtins()
        targets = self._targets()
        for literal in list(self.document.findall(nodes.literal)):
            if isinstance(literal.parent, nodes.reference | nodes.title):
                continue
            target = self._find(literal.astext(), targets)
            if target is None:
                continue
            document, anchor, _ = target
            if document == self.env.docname and self._inside(literal, anchor):
                continue
            uri = self.app.builder.get_relative_uri(self.env.docname, document)
            link = nodes.reference("", "", internal=True, refuri=f"{uri}#{anchor}")
            literal.replace_self(link)
            link += literal

    def _unlink_builtins(self) -> None:
        """Keep `type` in a signature from being taken for an attribute of that name."""
        for reference in list(self.document.findall(addnodes.pending_xref)):
            if reference.get("refdomain") == "py" and hasattr(builtins, reference["reftarget"]):
                plain = find_pending_xref_condition(reference, "*") or reference
                reference.replace_self(plain.children)

    @staticmethod
    def _inside(literal: nodes.Node, anchor: str) -> bool:
        """Say whether a literal stands in the very description that it would link to."""
        node = literal.parent
        while node is not None:
            if isinstance(node, nodes.Element) and anchor in node.get("ids", ()):
                return True
            if any(
                anchor in s.get("ids", ())
                for s in getattr(node, "children", [])[:1]
                if isinstance(s, nodes.Element)
            ):
                return True
            node = node.parent
        return False

    def _targets(self) -> dict[str, set[Target]]:
        """Return where each full name and each of its endings is documented."""
        # Kept with the application, not with the environment, which outlives the build on disk.
        cached = getattr(self.app, "torte_name_targets", None)
        if cached is not None:
            return cached
        targets: dict[str, set[Target]] = defaultdict(set)
        for full, entry in self.env.domains["py"].objects.items():
            target = Target(entry.docname, entry.node_id, entry.objtype)
            parts = full.split(".")
            for start in range(len(parts)):
                targets[".".join(parts[start:])].add(target)
            if parts[0] == "torte":  # the façade: torte.learner.Learner for torte.learner.x.Learner
                targets[".".join([*parts[:2], parts[-1]])].add(target)
        self.app.torte_name_targets = targets
        return targets

    def _find(self, text: str, targets: dict[str, set[Target]]) -> Target | None:
        match = NAME.fullmatch(text)
        if match is None:
            return None
        name = match["name"]
        head, dot, rest = name.partition(".")
        if dot and head in INSTANCES:
            name = f"{INSTANCES[head]}.{rest}"
        found = targets.get(name) or (targets.get(rest) if head in INSTANCES else None)
        return self._chosen(name, found) if found else self._inherited(name, targets)

    def _chosen(self, name: str, found: set[Target]) -> Target | None:
        """Return the one that is meant: what stands by itself goes before methods of that name."""
        if len(found) > 1:
            found = {target for target in found if target.kind in STANDING_ALONE}
        if len(found) > 1:  # `torte.optim.lazy` is the module, `lazy` the function in it
            module = name.startswith("torte.")
            found = {target for target in found if (target.kind == "module") == module}
        if len(found) > 1:  # each layer means its own
            layer = ".".join(self.env.docname.split(".")[:2])
            found = {target for target in found if f"{target.document}.".startswith(f"{layer}.")}
        return next(iter(found)) if len(found) == 1 else None

    @staticmethod
    def _inherited(name: str, targets: dict[str, set[Target]]) -> Target | None:
        """Return where a member that a class has of another is documented, or else the class."""
        owner, _, member = name.rpartition(".")
        owner_name = owner.rsplit(".", 1)[-1]
        for layer in LAYERS:
            kind = getattr(importlib.import_module(f"torte.{layer}"), owner_name, None)
            if isinstance(kind, type):
                known = [f"{base.__module__}.{base.__qualname__}.{member}" for base in kind.__mro__]
                documented = [name for name in known if name in targets]
                if documented:
                    return next(iter(targets[documented[0]]))
            if hasattr(kind, member):
                return min(targets.get(owner_name, ()), default=None)
        return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_post_transform(NameLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
