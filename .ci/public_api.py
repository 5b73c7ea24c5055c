"""Write down the public API of every layer: names, signatures, members, as the sources state them.

    uv run .ci/public_api.py            # writes tests/workspace/public_api/<layer>.txt
    uv run .ci/public_api.py --check    # prints what changed and fails if anything did

So a change of the API is something that a commit shows and its author meant.
"""

import argparse
import difflib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parents[1]
SNAPSHOTS = ROOT / "tests/workspace/public_api"
SOURCES = sorted((ROOT / "packages").glob("*/src"))


def layers() -> list[str]:
    """The import names of the layers, as the folders have them."""
    return sorted(path.parent.name for path in ROOT.glob("packages/*/src/torte/*/__init__.py"))


def definition(torte: griffe.Object, layer: str, name: str) -> griffe.Object | None:
    """What a name of a layer's façade stands for; None if another library defines it."""
    module = importlib.import_module(f"torte.{layer}")
    member = getattr(module, name)
    home, own_name = getattr(member, "__module__", None), getattr(member, "__name__", name)
    candidates = [f"{layer}.{name}"]
    if isinstance(home, str) and home.startswith("torte."):
        candidates.insert(0, f"{home.removeprefix('torte.')}.{own_name}")
    for path in candidates:
        try:
            found = torte[path]
            return found.final_target if found.is_alias else found
        except (KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
            continue
    return None


def signature(function: griffe.Function, name: str) -> str:
    """One line: `def name(parameters) -> returns`."""
    shown, star = [], False
    for parameter in function.parameters:
        text, kind = parameter.name, parameter.kind
        if kind is griffe.ParameterKind.var_positional:
            text, star = f"*{text}", True
        elif kind is griffe.ParameterKind.var_keyword:
            text = f"**{text}"
        elif kind is griffe.ParameterKind.keyword_only and not star:
            shown.append("*")
            star = True
        if parameter.annotation is not None:
            text += f": {parameter.annotation}"
        if parameter.default is not None and not text.startswith("*"):
            text += f" = {parameter.default}"
        shown.append(text)
    returns = f" -> {function.returns}" if function.returns is not None else ""
    return f"def {name}({', '.join(shown)}){returns}"


def members(owner: griffe.Class) -> Iterator[str]:
    """The public members that a class itself defines, by name, and its constructor."""
    for name, member in sorted(owner.members.items()):
        if member.is_alias or (name.startswith("_") and name not in ("__init__", "__call__")):
            continue
        if member.is_function:
            yield f"    {signature(member, name)}"
        elif member.is_attribute and member.annotation is not None:
            yield f"    {name}: {member.annotation}"
        elif member.is_attribute:
            yield f"    {name}"


def describe(layer: str, torte: griffe.Object) -> str:
    """Return the whole public surface of a layer, a line for each name and member."""
    lines = []
    facade = importlib.import_module(f"torte.{layer}")
    for name in sorted({*facade.__all__, *getattr(facade, "__lazy__", ())}):
        found = definition(torte, layer, name)
        if found is None:
            lines.append(name)
        elif found.is_class:
            bases = ", ".join(str(base) for base in found.bases)
            lines += [f"class {name}({bases})" if bases else f"class {name}", *members(found)]
        elif found.is_function:
            lines.append(signature(found, name))
        else:
            lines.append(name)
    return "\n".join(lines) + "\n"


def main(check: bool) -> int:
    """Write the files, or compare them with the sources."""
    loader = griffe.GriffeLoader(search_paths=SOURCES, allow_inspection=False)
    torte = loader.load("torte")
    loader.resolve_aliases(implicit=True, external=False)
    changed = 0
    SNAPSHOTS.mkdir(exist_ok=True)
    for layer in layers():
        file, now = SNAPSHOTS / f"{layer}.txt", describe(layer, torte)
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        if not check:
            file.write_text(now, encoding="utf-8")
        elif now != before:
            changed += 1
            difference = difflib.unified_diff(
                before.splitlines(),
                now.splitlines(),
                f"{layer}.txt",
                f"torte.{layer}",
                "",
                "",
                0,
                "",
            )
            print(*difference, sep="\n")
    if changed:
        print("The public API changed. If so meant: `uv run .ci/public_api.py`, and CHANGELOG.md.")
    return int(changed > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Snapshot of the public API.")
    parser.add_argument("--check", action="store_true", help="compare, and fail on a difference")
    sys.exit(main(parser.parse_args().check))
