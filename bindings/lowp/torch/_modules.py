"""Converted modules: a module's class gets a sibling that computes in the layer's formats.

Only the class changes and a child named `lowp` joins, so parameters, their names, hooks, ties and
isinstance stay; `restore` puts the class back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.lazy import LazyModuleMixin

from lowp.torch._convolution import Geometry, convolution
from lowp.torch._products import linear
from lowp.torch._state import LayerState, cast_pair

__all__ = ["KIND_OF", "Converted", "kind_of", "put", "refusal", "take_away"]


class Converted:
    """What all converted modules have."""

    lowp: LayerState
    _original: Any
    #: The original without what parametrize made of it, whose properties hide attributes.
    _bare: Any
    _sibling: type[Converted]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """The class is made anew where it is read: it has no name that a pickle could find."""
        state = super().__reduce_ex__(protocol)[2]  # type: ignore[misc]
        return _rebuild, (self._sibling, self._original), state

    @classmethod
    def parts(cls, module: nn.Module) -> dict[str, str]:
        """Names and kinds of products inside the module that have states of their own, if any."""
        return {}

    @classmethod
    def one_of(cls, module: nn.Module, part: str) -> str:
        """The part that a report names for this one where both have the same layer."""
        return part


_siblings: dict[tuple[Any, Any], Any] = {}


def _bare(kind: type) -> type:
    """A class as it was before torch.nn.utils.parametrize made another of it."""
    return next(c for c in kind.__mro__ if c.__module__ != "torch.nn.utils.parametrize")


def _joined(sibling: Any, original: Any) -> Any:
    """The one class that is both."""
    key = (sibling, original)
    if key not in _siblings:
        body = {"_original": original, "_bare": _bare(original), "_sibling": sibling}
        body |= {"__module__": original.__module__}
        _siblings[key] = type(f"Lowp{original.__name__}", key, body)
    return _siblings[key]


def _parted(kind: Any) -> Any:
    """The class without the sibling, with what others put on top of it or into it since."""
    own = {k: v for k, v in vars(kind).items() if k not in ("__dict__", "__weakref__")}
    if "_original" not in own:
        bases = tuple(_parted(c) if issubclass(c, Converted) else c for c in kind.__bases__)
        return type(kind.__name__.replace("Lowp", "", 1), bases, own)
    original = kind._original
    # tensors parametrized since, in a class that copies of the module may share
    since = {name: value for name, value in own.items() if isinstance(value, property)}
    if not since:
        return original
    return type(original.__name__, original.__bases__, {**vars(original), **since})


def _rebuild(sibling: Any, original: Any) -> Any:
    joined = _joined(sibling, original)
    return joined.__new__(joined)


def put(module: nn.Module, sibling: type[Converted], state: nn.Module | None) -> None:
    """Convert the module in place. state: a LayerState, those of its parts by name, or none."""
    module.__class__ = _joined(sibling, type(module))
    if state is None:
        return
    module.lowp = state.train(module.training)


def take_away(module: nn.Module) -> None:
    """Put the module back as it was; what was parametrized since stays so."""
    module._modules.pop("lowp", None)
    module.__class__ = _parted(type(module))


# ---- products ------------------------------------------------------------------------------------


class Linear(Converted):
    """nn.Linear."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """input: (..., in_features)."""
        return linear(input, self.weight, self.bias, self.lowp)


class TransposedLinear(Converted):
    """Conv1D of Hugging Face: its weight is (in, out)."""

    weight: torch.Tensor
    bias: torch.Tensor | None

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

    def forward(self: Any, input: torch.Tensor, output_size: Any = None) -> torch.Tensor:
        """input: (N, C, ...) or (C, ...); output_size: as in PyTorch."""
        dims = self.weight.ndim - 2
        extra = self._output_padding(
            input,
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
        return convolution(input, self.weight, self.bias, g, self.lowp)


# ---- without products ----------------------------------------------------------------------------


def _with_first_cast(
    args: tuple[Any, ...], named: dict[str, Any], s: LayerState, calls: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a forward, the first of them cast, under whatever name it comes."""
    if args:
        return (cast_pair(args[0], "x", "", s, calls), *args[1:]), named
    first = dict.fromkeys(list(named)[:1])
    return args, {**named, **{name: cast_pair(named[name], "x", "", s, calls) for name in first}}


class Elementwise(Converted):
    """Activations: input, output and their gradients."""

    def forward(self: Any, *args: Any, **named: Any) -> Any:
        """The module's own forward between two casts; of several results the first is cast."""
        calls = self.lowp.next_call()
        args, named = _with_first_cast(args, named, self.lowp, calls)
        y = super().forward(*args, **named)  # type: ignore[misc]
        if not isinstance(y, torch.Tensor):
            return y
        return cast_pair(y, "output", "dgrad_dy", self.lowp, calls)


class Norm(Converted):
    """nn.LayerNorm, RMSNorm, GroupNorm, BatchNorm: weight and bias have formats, too."""

    def forward(self: Any, *args: Any, **named: Any) -> torch.Tensor:
        """As the original, with its weight and bias replaced by what is on their grids.

        The original's forward runs on another object with the same attributes, so that the
        module's parameters stay where they are, for other threads and for what iterates over them.
        """
        s: LayerState = self.lowp
        calls = s.next_call()
        own = {"weight": "w", "bias": "bias"}
        tensors = {
            name: cast_pair(value, role, "", s, calls)
            for name, role in own.items()
            if isinstance(value := getattr(self, name, None), torch.Tensor)
        }
        shown = object.__new__(self._bare)
        for name in self._attributes():
            shown.__dict__[name] = self.__dict__[name]
        for name, tensor in tensors.items():
            shown.__dict__[name] = tensor  # found before parameters and buffers are looked through
        args, named = _with_first_cast(args, named, s, calls)
        return cast_pair(self._bare.forward(shown, *args, **named), "output", "dgrad_dy", s, calls)

    @torch.compiler.assume_constant_result
    def _attributes(self) -> tuple[str, ...]:
        """Names of what the module itself holds, found as code is compiled, not in it: Dynamo of
        PyTorch 2.11 iterates over no module's `__dict__`.
        """
        return tuple(self.__dict__)


class Embedding(Converted):
    """nn.Embedding: rows of the table, the format along them."""

    def forward(self: Any, input: torch.Tensor) -> torch.Tensor:
        """input: integers of any shape."""
        s: LayerState = self.lowp
        calls = s.next_call()
        if self.max_norm is not None:  # of the weight itself, for good, as in PyTorch
            with torch.no_grad():
                torch.embedding_renorm_(
                    self.weight, input.contiguous(), self.max_norm, self.norm_type
                )
        table = cast_pair(self.weight, "w", "", s, calls)
        y = F.embedding(
            input,
            table,
            self.padding_idx,
            scale_grad_by_freq=self.scale_grad_by_freq,
            sparse=self.sparse,
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
    (nn.SyncBatchNorm, "norm", Norm),
    (nn.modules.batchnorm._BatchNorm, "norm", Norm),
    (nn.modules.instancenorm._InstanceNorm, "norm", Norm),
    *((nn.RMSNorm, "norm", Norm) for _ in range(hasattr(nn, "RMSNorm"))),
    *((getattr(nn, name), "activation", Elementwise) for name in _ACTIVATIONS),
]


def _by_name(module: nn.Module) -> tuple[str, type[Converted]] | None:
    """Modules of Hugging Face's models, which are of no class of PyTorch's."""
    name = _bare(type(module)).__name__
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


def _has_forward_of_its_own(module: nn.Module) -> bool:
    """Whether the module, or its class, does something else than the class that is known."""
    if "forward" in vars(module):
        return True
    kind = type(module)
    for original, _, _ in KIND_OF:
        if isinstance(module, original):
            names = ("forward", "_conv_forward")
            return any(getattr(kind, n, None) is not getattr(original, n, None) for n in names)
    # of those known by name, only the linear layer's forward is replaced and not called
    bare = _bare(kind)
    return bare.__name__ == "Conv1D" and not bare.__module__.startswith("transformers.")


def refusal(module: nn.Module) -> str:
    """Why a module of a known kind must be left as it is, or ""."""
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():  # type: ignore[misc]
        return "not initialized: run a batch first"
    if _has_forward_of_its_own(module):
        return "forward of its own: use lowp.torch.functional"
    return ""
