"""Modules that attend: nn.MultiheadAttention, and all whose forward calls PyTorch's attention.

The calls are caught while the module's forward runs, whoever makes them: the module itself, a
function of its file, or one that Hugging Face's models pick from a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import CodeType, FunctionType
from typing import Any

from torch import nn

from lowp.torch._attention import scaled_dot_product_attention
from lowp.torch._intercept import Catching, Handler, untouched
from lowp.torch._modules import KIND_OF, Converted
from lowp.torch._multi_head import States, multi_head_attention

__all__ = ["FUSED", "Attending", "MultiheadAttention", "Slow", "attends"]

_SDPA, _MULTI_HEAD = "scaled_dot_product_attention", "multi_head_attention_forward"


class Attending(Catching):
    """A module whose forward calls F.scaled_dot_product_attention, itself or through functions.

    Without states it is one to be left alone inside one that is not.
    """

    def handlers(self: Any) -> Mapping[str, Handler]:
        """Both functions in the formats of the module's states."""
        states = self._modules.get("lowp")
        if states is None:
            return {_SDPA: untouched, _MULTI_HEAD: untouched}
        return self._in_formats(states._modules)

    def _in_formats(self: Any, found: States) -> Mapping[str, Handler]:
        out_proj = getattr(getattr(self, "out_proj", None), "lowp", None)

        def sdpa(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            qk, pv = found.get("qk"), found.get("pv")
            return scaled_dot_product_attention(*args, **kwargs, qk=qk, pv=pv)

        def multi_head(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return multi_head_attention(found, out_proj, *args, **kwargs)

        return {_SDPA: sdpa, _MULTI_HEAD: multi_head}

    @classmethod
    def parts(cls, module: nn.Module) -> dict[str, str]:
        """Its two products."""
        return {"qk": "attention", "pv": "attention"}


class MultiheadAttention(Attending):
    """nn.MultiheadAttention: three projections of its inputs beside the two products.

    The projection of the result is the child out_proj, a linear layer of its own.
    """

    @classmethod
    def parts(cls, module: nn.Module) -> dict[str, str]:
        """Products inside the module: in_proj is of all three inputs where they are one tensor."""
        linear = dict.fromkeys(("in_proj", "in_proj_k", "in_proj_v"), "linear")
        return {**linear, **super().parts(module)}

    @classmethod
    def one_of(cls, module: Any, part: str) -> str:
        """in_proj for its keys and values, where all three are one matrix and often one product."""
        one = module._qkv_same_embed_dim and part in ("in_proj_k", "in_proj_v")
        return "in_proj" if one else part

    def handlers(self: Any) -> Mapping[str, Handler]:
        """PyTorch takes out_proj's weight, not its forward: its state alone is enough."""
        if "lowp" not in self._modules and isinstance(self.out_proj, Converted):
            return self._in_formats({})
        return super().handlers()


class Slow(Converted):
    """Encoders of nn.Transformer without the fused path, which would pass their modules by."""

    activation_relu_or_gelu = property(lambda self: 0)
    use_nested_tensor = property(lambda self: False)


#: What becomes Slow where a module inside is converted.
FUSED = (nn.TransformerEncoder, nn.TransformerEncoderLayer)

KIND_OF.insert(0, (nn.MultiheadAttention, "attention", MultiheadAttention))


# ---- which modules call it -----------------------------------------------------------------------


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _mentions(function: FunctionType, seen: set[CodeType]) -> bool:
    """Whether the function, or a function of its module that it names, names the attention."""
    seen.add(function.__code__)
    names = set(_names(function.__code__))
    called = (function.__globals__.get(name) for name in names)
    return _SDPA in names or any(
        _mentions(f, seen)
        for f in called
        if isinstance(f, FunctionType)
        and f.__code__ not in seen
        and not f.__module__.startswith("torch.")
    )


@cache
def _class_attends(kind: Any) -> bool:
    if "attention" in kind.__name__.lower() or "attn" in kind.__name__.lower():
        return True
    own = (c for c in kind.__mro__ if not c.__module__.startswith(("torch.", "lowp.")))
    functions = (f for c in own for f in vars(c).values() if isinstance(f, FunctionType))
    return any(_mentions(f, set()) for f in functions)


def attends(module: nn.Module) -> bool:
    """Whether the module's class is called attention, or its code names PyTorch's.

    Only what is asked for by neither is left to the model, which catches the calls of all others.
    """
    kind: Any = type(module)
    return not kind.__module__.startswith("torch.") and _class_attends(kind)
