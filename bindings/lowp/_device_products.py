"""Matrix products on arrays of a GPU: lowp.matmul there, by lowp._cuda.

Nothing here waits for the device but one look: which of a matrix unit's formats holds the factors,
where none is named.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from lowp import _arithmetic, _core, _device, _products
from lowp._device_calls import check_floats, check_no_gradient, module, source_of
from lowp._device_libraries import Library, adopt, check_place, is_device, library_of
from lowp._device_out import check_out

__all__ = ["matmul"]

_HALVES = ("float16", "bfloat16")


@lru_cache(maxsize=4096)
def _check_kernels(name: str, dtype: str) -> None:
    """NotImplementedError for accumulators that the device has no kernels for."""
    if not module().has_product_kernels(name, dtype):
        raise NotImplementedError(
            f"accumulator {name} is not worked on by the device with results of {dtype}: pass "
            "arrays of the CPU, or use lowp.torch.matmul, which copies them there and back"
        )


class _Factor:
    """A factor as kernels take it: an array on grids that they know, and where its scales are."""

    def __init__(self, x: Any, format: str | None) -> None:
        self.x = x
        self.format = format
        self.scales: Any = None
        self.outer: Any = None
        self.block, self.emin = 0, 0

    def told(self, library: Library) -> Any:
        """What the module is told of the scales."""
        if self.scales is None:
            return None
        outer = 0 if self.outer is None else library.pointer(self.outer)
        return library.pointer(self.scales), self.block, self.emin, outer


def _dtype_of(library: Library, x: Any, what: str) -> str:
    """float32 or float64: what the CPU works in, too."""
    name = library.dtype(x)
    check_floats(name, what)
    return "float32" if name in _HALVES else name


def _is_held(x: Any, grid: Any) -> bool:
    """Whether every number of x is on the grid already; waits for the device."""
    y = _device.quantize(x, grid)
    return bool(((y == x) | ((y != y) & (x != x))).all())


def _unit_format(library: Library, x: Any, given: Any, how: _core.Accumulator, what: str) -> Any:
    """lowp.matmul's _factor_format of an array on a device."""
    formats = _products._unit_formats(how.name)
    if not formats and given is None and how.order == "aligned" and library.dtype(x) == "float64":
        formats = ("float32",)  # what any unit takes
    if not formats or (given is not None and _products._blocks(given) is not None):
        return given
    if given is not None and str(_core.format(given)) in formats:
        return given
    dtype = library.dtype(x)
    if given is None and formats[0] == dtype:
        return dtype
    wide = library.convert(x, "float32") if dtype in _HALVES else x
    y = wide if given is None else _device.quantize(wide, given)
    for f in formats:
        if _is_held(y, f):
            return f if given is None else given
    raise ValueError(
        f"{how} multiplies {' or '.join(formats)}; {what} has other numbers: give {what}_format, "
        "or round it first"
    )


def _on_grid(library: Library, x: Any, fmt: Any) -> _Factor:
    """x rounded to a scalar format, in float32 where its own dtype does not hold that."""
    target = _core.format(fmt)
    dtype = library.dtype(x)
    if dtype == target.name:
        return _Factor(x, target.name)
    if dtype in _HALVES:
        x = library.convert(x, "float32")
    return _Factor(_device.quantize(x, target), target.name)


def _in_blocks(
    library: Library, lines: Any, block: _core.BlockFormat, scaled: bool, what: str
) -> _Factor:
    """Lines of a factor in a block format along k; scaled: elements and scales apart."""
    from lowp import _device_blocks

    if not scaled:
        if library.dtype(lines) in _HALVES:
            lines = library.convert(lines, "float32")
        return _Factor(_device.quantize(lines, block, axis=-1), None)
    if not isinstance(block.shape, int) or not isinstance(block.element, _core.Format):
        raise ValueError(
            f"{what}: this unit takes blocks of 1 by n along k of a float format; got {block}"
        )
    dtype = library.dtype(lines)
    tensor = _device_blocks.encode(lines, block, axis=-1, packed=False)
    if math.prod(tensor.outer_scale.shape) > 1:
        raise ValueError(f"{what}: this unit takes one outer scale a tensor; {block} has one a row")
    wide = "float32" if dtype in _HALVES else dtype
    values = _device.decode(tensor.element_codes(), block.element, dtype=wide)
    factor = _Factor(values, block.element.name)
    factor.scales = library.contiguous(tensor.scale_values())
    factor.block, factor.emin = block.shape, block.scale.emin
    if math.prod(tensor.outer_scale.shape):
        factor.outer = tensor.outer_scale
    return factor


def _factor(library: Library, lines: Any, given: Any, how: _core.Accumulator, what: str) -> _Factor:
    """Rows of a, or columns of b, as kernels take them."""
    block = _products._blocks(given)
    if block is not None:
        return _in_blocks(library, lines, block, _products._is_scaled(how), f"{what}_format")
    if given is not None:
        return _on_grid(library, lines, given)
    return _Factor(lines, None)


def _swapped(x: Any) -> Any:
    """The last two axes in the other order, without a copy."""
    return x.swapaxes(-1, -2)


def _told(library: Library, x: Any, batch: tuple[int, ...], *, turned: bool = False) -> Any:
    """An array as the module takes it: broadcast over the batch by strides of 0."""
    shape, strides = list(x.shape), list(library.strides(x))
    if turned:
        shape[-2:], strides[-2:] = shape[:-3:-1], strides[:-3:-1]
    missing = len(batch) + 2 - len(shape)
    shape, strides = [1] * missing + shape, [0] * missing + strides
    for axis, length in enumerate(batch):
        if shape[axis] != length:
            shape[axis], strides[axis] = length, 0
    return library.pointer(x), library.dtype(x), shape, strides


def _batch_of(a: Any, b: Any) -> tuple[int, ...]:
    shapes = f"a {tuple(a.shape)} and b {tuple(b.shape)}"
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"{shapes} must agree in k; got {a.shape[-1]} and {b.shape[-2]}")
    try:
        return np.broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    except ValueError as error:
        raise ValueError(f"leading axes of {shapes} must broadcast") from error


def _addend(library: Library, c: Any, like: Any, dtype: str) -> Any:
    """c as an array on the device; Python's numbers must be ones of the dtype."""
    if c is None:
        return None
    if not is_device(c):
        if np.ndim(c):
            raise ValueError(f"c must be on the device, or a number of {dtype}; got {c!r:.80}")
        return library.from_host(like, _arithmetic._as_float(c, np.dtype(dtype), "c"))
    if library.dtype(c) in _HALVES:
        return library.convert(c, "float32")
    if library.dtype(c) != dtype:
        raise TypeError(f"c must be {dtype} as a and b are; got {library.dtype(c)}")
    return c


def _spread(x: Any, shape: tuple[int, ...], what: str) -> Any:
    """x broadcast to a shape, without a copy."""
    try:
        fits = np.broadcast_shapes(tuple(x.shape), shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{what} must broadcast to {shape}; got {tuple(x.shape)}")
    if hasattr(x, "broadcast_to"):
        return x.broadcast_to(shape)
    return import_module("cupy").broadcast_to(x, shape)


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
    out: Any = None,
    threads: int | None = None,
    **source: Any,
) -> Any:
    """lowp.matmul of arrays on a device, to the bit; the result is one of their library.

    As there; c: on the device, too, or a number. NotImplementedError for the few accumulators that
    lowp::cuda has no kernels for: stochastic ones of many bits. A unit of accumulators() without
    a_format or b_format looks at the numbers, and so waits for the device.
    """
    options: dict[str, Any] = {"c": c, "accumulator": accumulator, "a_format": a_format}
    options |= {"b_format": b_format, "out_format": out_format, "out_rounding": out_rounding}
    options |= {"out_saturation": out_saturation, "out_random_bits": out_random_bits, "out": out}
    if not is_device(a) or not is_device(b):
        raise TypeError("a and b must both be on the device, or both on the CPU")
    library = library_of(a)
    if library is None or library_of(b) is not library:
        return _through_another(a, b, options | source)
    if not library.is_current(a):
        with library.device(a):
            return matmul(a, b, **options, **source)
    _check_operands(library, a, b, c, out)
    how = _core.accumulator(accumulator)
    dtype = _common_dtype(library, a, b)
    _check_kernels(how.name, dtype)
    _products._formats(a_format, b_format, how)
    formats = (
        _unit_format(library, a, a_format, how, "a"),
        _unit_format(library, b, b_format, how, "b"),
    )
    bits = 32 if out_random_bits is None else out_random_bits
    modes = (out_rounding or "nearest_ties_to_even", out_saturation or "none", bits)
    last = None if out_format is None else (_core.format(out_format).name, *modes)
    call = _Call(library, how, dtype, formats, last, source)
    return _result(call, a, b, c, out)


def _check_operands(library: Library, a: Any, b: Any, c: Any, out: Any) -> None:
    """Whether all are in one place and no derivative gets lost. TypeError, ValueError."""
    for x, what in ((a, "a"), (b, "b"), (c, "c"), (out, "out")):
        check_no_gradient(x, what)
        if is_device(x):
            check_place(library, a, x, what, "a")
    if not a.ndim or not b.ndim:
        raise ValueError("a and b must have an axis; multiply numbers with lowp.mul")


def _common_dtype(library: Library, a: Any, b: Any) -> str:
    """float32 or float64: what both are worked in. TypeError where that is not one."""
    dtype = _dtype_of(library, a, "a")
    if _dtype_of(library, b, "b") != dtype:
        raise TypeError(
            f"a and b must have one dtype; got {library.dtype(a)} and {library.dtype(b)}: "
            "convert one of them"
        )
    return dtype


def _through_another(a: Any, b: Any, options: dict[str, Any]) -> Any:
    """Arrays of libraries that lowp does not know, or of two, by one that it does."""
    own, back = adopt(a)
    if options["out"] is not None or is_device(options["c"]):
        raise TypeError("a, b, c and out must be arrays of one library, PyTorch or CuPy")
    return back(matmul(own, adopt(b)[0], **options))


class _Call(NamedTuple):
    """What all products of a call share."""

    library: Library
    how: _core.Accumulator
    dtype: str
    formats: tuple[Any, Any]
    last: Any
    source: dict[str, Any]


def _result(call: _Call, a: Any, b: Any, c: Any, out: Any) -> Any:
    """Shapes as np.matmul has them; one product of a stack, or one after the other."""
    library = call.library
    gone = (a.ndim == 1, b.ndim == 1)
    x = a[None] if gone[0] else a
    y = b[:, None] if gone[1] else b
    batch = _batch_of(x, y)
    shape = (*batch, x.shape[-2], y.shape[-1])
    ends = tuple(n for n, is_gone in zip(shape[-2:], gone, strict=True) if not is_gone)
    seen = (*batch, *ends)
    addend = _addend(library, c, a, call.dtype)
    if addend is not None:
        addend = _spread(addend, seen, "c").reshape(shape)
    if out is not None:
        check_out(library, a, out, seen, (call.dtype,), "a")
    result = library.empty(a, shape, call.dtype)
    if batch and any(_is_by_matrix(f, call.how) for f in call.formats):
        step = 4 * (x.shape[-1] + 1) * shape[-2] * shape[-1]  # as the CPU has it
        x, y = _spread(x, (*batch, *x.shape[-2:]), "a"), _spread(y, (*batch, *y.shape[-2:]), "b")
        for number, at in enumerate(np.ndindex(*batch)):
            part = None if addend is None else addend[at]
            _product(call, x[at], y[at], part, result[at], number * step)
    else:
        _product(call, x, y, addend, result, 0)
    if out is None:
        return result.reshape(seen)
    out[...] = result.reshape(seen)
    return out


def _is_by_matrix(fmt: Any, how: _core.Accumulator) -> bool:
    """Whether a block format looks at whole matrices, or its scales go apart."""
    block = _products._blocks(fmt)
    if block is None:
        return False
    in_lines = isinstance(block.shape, int) and block.fields["outer"] == "none"
    return _products._is_scaled(how) or not in_lines


def _product(call: _Call, x: Any, y: Any, c: Any, result: Any, first_index: int) -> None:
    """One product, or a stack of them, into result."""
    library, batch = call.library, tuple(result.shape[:-2])
    rows = _factor(library, x, call.formats[0], call.how, "a")
    columns = _factor(library, _swapped(y), call.formats[1], call.how, "b")
    if (rows.block, rows.emin) != (columns.block, columns.emin):
        raise ValueError(
            "a_format and b_format must have one block length and scale format; got "
            f"{call.formats[0]} and {call.formats[1]}"
        )
    if c is not None and not (rows.outer is None and columns.outer is None):
        raise ValueError("c cannot be given where outer scales multiply the result; add it after")
    module().matmul(
        _told(library, rows.x, batch),
        _told(library, columns.x, batch, turned=True),
        None if c is None else _told(library, c, batch),
        _told(library, result, batch),
        call.how.name,
        rows.format,
        columns.format,
        rows.told(library),
        columns.told(library),
        call.last,
        first_index,
        source_of(library, x, **call.source),
    )
