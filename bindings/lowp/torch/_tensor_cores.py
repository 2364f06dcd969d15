"""Products of float32 operands that a narrower format holds, on a GPU's tensor cores.

Operands on the grid of a format are float32 tensors whose values have few bits. Where bfloat16
holds every one of them, or else tensorfloat32, their product there is the float32 product with sums
in another order and of another width, which PyTorch's float32 product does not promise either: no
operand loses a bit. What the formats hold follows from their descriptors alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch

import lowp
from lowp.torch import _ops
from lowp.torch.recipe import OPERANDS, Layer, Quantizer

__all__ = ["matmul", "route_of", "routes"]

_SWITCH = Lock()
#: From the fastest on; all have float32's largest exponent.
_ROUTES = ("bfloat16", "tensorfloat32")


def _least(f: lowp.Format) -> float:
    """The spacing of its least values."""
    return f.min_subnormal if f.has_subnormals else f.min_normal * f.epsilon


def _grid(format: str) -> tuple[int, float]:
    """Significant bits of a grid's values, and the least spacing between them; so many that nothing
    holds them where there is no such grid: codebooks, second levels, gains that are no powers of
    two.
    """
    found = _ops.parse(format)
    if not isinstance(found, lowp.BlockFormat):
        return found.precision, _least(found)
    gain, fields = float(found.fields["post_gain"]), found.fields
    scaled = fields["outer"] != "none" or math.frexp(gain)[0] != 0.5
    if scaled or not isinstance(found.element, lowp.Format):
        return 2**31, 0.0
    of_scale = found.scale.precision
    bits = found.element.precision + (0 if of_scale == 1 else of_scale)
    least = _least(found.scale) if of_scale > 1 else float(found.scale.min_normal)
    return bits, _least(found.element) * least * gain


def route_of(*formats: str) -> str:
    """The route that holds all values of the formats that float32 has, or "".

    Large values need no look: of as few bits, none is finite in float32 and not there.
    """
    for name in _ROUTES:
        held = lowp.format(name)
        grids = [_grid(format) for format in formats]
        if all(bits <= held.precision and least >= _least(held) for bits, least in grids):
            return name
    return ""


def routes(layer: Layer) -> dict[str, str]:
    """The route of each of the layer's products: "" where an operand has no format, a scale that is
    delayed, or another format than its role's.
    """
    found = {}
    for product, roles in OPERANDS.items():
        quantizers = [getattr(layer, role) for role in roles]
        own = all(isinstance(q, Quantizer) and q.scaling is None for q in quantizers)
        found[product] = route_of(*(q.format for q in quantizers)) if own else ""
    return found


_ops.LIBRARY.define("matmul_on_tensor_cores(Tensor a, Tensor b, str route) -> Tensor")


def _in_bfloat16(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = a.bfloat16(), b.bfloat16()
    if b.ndim == 2:
        y: torch.Tensor = torch.mm(a.reshape(-1, a.shape[-1]), b, out_dtype=torch.float32)
        return y.reshape(*a.shape[:-1], b.shape[-1])
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left, right = (t.expand(*batch, *t.shape[-2:]).reshape(-1, *t.shape[-2:]) for t in (a, b))
    y = torch.bmm(left, right, out_dtype=torch.float32)
    return y.reshape(*batch, *y.shape[-2:])


def _own_precision(held: str) -> str:
    """What is set for products themselves where `held` holds for them: "none" where they inherit.

    PyTorch tells only what holds. Where both could be its source, those inherited from are at
    "none" for a moment.
    """
    above: list[Any] = [torch.backends, torch.backends.cudnn]
    if held != "none" and held == above[1].fp32_precision:
        found = []
        for switch in above:
            found.append(switch.fp32_precision)
            switch.fp32_precision = "none"
        held = torch.backends.cuda.matmul.fp32_precision
        for switch, value in zip(above, found, strict=True):
            switch.fp32_precision = value
    return held


@contextmanager
def _tensorfloat32() -> Iterator[None]:
    """PyTorch's float32 products in tensorfloat32, by the newer of its two switches.

    The switch is the process's: in this window, while the host hands over one product, float32
    products of other threads go in tensorfloat32, too, and allow_tf32, the older switch, raises
    RuntimeError where it is read.
    """
    switch: Any = torch.backends.cuda.matmul
    name, on = "allow_tf32", True
    if hasattr(switch, "fp32_precision"):
        name, on = "fp32_precision", "tf32"  # type: ignore[assignment]
    with _SWITCH:  # PyTorch works backward in a thread for each device
        before = getattr(switch, name)
        if before == on:  # set, it would no longer be inherited
            yield
            return
        before = _own_precision(before) if name == "fp32_precision" else before
        setattr(switch, name, on)
        try:
            yield
        finally:
            setattr(switch, name, before)


def _matmul(a: torch.Tensor, b: torch.Tensor, route: str) -> torch.Tensor:
    """a b of float32 tensors whose values the route holds, as torch.matmul; float32."""
    if not a.is_cuda or torch.version.hip:
        return torch.matmul(a, b)
    if route == "bfloat16" and "dtype" in torch.ops.aten.mm.overloads():
        return _in_bfloat16(a, b)
    with _tensorfloat32():
        return torch.matmul(a, b)


_ops.LIBRARY.impl("matmul_on_tensor_cores", _matmul, "CompositeExplicitAutograd")
torch.library.register_fake("lowp::matmul_on_tensor_cores", lambda a, b, route: torch.matmul(a, b))


def matmul(a: torch.Tensor, b: torch.Tensor, route: str) -> Any:
    """a b on tensor cores, or None where that is for PyTorch: on other devices, of other dtypes,
    and where derivatives of the product itself are asked for.
    """
    narrow = a.is_cuda and a.dtype == b.dtype == torch.float32
    if not route or not narrow or torch.is_grad_enabled():
        return None
    return torch.ops.lowp.matmul_on_tensor_cores(a, b, route)
