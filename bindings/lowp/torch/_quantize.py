"""The operator quantize: a tensor on the grid of a format."""

from __future__ import annotations

from typing import Any

import torch

import lowp
from lowp import _device, _halves
from lowp.torch._ops import HALVES, LIBRARY, check_dtype, counter, modes, parse, plain, stream_of

__all__ = ["is_eager", "quantize_eager", "quantize_host", "without_dispatcher"]

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
    return x.view(torch.uint16).numpy() if x.dtype in HALVES else x.numpy()


def _to_memory(x: torch.Tensor, out: torch.Tensor, found: Any, axis: int, options: Any) -> None:
    """Quantize contiguous x into contiguous out."""
    if x.dtype in HALVES:
        half = HALVES[x.dtype]
        _halves.quantize(_codes(x), half, found, axis=axis, out=_codes(out), **options)
    else:
        lowp.quantize(x.numpy(), found, axis=axis, out=out.numpy(), **options)


def quantize_host(
    x: torch.Tensor, found: Any, axis: int, scales: torch.Tensor | None, options: dict[str, Any]
) -> torch.Tensor:
    """A tensor of the CPU in a Format or BlockFormat; options: all of lowp.quantize's."""
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
    options = modes(rounding, saturation, random_bits)
    if x.device.type != "cpu":
        counted: Any = stream if calls is None else calls + stream
        if scales is None:
            return _on_device(x, parse(format), axis=axis, seed=seed, stream=counted, **options)
        y = _quantize(
            x.cpu(), format, axis, calls, scales.cpu(), seed=seed, stream=stream, **options
        )
        return y.to(x.device)
    options |= {"seed": seed, "stream": stream_of(stream, calls)}
    return quantize_host(x, parse(format), axis, scales, options)


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
    options = modes(rounding, saturation, random_bits)
    return _quantize(x, format, axis, calls, scales, seed=seed, stream=stream, **options)


def _on_device(x: torch.Tensor, found: Any, **options: Any) -> torch.Tensor:
    """The plain path, or for what it does not know the CPU's kernel on a copy of x."""
    try:
        y = plain().quantize(x, found, **options)
    except NotImplementedError:
        stream = int(options.pop("stream"))
        y = _quantize(x.cpu(), found.name, options.pop("axis"), stream=stream, **options)
    out = torch.empty_like(x)  # the order in memory that the fake kernel promises
    return y if (y.device, y.stride()) == (out.device, out.stride()) else out.copy_(y)


def without_dispatcher(x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
    """torch.ops.lowp.quantize within another operator."""
    quantize: Any = _quantize_cuda if x.is_cuda else _quantize
    y: torch.Tensor = quantize(x, *arguments, **options)
    return y


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
