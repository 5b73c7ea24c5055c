"""The forms that type checkers accept without a complaint: pyright reports nothing here."""

from typing import Any, assert_type, overload

from torte.dispatch import (
    ItemTransform,
    L,
    Pipeline,
    Transform,
    TypeDispatch,
    delegates,
    funcs_kwargs,
    patch,
    serializable,
    typedispatch,
)


class Flip(Transform):
    """A named table in a class body."""

    order = 1
    split_idx = 0
    encodes = TypeDispatch()

    @encodes.register
    def _(self, x: int) -> int:
        return -x

    @encodes.register
    def _(self, x: str) -> str:
        return x[::-1]

    def decodes(self, x: int) -> int:
        return -x

    def setups(self, items: list[int]) -> None:
        self.largest = max(items)


@Flip.encodes.register
def _(self: Flip, x: float) -> float:
    return -x


class Crop(ItemTransform):
    def __init__(self, size: int) -> None:
        super().__init__(order=3)
        self.size = size

    def encodes(self, xy: tuple[Any, Any]) -> tuple[Any, Any]:
        return xy

    def fuse(self, following: Transform) -> Transform | None:
        return self if isinstance(following, Crop) else None


# A general implementation, and more registered into it: calls have its type.


@typedispatch
def show(x: object, y: object = None, *, size: int = 3) -> str:
    return repr(x)


@show.register
def _(x: int, y: float, *, size: int = 3) -> str:
    return "int"


assert_type(show(1, 2.0, size=5), str)
assert_type(show[int, float](1, 2.0), str)


# Overloads in front of the table: calls have the type of the one that fits.


@overload
def double(x: int) -> int: ...
@overload
def double(x: str) -> str: ...
@typedispatch
def double(x: Any) -> Any:
    raise TypeError(x)


assert_type(double(1), int)
assert_type(double("a"), str)


class Reader:
    @typedispatch
    def read(self, x: object) -> str:
        return ""

    @read.register
    def _(self, x: int) -> str:
        return "int"


assert_type(Reader().read(3), str)


# L knows what it holds.

assert_type(L([1, 2]), L[int])
assert_type(L([1, 2])[0], int)
assert_type(L([1, 2])[:1], L[int])
assert_type(L([1, 2]).map(str), L[str])
assert_type(L([1, 2]).map(lambda n: n + 1).filter(), L[int])
assert_type(L(["a"]).map(len).sorted(), L[int])
assert_type(L(["a"]).map("<{}>"), L[str])
assert_type(L(["a"]).enumerate(), L[tuple[int, str]])
assert_type(L(["a"]).val2idx(), dict[str, int])
assert_type(L(["a"]).map_dict(len), dict[str, int])
assert_type(L.range(3), L[int])


# Decorators give back what they were given.


@delegates(Crop)
def make(size: int, **kwargs: Any) -> Crop:
    return Crop(size, **kwargs)


assert_type(make(3), Crop)


@patch
def width(self: Crop) -> int:
    return self.size


@serializable("static.Box")
class Box:
    side: int = 1


assert_type(Box().side, int)


@funcs_kwargs
class Loader:
    _methods = ["get"]

    def __init__(self, n: int, **kwargs: Any) -> None:
        self.n = n

    def get(self) -> int:
        return self.n


assert_type(Loader(3).get(), int)
assert_type(len(Pipeline([Flip(), Crop(3), str.upper])), int)
