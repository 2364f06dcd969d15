"""Converted modules: a module's class gets a sibling that computes in the layer's formats.

Only the class changes and a child named `lowp` joins, so parameters, their names, hooks, ties and
isinstance stay; `restore` puts the class back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from lowp.torch._convolution import Geometry, convolution
from lowp.torch._products import linear
from lowp.torch._state import LayerState, cast_pair

__all__ = ["KIND_OF", "Converted", "kind_of", "put", "take_away"]


class Converted:
    """What all converted modules have."""

    lowp: LayerState
    _original: type[nn.Module]
    _sibling: type[Converted]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """The class is made anew where it is read: it has no name that a pickle could find."""
        state = super().__reduce_ex__(protocol)[2]  # type: ignore[misc]
        return _rebuild, (self._sibling, self._original), state

    @classmethod
    def parts(cls, module: nn.Module) -> dict[str, str]:
        """Names and kinds of products inside the module that have states of their own, if any."""
        return {}


_siblings: dict[tuple[Any, Any], Any] = {}


def _joined(sibling: Any, original: Any) -> Any:
    """The one class that is both."""
    key = (sibling, original)
    if key not in _siblings:
        body = {"_original": original, "_sibling": sibling, "__module__": original.__module__}
        _siblings[key] = type(f"Lowp{original.__name__}", key, body)
    return _siblings[key]


def _rebuild(sibling: Any, original: Any) -> Any:
    joined = _joined(sibling, original)
    return joined.__new__(joined)


def put(module: nn.Module, sibling: type[Converted], state: nn.Module | None) -> None:
    """Convert the module in place. state: a LayerState, those of its parts by name, or none."""
    module.__class__ = _joined(sibling, type(module))
    if state is None:
        return
    state.train(module.training)
    first = next(module.parameters(), None)
    if first is not None:
        state.to(first.device)
    module.lowp = state


def take_away(module: nn.Module) -> None:
    """Put the module back as it was."""
    module._modules.pop("lowp", None)
    module.__class__ = module._original  # type: ignore[assignment]


# ---- products ------------------------------------------------------------------------------------


class Linear(Converted):
    """nn.Linear."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., in_features)."""
        return linear(x, self.weight, self.bias, self.lowp)


class TransposedLinear(Linear):
    """Conv1D of Hugging Face: its weight is (in, out)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., in)."""
        return linear(x, self.weight.t(), self.bias, self.lowp)


def _each(value: Any, dims: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (int(value),) * dims


class Conv(Converted):
    """nn.Conv1d to Conv3d: their own forward pads, this convolves."""

    def _conv_forward(
        self: Any, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        dims = w.ndim - 2
        padding = self.padding
        if self.padding_mode != "zeros":
            x = F.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = 0
        elif padding == "valid":
            padding = 0
        elif padding == "same":
            x, padding = _pad_same(x, self.kernel_size, self.dilation)
        g = Geometry(
            _each(self.stride, dims),
            _each(padding, dims),
            _each(self.dilation, dims),
            (0,) * dims,
            self.groups,
        )
        return convolution(x, w, bias, g, self.lowp)


def _pad_same(
    x: torch.Tensor, kernel: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[torch.Tensor, tuple[int, ...]]:
    """What padding="same" adds: the odd zero goes after the values."""
    spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if any(span % 2 for span in spans):
        x = F.pad(x, [p for span in reversed(spans) for p in (0, span % 2)])
    return x, tuple(span // 2 for span in spans)


class ConvTranspose(Converted):
    """nn.ConvTranspose1d to ConvTranspose3d."""

    def forward(self: Any, x: torch.Tensor, output_size: Any = None) -> torch.Tensor:
        """x: (N, C, ...) or (C, ...); output_size: as in PyTorch."""
        dims = self.weight.ndim - 2
        extra = self._output_padding(
            x,
            output_size,
            self.stride,
            self.padding,
            self.kernel_size,
            dims,
            self.dilation,
        )
        g = Geometry(
            _each(self.stride, dims),
            _each(self.padding, dims),
            _each(self.dilation, dims),
            _each(extra, dims),
            self.groups,
            transposed=True,
        )
        return convolution(x, self.weight, self.bias, g, self.lowp)


# ---- without products ----------------------------------------------------------------------------


class Elementwise(Converted):
    """Activations, and norms whose weights are not at hand: input, output and their gradients."""

    def forward(self: Any, x: torch.Tensor, *rest: Any, **named: Any) -> Any:
        """The module's own forward between two casts; of several results the first is cast."""
        calls = self.lowp.next_call()
        y = super().forward(cast_pair(x, "x", "", self.lowp, calls), *rest, **named)  # type: ignore[misc]
        if not isinstance(y, torch.Tensor):
            return y
        return cast_pair(y, "output", "dgrad_dy", self.lowp, calls)


class Norm(Converted):
    """nn.LayerNorm, RMSNorm, GroupNorm, BatchNorm: weight and bias have formats, too."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        """As the original, with its weight and bias replaced by what is on their grids."""
        s: LayerState = self.lowp
        calls = s.next_call()
        own = {"weight": "w", "bias": "bias"}
        tensors = {
            name: cast_pair(value, role, "", s, calls)
            for name, role in own.items()
            if (value := getattr(self, name, None)) is not None
        }
        kept = {name: self._parameters.pop(name) for name in tensors}
        try:
            self.__dict__.update(tensors)
            y = super().forward(cast_pair(x, "x", "", s, calls))  # type: ignore[misc]
        finally:
            for name in tensors:
                del self.__dict__[name]
            self._parameters.update(kept)
        return cast_pair(y, "output", "dgrad_dy", s, calls)


class Embedding(Converted):
    """nn.Embedding: rows of the table, the format along them."""

    def forward(self: Any, indices: torch.Tensor) -> torch.Tensor:
        """indices: integers of any shape."""
        s: LayerState = self.lowp
        calls = s.next_call()
        table = cast_pair(self.weight, "w", "", s, calls)
        y = F.embedding(
            indices,
            table,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )
        return cast_pair(y, "output", "dgrad_dy", s, calls)


# ---- which is which ------------------------------------------------------------------------------

_ACTIVATIONS = [
    "ReLU",
    "ReLU6",
    "LeakyReLU",
    "ELU",
    "SELU",
    "CELU",
    "GELU",
    "SiLU",
    "Mish",
    "Sigmoid",
    "Tanh",
    "Softplus",
    "Softsign",
    "Hardtanh",
    "Hardsigmoid",
    "Hardswish",
    "LogSigmoid",
    "Softmax",
    "LogSoftmax",
    "Softmin",
    "GLU",
    "RReLU",
    "Softshrink",
    "Hardshrink",
]

#: Module type, its kind, what it becomes; the first that fits counts.
KIND_OF: list[tuple[type[nn.Module], str, type[Converted]]] = [
    (nn.Linear, "linear", Linear),
    *((getattr(nn, f"Conv{d}d"), "conv", Conv) for d in (1, 2, 3)),
    *((getattr(nn, f"ConvTranspose{d}d"), "conv", ConvTranspose) for d in (1, 2, 3)),
    (nn.Embedding, "embedding", Embedding),
    (nn.LayerNorm, "norm", Norm),
    (nn.GroupNorm, "norm", Norm),
    (nn.modules.batchnorm._BatchNorm, "norm", Norm),
    (nn.modules.instancenorm._InstanceNorm, "norm", Norm),
    *((nn.RMSNorm, "norm", Norm) for _ in range(hasattr(nn, "RMSNorm"))),
    *((getattr(nn, name), "activation", Elementwise) for name in _ACTIVATIONS),
]


def _by_name(module: nn.Module) -> tuple[str, type[Converted]] | None:
    """Modules of Hugging Face's models, which are of no class of PyTorch's."""
    name = type(module).__name__
    weight = getattr(module, "weight", None)
    if name == "Conv1D" and isinstance(weight, torch.Tensor) and weight.ndim == 2:
        return "linear", TransposedLinear
    if name.endswith(("RMSNorm", "LayerNorm")) and isinstance(weight, torch.Tensor):
        return "norm", Norm
    if name.endswith(("Activation", "GELU")) and not list(module.parameters()):
        return "activation", Elementwise
    return None


def kind_of(module: nn.Module) -> tuple[str, type[Converted]] | None:
    """The kind of a module and what it becomes, or None."""
    for original, kind, sibling in KIND_OF:
        if isinstance(module, original):
            return kind, sibling
    return _by_name(module)


Rule = Callable[[nn.Module], bool]
