"""Operations rounded one by one: what every algorithm of `lowp.linalg` computes with.

An `Arithmetic` is a format with its projection; it counts its calls, so that stochastic rounding
gives each of them bits of its own and the same program always gives the same result.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lowp

from ._arguments import FormatLike

Array = NDArray[Any]
Doubles = NDArray[np.float64]

PRODUCTS = ("separate", "fused")
ORDERS = ("sequential", "pairwise")


def carrier_of(format: lowp.Format) -> np.dtype[Any]:
    """float32 where it holds every value of the format, else float64."""
    try:
        lowp.quantize(np.float32(1), format)
    except ValueError:
        return np.dtype(np.float64)
    return np.dtype(np.float32)


class Arithmetic:
    """+ - * / sqrt of one format, each rounded at once; the `format` argument of `lowp.linalg`.

    format: name or Format. rounding, saturation: as for lowp.quantize, "nearest_ties_to_even" and
    "none" by default. products: "separate" rounds a product before it is added or subtracted,
    "fused" rounds only the sum (fma). seed: of stochastic rounding, whose stream is the number of
    the operation: a new Arithmetic repeats the same results. Operands are arrays or floats on the
    grid, and so are results, in float32 where that holds the format, else in float64. NaN, infinity
    and overflow are those of lowp.add and its kin. ValueError: an unknown word or format.
    """

    def __init__(
        self,
        format: FormatLike,
        *,
        rounding: str | None = None,
        saturation: str | None = None,
        products: str = "separate",
        seed: int = 0,
    ) -> None:
        check_word("products", products, PRODUCTS)
        self.format = lowp.format(format)
        self.rounding = "nearest_ties_to_even" if rounding is None else rounding
        self.saturation = "none" if saturation is None else saturation
        self.products = products
        self.seed = seed
        self.dtype = carrier_of(self.format)
        self._calls = 0
        self._is_stochastic = self.rounding.startswith("stochastic")
        self._options: dict[str, Any] = {"rounding": rounding, "saturation": saturation}
        self.round(np.zeros(1))  # unknown words are refused here, not in the midst of an algorithm
        words = f"rounding={self.rounding}/saturation={self.saturation}"
        name = f"{self.format.name}/{words}" + ("/separate" if products == "separate" else "")
        self._accumulators = {
            "sequential": lowp.accumulator(name),
            "pairwise": lowp.accumulator(f"{name}/pairwise"),
        }

    @classmethod
    def of(cls, format: Arithmetic | FormatLike, rounding: str | None = None) -> Arithmetic:
        """`format` itself if it is an Arithmetic, else that of the format and rounding."""
        if not isinstance(format, Arithmetic):
            return cls(format, rounding=rounding)
        if rounding not in (None, format.rounding):
            raise ValueError(
                f"rounding {rounding!r} is given beside an Arithmetic, which rounds "
                f"{format.rounding!r}: state it there only"
            )
        return format

    def __reduce__(self) -> tuple[Any, ...]:
        words = (self.rounding, self.saturation, self.products)
        return _restored, (self.format, *words, self.seed, self._calls)

    def __repr__(self) -> str:
        words = f"{self.format}, {self.rounding}, {self.saturation}, products {self.products}"
        return f"Arithmetic({words})"

    @property
    def unit_roundoff(self) -> float:
        """Half the distance from 1 to the next number: the largest relative error of nearest."""
        return self.format.epsilon / 2

    def options(self) -> dict[str, Any]:
        """Keywords of the next operation."""
        if self._is_stochastic:
            self._options["seed"], self._options["stream"] = self.seed, self._calls
            self._calls += 1
        return self._options

    def round(self, x: Any) -> Array:
        """x, any floats, on the grid: an array in the carrier."""
        exact = np.asarray(x)
        if exact.dtype not in (np.float32, np.float64):
            exact = exact.astype(np.float64)
        if self.dtype == np.float64:
            exact = exact.astype(np.float64)
        y = np.asarray(lowp.quantize(exact, self.format, **self.options()))
        return y.astype(self.dtype, copy=False)

    def add(self, x: Any, y: Any) -> Array:
        """x + y."""
        return self._apply(lowp.add, x, y)

    def sub(self, x: Any, y: Any) -> Array:
        """x - y."""
        return self._apply(lowp.sub, x, y)

    def mul(self, x: Any, y: Any) -> Array:
        """x y."""
        return self._apply(lowp.mul, x, y)

    def div(self, x: Any, y: Any) -> Array:
        """x / y."""
        return self._apply(lowp.div, x, y)

    def sqrt(self, x: Any) -> Array:
        """The square root of x."""
        return self._apply(lowp.sqrt, x)

    def add_product(self, z: Any, x: Any, y: Any) -> Array:
        """z + x y: rounded twice, or once where products are fused."""
        if self.products == "fused":
            return self._apply(lowp.fma, x, y, z)
        return self.add(z, self.mul(x, y))

    def sub_product(self, z: Any, x: Any, y: Any) -> Array:
        """z - x y: rounded twice, or once where products are fused."""
        if self.products == "fused":
            return self._apply(lowp.fma, np.negative(x), y, z)
        return self.sub(z, self.mul(x, y))

    def _apply(self, verb: Any, *operands: Any) -> Array:
        # Arrays of no dimension take the short way through the verbs, NumPy's scalars do not.
        plain = (np.asarray(x, self.dtype) for x in operands)
        return np.asarray(verb(*plain, self.format, **self.options()))

    def sum(self, terms: Array, order: str = "sequential") -> Array:
        """The sum along the first axis, each addition rounded; 0 of no terms.

        "sequential": ((t0 + t1) + t2) + ...; "pairwise": neighbours are added, then neighbouring
        sums, until one is left; an odd last one goes on as it is.
        """
        check_word("order", order, ORDERS)
        ones = np.ones(len(terms), self.dtype)
        return self.product(ones, terms, order=order)

    def product(
        self, a: Array, b: Array, c: Array | None = None, *, order: str = "sequential"
    ) -> Array:
        """c + a b as lowp.matmul has it, k by k from the left, from c or the first product on.

        a and b on the grid. Zeros are positive where nothing else was added.
        """
        options = self.options()
        random = {key: options[key] for key in ("seed", "stream") if key in options}
        how = self._accumulators[order]
        return np.asarray(lowp.matmul(a, b, c=c, accumulator=how, **random))

    def nrm2(self, x: Array) -> Array:
        """The 2-norm of a vector: squares, their sequential sum, the root, each rounded.

        x is first divided by the power of two at its largest magnitude, so that no square
        overflows, and the root multiplied by it: both only round where they leave the range.
        """
        largest = float(np.max(np.abs(x), initial=0.0))
        if largest == 0 or not math.isfinite(largest):
            return self.round(largest)
        scale = math.ldexp(1.0, math.frexp(largest)[1] - 1)
        wide = np.asarray(x, np.float64)
        scaled = lowp.div(wide, scale, self.format, **self.options()).astype(self.dtype)
        root = self.sqrt(self.product(scaled, scaled))
        result = lowp.mul(np.asarray(root, np.float64), scale, self.format, **self.options())
        return np.asarray(result).astype(self.dtype)


def _restored(
    format: lowp.Format, rounding: str, saturation: str, products: str, seed: int, calls: int
) -> Arithmetic:
    made = Arithmetic(
        format, rounding=rounding, saturation=saturation, products=products, seed=seed
    )
    made._calls = calls
    return made


def check_count(what: str, count: int | None) -> None:
    """ValueError for a negative number of steps."""
    if count is not None and count < 0:
        raise ValueError(f"{what} must not be negative; got {count}")


def check_word(what: str, word: str, words: tuple[str, ...]) -> None:
    """ValueError unless `word` is one of `words`."""
    if word not in words:
        raise ValueError(f"{what} must be one of {', '.join(words)}; got {word!r}")


def floats(x: Any, name: str, dimensions: int) -> Array:
    """x as an array of float32 or float64 with so many dimensions."""
    array = np.asarray(x)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"{name} must hold float32 or float64; got {array.dtype}: convert it, as "
            f"{name}.astype(np.float64)"
        )
    if array.ndim != dimensions:
        kind = "a vector" if dimensions == 1 else "a matrix"
        raise ValueError(f"{name} must be {kind}; got shape {array.shape}")
    return array


def square(x: Any, name: str = "a") -> Array:
    """x as a square matrix of finite floats."""
    matrix = floats(x, name, 2)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must be square; got shape {matrix.shape}")
    check_finite(matrix, name)
    return matrix


def check_finite(x: Array, name: str) -> None:
    """ValueError for NaN or infinity."""
    if not np.isfinite(x).all():
        raise ValueError(f"{name} holds NaN or infinity; only finite numbers can be solved for")


def check_rows(a: Array, b: Array, name: str = "b") -> None:
    """ValueError unless b has a row for each of a's."""
    if len(b) != len(a):
        raise ValueError(f"{name} must have {len(a)} rows, those of a {a.shape}; got {b.shape}")
