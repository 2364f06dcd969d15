"""Number formats of any exponent and mantissa, every rounding, exact to the bit.

    >>> import lowp, numpy as np
    >>> lowp.quantize(np.float32([0.3, 1.0, 500.0]), "float8_e4m3fn")
    array([0.3125, 1.    ,    nan], dtype=float32)

`quantize` puts numbers on the grid of a format, `encode` gives their codes, `decode` the values of
codes, `pack` and `unpack` make codes dense. Formats are data: `format("float8_e4m3fn")`,
`Format(exponent_bits=4, ...)`, `formats()`, `finfo(...)`. `lowp.spec` is the definition.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowp import spec, transforms
from lowp._arrays import pack, unpack
from lowp._blocks import BlockTensor, blocks_of
from lowp._core import (
    COMPATS,
    GENERATORS,
    ROUNDINGS,
    SATURATIONS,
    SCALE_RULES,
    BlockFormat,
    DelayedScaling,
    Format,
    __version__,
    block_format,
    block_format_sources,
    block_formats,
    decode,
    encode,
    format,
    format_sources,
    formats,
    get_threads,
    is_block_format,
    isa,
    isas,
    quantize,
    random_bits,
    set_threads,
)
from lowp._finfo import finfo
from lowp._hadamard import hadamard, swizzle_scales, unswizzle_scales
from lowp.measures import Error, Errors, Meter, code_histogram, error
from lowp.quality import capacity, gmse, optimal_scale

if TYPE_CHECKING:
    from lowp import files

__all__ = [
    "COMPATS",
    "GENERATORS",
    "ROUNDINGS",
    "SATURATIONS",
    "SCALE_RULES",
    "BlockFormat",
    "BlockTensor",
    "DelayedScaling",
    "Error",
    "Errors",
    "Format",
    "Meter",
    "__version__",
    "block_format",
    "block_format_sources",
    "block_formats",
    "blocks_of",
    "capacity",
    "code_histogram",
    "decode",
    "encode",
    "error",
    "files",
    "finfo",
    "format",
    "format_sources",
    "formats",
    "get_include",
    "get_threads",
    "gmse",
    "hadamard",
    "is_block_format",
    "isa",
    "isas",
    "optimal_scale",
    "pack",
    "quantize",
    "random_bits",
    "set_threads",
    "spec",
    "swizzle_scales",
    "transforms",
    "unpack",
    "unswizzle_scales",
]


def __getattr__(name: str) -> Any:
    """lowp.files and lowp.plot when they are first used: most programs need neither."""
    if name in ("files", "plot"):
        return import_module(f"lowp.{name}")
    raise AttributeError(f"module 'lowp' has no attribute {name!r}")


def get_include() -> str:
    """The folder with the C++ headers: compile with -I and include <lowp/lowp.hpp>."""
    return str(Path(__file__).resolve().parent / "include")
