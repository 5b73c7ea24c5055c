"""Make every documented name in backticks a link to where it is documented.

It works on pages and docstrings alike: `Learner`, `learn.fit_one_cycle`, `Callback.before_fit`,
`aug_transforms()`, `torte.optim.Adam`. A name that several modules define is linked where its
qualified form says which, and left alone otherwise.
"""

import re
from collections import defaultdict
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

NAME = re.compile(r"(?P<name>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)(\(.*\))?", re.DOTALL)
# How the pages call an instance of a class whose methods they write about.
INSTANCES = {
    "learn": "Learner",
    "dls": "DataLoaders",
    "block": "DataBlock",
    "opt": "Optimizer",
    "interp": "Interpretation",
}


class NameLinks(SphinxPostTransform):
    """Replaces inline literals that name a documented object by references to it."""

    default_priority = 5

    def run(self, **_: Any) -> None:
        """Go through the inline literals of a page."""
        targets = self._targets()
        for literal in list(self.document.findall(nodes.literal)):
            if isinstance(literal.parent, nodes.reference | nodes.title):
                continue
            target = self._find(literal.astext(), targets)
            if target is None:
                continue
            document, anchor = target
            if document == self.env.docname and self._inside(literal, anchor):
                continue
            uri = self.app.builder.get_relative_uri(self.env.docname, document)
            link = nodes.reference("", "", internal=True, refuri=f"{uri}#{anchor}")
            literal.replace_self(link)
            link += literal

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

    def _targets(self) -> dict[str, set[tuple[str, str]]]:
        """Return where each full name and each of its endings is documented."""
        cached = getattr(self.env, "torte_name_targets", None)
        if cached is not None:
            return cached
        targets: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for full, entry in self.env.domains["py"].objects.items():
            parts = full.split(".")
            for start in range(len(parts)):
                targets[".".join(parts[start:])].add((entry.docname, entry.node_id))
            if parts[0] == "torte":  # the façade: torte.learner.Learner for torte.learner.x.Learner
                targets[".".join([*parts[:2], parts[-1]])].add((entry.docname, entry.node_id))
        self.env.torte_name_targets = targets
        return targets

    @staticmethod
    def _find(text: str, targets: dict[str, set[tuple[str, str]]]) -> tuple[str, str] | None:
        match = NAME.fullmatch(text)
        if match is None:
            return None
        name = match["name"]
        head, dot, rest = name.partition(".")
        if dot and head in INSTANCES:
            name = f"{INSTANCES[head]}.{rest}"
        found = targets.get(name) or (targets.get(rest) if head in INSTANCES else None)
        return next(iter(found)) if found is not None and len(found) == 1 else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_post_transform(NameLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
