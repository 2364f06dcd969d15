"""lowp's verbs on JAX arrays: under jit, vmap, grad and scan, the bits that lowp gives on NumPy.

    >>> import jax, jax.numpy as jnp, lowp.jax
    >>> jax.jit(lambda x: lowp.jax.quantize(x, "float8_e4m3fn"))(jnp.float32([0.3, 1.0, 500.0]))
    Array([0.3125, 1.    ,    nan], dtype=float32)

`quantize` has a gradient of your choice, `encode` and `decode` are for scalar formats, `matmul`
multiplies under a model of an accumulator.

lowp's kernels do the work on the host: on an accelerator arrays travel there and back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lowp import _arrays, _core, _products, _targets
from lowp._arguments import FormatLike, suggest_arguments
from lowp._block_tensor import check_axis
from lowp._jax_calls import Call, check_width, floats, jax, jnp, with_seed

__all__ = ["decode", "encode", "matmul", "quantize"]

Array = NDArray[Any]
Gradient = str | Callable[[Any, Any, Any], Any]


def _scalar_format(fmt: Any, verb: str) -> _core.Format:
    if _core.is_block_format(fmt):
        raise ValueError(
            f"lowp.jax.{verb} is for scalar formats; got the block format {fmt}: use "
            "lowp.jax.quantize, or lowp.encode on a NumPy array"
        )
    return _core.format(fmt)


def _is_random(target: _targets.Target, rounding: str | None) -> bool:
    modes = [rounding or ""]
    if isinstance(target, _core.BlockFormat):
        modes = [rounding or target.fields["rounding"], target.fields["scale_rounding"]]
    return any(mode.startswith("stochastic") for mode in modes)


def _is_elementwise(target: _targets.Target, ndim: int) -> bool:
    """Whether more axes in front leave every block as it is."""
    if not isinstance(target, _core.BlockFormat):
        return True
    if target.fields["outer"] == "tensor" or target.shape in ("tensor", "column"):
        return False
    return ndim >= (2 if isinstance(target.shape, tuple) else 1)


# ---- quantize ------------------------------------------------------------------------------------


def _quantized(call: Call, slope: Any, operands: tuple[Any, ...]) -> Any:
    return call.on_device(*operands)


def _forward(call: Call, slope: Any, operands: tuple[Any, ...]) -> tuple[Any, Any]:
    y = _differentiable(call, slope, operands)  # itself, so that gradients have gradients
    return y, None if slope is None else (operands, y)


def _backward(call: Call, slope: Any, saved: Any, dy: Any) -> tuple[Any]:
    rest = (None,) * (len(call.axes) - 1)
    if saved is None:
        return ((dy, *rest),)
    operands, y = saved
    if isinstance(slope, Call):
        inside = slope.on_device(*map(jax.lax.stop_gradient, operands))
        return ((jnp.where(inside, dy, jnp.zeros_like(dy)), *rest),)
    return ((slope(operands[0], y, dy), *rest),)


_differentiable = jax.custom_vjp(_quantized, nondiff_argnums=(0, 1))
_differentiable.defvjp(_forward, _backward)


def _inside(x: Array, *, format: _targets.Target, axis: int, **options: Any) -> Array:
    """Where x lies within the format, or within what its block can hold; NaN does."""
    plain = _arrays._to_carrier(x)
    if isinstance(format, _core.BlockFormat):
        tensor = _core.encode(plain, format, axis=axis, nan=0, packed=False, **options)
        lowest, largest = _targets.block_limits(tensor)
    else:
        codes = np.array([format.lowest_code, format.max_code], np.uint64)
        lowest, largest = _core.decode(codes, format, dtype=plain.dtype)
    with np.errstate(invalid="ignore"):
        return np.asarray(~((plain < lowest) | (plain > largest)))


def _slope(gradient: Gradient, call: Call) -> Any:
    if gradient == "clipped":
        return replace(call, verb=_inside, dtype=np.dtype(np.bool_))
    if gradient != "straight_through" and not callable(gradient):
        raise ValueError(
            "gradient must be 'straight_through', 'clipped' or a function of (x, y, dy); "
            f"got {gradient!r}"
        )
    return None if gradient == "straight_through" else gradient


def quantize(
    x: Any,
    format: FormatLike | _core.BlockFormat,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: Any = 0,
    stream: Any = 0,
    generator: str = "philox4x32_10",
    axis: int = -1,
    gradient: Gradient = "straight_through",
    threads: int | None = None,
) -> Any:
    """x on the grid of a format: a JAX array of the same shape and dtype, bits as lowp.quantize.

    x: float32, float64 (with jax_enable_x64), float16 or bfloat16, any shape. NaN, infinities, -0,
    overflow, empty arrays and all other arguments are as in lowp.quantize. seed and stream may be
    traced integers, of a step counter say, which compile nothing anew; all else is static.

    vmap: every example is quantized as if alone. It has its own tensor scale, and the random bits
    that seed and stream give a single one: map over stream for others. Examples without either are
    one call.

    gradient: "straight_through" gives dx = dy. "clipped" gives 0 where x is beyond the largest or
    lowest value of the format, or of its block, infinities too; dy at NaN and in blocks of NaN.
    A function gives dx from (x, y, dy), in JAX, and closes over no traced values. Reverse mode
    only.

    TypeError: x holds no floats, seed or stream no integer. ValueError: unknown words or formats,
    an axis that x has not, a dtype that does not hold the format. Both when traced. A traced seed
    or stream below 0 is jax.errors.JaxRuntimeError when run.
    """
    array = floats(x, "x")
    at = check_axis(axis, array.ndim)
    at = at - array.ndim if at >= 0 and array.ndim else at
    target = _targets.resolve(format)
    options: dict[str, Any] = {
        "rounding": rounding,
        "saturation": saturation,
        "random_bits": random_bits,
        "generator": generator,
        "axis": at,
        "threads": threads,
    }
    # Nothing to round, but what lowp refuses it refuses here, before anything is compiled.
    _core.quantize(np.ones((0,) * array.ndim, array.dtype), target, **options)
    call = Call(
        _core.quantize,
        (("format", target), *options.items()),
        (array.ndim,),
        array.shape,
        array.dtype,
        is_elementwise=_is_elementwise(target, array.ndim),
    )
    is_random = _is_random(target, rounding)
    call = replace(call, is_elementwise=call.is_elementwise and not is_random)
    call, words = with_seed(call, seed, stream, is_random)
    return _differentiable(call, _slope(gradient, call), (array, *words))


# ---- encode, decode ------------------------------------------------------------------------------


def encode(
    x: Any,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    nan: float | None = None,
    random_bits: int | None = None,
    seed: Any = 0,
    stream: Any = 0,
    generator: str = "philox4x32_10",
    threads: int | None = None,
) -> Any:
    """Codes of x in a scalar format: a JAX array of x's shape, uint8, uint16, uint32 or uint64.

    As lowp.encode; x, seed, stream, vmap and errors as in quantize. Codes have no gradient.
    ValueError for block formats, and for more than 32 bits without jax_enable_x64. NaN where the
    format has none and `nan` says nothing is jax.errors.JaxRuntimeError when run.
    """
    array = floats(x, "x")
    target = _scalar_format(format, "encode")
    dtype = _arrays.code_dtype(target.bits)
    check_width(dtype, f"a code of {target}")
    options: dict[str, Any] = {
        "rounding": rounding,
        "saturation": saturation,
        "nan": nan,
        "random_bits": random_bits,
        "generator": generator,
        "threads": threads,
    }
    _core.encode(np.ones((0,), array.dtype), target, **options)
    is_random = _is_random(target, rounding)
    call = Call(
        _core.encode,
        (("format", target), *options.items()),
        (array.ndim,),
        array.shape,
        dtype,
        is_elementwise=not is_random,
    )
    call, words = with_seed(call, seed, stream, is_random)
    return call.on_device(jax.lax.stop_gradient(array), *words)


def decode(
    codes: Any,
    format: FormatLike,
    *,
    dtype: DTypeLike = np.float32,
    threads: int | None = None,
) -> Any:
    """Values of codes of a scalar format: a JAX array in the shape of codes.

    As lowp.decode. codes: unsigned integers. dtype: float32, float64 (with jax_enable_x64), float16
    or bfloat16. TypeError: other dtypes. ValueError: block formats, a dtype that does not hold the
    format. A code above the format's is jax.errors.JaxRuntimeError when run.
    """
    array = codes if isinstance(codes, jax.Array) else _arrays.as_array(codes, "codes")
    target = _scalar_format(format, "decode")
    to = np.dtype(dtype)
    options: dict[str, Any] = {"dtype": to, "threads": threads}
    # Refuses dtypes, those of codes that are no integers too.
    _core.decode(np.ones((0,), array.dtype), target, **options)
    check_width(array.dtype, "codes")
    check_width(to, "dtype")
    call = Call(
        _core.decode,
        (("format", target), *options.items()),
        (array.ndim,),
        array.shape,
        to,
        is_elementwise=True,
    )
    return call.on_device(jnp.asarray(array))


# ---- matmul --------------------------------------------------------------------------------------


def _multiplied(call: Call, operands: tuple[Any, ...]) -> Any:
    return call.on_device(*operands)


def _multiplied_forward(call: Call, operands: tuple[Any, ...]) -> tuple[Any, Any]:
    return _product(call, operands), operands[:2]


def _multiplied_backward(call: Call, factors: Any, dy: Any) -> tuple[Any]:
    _, pull = jax.vjp(partial(jnp.matmul, preferred_element_type=call.dtype), *factors)
    return ((*pull(dy), None, None),)


_product = jax.custom_vjp(_multiplied, nondiff_argnums=(0,))
_product.defvjp(_multiplied_forward, _multiplied_backward)


def matmul(
    a: Any, b: Any, *, accumulator: Any = "float32", seed: Any = 0, stream: Any = 0, **options: Any
) -> Any:
    """a @ b under a model of the accumulator: a JAX array, bits as lowp.matmul.

    a, b, shapes, dtypes and options (a_format, b_format, out_format, out_rounding, out_saturation,
    out_random_bits, generator, threads) as in lowp.matmul, without c and out. vmap: every example
    as if alone, random bits too. Gradients are those of jnp.matmul on a and b as given: nothing in
    them is rounded to a format. TypeError and ValueError when traced, but values that a unit cannot
    multiply are jax.errors.JaxRuntimeError when run.
    """
    for word in ("c", "out"):
        if word in options:
            raise TypeError(f"lowp.jax.matmul has no argument {word!r}")
    x, y = floats(a, "a"), floats(b, "b")
    options["accumulator"] = _core.accumulator(accumulator)
    shapes = (np.broadcast_to(np.zeros((), part.dtype), part.shape) for part in (x, y))
    rows, columns, batch = _products._matrices(*shapes)
    k = rows.shape[-1]
    # One product of zeros, refused for the same reasons as the real ones.
    zero = _products.matmul(np.zeros((1, k), x.dtype), np.zeros((k, 1), y.dtype), **options)
    shape = (*batch, *rows.shape[-2:-1] * (x.ndim > 1), *columns.shape[-1:] * (y.ndim > 1))
    call = Call(
        _products.matmul, tuple(options.items()), (x.ndim, y.ndim), shape, np.dtype(zero.dtype)
    )
    call, words = with_seed(call, seed, stream, is_random=True)
    return _product(call, (x, y, *words))


suggest_arguments(__name__)
