"""The task `error`: what a format loses of random data, or of the tensors of a file."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

import lowp
from lowp import _targets, quality
from lowp.measures import Sums, carried, measure, measure_blocks
from lowp.readers import find_model, open_tensors
from lowp.study.parameters import FormatName, Kind, Result, RoundingName, is_file, print_of_file

__all__ = ["METRICS", "error"]

Floats = NDArray[np.floating[Any]]

#: Columns of random data: blocks run along rows of this length.
_COLUMNS = 1024
_METRICS = (
    "relative_mse",
    "sqnr_db",
    "gain",
    "cosine",
    "max_relative_error",
    "flushed",
    "clipped",
    "subnormal",
    "code_entropy",
)
#: All that `error` gives.
METRICS = (*_METRICS, "capacity")


def _source(data: str) -> None:
    if is_file(data):
        find_model(data)
    else:
        quality.samples_of(data, 1)


def _content(data: str) -> str:
    return print_of_file(data) if is_file(data) else ""


#: The name of a distribution, or a file of tensors.
Source = Annotated[str, Kind("the name of a distribution or a file of tensors", _source, _content)]


def error(
    *,
    format: FormatName,
    data: Source = "gaussian",
    tensors: str = "*",
    count: int = 2**20,
    magnitude: float = 1.0,
    scale: Literal["none", "optimal", "amax"] = "none",
    rounding: RoundingName = "default",
    hadamard: int = 0,
    axis: int = -1,
    seed: int = 0,
    histogram: bool = False,
) -> Result:
    """Measures of quantizing data to a format, those of `lowp.error`, and the capacity.

    format: a format or block format. data: "gaussian", "laplace", "student_t3" (any degrees of
    freedom above 2), `count` samples of variance 1 in rows of 1024; or a file of tensors
    (.safetensors, .npy, .npz, .pt; package:NAME), of which those of two dimensions or more whose
    names fit the pattern `tensors` count as one. magnitude: x is multiplied by it. scale: of
    scalar formats, by which x is divided before and multiplied after: "optimal" is that of least
    error on the distribution, "amax" makes the largest magnitude of a tensor the largest of the
    format. hadamard: transform of this size along the axis, 0 for none. Finite values saturate.
    seed: of the samples, and of stochastic roundings.

    Metrics: relative_mse, sqnr_db, gain, cosine, max_relative_error, flushed, clipped, subnormal,
    code_entropy (see `lowp.Error`) and capacity (see `lowp.capacity`: a model's for Gaussian data).
    Series, with histogram: the share of each code of formats up to 16 bits. ValueError: what
    does not go together.
    """
    target = _targets.resolve(format)
    if scale != "none" and isinstance(target, lowp.BlockFormat):
        raise ValueError(f"scale {scale!r} is for scalar formats; {format} has scales of its own")
    if scale == "optimal" and is_file(data):
        raise ValueError("scale 'optimal' is for random data; got a file: use 'amax'")
    chosen = None if rounding == "default" else rounding
    options = _targets.Options(
        chosen, None if isinstance(target, lowp.BlockFormat) else "finite", None, seed
    )
    total = Sums()
    for x in _tensors(data, tensors, count, seed):
        values = x if magnitude == 1 else (x * x.dtype.type(magnitude))
        if hadamard:
            values = lowp.hadamard(values, hadamard, axis=axis)
        total = total + _measured(values, target, data, scale, options, axis)
    found = total.error()
    metrics = {name: float(getattr(found, name)) for name in _METRICS}
    metrics["capacity"] = lowp.capacity(min(found.relative_mse, 1.0))
    codes = found.histogram if histogram else None
    if codes is None:
        return Result(metrics)
    return Result(metrics, {"histogram": codes / max(1, int(codes.sum()))})


def _measured(
    x: Floats, target: Any, data: str, scale: str, options: _targets.Options, axis: int
) -> Sums:
    if isinstance(target, lowp.BlockFormat):
        return measure_blocks(x, target, options, axis)
    values = carried(x, target)
    if scale == "none":
        return measure(values, options.quantize(values, target, axis), target=target)
    if scale == "optimal":
        factor = quality.optimal_scale(target, data) * float(np.sqrt(np.mean(np.square(x))))
    else:
        largest = float(np.abs(x).max(initial=0.0))
        factor = largest / target.max if largest else 1.0
    scaled = values / values.dtype.type(factor)
    return measure(scaled, options.quantize(scaled, target, axis), target=target)


def _tensors(data: str, pattern: str, count: int, seed: int) -> list[Floats]:
    if not is_file(data):
        return [_samples(data, count, seed)]
    found = _of_file(data, print_of_file(data), pattern)
    if not found:
        raise ValueError(f"{data} has no tensor of two dimensions whose name fits {pattern!r}")
    return found


@lru_cache(4)
def _samples(data: str, count: int, seed: int) -> Floats:
    if count < 1 or (count % _COLUMNS and count > _COLUMNS):
        raise ValueError(f"count must be up to {_COLUMNS} or a multiple of it; got {count}")
    x = quality.samples_of(data, count, seed=seed).astype(np.float32)
    x = x.reshape(-1, min(count, _COLUMNS))
    x.flags.writeable = False
    return x


@lru_cache(1)
def _of_file(data: str, _content: str, pattern: str) -> list[Floats]:
    """content: the digest of the file, which is read anew when it has changed."""
    with open_tensors(find_model(data)) as file:
        names = [
            name
            for name, shape in file.shapes.items()
            if len(shape) > 1 and name not in file.skipped and fnmatchcase(name, pattern)
        ]
        return [np.asarray(file.load(name)) for name in names]
