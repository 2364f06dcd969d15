"""lowp.laws.fit: it recovers what made the data, and its intervals hold as often as they say."""

from __future__ import annotations

import pickle
import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
from lowp import laws, quality

pytest.importorskip("scipy", reason="SciPy is not installed: pip install 'lowp[study]'")

LAW = laws.FloatingPointLaw()
#: Coefficients far from the paper's, from which a search has to find the way.
FAR = laws.FloatingPointLaw(n=10, alpha=0.3, d=1e4, beta=0.4, epsilon=1, gamma=100, delta=2, nu=2)
#: One model trained on one amount of data: the loss of the format alone.
ONE_MODEL = laws.FloatingPointLaw(n=0, alpha=0, d=0, beta=0, epsilon=1.5, gamma=4, delta=2, nu=1.5)
GMSES = (0, 1e-3, 0.01, 0.1, 0.3)
HELD = ("n", "alpha", "d", "beta")


def columns(names: str, rows: Any) -> dict[str, Any]:
    return dict(zip(names.split(), np.array(list(rows), dtype=float).T, strict=True))


def paper_data() -> dict[str, Any]:
    """The sizes, amounts of data and some of the formats and blocks of the paper's runs."""
    splits = ((1, 1), (2, 1), (1, 2), (4, 3), (3, 1), (5, 2), (1, 5))
    grid = product((41e6, 85e6, 154e6, 679e6), (1e10, 2e10, 5e10, 1e11), splits, (32, 128, 512))
    x = columns("N D E M B", ((N, D, *split, B) for N, D, split, B in grid))
    return x | {"loss": LAW.loss(**x)}


def one_model_data() -> dict[str, Any]:
    x = columns("E M", product(range(5), range(5))) | {"N": 1.0, "D": 1.0, "B": 32.0}
    return x | {"loss": ONE_MODEL.loss(**x)}


def noisy(data: dict[str, Any], size: float, seed: int) -> dict[str, Any]:
    noise = np.random.default_rng(seed).standard_normal(len(data["loss"]))
    return data | {"loss": data["loss"] * np.exp(size * noise)}


# ---- fits ----------------------------------------------------------------------------------------


def test_a_fit_recovers_exact_data_from_far_away() -> None:
    fit = laws.fit(FAR, paper_data(), bootstrap=0)
    assert fit.coefficients == pytest.approx(LAW.coefficients, rel=1e-11)
    assert fit.sigma < 1e-14
    assert fit.r2 == pytest.approx(1, abs=1e-14)
    assert fit.agreeing >= 3


@pytest.mark.parametrize("seed", range(5))
def test_random_starts_alone_recover_exact_data(seed: int) -> None:
    fit = laws.fit(FAR, one_model_data(), fixed=dict.fromkeys(HELD, 0), bootstrap=0, seed=seed)
    assert fit.coefficients == pytest.approx(ONE_MODEL.coefficients, rel=1e-10)
    assert fit.free == ("epsilon", "gamma", "delta", "nu")


def test_names_to_hold_may_come_from_a_generator() -> None:
    data = noisy(one_model_data(), 0.01, 0)
    fit = laws.fit(ONE_MODEL, data, fixed=(name for name in HELD), bootstrap=0, starts=1)
    assert fit.free == ("epsilon", "gamma", "delta", "nu")
    assert all(fit.coefficients[name] == 0 for name in HELD)


@pytest.mark.parametrize(
    ("law", "data", "held", "huber"),
    [
        (LAW, paper_data(), (), np.inf),
        (ONE_MODEL, one_model_data(), HELD, np.inf),
        (ONE_MODEL, one_model_data(), HELD, 1e-3),
    ],
    ids=["paper", "one model", "huber"],
)
def test_intervals_hold_the_truth_as_often_as_they_say(
    law: laws.FloatingPointLaw, data: dict[str, Any], held: tuple[str, ...], huber: float
) -> None:
    seeds, hits = 200, dict.fromkeys(law.coefficients, 0)
    for seed in range(seeds):
        fit = laws.fit(law, noisy(data, 0.01, seed), fixed=held, huber=huber, starts=0, bootstrap=0)
        for name, (low, high) in fit.intervals.items():
            hits[name] += low <= law.coefficients[name] <= high
    # 95 % of 200, give or take three standard deviations.
    for name in fit.free:
        assert 180 <= hits[name] <= 199, hits


@pytest.mark.parametrize("rows", [7, 25])
def test_bootstrap_intervals_hold_the_truth_as_often_as_they_say(rows: int) -> None:
    places = np.random.default_rng(3).permutation(25)[:rows]
    data = {
        name: column[places] if np.ndim(column) else column
        for name, column in one_model_data().items()
    }
    hits = dict.fromkeys(ONE_MODEL.coefficients, 0)
    for seed in range(100):
        fit = laws.fit(ONE_MODEL, noisy(data, 0.005, seed), fixed=HELD, starts=0, bootstrap=60)
        for name, (low, high) in fit.bootstrap_intervals.items():
            hits[name] += low <= ONE_MODEL.coefficients[name] <= high
    # 95 % of 100, give or take three standard deviations.
    for name in fit.free:
        assert hits[name] >= 89, hits


def test_the_bootstrap_is_a_function_of_the_seed_and_gives_intervals_of_anything() -> None:
    data = noisy(one_model_data(), 0.01, 7)
    one, same, other = (
        laws.fit(ONE_MODEL, data, fixed=HELD, bootstrap=20, seed=seed) for seed in (1, 1, 2)
    )
    assert one.bootstrap_intervals == same.bootstrap_intervals != other.bootstrap_intervals
    assert one.coefficients == pytest.approx(other.coefficients, rel=1e-9)
    low, high = one.interval(lambda law: law.loss(1, 1, [4, 2], [3, 1], 32))
    assert (low < high).all()
    assert one.interval(lambda law: law.nu) == one.bootstrap_intervals["nu"]
    with pytest.raises(ValueError, match="bootstrap=200"):
        laws.fit(ONE_MODEL, data, fixed=HELD, bootstrap=0).interval(lambda law: law.nu)


def test_huber_keeps_outliers_from_moving_the_fit() -> None:
    data = noisy(one_model_data(), 0.001, 3)
    data["loss"] = np.where(np.arange(25) % 8 == 3, 1.3, 1.0) * data["loss"]
    squares = laws.fit(ONE_MODEL, data, fixed=HELD, bootstrap=0)
    robust = laws.fit(ONE_MODEL, data, fixed=HELD, bootstrap=0, huber=1e-3)
    assert abs(robust.law.epsilon / 1.5 - 1) < 0.002 < abs(squares.law.epsilon / 1.5 - 1)


def test_a_study_frame_is_fitted_with_its_own_column_names() -> None:
    pandas = pytest.importorskip("pandas")
    x = one_model_data()
    frame = pandas.DataFrame(
        {"exponent_bits": x["E"], "mantissa_bits": x["M"], "B": 32, "N": 1, "D": 1}
    ).assign(final=x["loss"])
    fit = laws.fit(laws.FloatingPointLaw, frame, fixed=dict.fromkeys(HELD, 0), target="final")
    assert fit.coefficients == pytest.approx(ONE_MODEL.coefficients, rel=1e-9)
    assert fit.predicted == pytest.approx(x["loss"], rel=1e-12)


def test_a_fit_prints_as_a_table() -> None:
    fit = laws.fit(ONE_MODEL, noisy(one_model_data(), 0.01, 0), fixed=HELD, bootstrap=20)
    title, head, *rows = str(fit).splitlines()
    assert title.startswith("FloatingPointLaw, 25 rows: R2 0.9")
    assert head.split()[:3] == ["value", "std.", "error"]
    assert [row.split()[0] for row in rows] == list(ONE_MODEL.coefficients)
    assert rows[0].split() == ["n", "0", "held"]
    assert pickle.loads(pickle.dumps(fit)).intervals == fit.intervals


def test_the_capacity_law_is_fitted_to_differences() -> None:
    """The defaults of `lowp.capacity` are this fit, to the figure that its docstring names."""
    data = {"gmse": [0.3634, 0.1188, 0.03744, 0.01154], "capacity": [0.21, 0.45, 0.74, 0.90]}
    fit = laws.fit(laws.CapacityLaw(factor=1, power=1), data, fixed={"limit": 1}, bootstrap=0)
    assert round(fit.law.factor, 3) == quality.FACTOR
    assert round(fit.law.power, 3) == quality.POWER
    assert fit.residuals == pytest.approx(np.subtract(data["capacity"], fit.predicted))


def test_the_capacity_loss_law_recovers_exact_data() -> None:
    truth = laws.CapacityLossLaw()
    x = columns("N D gmse", product((3e7, 5e7, 1e8, 2e8), (3e9, 1e10, 2e10), GMSES))
    data = x | {"loss": truth.loss(**x)}
    far = laws.CapacityLossLaw(factor=1, power=1, n=10, alpha=0.4, d=1e4, beta=0.4, epsilon=1)
    fit = laws.fit(far, data, fixed=["limit"], bootstrap=0)
    assert fit.coefficients == pytest.approx(truth.coefficients, rel=1e-9)
    with pytest.raises(ValueError, match="does not determine limit, n"):
        laws.fit(far, data, bootstrap=0)
    two_sizes = {name: column[x["D"] < 2e10] for name, column in data.items()}
    with pytest.raises(ValueError, match="does not determine d, beta, epsilon"):
        laws.fit(far, two_sizes, fixed=["limit"], bootstrap=0)
    bad = data | {"gmse": np.where(x["gmse"] == 0.3, 1.0, x["gmse"])}
    with pytest.raises(ValueError, match=r"says inf for row 4 .*12 such rows"):
        laws.fit(far, bad, fixed=["limit"], bootstrap=0)


# ---- data that cannot be fitted ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"N": 1e6}, "does not determine n, alpha, .*N is 1e[+]06 in every row"),
        ({"D": 1e9}, "does not determine .*d, beta, .*D is 1e[+]09 in every row"),
        ({"E": 4}, "does not determine gamma, delta .E is 4 in every row"),
        ({"M": 3}, "does not determine gamma, nu .M is 3 in every row"),
        ({"B": 1}, "does not determine gamma, delta, nu .B is 1 in every row"),
    ],
)
def test_columns_that_do_not_vary_are_named(change: dict[str, float], words: str) -> None:
    x = {name: column for name, column in paper_data().items() if name != "loss"} | change
    with pytest.raises(ValueError, match=words):
        laws.fit(LAW, noisy(x | {"loss": LAW.loss(**x)}, 1e-3, 0), bootstrap=0, starts=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": 3.0}, "loss is 3 in every row: there is nothing to fit"),
        ({"loss": -1.0}, "loss must be above 0; got -1"),
        ({"E": [1, 2]}, r"broadcast; got N \(336,\), D \(336,\), E \(2,\)"),
        ({"E": -1}, "E must be 0 or more"),
    ],
)
def test_columns_that_cannot_be_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        laws.fit(LAW, paper_data() | change)


def test_splits_along_one_line_leave_exponent_and_mantissa_apart_unknown() -> None:
    x = {"E": np.arange(6.0), "M": np.arange(6.0), "N": 1, "D": 1, "B": 32}
    data = x | {"loss": ONE_MODEL.loss(**x)}
    with pytest.raises(ValueError, match="does not determine delta, nu"):
        laws.fit(ONE_MODEL, data, fixed=HELD, bootstrap=0)


def test_rows_that_did_not_finish_and_too_few_rows_are_refused() -> None:
    data = paper_data()
    for wrong in (np.nan, np.inf):
        loss = np.where(np.arange(336) % 100 == 7, wrong, data["loss"])
        with pytest.raises(ValueError, match=rf"loss is {wrong} in row 7 \(4 such rows\)"):
            laws.fit(LAW, data | {"loss": loss})
    few = {name: column[:8] for name, column in data.items()}
    with pytest.raises(ValueError, match="8 coefficients need 9 rows or more; got 8"):
        laws.fit(LAW, few)
    with pytest.raises(ValueError, match=r"one dimension; got shape \(\)"):
        laws.fit(LAW, dict.fromkeys(data, 1.0))
    with pytest.raises(ValueError, match=r"no column 'B' \(needs N, D, E, M, B, loss\)"):
        laws.fit(LAW, {name: data[name] for name in ("N", "D", "E", "M", "loss")})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"fixed": ["gama"]}, "no coefficient 'gama' to hold; did you mean 'gamma'"),
        ({"fixed": list(LAW.coefficients)}, "nothing is left to fit"),
        ({"fixed": {"gamma": 0}}, "gamma must be above 0"),
        ({"huber": 0}, "huber must be above 0"),
        ({"confidence": 95}, "confidence must be between 0 and 1"),
        ({"bootstrap": 1}, "bootstrap must be 0 or at least 2"),
        ({"starts": -1}, "starts must be a whole number"),
        ({"target": "los"}, "no column 'los' .*did you mean 'loss'"),
    ],
)
def test_arguments_of_a_fit_are_checked(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        laws.fit(LAW, paper_data(), **arguments)


def test_other_data_and_laws_are_of_the_wrong_type() -> None:
    with pytest.raises(TypeError, match="mapping or a DataFrame"):
        laws.fit(LAW, [1, 2])
    with pytest.raises(TypeError, match=r"a law of lowp\.laws"):
        laws.fit(3, paper_data())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="did you mean 'bootstrap'"):
        laws.fit(LAW, paper_data(), bootstraps=3)  # type: ignore[call-arg]


def test_without_scipy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"pip install 'lowp\[study\]'"):
        laws.fit(LAW, paper_data())
