"""Optimizers whose weights and state live in any format: a wrapper of any torch.optim.Optimizer.

    >>> base = torch.optim.AdamW(model.named_parameters(), lr=1e-3)
    >>> weights = lowp.torch.Quantizer("bfloat16", rounding="stochastic_a")
    >>> optimizer = lowp.torch.optim.Optimizer(base, master_weights=weights)

The wrapped optimizer computes a step as it always does, in float32; then each new weight and each
tensor of its state is rounded, once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeAlias
from zlib import crc32

import torch

from lowp.torch._eight_bits import adam_8bit, dynamic_codebook
from lowp.torch._ops import check_dtype
from lowp.torch._state import _check_ragged
from lowp.torch.recipe import Quantizer, Recipe

__all__ = ["Optimizer", "adam_8bit", "dynamic_codebook"]

#: A parameter to leave alone: itself, a pattern of names as in fnmatch, or a test of both.
Keep: TypeAlias = str | torch.Tensor | Callable[[str, torch.Tensor], bool]

_STEPS = "lowp_steps"
_STATE_DICT_HOOKS = tuple(
    f"_optimizer_{verb}_{when}_hooks"
    for verb in ("state_dict", "load_state_dict")
    for when in ("pre", "post")
)


# ---- one tensor ----------------------------------------------------------------------------------


def refuse_delayed(q: Quantizer | None, what: str) -> None:
    """ValueError where a quantizer looks back at past steps, which only layers remember."""
    if q is not None and q.scaling is not None:
        raise ValueError(
            f"{what}: delayed scaling is remembered by layers only; name a block format, "
            f"as '{q.format}/tensor/float32/amax'"
        )


def on_grid(x: torch.Tensor, q: Quantizer, seed: int, stream: int) -> torch.Tensor:
    """x on the grid of q's format, blocks along q.axis, or the last one."""
    axis = -1 if q.axis is None else q.axis
    _check_ragged(x, q, axis)
    modes = {key: getattr(q, key) for key in ("rounding", "saturation", "random_bits")}
    y: torch.Tensor = torch.ops.lowp.quantize(x, q.format, axis, seed=seed, stream=stream, **modes)
    return y


def on_grid_in_line(x: torch.Tensor, q: Quantizer, seed: int, stream: int) -> torch.Tensor:
    """The same, but blocks of k values run through the whole tensor where q names no axis."""
    if q.axis is None and q.block_length:
        return on_grid(x.reshape(-1), q, seed, stream).reshape(x.shape)
    return on_grid(x, q, seed, stream)


def _source(seed: int, state: str, number: int, step: int) -> tuple[int, int]:
    """Seed and stream of a parameter ("") or of a tensor of its state.

    Bit 62 sets them apart from the streams of layers and of all-reduce, which have a rank there.
    """
    return 1 << 62 | (crc32(state.encode()) & 0x3FFFFFFF) << 32 | seed, number << 32 | step


# ---- the wrapper ---------------------------------------------------------------------------------


class Optimizer(torch.optim.Optimizer):
    """A torch optimizer whose weights and state are rounded after each of its steps.

    base: the optimizer that computes; it keeps its groups, state and options, which are shared.
    master_weights: the format of parameters: p + update is computed in the parameter's own dtype,
    float32 or float64, then rounded once. optimizer_state: the format of its state's tensors, or a
    mapping from their names ("exp_avg", "momentum_buffer"), where others stay as they are; tensors
    of no axis (counts of steps) always do. Both take a format, its name or a Quantizer. Blocks of
    parameters lie along the last axis, blocks of state run through the whole tensor in C order,
    unless the Quantizer names an axis. Only parameters that have a gradient are touched.

    Random bits are a pure function of (seed, number of the parameter, name of the state, number of
    the step): the same on every rank, so replicas stay equal. The number of steps is
    param_groups[0]["lowp_steps"], so a state_dict carries it, and a run resumes with the same bits;
    a state_dict without it starts at 0.

    keep: parameters left alone with their state: tensors, patterns of names ("*.bias"; base must
    have been made of named_parameters()), or functions of (name, parameter), as
    `lambda name, p: p.ndim < 2`. nonfinite: what NaN or infinity in a gradient does: "warn" (once,
    with the parameters' names), "raise" FloatingPointError before the step, or "ignore".

    NaN, infinity and overflow of weights and state: as in lowp.quantize. TypeError: parameters of
    16 bits, which base would have rounded before. ValueError: a keep that fits no parameter, a
    state that there is not. RuntimeError: sparse gradients.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        master_weights: Any = None,
        optimizer_state: Any = None,
        seed: int = 0,
        keep: Iterable[Keep] = (),
        nonfinite: str = "warn",
    ) -> None:
        if not isinstance(base, torch.optim.Optimizer):
            raise TypeError(f"base must be a torch.optim.Optimizer; got {base!r:.60}")
        if isinstance(base, Optimizer):
            raise TypeError("base is a lowp.torch.optim.Optimizer already; wrap its .base")
        if nonfinite not in ("warn", "raise", "ignore"):
            raise ValueError(f"nonfinite must be warn, raise or ignore; got {nonfinite!r}")
        if isinstance(keep, (str, torch.Tensor)):
            raise TypeError("keep must be a list of parameters, names or functions")
        self.__setstate__(
            {
                "base": base,
                # A recipe checks all three and brings them into their one spelling.
                "recipe": Recipe(
                    master_weights=master_weights, optimizer_state=optimizer_state, seed=seed
                ),
                "keep": tuple(keep),
                "nonfinite": nonfinite,
                "_has_warned": False,
                "_has_checked_state": False,
            }
        )
        self._check_quantizers()
        self._plan(may_miss=False)

    @classmethod
    def of(cls, base: torch.optim.Optimizer, recipe: Recipe, **options: Any) -> Optimizer:
        """The optimizer with what a recipe says of master weights, optimizer state and seed.

        options: keep and nonfinite. recipe.keep is about modules, and does not count here.
        """
        state = recipe.optimizer_state
        return cls(
            base,
            master_weights=recipe.master_weights,
            optimizer_state=state,
            seed=recipe.seed,
            **options,
        )

    def __getstate__(self) -> dict[str, Any]:
        """All but what base has and hooks, as of every torch optimizer."""
        names = ("base", "recipe", "keep", "nonfinite", "_kept", "_has_warned")
        return {**{name: self.__dict__[name] for name in names}, "_has_checked_state": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The fields; hooks of state dicts are base's, as its state dicts are."""
        super().__setstate__(state)
        for name in _STATE_DICT_HOOKS:
            self.__dict__[name] = getattr(self.base, name)

    # What base has is looked up there: it makes new ones where it loads a state_dict.

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of base."""
        return self.base.param_groups  # type: ignore[no-any-return]

    @param_groups.setter
    def param_groups(self, value: list[dict[str, Any]]) -> None:
        self.base.param_groups = value

    @property
    def state(self) -> Any:
        """That of base."""
        return self.base.state

    @state.setter
    def state(self, value: Any) -> None:
        self.base.state = value

    @property
    def defaults(self) -> dict[str, Any]:
        """Those of base."""
        return self.base.defaults  # type: ignore[no-any-return]

    @defaults.setter
    def defaults(self, value: dict[str, Any]) -> None:
        self.base.defaults = value

    @property
    def steps(self) -> int:
        """How many steps were made: the random bits' counter."""
        return int(self.param_groups[0].get(_STEPS, 0))

    @steps.setter
    def steps(self, value: int) -> None:
        self.param_groups[0][_STEPS] = value

    def state_dict(self) -> dict[str, Any]:
        """That of base, with the number of steps in its first group."""
        return self.base.state_dict()  # type: ignore[no-any-return]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Into base; of a wrapped optimizer or of one like base."""
        self.base.load_state_dict(state_dict)
        self._has_checked_state = False

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """To base; its parameters are numbered after the others."""
        self.base.add_param_group(param_group)
        self._plan(may_miss=True)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As base does."""
        self.base.zero_grad(set_to_none)

    def __repr__(self) -> str:
        """Base, and the formats."""
        state = self.recipe.optimizer_state
        named = state if isinstance(state, Mapping) else {"optimizer_state": state}
        formats = {"master_weights": self.recipe.master_weights, **named}
        lines = "\n".join(f"{name}: {q!s:.80}" for name, q in formats.items())
        return f"{type(self).__name__} of {self.base!r}\n{lines}"

    # ---- which parameters ------------------------------------------------------------------------

    def _parameters(self) -> Iterator[tuple[int, str, torch.Tensor]]:
        """Number, name and self of every parameter, kept ones too."""
        number = 0
        for group in self.param_groups:
            names = group.get("param_names") or [""] * len(group["params"])
            for name, p in zip(names, group["params"], strict=True):
                yield number, name or f"parameter {number} of shape {tuple(p.shape)}", p
                number += 1

    def _check_quantizers(self) -> None:
        state = self.recipe.optimizer_state
        mapping = state if isinstance(state, Mapping) else {"": state}
        refuse_delayed(self.recipe.master_weights, "master_weights")
        for name, q in mapping.items():
            refuse_delayed(q, f"optimizer_state {name}".strip())

    def _plan(self, *, may_miss: bool) -> None:
        """Find the parameters to keep, and refuse those whose dtype cannot be rounded as asked."""
        kept: set[int] = set()
        for entry in self.keep:
            found = {number for number, name, p in self._parameters() if _fits(entry, name, p)}
            if not found and not may_miss:
                is_tensor = isinstance(entry, torch.Tensor)
                what = f"a tensor of shape {tuple(entry.shape)}" if is_tensor else repr(entry)
                raise ValueError(
                    f"keep: {what} fits no parameter; there are: {self._some_names()} "
                    "(names come from base made of model.named_parameters())"
                )
            kept |= found
        self._kept = frozenset(kept)
        if self.recipe.master_weights is None and not self.recipe.optimizer_state:
            return
        for number, name, p in self._parameters():
            if number not in kept:
                _check_parameter(name, p, self.recipe.master_weights)

    def _some_names(self) -> str:
        return ", ".join(name for _, name, _ in list(self._parameters())[:8])

    # ---- a step ----------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None, **named: Any) -> Any:
        """One step of base, then weights and state onto their grids; what base returns.

        closure: as base takes it; where base calls it several times (LBFGS), weights are rounded
        once, at the end. named: passed on to base.
        """
        if closure is None:
            self._check_gradients()
            loss = self.base.step(**named)
        else:
            loss = self.base.step(self._checked(closure), **named)
        self.steps += 1
        self._round(lambda p: p.grad is not None)
        return loss

    def round_weights(self) -> None:
        """All weights and state onto their grids now: before the first step, or after loading."""
        self._round(lambda p: True)

    def _checked(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        def checked() -> Any:
            loss = closure()
            self._check_gradients()
            return loss

        return checked

    def _check_gradients(self) -> None:
        """Sparse ones would be refused too late by the formats; NaN would spread unseen."""
        bad = []
        for number, name, p in self._parameters():
            if p.grad is None:
                continue
            if p.grad.layout != torch.strided and number not in self._kept:
                raise RuntimeError(
                    f"{name} has a sparse gradient; rounding would touch every element: make the "
                    "embedding with sparse=False, or keep it"
                )
            if self._looks_at(p.grad) and not bool(p.grad.isfinite().all()):
                bad.append(name)
        if bad and self.nonfinite == "raise":
            raise FloatingPointError(f"step {self.steps + 1}: {_bad_gradients(bad)}")
        if bad:
            self._has_warned = True
            warnings.warn(f"step {self.steps + 1}: {_bad_gradients(bad)}", stacklevel=4)

    def _looks_at(self, grad: torch.Tensor) -> bool:
        wanted = self.nonfinite == "raise" or (self.nonfinite == "warn" and not self._has_warned)
        return wanted and grad.layout == torch.strided

    @torch.no_grad()
    def _round(self, wanted: Callable[[torch.Tensor], bool]) -> None:
        q, step = self.recipe.master_weights, self.steps
        for number, name, p in self._parameters():
            if number in self._kept or not wanted(p):
                continue
            try:
                if q is not None:
                    p.copy_(on_grid(p, q, *_source(self.recipe.seed, "", number, step)))
                self._round_state(number, p, step)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{name}: {error}") from error
        self._check_state_names()

    def _round_state(self, number: int, p: torch.Tensor, step: int) -> None:
        given = self.recipe.optimizer_state
        if given is None or p not in self.state:
            return
        for key, value in self.state[p].items():
            q = given.get(key) if isinstance(given, Mapping) else given
            if q is None:
                continue
            if isinstance(value, (list, tuple)) and any(map(torch.is_tensor, value)):
                raise TypeError(
                    f"state {key!r} of {type(self.base).__name__} is a list; only tensors are "
                    "rounded: give optimizer_state as a mapping that leaves it out"
                )
            if _is_rounded(value):
                check_dtype(value, q.format, f"state {key!r}")
                source = _source(self.recipe.seed, key, number, step)
                value.copy_(on_grid_in_line(value, q, *source))

    def _check_state_names(self) -> None:
        """ValueError for a name that no state has, as soon as there is state."""
        given = self.recipe.optimizer_state
        if self._has_checked_state or not isinstance(given, Mapping) or not self.state:
            return
        states = [self.state[p] for _, _, p in self._parameters() if p in self.state]
        there = {key for state in states for key, value in state.items() if _is_rounded(value)}
        missing = [key for key in given if key not in there]
        if missing:
            raise ValueError(
                f"optimizer_state: {type(self.base).__name__} has no tensors {', '.join(missing)}; "
                f"there are: {', '.join(sorted(there)) or 'none'}"
            )
        self._has_checked_state = True


def _is_rounded(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 0


def _fits(entry: Keep, name: str, p: torch.Tensor) -> bool:
    if isinstance(entry, torch.Tensor):
        return entry is p
    if isinstance(entry, str):
        return fnmatchcase(name, entry)
    return bool(entry(name, p))


def _check_parameter(name: str, p: torch.Tensor, q: Quantizer | None) -> None:
    if p.dtype in (torch.float16, torch.bfloat16):
        raise TypeError(
            f"{name} is {p.dtype}: the step would be rounded to it before its format; train "
            "model.float(), with the format in master_weights, or keep it"
        )
    try:
        check_dtype(p, None if q is None else q.format, "it")
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


def _bad_gradients(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"NaN or infinity in the gradient of {', '.join(names[:8])}{more}"
