"""Matrix and dot products under a model of their accumulator."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowp import _arithmetic, _arrays, _core, _device
from lowp._arguments import suggest_arguments

__all__ = ["dot", "matmul"]

Array = NDArray[Any]


def _operand(x: Any, what: str) -> Array:
    """x as a float32 or float64 array; 16-bit floats are widened, which is exact."""
    array = _arrays.as_array(x, what)
    if _arrays._half_format(array.dtype) is not None:
        return np.asarray(array, np.float32)
    if array.dtype.newbyteorder("=") not in (np.float32, np.float64):
        raise TypeError(
            f"{what} must be float32, float64, float16 or bfloat16; got {array.dtype}: "
            "convert it with .astype"
        )
    array = np.asarray(array, array.dtype.newbyteorder("="))
    in_steps = all(stride % array.itemsize == 0 for stride in array.strides)
    return array if array.flags.aligned and in_steps else array.copy()


def _same_dtype(a: Array, b: Array) -> np.dtype[Any]:
    if a.dtype != b.dtype:
        raise TypeError(
            f"a and b must have one dtype; got {a.dtype} and {b.dtype}: convert one with .astype"
        )
    return a.dtype


class _Scaled:
    """Lines of a factor in a block format along k: element values, scales, the outer scale."""

    def __init__(self, lines: Array, block: _core.BlockFormat, what: str, scaled: bool) -> None:
        self.outer = 1.0
        if not scaled:  # a unit that knows no scales multiplies the values
            self.values = np.asarray(_core.quantize(lines, block, axis=-1))
            return
        if not isinstance(block.shape, int) or not isinstance(block.element, _core.Format):
            raise ValueError(
                f"{what}: this unit takes blocks of 1 by n along k of a float format; got {block}"
            )
        tensor = _core.encode(np.ascontiguousarray(lines), block, axis=-1, packed=False)
        codes = tensor.codes.reshape(lines.shape)
        self.values = _core.decode(codes, block.element, dtype=lines.dtype)
        self.scales = _core.decode(tensor.scales, block.scale, dtype=np.float64)
        self.element, self.scale_emin, self.block = block.element, block.scale.emin, block.shape
        if tensor.outer_scale.size > 1:
            raise ValueError(
                f"{what}: this unit takes one outer scale a tensor; {block} has one a row"
            )
        if tensor.outer_scale.size:
            self.outer = float(tensor.outer_scale[0])


@cache
def _is_scaled(how: _core.Accumulator) -> bool:
    """Whether the unit multiplies block-scaled factors itself."""
    return how.fields["factors"] == "block_scaled"


@cache
def _unit_formats(name: str) -> tuple[str, ...]:
    """Formats that a unit of accumulators() multiplies; none for others and block-scaled ones."""
    units = _core.accumulators().values()
    found = [f for unit, formats, _ in units if unit.name == name for f in formats.split()]
    return tuple(dict.fromkeys(f for f in found if not _core.is_block_format(f)))


def _factor_format(x: Array, given: Any, how: _core.Accumulator, what: str) -> Any:
    """The format of a factor of a unit: the one given, else the first of the unit's that holds it.

    ValueError where the unit multiplies no such numbers.
    """
    formats = _unit_formats(how.name)
    if not formats or (given is not None and _blocks(given) is not None):
        return given
    if given is not None and str(_core.format(given)) in formats:
        return given
    y = x if given is None else np.asarray(_core.quantize(x, given))
    for f in formats:
        if np.array_equal(np.asarray(_core.quantize(y, f)), y, equal_nan=True):
            return f if given is None else given
    raise ValueError(
        f"{how} multiplies {' or '.join(formats)}; {what} has other numbers: give {what}_format, "
        "or round it first"
    )


def _blocks(f: Any) -> _core.BlockFormat | None:
    return _core.block_format(f) if f is not None and _core.is_block_format(f) else None


def _formats(a_format: Any, b_format: Any, how: _core.Accumulator) -> None:
    if (_blocks(a_format) is None) != (_blocks(b_format) is None) and _is_scaled(how):
        raise ValueError(
            f"{how}: both factors must have block formats, or neither; got a_format={a_format} "
            f"and b_format={b_format}"
        )


def _matrices(x: Array, y: Array) -> tuple[Array, Array, tuple[int, ...]]:
    """Both with two axes and the same leading ones, which are returned."""
    shapes = f"a {x.shape} and b {y.shape}"
    if x.ndim == 0 or y.ndim == 0:
        raise ValueError("a and b must have an axis; multiply numbers with lowp.mul")
    x = x[np.newaxis] if x.ndim == 1 else x
    y = y[:, np.newaxis] if y.ndim == 1 else y
    if x.shape[-1] != y.shape[-2]:
        raise ValueError(f"{shapes} must agree in k; got {x.shape[-1]} and {y.shape[-2]}")
    try:
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError as error:
        raise ValueError(f"leading axes of {shapes} must broadcast") from error
    return (
        np.broadcast_to(x, (*batch, *x.shape[-2:])),
        np.broadcast_to(y, (*batch, *y.shape[-2:])),
        batch,
    )


def _check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if out is None:
        return
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype:
        got = f"{getattr(out, 'shape', type(out).__name__)} {getattr(out, 'dtype', '')}"
        raise ValueError(f"out must be an array of shape {shape} and {dtype}; got {got}")


def _addend(
    c: Any, seen: tuple[int, ...], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array | None:
    """c in the shape of all products."""
    if c is None:
        return None
    is_number = isinstance(c, int | float) and not isinstance(c, np.generic)
    addend = _arithmetic._as_float(c, dtype, "c") if is_number else _operand(c, "c")
    if addend.dtype != dtype:
        raise TypeError(f"c must be {dtype} as a and b are; got {addend.dtype}")
    try:
        return np.broadcast_to(addend, seen).reshape(shape)
    except ValueError as error:
        raise ValueError(f"c must broadcast to {seen}; got {np.shape(c)}") from error


def _product(
    a: Array, b: Array, c: Array | None, out: Array, how: _core.Accumulator, k: dict[str, Any]
) -> None:
    """One product of matrices into out."""
    formats = [k["a_format"], k["b_format"]]
    scales: tuple[Any, ...] = ()
    lines = [a, b.T]
    alpha = 1.0
    blocks = [_blocks(f) for f in formats]
    if blocks[0] is not None or blocks[1] is not None:
        scaled = _is_scaled(how)
        done: list[_Scaled] = []
        for i, (block, what) in enumerate(zip(blocks, ("a_format", "b_format"), strict=True)):
            if block is None:
                continue
            done.append(_Scaled(lines[i], block, what, scaled))
            lines[i] = done[-1].values
            formats[i] = done[-1].element if scaled else None
        if scaled:
            first, second = done
            if first.block != second.block or first.scale_emin != second.scale_emin:
                raise ValueError(
                    "a_format and b_format must have one block length and scale format; got "
                    f"{blocks[0]} and {blocks[1]}"
                )
            scales = (first.scales, second.scales, first.block, first.scale_emin)
            alpha = first.outer * second.outer
    if alpha != 1 and c is not None:
        raise ValueError("c cannot be given where outer scales multiply the result; add it after")
    _core._matmul_2d(
        lines[0], lines[1].T, c, out, how, *formats, scales, alpha, *k["out"], *k["random"],
        k["first"], k["threads"],
    )  # fmt: skip


def matmul(
    a: Any,
    b: Any,
    *,
    c: Any = None,
    accumulator: Any = "float32",
    a_format: Any = None,
    b_format: Any = None,
    out_format: Any = None,
    out_rounding: str | None = None,
    out_saturation: str | None = None,
    out_random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    out: Any = None,
    threads: int | None = None,
) -> Array:
    """c + a b, every sum made as the accumulator says; np.matmul's shapes.

    a: (..., m, k), b: (..., k, n), leading axes broadcast; one axis is a row or a column and goes
    away. float32 or float64, both the same; float16 and bfloat16 are worked out in float32. Any
    strides; nothing is copied for a transpose. accumulator: a name of lowp.accumulators(), of a
    format (sequential sums in it, products exact), with parts as "float16/pairwise", or an
    Accumulator; docs/products.md. a_format, b_format: factors are rounded to them first, as
    lowp.quantize does by default (quantize a factor yourself for another rounding or saturation;
    it stays so); units of accumulators() multiply their own formats only, and where none is given
    take the first of them that holds all numbers. Block formats lie along k, and units for
    block-scaled factors (b200_mxf8, b200_mxf4, b200_nvfp4) take their scales apart. out_format
    rounds finished sums. c broadcasts to the result; a Python number must be one of the dtype.
    out: array of the result's shape and dtype.

    Arrays of a GPU, both: the result is one of their library, and there (docs/gpu.md).

    k of 0 gives c, or +0. NaN is the positive quiet NaN (aligned units: 0x7FFFFFFF). Stochastic
    modes use (seed, stream), additions, products and the rest streams of their own.
    Raises ValueError for shapes that do not meet or values that the way of working cannot hold,
    TypeError for other dtypes.
    """
    if _device.is_device(a) or _device.is_device(b):
        from lowp import _device_products

        given: dict[str, Any] = {"c": c, "accumulator": accumulator, "a_format": a_format}
        given |= {"b_format": b_format, "out_format": out_format, "out_rounding": out_rounding}
        given |= {"out_saturation": out_saturation, "out_random_bits": out_random_bits, "out": out}
        source: dict[str, Any] = {"seed": seed, "stream": stream, "generator": generator}
        there: Array = _device_products.matmul(a, b, **given, **source)
        return there
    how = _core.accumulator(accumulator)
    x, y = _operand(a, "a"), _operand(b, "b")
    dtype = _same_dtype(x, y)
    _formats(a_format, b_format, how)
    a_format = _factor_format(x, a_format, how, "a")
    b_format = _factor_format(y, b_format, how, "b")
    x, y, batch = _matrices(x, y)
    shape = (*batch, x.shape[-2], y.shape[-1])
    gone = {len(shape) - 2} if np.ndim(a) == 1 else set()
    gone |= {len(shape) - 1} if np.ndim(b) == 1 else set()
    seen = tuple(n for axis, n in enumerate(shape) if axis not in gone)
    _check_out(out, seen, dtype)
    addend = _addend(c, seen, shape, dtype)
    step = 4 * (x.shape[-1] + 1) * shape[-2] * shape[-1]  # four places a term, for kahan
    k: dict[str, Any] = {
        "a_format": a_format,
        "b_format": b_format,
        "out": (out_format, out_rounding, out_saturation, out_random_bits),
        "random": (seed, stream, generator),
        "threads": threads,
    }
    result = np.empty(shape, dtype)
    for number, at in enumerate(np.ndindex(batch)):
        k["first"] = number * step
        try:
            _product(x[at], y[at], None if addend is None else addend[at], result[at], how, k)
        except ValueError as error:
            if "does not hold every value" not in str(error):
                raise
            raise ValueError(
                f"accumulator {how} needs wider factors than {dtype}: {error}, that is "
                "a.astype(np.float64) and b.astype(np.float64)"
            ) from error
    if out is None:
        return result.reshape(seen)
    out[...] = result.reshape(seen)
    return np.asarray(out)


def dot(a: Any, b: Any, *, accumulator: Any = "float32", **keywords: Any) -> Any:
    """The sum of a[i] b[i], made as the accumulator says: a NumPy scalar of their dtype.

    a, b: one axis of one length. Keywords as in matmul. Empty: +0, or c.
    """
    is_there = _device.is_device(a) and _device.is_device(b)
    x, y = (a, b) if is_there else (_arrays.as_array(a, "a"), _arrays.as_array(b, "b"))
    if x.ndim != 1 or y.ndim != 1:
        raise ValueError(f"a and b must have one axis; got shapes {x.shape} and {y.shape}")
    return matmul(x, y, accumulator=accumulator, **keywords)[()]


suggest_arguments(__name__)
