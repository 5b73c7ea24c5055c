"""The best items for every user, beside the bare matrix products and implicit's recommend.

Run with `OMP_NUM_THREADS=1 python tests/benchmarks/bench_recommend.py`, or one part of it:
`lists`, `growth`, `million`; `--quick` for a look. Factors are drawn, 50 for each user and item.
Budget: at least 0.7 of the speed of the products alone, which are written to one place in memory
that is used again and again (new memory for each block makes them slower), in memory that does not
grow with the number of users times that of items. `million` goes through 1,000,000 users and
100,000 items in a process of its own, and through the products of a hundredth of the users before
and after.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from common import Timing, measure, print_curves, print_facts, print_table, versions
from torch import Tensor
from torte.collab import top_items

HAS_IMPLICIT = importlib.util.find_spec("implicit") is not None
FACTORS, LISTS, ITEMS = 50, 10, 100_000
BUDGET = 0.7


def factors(count: int, seed: int = 0) -> Tensor:
    """Factors of so many users or items."""
    return torch.randn(count, FACTORS, generator=torch.Generator().manual_seed(seed))


def products(users: Tensor, items: Tensor, size: tuple[int, int]) -> Callable[[], None]:
    """All dot products in blocks of users and items, each block over the last one."""
    place = torch.empty(size[0] * size[1])

    def run() -> None:
        for some in users.split(size[0]):
            for others in items.split(size[1]):
                out = place[: len(some) * len(others)].view(len(some), len(others))
                torch.mm(some, others.T, out=out)

    return run


def fresh_products(users: Tensor, items: Tensor) -> Callable[[], None]:
    """The same as one writes it without a thought of memory."""

    def run() -> None:
        for some in users.split(1024):
            for others in items.split(16384):
                some @ others.T

    return run


def torte_lists(users: Tensor, items: Tensor) -> Callable[[], Any]:
    """The best items of each user."""
    return partial(top_items, users, items, torch.zeros(len(items)), LISTS)


def implicit_lists(users: Tensor, items: Tensor) -> Callable[[], Any]:
    """Those of implicit, of the same factors."""
    from implicit.cpu.matrix_factorization_base import MatrixFactorizationBase

    class Given(MatrixFactorizationBase):
        def fit(self, *_: Any, **__: Any) -> None: ...

        def save(self, *_: Any) -> None: ...

    model: Any = Given(num_threads=int(os.environ.get("OMP_NUM_THREADS", "1")))
    model.user_factors, model.item_factors = users.numpy(), items.numpy()
    asked = np.arange(len(users))
    options = {"N": LISTS, "filter_already_liked_items": False}
    return lambda: model.recommend(asked, None, **options)


def candidates(n_users: int, n_items: int) -> dict[str, Callable[[], Any]]:
    """What is compared, on the same factors."""
    users, items = factors(n_users, 1), factors(n_items)
    found: dict[str, Callable[[], Any]] = {
        "products alone, 1024 x 16384": products(users, items, (1024, 16384)),
        "products alone, 256 x 8192": products(users, items, (256, 8192)),
        "products alone, new memory": fresh_products(users, items),
        "torte": torte_lists(users, items),
    }
    if HAS_IMPLICIT:
        found["implicit"] = implicit_lists(users, items)
    return found


def bench_lists(quick: bool) -> None:
    """Two thousand users against the whole catalogue."""
    n_users, n_items = (256, 20_000) if quick else (2048, ITEMS)
    timings: dict[str, Timing] = measure(candidates(n_users, n_items), 3 if quick else 15, 0.001)
    reference = min(list(timings)[:2], key=lambda name: timings[name].fastest)
    budget = timings[reference].fastest / BUDGET
    title = f"The {LISTS} best of {n_items:,} items for {n_users:,} users"
    absent = () if HAS_IMPLICIT else ("implicit",)
    print_table(title, timings, reference, absent, budget)
    rows = {
        name: [f"{n_users / each.fastest:,.0f}", timings[reference].fastest / each.fastest]
        for name, each in timings.items()
    }
    print_facts(title, ["users/s", "of the products"], rows)


def bench_growth(quick: bool) -> None:
    """Seconds by the number of users."""
    sizes = (100, 1000) if quick else (100, 1000, 10_000)
    curves: dict[str, dict[float, float]] = {}
    for size in sizes:
        timings = measure(candidates(size, 20_000), 1 if size > 1000 else 3, 0.001)
        for name, each in timings.items():
            curves.setdefault(name, {})[size] = each.fastest
    print_curves("The ten best of 20,000 items", "users", "s", curves)


MILLION = """
import re, sys, time
from pathlib import Path
import numpy as np, pandas as pd, torch
torch.set_num_threads(int(sys.argv.pop()))
from torte.collab.all import *
n_users, n_items, n_factors = map(int, sys.argv[1:])
# Not ru_maxrss, which a process takes over from the one that started it.
status = Path("/proc/self/status")
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text()).group(1)) / 1024
def timed(what, call):
    start = time.perf_counter(); result = call()
    print(what, time.perf_counter() - start, peak(), flush=True)
    return result
rows = np.arange(5 * n_users)
random = np.random.default_rng(0)
items = np.where(rows < n_items, rows, random.integers(0, n_items, len(rows)))
df = pd.DataFrame({"user": rows % n_users, "item": items, "rating": 3.0})
make = lambda: CollabDataLoaders.from_df(df, valid_pct=0.0, bs=4096)
dls = timed("loaders", make)
learn = timed("learner", lambda: collab_learner(dls, n_factors=n_factors, y_range=(0.5, 5.5)))
for table in (learn.model.u_weight, learn.model.i_weight):
    torch.nn.init.normal_(table.weight)
place = torch.empty(1024 * 16384)
users = learn.model.u_weight.weight.detach()[: n_users // 100]
items = learn.model.i_weight.weight.detach()
def products():
    for some in users.split(1024):
        for others in items.split(16384):
            out = place[: len(some) * len(others)].view(len(some), len(others))
            torch.mm(some, others.T, out=out)
products()
timed("products_of_1%", products)
lists = timed("recommend", lambda: learn.recommend(k=10))
timed("products_of_1%", products)
assert len(lists["item"]) == 10 * n_users
"""


def bench_million(quick: bool) -> None:
    """`recommend` for everybody, with five seen items each, and the peak of memory."""
    n_users, n_items = (10_000, 5_000) if quick else (1_000_000, ITEMS)
    command = [sys.executable, "-W", "ignore", "-c", MILLION]
    command += [str(size) for size in (n_users, n_items, FACTORS, torch.get_num_threads())]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    steps = [line.split() for line in done.stdout.splitlines()]
    rows: dict[str, list[str]] = {}
    for what, seconds, peak in steps:
        name = f"{what}, again" if what in rows else what
        rows[name] = [f"{float(seconds):.1f}", f"{float(peak):,.0f}"]
    seconds = {what: [float(each[1]) for each in steps if each[0] == what] for what, _, _ in steps}
    share = 100 * statistics.mean(seconds["products_of_1%"]) / seconds["recommend"][0]
    rows["of the products' speed"] = [f"{share:.2f}", ""]
    scores = n_users * n_items * 4 / 2**20
    rows["all scores would take"] = ["", f"{scores:,.0f}"]
    print_facts(f"{n_users:,} users, {n_items:,} items", ["seconds", "peak MiB"], rows)


PARTS = {"lists": bench_lists, "growth": bench_growth, "million": bench_million}


def main() -> None:
    """Print the tables of the parts that are named, or of all."""
    parser = argparse.ArgumentParser(description="The best items for every user.")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer users and items")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    versions("torch", "implicit")
    for name in arguments.parts or PARTS:
        PARTS[name](arguments.quick)


if __name__ == "__main__":
    main()
