"""The task `refinement`: a linear system solved with factors in a format."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

import lowp
from lowp import linalg, matrices
from lowp.study.parameters import FormatName, Kind, Result, is_file, print_of_file

__all__ = ["METRICS", "refinement"]

#: All that `refinement` gives.
METRICS = (
    *("backward_error", "forward_error", "steps", "inner_steps"),
    *("converged", "factors", "kappa", "kappa_u"),
)

Array = NDArray[np.floating[Any]]

_CALL = re.compile(r"(\w+)\(([^()]*)\)")


def make(name: str) -> Array:
    """The matrix of a call of `lowp.matrices` or of a file. ValueError: neither."""
    found = _CALL.fullmatch(name.strip())
    if found is None and is_file(name):
        return np.asarray(matrices.read(name), np.float32)
    if found is None:
        raise ValueError(f"expected a call such as 'randsvd(32, 1e2)' or a .mtx file; got {name!r}")
    try:
        numbers = [float(word) for word in found[2].split(",") if word.strip()]
    except ValueError:
        raise ValueError(f"expected numbers as arguments; got {name!r}") from None
    arguments = [int(x) if x.is_integer() and i == 0 else x for i, x in enumerate(numbers)]
    try:
        return np.asarray(matrices.make(found[1], *arguments), np.float32)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error


def _content(name: str) -> str:
    if _CALL.fullmatch(name.strip()) or not is_file(name):
        return ""
    return print_of_file(name)


MatrixName = Annotated[str, Kind("a matrix of lowp.matrices or a file", make, _content)]


def refinement(
    *,
    format: FormatName,
    matrix: MatrixName = "randsvd(32, 1e2)",
    working: FormatName = "float32",
    residual: FormatName = "float64",
    method: Literal["lu", "gmres", "rounded_once"] = "lu",
    max_iterations: int = 40,
) -> Result:
    """Iterative refinement of A x = ones, with factors and corrections in a low format.

    format: of the LU factors, every operation rounded; working: of x; residual: of b - A x. matrix:
    a call of `lowp.matrices` as "randsvd(32, 1e4)", or a .mtx or .npy file; it is rounded to
    float32. method: corrections by the factors ("lu"), by GMRES preconditioned with them ("gmres"),
    or by factors that were computed in float64 and rounded once ("rounded_once"), which is what
    tools do that round whole functions.

    Metrics: converged (1 where the backward error falls to the working format's epsilon), steps
    until it does (infinity where it does not), inner_steps of GMRES until then, the least backward
    and forward error, factors (0 where a pivot overflowed or vanished: nothing to refine), kappa
    (condition number in the infinity norm), kappa_u (kappa times the format's unit roundoff).
    Series: backward_error and forward_error by iteration.
    Source: Carson and Higham, SIAM J. Sci. Comput. 40 (2018).
    """
    a, truth, kappa = system(matrix)
    u = lowp.format(format).epsilon / 2
    metrics = {"kappa": kappa, "kappa_u": kappa * u}
    try:
        found = linalg.refine(
            a,
            np.ones(len(a), np.float32),
            factor=format,
            working=working,
            residual=residual,
            method="gmres" if method == "gmres" else "lu",
            truth=truth,
            tolerance=0.0,
            max_iterations=max_iterations,
            factorize=_rounded_once(format) if method == "rounded_once" else None,
        )
    except np.linalg.LinAlgError:
        nothing = {"steps": math.inf, "inner_steps": 0.0, "converged": 0.0, "factors": 0.0}
        errors = {"backward_error": math.inf, "forward_error": math.inf}
        return Result({**errors, **nothing, **metrics})
    backward, forward = found.backward_errors, found.forward_errors
    wanted = lowp.format(working).epsilon
    steps = next((i for i, error in enumerate(backward) if error <= wanted), None)
    last = len(backward) if steps is None else steps + 1
    return Result(
        {
            "backward_error": _least(backward),
            "forward_error": _least(forward),
            "steps": math.inf if steps is None else float(steps),
            "inner_steps": float(sum(found.inner_steps[:last])),
            "converged": float(steps is not None),
            "factors": 1.0,
            **metrics,
        },
        {"backward_error": backward, "forward_error": forward},
    )


def _least(errors: Any) -> float:
    known = [float(error) for error in errors if error == error]
    return min(known, default=math.inf)


def system(name: str) -> tuple[Array, Array, float]:
    """The matrix in float32, the exact solution for ones, and the condition number."""
    return _system(name, _content(name))


@lru_cache(32)
def _system(name: str, _content: str) -> tuple[Array, Array, float]:
    """content: the digest of the file, which is read anew when it has changed."""
    a = make(name)
    truth = linalg.solve_exactly(a, np.ones(len(a), np.float32))
    return a, truth, float(np.linalg.cond(a.astype(np.float64), np.inf))


class RoundedOnce:
    """Factors of the rounded matrix and solutions, computed in float64 and rounded once each;
    stands in for linalg.LU.
    """

    def __init__(self, matrix: Array, format: str) -> None:
        rounded = lowp.quantize(np.asarray(matrix, np.float64), format)
        exact = linalg.lu(rounded, "float64")
        self.format, self.permutation = format, exact.permutation
        self.factors = lowp.quantize(exact.factors, format)
        self.double = linalg.LU(self.factors, exact.permutation, exact.arithmetic, exact.growth)
        self.u = self.double.u

    def solve(self, b: Array) -> Array:
        right = lowp.quantize(np.asarray(b, np.float64), self.format)
        return lowp.quantize(self.double.solve(right), self.format)


def _rounded_once(format: str) -> Any:
    return lambda matrix: RoundedOnce(matrix, format)
