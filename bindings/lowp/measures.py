"""How far quantized values are from the real ones: `lowp.error` and what it is made of.

`error` measures a tensor, its rows or its blocks; `Meter` takes a tensor in chunks, and gives the
same bits for the same values however they were cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lowp

from . import _device, _targets
from ._groups import Errors, measure_groups
from ._sums import BLOCK, Error, Sums, measure, no_codes, nothing
from ._targets import Target

__all__ = [
    "BLOCK",
    "Error",
    "Errors",
    "Meter",
    "Sums",
    "block_counts",
    "carried",
    "code_histogram",
    "error",
    "fits_float32",
    "measure",
    "measure_blocks",
    "percent",
]

#: Elements that are quantized at a time: memory stays bounded for arrays that lie in a file.
_PIECE = 16 * BLOCK

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


@overload
def error(
    x: ArrayLike | Iterator[ArrayLike],
    q_or_format: Any,
    *,
    rounding: str | None = ...,
    saturation: str | None = ...,
    random_bits: int | None = ...,
    seed: int = ...,
    stream: int = ...,
    axis: int = ...,
    per: Literal["tensor"] = "tensor",
    block: None = None,
) -> Error: ...
@overload
def error(
    x: ArrayLike,
    q_or_format: Any,
    *,
    rounding: str | None = ...,
    saturation: str | None = ...,
    random_bits: int | None = ...,
    seed: int = ...,
    stream: int = ...,
    axis: int = ...,
    per: Literal["row", "block"],
    block: int | str | tuple[int, int] | None = None,
) -> Errors: ...
def error(
    x: ArrayLike | Iterator[ArrayLike],
    q_or_format: Any,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    axis: int = -1,
    per: str = "tensor",
    block: int | str | tuple[int, int] | None = None,
) -> Error | Errors:
    """Measures of quantizing `x` to a format, or of quantized values against `x`.

    x: floats of any shape (lists become float64; a memory-mapped array is read piece by piece; an
    array of a GPU is measured there, per="tensor"), or an iterator of chunks of one tensor.
    q_or_format: a format or block format or its name (`x` is quantized with the given options,
    those of `lowp.quantize`; blocks run along `axis`) or an array of x's shape (options are
    ignored). An iterator needs a format; block formats scale each chunk
    by itself.

    per="tensor": one `Error`. per="row": `Errors` of every slice along `axis`, in the shape of x
    without it. per="block": `Errors` of every run of `block` elements along `axis`, which the
    number of runs replaces in the shape, or of every tile `block=(r, c)`, c along `axis` and r
    along the last of the other axes; the last may be shorter. block="row", "column" or "tensor" are
    the blocks of a block format of that shape, None those of the block format itself, and `Errors`
    have the shape of its scales.

    Without a saturation a scalar format overflows as `lowp.quantize` does, to infinity or NaN: one
    value beyond its largest makes sqnr_db -infinity and gain NaN, and `clipped` says how many
    there are. saturation="finite" is what quantizers of models do, and the default of `lowp error`.

    See `Error` for NaN, infinity, overflow and empty input. TypeError: x holds no floats, or is an
    iterator where an array is needed. ValueError: shapes differ, unknown format, rounding,
    saturation or `per`, a block where none is used or none where one is needed.
    """
    options = _targets.Options(rounding, saturation, random_bits, seed, stream)
    target = _target(q_or_format)
    if per == "tensor":
        if block is not None:
            raise ValueError(f"block={block!r} needs per='block'; got per='tensor'")
        return _tensor_error(x, q_or_format, target, options, axis)
    if isinstance(x, Iterator):
        raise TypeError(f"per={per!r} needs an array; got an iterator of chunks: join them first")
    groups = _groups_of(per, block, target)
    if _device.is_device(x):
        raise TypeError(
            f"per={per!r} is measured on the CPU: pass x.cpu().numpy() or cupy.asnumpy(x); "
            "per='tensor' is measured on the GPU"
        )
    values = _floats(x)
    marks: tuple[Bools | None, Bools | None] = (None, None)
    if target is None:
        quantized = _floats(q_or_format)
    else:
        values = _carried_to(values, target)
        quantized = options.quantize(values, target, axis)
    if isinstance(target, lowp.BlockFormat):
        found = options.block_codes(values, target, axis)
        marks = found.clipped, found.subnormal
    scalar = target if isinstance(target, lowp.Format) else None
    return measure_groups(values, quantized, groups, axis, scalar, marks)


class Meter:
    """Measures a tensor that comes in chunks, such as a stream or a file that exceeds memory.

    format: a format or block format or its name; None where `update` is given quantized values. The
    other arguments are those of `lowp.error`. The elements of all chunks are one tensor in C order:
    the result does not depend on where it was cut, stochastic rounding included. A block format
    scales each chunk by itself, so that chunks must not cut a block.

        >>> meter = lowp.measures.Meter("float8_e4m3fn")
        >>> for chunk in chunks:
        ...     meter.update(chunk)
        >>> meter.error()
    """

    def __init__(
        self,
        format: Any = None,
        *,
        rounding: str | None = None,
        saturation: str | None = None,
        random_bits: int | None = None,
        seed: int = 0,
        stream: int = 0,
        axis: int = -1,
    ) -> None:
        self._options = _targets.Options(rounding, saturation, random_bits, seed, stream)
        self._target = None if format is None else _targets.resolve(format)
        self._axis = axis
        self._scalar = self._target if isinstance(self._target, lowp.Format) else None
        self._sums = nothing(self._scalar is not None, self._scalar)
        # What only a block format's codes tell: clipped, subnormal and the histogram.
        self._blocks = Sums()
        if isinstance(self._target, lowp.BlockFormat):
            self._blocks = _no_counts(self._target)
        self._seen = 0
        # What is left of the last chunk, less than a block: x and q.
        self._rest: tuple[Floats, Floats] = (np.zeros(0, np.float32), np.zeros(0, np.float32))

    def update(self, x: ArrayLike, q: ArrayLike | None = None) -> None:
        """Add a chunk: floats of any shape, and its quantized values where the meter has no format.

        TypeError: x holds no floats, or q is missing or not wanted. ValueError: the shapes differ.
        """
        values = _floats(x)
        if (q is None) == (self._target is None):
            wants = "no format, so needs" if q is None else "a format, so takes no"
            raise TypeError(f"this Meter has {wants} quantized values: update(x, q)")
        if q is not None:
            quantized = _floats(q)
            if values.shape != quantized.shape:
                raise ValueError(
                    f"x has shape {values.shape}, its quantized values {quantized.shape}"
                )
            self._add(values.reshape(-1), quantized.reshape(-1))
        elif isinstance(self._target, lowp.BlockFormat):
            self._add_blocks(_carried_to(values, self._target), self._target)
        else:
            assert self._scalar is not None
            for piece in _pieces(values):
                carrier = carried(piece, self._scalar)
                first = self._seen + self._rest[0].size
                self._add(carrier, self._options.quantize(carrier, self._scalar, -1, first))

    def sums(self) -> Sums:
        """Exact sums of all chunks so far; those of several tensors can be added."""
        last = measure(*self._rest, target=self._scalar)
        total = self._sums + last if self._rest[0].size else self._sums
        if not isinstance(self._target, lowp.BlockFormat):
            return total
        return _with_counts(total, self._blocks)

    def error(self) -> Error:
        """The measures of all chunks so far."""
        return self.sums().error()

    def _add_blocks(self, values: Floats, target: lowp.BlockFormat) -> None:
        quantized = self._options.quantize(values, target, self._axis)
        self._blocks += block_counts(values, target, self._options, self._axis)
        self._add(values.reshape(-1), quantized.reshape(-1))

    def _add(self, x: Floats, q: Floats) -> None:
        """Measure what is whole blocks of all that came so far and keep the rest."""
        if self._rest[0].size:
            x, q = np.concatenate([self._rest[0], x]), np.concatenate([self._rest[1], q])
        whole = x.size - x.size % BLOCK
        if whole:
            self._sums += measure(x[:whole], q[:whole], target=self._scalar)
            self._seen += whole
        self._rest = (x[whole:].copy(), q[whole:].copy())


def code_histogram(
    x: ArrayLike | Iterator[ArrayLike],
    format: Any,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    axis: int = -1,
) -> NDArray[np.int64]:
    """How many finite elements of `x` get each code: int64 of length 2**bits, all zero where empty.

    The arguments are those of `lowp.error`. NaN and infinite inputs are left out; a finite one that
    becomes NaN or infinite counts under that code. For block formats, codes of the elements.
    ValueError: a format of more than 16 bits. TypeError: x holds no floats.
    """
    target = _targets.resolve(format)
    if _targets.code_count(target) is None:
        raise ValueError(
            f"a histogram of codes takes formats of at most {_targets.MAX_CODE_BITS} bits; got "
            f"{target}: lowp.plot.distribution shows magnitudes of any format"
        )
    options = _targets.Options(rounding, saturation, random_bits, seed, stream)
    counts = _tensor_error(x, target, target, options, axis).histogram
    return no_codes() if counts is None else counts


def carried(x: Floats, target: lowp.Format) -> Floats:
    """`x` in the smallest of float32 and float64 that holds it and every value of the format."""
    if x.dtype == np.float64 or not fits_float32(target):
        return x.astype(np.float64, copy=False)
    return x.astype(np.float32, copy=False)


def fits_float32(target: lowp.Format) -> bool:
    """Whether float32 holds every value of the format."""
    return target.precision <= 24 and target.emax <= 127 and target.min_subnormal >= 2.0**-149


def percent(share: float) -> str:
    """A share of 1 as percent with three digits; only none reads as 0 %, and only all as 100 %."""
    if np.isnan(share):
        return "unknown"
    if 0 < share < 1e-5:
        return "< 0.001 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.3g} %"


def _target(q_or_format: Any) -> Target | None:
    """The format or block format, or None where quantized values are given."""
    if isinstance(q_or_format, str | lowp.Format | lowp.BlockFormat):
        return _targets.resolve(q_or_format)
    return None


def block_counts(x: Floats, target: lowp.BlockFormat, options: _targets.Options, axis: int) -> Sums:
    """What only the codes of a block format tell of x: how many are clipped or subnormal, and the
    histogram; NaN and infinities are left out.
    """
    size = _targets.code_count(target)
    found = options.block_codes(x, target, axis)
    finite = np.isfinite(x)
    subnormal = None if found.subnormal is None else int((found.subnormal & finite).sum())
    codes = None if size is None else np.bincount(found.codes[finite], minlength=size)
    return Sums(
        clipped=int((found.clipped & finite).sum()),
        subnormal=subnormal,
        codes=None if codes is None else codes.astype(np.int64, copy=False),
    )


def _no_counts(target: lowp.BlockFormat) -> Sums:
    size = _targets.code_count(target)
    return Sums(
        subnormal=0 if isinstance(target.element, lowp.Format) else None,
        codes=None if size is None else np.zeros(size, np.int64),
    )


def measure_blocks(
    x: Floats, target: lowp.BlockFormat, options: _targets.Options, axis: int = -1
) -> Sums:
    """Sums of a tensor, float32 or float64, in a block format."""
    counts = block_counts(x, target, options, axis)
    return _with_counts(measure(x, options.quantize(x, target, axis)), counts)


def _with_counts(sums: Sums, counts: Sums) -> Sums:
    return replace(sums, clipped=counts.clipped, subnormal=counts.subnormal, codes=counts.codes)


def _tensor_error(
    x: ArrayLike | Iterator[ArrayLike],
    q: Any,
    target: Target | None,
    options: _targets.Options,
    axis: int,
) -> Error:
    if _device.is_device(x):
        return _device_error(x, q, target, options, axis)
    if target is None:
        if isinstance(x, Iterator):
            raise TypeError(
                "an iterator of chunks needs a format; got quantized values: give each chunk and "
                "its values to Meter.update(x, q)"
            )
        return measure(_floats(x), _floats(q)).error()
    meter = Meter(target, **vars(options), axis=axis)
    chunks: Iterable[ArrayLike] = x if isinstance(x, Iterator) else [x]
    for chunk in chunks:
        meter.update(chunk)
    return meter.error()


def _device_error(
    x: Any, q: Any, target: Target | None, options: _targets.Options, axis: int
) -> Error:
    from . import _device_measures  # which needs this module

    if target is None:
        return _device_measures.measure_values(x, q).error()
    return _device_measures.measure_format(x, target, options, axis).error()


def _floats(x: ArrayLike) -> Floats:
    if _device.is_device(x):
        raise TypeError(
            "an array of a GPU is measured as a whole: lowp.error(x, format); in chunks, pass "
            "x.cpu().numpy() or cupy.asnumpy(x)"
        )
    values = np.asarray(x)
    known = values.dtype in (np.float64, np.float32, np.float16)
    if not known and values.dtype.name != "bfloat16":
        raise TypeError(
            f"lowp.error takes float64, float32, float16 or bfloat16; got {values.dtype}"
        )
    return values


def _carried_to(x: Floats, target: Target) -> Floats:
    """x as it is quantized; block formats take float32 and float64."""
    if isinstance(target, lowp.Format):
        return carried(x, target)
    return x.astype(np.float64 if x.dtype == np.float64 else np.float32, copy=False)


def _pieces(x: Floats) -> Iterator[Floats]:
    """The elements of x in C order, a bounded number at a time and without copying all of x."""
    flat = x.reshape(-1) if x.flags.c_contiguous else x.flat
    for start in range(0, x.size, _PIECE):
        yield flat[start : start + _PIECE]


def _groups_of(per: str, block: Any, target: Target | None) -> tuple[int, int] | Any:
    """Rows and columns of a block, or a block format whose blocks they are; None: a whole row."""
    if per not in ("row", "block"):
        raise ValueError(f"per must be 'tensor', 'row' or 'block'; got {per!r}")
    if per == "row":
        if block is not None:
            raise ValueError(f"block={block!r} needs per='block'; got per='row'")
        return None
    if block is None:
        if not isinstance(target, lowp.BlockFormat):
            raise ValueError("per='block' needs block=, elements or (rows, columns); got None")
        return target
    if isinstance(block, str):
        return lowp.BlockFormat(shape=block)
    sizes = (1, block) if isinstance(block, int) else tuple(block)
    if len(sizes) == 1:
        sizes = (1, *sizes)
    if len(sizes) != 2 or min(sizes) < 1:
        raise ValueError(f"block must be a positive size or (rows, columns); got {block!r}")
    return int(sizes[0]), int(sizes[1])
