"""Take the download addresses out of `uv.lock`, so that the lock serves behind any package index.

What stays is what a lock is for: versions, hashes, file names and the dependency graph. An entry's
`url` becomes its `filename`, every `registry` becomes empty, and the `[package.metadata]` tables
go: without them uv resolves again, prefers the locked versions, and asks whichever index the user
has configured. Run it after every `uv lock` and before every commit that touches the lock:

    python .ci/strip_lock.py
"""

import re
import sys
from pathlib import Path

ADDRESS = re.compile(r'url = "https?://[^"]*/([^"/]+)"')
REGISTRY = re.compile(r'registry = "[^"]*"')
METADATA = re.compile(r"^\[package\.metadata[^\n]*\]\n(?:(?!\[)[^\n]*\n)*", re.MULTILINE)


def stripped(lock: str) -> str:
    """Return the text of a uv lock without any address."""
    lock = ADDRESS.sub(lambda match: f'filename = "{match[1]}"', lock)
    lock = METADATA.sub("", REGISTRY.sub('registry = ""', lock))
    return re.sub(r"\n{3,}", "\n\n", lock).rstrip("\n") + "\n"


def main(path: Path) -> int:
    """Strip the lock at `path` in place; complain if an address is left."""
    text = stripped(path.read_text(encoding="utf-8"))
    left = [line for line in text.splitlines() if "://" in line]
    if left:
        print(f"{path}: addresses that this script does not know how to strip:", *left, sep="\n  ")
        return 1
    path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    default = Path(__file__).parents[1] / "uv.lock"
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else default))
