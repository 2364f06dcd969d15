"""Monitor: what quantizing does to every tensor of a converted model, step by step.

It is off until started and costs nothing then; its records make tables, pictures, CSV files and
TensorBoard's scalars.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn

from lowp.torch import _monitor_output as output
from lowp.torch._convert import _fits
from lowp.torch._monitor_output import read_csv
from lowp.torch._observe import Row, observe
from lowp.torch._state import Cast, LayerState
from lowp.torch.recipe import QUANTIZED

__all__ = ["Monitor", "Row", "read_csv"]


def states(model: nn.Module, who: str) -> dict[str, LayerState]:
    """The state of every layer in other formats, by name; ValueError where there is none."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"{who}: model must be a torch.nn.Module; got {type(model).__name__}")
    found = {
        module.name or path.removesuffix("lowp").rstrip(".") or "layer": module
        for path, module in model.named_modules()
        if isinstance(module, LayerState)
    }
    if not found:
        raise ValueError(
            f"{who}: no module of this model quantizes anything; call "
            "lowp.torch.convert(model, recipe) first"
        )
    return found


def warn_of_compiled(model: nn.Module, who: str) -> None:
    """Compiled code calls no observers: say so."""
    modules = list(model.modules())
    if any(hasattr(m, "_orig_mod") or getattr(m, "_compiled_call_impl", None) for m in modules):
        warnings.warn(
            f"{who}: compiled code is not observed; give the steps to watch to the model that was "
            "not compiled, or set torch.compiler.set_stance('force_eager')",
            RuntimeWarning,
            stacklevel=3,
        )


def attach(found: Iterable[LayerState], observer: Any) -> None:
    """Call the observer for every tensor that the layers quantize."""
    for s in found:
        s.observers.append(observer)


def detach(found: Iterable[LayerState], observer: Any) -> None:
    """Undo attach."""
    for s in found:
        if observer in s.observers:
            s.observers.remove(observer)


class Monitor:
    """Records one Row a tensor, role and step of a converted model, between start and stop.

        >>> with lowp.torch.Monitor(model, optimizer=optimizer) as monitor:
        ...     train(model, optimizer)
        >>> print(monitor.table())

    model: converted (ValueError where it is not). every: records steps 0, every, 2 every, ...
    roles: those of a Layer ("x", "w", "dgrad_dy", ...), None for all. names: patterns of modules,
    as in Recipe, None for all. sample: SQNR, gain and histogram are of at most so many elements a
    tensor, at even distances; None for all; amax, scales, shares and counts are always of all.
    histogram: whether exponents are counted. optimizer: each of its steps ends a step; without it,
    call step().

    Evaluation, torch.no_grad and recomputed checkpoints are recorded, too, as further calls of the
    step. Under DDP every process has its own records; Row.rank tells them apart. Code made by
    torch.compile is not observed: start and a step without records warn. Copies and pickles of the
    model are not observed.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int = 1,
        roles: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        sample: int | None = 1 << 14,
        histogram: bool = True,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        for what, number in (("every", every), ("sample", 1 if sample is None else sample)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ValueError(f"Monitor: {what} must be an integer from 1 on; got {number!r}")
        self.records: list[Row] = []
        self.current_step = 0
        self._model = model
        self._every, self._sample, self._histogram = every, sample, histogram
        self._roles = _chosen_roles(roles)
        self._names = {id(s): name for name, s in _chosen_states(model, names).items()}
        self._optimizer = optimizer
        self._hook: Any = None
        self._attached: list[LayerState] = []
        self._calls: Counter[tuple[str, str]] = Counter()

    # ---- on and off ------------------------------------------------------------------------------

    def start(self) -> Monitor:
        """Record from now on. RuntimeError: it is on already."""
        if self._attached:
            raise RuntimeError("Monitor: it is on already; call stop() first")
        warn_of_compiled(self._model, "Monitor")
        found = [s for s in states(self._model, "Monitor").values() if id(s) in self._names]
        attach(found, self._observe)
        self._attached = found
        if self._optimizer is not None:
            self._hook = self._optimizer.register_step_post_hook(lambda *_: self.step())
        return self

    def stop(self) -> None:
        """Record nothing more; records stay. Of no effect where it is off."""
        detach(self._attached, self._observe)
        self._attached = []
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def __enter__(self) -> Monitor:
        """As start()."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """As stop()."""
        self.stop()

    def step(self) -> None:
        """End a step: what comes is of the next one. Warns where nothing came in this one."""
        if self._attached and self._is_due() and not self._calls:
            warnings.warn(
                f"Monitor: no tensor was seen in step {self.current_step}: the modules did not "
                "run, or ran in compiled code, which is not observed",
                RuntimeWarning,
                stacklevel=2,
            )
        self.current_step += 1
        self._calls.clear()

    def _is_due(self) -> bool:
        return self.current_step % self._every == 0

    def _observe(self, cast: Cast) -> None:
        if not self._is_due() or cast.role not in self._roles:
            return
        module = self._names[id(cast.state)]
        call = self._calls[module, cast.role]
        self._calls[module, cast.role] += 1
        at = {"step": self.current_step, "module": module, "call": call}
        with torch.no_grad():
            self.records.append(observe(cast, at, self._sample, self._histogram))

    # ---- what it saw -----------------------------------------------------------------------------

    def table(self, which: str = "last") -> str:
        """A table, one line a module and role. which: "last", the last step, or "worst", the worst
        value of each measure in all steps. ValueError: another word, nothing recorded.
        """
        return output.table(self.records, which)

    def to_pandas(self) -> Any:
        """The records as a pandas.DataFrame. ModuleNotFoundError: no pandas."""
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise ModuleNotFoundError(
                "Monitor.to_pandas needs pandas: pip install pandas"
            ) from error
        return pandas.DataFrame([asdict(row) for row in self.records], columns=output.COLUMNS)

    def to_csv(self, path: str | Path) -> None:
        """Write the records; read_csv gives them back, equal. Processes need a path each."""
        output.to_csv(self.records, path)

    def to_tensorboard(self, writer: Any) -> None:
        """Add the records to a SummaryWriter, or to a new one in a folder.

        Tags are `module/role/measure`, of further calls in a step `module/role/call1/measure`.
        ModuleNotFoundError: a folder is given and there is no tensorboard.
        """
        output.to_tensorboard(self.records, writer)

    def plot(self, path: str | Path, what: str = "scale") -> None:
        """Write a picture, one panel a role; the suffix (.png, .svg, .pdf) picks the kind of file.

        what: "scale" (medians; of up to three modules their range as a band, too), "amax",
        "underflow", "overflow", "sqnr_db" or "gain" over steps, or "exponents", the last step's
        histograms with the range of the format. ValueError: another word, nothing recorded.
        ModuleNotFoundError: no matplotlib (pip install lowp[cli]).
        """
        from lowp.plot import save
        from lowp.torch._monitor_plot import picture

        save(picture(self.records, what), path)


def _chosen_roles(roles: Sequence[str] | None) -> frozenset[str]:
    if isinstance(roles, str):
        raise TypeError(f"Monitor: roles must be a list of names; got {roles!r}")
    unknown = [role for role in roles or () if role not in QUANTIZED]
    if unknown:
        raise ValueError(f"Monitor: no role {unknown[0]!r}; there are {', '.join(QUANTIZED)}")
    return frozenset(QUANTIZED if roles is None else roles)


def _chosen_states(model: nn.Module, names: Sequence[str] | None) -> dict[str, LayerState]:
    if isinstance(names, str):
        raise TypeError(f"Monitor: names must be a list of patterns; got {names!r}")
    found = states(model, "Monitor")
    if names is None:
        return found
    for pattern in names:
        if not any(_fits(name, pattern) for name in found):
            raise ValueError(
                f"Monitor: {pattern!r} matches no converted module; there are "
                f"{', '.join(list(found)[:8])}"
            )
    return {name: s for name, s in found.items() if any(_fits(name, pattern) for pattern in names)}
