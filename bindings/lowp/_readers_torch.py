"""PyTorch's zip files, read without torch and without running the pickle in them.

`torch.save` writes NAME/data.pkl, a pickle that calls functions to rebuild tensors, and the bytes
of each storage as NAME/data/KEY. `pickletools` splits the pickle into opcodes; the machine here
interprets those of tensors, dicts, lists and numbers, and refuses every other name and opcode.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._readers_core import (
    KINDS,
    Stored,
    TensorFile,
    brief,
    check_shape,
    item_size,
    note_of,
    refuse,
)
from ._readers_numpy import Archive

_MAX_PICKLE = 1 << 25
_MAX_NODES = 300_000
_MAX_DEPTH = 64
_MAX_NAME = 512

#: Storage types of torch, and the types that `torch.float32` and the like name.
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
_UNTYPED = "torch.storage.UntypedStorage"
_TYPES = {f"torch.{name}": dtype for name, dtype in _STORAGES.items()}
_TYPES |= {f"torch.{dtype}": dtype for dtype in KINDS}


@dataclass(frozen=True)
class _Name:
    """A name that the pickle refers to; it is never imported."""

    full: str


@dataclass(frozen=True)
class _Storage:
    dtype: str | None
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    dtype: str
    offset: int
    shape: Any
    strides: Any


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage) or storage.dtype is None:
        raise ValueError("a tensor without a typed storage")
    return _Tensor(storage, storage.dtype, offset, shape, strides)


def _tensor_with_type(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _Tensor:
    # rest: requires_grad, hooks, dtype, metadata
    dtype = rest[2]
    if not isinstance(storage, _Storage) or not isinstance(dtype, _Name):
        raise ValueError("a tensor without a storage or a type")
    return _Tensor(storage, _TYPES[dtype.full], offset, shape, strides)


def _ordered_dict() -> dict[Any, Any]:
    return {}


def _set_item(items: Any, key: Any, value: Any) -> None:
    # Only texts and numbers: hashing a tuple that is nested deeply enough ends the process.
    if not isinstance(items, dict) or not isinstance(key, str | int):
        raise ValueError(f"a dict key must be a text or an integer; got {type(key).__name__}")
    if isinstance(key, int) and key.bit_length() > 64:
        raise ValueError(f"a dict key must be of at most 64 bits; got {brief(key)}")
    if key in items:
        raise ValueError(f"the key {brief(key)} appears twice")
    items[key] = value


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _size(sizes: Any) -> Any:
    return sizes


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_with_type,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}

_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NUMBERS = frozenset(["BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"])
_TEXTS = frozenset(["BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING"])
_LITERALS = _NUMBERS | _TEXTS | {"SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_NOTHING = frozenset(["PROTO", "FRAME", "STOP"])


class _Machine:
    """The stack machine of pickles, less everything that could import or call foreign code."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, pickle: bytes) -> Any:
        """The object that the pickle builds; ValueError where it needs more than tensors."""
        for opcode, argument, _ in pickletools.genops(pickle):
            self._step(opcode.name, argument)
        return self.stack.pop()

    def _step(self, opcode: str, argument: Any) -> None:
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode in _NOTHING:
            return
        elif (step := getattr(self, f"op_{opcode.lower()}", None)) is not None:
            step(argument)
        else:
            raise ValueError(f"opcode {opcode} has no place in a file of tensors")

    def _above_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("the stack is empty")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    # ---- one method an opcode -------------------------------------------------------------------

    def op_mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def op_empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def op_empty_list(self, _: Any) -> None:
        self.stack.append([])

    def op_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._above_mark()))

    def op_tuple1(self, _: Any) -> None:
        self.stack.append(tuple(self._pop(1)))

    def op_tuple2(self, _: Any) -> None:
        self.stack.append(tuple(self._pop(2)))

    def op_tuple3(self, _: Any) -> None:
        self.stack.append(tuple(self._pop(3)))

    def op_setitem(self, _: Any) -> None:
        key, value = self._pop(2)
        _set_item(self.stack[-1], key, value)

    def op_setitems(self, _: Any) -> None:
        values = self._above_mark()
        for key, value in zip(values[::2], values[1::2], strict=True):
            _set_item(self.stack[-1], key, value)

    def op_append(self, _: Any) -> None:
        self._extend(self._pop(1))

    def op_appends(self, _: Any) -> None:
        self._extend(self._above_mark())

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("elements are appended to something that is no list")
        self.stack[-1].extend(values)

    def op_binput(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    op_long_binput = op_binput

    def op_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_binget(self, index: int) -> None:
        self.stack.append(self.memo[index])

    op_long_binget = op_binget

    def op_global(self, argument: str) -> None:
        self._refer(".".join(argument.split(" ", 1)))

    def op_stack_global(self, _: Any) -> None:
        module, name = self._pop(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        self._refer(f"{module}.{name}")

    def _refer(self, full: str) -> None:
        if full not in _CALLS and full not in _TYPES and full != _UNTYPED:
            raise ValueError(
                f"found {full[:80]}, which is not a tensor; loading it could run code. Save the "
                "state dict alone, torch.save(model.state_dict(), file), or use safetensors"
            )
        self.stack.append(_Name(full))

    def op_reduce(self, _: Any) -> None:
        function, arguments = self._pop(2)
        if not isinstance(function, _Name) or function.full not in _CALLS:
            raise ValueError("a call of something that is no function")
        self.stack.append(_CALLS[function.full](*arguments))

    def op_build(self, _: Any) -> None:
        # The attributes of an OrderedDict or a parameter (versions, hooks) say nothing of values.
        self._pop(1)
        if not isinstance(self.stack[-1], dict | _Tensor):
            raise ValueError("attributes are set on something that is no dict or tensor")

    def op_binpersid(self, _: Any) -> None:
        (word, kind, key, _place, count) = self._pop(1)[0]
        if word != "storage" or not isinstance(kind, _Name) or not isinstance(key, str):
            raise ValueError("a persistent object that is no storage")
        if type(count) is not int or (kind.full not in _TYPES and kind.full != _UNTYPED):
            raise ValueError("a storage without a type or a size")
        self.stack.append(_Storage(_TYPES.get(kind.full), key, count))


def open_torch(path: Path) -> TensorFile:
    """The tensors of a file of `torch.save`: names are the keys of nested dicts joined by dots.

    Numbers and texts between the tensors are passed over. Sparse, quantized and other special
    tensors, and whole pickled models, get a ValueError that says what was found.
    """
    _check_magic(path)
    archive = Archive(path)
    folder = _folder(archive)
    try:
        root = _Machine().run(archive.raw(f"{folder}/data.pkl").tobytes())
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        refuse(path, f"data.pkl: {str(error)[:300] or type(error).__name__}")
    found = _walk(path, root)
    return TensorFile(path, [_stored(archive, folder, name, tensor) for name, tensor in found])


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"PK":
        return
    if start[:1] == b"\x80":
        refuse(
            path, "is a bare pickle, as PyTorch before 1.6 wrote; save it again with a newer one"
        )
    refuse(path, "is not a file of torch.save (no zip archive)")


def _folder(archive: Archive) -> str:
    pickles = [n for n in archive.names if n.count("/") == 1 and n.endswith("/data.pkl")]
    if len(pickles) != 1:
        refuse(archive.path, "is not a file of torch.save: no NAME/data.pkl in the archive")
    folder = pickles[0].removesuffix("/data.pkl")
    if f"{folder}/constants.pkl" in archive:
        refuse(archive.path, "is a TorchScript program; save its state dict with torch.save")
    if archive.size(pickles[0]) > _MAX_PICKLE:
        refuse(archive.path, f"data.pkl is over {_MAX_PICKLE} bytes; save the state dict alone")
    order = f"{folder}/byteorder"
    if order in archive and archive.head(order, 8) != b"little":
        refuse(archive.path, "holds big-endian numbers; save it again on a little-endian machine")
    return folder


def _walk(path: Path, root: Any) -> Iterator[tuple[str, _Tensor]]:
    """Every tensor below `root` with its name, in the order of the file."""
    pending: list[tuple[str, int, Any]] = [("", 0, root)]
    nodes = 0
    while pending:
        name, depth, value = pending.pop()
        if isinstance(value, _Tensor):
            yield name or path.stem, value
            continue
        children = _children(value)
        nodes += len(children)
        if nodes > _MAX_NODES or depth > _MAX_DEPTH or len(name) > _MAX_NAME:
            refuse(path, "data.pkl: containers nest without end")
        # The last pushed is the first popped.
        for key, child in reversed(children):
            pending.append((f"{name}.{key}" if name else str(key), depth + 1, child))


def _children(value: Any) -> list[tuple[Any, Any]]:
    """Containers and tensors right below a container; a scalar has none."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    return [(key, v) for key, v in items if isinstance(v, dict | list | tuple | _Tensor)]


def _stored(archive: Archive, folder: str, name: str, tensor: _Tensor) -> Stored:
    path = archive.path
    member = f"{folder}/data/{tensor.storage.key}"
    if member not in archive:
        refuse(path, f"tensor {name!r}: the archive has no storage {member!r}")
    if not archive.is_stored(member):
        refuse(path, f"storage {member!r} is compressed, as torch.save never does; save it again")
    shape = check_shape(path, name, tensor.shape)
    strides = check_shape(path, name, tensor.strides)
    offset = check_shape(path, name, (tensor.offset,))[0]
    item = item_size(tensor.dtype)
    count = archive.size(member) // item
    _check_storage(path, name, tensor, archive.size(member))
    if len(strides) != len(shape):
        refuse(path, f"tensor {name!r}: {len(shape)} sizes but {len(strides)} strides")
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if math.prod(shape) > 0 and last >= count:
        refuse(path, f"tensor {name!r} reaches to element {last} of a storage of {count}")
    note = note_of(tensor.dtype)
    if math.prod(shape) > count:
        note = f"repeats the {count} elements of its storage; save tensor.contiguous()"
    dense = strides == _dense(shape)
    return Stored(
        name,
        tensor.dtype,
        shape,
        note,
        lambda: archive.raw(member),
        offset * item,
        None if dense else strides,
    )


def _check_storage(path: Path, name: str, tensor: _Tensor, size: int) -> None:
    unit = item_size(tensor.storage.dtype) if tensor.storage.dtype else 1
    if tensor.storage.count * unit != size:
        refuse(
            path,
            f"tensor {name!r}: its storage should take {brief(tensor.storage.count * unit)} "
            f"bytes, but the archive has {size}; the file is damaged",
        )


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * max(shape[i + 1], 1)
    return tuple(strides)
