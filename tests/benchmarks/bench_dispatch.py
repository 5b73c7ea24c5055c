"""Dispatch, transforms and pipelines beside singledispatch, multipledispatch, plum, fasttransform.

Run it with an interpreter that has torte-core-dispatch; peers that it lacks are reported absent:

    python tests/benchmarks/bench_dispatch.py
"""

import functools
import importlib
from collections.abc import Callable, Sequence
from numbers import Number
from typing import Any

from common import measure, measure_imports, print_table, versions
from torte.dispatch import Pipeline, Transform, TypeDispatch, typedispatch

PEERS = ("multipledispatch", "plum-dispatch", "fasttransform", "fastcore")


def peer(module: str) -> Any:
    """Return an installed module, or `None`."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


# -- two arguments ---------------------------------------------------------------------------------


@typedispatch
def torte_function(x: Number, y: object) -> int:
    return 0


@torte_function.register
def _(x: int, y: float) -> int:
    return 1


@torte_function.register
def _(x: str, y: int | bytes) -> int:
    return 2


plain_classes: Any = TypeDispatch()


@plain_classes.register
def _(x: int, y: float) -> int:
    return 1


@plain_classes.register
def _(x: str, y: int | bytes) -> int:
    return 2


@functools.singledispatch
def single(x: object, y: object) -> int:
    return 0


@single.register
def _(x: int, y: object) -> int:
    return 1


@single.register
def _(x: str, y: object) -> int:
    return 2


def with_multipledispatch() -> Callable[[Any, Any], Any] | None:
    module = peer("multipledispatch")
    if module is None:
        return None
    namespace: dict[str, Any] = {}

    @module.dispatch(int, float, namespace=namespace)
    def function(x: int, y: float) -> int:
        return 1

    @module.dispatch(str, int, namespace=namespace)
    def function(x: str, y: int) -> int:  # noqa: F811
        return 2

    return function


def with_plum() -> Callable[[Any, Any], Any] | None:
    module = peer("plum")
    if module is None:
        return None
    dispatch = module.Dispatcher()
    # No return annotations: with them plum converts every result, and a call takes 40 µs.

    @dispatch
    def function(x: int, y: float):
        return 1

    @dispatch
    def function(x: str, y: int):  # noqa: F811
        return 2

    return function


def bench_dispatch() -> None:
    """Time cached calls with two arguments."""
    candidates = {
        "functools.singledispatch (one arg.)": lambda: single(1, 2.0),
        "torte, classes": lambda: plain_classes(1, 2.0),
        "torte, with an ABC": lambda: torte_function(1, 2.0),
    }
    absent = []
    for name, make in (("multipledispatch", with_multipledispatch), ("plum", with_plum)):
        function = make()
        if function is None:
            absent.append(name)
        else:
            candidates[name] = lambda function=function: function(1, 2.0)
    timings = measure(candidates)
    budget = timings["functools.singledispatch (one arg.)"].fastest
    print_table(
        "A call dispatched on two arguments", timings, next(iter(candidates)), tuple(absent), budget
    )


def bench_cliffs() -> None:
    """Time what might be slow: unions, ABCs, many implementations, methods, names."""
    many: Any = TypeDispatch()
    classes = [type(f"C{number}", (), {}) for number in range(1000)]
    for number, cls in enumerate(classes):
        many.register(cls, int | float)(lambda x, y, number=number: number)
    unions: Any = TypeDispatch()
    unions.register(int | str | bytes, float | None)(lambda x, y: 1)
    unions.register(Sequence, Number)(lambda x, y: 2)

    class Owner:
        @typedispatch
        def method(self, x: int, y: float) -> int:
            return 1

        @functools.singledispatchmethod
        def standard(self, x: int, y: float) -> int:
            return 1

    owner, last = Owner(), classes[-1]()
    timings = measure(
        {
            "functools.singledispatch (one arg.)": lambda: single(1, 2.0),
            "torte, 1,000 implementations": lambda: many(last, 1),
            "torte, unions": lambda: unions(b"", None),
            "torte, ABCs": lambda: unions([], 1),
            "functools.singledispatchmethod": lambda: owner.standard(1, 2.0),
            "torte, a method": lambda: owner.method(1, 2.0),
            "torte, one argument": lambda: plain_one(1),
        }
    )
    print_table("No cliffs", timings, "functools.singledispatch (one arg.)")


@typedispatch
def plain_one(x: int) -> int:
    return 1


def bench_first_calls() -> None:
    """Time 1,000 registrations, and the first call of each."""
    classes = [type(f"C{number}", (), {}) for number in range(1000)]

    def torte() -> None:
        table: Any = TypeDispatch()
        for cls in classes:
            table.register(cls, int)(lambda x, y: 1)
        for cls in classes:
            table(cls(), 1)

    def standard() -> None:
        table: Any = functools.singledispatch(lambda x, y: 0)
        for cls in classes:
            table.register(cls)(lambda x, y: 1)
        for cls in classes:
            table(cls(), 1)

    timings = measure({"functools.singledispatch": standard, "torte": torte}, rounds=5)
    print_table("1,000 registrations and first calls", timings, "functools.singledispatch")


# -- transforms ------------------------------------------------------------------------------------


class AddOne(Transform):
    def encodes(self, x: int) -> int:
        return x + 1


class Scale(Transform):
    encodes = TypeDispatch()

    @encodes.register
    def _(self, x: int) -> int:
        return x * 2

    @encodes.register
    def _(self, x: str) -> str:
        return x + x


def with_fasttransform() -> tuple[Any, Any] | None:
    module = peer("fasttransform")
    if module is None:
        return None

    class PeerAddOne(module.Transform):
        def encodes(self, x: int) -> int:
            return x + 1

    class PeerScale(module.Transform):
        def encodes(self, x: int) -> int:
            return x * 2

        def encodes(self, x: str) -> str:  # noqa: F811
            return x[:1]

    return PeerAddOne(), module.Pipeline([PeerAddOne(), PeerScale(), PeerAddOne()])


class FirstOf(Scale):
    """Scale for the pipeline: a string that does not grow from call to call."""

    encodes = TypeDispatch()

    @encodes.register
    def _(self, x: str) -> str:
        return x[:1]


def bench_transforms() -> None:
    """Time one transform on an int, and a pipeline of three on a tuple of two."""
    add, pipeline = AddOne(), Pipeline([AddOne(), FirstOf(), AddOne()])
    peers = with_fasttransform()
    candidates: dict[str, Callable[[], Any]] = {"torte": lambda: add(1)}
    if peers is not None:
        candidates["fasttransform"] = lambda: peers[0](1)
    absent = () if peers is not None else ("fasttransform",)
    print_table("A Transform called on an int", measure(candidates), "torte", absent, 1e-6)
    candidates = {"torte": lambda: pipeline((1, "a"))}
    if peers is not None:
        candidates["fasttransform"] = lambda: peers[1]((1, "a"))
    print_table("Three steps on a tuple of two", measure(candidates), "torte", absent, 6e-6)


# -- importing --------------------------------------------------------------------------------


def bench_imports() -> None:
    """Time the import in fresh interpreters."""
    peers = ("plum", "fastcore.all", "fasttransform")
    absent = tuple(each for each in peers if peer(each.partition(".")[0]) is None)
    modules = ["torte.dispatch", *(each for each in peers if each not in absent)]
    print_table("Importing", measure_imports(modules), "torte.dispatch", absent, 50e-3)


if __name__ == "__main__":
    print(versions("torte-core-dispatch", *PEERS))  # noqa: T201
    bench_dispatch()
    bench_cliffs()
    bench_first_calls()
    bench_transforms()
    bench_imports()
