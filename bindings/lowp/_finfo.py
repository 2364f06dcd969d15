"""Limits of a format under the names of numpy.finfo."""

from __future__ import annotations

from dataclasses import dataclass

from lowp import _core
from lowp._arguments import FormatLike


@dataclass(frozen=True)
class finfo:  # noqa: N801  (numpy's spelling)
    """Limits of a format, named as numpy.finfo names them; values are Python floats.

    format: name or Format. `min` is the lowest value, `tiny` and `smallest_normal` the smallest
    positive normal number; fixed point has no normal numbers: both are its smallest positive value.
    `precision` counts decimal digits, as numpy does; Format.precision counts bits.
    """

    format: _core.Format
    bits: int
    max: float
    min: float
    eps: float
    epsneg: float
    tiny: float
    smallest_normal: float
    smallest_subnormal: float
    nmant: int
    nexp: int
    maxexp: int
    minexp: int
    precision: int
    resolution: float

    def __init__(self, format: FormatLike) -> None:
        f = _core.format(format)
        digits = int((f.precision - 1) * 0.30102999566398120)  # log10(2)
        values = {
            "format": f,
            "bits": f.bits,
            "max": f.max,
            "min": f.lowest,
            "eps": f.epsilon,
            "epsneg": f.epsilon / 2 if f.exponent_bits else f.epsilon,
            "tiny": f.min_normal,
            "smallest_normal": f.min_normal,
            "smallest_subnormal": f.min_subnormal,
            "nmant": f.mantissa_bits,
            "nexp": f.exponent_bits,
            "maxexp": f.emax + 1,
            "minexp": f.emin,
            "precision": digits,
            "resolution": 10.0**-digits,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
