"""Where NaN and infinity come from: detect_nan at once, check_loss when the loss shows it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from types import TracebackType

import torch
from torch import nn

from lowp.torch._ops import parse
from lowp.torch._state import Cast, LayerState
from lowp.torch.monitor import attach, detach, states, warn_of_compiled

__all__ = ["Offender", "check_loss", "detect_nan"]

_ACTIONS = ("raise", "warn", "remember")


@dataclass(frozen=True)
class Offender:
    """A tensor with NaN or infinity: of which module and role, in which format.

    amax: its largest finite magnitude. arrived: whether it was not finite before it was quantized.
    largest: the format's, of block formats the element's.
    """

    module: str
    role: str
    format: str
    amax: float
    largest: float
    arrived: bool

    def __str__(self) -> str:
        """What happened, and what to do."""
        who = f"{self.module}, {self.role} ({self.format}, largest {self.largest:g})"
        if self.arrived:
            rest = f"amax of the rest {self.amax:g}"
            return f"{who}: NaN or infinity arrived, {rest}; {self._before()}"
        return (
            f"{who}: finite values of amax {self.amax:g} became NaN or infinity; use "
            "saturation='finite', a scaled or block format, or one of more exponent bits"
        )

    def _before(self) -> str:
        if self.role in ("w", "bias", "dgrad_w"):
            return "an update made it so: look at the gradients and the learning rate"
        if self.role in ("dgrad_dy", "wgrad_dy"):
            return "it came with the gradient: look at the loss and at the modules after this one"
        return "look at the data and at what runs between the converted modules before this one"


def _is_finite(x: torch.Tensor) -> bool:
    """Whether all elements are; the sum is finite only then, and cheaper."""
    return bool(x.sum().isfinite()) or bool(x.isfinite().all())


def _offender(cast: Cast, module: str) -> Offender | None:
    x, y = cast.x.detach(), cast.y.detach()
    arrived = not _is_finite(x)
    if not arrived and _is_finite(y):
        return None
    found = parse(cast.quantizer.format)
    rest = x[x.isfinite()]
    return Offender(
        module,
        cast.role,
        cast.quantizer.format,
        float(rest.abs().amax()) if rest.numel() else 0.0,
        float(getattr(found, "element_max", None) or found.max),
        arrived,
    )


class detect_nan:  # noqa: N801 - used as a verb, as torch.autograd.detect_anomaly
    """Watches every tensor that a converted model quantizes, for the length of a with block.

        >>> with lowp.torch.detect_nan(model):
        ...     loss(model(x)).backward()

    action: "raise" FloatingPointError at the first tensor that is not finite, before or after it is
    quantized; "warn" once a module and role; "remember" only, for check_loss. The message has the
    module, the role, the format, the largest magnitude and what to do. `first` is the first
    Offender, or None. Code made by torch.compile is not watched: a RuntimeWarning says so.
    ValueError: another action, a model that is not converted.
    """

    def __init__(self, model: nn.Module, action: str = "raise") -> None:
        if action not in _ACTIONS:
            raise ValueError(
                f"detect_nan: action must be one of {', '.join(_ACTIONS)}; got {action!r}"
            )
        self.first: Offender | None = None
        self.action = action
        self._model = model
        self._names = {id(s): name for name, s in states(model, "detect_nan").items()}
        self._attached: list[LayerState] = []
        self._told: set[tuple[str, str]] = set()

    def __enter__(self) -> detect_nan:
        """Watch from now on."""
        warn_of_compiled(self._model, "detect_nan")
        self._attached = list(states(self._model, "detect_nan").values())
        attach(self._attached, self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Watch no more."""
        detach(self._attached, self)
        self._attached = []

    def __call__(self, cast: Cast) -> None:
        """Look at one tensor."""
        if self.action == "remember" and self.first is not None:
            return
        with torch.no_grad():
            found = _offender(cast, self._names.get(id(cast.state), cast.state.name))
        if found is None:
            return
        self.first = self.first or found
        if self.action == "raise":
            raise FloatingPointError(str(found))
        if self.action == "warn" and (found.module, found.role) not in self._told:
            self._told.add((found.module, found.role))
            warnings.warn(str(found), RuntimeWarning, stacklevel=2)


def _origin(model: nn.Module) -> str:
    """What is known of where a loss that is not finite came from."""
    found = states(model, "check_loss").values()
    watches = [o for s in found for o in s.observers if isinstance(o, detect_nan)]
    if watches:
        first = watches[0].first
        finite = "every tensor that the converted modules quantized was finite; it arose after them"
        return str(first or finite)
    for name, parameter in model.named_parameters():
        if not _is_finite(parameter.detach()):
            return f"parameter {name} holds NaN or infinity: an update made it so"
    return "run the step within lowp.torch.detect_nan(model, 'remember') to learn which module"


def check_loss(loss: torch.Tensor | float, model: nn.Module, action: str = "raise") -> None:
    """Nothing where the loss is finite; else ValueError that names the module and role where NaN or
    infinity arose first.

    loss: a number or a tensor. model: converted; within detect_nan(model, "remember") its modules
    are known, without it only a parameter that is not finite. action: "raise", or "warn" with a
    RuntimeWarning. ValueError: another action, a model that is not converted.
    """
    if action not in ("raise", "warn"):
        raise ValueError(f"check_loss: action must be raise or warn; got {action!r}")
    value = torch.as_tensor(loss).detach()
    if _is_finite(value):
        return
    shown = float(value) if value.numel() == 1 else "not finite"
    message = f"the loss is {shown}: {_origin(model)}"
    if action == "raise":
        raise ValueError(message)
    warnings.warn(message, RuntimeWarning, stacklevel=2)
