"""The operators torch.ops.lowp.*: the verbs on tensors, for eager code, torch.compile and export.

On the CPU they call the C++ kernels on the tensor's own memory, on CUDA devices those of lowp::cuda
where the package has them; on any other device the plain PyTorch path (`lowp.torch._plain`). All
give the same bits. Each has a fake kernel, so that a
compiler sees shapes and dtypes without running it, and the derivative of the identity.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import torch

import lowp
from lowp import _device, _device_blocks, _device_hadamard, _halves

__all__ = ["check_dtype", "parse"]

LIBRARY = torch.library.Library("lowp", "DEF")

_HALVES = {torch.float16: "float16", torch.bfloat16: "bfloat16"}
_CARRIERS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@lru_cache(maxsize=4096)
def parse(name: str) -> Any:
    """The Format or BlockFormat of a name; ValueError says what names there are."""
    return lowp.block_format(name) if lowp.is_block_format(name) else lowp.format(name)


@lru_cache(maxsize=4096)
def _refusal(name: str, dtype: torch.dtype) -> str | None:
    """Why tensors of dtype cannot hold the values of the format, or None."""
    found = parse(name)
    if isinstance(found, lowp.BlockFormat):
        largest = 65504.0 if dtype == torch.float16 else 3.3895313892515355e38
        if dtype in _HALVES and found.element_max > largest:
            return f"{dtype} does not hold every element of {name}; pass x.float()"
        return None
    carrier = lowp.format(_HALVES.get(dtype, str(dtype).removeprefix("torch.")))
    smallest = found.min_subnormal if found.has_subnormals else found.min_normal * found.epsilon
    if (
        found.precision > carrier.precision
        or max(found.max, -found.lowest) > carrier.max
        or smallest < carrier.min_subnormal
    ):
        wider = "x.float()" if found.precision <= 24 and carrier.bits < 32 else "x.double()"
        return f"{dtype} does not hold every value of {name}; pass {wider}"
    return None


def check_dtype(x: torch.Tensor, name: str | None = None, what: str = "x") -> None:
    """TypeError where x is no float tensor; ValueError where its dtype cannot hold the format."""
    if x.dtype not in _CARRIERS:
        hint = "take real and imaginary part apart" if x.is_complex() else f"pass {what}.float()"
        raise TypeError(
            f"{what} must be float32, float64, float16 or bfloat16; got {x.dtype}: {hint}"
        )
    refused = None if name is None else _refusal(name, x.dtype)
    if refused:
        raise ValueError(refused)


def _plain() -> Any:
    return import_module("lowp.torch._plain")  # only devices other than the CPU need it


def _stream(stream: int, calls: torch.Tensor | None) -> int:
    return stream if calls is None else stream + int(calls)


def _options(
    rounding: str | None, saturation: str | None, random_bits: int | None
) -> dict[str, Any]:
    return {"rounding": rounding, "saturation": saturation, "random_bits": random_bits}


# ---- the number of a call ------------------------------------------------------------------------

LIBRARY.define("next_call(Tensor(a!) calls, Tensor? origin=None, *, bool count) -> Tensor")


def _next_call(
    calls: torch.Tensor, origin: torch.Tensor | None = None, *, count: bool
) -> torch.Tensor:
    """The number of this call, counted from origin; then one more, where it counts.

    An operator of its own: a compiler that saw a copy and an addition could make the copy again in
    the backward pass, after the addition.
    """
    number = calls.clone() if origin is None else calls + origin
    if count:
        calls += 1
    return number


LIBRARY.impl("next_call", _next_call, "CompositeExplicitAutograd")
torch.library.register_fake("lowp::next_call", lambda calls, *_, **__: torch.empty_like(calls))


# ---- quantize ------------------------------------------------------------------------------------

LIBRARY.define(
    "quantize(Tensor x, str format, int axis=-1, Tensor? calls=None, Tensor? scales=None, *, "
    "str? rounding=None, str? saturation=None, int? random_bits=None, SymInt seed=0, "
    "SymInt stream=0) -> Tensor"
)


def _memory_order(x: torch.Tensor) -> list[int]:
    """The axes from the slowest in memory to the fastest."""
    return sorted(range(x.ndim), key=lambda axis: (-x.stride(axis), axis))


def _may_permute(found: Any, rounding: str | None) -> bool:
    """Whether lines may be visited in another order: no random bits by place, no sums over lines,
    no tiles.
    """
    if not isinstance(found, lowp.BlockFormat):
        return not (rounding or "").startswith("stochastic")
    fields = found.fields
    across = isinstance(found.shape, tuple) or found.shape in ("column", "tensor")
    mode = rounding or str(fields["rounding"])
    return not across and not mode.startswith("stochastic")


def _codes(x: torch.Tensor) -> Any:
    """16-bit floats as their codes, which any NumPy has; other tensors as they are."""
    return x.view(torch.uint16).numpy() if x.dtype in _HALVES else x.numpy()


def _to_memory(x: torch.Tensor, out: torch.Tensor, found: Any, axis: int, options: Any) -> None:
    """Quantize contiguous x into contiguous out."""
    if x.dtype in _HALVES:
        half = _HALVES[x.dtype]
        _halves.quantize(_codes(x), half, found, axis=axis, out=_codes(out), **options)
    else:
        lowp.quantize(x.numpy(), found, axis=axis, out=out.numpy(), **options)


def _quantize_host(
    x: torch.Tensor, format: str, axis: int, scales: torch.Tensor | None, options: dict[str, Any]
) -> torch.Tensor:
    found = parse(format)
    if not isinstance(found, lowp.BlockFormat):
        axis = -1
    if scales is not None:
        options = {**options, "scales": scales.double().numpy()}
    out = torch.empty_like(x)
    if x.is_contiguous():
        _to_memory(x, out, found, axis, options)
        return out
    order = _memory_order(out)
    permuted, target = x.permute(order), out.permute(order)
    if target.is_contiguous() and scales is None and _may_permute(found, options["rounding"]):
        _to_memory(permuted.contiguous(), target, found, order.index(axis % x.ndim), options)
        return out
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    _to_memory(x.contiguous(), y, found, axis, options)
    return out.copy_(y)


def _quantize(
    x: torch.Tensor,
    format: str,
    axis: int = -1,
    calls: torch.Tensor | None = None,
    scales: torch.Tensor | None = None,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
) -> torch.Tensor:
    check_dtype(x, format)
    options = _options(rounding, saturation, random_bits)
    if x.device.type != "cpu":
        counted: Any = stream if calls is None else calls + stream
        if scales is None:
            return _on_device(x, parse(format), axis=axis, seed=seed, stream=counted, **options)
        y = _quantize(
            x.cpu(), format, axis, calls, scales.cpu(), seed=seed, stream=stream, **options
        )
        return y.to(x.device)
    options |= {"seed": seed, "stream": _stream(stream, calls)}
    return _quantize_host(x, format, axis, scales, options)


def _quantize_cuda(
    x: torch.Tensor,
    format: str,
    axis: int = -1,
    calls: torch.Tensor | None = None,
    scales: torch.Tensor | None = None,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
) -> torch.Tensor:
    """The device's kernel where there is one; the number of the call stays on the device."""
    check_dtype(x, format)
    if _device.kernels() is not None:
        source: dict[str, Any] = {"seed": seed, "stream": stream} if seed or stream else {}
        if calls is not None:
            source["stream_offset"] = counter(calls, x)
        try:
            return _device.quantize(  # type: ignore[no-any-return]
                x,
                format,
                axis=axis,
                rounding=rounding,
                saturation=saturation,
                random_bits=random_bits,
                scales=scales,
                **source,
            )
        except NotImplementedError:
            pass
    options = _options(rounding, saturation, random_bits)
    return _quantize(x, format, axis, calls, scales, seed=seed, stream=stream, **options)


def counter(calls: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor | None:
    """A number of calls, where kernels can read it that work on x."""
    return None if calls is None else calls.to(x.device, torch.int64)


def has_kernels(x: torch.Tensor) -> bool:
    """Whether x lies where lowp._cuda works."""
    return bool(x.is_cuda) and _device.kernels() is not None


def _on_device(x: torch.Tensor, found: Any, **options: Any) -> torch.Tensor:
    """The plain path, or for what it does not know the CPU's kernel on a copy of x."""
    try:
        y = _plain().quantize(x, found, **options)
    except NotImplementedError:
        stream = int(options.pop("stream"))
        y = _quantize(x.cpu(), found.name, options.pop("axis"), stream=stream, **options)
    out = torch.empty_like(x)  # the order in memory that the fake kernel promises
    return y if (y.device, y.stride()) == (out.device, out.stride()) else out.copy_(y)


def _quantize_fake(
    x: torch.Tensor, format: str, axis: int = -1, *_: Any, **__: Any
) -> torch.Tensor:
    check_dtype(x, format)
    return torch.empty_like(x)


def _quantize_vmap(
    info: Any,
    in_dims: Any,
    x: torch.Tensor,
    format: str,
    axis: int = -1,
    calls: torch.Tensor | None = None,
    scales: torch.Tensor | None = None,
    **k: Any,
) -> Any:
    """Scalar formats take the whole batch, blocks of lines another axis; scales that cross lines,
    given scales and random bits by place take one element of the batch after the other.
    """
    if calls is not None or scales is not None:
        raise NotImplementedError("vmap: calls and scales have no batch; call quantize without")
    batch = x.movedim(in_dims[0], 0)
    found = parse(format)
    in_lines = isinstance(found, lowp.BlockFormat) and isinstance(found.shape, int)
    alone = in_lines and found.fields["outer"] == "none"
    if _may_permute(found, k.get("rounding")) and (alone or isinstance(found, lowp.Format)):
        at = axis if axis < 0 else axis + 1
        return torch.ops.lowp.quantize(batch, format, at if batch.ndim > 1 else -1, **k), 0
    rows = [torch.ops.lowp.quantize(row, format, axis, **k) for row in batch]
    return torch.stack(rows) if rows else torch.empty_like(batch), 0


LIBRARY.impl("quantize", _quantize, "CompositeExplicitAutograd")
LIBRARY.impl("quantize", _quantize_cuda, "CUDA")
torch.library.register_fake("lowp::quantize", _quantize_fake)
torch.library.register_vmap("lowp::quantize", _quantize_vmap)
torch.library.register_autograd("lowp::quantize", lambda ctx, dy: (dy, *[None] * 4))


class _StraightThrough(torch.autograd.Function):
    """The operator's derivative without its dispatch."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, call: Any) -> torch.Tensor:
        return call(x)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, None]:
        return dy, None


_PLAIN_TENSORS = (torch.Tensor, torch.nn.Parameter)


def is_eager(x: torch.Tensor) -> bool:
    """Whether nothing needs operators: no compiler, transform, mode or subclass looks on, and no
    sign is left to change, as of z.conj().imag.
    """
    if torch.compiler.is_compiling() or type(x) not in _PLAIN_TENSORS or x.is_neg():
        return False
    try:
        return not (
            torch._C._are_functorch_transforms_active()
            or torch._C._len_torch_dispatch_stack()
            or torch.jit.is_tracing()
        )
    except AttributeError:  # another PyTorch
        return False


def quantize_eager(
    x: torch.Tensor,
    format: str,
    axis: int,
    rounding: str | None,
    saturation: str | None,
    random_bits: int | None,
    seed: int,
    stream: int,
) -> torch.Tensor:
    """torch.ops.lowp.quantize of a tensor on a CUDA device, in half of the host's time."""

    def run(t: torch.Tensor) -> torch.Tensor:
        return _quantize_cuda(
            t,
            format,
            axis,
            rounding=rounding,
            saturation=saturation,
            random_bits=random_bits,
            seed=seed,
            stream=stream,
        )

    if not (x.requires_grad and torch.is_grad_enabled()):
        return run(x)
    y: torch.Tensor = _StraightThrough.apply(x, run)
    return y


# ---- saturated -----------------------------------------------------------------------------------

LIBRARY.define("saturated(Tensor x, str format, int axis=-1, Tensor? scale=None) -> Tensor")


def _limits(x: torch.Tensor, block: Any, axis: int) -> torch.Tensor:
    """The largest magnitude that each element's block reaches on the element's side of zero."""
    encoded = lowp.encode(x.float().contiguous().numpy(), block, axis=axis, packed=False, nan=0)
    element = block.element
    top = element.max_code if isinstance(element, lowp.Format) else len(element) - 1
    bottom = element.lowest_code if isinstance(element, lowp.Format) else 0
    wide = np.dtype(f"<u{encoded.codes.size // max(encoded.size, 1) or 1}")
    codes = np.where(x.float().numpy() < 0, bottom, top).astype(wide)
    encoded.codes = np.ascontiguousarray(codes).reshape(-1).view(np.uint8)
    return torch.from_numpy(np.abs(np.asarray(encoded.decode(np.float32))))


def _limits_cuda(x: torch.Tensor, block: Any, axis: int) -> torch.Tensor:
    """The same where lowp._cuda works."""
    tensor = _device_blocks.encode(x.float(), block, axis=axis, packed=False, nan=0)
    lowest, largest = _device_blocks.limits(tensor)
    return torch.where(x < 0, lowest.abs(), largest)


def _saturated(
    x: torch.Tensor, format: str, axis: int = -1, scale: torch.Tensor | None = None
) -> torch.Tensor:
    """Where x is beyond the largest value of its format, times scale where there is one, or of its
    block: bool, x's shape. NaN is not; infinity is.
    """
    check_dtype(x, format)
    found = parse(format)
    if scale is not None:
        return (x > found.max * scale) | (x < found.lowest * scale)
    if isinstance(found, lowp.BlockFormat):
        if has_kernels(x):
            return x.abs() > _limits_cuda(x, found, axis)
        limits = _limits(x.cpu(), found, axis).to(x.device)
        return x.abs() > limits
    return (x > found.max) | (x < found.lowest)


def _saturated_fake(x: torch.Tensor, format: str, *_: Any) -> torch.Tensor:
    check_dtype(x, format)
    return torch.empty_like(x, dtype=torch.bool)


LIBRARY.impl("saturated", _saturated, "CompositeExplicitAutograd")
torch.library.register_fake("lowp::saturated", _saturated_fake)


# ---- hadamard ------------------------------------------------------------------------------------

LIBRARY.define(
    "hadamard(Tensor x, int size, int axis=-1, Tensor? calls=None, *, bool inverse=False, "
    "SymInt? seed=None, SymInt stream=0) -> Tensor"
)


def _hadamard(
    x: torch.Tensor,
    size: int,
    axis: int = -1,
    calls: torch.Tensor | None = None,
    *,
    inverse: bool = False,
    seed: int | None = None,
    stream: int = 0,
) -> torch.Tensor:
    check_dtype(x)
    if x.device.type != "cpu":
        counted: Any = stream if calls is None else calls + stream
        lines = x.movedim(axis, -1).contiguous()
        y = _plain().hadamard(lines, size, seed=seed, stream=counted, inverse=inverse)
        return y.movedim(-1, axis).contiguous()
    wide = (x.float() if x.dtype in _HALVES else x).contiguous()
    number = _stream(stream, calls)
    values = lowp.hadamard(wide.numpy(), size, seed=seed, stream=number, inverse=inverse, axis=axis)
    return torch.from_numpy(values).to(x.dtype)


def _hadamard_cuda(
    x: torch.Tensor,
    size: int,
    axis: int = -1,
    calls: torch.Tensor | None = None,
    *,
    inverse: bool = False,
    seed: int | None = None,
    stream: int = 0,
) -> torch.Tensor:
    """The device's kernel where the package has them; the number of the call stays there."""
    named: dict[str, Any] = {"inverse": inverse, "seed": seed, "stream": stream}
    if _device.kernels() is None:
        return _hadamard(x, size, axis, calls, **named)
    check_dtype(x)
    if calls is not None:
        named["stream_offset"] = calls.to(x.device, torch.int64)
    return _device_hadamard.hadamard(x, size, axis=axis, **named)  # type: ignore[no-any-return]


def _hadamard_fake(x: torch.Tensor, size: int, axis: int = -1, *_: Any, **__: Any) -> torch.Tensor:
    check_dtype(x)
    if x.shape[axis] % size:
        raise ValueError(
            f"axis {axis} must be a multiple of size {size}; got {x.shape[axis]}: pad it"
        )
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _hadamard_backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    size, axis, keywords = ctx.arguments
    (calls,) = ctx.saved_tensors
    keywords = {**keywords, "inverse": not keywords["inverse"]}
    return torch.ops.lowp.hadamard(dy, size, axis, calls, **keywords), None, None, None


def _hadamard_setup(ctx: Any, inputs: Any, keyword_only_inputs: Any, output: Any) -> None:
    ctx.arguments = (inputs[1], inputs[2], keyword_only_inputs)
    ctx.save_for_backward(inputs[3])


LIBRARY.impl("hadamard", _hadamard, "CompositeExplicitAutograd")
LIBRARY.impl("hadamard", _hadamard_cuda, "CUDA")
torch.library.register_fake("lowp::hadamard", _hadamard_fake)
torch.library.register_autograd("lowp::hadamard", _hadamard_backward, setup_context=_hadamard_setup)
