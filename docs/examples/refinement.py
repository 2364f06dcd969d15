"""Linear systems solved by refining an LU factorisation in 8 or 16 bits: where it works, and why.

The factors are in a narrow format, the iterates in float32, the residuals in float64, and every
operation is rounded. Theory (Carson, Higham, SIAM J. Sci. Comput. 40 (2), 2018), with u the narrow
format's unit roundoff: corrections solved with the factors converge while kappa u is below 1 or so,
GMRES preconditioned with them up to kappa u of 1 / sqrt(float32's u) = 4e3 at least, and both end
at float32's accuracy. For contrast, "rounded once": matrix, factors and corrections are rounded to
the format and computed in double in between, as tools do that round whole functions (Pychop's
lu_plu gives these factors); nothing builds up inside, and it converges where the format does not.

python refinement.py [--formats F,F] [--history MATRIX --format F] [--file A.mtx] [--plot OUT.png]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import lowp
import numpy as np
from lowp import linalg, matrices

Matrix = np.ndarray

FORMATS = ("float8_e5m2", "float8_e4m3fn", "bfloat16", "float16")
WORKING, RESIDUAL = "float32", "float64"
#: Ways to solve for the correction, with the head of their column.
METHODS = {"lu": "factors", "once": "rounded once", "gmres": "GMRES (steps)"}
#: A backward error that float32 cannot be blamed for: its epsilon, twice its unit roundoff.
ACCURATE = lowp.format(WORKING).epsilon
MAX_ITERATIONS = 40

SYSTEMS: dict[str, Callable[[], Matrix]] = {
    "kms(32, 0.5)": lambda: matrices.kms(32, 0.5),
    "wilkinson(21)": lambda: matrices.wilkinson(21),
    "poisson2d(6)": lambda: matrices.poisson2d(6),
    "gfpp(24)": lambda: matrices.gfpp(24),
    "prolate(12, 0.4)": lambda: matrices.prolate(12, 0.4),
    "randsvd(32, 1e2)": lambda: matrices.randsvd(32, 1e2),
    "randsvd(32, 1e4)": lambda: matrices.randsvd(32, 1e4),
    "randsvd(32, 1e6)": lambda: matrices.randsvd(32, 1e6),
    "hilbert(4)": lambda: matrices.hilbert(4),
    "hilbert(6)": lambda: matrices.hilbert(6),
}


class RoundedOnce:
    """Factors of the rounded matrix and solutions, computed in double and rounded once each; stands
    in for linalg.LU.
    """

    def __init__(self, matrix: Matrix, format: str) -> None:
        rounded = lowp.quantize(np.asarray(matrix, np.float64), format)
        exact = linalg.lu(rounded, "float64")
        self.format, self.permutation = format, exact.permutation
        self.factors = lowp.quantize(exact.factors, format)
        self.double = linalg.LU(self.factors, exact.permutation, exact.arithmetic, exact.growth)
        self.u = self.double.u

    def solve(self, b: Matrix) -> Matrix:
        right = lowp.quantize(np.asarray(b, np.float64), self.format)
        return lowp.quantize(self.double.solve(right), self.format)


@dataclass(frozen=True)
class System:
    """A x = ones in float32, with its exact solution and its condition number."""

    name: str
    a: Matrix
    b: Matrix = field(init=False)
    truth: Matrix = field(init=False)
    kappa: float = field(init=False)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "a", self.a.astype(np.float32))
        set_field(self, "b", np.ones(len(self.a), np.float32))
        set_field(self, "truth", linalg.solve_exactly(self.a, self.b))
        set_field(self, "kappa", float(np.linalg.cond(self.a.astype(np.float64), np.inf)))


@dataclass(frozen=True)
class Run:
    """One system solved one way: errors of every iterate; none where there were no factors."""

    backward: list[float]
    forward: list[float]
    #: Steps of GMRES for each iterate; zeros for the other ways.
    inner: list[int]

    @property
    def steps(self) -> int | None:
        """Refinements until the backward error is float32's; None where that is not reached."""
        return next((i for i, error in enumerate(self.backward) if error <= ACCURATE), None)

    def __str__(self) -> str:
        if not self.backward:
            return "LU overflows"
        if self.steps is not None:
            inner = sum(self.inner[: self.steps + 1])
            return f"{self.steps} ({inner})" if inner else str(self.steps)
        known = [error for error in self.backward if error == error]
        return f"fails, {min(known):.0e}" if known else "overflows"


@cache
def system(name: str) -> System:
    return System(name, SYSTEMS[name]())


@cache
def solve(name: str, format: str, method: str) -> Run:
    """Refine until the errors fall no more."""
    s = system(name)
    try:
        found = linalg.refine(
            s.a,
            s.b,
            factor=format,
            working=WORKING,
            residual=RESIDUAL,
            method="gmres" if method == "gmres" else "lu",
            truth=s.truth,
            tolerance=0.0,
            max_iterations=MAX_ITERATIONS,
            factorize=(lambda m: RoundedOnce(m, format)) if method == "once" else None,
        )
    except np.linalg.LinAlgError:  # a pivot overflowed or vanished
        return Run([], [], [])
    errors = found.backward_errors.tolist(), found.forward_errors.tolist()
    return Run(*errors, list(found.inner_steps))


def kappa_u(name: str, format: str) -> float:
    return system(name).kappa * lowp.format(format).epsilon / 2


def print_table(formats: list[str]) -> None:
    print("Refinements until the backward error is float32's, or the least error reached;")
    print("for GMRES also all of its steps")
    head = "".join(f"{title:>15}" for title in METHODS.values())
    print(f"{'matrix':17}{'format':15}{'kappa u':>8}{head}")
    for name in SYSTEMS:
        for format in formats:
            cells = "".join(f"{solve(name, format, method)!s:>15}" for method in METHODS)
            print(f"{name:17}{format:15}{kappa_u(name, format):8.1e}{cells}")


def print_theory(formats: list[str]) -> None:
    """How often each way converges, by kappa u; without factors there is nothing to refine."""
    print("\nConverge, of the cases whose LU does not overflow")
    ranges = (
        ("kappa u below 1", 0.0, 1.0),
        ("from 1 to 10", 1.0, 10.0),
        ("10 and more", 10.0, 1e99),
    )
    cases = [(n, f) for n in SYSTEMS for f in formats if solve(n, f, "lu").backward]
    for label, low, high in ranges:
        inside = [case for case in cases if low <= kappa_u(*case) < high]
        counts = []
        for method, title in METHODS.items():
            good = sum(solve(*case, method).steps is not None for case in inside)
            counts.append(f"{title.removesuffix(' (steps)')} {good}")
        print(f"{label:16} {len(inside):2} cases: {', '.join(counts)}")
    last = [solve(n, f, m) for n, f in cases for m in ("lu", "gmres")]
    worst = max(min(run.backward) for run in last if run.steps is not None)
    print(f"largest backward error of those that converge by factors or GMRES: {worst:.0e}")


def print_history(name: str, format: str) -> None:
    print(f"\n{name} in {format}, kappa u = {kappa_u(name, format):.1e}: errors by iteration")
    print("         " + "".join(f"{title:>22}" for title in METHODS.values()))
    print("         " + "    backward   forward" * len(METHODS))
    runs = [solve(name, format, method) for method in METHODS]
    for i in range(min(max(len(run.backward) for run in runs), 16)):
        cells = [
            f"{run.backward[i]:12.1e}{run.forward[i]:10.1e}" if i < len(run.backward) else " " * 22
            for run in runs
        ]
        print(f"{i:9}{''.join(cells)}".rstrip())


def plot(path: str, name: str, formats: list[str]) -> None:
    """Forward errors by iteration, a panel a way; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    figure.suptitle(f"Refinement of {name}", fontweight="bold")
    axes = figure.subplots(1, len(METHODS), sharey=True)
    for axis, (method, title) in zip(axes, METHODS.items(), strict=True):
        for format in formats:
            axis.semilogy(solve(name, format, method).forward, marker=".", label=format)
        axis.axhline(lowp.format(WORKING).epsilon / 2, color="#222222", linewidth=0.8)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("iteration")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("forward error")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)
    print(f"\nwritten: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--formats", default=",".join(FORMATS), help="separated by commas")
    parser.add_argument("--history", default="randsvd(32, 1e2)", help="matrix shown by iteration")
    parser.add_argument("--format", default="float8_e4m3fn", help="format of that history")
    parser.add_argument("--file", help="a .mtx or .npy matrix, in place of the classical ones")
    parser.add_argument("--plot", help="picture of the history in all formats (.png, .svg, .pdf)")
    args = parser.parse_args()
    formats = args.formats.split(",")
    if args.file:
        SYSTEMS.clear()
        args.history = Path(args.file).name
        SYSTEMS[args.history] = lambda: matrices.read(args.file)
    if args.history not in SYSTEMS:
        parser.error(f"no matrix {args.history!r}; there are {', '.join(SYSTEMS)}")
    print_table(formats)
    print_theory(formats)
    print_history(args.history, args.format)
    if args.plot:
        plot(args.plot, args.history, formats)


if __name__ == "__main__":
    main()
