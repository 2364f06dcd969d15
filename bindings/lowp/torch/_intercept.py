"""Modules that catch calls of PyTorch's functions while their forward runs.

torch.overrides.TorchFunctionMode hands over each call before PyTorch sees it, however the model
came by the function; torch.compile traces through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lowp.torch._modules import Converted

__all__ = ["Catching", "Handler", "untouched"]

#: What a caught function becomes: called with the function, its arguments, its named arguments.
Handler = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]


class Intercept(TorchFunctionMode):
    """While it is entered, functions of these names go to their handlers, on this thread only.

    The innermost one wins: a module's own states come before those of what it is part of.
    """

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        super().__init__()
        self.handlers = handlers

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """The handler's result, or the function's own."""
        if func is torch.Tensor.unflatten:  # in Python, and of a form that no compiler traces
            func = torch.unflatten
        handler = self.handlers.get(getattr(func, "__name__", ""))
        if handler is None:
            return func(*args, **(kwargs or {}))
        return handler(func, args, kwargs or {})


def untouched(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The function itself, hidden from whatever else would catch it."""
    with torch._C.DisableTorchFunction():
        return func(*args, **kwargs)


class _Listed:
    """What makes nn.Sequential and nn.ModuleList lists, without the child `lowp`."""

    def _members(self: Any) -> dict[str, nn.Module]:
        return {name: m for name, m in self._modules.items() if name != "lowp"}

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self._members().values())

    def __len__(self) -> int:
        return len(self._members())

    def __getitem__(self: Any, index: Any) -> Any:
        plain = object.__new__(self._bare)
        plain.__dict__.update(self.__dict__, _modules=self._members())
        return plain[index]


class Catching(Converted):
    """A converted module whose own forward runs, with some of the functions it calls replaced."""

    def __init_subclass__(cls, **named: Any) -> None:
        """The converted class keeps the signature of its original's forward."""
        super().__init_subclass__(**named)
        if "_original" not in vars(cls):
            return
        original: Any = cls._original

        @wraps(original.forward)
        def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
            with Intercept(self.handlers()):
                return original.forward(self, *args, **kwargs)

        cls.forward = forward  # type: ignore[attr-defined]
        if issubclass(original, (nn.Sequential, nn.ModuleList)):
            for name in ("_members", "__iter__", "__len__", "__getitem__"):
                setattr(cls, name, vars(_Listed)[name])

    def handlers(self) -> Mapping[str, Handler]:
        """What the functions become, by name."""
        raise NotImplementedError
