"""lowp.error and lowp.code_histogram of arrays on a GPU: the sums are made there, in the order in
which NumPy adds, so that results have the CPU's bits; a hundred bytes for every 65536 elements come
back.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lowp

from . import _device, _device_blocks, _device_calls, _targets
from ._arrays import code_dtype
from ._block_tensor import grid
from ._device_libraries import Library, adopt, check_place, is_device, library_of
from ._sums import Sums, nothing

__all__ = ["amax", "measure_format", "measure_values"]

Counts = NDArray[np.int64]

#: lowp::cuda::error_sums, field by field.
_SUMS = np.dtype(
    [(name, "<f8") for name in ("signal", "noise", "product", "result")]
    + [(name, "<f8") for name in ("max_absolute", "max_relative", "max_ulp")]
    + [(name, "<i4") for name in ("x_exponent", "q_exponent", "error_exponent")]
    + [(name, "<u4") for name in ("count", "nans", "infinities", "nonzero", "flushed")]
    + [(name, "<u4") for name in ("overflowed", "clipped", "subnormal")],
    align=True,
)


def amax(x: Any, block: tuple[int, int] = (0, 0), axis: int = -1) -> Any:
    """The largest magnitude of each block of x, (0, 0) all of it, in x's dtype and one dimension,
    on the device; NaN where there is one, else infinity where there is one. 0 of nothing.
    """
    library = library_of(x)
    if library is None:
        return _device_calls.foreign(amax, x, block, axis)
    dtype, shape = library.dtype(x), list(x.shape)
    _device_calls.check_floats(dtype)
    if not math.prod(shape):
        nothing_there = library.empty(x, (int(block == (0, 0)),), dtype)
        nothing_there[...] = 0
        return nothing_there
    rows, columns = block
    count = 1
    if block != (0, 0):
        size = columns or (shape[axis] if rows else math.prod(shape))
        named = lowp.BlockFormat(shape=(rows, size) if rows > 1 else size)
        count = math.prod(grid(named, tuple(shape), axis))
    out = library.empty(x, (count,), dtype)
    kernels = _device_calls.module()
    with library.device(x):
        plain = library.contiguous(x)
        size = kernels.amax_workspace(dtype, block, shape, axis)
        work, place = _device_calls.work_of(library, x, size)
        queue = library.stream(x)
        kernels.amax(
            library.pointer(plain), dtype, block, shape, axis, library.pointer(out), place, queue
        )
        del work
    return out


def _exact(values: NDArray[np.float64], exponents: NDArray[np.int32]) -> Fraction:
    """The sum of values times powers of two, exactly."""
    mantissas, powers = np.frexp(values)
    integers = (mantissas * 2.0**53).astype(np.int64)
    powers = powers.astype(np.int64) - 53 + exponents
    some = integers != 0
    if not some.any():
        return Fraction(0)
    integers, powers = integers[some], powers[some]
    lowest = int(powers.min())
    total = sum(m << p for m, p in zip(integers.tolist(), (powers - lowest).tolist(), strict=True))
    return Fraction(total) * Fraction(2) ** lowest


def _sums(parts: NDArray[Any], target: lowp.Format | None, codes: Counts | None) -> Sums:
    a, b, e = (parts[name] for name in ("x_exponent", "q_exponent", "error_exponent"))
    known = target is not None
    count = {
        name: int(parts[name].sum(dtype=np.int64))
        for name in ("count", "nans", "infinities", "nonzero", "flushed", "overflowed")
    }
    return Sums(
        signal=_exact(parts["signal"], 2 * a),
        noise=_exact(parts["noise"], 2 * e),
        product=_exact(parts["product"], a + b),
        result=_exact(parts["result"], 2 * b),
        max_relative_error=float(parts["max_relative"].max(initial=0.0)),
        max_absolute_error=float(parts["max_absolute"].max(initial=0.0)),
        max_ulp=float(parts["max_ulp"].max(initial=0.0)) if known else None,
        clipped=int(parts["clipped"].sum(dtype=np.int64)) if known else None,
        subnormal=int(parts["subnormal"].sum(dtype=np.int64)) if known else None,
        codes=codes,
        **count,
    )


def _flat(library: Library, x: Any, dtype: str) -> Any:
    return library.contiguous(library.convert(x, dtype)).reshape(-1)


def _count_codes(library: Library, x: Any, codes: Any, bits: int, size: int) -> Counts:
    """How many finite x have each code; codes: plain uint8 or uint16."""
    dtype = library.dtype(codes)
    counts = library.empty(x, (1 << bits,), "int64")
    kernels = _device_calls.module()
    with library.device(x):
        kernels.count_codes(
            library.pointer(codes),
            np.dtype(dtype).itemsize,
            math.prod(codes.shape),
            bits,
            library.pointer(counts),
            library.pointer(x),
            library.dtype(x),
            library.stream(x),
        )
    histogram: Counts = library.host(counts)[:size].copy()
    return histogram


def _measure(library: Library, x: Any, q: Any, target: lowp.Format | None) -> Sums:
    """Sums of plain arrays of one dtype."""
    size = None if target is None else _targets.code_count(target)
    n = math.prod(x.shape)
    if n == 0:
        return nothing(target is not None, target)
    kernels = _device_calls.module()
    parts = library.empty(x, (-(-n // kernels.ERROR_RUN) * kernels.ERROR_SUMS_BYTES,), "uint8")
    with library.device(x):
        kernels.measure(
            library.pointer(x),
            library.pointer(q),
            library.dtype(x),
            n,
            library.pointer(parts),
            None if target is None else target.name,
            library.stream(x),
        )
        codes = None
        if target is not None and size is not None:
            # NaN is no finite value's: which code it gets is of no matter.
            nan = None if target.has_nan else 0
            made = _device.encode(q, target, nan=nan)
            codes = _count_codes(library, x, made, target.bits, size)
        host = library.host(parts).view(_SUMS)
    return _sums(host, target, codes)


def _own(x: Any) -> tuple[Any, Library]:
    own = x if library_of(x) is not None else adopt(x)[0]
    library = library_of(own)
    assert library is not None
    _device_calls.check_floats(library.dtype(own))
    return own, library


def measure_values(x: Any, q: Any) -> Sums:
    """Sums of given values q against x; both on one device."""
    if not is_device(q):
        raise TypeError("x is on a GPU and its quantized values are not: bring both to one place")
    x, library = _own(x)
    q, _ = _own(q)
    check_place(library, x, q, "the quantized array")
    if tuple(x.shape) != tuple(q.shape):
        raise ValueError(
            f"lowp.error: x has shape {tuple(x.shape)}, the quantized values {tuple(q.shape)}"
        )
    dtypes = {library.dtype(x), library.dtype(q)}
    dtype = dtypes.pop() if len(dtypes) == 1 else "float64" if "float64" in dtypes else "float32"
    return _measure(library, _flat(library, x, dtype), _flat(library, q, dtype), None)


def _carried(library: Library, x: Any, target: _targets.Target) -> Any:
    """x as it is quantized, as lowp.error has it on the CPU."""
    wide = library.dtype(x) == "float64"
    if isinstance(target, lowp.Format):
        wide = wide or not lowp.measures.fits_float32(target)
    return library.contiguous(library.convert(x, "float64" if wide else "float32"))


def measure_format(x: Any, target: _targets.Target, options: _targets.Options, axis: int) -> Sums:
    """Sums of x against itself in a format or block format."""
    x, library = _own(x)
    values = _carried(library, x, target)
    quantized = _device.quantize(values, target, axis=axis, **vars(options))
    if isinstance(target, lowp.Format):
        return _measure(library, values.reshape(-1), quantized.reshape(-1), target)
    sums = _measure(library, values.reshape(-1), quantized.reshape(-1), None)
    counts = _block_counts(library, values, target, options, axis)
    return replace(sums, clipped=counts.clipped, subnormal=counts.subnormal, codes=counts.codes)


def _block_counts(
    library: Library, x: Any, target: lowp.BlockFormat, options: _targets.Options, axis: int
) -> Sums:
    """What only the codes of a block format tell: see measures.block_counts."""
    functions: Any = import_module("torch" if type(x).__module__.startswith("torch") else "cupy")
    size = _targets.code_count(target)
    element = target.element
    encoded_x = x
    if not (target.scale.has_nan or (isinstance(element, lowp.Format) and element.has_nan)):
        is_number = target.fields["infinity"] == "number"
        lost = functions.isnan(x) if is_number else ~functions.isfinite(x)
        encoded_x = functions.where(lost, functions.zeros_like(x), x)
    tensor = _device_blocks.encode(
        encoded_x, target, axis=axis, nan=0, packed=False, **vars(options)
    )
    codes = tensor.element_codes()
    finite = functions.isfinite(x)
    lowest, largest = _device_blocks.limits(tensor)
    clipped = int((((x < lowest) | (x > largest)) & finite).sum())
    histogram = None
    if size is not None:
        bits = max(1, (size - 1).bit_length())
        histogram = _count_codes(library, x, library.contiguous(codes), bits, size)
    subnormal = None
    if isinstance(element, lowp.Format):
        subnormal = _count_subnormal(codes, finite, element, histogram)
    return Sums(clipped=clipped, subnormal=subnormal, codes=histogram)


def _count_subnormal(
    codes: Any, finite: Any, element: lowp.Format, histogram: Counts | None
) -> int:
    """Elements between zero and the smallest normal number, of finite inputs."""
    if histogram is not None:
        every = np.arange(len(histogram)).astype(code_dtype(element.bits))
        magnitudes = np.abs(lowp.decode(every, element, dtype=np.float64))
        return int(histogram[(magnitudes > 0) & (magnitudes < element.min_normal)].sum())
    magnitudes = abs(_device.decode(codes, element, dtype="float64"))
    small = (magnitudes > 0) & (magnitudes < element.min_normal)
    return int((small & finite).sum())
