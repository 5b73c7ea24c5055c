"""The paper's form, one name written again: what pyright says about it, line by line.

Each line that ends in `# expect: rule` is reported under that rule, and no other line is. Users who
write this form set `reportRedeclaration = false` (and ruff's F811) for those files.
"""

from typing import assert_type

from torte.dispatch import Transform, typedispatch


class Flip(Transform):
    def encodes(self, x: int) -> int:  # expect: reportRedeclaration
        return -x

    def encodes(self, x: str) -> str:  # noqa: F811
        return x[::-1]


@typedispatch
def show(x: int) -> int:  # expect: reportRedeclaration
    return x


@typedispatch
def show(x: str) -> str:  # noqa: F811
    return x


assert_type(show("a"), str)  # checkers know the last definition alone
show(1)  # expect: reportArgumentType
