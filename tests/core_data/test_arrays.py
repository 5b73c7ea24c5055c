"""Semantic arrays keep class and metadata through NumPy's operations."""

import pickle

import numpy as np
import pytest
from torte.data.arrays import ArrayBase, ArrayImage, ArrayImageBase, ArrayImageBW, ArrayMask


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x + 1,
        lambda x: x[1:],
        lambda x: x.T,
        lambda x: x.astype(np.float32),
        lambda x: np.flip(x, 0),
        lambda x: x.copy(),
        lambda x: pickle.loads(pickle.dumps(x)),
        lambda x: np.clip(x, 0, 3),
    ],
)
def test_class_and_metadata_survive(operation):
    values = np.arange(12.0).reshape(3, 4)
    result = operation(ArrayMask(values, codes=["a"]))
    assert type(result) is ArrayMask
    assert result.codes == ["a"]
    np.testing.assert_array_equal(np.asarray(result), operation(values))


def test_hierarchy_and_sharing():
    values = np.zeros((2, 2))
    assert issubclass(ArrayImageBW, ArrayImage)
    assert issubclass(ArrayMask, ArrayImageBase)
    assert np.shares_memory(ArrayImage(values), values)
    assert ArrayImage(ArrayMask(values, codes=[1]), n=2).codes == [1]


def test_shown(capsys):
    ax = ArrayImage(np.random.default_rng(0).random((5, 6, 3))).show(title="x")
    assert ax.images[0].get_array().shape == (5, 6, 3)
    assert ax.get_title() == "x"
    ArrayMask(np.ones((5, 6), int)).show(ctx=ax)
    assert ax.images[1].get_alpha() == 0.5
    ArrayBase([1, 2]).show()
    assert capsys.readouterr().out == "[1, 2]\n"
