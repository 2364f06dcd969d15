"""`lowp convert-model`: a file's tensors in another format and back, one tensor at a time.

What cannot or should not be converted goes to the new file as the bytes that it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lowp

from . import _targets
from ._block_tensor import BlockTensor, grid
from ._files_layout import Blocks, Codes, Layout, Plain, pieces_of_bytes
from ._readers_core import KINDS, TensorFile
from ._targets import Target
from .files import CodeTensor, Reader, Writer
from .measures import Sums, carried, fits_float32, measure
from .readers import SAFETENSORS_WORDS, open_tensors

__all__ = ["DTYPES", "Plan", "Report", "Row", "convert", "restore"]

#: Types that tensors can be restored to.
DTYPES = ("float32", "float64", "float16", "bfloat16")

Floats = NDArray[np.floating[Any]]
Advance = Callable[[str, int], None]


@dataclass(frozen=True)
class Plan:
    """What to convert, and how."""

    format: Any
    axis: int = -1
    rounding: str | None = None
    seed: int = 0
    only: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    min_size: int = 1

    def target(self) -> Target:
        """The format, with the plan's rounding where it is a block format."""
        found = _targets.resolve(self.format)
        if self.rounding is None or isinstance(found, lowp.Format):
            return found
        return found.replace(rounding=self.rounding)


@dataclass(frozen=True)
class Row:
    """A tensor that was converted or restored; sums are None where there is nothing to compare."""

    tensor: str
    dtype: str
    shape: tuple[int, ...]
    format: str
    bytes_before: int
    bytes_after: int
    sums: Sums | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass
class Report:
    """All that was done: tensors that changed, and the others with the reason; sizes of files."""

    rows: list[Row] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    bytes_before: int = 0
    bytes_after: int = 0

    def total(self) -> Sums:
        """Sums of all tensors that were converted."""
        return sum((row.sums for row in self.rows if row.sums is not None), Sums())


# ---- there ---------------------------------------------------------------------------------------


def convert(source: Path, out: Path, plan: Plan, progress: Callable[[int], Advance]) -> Report:
    """Write `out` with the chosen tensors of `source` in the plan's format.

    progress: gets the number of elements, gives what hears of names and elements done. ValueError:
    nothing to convert, or a tensor that safetensors or the format cannot hold, by name; before
    anything is written but for NaN in a format that has none. OSError: what the system says.
    """
    target = plan.target()
    file, layouts = _opened(source)
    report = Report(bytes_before=source.stat().st_size)
    for name, layout in layouts.items():
        if reason := _reason(file, name, layout, plan, target):
            _check_keepable(file, name)
            report.kept[name] = reason
        else:
            layouts[name] = _layout(target, plan, file, name)
    if len(report.kept) == len(layouts):
        raise ValueError(_nothing(source, report.kept))
    _write(file, out, layouts, report, plan, progress)
    return report


def _opened(source: Path) -> tuple[TensorFile, dict[str, Layout]]:
    """The file, and what each tensor in it is; some may be in lowp's formats already."""
    if source.suffix.lower() == ".safetensors":
        reader = Reader(source)
        return reader.file, reader.layouts
    file = open_tensors(source)
    return file, {name: Plain(file.dtypes[name], file.shapes[name]) for name in file.names}


def _reason(file: TensorFile, name: str, layout: Layout, plan: Plan, target: Target) -> str:
    """Why a tensor stays as it is; empty for those that are converted."""
    if not isinstance(layout, Plain):
        return f"in {layout.format} already"
    if note := file.skipped.get(name):
        return note.removesuffix(": nothing to quantize")
    shape = file.shapes[name]
    if not shape or math.prod(shape) == 0:
        return "a single number" if not shape else "no elements"
    if any(fnmatchcase(name, pattern) for pattern in plan.keep):
        return "named by --keep"
    is_named = any(fnmatchcase(name, pattern) for pattern in plan.only)
    if plan.only and not is_named:
        return "not named by --only"
    if not is_named and KINDS[layout.dtype].storage == "<u1":
        return f"{layout.dtype} is narrow already (--only converts it)"
    if not is_named and len(shape) == 1:
        return "one dimension, as biases and norms have (--only converts it)"
    if math.prod(shape) < plan.min_size:
        return f"fewer elements than --min-size {plan.min_size}"
    return _misfit(shape, plan, target)


def _misfit(shape: tuple[int, ...], plan: Plan, target: Target) -> str:
    """Why blocks do not fit a shape."""
    if isinstance(target, lowp.Format):
        return ""
    if not -len(shape) <= plan.axis < len(shape):
        return f"no axis {plan.axis}"
    if len(shape) == 1 and (isinstance(target.shape, tuple) or target.shape == "column"):
        return "one dimension, and tiles take two"
    grid(target, shape, plan.axis)  # raises where no tensor would fit, as tiles along axis 0
    return ""


def _nothing(source: Path, kept: dict[str, str]) -> str:
    reasons = dict.fromkeys(kept.values())
    texts = [f"{list(kept.values()).count(reason)}: {reason}" for reason in reasons]
    return f"{source}: no tensor to convert of {len(kept)} ({'; '.join(texts) or 'none in it'})"


def _check_keepable(file: TensorFile, name: str) -> None:
    """Refuse, before anything is written, what safetensors has no type for."""
    dtype = file.dtypes[name]
    note = file.skipped.get(name, "")
    if dtype not in SAFETENSORS_WORDS or note.startswith("repeats"):
        raise ValueError(
            f"{file.path}: tensor {name!r} cannot be kept: {dtype} "
            f"{note or 'has no type in safetensors'}; save the file without it"
        )


def _layout(target: Target, plan: Plan, file: TensorFile, name: str) -> Layout:
    shape, dtype = file.shapes[name], file.dtypes[name]
    if isinstance(target, lowp.Format):
        return Codes(target, shape, dtype)
    outer = float(target.fields["outer_fixed"])
    is_wide = float(np.float32(outer)) != outer or not fits_float32(target.fields["outer_format"])
    return Blocks(target, shape, plan.axis, dtype, target.element_bits <= 8, is_wide)


def _write(
    file: TensorFile,
    out: Path,
    layouts: dict[str, Layout],
    report: Report,
    plan: Plan,
    progress: Callable[[int], Advance],
) -> None:
    metadata = {key: text for key, text in file.metadata.items() if key != "lowp"}
    advance = progress(sum(file.size(name) for name in layouts))
    places = {name: i for i, name in enumerate(file.names)}
    with Writer(out, layouts, metadata) as writer:
        for name, layout in layouts.items():
            if name in report.kept:
                _copy(file, writer, layout, name)
                advance(name, file.size(name))
                continue
            sums = Sums()
            for slab, part in _converted(file, name, layout, plan, places[name]):
                writer.write(name, part)
                sums += _compared(slab, part)
                advance(name, slab.size)
            report.rows.append(_row(file, name, layout, sums))
    report.bytes_after = writer.nbytes


def _copy(file: TensorFile, writer: Writer, layout: Layout, name: str) -> None:
    for part in layout.parts(name):
        for piece in pieces_of_bytes(file, part):
            writer.append(part, piece)


def _row(file: TensorFile, name: str, layout: Layout, sums: Sums | None) -> Row:
    shape, dtype = file.shapes[name], file.dtypes[name]
    before = Plain(dtype, shape).parts(name)[name].nbytes
    after = sum(part.nbytes for part in layout.parts(name).values())
    target = layout.format.name if isinstance(layout, Codes | Blocks) else layout.dtype
    return Row(name, dtype, shape, target, before, after, sums)


def _converted(
    file: TensorFile, name: str, layout: Layout, plan: Plan, stream: int
) -> Iterator[tuple[Floats, BlockTensor | CodeTensor]]:
    """The tensor piece by piece: its values, and what they become."""
    shape, dtype = file.shapes[name], file.dtypes[name]
    axis = layout.axis if isinstance(layout, Blocks) else -1
    parts = _targets.slabs(shape, plan.target(), axis, plan.rounding)
    for values in file.rows(name, parts):
        try:
            yield _encoded(values, layout, dtype, plan, stream)
        except ValueError as error:  # noqa: PERF203 (a slab at a time)
            raise ValueError(f"{file.path}: tensor {name!r}: {error}") from None


def _encoded(
    values: Floats, layout: Layout, dtype: str, plan: Plan, stream: int
) -> tuple[Floats, BlockTensor | CodeTensor]:
    if isinstance(layout, Blocks):
        x = values if values.dtype == np.float64 else values.astype(np.float32, copy=False)
        tensor = lowp.encode(
            x,
            layout.format,
            axis=layout.axis,
            packed=layout.packed,
            seed=plan.seed,
            stream=stream,
        )
        return x, tensor
    assert isinstance(layout, Codes)
    x = carried(values, layout.format)
    codes = lowp.encode(
        x,
        layout.format,
        rounding=plan.rounding,
        saturation="finite",
        seed=plan.seed,
        stream=stream,
    )
    return x, CodeTensor(layout.format, codes, dtype)


def _compared(x: Floats, part: BlockTensor | CodeTensor) -> Sums:
    return measure(x, np.asarray(part.decode(dtype=x.dtype)))


# ---- and back ------------------------------------------------------------------------------------


def restore(
    source: Path, out: Path, dtype: str | None, progress: Callable[[int], Advance]
) -> Report:
    """Write `out` with the tensors of `source` that are in lowp's formats as numbers again.

    dtype: one of `DTYPES`, or None for that of each tensor before. ValueError: no such tensor.
    """
    reader = Reader(source)
    layouts = reader.layouts
    report = Report(bytes_before=source.stat().st_size)
    new: dict[str, Layout] = {}
    for name, layout in layouts.items():
        if isinstance(layout, Plain):
            new[name] = layout
            report.kept[name] = "in no format of lowp"
        else:
            new[name] = Plain(dtype or layout.dtype, layout.shape)
    if len(report.kept) == len(new):
        raise ValueError(f"{source}: no tensor of {len(new)} is in a format of lowp: nothing to do")
    advance = progress(sum(math.prod(layout.shape) for layout in new.values()))
    with Writer(out, new, reader.metadata) as writer:
        for name, layout in layouts.items():
            plain = new[name]
            if isinstance(layout, Plain) or not isinstance(plain, Plain):
                _copy(reader.file, writer, layout, name)
            else:
                writer.write(name, restored(reader.load(name), plain.dtype))
                before = sum(part.nbytes for part in layout.parts(name).values())
                after = plain.parts(name)[name].nbytes
                row = Row(name, plain.dtype, layout.shape, layout.format.name, before, after)
                report.rows.append(row)
            advance(name, math.prod(layout.shape))
    report.bytes_after = writer.nbytes
    return report


def restored(tensor: Any, dtype: str) -> NDArray[Any] | CodeTensor:
    """The values as `dtype`, in the words of `lowp.readers`. Those that it does not hold are
    rounded to nearest; finite ones stay finite.
    """
    if dtype in ("float64", "float32"):
        return np.asarray(tensor.decode(dtype=np.dtype(dtype)))
    values = np.asarray(tensor.decode(dtype=np.float32))
    codes = lowp.encode(values, dtype, saturation="propagate")
    if dtype == "float16":
        return np.asarray(codes).view(np.float16)
    return CodeTensor(dtype, codes, dtype)
