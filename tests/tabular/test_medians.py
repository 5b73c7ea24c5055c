"""The median is NumPy's, whatever the values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torte.tabular.medians import median

DRAWN = {
    "normal": lambda rng, n: rng.normal(size=n),
    "few values": lambda rng, n: rng.integers(0, 3, n).astype(float),
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.9, 0.0, rng.exponential(size=n)),
    "sorted": lambda rng, n: np.arange(n, dtype=float),
    "falling": lambda rng, n: -np.arange(n, dtype=float),
    "equal": lambda rng, n: np.full(n, 3.5),
    "waves as long as the sample's steps": lambda rng, n: np.sin(
        np.arange(n) * 2 * np.pi / (n // 1024)
    ),
    "infinite": lambda rng, n: np.where(np.arange(n) % 3 == 0, np.inf, rng.normal(size=n)),
}


@pytest.mark.parametrize("n", [1, 2, 9_999, 20_001, 50_000])
@pytest.mark.parametrize("kind", DRAWN)
def test_the_median_of_many_numbers(kind, n) -> None:
    if n < 1024 and kind.startswith("waves"):
        n = 1024
    values = DRAWN[kind](np.random.default_rng(n), n)
    before = values.copy()
    assert median(values) == np.median(values)
    np.testing.assert_array_equal(values, before)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1))
def test_the_median_of_any_numbers(numbers) -> None:
    values = np.array(numbers)
    assert median(values) == np.median(values)
