"""What the package exports and what importing it costs."""

import doctest
import json
import re
import subprocess
import sys
from pathlib import Path

import torte.optim
import torte.optim.all

SCRIPT = """
import json, sys, time
import torch
before, start = set(sys.modules), time.perf_counter()
import torte.optim
seconds = time.perf_counter() - start
import builtins
from torte.optim.all import *
new = sorted(set(sys.modules) - before)
print(json.dumps([new, seconds]))
"""

STEPPING = """
import sys, torch
from torte.optim import Adam, Lookahead
weight = torch.ones(3, requires_grad=True)
for opt in (Adam([weight], lr=0.1), Lookahead(Adam([weight], lr=0.1))):
    weight.sum().backward()
    opt.step()
    opt.zero_grad()
    opt.load_state_dict(opt.state_dict())
    opt.step()
print(sorted(name for name in sys.modules if name in ("torch._dynamo", "sympy")))
import torch._dynamo
opt.add_param_group({"params": [torch.ones(2, requires_grad=True)]})
print(len(opt.param_groups))
"""


def test_all_is_sorted_and_complete():
    names = torte.optim.__all__
    assert len(set(names)) == len(names)
    assert all(hasattr(torte.optim, name) for name in names)
    assert set(torte.optim.all.__all__) == set(names)
    assert not set(names) & set(dir(__builtins__))


def test_importing_brings_in_nothing_but_torch():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    new, _ = json.loads(done.stdout)
    allowed = ("torte", "torch", "ctypes", "_ctypes", "hashlib", "subprocess", "tempfile")
    heavy = [name for name in new if name.split(".")[0] in ("numpy", "pandas", "scipy", "sympy")]
    assert not heavy
    assert all(name.split(".")[0] in {*allowed, *sys.stdlib_module_names} for name in new)
    assert "torch._inductor" not in new
    assert "torch._dynamo" not in new


def test_stepping_and_saving_load_no_compiler():
    done = subprocess.run(
        [sys.executable, "-c", STEPPING], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["[]", "2"]


def test_every_public_name_has_a_docstring():
    for name in torte.optim.__all__:
        assert getattr(torte.optim, name).__doc__


def test_the_readme_runs():
    text = (Path(torte.optim.__file__).parents[3] / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["opt"].hypers[0]["mom"] == 0.95
    assert not names["model"][0].weight.requires_grad


def test_the_examples_in_docstrings_run():
    modules = [m for n, m in sorted(sys.modules.items()) if n.startswith("torte.optim.")]
    tried = 0
    for module in modules:
        results = doctest.testmod(module, extraglobs=vars(torte.optim))
        assert results.failed == 0
        tried += results.attempted
    assert tried > 20
