"""Pychop, in both of its styles, factorises the matrices of the study to the same bits.

Its own lu_plu computes in double and rounds the result: the study's "rounded once". Written out
operation by operation with its rounding, LU is that of linalg.lu. Skipped without pychop or SciPy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lowp
import numpy as np
import pytest
from lowp import linalg
from lowp.transforms import squeeze

pychop = pytest.importorskip("pychop", reason="pychop is not installed")
pytest.importorskip("scipy", reason="SciPy is not installed, which pychop's linear algebra calls")
pytest.importorskip("simpleeval", reason="simpleeval is not installed: pip install 'lowp[study]'")

from lowp import study  # noqa: E402
from lowp.study.tasks.refinement import RoundedOnce, system  # noqa: E402

Array = np.ndarray


STUDY = study.load(Path(__file__).parents[2] / "docs" / "studies" / "refinement.toml")
AXES = STUDY.axes[0]


def scaled(name: str, format: str) -> Array:
    """The matrix as linalg.refine factorises it."""
    share = min(1.0, 2 / lowp.format(format).max)
    exact = system(name)[0].astype(np.float64)
    return squeeze(exact, lowp.format(format), theta=share, power_of_two=True).matrix


def rounding(format: str) -> Any:
    pychop.backend("numpy")
    f = lowp.format(format)
    return pychop.Chop(exp_bits=f.exponent_bits, sig_bits=f.mantissa_bits, rmode=1)


def lu_by_operations(a: Array, chop: Any) -> tuple[Array, Array]:
    """Right-looking, partial pivoting; double is wide enough for each operation to round once."""
    a, order = chop(np.array(a, np.float64)), np.arange(len(a))
    for k in range(len(a)):
        pivot = k + int(np.argmax(np.abs(a[k:, k])))
        a[[k, pivot]], order[[k, pivot]] = a[[pivot, k]], order[[pivot, k]]
        if k + 1 < len(a):
            below, right = slice(k + 1, None), slice(k + 1, None)
            a[below, k] = chop(a[below, k] / a[k, k])
            a[below, right] = chop(a[below, right] - chop(np.outer(a[below, k], a[k, right])))
    return a, order


@pytest.mark.parametrize("format", ["float8_e5m2", "float8_e4m3fn", "bfloat16", "float16"])
@pytest.mark.parametrize("name", AXES["matrix"])
def test_factors_of_pychop_are_the_same(name: str, format: str) -> None:
    a, chop = scaled(name, format), rounding(format)
    try:
        mine = linalg.lu(a, format)
    except np.linalg.LinAlgError:  # Pychop's e4m3 has another largest value
        assert name.startswith("gfpp")
        return
    factors, order = lu_by_operations(a, chop)
    assert np.array_equal(mine.factors, factors)
    assert np.array_equal(mine.permutation, order)

    from pychop.builtin.cparray import CPArray

    once = RoundedOnce(a, format)
    p, lower, upper = map(np.asarray, pychop.builtin.linalg.lu_plu(CPArray(a, chop)))
    assert np.array_equal(once.factors, np.tril(lower, -1) + np.triu(upper))
    assert np.array_equal(once.permutation, np.argmax(p, 0))
