"""The capacity of a representation by its error on Gaussian data, and the loss that it leads to.

    rho = L tanh(F log_{1/4} GMSE)^C        loss = n / (N rho)^alpha + d / D^beta + epsilon

The formula itself and the meaning of its coefficients are those of `lowp.capacity`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

import lowp

from . import quality
from ._laws_base import Law, Numbers, real
from ._laws_float import FloatingPointLaw

__all__ = ["CapacityLaw", "CapacityLossLaw"]


@dataclass(frozen=True)
class CapacityLaw(Law):
    """The capacity rho of a representation: a model of N parameters learns like one of rho N.

    limit, factor, power: L, F and C; the defaults are those of `lowp.capacity`, which says where
    they are from. Arguments are numbers or arrays, results float64 of their shape; NaN gives NaN.
    Capacities of weights and activations, of sparsity and quantization multiply.

    ValueError: an argument out of its range, coefficients that are negative or not finite.
    Source: Panferov et al., Unified Scaling Laws for Compressed Representations, arXiv 2506.01863,
    equation 3 and section 4.3.
    """

    limit: float = 1.0
    factor: float = quality.FACTOR
    power: float = quality.POWER

    _columns: ClassVar[tuple[str, ...]] = ("gmse",)
    _target: ClassVar[str] = "capacity"
    _relative: ClassVar[bool] = False
    _least: ClassVar[Mapping[str, float]] = {"N": 0, "D": 0, "gmse": 0}
    _excluded: ClassVar[frozenset[str]] = frozenset({"N", "D"})
    _positive: ClassVar[frozenset[str]] = frozenset({"limit", "factor", "power"})
    _ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "factor": (0.1, 2.0),
        "power": (0.3, 4.0),
    }

    @classmethod
    def _linear(cls, c: Mapping[str, float], x: Mapping[str, Any]) -> dict[str, Any]:
        return {"limit": quality.capacity_of(x["gmse"], 1.0, c["factor"], c["power"])}

    def capacity(self, gmse: ArrayLike | lowp.Format | lowp.BlockFormat) -> Numbers:
        """The capacity at a GMSE of 0 or more, or of a format or its name, with its own GMSE.

        The limit at GMSE 0, 0 from 1 on.
        """
        if isinstance(gmse, str | lowp.Format | lowp.BlockFormat):
            gmse = quality.gmse(gmse)
        errors = real("gmse", gmse, 0)[()]
        return quality.capacity_of(errors, self.limit, self.factor, self.power)

    def gmse(self, capacity: ArrayLike) -> Numbers:
        """The GMSE that has a capacity of 0 to the limit: `capacity` inverted.

        1 at capacity 0, where larger ones have it, too; 0 at the limit.
        """
        return 4.0 ** -self.bits(capacity)

    def bits(self, capacity: ArrayLike) -> Numbers:
        """Bits a value without which no representation has a capacity of 0 to the limit.

        Gaussian values in P bits have a GMSE of 4^-P or more (Shannon's rate distortion), so these
        are log_{1/4} of the `gmse`; infinite at the limit.
        """
        wanted = real("capacity", capacity, 0)[()]
        if np.any(wanted > self.limit):
            raise ValueError(
                f"capacity must be 0 to the law's limit of {self.limit:g}; got {np.max(wanted):g}"
            )
        with np.errstate(divide="ignore"):
            return np.arctanh((wanted / self.limit) ** (1 / self.power)) / self.factor


_FULL = FloatingPointLaw()


@dataclass(frozen=True)
class CapacityLossLaw(CapacityLaw):
    """The loss of a model whose N parameters have a capacity: that of N rho parameters.

    n, alpha, d, beta, epsilon: of the loss in full precision. The paper prints none: the defaults
    are those of `FloatingPointLaw`, whose data and models are others, so fit your own. Errors and
    arguments: see `CapacityLaw`; N and D are above 0. n and limit are fitted together only where
    rows of full precision are none of these: hold limit at 1. Source: arXiv 2506.01863, equation 1.
    """

    n: float = _FULL.n
    alpha: float = _FULL.alpha
    d: float = _FULL.d
    beta: float = _FULL.beta
    epsilon: float = _FULL.epsilon

    _columns: ClassVar[tuple[str, ...]] = ("N", "D", "gmse")
    _target: ClassVar[str] = "loss"
    _relative: ClassVar[bool] = True
    _positive: ClassVar[frozenset[str]] = CapacityLaw._positive | {"n", "d"}
    _factors: ClassVar[frozenset[str]] = frozenset({"n", "d"})
    _ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        **CapacityLaw._ranges,
        "limit": (0.8, 1.0),
        "alpha": (0.05, 1.0),
        "beta": (0.05, 1.0),
    }

    @classmethod
    def _linear(cls, c: Mapping[str, float], x: Mapping[str, Any]) -> dict[str, Any]:
        rho = quality.capacity_of(x["gmse"], c["limit"], c["factor"], c["power"])
        with np.errstate(divide="ignore"):
            sizes = (x["N"] * rho) ** -c["alpha"]
        ones = np.ones(np.broadcast_shapes(*map(np.shape, x.values())))
        return {"n": sizes, "d": x["D"] ** -c["beta"], "epsilon": ones}

    def loss(self, N: ArrayLike, D: ArrayLike, gmse: ArrayLike = 0.0) -> Numbers:
        """The loss of N parameters after D tokens in a representation of this GMSE.

        Infinite from GMSE 1 on. For a second capacity, of activations, multiply N by it.
        """
        return self._predict(self.coefficients, self._variables(N=N, D=D, gmse=gmse))[()]

    def effective_size(self, N: ArrayLike, gmse: ArrayLike) -> Numbers:
        """N rho: the parameters that learn as well in full precision."""
        return self._variables(N=N)["N"] * self.capacity(gmse)

    def gmse_for_loss(self, loss: ArrayLike, N: ArrayLike, D: ArrayLike) -> Numbers:
        """The largest GMSE with which a loss is reached: `loss` inverted.

        NaN where no representation reaches it, as N parameters of capacity `limit` do not.
        """
        self._require("n", "alpha", purpose="the GMSE of a loss")
        x = self._variables(N=N, D=D, loss=loss)
        excess = x["loss"] - self.d * x["D"] ** -self.beta - self.epsilon
        with np.errstate(divide="ignore", invalid="ignore"):
            wanted = (excess / self.n) ** (-1 / self.alpha) / x["N"]
            reached = (excess > 0) & (wanted <= self.limit)
            return np.where(reached, self.gmse(np.where(reached, wanted, 0.0)), np.nan)[()]
