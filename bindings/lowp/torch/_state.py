"""What a layer remembers: its name, its random streams, its calls, its delayed scales."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

import lowp
from lowp.torch import _delayed, _hadamard, _quantize, _saturated  # noqa: F401 - operators
from lowp.torch._ops import parse
from lowp.torch._pairing import has_pairs, is_its_own_turned
from lowp.torch._tensor_cores import routes
from lowp.torch.recipe import PRODUCTS, QUANTIZED, Delayed, Hadamard, Layer, Quantizer

__all__ = ["LayerState", "cast", "cast_pair"]

#: Streams of a role: numbers are part of what makes a run reproducible, and stay.
_ROLES = {role: number for number, role in enumerate(QUANTIZED)}
_TRANSFORMS = {"forward": 32, "dgrad": 33, "wgrad": 34}
#: Where the layer's number starts in a stream: `number | role of 8 bits | call of 32 bits`.
_NUMBER = 40

#: Weights are the same on every rank, and must stay the same.
_SHARED = ("w", "bias", "dgrad_w")


@dataclass(frozen=True)
class Cast:
    """What observers get: a tensor x that a layer's role turned into y, and how."""

    state: LayerState
    role: str
    quantizer: Quantizer
    #: The quantizer's, with the scale of this call where scaling is delayed.
    format: str
    x: torch.Tensor
    y: torch.Tensor
    axis: int
    #: What `LayerState.next_call` gave.
    calls: torch.Tensor | None


#: What a tensor is in anyway.
OWN_FORMAT = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}

Observer = Callable[[Cast], None]


class LayerState(torch.nn.Module):
    """One layer's formats, with what they remember from call to call.

    Random bits are a pure function of (seed and rank, number of the layer and role, number of the
    call, element): the number of calls is a buffer, so that a checkpoint resumes with the same
    bits. It counts calls in training mode; without random bits there is no such buffer. Delayed
    scaling keeps a history and a scale of each role as buffers.
    """

    #: Where the streams of this layer begin; no part of checkpoints, since conversion knows it.
    origin: torch.Tensor | None

    def __init__(
        self, layer: Layer, *, name: str = "", number: int = 0, seed: int = 0, rank: int = 0
    ) -> None:
        super().__init__()
        self.use(layer)
        self.name = name
        self.number = number
        self.seed = seed
        self.rank = rank
        self.observers: list[Observer] = []
        if layer.draws:
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        else:
            self.calls: torch.Tensor | None = None
        # A tensor, since compiled code that holds the number would be one layer's own.
        drawn = layer.draws or _has_fixed_signs(layer)
        origin = torch.tensor(number << _NUMBER) if number and drawn else None
        self.register_buffer("origin", origin, persistent=False)
        for role in QUANTIZED:
            q = getattr(layer, role)
            if q is not None and q.scaling is not None:
                self.register_buffer(f"{role}_history", torch.zeros(q.scaling.history))
                self.register_buffer(f"{role}_scale", torch.ones(()))

    def use(self, layer: Layer) -> None:
        """Take these formats from now on: ones that remember as much as those before."""
        self.layer = layer
        self.has_pairs = has_pairs(layer)
        self.w_is_its_own_turned = is_its_own_turned(layer)
        self.routes = routes(layer)
        self.scalar_formats = {role: _scalar_format(layer, role) for role in QUANTIZED}

    def reset_parameters(self) -> None:
        """As before the first call: no calls, empty histories, scales of one."""
        first = {"origin": self.number << _NUMBER}
        for name, buffer in self._buffers.items():
            if buffer is not None:
                buffer.fill_(first.get(name, 1 if name.endswith("_scale") else 0))

    def _apply(self, fn: Any, recurse: Any = True) -> Any:
        """Buffers go where the model goes and stay of their dtype, and start when they leave
        meta: a model in bfloat16 still has scales in float32.
        """
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        left_meta = False
        for name, old in before.items():
            new = self._buffers[name]
            if old is None or new is None:
                continue
            left_meta = left_meta or (old.is_meta and not new.is_meta)
            if new.dtype != old.dtype:  # not back from new, which has lost digits
                same = torch.empty_like(new, dtype=old.dtype) if old.is_meta else old.to(new.device)
                self._buffers[name] = same
        if left_meta:
            self.reset_parameters()
        return self

    @property
    def delayed(self) -> list[str]:
        """Names of the buffers of delayed scaling: what each rank has seen itself."""
        return [name for name in self._buffers if name not in ("calls", "origin")]

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, missing: Any, *rest: Any
    ) -> None:
        """A checkpoint of the plain model has none of this; what is here stays then."""
        absent: list[str] = []
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, absent, *rest)
        kept = len(self._buffers) - len(self._non_persistent_buffers_set)
        if len(absent) < kept:  # some, but not all: a checkpoint of another recipe
            missing.extend(absent)
        if self.origin is not None and self.origin.is_meta:  # and the model's tensors are assigned
            there = next((t.device for t in state_dict.values() if hasattr(t, "device")), "cpu")
            self.origin = torch.tensor(self.number << _NUMBER, device=there)

    def next_call(self) -> torch.Tensor | None:
        """What is added to the streams in this call: the layer's and the call's number; the latter
        is one more afterwards in training mode.
        """
        if self.calls is None:
            return None
        return torch.ops.lowp.next_call(self.calls, self.origin, count=self.training)

    def source(self, role: str) -> tuple[int, int]:
        """Seed and stream of a role before the number of the call is added."""
        seed, stream = self.role_source(role)
        return seed, (self.number << _NUMBER) | stream

    def role_source(self, role: str) -> tuple[int, int]:
        """Seed and stream of a role before `next_call` is added: the same in all layers."""
        shared = role in _SHARED
        place = _ROLES[role] if role in _ROLES else _TRANSFORMS[role]
        return self.seed | (0 if shared else self.rank << 32), place << 32

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles are not observed."""
        return {**self.__dict__, "observers": []}

    def extra_repr(self) -> str:
        """The layer's roles."""
        return str(self.layer)

    def fail(self, role: str, error: Exception) -> Exception:
        """The error with the module and role it came from."""
        return type(error)(f"{self.name or 'layer'}, {role}: {error}")


def _has_fixed_signs(layer: Layer) -> bool:
    transforms = (getattr(layer, f"{product}_transform") for product in PRODUCTS)
    return any(isinstance(t, Hadamard) and t.signs == "fixed" for t in transforms)


def _scalar_format(layer: Layer, role: str) -> str | None:
    """The scalar format that an operand is in."""
    q: Quantizer | None = getattr(layer, role)
    if q is None and layer.backward_from == "forward":
        kept = {"dgrad_w": layer.w, "wgrad_x": layer.x}
        q = kept.get(role)
    if q is None or q.scaling is not None or isinstance(parse(q.format), lowp.BlockFormat):
        return None
    return q.format


def _scaled_format(q: Quantizer) -> str:
    return f"{q.format}/tensor/float32/amax"


def _check_ragged(x: torch.Tensor, q: Quantizer, axis: int) -> None:
    if q.ragged == "refuse" and q.block_length and x.ndim and x.shape[axis] % q.block_length:
        raise ValueError(
            f"{x.shape[axis]} values along axis {axis} do not divide into blocks of "
            f"{q.block_length}; pad them or set ragged='allow'"
        )


def _tile_order(ndim: int, axis: int) -> list[int]:
    """Axes with those of a tile last: the one that is summed over, its neighbour before it."""
    at = axis % ndim
    other = 1 - at if at < 2 else at - 1
    return [*(i for i in range(ndim) if i not in (at, other)), other, at]


def _quantized(
    x: torch.Tensor, q: Quantizer, axis: int, role: str, s: LayerState, calls: Any
) -> torch.Tensor:
    if x.ndim > 1 and q.has_tiles:
        order = _tile_order(x.ndim, axis)
        back = sorted(range(x.ndim), key=order.__getitem__)
        return _by_role(x.permute(order), q, -1, role, s, calls).permute(back)
    return _by_role(x, q, axis, role, s, calls)


def random_source(q: Quantizer, role: str, s: LayerState) -> tuple[int, int]:
    """Seed and stream of a role; zeros where it draws nothing and compiled code need not know."""
    return s.role_source(role) if q.is_stochastic else (0, 0)


def _by_role(
    x: torch.Tensor, q: Quantizer, axis: int, role: str, s: LayerState, calls: Any
) -> torch.Tensor:
    seed, stream = random_source(q, role, s)
    if isinstance(q.scaling, Delayed):
        if torch.is_grad_enabled() and x.requires_grad:  # within a second derivative
            return _Through.apply(x, q, axis, role, s, calls)
        return torch.ops.lowp.delayed_quantize(
            x,
            getattr(s, f"{role}_history"),
            getattr(s, f"{role}_scale"),
            _scaled_format(q),
            calls if q.is_stochastic else None,
            margin=q.scaling.margin,
            take=q.scaling.take,
            observe=s.training,
            rounding=q.rounding,
            random_bits=q.random_bits,
            seed=seed,
            stream=stream,
        )
    _check_ragged(x, q, axis)
    return torch.ops.lowp.quantize(
        x,
        q.format,
        axis,
        calls if q.is_stochastic else None,
        rounding=q.rounding,
        saturation=q.saturation,
        random_bits=q.random_bits,
        seed=seed,
        stream=stream,
    )


class _Through(torch.autograd.Function):
    """A cast that gradients pass straight through; the operators of others do so by themselves."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        return _by_role(x, *rest)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return dy, None, None, None, None, None


def cast(x: torch.Tensor, role: str, axis: int, s: LayerState, calls: Any = None) -> torch.Tensor:
    """x in the format of its role: no derivative is taken here."""
    q: Quantizer | None = getattr(s.layer, role)
    if q is None or q.format == OWN_FORMAT.get(x.dtype):
        return x
    at = axis if q.axis is None else q.axis
    # Compiled code holds no Python functions. Delayed scales move on as they are used.
    observed = not torch.compiler.is_compiling() and bool(s.observers)
    format = _fixed(q, role, s) if observed and q.scaling is not None else q.format
    try:
        y = _quantized(x, q, at, role, s, calls)
    except (TypeError, ValueError) as error:
        raise s.fail(role, error) from error
    if observed:
        seen = Cast(s, role, q, format, x, y, at, calls)
        for observe in s.observers:
            observe(seen)
    return y


def clip_scale(role: str, s: LayerState) -> torch.Tensor | None:
    """The delayed scale that a clipped role is about to use: its mask needs it later."""
    q: Quantizer | None = getattr(s.layer, role)
    if q is None or q.scaling is None or q.gradient != "clipped":
        return None
    # By an operator, as next_call says why.
    return torch.ops.lowp.next_call(getattr(s, f"{role}_scale"), count=False)


def mask_saturated(
    dx: torch.Tensor,
    x: torch.Tensor,
    role: str,
    axis: int,
    s: LayerState,
    scale: torch.Tensor | None,
) -> torch.Tensor:
    """The derivative of a role: zero where it is clipped and x was beyond the largest value.

    scale: what clip_scale gave before x was cast.
    """
    q: Quantizer | None = getattr(s.layer, role)
    if q is None or q.gradient != "clipped":
        return dx
    at = axis if q.axis is None else q.axis
    if x.ndim > 1 and q.has_tiles:
        order = _tile_order(x.ndim, at)
        back = sorted(range(x.ndim), key=order.__getitem__)
        mask = torch.ops.lowp.saturated(x.permute(order), q.format, -1, scale).permute(back)
    else:
        mask = torch.ops.lowp.saturated(x, q.format, at, scale)
    return dx.masked_fill(mask, 0)


def _fixed(q: Quantizer, role: str, s: LayerState) -> str:
    scale = float(getattr(s, f"{role}_scale"))
    return parse(_scaled_format(q)).replace(rule=scale).name


class _CastPair(torch.autograd.Function):
    """A tensor in one format on its way forward, its gradient in another on its way back."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, role: str, back: str, axis: int, s: LayerState, calls: Any
    ) -> torch.Tensor:
        ctx.rest = (role, back, axis, s)
        # A mask is all that a backward pass needs x for.
        is_clipped = role and getattr(s.layer, role).gradient == "clipped"
        scale = clip_scale(role, s) if is_clipped else None
        ctx.save_for_backward(x if is_clipped else None, scale, calls)
        y = cast(x, role, axis, s, calls) if role else x
        return y.clone() if y is x else y

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, scale, calls = ctx.saved_tensors
        role, back, axis, s = ctx.rest
        dx = cast(dy, back, axis, s, calls) if back else dy
        if x is not None:
            dx = mask_saturated(dx, x, role, axis, s, scale)
        return dx, None, None, None, None, None


def cast_pair(
    x: torch.Tensor, role: str, back: str, s: LayerState, calls: Any, axis: int = -1
) -> torch.Tensor:
    """x in the format of `role`, its gradient in that of `back`; "" is neither."""
    has_role = bool(role) and getattr(s.layer, role) is not None
    has_back = bool(back) and getattr(s.layer, back) is not None
    if not has_role and not has_back:
        return x
    y: torch.Tensor = _CastPair.apply(
        x, role if has_role else "", back if has_back else "", axis, s, calls
    )
    return y


def hadamard_source(
    s: LayerState, product: str, transform: Hadamard, calls: torch.Tensor | None
) -> dict[str, Any]:
    """Keywords of the Hadamard operator for both operands of a product."""
    if transform.signs == "none":
        return {}
    seed, stream = s.role_source(product)
    if transform.signs == "fixed":  # the same on every rank, and in every call
        return {"seed": s.seed, "stream": stream, "calls": s.origin}
    return {"seed": seed, "stream": stream, "calls": calls}
