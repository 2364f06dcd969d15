"""Linear algebra as it would run in a format: every operation is rounded, not only the result.

    >>> import numpy as np
    >>> from lowp import linalg
    >>> a = np.array([[4.0, 1.0], [1.0, 3.0]])
    >>> linalg.lu(a, "float8_e4m3fn").solve(np.array([1.0, 2.0]))
    array([0.09375, 0.625  ], dtype=float32)

Operands are float32 or float64 arrays, or those of `lowp.array`, whose values are taken; they are
rounded to the format first. Results are arrays on the
grid, in float32 where that holds the format. `format` is a name, a Format, or an `Arithmetic` with
rounding, saturation, fused or separate products, and a seed for stochastic rounding. The order of
operations is stated and fixed, so that results are the same bits everywhere.
"""

from ._arguments import suggest_arguments
from ._linalg_arithmetic import Arithmetic
from ._linalg_basic import axpy, dot, gemm, gemv, nrm2, trsm, trsv
from ._linalg_eigen import Eigen, eigh_jacobi
from ._linalg_factor import LU, QR, Cholesky, cholesky, lu, qr
from ._linalg_krylov import Solution, backward_error, cg, forward_error, gmres
from ._linalg_refine import Refinement, refine, solve_exactly

__all__ = [
    "LU",
    "QR",
    "Arithmetic",
    "Cholesky",
    "Eigen",
    "Refinement",
    "Solution",
    "axpy",
    "backward_error",
    "cg",
    "cholesky",
    "dot",
    "eigh_jacobi",
    "forward_error",
    "gemm",
    "gemv",
    "gmres",
    "lu",
    "nrm2",
    "qr",
    "refine",
    "solve_exactly",
    "trsm",
    "trsv",
]

suggest_arguments(__name__)
