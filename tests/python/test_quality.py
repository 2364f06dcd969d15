"""lowp.quality: errors of formats on random data against closed forms, samples, known numbers."""

from __future__ import annotations

import itertools
import math

import lowp
import numpy as np
import pytest
from lowp import quality

# Measured once per tensor with the best scale (Gaussian data); what an integral must reproduce.
KNOWN = {
    "float4_e2m1fn": 0.01274,
    "e3m0": 0.0378,
    "float6_e2m3fn": 8.33e-4,
    "float6_e3m2fn": 2.74e-3,
    "float8_e4m3fn": 6.94e-4,
    "float8_e5m2": 2.74e-3,
}
DISTRIBUTIONS = ("gaussian", "laplace", "student_t3", "student_t5")


@pytest.mark.parametrize("name", KNOWN)
def test_gaussian_errors_are_the_known_ones_within_a_percent(name: str) -> None:
    assert quality.gmse(name) == pytest.approx(KNOWN[name], rel=0.01)


def uniform_grid(steps: int, step: float) -> float:
    """E (q - x)^2 of a Gaussian on the grid of -steps .. steps times the step, in closed form."""

    def cdf(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    def pdf(x: float) -> float:
        return math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)

    total = 0.0
    for k in range(-steps, steps + 1):
        low = -math.inf if k == -steps else (k - 0.5) * step
        high = math.inf if k == steps else (k + 0.5) * step
        zeroth, first = cdf(high) - cdf(low), pdf(low) - pdf(high)
        edges = [0.0 if math.isinf(e) else e * pdf(e) for e in (low, high)]
        total += zeroth + edges[0] - edges[1] - 2 * k * step * first + (k * step) ** 2 * zeroth
    return total


def test_the_error_of_a_uniform_grid_is_its_closed_form_at_any_scale() -> None:
    for step in (0.01, 0.1, 0.2, 0.3534, 0.5, 1.0, 3.0):
        # e0m3 holds -1.75 .. 1.75 in steps of 0.25.
        assert quality.gmse("e0m3", scale=4 * step) == pytest.approx(
            uniform_grid(7, step), rel=1e-8
        )


def test_integers_with_the_best_scale_are_at_the_minimum_of_the_closed_form() -> None:
    steps = np.linspace(0.3, 0.4, 401)
    best = min(uniform_grid(7, step) for step in steps)
    assert quality.gmse("e0m3") == pytest.approx(best, rel=1e-6)
    assert quality.gmse("e0m3") <= best
    # -128 helps by less than a percent.
    symmetric = min(uniform_grid(127, step) for step in np.linspace(0.030, 0.032, 41))
    assert 0.99 * symmetric < quality.gmse("int8") < symmetric


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("name", ["float4_e2m1fn", "float8_e4m3fn", "int8", "ue5m3", "bfloat16"])
def test_integrals_agree_with_samples(name: str, distribution: str) -> None:
    x = quality.samples_of(distribution, 1 << 19, seed=5)
    scale = 0.3 * 6 / lowp.format(name).max if name != "bfloat16" else 1.0
    q = lowp.quantize(x / scale, name, saturation="finite") * scale
    exact = quality.gmse(name, distribution, scale=scale)
    # Tails make samples noisy: those of t3, which has no fourth moment, more than others.
    tolerance = {"gaussian": 0.04, "laplace": 0.04, "student_t5": 0.1, "student_t3": 0.3}
    assert np.mean((q - x) ** 2) == pytest.approx(exact, rel=tolerance[distribution])


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_samples_have_the_quantiles_of_their_distribution(distribution: str) -> None:
    x = quality.samples_of(distribution, 1 << 18)
    density = quality._distribution(distribution).density
    for edge in (-2.0, -0.5, 0.0, 0.3, 1.0, 4.0):
        grid = np.linspace(-200, edge, 400_001)
        share = np.trapezoid(density(grid), grid) if hasattr(np, "trapezoid") else None
        if share is not None:
            assert np.mean(x < edge) == pytest.approx(share, abs=0.004)


def test_samples_are_a_function_of_seed_stream_and_index() -> None:
    whole = quality.samples_of("gaussian", 100, seed=3, stream=4)
    part = quality.samples_of("gaussian", 30, seed=3, stream=4, first_index=50)
    np.testing.assert_array_equal(part, whole[50:80])
    assert not np.array_equal(whole, quality.samples_of("gaussian", 100, seed=4, stream=4))


def test_cells_and_binades_agree_where_both_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("e5m6", "e4m7fn", "q3.8"):
        for scale in (0.01, 0.3, 1.0):
            cells = quality._Grid.of(lowp.format(name), "gaussian").error(scale)
            with monkeypatch.context() as patch:
                patch.setattr(quality, "_MAX_CELL_BITS", 0)
                binades = quality._Grid.of(lowp.format(name), "gaussian").error(scale)
            assert binades == pytest.approx(cells, rel=2e-3)


@pytest.mark.parametrize("name", ["float4_e2m1fn", "e3m0", "float8_e5m2", "int4"])
@pytest.mark.parametrize("distribution", ["gaussian", "student_t3"])
def test_no_scale_is_better_than_the_best(name: str, distribution: str) -> None:
    best = quality.gmse(name, distribution)
    chosen = quality.optimal_scale(name, distribution)
    assert quality.gmse(name, distribution, scale=chosen) == best
    for exponent in np.linspace(-8, 8, 397):
        scale = chosen * 2.0**exponent
        assert quality.gmse(name, distribution, scale=scale) >= best * (1 - 2e-6)


def test_wider_formats_err_less_down_to_float64() -> None:
    names = ("float4_e2m1fn", "float6_e2m3fn", "float8_e3m4", "bfloat16", "float16", "float32")
    errors = [quality.gmse(name) for name in (*names, "float64")]
    assert all(a > b > 0 for a, b in itertools.pairwise(errors))
    assert errors[-2] / errors[-3] == pytest.approx(2.0**-26, rel=1e-3)


def test_unsigned_formats_lose_the_negative_half() -> None:
    assert 0.5 < quality.gmse("uint8") < 0.501


def test_what_is_unknown_is_refused_with_what_is_known() -> None:
    for name in ("normal", "student_t2", "student_tx", "student_t"):
        with pytest.raises(ValueError, match=f"'gaussian', 'laplace'.*{name}"):
            quality.gmse("int8", name)
    for scale in ("best", 0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="scale must be 'optimal' or a positive number"):
            quality.gmse("int8", scale=scale)
    with pytest.raises(ValueError, match="flaot8"):
        quality.gmse("flaot8")


# ---- capacity ------------------------------------------------------------------------------------


def test_capacity_is_one_without_error_and_zero_with_all() -> None:
    assert quality.capacity(0.0) == 1.0
    assert quality.capacity(1.0) == 0.0
    assert quality.capacity(1.5) == 0.0
    assert quality.capacity(0.0, limit=0.9) == 0.9
    assert quality.capacity("float64") == pytest.approx(1, abs=1e-12)
    for bad in (-0.1, math.nan):
        with pytest.raises(ValueError, match="0 or more"):
            quality.capacity(bad)


def test_capacity_is_the_formula_of_the_paper() -> None:
    rho = quality.capacity(1 / 64, limit=0.8, factor=0.3, power=2.0)
    assert rho == pytest.approx(0.8 * math.tanh(0.9) ** 2, rel=1e-14)
    names = ("e3m0", "e0m3", "float4_e2m1fn", "float8_e5m2", "float8_e4m3fn", "int8")
    capacities = [quality.capacity(name) for name in names]
    assert capacities == sorted(capacities)


def test_the_default_constants_are_the_least_squares_through_figure_6() -> None:
    # The errors of the best uniform grids of 2, 4, 8 and 16 levels: Max, Quantizing for minimum
    # distortion, 1960.
    errors, capacities = [0.3634, 0.1188, 0.03744, 0.01154], [0.21, 0.45, 0.74, 0.90]

    def loss(factor: float, power: float) -> float:
        fitted = [quality.capacity(e, factor=factor, power=power) for e in errors]
        return sum((a - b) ** 2 for a, b in zip(fitted, capacities, strict=True))

    best = loss(0.493, 1.603)
    assert best < 0.0031
    for factor, power in itertools.product((0.488, 0.493, 0.498), (1.588, 1.603, 1.618)):
        assert loss(factor, power) >= best - 1e-6
    defaults = [quality.capacity(e) for e in errors]
    assert defaults == [quality.capacity(e, factor=0.493, power=1.603) for e in errors]


# ---- block formats -------------------------------------------------------------------------------


def test_block_formats_are_measured_on_samples() -> None:
    block = lowp.BlockFormat("int4", "float32", "row", "amax")
    error = quality.gmse(block, samples=50_000)
    assert 0.01 < error < 0.04
    assert error == quality.gmse(block.name, samples=50_000)
    assert error != quality.gmse(block, samples=50_000, seed=1)
    assert error == pytest.approx(quality.gmse(block, samples=50_000, scale=3.0), rel=1e-3)
    assert quality.capacity(block, samples=50_000) == quality.capacity(error)
    with pytest.raises(ValueError, match="samples must be 1 or more"):
        quality.gmse(block, samples=0)
