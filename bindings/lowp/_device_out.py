"""Where a verb on a GPU writes: the caller's out, looked at first, or memory in between."""

from __future__ import annotations

import math
from typing import Any

from lowp._device_calls import check_no_gradient
from lowp._device_libraries import Library, check_place

__all__ = ["check_out", "plain_target", "settled", "target"]


def check_out(
    library: Library,
    x: Any,
    out: Any,
    shape: tuple[int, ...],
    dtypes: tuple[str, ...],
    of: str = "x",
) -> None:
    """Refuse an out that results of x, of this shape and one of these dtypes, cannot go to.

    of: x's name. ValueError: not on x's device, another shape or dtype, several elements in one
    place; TypeError: it requires a gradient.
    """
    check_place(library, x, out, "out", of)
    check_no_gradient(out, "out")
    got = tuple(out.shape), library.dtype(out)
    if got[0] != shape or got[1] not in dtypes:
        wanted = " or ".join(dtypes)
        raise ValueError(f"out must have shape {shape} and dtype {wanted}; got {got[0]}, {got[1]}")
    strides = library.strides(out)
    if math.prod(shape) and any(n > 1 and not s for n, s in zip(shape, strides, strict=True)):
        raise ValueError(
            "out must have a place for each element; got one that is broadcast, of strides "
            f"{tuple(strides)}"
        )


def _span(library: Library, x: Any) -> tuple[int, int]:
    """Addresses of the first byte of an array and after the last."""
    size = x.nbytes // math.prod(x.shape)
    ways = [(n - 1) * step for n, step in zip(x.shape, library.strides(x), strict=True)]
    first = library.pointer(x)
    before, after = sum(way for way in ways if way < 0), sum(way for way in ways if way > 0)
    return first + before * size, first + (after + 1) * size


def _meet(library: Library, a: Any, b: Any) -> bool:
    """Whether the memory of a and of b may have a byte in common."""
    if not math.prod(a.shape) or not math.prod(b.shape):
        return False
    first, second = _span(library, a), _span(library, b)
    return first[0] < second[1] and second[0] < first[1]


def _is_same_place(library: Library, a: Any, b: Any) -> bool:
    """Whether every element of a lies where that of b does."""
    if library.pointer(a) != library.pointer(b) or a.nbytes != b.nbytes or a.shape != b.shape:
        return False
    steps = zip(a.shape, library.strides(a), library.strides(b), strict=True)
    return all(n == 1 or one == other for n, one, other in steps)


def target(library: Library, out: Any, x: Any, *others: Any) -> Any:
    """Memory for results that go to out, while a kernel reads x element by element and all of the
    others (each an array or None): out, but new memory where it would read what it has written.
    """
    is_free = x is None or not _meet(library, out, x) or _is_same_place(library, out, x)
    if is_free and not any(_meet(library, out, other) for other in others if other is not None):
        return out
    return library.empty(out, tuple(out.shape), library.dtype(out))


def plain_target(library: Library, out: Any, x: Any, *others: Any) -> Any:
    """The same for kernels that write in C order."""
    if library.is_plain(out):
        return target(library, out, x, *others)
    return library.empty(out, tuple(out.shape), library.dtype(out))


def settled(library: Library, y: Any, out: Any) -> Any:
    """out, once results are in y, its target."""
    if y is out:
        library.written(out)
    else:
        out[...] = y
    return out
