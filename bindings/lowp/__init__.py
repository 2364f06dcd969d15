"""Number formats of any exponent and mantissa, every rounding, exact to the bit.

    >>> import lowp, numpy as np
    >>> lowp.quantize(np.float32([0.3, 1.0, 500.0]), "float8_e4m3fn")
    array([0.3125, 1.    ,    nan], dtype=float32)

`quantize` puts numbers on the grid of a format, `encode` gives their codes, `decode` the values of
codes, `pack` and `unpack` make codes dense. Formats are data: `format("float8_e4m3fn")`,
`Format(exponent_bits=4, ...)`, `formats()`, `finfo(...)`. `lowp.spec` is the definition.
"""

from pathlib import Path

from lowp import spec
from lowp._arrays import pack, unpack
from lowp._core import (
    GENERATORS,
    ROUNDINGS,
    SATURATIONS,
    Format,
    __version__,
    decode,
    encode,
    format,
    format_sources,
    formats,
    get_threads,
    isa,
    isas,
    quantize,
    random_bits,
    set_threads,
)
from lowp._finfo import finfo
from lowp.measures import Error, error

__all__ = [
    "GENERATORS",
    "ROUNDINGS",
    "SATURATIONS",
    "Error",
    "Format",
    "__version__",
    "decode",
    "encode",
    "error",
    "finfo",
    "format",
    "format_sources",
    "formats",
    "get_include",
    "get_threads",
    "isa",
    "isas",
    "pack",
    "quantize",
    "random_bits",
    "set_threads",
    "spec",
    "unpack",
]


def get_include() -> str:
    """The folder with the C++ headers: compile with -I and include <lowp/lowp.hpp>."""
    return str(Path(__file__).resolve().parent / "include")
