"""Tensors in low precision as safetensors files: `save`, `load`, and both one tensor at a time.

    lowp.files.save("model.safetensors", {"w": lowp.encode(w, "mxfp4"), "norm": norm})
    tensors = lowp.files.load("model.safetensors")

Every file is one that the safetensors library reads as plain tensors: `w` are the codes, `w.scales`
the scales; the metadata key `lowp` says how they belong together. A file is written under another
name, brought to the disk and then renamed: an error or Ctrl-C leaves nothing half-written.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import struct
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lowp

from ._arrays import _code_dtype
from ._block_tensor import BlockTensor
from ._files_layout import (
    KEY,
    VERSION,
    Blocks,
    Codes,
    Layout,
    Part,
    Plain,
    blocks_of_tensor,
    pack_lines,
    parse_layout,
    unpack_lines,
)
from ._readers_core import KINDS, TensorFile, brief, refuse
from .measures import fits_float32
from .readers import SAFETENSORS_WORDS, open_safetensors, parse_json

__all__ = ["Blocks", "CodeTensor", "Codes", "Plain", "Reader", "Writer", "load", "save"]

Array = NDArray[Any]
PathLike = str | os.PathLike[str]


class CodeTensor:
    """Codes of a scalar format: format, codes (unsigned integers in the tensor's shape), and
    dtype, the type of the numbers before, in the words of `lowp.readers`. bfloat16 and 8-bit floats
    of a file are such tensors, too, since NumPy has no type for them.
    """

    __slots__ = ("codes", "dtype", "format")

    def __init__(self, format: str | lowp.Format, codes: ArrayLike, dtype: str = "float32") -> None:
        """See the class. TypeError: codes that are no unsigned integers of the format's size;
        ValueError: an unknown dtype.
        """
        self.format = lowp.format(format)
        self.codes: Array = np.asarray(codes)
        wanted = np.dtype(_code_dtype(self.format.bits))
        if self.codes.dtype != wanted:
            raise TypeError(f"codes of {self.format} must be {wanted}; got {self.codes.dtype}")
        if dtype not in KINDS or not KINDS[dtype].is_float:
            raise ValueError(f"dtype must be one that lowp.readers knows; got {dtype!r}")
        self.dtype = dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the codes."""
        return self.codes.shape

    @property
    def nbytes(self) -> int:
        """Bytes in a file."""
        return sum(part.nbytes for part in _layout_of(self).parts("").values())

    def decode(self, dtype: Any = None) -> Array:
        """The values, in `dtype` or the smallest of float32 and float64 that holds them."""
        if dtype is None:
            dtype = np.float32 if fits_float32(self.format) else np.float64
        values = lowp.decode(np.ascontiguousarray(self.codes).reshape(-1), self.format, dtype=dtype)
        return values.reshape(self.shape)

    def __repr__(self) -> str:
        """Shape and format."""
        return f"<lowp.files.CodeTensor {self.shape} in {self.format}>"


Tensor = BlockTensor | CodeTensor | Array


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
        name: t if isinstance(t, BlockTensor | CodeTensor) else np.asarray(t)
        for name, t in tensors.items()
    }
    layouts = {name: _layout_of(tensor, name) for name, tensor in values.items()}
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


def _layout_of(tensor: Tensor, name: str = "") -> Layout:
    if isinstance(tensor, BlockTensor):
        return blocks_of_tensor(tensor)
    if isinstance(tensor, CodeTensor):
        return Codes(tensor.format, tensor.shape, tensor.dtype)
    if tensor.dtype.name not in KINDS or tensor.dtype.name not in SAFETENSORS_WORDS:
        raise TypeError(f"tensor {name!r}: safetensors has no type for {tensor.dtype}")
    return Plain(tensor.dtype.name, tensor.shape)


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


# ---- writing -------------------------------------------------------------------------------------


class Writer:
    """A safetensors file that is written tensor by tensor, for models larger than memory.

        with lowp.files.Writer("model.safetensors", layouts) as writer:
            for name in layouts:
                writer.write(name, ...)

    layouts: what will come, by name: `Plain`, `Codes` or `Blocks`; sizes follow, so the header goes
    first. Tensors come in any order, and one in pieces along its first axis. The file appears under
    its name when the block ends well and all is there; ValueError where not. Otherwise nothing is
    left behind, and a file that was there before stays.
    """

    def __init__(
        self,
        path: PathLike,
        layouts: Mapping[str, Layout],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self._layouts = dict(layouts)
        self._parts = _all_parts(self.path, self._layouts)
        header, self._offsets = _header(self.path, self._layouts, self._parts, metadata or {})
        self._header = struct.pack("<Q", len(header)) + header
        self._written = dict.fromkeys(self._parts, 0)
        self._file: BinaryIO | None = None
        self._temporary = self.path.with_name(f".{self.path.name[:60]}.{secrets.token_hex(6)}.tmp")

    @property
    def nbytes(self) -> int:
        """Bytes of the whole file."""
        return len(self._header) + sum(part.nbytes for part in self._parts.values())

    def __enter__(self) -> Writer:
        _check_target(self.path)
        try:
            self._file = self._temporary.open("xb")
            self._file.write(self._header)
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def write(self, name: str, tensor: BlockTensor | CodeTensor | ArrayLike) -> None:
        """Write a tensor, or its next rows. KeyError: no such name. ValueError: more than was
        announced; TypeError: something else than was announced.
        """
        layout = self._layouts[name]
        if isinstance(layout, Blocks):
            self._write_blocks(name, layout, tensor)
        elif isinstance(layout, Codes):
            self._write_codes(name, layout, tensor)
        else:
            values = tensor.codes if isinstance(tensor, CodeTensor) else np.asarray(tensor)
            self._write_plain(name, layout, values)

    def append(self, part: str, data: NDArray[np.uint8]) -> None:
        """The next bytes of a part, such as `w` or `w.scales`, as they are to lie in the file."""
        view = np.ascontiguousarray(data).reshape(-1)
        done, whole = self._written[part], self._parts[part].nbytes
        if done + len(view) > whole:
            raise ValueError(f"{self.path}: {part!r} has {whole} bytes; got {done + len(view)}")
        if self._file is None:
            raise ValueError(f"{self.path}: the file is not open: use Writer in a with statement")
        self._file.seek(len(self._header) + self._offsets[part] + done)
        self._file.write(view.data)
        self._written[part] = done + len(view)

    def _write_plain(self, name: str, layout: Plain, values: Array) -> None:
        storage = np.dtype(KINDS[layout.dtype].storage)
        if KINDS[layout.dtype].code_format and values.dtype.name == layout.dtype:
            values = values.view(storage)  # of ml_dtypes, which has little-endian types only
        if values.dtype.newbyteorder("<") != storage.newbyteorder("<"):
            raise TypeError(f"tensor {name!r} must be {layout.dtype}; got {values.dtype}")
        self._append_array(name, values, storage)

    def _write_codes(self, name: str, layout: Codes, tensor: Any) -> None:
        if not isinstance(tensor, CodeTensor) or tensor.format != layout.format:
            raise TypeError(f"tensor {name!r} must be a CodeTensor in {layout.format}")
        codes = tensor.codes
        if layout.packed and layout.format.name not in KINDS:
            codes = pack_lines(codes, layout.format.bits)
        self._append_array(name, codes, codes.dtype)

    def _write_blocks(self, name: str, layout: Blocks, tensor: Any) -> None:
        like = (layout.format, layout.packed)
        if not isinstance(tensor, BlockTensor) or (tensor.format, tensor.packed) != like:
            what = "packed" if layout.packed else "unpacked"
            raise TypeError(f"tensor {name!r} must be an {what} BlockTensor in {layout.format}")
        self._append_array(name, tensor.codes, tensor.codes.dtype)
        self._append_array(f"{name}.scales", tensor.scales, tensor.scales.dtype)
        if tensor.outer_scale.size:
            part = f"{name}.outer_scale"
            exact = tensor.outer_scale.astype(self._parts[part].dtype)
            if not np.array_equal(exact, tensor.outer_scale, equal_nan=True):
                raise ValueError(f"tensor {name!r}: an outer scale is no {exact.dtype}")
            # One scale may stand for those of all lines.
            count = layout.outer_count() if tensor.shape == layout.shape else exact.size
            self._append_array(part, np.broadcast_to(exact, count), exact.dtype)

    def _append_array(self, part: str, values: Array, storage: np.dtype[Any]) -> None:
        little = np.ascontiguousarray(values, dtype=storage.newbyteorder("<"))
        self.append(part, little.reshape(-1).view(np.uint8))

    def _finish(self) -> None:
        for part, done in self._written.items():
            whole = self._parts[part].nbytes
            if done != whole:
                raise ValueError(f"{self.path}: {part!r} is not complete: {done} of {whole} bytes")
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self.path)
        _sync_folder(self.path.parent)

    def _discard(self) -> None:
        if self._file is not None:
            # Closing flushes, which fails again where the disk is full.
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
        self._temporary.unlink(missing_ok=True)


def _check_target(path: Path) -> None:
    """Refuse what a rename would destroy or could not replace."""
    if not path.parent.is_dir():
        refuse(path, f"there is no folder {path.parent} to write to")
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        refuse(path, "is a folder or a device; name a file")


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk, where the system can."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _all_parts(path: Path, layouts: Mapping[str, Layout]) -> dict[str, Part]:
    owners: dict[str, str] = {}
    parts: dict[str, Part] = {}
    for name, layout in layouts.items():
        for part, what in layout.parts(name).items():
            if part == "__metadata__":
                refuse(path, "no tensor can be named '__metadata__' in a safetensors file")
            if part in parts:
                refuse(
                    path,
                    f"{owners[part]!r} and {name!r} both need the name {part!r}; rename one",
                )
            if what.dtype not in SAFETENSORS_WORDS:
                refuse(path, f"tensor {name!r}: safetensors has no type for {what.dtype}")
            parts[part], owners[part] = what, name
    return parts


def _header(
    path: Path,
    layouts: Mapping[str, Layout],
    parts: Mapping[str, Part],
    metadata: Mapping[str, str],
) -> tuple[bytes, dict[str, int]]:
    """The JSON header, and where each part begins behind it."""
    for key, text in metadata.items():
        if not isinstance(key, str) or not isinstance(text, str) or key == KEY:
            refuse(path, f"metadata must be texts by names other than {KEY!r}; got {brief(key)}")
    records = {n: record for n, layout in sorted(layouts.items()) if (record := layout.record())}
    texts = dict(metadata)
    if records:
        texts[KEY] = json.dumps({"version": VERSION, "tensors": records}, separators=(",", ":"))
    header: dict[str, Any] = {"__metadata__": texts} if texts else {}
    offsets: dict[str, int] = {}
    place = 0
    # Wide elements first, so that each is aligned: the order of the safetensors library.
    for name, part in sorted(parts.items(), key=lambda item: (-_alignment(item[1]), item[0])):
        offsets[name], end = place, place + part.nbytes
        word, shape = SAFETENSORS_WORDS[part.dtype], list(part.shape)
        header[name] = {"dtype": word, "shape": shape, "data_offsets": [place, end]}
        place = end
    try:
        encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        refuse(path, f"a name is no valid text: {error}")
    return encoded + b" " * (-len(encoded) % 8), offsets


def _alignment(part: Part) -> int:
    return np.dtype(KINDS[part.dtype].storage).itemsize if part.dtype in KINDS else 1
