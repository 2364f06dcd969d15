"""The loss of training in a floating-point format, and what follows from it in closed form.

    L = n / N^alpha + d / D^beta + epsilon
        + D^beta / N^alpha log2(B) / (gamma (E + 0.5)^delta (M + 0.5)^nu)

The last term grows with the data: beyond a critical size, more of it harms.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

import lowp

from . import _targets
from ._laws_base import Law, Numbers, Split, real

__all__ = ["CHANNEL_BLOCK", "FloatingPointLaw", "Optimum", "split_of"]

#: The block size that one scale a channel acts like. Source: arXiv 2501.02423, section 3.6.
CHANNEL_BLOCK = 2.0**13.1567

#: Bits of the widest format that `best_split` looks for.
_MAX_BITS = 64


class Optimum(NamedTuple):
    """The best use of an amount of computation: parameters, tokens, bits a value, and the loss."""

    N: Numbers
    D: Numbers
    bits: Numbers
    loss: Numbers


def split_of(format: Any) -> Split:
    """Exponent and mantissa bits of a format, or of a block format's elements, or of their name.

    Integers have E = 0; a sign is no part of either. ValueError: an unknown name, or elements that
    are a codebook.
    """
    target = _targets.resolve(format)
    element = target.element if isinstance(target, lowp.BlockFormat) else target
    if not isinstance(element, lowp.Format):
        raise ValueError(f"the elements of {target} are a codebook, without exponent and mantissa")
    return Split(element.exponent_bits, element.mantissa_bits)


@dataclass(frozen=True)
class FloatingPointLaw(Law):
    """The law of the loss L(N, D, E, M, B), with the paper's coefficients where none are given.

    N: parameters without embeddings; D: tokens; E, M: exponent and mantissa bits of the format
    to which weights of both passes, and activations for the weights' gradient, are quantized; B:
    values that share a scale (the innermost dimension's, `CHANNEL_BLOCK` for one scale a channel).
    The paper fitted it to 41 to 679 million parameters, 10 to 100 billion tokens and B of 32 to
    512, and checked it up to 70 billion parameters.

    Arguments are numbers or arrays that broadcast, results float64 of their common shape: NaN gives
    NaN; N, D above 0, E, M 0 or more and B 1 or more may be infinite and give the limit, which is
    NaN where the penalty is infinity / infinity. B = 1 has none.

    ValueError: an argument out of its range, shapes that do not fit, coefficients that are negative
    or not finite, or such as leave a question without an answer. TypeError: not real numbers.
    Source: Sun et al., Scaling Laws for Floating-Point Quantization Training, arXiv 2501.02423v3,
    equations 18 to 25, coefficients in table 2.
    """

    n: float = 69.2343
    alpha: float = 0.2368
    d: float = 68973.0621
    beta: float = 0.5162
    epsilon: float = 1.9061
    gamma: float = 11334.5197
    delta: float = 3.1926
    nu: float = 2.9543

    _columns: ClassVar[tuple[str, ...]] = ("N", "D", "E", "M", "B")
    _target: ClassVar[str] = "loss"
    _relative: ClassVar[bool] = True
    _least: ClassVar[Mapping[str, float]] = {"N": 0, "D": 0, "E": 0, "M": 0, "B": 1, "bits": 0}
    _excluded: ClassVar[frozenset[str]] = frozenset({"N", "D", "bits"})
    _positive: ClassVar[frozenset[str]] = frozenset({"n", "d", "gamma"})
    _factors: ClassVar[frozenset[str]] = frozenset({"n", "d"})
    _divisors: ClassVar[frozenset[str]] = frozenset({"gamma"})
    _ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "alpha": (0.05, 1.0),
        "beta": (0.05, 1.0),
        "delta": (0.3, 6.0),
        "nu": (0.3, 6.0),
    }

    @classmethod
    def _linear(cls, c: Mapping[str, float], x: Mapping[str, Any]) -> dict[str, Any]:
        bits = (x["E"] + 0.5) ** c["delta"] * (x["M"] + 0.5) ** c["nu"]
        return {
            "n": x["N"] ** -c["alpha"],
            "d": x["D"] ** -c["beta"],
            "epsilon": np.ones(np.broadcast_shapes(*map(np.shape, x.values()))),
            "gamma": _knowledge(c, x) / bits,
        }

    # ---- the loss --------------------------------------------------------------------------------

    def loss(
        self, N: ArrayLike, D: ArrayLike, E: ArrayLike, M: ArrayLike, B: ArrayLike = 128
    ) -> Numbers:
        """What the law says, equation 18. `split_of` has the E and M of a format."""
        with np.errstate(invalid="ignore"):
            return self._predict(self.coefficients, self._variables(N=N, D=D, E=E, M=M, B=B))[()]

    def full_precision_loss(self, N: ArrayLike, D: ArrayLike) -> Numbers:
        """The loss without quantization: n / N^alpha + d / D^beta + epsilon."""
        x = self._variables(N=N, D=D)
        return (self.n * x["N"] ** -self.alpha + self.d * x["D"] ** -self.beta) + self.epsilon

    def penalty(
        self, N: ArrayLike, D: ArrayLike, E: ArrayLike, M: ArrayLike, B: ArrayLike = 128
    ) -> Numbers:
        """What quantization adds to the loss. Equation 17."""
        x = self._variables(N=N, D=D, E=E, M=M, B=B)
        with np.errstate(invalid="ignore"):
            return (self._linear(self.coefficients, x)["gamma"] / self.gamma)[()]

    def loss_of_bits(
        self, N: ArrayLike, D: ArrayLike, bits: ArrayLike, B: ArrayLike = 128
    ) -> Numbers:
        """The loss of `bits` in all at the `continuous_split`: any positive number. Equation 20."""
        x = self._variables(N=N, D=D, bits=bits, B=B)
        with np.errstate(invalid="ignore"):
            penalty = _knowledge(self.coefficients, x) / (self._gamma_rho * x["bits"] ** self._s)
        return (self.full_precision_loss(N, D) + penalty)[()]

    def effective_size(
        self, N: ArrayLike, D: ArrayLike, E: ArrayLike, M: ArrayLike, B: ArrayLike = 128
    ) -> Numbers:
        """Parameters of the unquantized model that has the same loss after as much data.

        Divided by N it is the format's capacity, which in this law falls with D. Equation 38.
        """
        self._require("n", "alpha", purpose="an effective size")
        x = self._variables(N=N, D=D, E=E, M=M, B=B)
        relative = self.penalty(N, D, E, M, B) * x["N"] ** self.alpha / self.n
        return x["N"] * (1 + relative) ** (-1 / self.alpha)

    # ---- too much data ---------------------------------------------------------------------------

    def critical_data_size(
        self, N: ArrayLike, E: ArrayLike, M: ArrayLike, B: ArrayLike = 128
    ) -> Numbers:
        """The tokens at which the loss is least: with more of them it rises. Equation 21.

        dL/dD = 0 at D^(2 beta) = d gamma N^alpha (E+.5)^delta (M+.5)^nu / log2(B): infinite at B 1.
        """
        self._require("beta", purpose="a critical data size")
        x = self._variables(N=N, E=E, M=M, B=B)
        bits = (x["E"] + 0.5) ** self.delta * (x["M"] + 0.5) ** self.nu
        with np.errstate(divide="ignore"):
            power = self.d * self.gamma * x["N"] ** self.alpha * bits / np.log2(x["B"])
        return power ** (0.5 / self.beta)

    def critical_bits(self, N: ArrayLike, D: ArrayLike, B: ArrayLike = 128) -> Numbers:
        """Bits in all, at the `continuous_split`, whose critical data size is D: fewer harm."""
        self._require("beta", "d", purpose="a critical number of bits")
        x = self._variables(N=N, D=D, B=B)
        power = x["D"] ** (2 * self.beta) * np.log2(x["B"])
        return (power / (self.d * self._gamma_rho * x["N"] ** self.alpha)) ** (1 / self._s)

    # ---- the best format -------------------------------------------------------------------------

    def best_split(self, bits: ArrayLike) -> Split:
        """The E and M of least loss with E + M + 1 = bits, the same for every N, D and B.

        bits: an integer of 1 to 64, which gives a split of two int, or an array of such, which
        gives two arrays. Of equal ones the split of more exponent bits. Source: figure 5.
        """
        if isinstance(bits, np.ndarray | list | tuple):
            array = np.asarray(bits)
            found = [self.best_split(item) for item in array.ravel().tolist()]
            parts = np.array(found, dtype=np.int64).reshape(-1, 2)
            return Split(*(parts[:, i].reshape(array.shape) for i in range(2)))
        try:
            total = operator.index(bits)  # type: ignore[arg-type]
        except TypeError:
            raise TypeError(f"bits must be whole numbers; got {bits!r}") from None
        if isinstance(bits, bool) or not 1 <= total <= _MAX_BITS:
            raise ValueError(f"bits must be 1 to {_MAX_BITS}; got {bits!r}")
        M = np.arange(total)
        merit = self.delta * np.log(total - 0.5 - M) + self.nu * np.log(M + 0.5)
        best = int(np.argmax(merit))
        return Split(total - 1 - best, best)

    def continuous_split(self, bits: ArrayLike) -> Split:
        """The E and M of least loss as real numbers: delta P / (delta+nu) - .5 and nu P / ... - .5.

        One of them is negative where bits are few: below 1.04 with the paper's coefficients.
        Equation 19.
        """
        P = real("bits", bits, 0, exclude=True)[()]
        return Split(self.delta * P / self._s - 0.5, self.nu * P / self._s - 0.5)

    def bits_for_loss(
        self, loss: ArrayLike, N: ArrayLike, D: ArrayLike, B: ArrayLike = 128
    ) -> Numbers:
        """Bits in all, at the `continuous_split`, that reach a loss: `loss_of_bits` inverted.

        Real numbers; infinite where the loss is not above that of full precision. Whole formats
        need the next integer, at times one more, as their split is whole, too.
        """
        x = self._variables(N=N, D=D, B=B, loss=loss)
        excess = x["loss"] - self.full_precision_loss(N, D)
        with np.errstate(divide="ignore", invalid="ignore"):
            power = _knowledge(self.coefficients, x) / (self._gamma_rho * np.maximum(excess, 0))
        return np.where(excess <= 0, np.inf, power ** (1 / self._s))[()]

    def optimal_bits(self, D: ArrayLike, B: ArrayLike = 128) -> Numbers:
        """Bits in all of least loss for as much computation (bits N D), the tokens given.

        Fewer bits allow more parameters. Equation 22.
        """
        x = self._variables(D=D, B=B)
        return (self._gamma_data * x["D"] ** self.beta * np.log2(x["B"])) ** (1 / self._s)

    def optimal_bits_of_size(
        self, N: ArrayLike, compute: ArrayLike, B: ArrayLike = 128, *, cost: float = 6 / 16
    ) -> Numbers:
        """Bits in all of least loss for compute = cost bits N D, the parameters given.

        Fewer bits allow more tokens. cost: operations a bit, parameter and token; the default is
        the paper's, 6 operations in 16 bits. Equation 23.
        """
        self._require("beta", "d", purpose="the optimum of a size")
        x = self._variables(N=N, B=B, compute=real("compute", compute, 0, exclude=True))
        ratio = (self.beta + self._s) / (self.d * self.beta * self._gamma_rho)
        power = ratio * np.log2(x["B"]) * (x["compute"] / _cost(cost)) ** (2 * self.beta)
        power = power * x["N"] ** -(self.alpha + 2 * self.beta)
        return power ** (1 / (self._s + 2 * self.beta))

    def compute_optimal(
        self, compute: ArrayLike, B: ArrayLike = 128, *, cost: float = 6 / 16
    ) -> Optimum:
        """Parameters, tokens and bits of least loss for compute = cost bits N D, and that loss.

        cost: as in `optimal_bits_of_size`. B must be above 1, where precision matters. Equation 25.
        """
        self._require("n", "alpha", "d", "beta", purpose="a compute optimum")
        x = self._variables(B=B, compute=real("compute", compute, 0, exclude=True))
        if np.any(x["B"] == 1):
            raise ValueError("B must be above 1 for a compute optimum: at 1 bits change nothing")
        a, b, s = self.alpha, self.beta, self._s
        g = self._gamma_data * np.log2(x["B"])
        sizes = self.n * a * (s + b) / (self.d * b * (s - a))
        power = g ** ((a + b) / b) / sizes * (x["compute"] / _cost(cost)) ** a
        bits = power ** (1 / (s * (a + b) / b + a))
        # Both derivatives are zero: D^b = bits^s / g, and N^a is as D^b.
        D = (bits**s / g) ** (1 / b)
        N = (sizes * bits**s / g) ** (1 / a)
        return Optimum(N, D, bits, self.loss_of_bits(N, D, bits, x["B"]))

    @property
    def _s(self) -> float:
        """The power of the bits in all."""
        if self.delta + self.nu == 0:
            raise ValueError("delta and nu are both 0: in this law no split is better than another")
        return self.delta + self.nu

    @property
    def _gamma_rho(self) -> float:
        """The divisor of bits^(delta + nu) at the continuous split. Equation 34."""
        return float(self.gamma * self.delta**self.delta * self.nu**self.nu / self._s**self._s)

    @property
    def _gamma_data(self) -> float:
        """What D^beta log2(B) is multiplied by to give the best bits^(delta + nu). Equation 46."""
        self._require("n", "alpha", purpose="an optimal number of bits")
        if self._s <= self.alpha:
            raise ValueError(
                f"an optimal number of bits needs delta + nu above alpha; this law has {self._s:g} "
                f"and {self.alpha:g}, so that fewer bits are always better"
            )
        return (self._s - self.alpha) / (self.n * self.alpha * self._gamma_rho)


def _knowledge(c: Mapping[str, float], x: Mapping[str, Any]) -> Any:
    """D^beta / N^alpha log2(B), which is zero at B = 1, however much data there is."""
    scales = np.log2(x["B"])
    return np.where(scales == 0, 0.0, x["D"] ** c["beta"] / x["N"] ** c["alpha"] * scales)


def _cost(cost: float) -> float:
    return float(real("cost", cost, 0, exclude=True))
