"""Codes of a scalar format with what reads them: `lowp.files.CodeTensor`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lowp

from ._arrays import code_dtype
from ._files_layout import Codes
from ._readers_core import KINDS
from .measures import fits_float32

Array = NDArray[Any]


class CodeTensor:
    """Codes of a scalar format: format, codes (unsigned integers in the tensor's shape), and
    dtype, the type of the numbers before, in the words of `lowp.readers`. bfloat16 and 8-bit floats
    of a file are such tensors, too, since NumPy has no type for them.
    """

    __slots__ = ("codes", "dtype", "format")

    def __init__(self, format: str | lowp.Format, codes: ArrayLike, dtype: str = "float32") -> None:
        """See the class. TypeError: codes that are no unsigned integers of the format's size;
        ValueError: an unknown dtype.
        """
        self.format = lowp.format(format)
        self.codes: Array = np.asarray(codes)
        wanted = code_dtype(self.format.bits)
        if self.codes.dtype != wanted:
            raise TypeError(f"codes of {self.format} must be {wanted}; got {self.codes.dtype}")
        if dtype not in KINDS or not KINDS[dtype].is_float:
            raise ValueError(f"dtype must be one that lowp.readers knows; got {dtype!r}")
        self.dtype = dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the codes."""
        return self.codes.shape

    def layout(self) -> Codes:
        """How the codes lie in a file."""
        return Codes(self.format, self.shape, self.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes in a file."""
        return sum(part.nbytes for part in self.layout().parts("").values())

    def decode(self, dtype: Any = None) -> Array:
        """The values, in `dtype` or the smallest of float32 and float64 that holds them."""
        if dtype is None:
            dtype = np.float32 if fits_float32(self.format) else np.float64
        values = lowp.decode(np.ascontiguousarray(self.codes).reshape(-1), self.format, dtype=dtype)
        return values.reshape(self.shape)

    def __repr__(self) -> str:
        """Shape and format."""
        return f"<lowp.files.CodeTensor {self.shape} in {self.format}>"
