"""How the documentation is built: `uv run sphinx-build -W --keep-going docs docs/_build/html`.

Pages are Markdown (MyST). Those with code cells are notebooks in text form: they run when the site
is built, so no page shows output that was not produced. The API pages are written from the
docstrings by `_ext/api_pages.py`; `_ext/name_links.py` makes every name in backticks a link.
"""

import os
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

with (HERE.parent / "pyproject.toml").open("rb") as stream:
    release = tomllib.load(stream)["project"]["version"]

project = "torte"
author = "the torte developers"
project_copyright = "the torte developers"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "api_pages",
    "docstrings",
    "name_links",
]
exclude_patterns = ["_build", "_ext", "jupyter_execute"]
source_suffix = {".md": "myst-nb", ".rst": "restructuredtext"}

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

# A page that fails to run fails the build. Its cells are run again only when they change.
nb_execution_mode = os.environ.get("TORTE_DOCS_EXECUTE", "cache")
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 900
nb_execution_excludepatterns = ["api/*"]
nb_merge_streams = True
# The pages write files (exported learners, checkpoints) where they run.
nb_execution_in_temp = True

# What the pages need of the world: no network, pictures drawn without a screen, few threads.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORTE_HOME", str(Path(tempfile.gettempdir()) / "torte-docs-data"))

default_role = "literal"
# Two layers may each have a class of one name: a bare name in a signature then stays unlinked.
suppress_warnings = ["ref.python"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"torte {release}"
html_static_path = ["_static"]
html_favicon = "_static/torte.svg"
html_css_files = ["torte.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
