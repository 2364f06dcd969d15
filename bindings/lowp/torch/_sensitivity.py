"""How much each layer of a model minds each format, alone: the table that bits are given out by."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from typing import Any

import torch
from torch import nn

from lowp.torch._given import choose, whole
from lowp.torch._hessian import Trace, chunks, hessian_traces
from lowp.torch._scan import Loss, Scan, input_bits, reporting, scanning, weight_bits
from lowp.torch.recipe import Layer, Quantizer, as_quantizer

__all__ = ["METHODS", "SensitivityRow", "SensitivityTable", "sensitivity"]

#: What a score may be.
METHODS = ("loss", "output_error", "weight_error", "hessian")
_ROLES = ("x", "w", "output", "bias")
#: What a method that looks at weights alone would not see.
_UNSEEN = ("x", "output", "bias", "forward_transform", "forward_accumulator")


# ---- the table -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class SensitivityRow:
    """One layer in one format. score: what that costs, in the table's measure; NaN: unusable.

    parameters: number of weights; bits: of one of them, its scales counted. error: the standard
    error of the score, 0 where it is exact.
    """

    layer: str
    kind: str
    format: str
    parameters: int
    bits: float
    score: float
    error: float = 0.0

    @property
    def total_bits(self) -> int:
        """Bits of all weights with their scales."""
        return round(self.parameters * self.bits)


@dataclass(frozen=True)
class SensitivityTable:
    """What `sensitivity` gives: rows by layer, then format; str() is a table.

    loss: of the model as it is, NaN where it was not measured. formats: what each format's name
    means as a Layer. patterns: each layer's name as a recipe's pattern that fits no other. traces:
    of the Hessian, by layer. left_out: names of products with weights that have no rows.
    """

    rows: tuple[SensitivityRow, ...]
    method: str
    loss: float = math.nan
    formats: Mapping[str, Layer] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)
    traces: Mapping[str, Trace] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    seed: int = 0

    @property
    def layers(self) -> dict[str, tuple[SensitivityRow, ...]]:
        """The rows of each layer, by name."""
        found: dict[str, list[SensitivityRow]] = {}
        for row in self.rows:
            found.setdefault(row.layer, []).append(row)
        return {name: tuple(rows) for name, rows in found.items()}

    def frame(self) -> Any:
        """The rows as a pandas.DataFrame. ModuleNotFoundError: no pandas."""
        return frame([asdict(row) for row in self.rows], [f.name for f in fields(SensitivityRow)])

    def __str__(self) -> str:
        """Layers in rows, formats in columns, scores in the cells."""
        found = {(row.layer, row.format): row for row in self.rows}
        names = list(dict.fromkeys(row.format for row in self.rows))
        lines = []
        for name, rows in self.layers.items():
            scores = [found.get((name, label)) for label in names]
            shown = ["" if row is None else f"{row.score:.3g}" for row in scores]
            lines.append([name or "(model)", rows[0].kind, f"{rows[0].parameters}", *shown])
        title = f"{self.method} of {len(lines)} layers"
        if not math.isnan(self.loss):
            title += f", loss {self.loss:.6g}"
        return text_table(title, ["layer", "kind", "parameters", *names], lines, numbers=2)


def frame(rows: Sequence[Any], columns: Sequence[str]) -> Any:
    """A pandas.DataFrame of mappings. ModuleNotFoundError: no pandas."""
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise ModuleNotFoundError("frame() needs pandas: pip install 'lowp[study]'") from error
    return pandas.DataFrame(rows, columns=list(columns))


def text_table(
    title: str, heads: Sequence[str], lines: Sequence[Sequence[str]], *, numbers: int
) -> str:
    """A table of 100 columns. numbers: the first column that is aligned to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title)
    for at, head in enumerate(heads):
        # names such as "[ab]" are no markup
        justify: Any = "right" if at >= numbers else "left"
        table.add_column(Text(head), overflow="fold", justify=justify)
    for line in lines:
        table.add_row(*line)
    console = Console(width=100, force_terminal=False, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


# ---- what is asked -------------------------------------------------------------------------------


def _plan(value: Any, roles: Sequence[str]) -> Layer:
    if isinstance(value, Layer):
        return value
    q = as_quantizer(value, "sensitivity: formats")
    return Layer(**dict.fromkeys(roles, q))


def _label(value: Any, plan: Layer) -> str:
    if isinstance(value, Layer):
        return str(plan).replace("\n", ", ")
    return str(next((q for role in _ROLES if (q := getattr(plan, role)) is not None), "plain"))


def plans_of(formats: Any, roles: Sequence[str]) -> dict[str, Layer]:
    """Layers by label; ValueError and TypeError say what is wrong."""
    if isinstance(roles, str) or not roles or any(role not in _ROLES for role in roles):
        raise ValueError(f"sensitivity: roles must be some of {', '.join(_ROLES)}; got {roles!r}")
    if isinstance(formats, Mapping):
        found = {str(label): _plan(value, roles) for label, value in formats.items()}
    else:
        given = [formats] if isinstance(formats, str | Quantizer | Layer) else list(formats)
        each = [(value, _plan(value, roles)) for value in given]
        found = {_label(value, plan): plan for value, plan in each}
        if len(found) < len(each):
            raise ValueError("sensitivity: a format is given twice")
    if not found:
        raise ValueError("sensitivity: there are no formats; give one at least")
    for label, plan in found.items():
        if any((q := getattr(plan, role)) is not None and q.scaling for role in _ROLES):
            raise ValueError(
                f"sensitivity: {label}: a delayed scale has seen nothing here; give a block format "
                "such as 'float8_e4m3fn/tensor/float32/amax'"
            )
    return found


def _check_weights_alone(method: str, plans: Mapping[str, Layer]) -> None:
    for label, plan in plans.items():
        for role in _UNSEEN:
            if getattr(plan, role) is not None:
                raise ValueError(
                    f"sensitivity: {method!r} is of weights alone; got {role} in {label!r}: "
                    "use 'loss' or 'output_error'"
                )


# ---- methods -------------------------------------------------------------------------------------

#: Scores and their standard errors, by layer and format.
Scores = dict[tuple[str, str], tuple[float, float]]


def _by_loss(scan: Scan, loss: Loss, base: float, advance: Callable[[], None]) -> Scores:
    found: Scores = {}
    for name in scan.modules:
        for label in scan.plans:
            with scan.in_format(name, label):
                found[name, label] = (loss.value(scan.model) - base, 0.0)
            advance()
    return found


def _squares(x: torch.Tensor) -> float:
    return float(x.double().square().sum())


def _ratio(noise: float, signal: float) -> float:
    return noise / signal if signal else (math.inf if noise else 0.0)


def _by_output(scan: Scan, loss: Loss, advance: Callable[[], None]) -> Scores:
    noise = dict.fromkeys(((n, label) for n in scan.modules for label in scan.plans), 0.0)
    signal: dict[str, float] = {}

    def observer(name: str) -> Callable[..., None]:
        def observe(module: Any, args: Any, kwargs: Any, y: torch.Tensor) -> None:
            signal[name] = signal.get(name, 0.0) + _squares(y)
            for label in scan.plans:
                with scan.in_format(name, label):
                    noise[name, label] += _squares(module.forward(*args, **kwargs) - y)

        return observe

    hooks = []
    try:
        for name, module in scan.modules.items():
            # before the model's own hooks, which may change what the layer gave
            hook = module.register_forward_hook(observer(name), with_kwargs=True, prepend=True)
            hooks.append(hook)
        loss.value(scan.model)
    finally:
        for hook in hooks:
            hook.remove()
    advance()
    absent = [name for name in scan.modules if name not in signal]
    if absent:
        raise ValueError(
            f"sensitivity: {', '.join(absent[:4])} did not run as modules; name the others in "
            "layers=, or use another method"
        )
    return {(n, label): (_ratio(v, signal[n]), 0.0) for (n, label), v in noise.items()}


def _noise(scan: Scan, name: str, label: str) -> float:
    return _squares(scan.quantized(name, label).double() - scan.modules[name].weight.detach())


def _by_weight(scan: Scan) -> Scores:
    return {
        (name, label): (_ratio(_noise(scan, name, label), _squares(module.weight.detach())), 0.0)
        for name, module in scan.modules.items()
        for label in scan.plans
    }


def _by_hessian(scan: Scan, traces: Mapping[str, Trace]) -> Scores:
    negative = [name for name, trace in traces.items() if trace.value < 0]
    if negative:
        warnings.warn(
            f"sensitivity: the Hessian's trace is negative in {', '.join(negative[:4])}: the model "
            "is not at a minimum of this loss, and less precision scores better there",
            RuntimeWarning,
            stacklevel=4,
        )
    found: Scores = {}
    for name, trace in traces.items():
        count = scan.modules[name].weight.numel()
        for label in scan.plans:
            noise = _noise(scan, name, label) / count
            found[name, label] = (trace.value * noise, trace.error * noise)
    return found


# ---- all of it -----------------------------------------------------------------------------------


def sensitivity(
    model: nn.Module,
    loss: Any,
    formats: Any,
    *,
    method: str = "loss",
    roles: Sequence[str] = ("w",),
    layers: Sequence[str] | None = None,
    seed: int = 0,
    samples: int = 64,
    tolerance: float = 0.1,
    progress: bool | None = None,
) -> SensitivityTable:
    """What it costs to have one layer of a model in a format, for each layer and format.

    model: not converted; it is in evaluation mode meanwhile, and afterwards as it was, weights,
    buffers, modes, gradients and global random states, whatever happens. loss: a function of the
    model that gives a number, or (batches, function of model and batch), then the mean over the
    batches; None for "weight_error". Batches that are no list or tuple are gone through once and
    kept. formats: what layers may be in: formats, Quantizers, Layers, or a mapping to those from
    names for them. roles: what is put in a plain format, some of x, w, output, bias.

    Layers are linear layers, convolutions and embeddings, those that `convert` takes, under the
    names of `lowp.torch.layers`; layers: patterns of names as in Recipe, None for all.

    method: what a score is.
    - "loss": the loss with this layer in the format, minus the loss of the model as it is.
    - "output_error": |y' - y|^2 / |y|^2 of the layer's output for the inputs that it gets.
    - "weight_error": |w' - w|^2 / |w|^2 of its weight.
    - "hessian": mean of the diagonal of the loss's Hessian * |w' - w|^2, twice the loss that noise
      of that size is expected to add; by up to `samples` Hutchinson samples of seed, fewer, but 16,
      where standard errors are below tolerance * |trace|. Source: HAWQ-V2, arXiv 1911.03852.

    NaN and infinity in a score mean that the format does not serve there. progress: a bar on
    standard error; None, where that is a terminal. ValueError: a converted model, no such layer,
    no batches, a loss that is not finite, has no derivative ("hessian"), or is of several numbers.
    """
    choose("sensitivity: method", method, METHODS)
    whole("sensitivity: samples", samples, 2, 1 << 20)
    plans = plans_of(formats, roles)
    if method in ("weight_error", "hessian"):
        _check_weights_alone(method, plans)
    with scanning(model, plans, only=layers, seed=seed) as scan:
        traces: dict[str, Trace] = {}
        if method == "weight_error":
            return _table(scan, method, math.nan, _by_weight(scan), traces, seed)
        measured = Loss(loss, "sensitivity")
        base = measured.base(model)
        steps = {"loss": len(scan.modules) * len(plans), "hessian": chunks(samples)}
        with reporting(f"sensitivity: {method}", steps.get(method, 1), progress) as advance:
            if method == "loss":
                scores = _by_loss(scan, measured, base, advance)
            elif method == "output_error":
                scores = _by_output(scan, measured, advance)
            else:
                traces = hessian_traces(
                    model,
                    scan.modules,
                    measured,
                    seed=seed,
                    samples=samples,
                    tolerance=tolerance,
                    advance=advance,
                )
                scores = _by_hessian(scan, traces)
        return _table(scan, method, base, scores, traces, seed)


def _table(
    scan: Scan,
    method: str,
    base: float,
    scores: Scores,
    traces: dict[str, Trace],
    seed: int,
) -> SensitivityTable:
    of_input = all(plan.w is None for plan in scan.plans.values())
    bits = input_bits if of_input else weight_bits
    rows = [
        SensitivityRow(
            name,
            scan.kinds[name],
            label,
            module.weight.numel(),
            bits(module, plan),
            *scores[name, label],
        )
        for name, module in scan.modules.items()
        for label, plan in scan.plans.items()
    ]
    return SensitivityTable(
        tuple(rows), method, base, scan.plans, scan.patterns, traces, scan.left_out, seed
    )
