"""Calls of lowp's verbs from JAX programs, whatever transformed them.

They are callbacks (`jax.pure_callback`). A handler for XLA's foreign functions would save copies,
but is built with XLA's headers, whose interface changes with JAX's releases; lowp's wheel is built
without JAX. On a CPU XLA flushes subnormal numbers, in callbacks too: calls undo that.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowp import _arrays

try:
    import jax
    import jax.numpy as jnp
except ModuleNotFoundError as error:
    raise ImportError(f"lowp.jax needs JAX ({error}): pip install 'lowp[jax]'") from error

__all__ = ["Call", "check_width", "floats", "jax", "jnp", "with_seed"]

Array = NDArray[Any]

_CARRIERS = tuple(np.dtype(t) for t in (jnp.float32, jnp.float64, jnp.float16, jnp.bfloat16))

_LIBC = ctypes.CDLL(None)
_DEFAULT_ENVIRONMENT = ctypes.c_void_p(-1)  # FE_DFL_ENV of glibc and musl


@contextmanager
def _gradual_underflow() -> Iterator[None]:
    """The default floating-point environment for NumPy's own comparisons; then the thread's."""
    own = ctypes.create_string_buffer(64)  # fenv_t has 32 bytes at most
    _LIBC.fegetenv(own)
    _LIBC.fesetenv(_DEFAULT_ENVIRONMENT)
    try:
        yield
    finally:
        _LIBC.fesetenv(own)


@dataclass(frozen=True)
class Call:
    """A verb with its options. Equal calls share compiled code, which has no seed in it."""

    verb: Callable[..., Any]
    options: tuple[tuple[str, Any], ...]
    #: Axes of each operand without those of vmap, which stand before them.
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    #: Upper 32 bits of seed and stream, whose rest are the last two operands; None without them.
    upper: tuple[int, int] | None = None
    #: Whether vmap's examples can be one array: what the verb gives one does not depend on others.
    is_elementwise: bool = False

    def on_device(self, *operands: Any) -> Any:
        """The verb's result as a JAX array."""
        struct: Any = jax.ShapeDtypeStruct  # which JAX leaves without types
        result = struct(self.shape, self.dtype)
        return jax.pure_callback(self, result, *operands, vmap_method="expand_dims")

    def __call__(self, *operands: Any) -> Array:
        """The verb on the host, on all examples of vmap."""
        with _gradual_underflow():
            return self._run_all(operands)

    def _run_all(self, operands: tuple[Any, ...]) -> Array:
        arrays = [np.asarray(operand) for operand in operands]
        own = [a.shape[a.ndim - n :] for a, n in zip(arrays, self.axes, strict=True)]
        outer = [a.shape[: a.ndim - n] for a, n in zip(arrays, self.axes, strict=True)]
        batch = np.broadcast_shapes(*outer)
        if not batch or self.is_elementwise:
            return self._run(arrays)
        arrays = [np.broadcast_to(a, batch + shape) for a, shape in zip(arrays, own, strict=True)]
        result = np.empty(batch + self.shape, self.dtype)
        for at in np.ndindex(batch):
            result[at] = self._run([np.asarray(a[at]) for a in arrays])
        return result

    def _run(self, arrays: list[Array]) -> Array:
        options = dict(self.options)
        if self.upper is not None:
            *arrays, seed, stream = arrays
            options["seed"] = (self.upper[0] << 32) + int(seed)
            options["stream"] = (self.upper[1] << 32) + int(stream)
        return np.asarray(self.verb(*arrays, **options))


def _word(value: Any, what: str) -> tuple[int, Any]:
    """Upper 32 bits of a seed or stream, and the operand with the rest; all of a traced one."""
    if not isinstance(value, jax.core.Tracer):
        number = _arrays.word(value, what)
        return number >> 32, np.uint32(number & 0xFFFFFFFF)
    if value.shape or not jnp.issubdtype(value.dtype, jnp.integer):
        raise TypeError(f"{what} must be an integer; got {value.dtype} of shape {value.shape}")
    return 0, value


def with_seed(call: Call, seed: Any, stream: Any, is_random: bool) -> tuple[Call, list[Any]]:
    """The call with seed and stream as operands if it uses them; both are checked anyway."""
    words = [_word(seed, "seed"), _word(stream, "stream")]
    if not is_random:
        return call, []
    upper = (words[0][0], words[1][0])
    return replace(call, upper=upper, axes=(*call.axes, 0, 0)), [word for _, word in words]


def check_width(dtype: np.dtype[Any], what: str) -> None:
    """ValueError for a dtype of 64 bits where JAX has none."""
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(
            f"{what} needs {dtype}, which JAX cuts to 32 bits unless told otherwise: "
            'jax.config.update("jax_enable_x64", True)'
        )


def floats(x: Any, what: str) -> Any:
    """x as a JAX array of a float dtype. TypeError for others, ValueError where bits would go."""
    if not isinstance(x, jax.Array):
        x = _arrays.as_array(x, what)
    if x.dtype not in _CARRIERS:
        raise TypeError(
            f"{what} must have dtype {_arrays._CARRIERS}; got {x.dtype}: convert it yourself, as "
            f"{what}.astype(jnp.float32); take complex numbers apart"
        )
    check_width(x.dtype, what)
    return jnp.asarray(x)
