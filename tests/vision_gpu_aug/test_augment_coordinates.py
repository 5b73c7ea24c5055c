"""The coordinate convention and the closed forms written in it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torte.vision.augment.coordinates import (
    Frame,
    apply_homography,
    centred_from_pixels,
    compose,
    from_rows,
    identity,
    index_homography,
    inverse,
    pixels_from_unit,
    quadrilateral,
    rescaled,
    resizing,
    unit_from_pixels,
)

small = st.floats(-0.25, 0.25)


def solved_homography(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The homography through four points, by solving the eight linear equations."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(values)), 1).reshape(3, 3)


@given(st.lists(small, min_size=8, max_size=8))
@settings(max_examples=50, deadline=None)
def test_quadrilateral_is_the_solution_of_the_linear_equations(shifts):
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64)
    corners = square + np.array(shifts).reshape(4, 2)
    found = quadrilateral(torch.from_numpy(corners)[None])[0].numpy()
    np.testing.assert_allclose(found, solved_homography(square, corners), atol=1e-9)


def test_quadrilateral_of_the_square_itself_is_the_identity_to_the_bit():
    square = torch.tensor([[[-1.0, -1], [1, -1], [1, 1], [-1, 1]]])
    assert torch.equal(quadrilateral(square), torch.eye(3)[None])


@given(st.lists(small, min_size=9, max_size=9))
@settings(max_examples=50, deadline=None)
def test_inverse_undoes_a_homography(shifts):
    matrix = (torch.eye(3, dtype=torch.float64) + torch.tensor(shifts).double().view(3, 3) / 2)[
        None
    ]
    product = compose(inverse(matrix), matrix)
    torch.testing.assert_close(product, torch.eye(3, dtype=torch.float64)[None])


def test_rescaling_keeps_diagonals_to_the_bit_and_units_right():
    matrix = torch.tensor([[[1.0, 0.1, 0.5], [0.2, 1.0, 0.25], [0.01, 0.02, 1.0]]])
    scaled = rescaled(matrix, 49.0, 7.0)
    assert torch.equal(scaled.diagonal(dim1=1, dim2=2), matrix.diagonal(dim1=1, dim2=2))
    point = torch.tensor([[[0.3, -0.4]]])
    units = torch.tensor([49.0, 7.0])
    expected, _ = apply_homography(matrix, point)
    found, _ = apply_homography(scaled, point * units)
    torch.testing.assert_close(found, expected * units)


def test_index_homography_moves_pixel_centres():
    source, output = Frame(10, 20), Frame(5, 8)
    matrix = torch.tensor([[[2.0, 0, 1], [0, 3, -1], [0, 0, 1]]])
    centre = torch.tensor([[[3.0, 2.0]]])  # the pixel of column 3 and row 2
    points = centred_from_pixels(centre + 0.5, output)
    expected = apply_homography(matrix, points)[0] + torch.tensor([10.0, 5.0]) - 0.5
    found, _ = apply_homography(index_homography(matrix, output, source), centre)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("align_corners", [True, False])
def test_resizing_sends_extent_to_extent(align_corners):
    source, output = Frame(10, 21, align_corners), Frame(4, 5, align_corners)
    matrix = resizing(source, output, torch.ones(1))
    less = 1 if align_corners else 0
    assert matrix[0, 0, 0] == pytest.approx((21 - less) / (5 - less))
    assert matrix[0, 1, 1] == pytest.approx((10 - less) / (4 - less))


def test_unit_coordinates_have_their_ends_at_the_outer_edges():
    frame = Frame(10, 20)
    ends = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]])
    pixels = pixels_from_unit(ends, frame)
    assert pixels.tolist() == [[0, 0], [20, 10], [10, 5]]
    torch.testing.assert_close(unit_from_pixels(pixels, frame), ends)


def test_points_behind_the_horizon_have_no_positive_depth():
    matrix = from_rows([[1, 0, 0], [0, 1, 0], [-0.1, 0, 1]], torch.ones(1))
    _, depth = apply_homography(matrix, torch.tensor([[[5.0, 0.0], [20.0, 0.0]]]))
    assert depth[0, 0] > 0 > depth[0, 1]


def test_composing_with_the_identity_changes_no_bit():
    matrix = torch.rand(4, 3, 3)
    eye = identity(torch.ones(4))
    assert torch.equal(compose(eye, matrix), matrix)
    assert torch.equal(compose(matrix, eye), matrix)
