"""Operators on codes: encode, decode, and products whose every addition is rounded."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch

import lowp
from lowp import _device, _device_blocks, _device_products, _products
from lowp._arrays import code_dtype
from lowp._block_tensor import code_bytes, grid, outer_count
from lowp.torch._ops import LIBRARY, check_dtype, has_kernels, modes, parse

__all__ = ["unit_format"]


def _unsigned(bits: int) -> torch.dtype:
    """code_dtype's, of PyTorch."""
    return getattr(torch, code_dtype(bits).name)


def _wide(x: torch.Tensor) -> np.ndarray[Any, Any]:
    """x's values in an array of the host; 16-bit floats as float32, which holds them."""
    host = x.detach().cpu()
    half = host.dtype in (torch.float16, torch.bfloat16)
    return np.asarray((host.float() if half else host).numpy())


# ---- encode, decode ------------------------------------------------------------------------------

LIBRARY.define(
    "encode(Tensor x, str format, *, str? rounding=None, str? saturation=None, "
    "int? random_bits=None, SymInt seed=0, SymInt stream=0) -> Tensor"
)
LIBRARY.define(
    "encode_blocks(Tensor x, str format, int axis=-1, *, SymInt seed=0, SymInt stream=0) "
    "-> (Tensor, Tensor, Tensor)"
)
LIBRARY.define("decode(Tensor codes, str format, *, ScalarType dtype) -> Tensor")
LIBRARY.define(
    "decode_blocks(Tensor codes, Tensor scales, Tensor outer, str format, SymInt[] shape, "
    "int axis=-1, *, ScalarType dtype) -> Tensor"
)


def _encode(
    x: torch.Tensor,
    format: str,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
) -> torch.Tensor:
    check_dtype(x)
    options = modes(rounding, saturation, random_bits)
    if has_kernels(x):
        return _device.encode(x, parse(format), seed=seed, stream=stream, **options)
    codes = lowp.encode(_wide(x), parse(format), seed=seed, stream=stream, **options)
    return torch.from_numpy(np.asarray(codes)).to(x.device)


def _encode_cuda(x: torch.Tensor, format: str, **options: Any) -> torch.Tensor:
    check_dtype(x)
    if _device.kernels() is None:
        return _encode(x, format, **options)
    return _device.encode(x, format, **options)  # type: ignore[no-any-return]


def _encode_fake(x: torch.Tensor, format: str, **_: Any) -> torch.Tensor:
    check_dtype(x)
    return x.new_empty(x.shape, dtype=_unsigned(parse(format).bits))


def _encode_blocks(
    x: torch.Tensor, format: str, axis: int = -1, *, seed: int = 0, stream: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    check_dtype(x)
    if has_kernels(x):
        try:
            return _device_blocks.encode_blocks(x, format, axis=axis, seed=seed, stream=stream)
        except NotImplementedError:
            pass
    t = lowp.encode(_wide(x), parse(format), axis=axis, seed=seed, stream=stream)
    parts = (t.codes, t.scales, t.outer_scale)
    codes, scales, outer = (torch.from_numpy(part).to(x.device) for part in parts)
    return codes, scales, outer


def _encode_blocks_fake(
    x: torch.Tensor, format: str, axis: int = -1, **_: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    check_dtype(x)
    block, shape = parse(format), tuple(int(n) for n in x.shape)
    size = code_bytes(block, shape, axis, packed=block.element_bits <= 8)
    return (
        x.new_empty((size,), dtype=torch.uint8),
        x.new_empty(grid(block, shape, axis), dtype=_unsigned(block.scale.bits)),
        x.new_empty((outer_count(block, shape, axis),), dtype=torch.float64),
    )


def _decode(codes: torch.Tensor, format: str, *, dtype: torch.dtype) -> torch.Tensor:
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    name = str(wide).removeprefix("torch.")
    found = parse(format)
    if has_kernels(codes):
        check_dtype(torch.empty(0, dtype=dtype), format, "dtype")
        return _device.decode(codes, found, dtype=dtype)
    unsigned = codes.cpu().numpy()
    values = np.asarray(lowp.decode(unsigned, found, dtype=np.dtype(name)))
    check_dtype(torch.empty(0, dtype=dtype), format, "dtype")
    return torch.from_numpy(values).to(codes.device, dtype)


def _decode_blocks(
    codes: torch.Tensor,
    scales: torch.Tensor,
    outer: torch.Tensor,
    format: str,
    shape: list[int],
    axis: int = -1,
    *,
    dtype: torch.dtype,
) -> torch.Tensor:
    if has_kernels(codes):
        return _device_blocks.decode_blocks(codes, scales, outer, format, shape, axis, dtype)
    host = [part.cpu().numpy() for part in (codes, scales, outer)]
    wide = np.float64 if dtype == torch.float64 else np.float32
    t = lowp.BlockTensor(parse(format), host[0], host[1], host[2], tuple(shape), axis, wide)
    return torch.from_numpy(np.asarray(t.decode())).to(codes.device, dtype)


LIBRARY.impl("encode", _encode, "CompositeExplicitAutograd")
LIBRARY.impl("encode_blocks", _encode_blocks, "CompositeExplicitAutograd")
LIBRARY.impl("decode", _decode, "CompositeExplicitAutograd")
LIBRARY.impl("decode_blocks", _decode_blocks, "CompositeExplicitAutograd")
# On CUDA devices by their own key; where the package has no kernels these take the host's way, too.
LIBRARY.impl("encode", _encode_cuda, "CUDA")
LIBRARY.impl("encode_blocks", _encode_blocks, "CUDA")
LIBRARY.impl("decode", _decode, "CUDA")
LIBRARY.impl("decode_blocks", _decode_blocks, "CUDA")
torch.library.register_fake("lowp::encode", _encode_fake)
torch.library.register_fake("lowp::encode_blocks", _encode_blocks_fake)
torch.library.register_fake(
    "lowp::decode", lambda codes, _, dtype: codes.new_empty(codes.shape, dtype=dtype)
)
torch.library.register_fake(
    "lowp::decode_blocks",
    lambda codes, scales, outer, name, shape, *_, dtype: codes.new_empty(shape, dtype=dtype),
)


# ---- matmul --------------------------------------------------------------------------------------

LIBRARY.define(
    "matmul(Tensor a, Tensor b, str accumulator, Tensor? c=None, *, str? a_format=None, "
    "str? b_format=None) -> Tensor"
)


@lru_cache(maxsize=4096)
def unit_format(accumulator: str, format: str | None) -> str | None:
    """The format that a matrix unit multiplies numbers of a format in: that, or the first of its
    own that holds all of them; None for other accumulators, and where only the numbers can tell.

    A unit that is told need not look at the numbers, which waits for a device.
    """
    own = _products._unit_formats(lowp.accumulator(accumulator).name)
    if format is None or not own or lowp.is_block_format(format):
        return None
    found = lowp.format(format)
    holding = (f for f in own if lowp.format(f).holds(found))
    return found.name if found.name in own else next(holding, None)


def _matmul(
    a: torch.Tensor,
    b: torch.Tensor,
    accumulator: str,
    c: torch.Tensor | None = None,
    *,
    a_format: str | None = None,
    b_format: str | None = None,
) -> torch.Tensor:
    """a_format, b_format: what a and b are in already; None where that is not known."""
    for name, operand in (("a", a), ("b", b)):
        check_dtype(operand, None, name)
    how: dict[str, Any] = {
        "accumulator": accumulator,
        "a_format": unit_format(accumulator, a_format),
    }
    how["b_format"] = unit_format(accumulator, b_format)
    if has_kernels(a) and has_kernels(b):
        try:
            y = _device_products.matmul(a, b, c=c, **how)
            return cast("torch.Tensor", y.to(a.dtype))
        except NotImplementedError:  # of few accumulators: by way of the CPU
            pass
    addend = None if c is None else _wide(c)
    z = lowp.matmul(_wide(a), _wide(b), c=addend, **how)
    return torch.from_numpy(np.asarray(z)).to(a.device, a.dtype)


def _matmul_fake(
    a: torch.Tensor, b: torch.Tensor, accumulator: str, c: torch.Tensor | None = None, **_: Any
) -> torch.Tensor:
    lowp.accumulator(accumulator)
    # vector operands lose their axis, as in torch.matmul
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    rows = a.shape[-2:-1] if a.ndim > 1 else ()
    columns = b.shape[-1:] if b.ndim > 1 else ()
    return a.new_empty((*batch, *rows, *columns))


def _matmul_backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """The derivative of the exact product: roundings pass straight through."""
    a, b = ctx.saved_tensors
    # vectors are matrices of one row or column
    left, right = (a[None] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
    full = dy.unsqueeze(-1) if b.ndim == 1 else dy
    full = full.unsqueeze(-2) if a.ndim == 1 else full
    da = db = dc = None
    if ctx.needs_input_grad[0]:
        da = (full @ right.mT).sum_to_size(left.shape).reshape(a.shape)
    if ctx.needs_input_grad[1]:
        db = (left.mT @ full).sum_to_size(right.shape).reshape(b.shape)
    if ctx.c_shape is not None:
        dc = dy.sum_to_size(ctx.c_shape)
    return da, db, None, dc


def _matmul_setup(ctx: Any, inputs: Any, keyword_only_inputs: Any, output: Any) -> None:
    a, b, _, c = inputs
    ctx.save_for_backward(a, b)
    ctx.c_shape = None if c is None else c.shape


LIBRARY.impl("matmul", _matmul, "CompositeExplicitAutograd")
torch.library.register_fake("lowp::matmul", _matmul_fake)
torch.library.register_autograd("lowp::matmul", _matmul_backward, setup_context=_matmul_setup)
