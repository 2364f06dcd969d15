"""lowp.laws: the papers' numbers, limits, inverses, refusals; tables for studies."""

from __future__ import annotations

from itertools import product
from typing import Any

import lowp
import numpy as np
import pytest
from lowp import laws

LAW = laws.FloatingPointLaw()
CAPACITY = laws.CapacityLaw()
PAPER = {
    1: "E0M0", 2: "E1M0", 3: "E1M1", 4: "E2M1", 5: "E2M2", 6: "E3M2", 7: "E3M3", 8: "E4M3",
    9: "E4M4", 10: "E5M4", 11: "E5M5", 12: "E6M5", 13: "E6M6", 14: "E7M6", 15: "E7M7", 16: "E8M7",
}  # fmt: skip

# ---- the floating-point law ----------------------------------------------------------------------


def test_best_splits_are_those_of_the_paper() -> None:
    assert {bits: LAW.best_split(bits).name for bits in PAPER} == PAPER
    assert [row["split"] for row in laws.best_splits()] == [PAPER[b] for b in range(3, 17)]


@pytest.mark.parametrize("law", [LAW, laws.FloatingPointLaw(delta=5, nu=0.2)])
def test_the_best_split_has_the_least_loss_of_all(law: laws.FloatingPointLaw) -> None:
    for bits in range(1, 65):
        M = np.arange(bits)
        loss = law.penalty(1e9, 1e12, bits - 1 - M, M)
        best = law.best_split(bits)
        assert (best.E + best.M + 1, best.bits) == (bits, bits)
        assert law.penalty(1e9, 1e12, *best) <= loss.min() * (1 + 1e-14)


def test_best_splits_of_an_array_have_its_shape() -> None:
    E, M = LAW.best_split([[3, 4, 5], [8, 12, 16]])
    assert E.tolist() == [[1, 2, 2], [4, 6, 8]]
    assert M.tolist() == [[1, 1, 2], [3, 5, 7]]
    assert LAW.best_split(np.array([], dtype=int)).E.shape == (0,)


def test_equal_splits_go_to_the_exponent() -> None:
    assert laws.FloatingPointLaw(delta=3, nu=3).best_split(4).name == "E2M1"


def test_critical_data_sizes_are_those_of_the_paper() -> None:
    sizes = [LAW.critical_data_size(1e9, *split) / 1e12 for split in ((8, 7), (4, 3), (2, 1))]
    assert [f"{size:.3g}" for size in sizes] == ["1.73e+03", "27.3", "0.393"]


def test_a_format_is_its_exponent_and_mantissa_bits() -> None:
    assert laws.split_of("float8_e4m3fn") == (4, 3)
    assert laws.split_of(lowp.format("bfloat16")).name == "E8M7"
    assert laws.split_of("mxfp4") == laws.split_of("float4_e2m1fn") == (2, 1)
    assert laws.split_of("int8") == (0, 7)
    with pytest.raises(ValueError, match="codebook"):
        laws.split_of("nf4")
    with pytest.raises(ValueError, match="unknown format"):
        laws.split_of("nosuch")


def test_the_loss_is_the_formula_of_the_paper() -> None:
    full = 69.2343 / 1e8**0.2368 + 68973.0621 / 1e10**0.5162 + 1.9061
    extra = 1e10**0.5162 / 1e8**0.2368 * 7 / (11334.5197 * 2.5**3.1926 * 1.5**2.9543)
    assert LAW.full_precision_loss(1e8, 1e10) == pytest.approx(full, rel=1e-15)
    assert LAW.penalty(1e8, 1e10, 2, 1, 128) == pytest.approx(extra, rel=1e-14)
    assert LAW.loss(1e8, 1e10, 2, 1, 128) == pytest.approx(full + extra, rel=1e-15)


def test_arguments_broadcast_and_numbers_give_a_number() -> None:
    N, D = np.array([1e8, 1e9])[:, None], [1e10, 1e11, 1e12]
    both = LAW.loss(N, D, 4, 3)
    assert both.shape == (2, 3)
    assert both[1, 2] == LAW.loss(1e9, 1e12, 4, 3)
    assert isinstance(LAW.loss(10**30, 10**20, 4, 3), float)
    assert LAW.loss(np.zeros((0,)) + 1, 1, 1, 1).shape == (0,)
    with pytest.raises(ValueError, match=r"broadcast; got N \(2,\), D \(3,\)"):
        LAW.loss([1, 2], [1, 2, 3], 1, 1)


def test_infinities_give_the_limit() -> None:
    assert LAW.loss(1e9, np.inf, 4, 3) == np.inf
    assert LAW.loss(1e9, np.inf, 4, 3, 1) == LAW.full_precision_loss(1e9, np.inf)
    assert LAW.loss(np.inf, np.inf, 4, 3, 1) == LAW.epsilon
    assert LAW.loss(np.inf, 1e9, 0, 0) == LAW.full_precision_loss(np.inf, 1e9)
    assert LAW.loss(1e9, 1e9, np.inf, 3) == LAW.full_precision_loss(1e9, 1e9)
    assert LAW.critical_data_size(1e9, 4, 3, 1) == np.inf
    for arguments in ((np.nan, 1, 1, 1), (1, 1, np.nan, 1), (np.inf, np.inf, 4, 3)):
        assert np.isnan(LAW.loss(*arguments))


def test_no_exponent_and_no_mantissa_are_half_a_bit() -> None:
    halves = LAW.penalty(1e9, 1e12, 0, 0) * LAW.gamma * 0.5 ** (LAW.delta + LAW.nu)
    assert halves == pytest.approx(1e12**LAW.beta / 1e9**LAW.alpha * 7, rel=1e-14)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((0, 1, 1, 1), ValueError, "N must be above 0; got 0"),
        ((1, -1, 1, 1), ValueError, "D must be above 0; got -1"),
        ((1, 1, -1, 1), ValueError, "E must be 0 or more"),
        ((1, 1, 1, [0, -2]), ValueError, "M must be 0 or more; got -2"),
        ((1, 1, 1, 1, 0.5), ValueError, "B must be 1 or more"),
        ((True, 1, 1, 1), TypeError, "N must be real numbers; got bool"),
        (("1", 1, 1, 1), TypeError, "N must be real numbers"),
        ((None, 1, 1, 1), TypeError, "N must be real numbers"),
        ((1, 1j, 1, 1), TypeError, "D must be real numbers"),
    ],
)
def test_arguments_out_of_range_are_refused(
    arguments: tuple[Any, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        LAW.loss(*arguments)


def test_coefficients_out_of_range_are_refused() -> None:
    for wrong in ({"n": -1}, {"gamma": 0}, {"alpha": np.nan}, {"epsilon": np.inf}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            laws.FloatingPointLaw(**wrong)
    with pytest.raises(TypeError, match="n must be a number"):
        laws.FloatingPointLaw(n="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="did you mean 'alpha'"):
        laws.FloatingPointLaw(alfa=1)  # type: ignore[call-arg]
    for bits in (0, 65, True):
        with pytest.raises(ValueError, match="bits must be 1 to 64"):
            LAW.best_split(bits)
    with pytest.raises(TypeError, match="whole"):
        LAW.best_split(7.5)


def test_questions_without_an_answer_are_refused() -> None:
    with pytest.raises(ValueError, match="needs beta above 0"):
        laws.FloatingPointLaw(beta=0).critical_data_size(1, 1, 1)
    with pytest.raises(ValueError, match="no split is better"):
        laws.FloatingPointLaw(delta=0, nu=0).continuous_split(8)
    with pytest.raises(ValueError, match="needs n above 0"):
        laws.FloatingPointLaw(n=0).optimal_bits(1e9)
    with pytest.raises(ValueError, match="fewer bits are always better"):
        laws.FloatingPointLaw(alpha=7).optimal_bits(1e9)
    with pytest.raises(ValueError, match="B must be above 1"):
        LAW.compute_optimal(1e21, 1)


# ---- what follows from it ------------------------------------------------------------------------


def test_the_loss_is_least_at_the_critical_data_size() -> None:
    for split, B in product(((2, 1), (4, 3), (0, 7), (8, 7)), (2, 32, 1e5)):
        D = LAW.critical_data_size(3e8, *split, B) * np.array([0.99, 1, 1.01])
        less, least, more = LAW.loss(3e8, D, *split, B) - LAW.epsilon
        assert least < less
        assert least < more


def test_the_continuous_split_has_no_better_neighbour() -> None:
    for bits in (3, 4.5, 8, 16):
        E, M = LAW.continuous_split(bits)
        assert LAW.continuous_split(bits).bits == pytest.approx(bits)
        best = LAW.penalty(1e9, 1e12, E, M)
        assert best == pytest.approx(
            LAW.loss_of_bits(1e9, 1e12, bits) - LAW.full_precision_loss(1e9, 1e12), rel=1e-9
        )
        for step in (-0.01, 0.01):
            assert LAW.penalty(1e9, 1e12, E + step, M - step) > best


def test_inverses_invert() -> None:
    bits = np.array([2, 3, 4.5, 8, 12])
    N, D, B = 1e8, 1e12, 32
    assert LAW.bits_for_loss(LAW.loss_of_bits(N, D, bits, B), N, D, B) == pytest.approx(bits)
    D = LAW.critical_data_size(N, *LAW.continuous_split(bits), B)
    assert LAW.critical_bits(N, D, B) == pytest.approx(bits)
    assert LAW.bits_for_loss(1.9, N, 1e12) == np.inf
    assert np.isnan(LAW.bits_for_loss(np.nan, N, 1e12))


def test_the_effective_size_has_the_same_loss_in_full_precision() -> None:
    N = LAW.effective_size(1e9, 1e12, 2, 1)
    assert N < 1e9
    assert LAW.full_precision_loss(N, 1e12) == pytest.approx(LAW.loss(1e9, 1e12, 2, 1), rel=1e-14)
    assert LAW.effective_size(1e9, 1e12, 2, 1, 1) == 1e9


@pytest.mark.parametrize("compute", [1e18, 1e21, 1e26, 1e31])
def test_no_other_use_of_the_computation_is_better_than_the_optimum(compute: float) -> None:
    best = LAW.compute_optimal(compute)
    assert 6 / 16 * best.bits * best.N * best.D == pytest.approx(compute)
    assert best.bits == pytest.approx(LAW.optimal_bits(best.D))
    assert best.bits == pytest.approx(LAW.optimal_bits_of_size(best.N, compute))
    for a, b in product((0.97, 1, 1.03), repeat=2):
        if (a, b) != (1, 1):
            loss = LAW.loss_of_bits(best.N * a, best.D * b, best.bits / a / b)
            assert loss - LAW.epsilon > best.loss - LAW.epsilon


def test_the_optimum_lies_between_4_and_8_bits_as_in_the_paper() -> None:
    bits = LAW.compute_optimal(np.logspace(21, 31, 50)).bits
    assert bits.min() > 4
    assert bits.max() < 8


# ---- the capacity law ----------------------------------------------------------------------------


def test_capacities_are_those_of_the_library() -> None:
    for name in ("float4_e2m1fn", "int4", "float8_e4m3fn"):
        assert CAPACITY.capacity(name) == lowp.capacity(name)
        assert CAPACITY.capacity(lowp.format(name)) == lowp.capacity(name)
    assert CAPACITY.capacity([0, 1, 2]).tolist() == [1, 0, 0]
    assert np.isnan(CAPACITY.capacity(np.nan))
    with pytest.raises(ValueError, match="gmse must be 0 or more"):
        CAPACITY.capacity(-1)


def test_gmse_inverts_capacity() -> None:
    law = laws.CapacityLaw(limit=0.9, factor=0.7, power=1.3)
    errors = np.array([1e-6, 1e-3, 0.1, 0.9])
    assert law.gmse(law.capacity(errors)) == pytest.approx(errors)
    assert law.gmse([0, 0.9]).tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"limit of 0.9; got 0.95"):
        law.gmse([0.5, 0.95])


def test_no_format_needs_fewer_bits_than_shannon_says() -> None:
    for name in ("float4_e2m1fn", "int4", "int8", "float6_e3m2fn"):
        assert CAPACITY.bits(lowp.capacity(name)) < lowp.format(name).bits
    assert CAPACITY.bits([0, 1]).tolist() == [0, np.inf]


def test_a_capacity_acts_like_fewer_parameters() -> None:
    law = laws.CapacityLossLaw(limit=0.9)
    assert law.effective_size(1e8, 0) == 0.9e8
    assert law.loss(1e8, 1e10, 0.01) == LAW.full_precision_loss(law.effective_size(1e8, 0.01), 1e10)
    assert law.loss(1e8, 1e10, 1) == np.inf
    errors = np.array([1e-4, 0.01, 0.3])
    assert law.gmse_for_loss(law.loss(1e8, 1e10, errors), 1e8, 1e10) == pytest.approx(errors)
    assert np.isnan(law.gmse_for_loss([0, 2], 1e8, 1e10)).all()


# ---- tables for studies --------------------------------------------------------------------------


def test_measured_splits_find_the_best_of_each_number_of_bits() -> None:
    splits = [(E, bits - 1 - E) for bits in range(3, 9) for E in range(1, bits - 1)]
    E, M = np.repeat(np.array(splits), 2, axis=0).T
    loss = LAW.loss(1e9, 1e12, E, M) + np.tile([-0.001, 0.001], len(splits))
    rows = laws.measured_splits({"E": E, "M": M, "loss": loss})
    assert [row["split"] for row in rows] == [PAPER[bits] for bits in range(3, 9)]
    assert [row["splits"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["spread"] == pytest.approx(0.001 * np.sqrt(2))
    assert rows[1]["loss"] == pytest.approx(LAW.loss(1e9, 1e12, 2, 1), rel=1e-14)
    margin = LAW.loss(1e9, 1e12, 1, 2) - LAW.loss(1e9, 1e12, 2, 1)
    assert rows[1]["margin"] == pytest.approx(margin, rel=1e-9)
    assert np.isnan(rows[0]["margin"])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 2.5])
def test_exponent_and_mantissa_bits_that_are_not_whole_are_refused(wrong: float) -> None:
    for name in ("E", "M"):
        data = {"E": [2.0, 1.0], "M": [1.0, 2.0], "loss": [1.0, 2.0]}
        data[name][0] = wrong
        with pytest.raises(ValueError, match=f"{name} must be whole numbers; got {wrong}"):
            laws.measured_splits(data)
    assert laws.measured_splits({"E": [], "M": [], "loss": []}) == []


def test_a_split_with_a_failed_run_is_no_best_one() -> None:
    data = {"exponent_bits": [2, 2, 1], "mantissa_bits": [1, 1, 2], "loss": [1.0, np.nan, 2.0]}
    row = laws.measured_splits(data)[0]
    assert (row["split"], row["margin"]) == ("E1M2", np.inf)
    with pytest.raises(ValueError, match="no column 'M'"):
        laws.measured_splits({"E": [1], "loss": [1]})
    with pytest.raises(ValueError, match="one dimension and length"):
        laws.measured_splits({"E": [1, 2], "M": [1], "loss": [1]})
