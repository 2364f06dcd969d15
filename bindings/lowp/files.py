"""Tensors in low precision as safetensors files: `save`, `load`, and both one tensor at a time.

    lowp.files.save("model.safetensors", {"w": lowp.encode(w, "mxfp4"), "norm": norm})
    tensors = lowp.files.load("model.safetensors")

Every file is one that the safetensors library reads as plain tensors: `w` are the codes, `w.scales`
the scales; the metadata key `lowp` says how they belong together. A file is written under another
name, brought to the disk and then renamed: an error or Ctrl-C leaves nothing half-written.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import unpack_lines
from ._block_tensor import BlockTensor
from ._code_tensor import CodeTensor
from ._files_layout import (
    KEY,
    VERSION,
    Blocks,
    Codes,
    Layout,
    Part,
    Plain,
    parse_layout,
)
from ._files_writer import PathLike, Tensor, Writer, layout_of
from ._readers_core import KINDS, TensorFile, brief, refuse
from .readers import open_safetensors, parse_json

__all__ = ["Blocks", "CodeTensor", "Codes", "Plain", "Reader", "Writer", "load", "save"]

Array = NDArray[Any]


def save(
    path: PathLike,
    tensors: Mapping[str, BlockTensor | CodeTensor | ArrayLike],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file of block tensors, codes and plain arrays.

    path: an existing file is replaced when all is written. metadata: texts to keep beside lowp's
    own entry. TypeError: an array without a safetensors type (objects, complex128). ValueError:
    names that clash. OSError: what the system says.
    """
    values = {
        name: t.numpy()
        if isinstance(t, BlockTensor)
        else t
        if isinstance(t, CodeTensor)
        else np.asarray(t)
        for name, t in tensors.items()
    }
    layouts = {name: layout_of(tensor, name) for name, tensor in values.items()}
    with Writer(path, layouts, metadata) as writer:
        for name, tensor in values.items():
            writer.write(name, tensor)


def load(path: PathLike) -> dict[str, Tensor]:
    """The tensors of a safetensors file: BlockTensor, CodeTensor or an array, by name.

    Files of other programs load too; bfloat16 and 8-bit floats are CodeTensors. ValueError with
    the file, the tensor and the problem: a file that is cut short or damaged, or elements packed
    into parts of bytes by another program. OSError: no such file.
    """
    reader = Reader(path)
    return {name: reader.load(name) for name in reader.names}


# ---- reading -------------------------------------------------------------------------------------


class Reader:
    """The tensors of a safetensors file, one at a time. All but the elements is checked on opening;
    errors are those of `load`.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self.file: TensorFile = open_safetensors(self.path)
        self._layouts = _layouts(self.file)

    @property
    def names(self) -> tuple[str, ...]:
        """Every tensor's name in the file's order; a block tensor has one."""
        return tuple(self._layouts)

    @property
    def layouts(self) -> dict[str, Layout]:
        """What each tensor is: Plain, Codes or Blocks."""
        return dict(self._layouts)

    @property
    def metadata(self) -> dict[str, str]:
        """The file's texts, without lowp's own."""
        return {key: text for key, text in self.file.metadata.items() if key != KEY}

    def load(self, name: str) -> Tensor:
        """One tensor in memory. KeyError: no such name."""
        layout = self._layouts[name]
        if isinstance(layout, Blocks):
            return self._blocks(name, layout)
        if isinstance(layout, Codes):
            return CodeTensor(layout.format, self._codes(name, layout), layout.dtype)
        if layout.dtype not in KINDS:
            refuse(self.path, f"tensor {name!r} cannot be read: {self.file.skipped[name]}")
        elements = self._elements(name)
        code_format = KINDS[layout.dtype].code_format
        return elements if code_format is None else CodeTensor(code_format, elements, layout.dtype)

    def _elements(self, part: str) -> Array:
        elements = self.file.elements(part)
        return np.array(elements, elements.dtype.newbyteorder("="), order="C")

    def _codes(self, name: str, layout: Codes) -> Array:
        stored = self._elements(name)
        if not layout.packed or layout.format.name in KINDS:
            codes = stored.view(f"u{stored.itemsize}")
        else:
            codes = unpack_lines(stored, layout.format.bits, layout.shape)
            self._check_rest(name, stored, layout.format.bits * (layout.shape or (1,))[-1])
        self._check_width(name, codes, layout.format.bits)
        return codes

    def _check_width(self, name: str, codes: Array, bits: int) -> None:
        if bits < 8 * codes.itemsize and (codes >> bits).any():
            refuse(self.path, f"tensor {name!r}: a code has over {bits} bits; it is damaged")

    def _check_rest(self, name: str, packed: Array, bits: int) -> None:
        """The bits after the last code of a line are zero, as they were written."""
        if bits % 8 and packed.size and (packed[..., -1] >> bits % 8).any():
            refuse(self.path, f"tensor {name!r}: bits after the last code of a line; it is damaged")

    def _blocks(self, name: str, layout: Blocks) -> BlockTensor:
        codes = self._elements(name)
        outer: Array = np.zeros(0)
        if layout.outer_count():
            outer = self._elements(f"{name}.outer_scale").astype(np.float64)
        bits = layout.format.element_bits
        if layout.packed:
            self._check_rest(name, codes, bits * layout.line())
        else:
            self._check_width(name, codes, bits)
        little = codes.astype(codes.dtype.newbyteorder("<"), copy=False)
        try:
            return BlockTensor(
                layout.format,
                little.reshape(-1).view(np.uint8),
                self._elements(f"{name}.scales"),
                outer,
                layout.shape,
                layout.axis,
                _numpy_type(layout.dtype),
                layout.packed,
            )
        except ValueError as error:
            refuse(self.path, f"tensor {name!r}: {error}")


def _layouts(file: TensorFile) -> dict[str, Layout]:
    parts = {name: Part(file.dtypes[name], file.shapes[name]) for name in file.names}
    records = _records(file)
    found: dict[str, Layout] = {}
    owners: dict[str, str] = {}
    for name, record in records.items():
        try:
            found[name] = parse_layout(record, parts, name)
        except ValueError as error:
            refuse(file.path, f"tensor {name!r}: {error}; was its metadata edited?")
        for part in found[name].parts(name):
            if owners.setdefault(part, name) != name:
                refuse(file.path, f"{part!r} belongs to {owners[part]!r} and to {name!r}")
    return {
        name: found[name] if name in found else Plain(*part)
        for name, part in parts.items()
        if owners.get(name, name) == name
    }


def _records(file: TensorFile) -> dict[str, Any]:
    text = file.metadata.get(KEY)
    if text is None:
        return {}
    data = parse_json(file.path, text.encode(), f"metadata {KEY!r}")
    version = data.get("version") if isinstance(data, dict) else None
    if type(version) is not int:
        refuse(file.path, f"metadata {KEY!r} must be an object with a version")
    if version != VERSION:
        refuse(
            file.path,
            f"metadata {KEY!r} has version {brief(version)}; this lowp reads {VERSION}: update it",
        )
    if set(data) != {"version", "tensors"} or not isinstance(data["tensors"], dict):
        refuse(file.path, f"metadata {KEY!r} must have version and tensors, and no more")
    records: dict[str, Any] = data["tensors"]
    return records


def _numpy_type(dtype: str) -> np.dtype[Any]:
    """The type that a block tensor decodes to: float32 where NumPy has no such."""
    if dtype == "bfloat16" and find_spec("ml_dtypes") is not None:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return found
    return np.dtype(dtype if dtype in ("float64", "float16") else "float32")
