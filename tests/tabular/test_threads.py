"""Work on columns side by side."""

import pytest
from torte.tabular.threads import each


@pytest.mark.parametrize("n_rows", [10, 1_000_000])
def test_results_are_in_the_order_of_the_things(n_rows: int) -> None:
    assert each(lambda thing: thing * 2, range(100), n_rows) == list(range(0, 200, 2))
    assert each(str, [], n_rows) == []


@pytest.mark.parametrize("n_rows", [10, 1_000_000])
def test_an_error_is_the_error_of_the_call(n_rows: int) -> None:
    for at_fault in range(3):

        def call(thing: int, at_fault: int = at_fault) -> None:
            if thing == at_fault:
                raise IndexError(f"column {thing}")

        with pytest.raises(IndexError, match=f"column {at_fault}"):
            each(call, range(3), n_rows)
