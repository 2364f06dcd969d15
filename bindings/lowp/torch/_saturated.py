"""The operator saturated: where values are beyond the largest of their format or block."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import lowp
from lowp import _device_blocks
from lowp.torch._ops import LIBRARY, check_dtype, has_kernels, parse

__all__: list[str] = []  # an operator: torch.ops.lowp.saturated

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
