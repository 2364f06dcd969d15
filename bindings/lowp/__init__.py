"""Number formats of any exponent and mantissa, every rounding, exact to the bit.

    >>> import lowp, numpy as np
    >>> lowp.quantize(np.float32([0.3, 1.0, 500.0]), "float8_e4m3fn")
    array([0.3125, 1.    ,    nan], dtype=float32)

`quantize` puts numbers on the grid of a format, `encode` gives their codes, `decode` the values of
codes, `pack` and `unpack` make codes dense. Formats are data: `format("float8_e4m3fn")`,
`Format(exponent_bits=4, ...)`, `formats()`, `finfo(...)`. `lowp.spec` is the definition.

`array` makes arrays that stay in a format, `linalg` computes with every operation rounded,
`matrices` has matrices to try it on.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowp import spec, transforms
from lowp._arguments import suggest_arguments
from lowp._arrays import pack, unpack
from lowp._blocks import BlockTensor, blocks_of
from lowp._core import (
    COMPATS,
    GENERATORS,
    ROUNDINGS,
    SATURATIONS,
    SCALE_RULES,
    Accumulator,
    BlockFormat,
    DelayedScaling,
    Format,
    __version__,
    accumulator,
    accumulators,
    add,
    block_format,
    block_format_sources,
    block_formats,
    decode,
    div,
    encode,
    fma,
    format,
    format_sources,
    formats,
    get_threads,
    is_block_format,
    isa,
    isas,
    maximum,
    maximum_number,
    minimum,
    minimum_number,
    mul,
    quantize,
    random_bits,
    remainder,
    set_threads,
    sqrt,
    sub,
)
from lowp._finfo import finfo
from lowp._format_array import FormatArray, array
from lowp._hadamard import hadamard, swizzle_scales, unswizzle_scales
from lowp._products import dot, matmul
from lowp.elementary import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    cbrt,
    cos,
    cosh,
    erf,
    erfc,
    exp,
    exp2,
    exp10,
    expm1,
    gelu,
    hypot,
    log,
    log1p,
    log2,
    log10,
    pow,
    reciprocal,
    rsqrt,
    sigmoid,
    silu,
    sin,
    sinh,
    softplus,
    tan,
    tanh,
)
from lowp.measures import Error, Errors, Meter, code_histogram, error
from lowp.quality import capacity, gmse, optimal_scale

if TYPE_CHECKING:
    from lowp import files, linalg, matrices

__all__ = [
    "COMPATS",
    "GENERATORS",
    "ROUNDINGS",
    "SATURATIONS",
    "SCALE_RULES",
    "Accumulator",
    "BlockFormat",
    "BlockTensor",
    "DelayedScaling",
    "Error",
    "Errors",
    "Format",
    "FormatArray",
    "Meter",
    "__version__",
    "accumulator",
    "accumulators",
    "acos",
    "acosh",
    "add",
    "array",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "block_format",
    "block_format_sources",
    "block_formats",
    "blocks_of",
    "capacity",
    "cbrt",
    "code_histogram",
    "cos",
    "cosh",
    "decode",
    "div",
    "dot",
    "encode",
    "erf",
    "erfc",
    "error",
    "exp",
    "exp2",
    "exp10",
    "expm1",
    "files",
    "finfo",
    "fma",
    "format",
    "format_sources",
    "formats",
    "gelu",
    "get_include",
    "get_threads",
    "gmse",
    "hadamard",
    "hypot",
    "is_block_format",
    "isa",
    "isas",
    "linalg",
    "log",
    "log1p",
    "log2",
    "log10",
    "matmul",
    "matrices",
    "maximum",
    "maximum_number",
    "minimum",
    "minimum_number",
    "mul",
    "optimal_scale",
    "pack",
    "pow",
    "quantize",
    "random_bits",
    "reciprocal",
    "remainder",
    "rsqrt",
    "set_threads",
    "sigmoid",
    "silu",
    "sin",
    "sinh",
    "softplus",
    "spec",
    "sqrt",
    "sub",
    "swizzle_scales",
    "tan",
    "tanh",
    "transforms",
    "unpack",
    "unswizzle_scales",
]


#: Modules that most programs do not need: imported when they are first used.
_LAZY = ("files", "jax", "laws", "linalg", "matrices", "plot", "study", "torch")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return import_module(f"lowp.{name}")
    raise AttributeError(f"module 'lowp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def get_include() -> str:
    """The folder with the C++ headers: compile with -I and include <lowp/lowp.hpp>."""
    return str(Path(__file__).resolve().parent / "include")


suggest_arguments(__name__)
