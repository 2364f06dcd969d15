"""What every reader of `lowp.readers` shares: how elements lie in a file, and the open file.

A reader checks a file's description in full and hands over a list of `Stored` tensors; bytes of a
tensor are touched only when it is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

import lowp

Bytes = NDArray[np.uint8]

#: Elements of a chunk: a multiple of `lowp.measures.BLOCK`, 4 MiB of float32.
CHUNK = 1 << 20
#: numpy 1 has arrays of at most 32 dimensions.
MAX_DIMENSIONS = 32


class Kind(NamedTuple):
    """How one element lies in a file: its numpy type, and the format of the codes in it."""

    storage: str
    code_format: str | None = None
    is_float: bool = True


KINDS: dict[str, Kind] = {
    "float64": Kind("<f8"),
    "float32": Kind("<f4"),
    "float16": Kind("<f2"),
    "bfloat16": Kind("<u2", "bfloat16"),
    "float8_e4m3fn": Kind("<u1", "float8_e4m3fn"),
    "float8_e5m2": Kind("<u1", "float8_e5m2"),
    "float8_e4m3fnuz": Kind("<u1", "float8_e4m3fnuz"),
    "float8_e5m2fnuz": Kind("<u1", "float8_e5m2fnuz"),
    "float8_e8m0fnu": Kind("<u1", "float8_e8m0fnu"),
    "int64": Kind("<i8", is_float=False),
    "int32": Kind("<i4", is_float=False),
    "int16": Kind("<i2", is_float=False),
    "int8": Kind("<i1", is_float=False),
    "uint64": Kind("<u8", is_float=False),
    "uint32": Kind("<u4", is_float=False),
    "uint16": Kind("<u2", is_float=False),
    "uint8": Kind("<u1", is_float=False),
    "bool": Kind("|b1", is_float=False),
    "complex64": Kind("<c8", is_float=False),
    "complex128": Kind("<c16", is_float=False),
}


def refuse(path: Path, problem: str) -> NoReturn:
    """Raises ValueError that names the file and what is wrong with it."""
    raise ValueError(f"{path}: {problem}")


def brief(value: Any) -> str:
    """`value` for a message: short whatever it is, as texts from a damaged file can be endless."""
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, str | int | float | None):
        return repr(value)[:60]
    return f"a {type(value).__name__}"


def item_size(dtype: str) -> int:
    """Bytes of one element."""
    return np.dtype(KINDS[dtype].storage).itemsize


def note_of(dtype: str) -> str:
    """Why a tensor of `dtype` is not read; empty for the floating-point types."""
    if KINDS[dtype].is_float:
        return ""
    return f"{dtype} is not floating point: nothing to quantize"


def check_shape(path: Path, name: str, shape: Any) -> tuple[int, ...]:
    """`shape` as a tuple; refuses anything but at most 32 integers >= 0."""
    if not isinstance(shape, list | tuple) or len(shape) > MAX_DIMENSIONS:
        refuse(path, f"tensor {name!r}: the shape must be a list of at most {MAX_DIMENSIONS} sizes")
    for n in shape:
        if type(n) is not int or not 0 <= n < 2**63:
            refuse(path, f"tensor {name!r}: a size must be an integer >= 0; got {brief(n)}")
    # numpy counts a shape's bytes in 63 bits, with empty dimensions left out.
    if math.prod(n or 1 for n in shape) >= 2**58:
        refuse(path, f"tensor {name!r}: the sizes multiply to over 2^58 elements")
    return tuple(shape)


def map_file(path: Path) -> Bytes:
    """The file's bytes, memory-mapped and read-only; an empty file gives an empty array."""
    if path.is_dir():
        refuse(path, "is a folder; name a file in it")
    if path.stat().st_size == 0:
        refuse(path, "is empty (0 bytes)")
    return np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)


@dataclass(frozen=True)
class Stored:
    """One tensor of a file: what it is, and where its bytes are.

    `strides` count elements and may be None for C order. A tensor with a `note` is listed only.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    note: str = ""
    raw: Callable[[], Bytes] | None = None
    offset: int = 0
    strides: tuple[int, ...] | None = None
    storage: str = ""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def elements(self) -> NDArray[Any]:
        """The elements as they lie in the file: floats or codes, perhaps strided or unaligned."""
        dtype = np.dtype(self.storage or KINDS[self.dtype].storage)
        if self.size == 0 or self.raw is None:
            return np.empty(self.shape, dtype)
        strides = None if self.strides is None else tuple(s * dtype.itemsize for s in self.strides)
        elements: NDArray[Any] = np.ndarray(self.shape, dtype, self.raw(), self.offset, strides)
        return elements

    def decode(self, elements: NDArray[Any]) -> NDArray[np.floating[Any]]:
        """Floats of the elements: float64, float32, float16 as they are, all else as float32."""
        native = np.require(elements, elements.dtype.newbyteorder("="), ["A", "C"])
        code_format = KINDS[self.dtype].code_format
        if code_format is None:
            return native
        values: NDArray[np.floating[Any]] = lowp.decode(native.reshape(-1), code_format)
        return values.reshape(native.shape)


class TensorFile:
    """The tensors of one file, read when asked for; use it in a `with` statement.

    `names` lists every tensor in the file's order, those that cannot be read (integers, packed
    bits) too: `skipped` says why. Arrays may be read-only views of the mapped file.
    """

    def __init__(
        self, path: Path, stored: Iterable[Stored], metadata: Mapping[str, str] | None = None
    ) -> None:
        self.path = path
        #: Texts that the file keeps beside its tensors; only .safetensors has such.
        self.metadata: dict[str, str] = dict(metadata or {})
        self._stored: dict[str, Stored] = {}
        for tensor in stored:
            if tensor.name in self._stored:
                refuse(path, f"two tensors are named {tensor.name!r}")
            self._stored[tensor.name] = tensor

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._stored)

    def close(self) -> None:
        """Forgets the file; arrays that were loaded stay valid."""
        self._stored = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Every tensor's name, in the file's order."""
        return tuple(self._stored)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor; () for a scalar."""
        return {name: tensor.shape for name, tensor in self._stored.items()}

    @property
    def dtypes(self) -> dict[str, str]:
        """Element type of every tensor, in lowp's and numpy's words: float32, bfloat16, int64."""
        return {name: tensor.dtype for name, tensor in self._stored.items()}

    @property
    def skipped(self) -> dict[str, str]:
        """Tensors that cannot be read, each with the reason."""
        return {name: tensor.note for name, tensor in self._stored.items() if tensor.note}

    def size(self, name: str) -> int:
        """Number of elements; KeyError for an unknown name."""
        return self._stored[name].size

    def load(self, name: str) -> NDArray[np.floating[Any]]:
        """The whole tensor in its shape: float64, float32 or float16 as stored; bfloat16 and the
        8-bit floats decoded to float32. NaN and infinity stay.

        KeyError for an unknown name, ValueError for a skipped tensor (see `skipped`).
        """
        tensor = self._readable(name)
        return tensor.decode(tensor.elements())

    def chunks(self, name: str, size: int = CHUNK) -> Iterator[NDArray[np.floating[Any]]]:
        """The tensor's values in C order as 1-D arrays of `size` elements, the last one shorter.

        Values, types and errors as with `load`. An empty tensor gives no chunk.
        """
        if size < 1:
            raise ValueError(f"lowp.readers: a chunk needs at least one element; got size {size}")
        tensor = self._readable(name)
        elements = tensor.elements()
        contiguous = elements.flags.c_contiguous
        flat = elements.reshape(-1) if contiguous else elements.flat
        for start in range(0, tensor.size, size):
            yield tensor.decode(flat[start : start + size])

    def rows(self, name: str, parts: Sequence[slice]) -> Iterator[NDArray[np.floating[Any]]]:
        """Parts of a tensor along its first axis, one after the other; all of a scalar. Values,
        types and errors as with `load`.
        """
        tensor = self._readable(name)
        elements = tensor.elements()
        for part in parts:
            yield tensor.decode(elements[part] if tensor.shape else elements)

    def elements(self, name: str) -> NDArray[Any]:
        """The tensor as it lies in the file, without decoding: bfloat16 and the 8-bit floats as
        unsigned integers, integers too; perhaps strided or of another byte order.

        KeyError for an unknown name; ValueError for elements that NumPy has no type for.
        """
        tensor = self._stored[name]
        if tensor.dtype not in KINDS:
            refuse(self.path, f"tensor {name!r} cannot be read: {tensor.note}")
        return tensor.elements()

    def raw(self, name: str) -> Bytes:
        """The tensor's bytes, for elements packed into parts of bytes. KeyError: unknown name."""
        tensor = self._stored[name]
        return np.zeros(0, np.uint8) if tensor.raw is None else tensor.raw()

    def _readable(self, name: str) -> Stored:
        tensor = self._stored[name]
        if tensor.note:
            refuse(self.path, f"tensor {name!r} cannot be read: {tensor.note}")
        return tensor
