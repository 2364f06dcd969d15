"""lowp.transforms: products and matrices are as they were, and ranges as they should be."""

from __future__ import annotations

import math

import lowp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp
from lowp import transforms

SMALL = st.integers(-50, 50).map(float)


def matrices(elements: st.SearchStrategy[float] = SMALL) -> st.SearchStrategy[np.ndarray]:
    shapes = stnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7)
    return shapes.flatmap(lambda shape: stnp.arrays(np.float64, shape, elements=elements))


WIDE = st.floats(-1e140, 1e140).map(lambda x: 0.0 if abs(x) < 1e-140 else x)


# ---- k_sort --------------------------------------------------------------------------------------


@given(matrices(), st.integers(1, 5), st.sampled_from([1, 2, math.inf]), st.data())
def test_k_sort_leaves_the_product_as_it_was(
    a: np.ndarray, columns: int, norm: float, data: st.DataObject
) -> None:
    b = data.draw(stnp.arrays(np.float64, (a.shape[1], columns), elements=SMALL))
    sorted_ = transforms.k_sort(a, b, norm=norm)
    assert sorted_.b is not None
    # Integers add exactly in any order.
    np.testing.assert_array_equal(sorted_.a @ sorted_.b, a @ b)
    norms = np.linalg.norm(sorted_.a, norm, axis=0)
    assert np.all(np.diff(norms) <= 1e-9)
    np.testing.assert_array_equal(np.take(sorted_.a, sorted_.inverse, -1), a)
    np.testing.assert_array_equal(sorted_.permutation[sorted_.inverse], np.arange(a.shape[1]))


def test_k_sort_orders_channels_of_any_axis_and_keeps_equal_ones_in_place() -> None:
    a = np.float32([[1, 0], [5, 5], [-1, 0], [9, 0]])
    sorted_ = transforms.k_sort(a, axis=0)
    np.testing.assert_array_equal(sorted_.permutation, [3, 1, 0, 2])
    assert sorted_.a.dtype == np.float32
    assert sorted_.b is None
    vector = transforms.k_sort(np.array([1.0, -3.0]), np.array([10.0, 20.0]))
    np.testing.assert_array_equal(vector.b, [20.0, 10.0])


def test_k_sort_ranks_norms_beyond_the_range_of_squares() -> None:
    a = np.array([[1e-200, 1e200, 0.0, math.inf, 1e300], [2e-200, 1e200, 0.0, 1.0, 0.0]])
    np.testing.assert_array_equal(transforms.k_sort(a).permutation, [3, 4, 1, 0, 2])


def test_k_sort_refuses_what_has_no_order_or_does_not_fit() -> None:
    with pytest.raises(ValueError, match="NaN"):
        transforms.k_sort(np.array([math.nan]))
    with pytest.raises(ValueError, match=r"3 in shape.*4 in shape"):
        transforms.k_sort(np.zeros((2, 3)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="norm"):
        transforms.k_sort(np.zeros(3), norm=3)
    with pytest.raises(ValueError, match="scalar"):
        transforms.k_sort(1.0)
    with pytest.raises(TypeError, match="int64"):
        transforms.k_sort(np.arange(3, dtype=np.int64))
    assert transforms.k_sort(np.zeros((0, 3))).permutation.tolist() == [0, 1, 2]
    assert transforms.k_sort(np.zeros((3, 0))).a.shape == (3, 0)


# ---- smooth --------------------------------------------------------------------------------------


@given(matrices(), st.floats(0, 1), st.data())
def test_smoothing_leaves_the_product_and_balances_the_ranges(
    x: np.ndarray, alpha: float, data: st.DataObject
) -> None:
    w = data.draw(stnp.arrays(np.float64, (x.shape[1], 3), elements=SMALL))
    smooth_x, smooth_w, scales = transforms.smooth(x, w, alpha)
    np.testing.assert_allclose(smooth_x @ smooth_w, x @ w, rtol=1e-12, atol=1e-9)
    assert np.all(scales > 0)
    used = (np.abs(x).max(0) > 0) & (np.abs(w).max(1) > 0)
    assert np.all(scales[~used] == 1)
    # At one half both ranges are the geometric mean of what they were.
    half_x, half_w, _ = transforms.smooth(x, w)
    both = np.sqrt(np.abs(x).max(0) * np.abs(w).max(1))[used]
    np.testing.assert_allclose(np.abs(half_x).max(0)[used], both, rtol=1e-12)
    np.testing.assert_allclose(np.abs(half_w).max(1)[used], both, rtol=1e-12)


def test_smoothing_scales_are_the_formula_of_the_paper() -> None:
    x, w = np.array([[[1.0, -16.0, 0.0]], [[-4.0, 2.0, 0.0]]]), np.array([[4.0], [-1.0], [3.0]])
    np.testing.assert_allclose(transforms.smoothing_scales(x, w), [1.0, 4.0, 1.0])
    scales = transforms.smoothing_scales(x, w, alpha=0.75)
    np.testing.assert_allclose(scales, [4**0.75 / 4**0.25, 8.0, 1.0])
    assert transforms.smooth(x.astype(np.float32), w)[0].dtype == np.float32


def test_smoothing_without_samples_changes_nothing() -> None:
    np.testing.assert_array_equal(transforms.smoothing_scales(np.zeros((0, 2)), np.ones(2)), [1, 1])


def test_smoothing_refuses_what_has_no_range_or_does_not_fit() -> None:
    with pytest.raises(ValueError, match="x holds NaN or infinity"):
        transforms.smoothing_scales(np.array([math.inf]), np.ones(1))
    with pytest.raises(ValueError, match="same channels"):
        transforms.smooth(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="alpha"):
        transforms.smooth(np.ones(1), np.ones(1), 1.5)
    with pytest.raises(ValueError, match="scalar"):
        transforms.smoothing_scales(1.0, np.ones(1))


# ---- squeeze -------------------------------------------------------------------------------------


@given(matrices(WIDE))
def test_equilibrated_rows_and_columns_have_a_largest_entry_of_one(a: np.ndarray) -> None:
    squeezed = transforms.squeeze(a, "float16")
    magnitudes = np.abs(squeezed.matrix) / (0.1 * 65504 if a.any() else 1.0)
    rows, columns = np.abs(a).max(1) > 0, np.abs(a).max(0) > 0
    np.testing.assert_allclose(magnitudes.max(0)[columns], 1, rtol=1e-14)
    # Columns are scaled up after rows, never beyond 1.
    np.testing.assert_allclose(magnitudes.max(1)[rows], 1, rtol=1e-14)
    np.testing.assert_array_equal(squeezed.matrix == 0, a == 0) if rows.all() else None
    assert np.all(squeezed.r[~rows] == 1)
    assert np.all(squeezed.s[~columns] == 1)


@given(matrices(WIDE))
def test_symmetric_scaling_reaches_its_tolerance_and_keeps_symmetry(a: np.ndarray) -> None:
    size = min(a.shape)
    square = a[:size, :size]
    symmetric = np.tril(square) + np.tril(square, -1).T
    squeezed = transforms.squeeze(symmetric, "float16", symmetric=True, tolerance=1e-6)
    np.testing.assert_array_equal(squeezed.r, squeezed.s)
    np.testing.assert_array_equal(squeezed.matrix, squeezed.matrix.T)
    largest = np.abs(squeezed.matrix).max(1) / (0.1 * 65504)
    used = np.abs(symmetric).max(1) > 0
    np.testing.assert_allclose(largest[used], 1, rtol=3e-6)


@given(matrices(st.floats(-1e100, 1e100).map(lambda x: 0.0 if abs(x) < 1e-100 else x)),
       st.booleans(), st.floats(0.01, 1))  # fmt: skip
def test_powers_of_two_come_back_bit_for_bit(a: np.ndarray, symmetric: bool, theta: float) -> None:
    squeezed = transforms.squeeze(
        a, "float8_e4m3fn", theta=theta, symmetric=symmetric, power_of_two=True
    )
    for factors in (squeezed.r, squeezed.s, np.array([squeezed.mu])):
        assert np.all(np.frexp(factors)[0] == 0.5)
    restored = squeezed.unsqueeze()
    np.testing.assert_array_equal(restored.view(np.int64), a.view(np.int64))
    assert np.abs(squeezed.matrix).max() <= theta * 448


@given(matrices(WIDE), st.booleans())
def test_any_factors_come_back_up_to_rounding(a: np.ndarray, symmetric: bool) -> None:
    restored = transforms.squeeze(a, "float16", symmetric=symmetric).unsqueeze()
    np.testing.assert_allclose(restored, a, rtol=1e-14)


def test_a_badly_scaled_system_is_solved_from_float16_only_when_squeezed() -> None:
    rng = np.random.default_rng(1)
    well = rng.standard_normal((20, 20)) + 10 * np.eye(20)
    columns = 10.0 ** rng.uniform(-6, 6, 20)
    a = well * 10.0 ** rng.uniform(-6, 6, (20, 1)) * columns
    assert not np.isfinite(lowp.quantize(a, "float16")).all()
    squeezed = transforms.squeeze(a, "float16")
    held = squeezed.unsqueeze(lowp.quantize(squeezed.matrix, "float16"))
    x = np.linalg.solve(held, a @ (1 / columns))
    np.testing.assert_allclose(x * columns, 1, rtol=0.05)


def test_theta_of_the_largest_number_is_the_largest_entry_in_any_dtype() -> None:
    a = np.float32([[3e-30, 0.5], [0.0, 7e30]])
    squeezed = transforms.squeeze(a, "float8_e5m2", theta=0.5)
    assert squeezed.matrix.dtype == np.float32
    assert np.abs(squeezed.matrix).max() == pytest.approx(0.5 * 57344, rel=1e-6)
    # float32 does not hold a tenth of float64's largest number.
    assert transforms.squeeze(a, "float64").matrix.dtype == np.float64


def test_matrices_without_entries_or_of_zeros_stay_as_they_are() -> None:
    for shape in ((0, 3), (2, 0), (2, 3)):
        squeezed = transforms.squeeze(np.zeros(shape), "float16")
        assert squeezed.matrix.shape == shape
        assert (squeezed.mu, squeezed.r.sum(), squeezed.s.sum()) == (1.0, *shape)
        np.testing.assert_array_equal(squeezed.unsqueeze(), np.zeros(shape))


def test_the_smallest_numbers_get_finite_factors() -> None:
    squeezed = transforms.squeeze(np.array([[5e-324, 1e-310]]), "float16", power_of_two=True)
    assert np.isfinite(squeezed.matrix).all()
    assert np.isfinite(squeezed.r).all()


def test_squeeze_refuses_what_it_cannot_scale() -> None:
    square = np.ones((2, 2))
    with pytest.raises(ValueError, match="NaN or infinity"):
        transforms.squeeze(np.array([[math.nan]]), "float16")
    with pytest.raises(ValueError, match=r"matrix; got shape \(2,\)"):
        transforms.squeeze(square[0], "float16")
    with pytest.raises(ValueError, match="theta"):
        transforms.squeeze(square, "float16", theta=0.0)
    with pytest.raises(ValueError, match="tolerance"):
        transforms.squeeze(square, "float16", tolerance=1.0)
    with pytest.raises(ValueError, match="flaot16"):
        transforms.squeeze(square, "flaot16")
    with pytest.raises(ValueError, match=r"\(2, 2\); got \(3,\)"):
        transforms.squeeze(square, "float16").unsqueeze(np.ones(3))
