"""lowp.files: what is written reads back, by lowp and by safetensors, and damage never does."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lowp
import numpy as np
import pytest
from lowp import files

RNG = np.random.default_rng(11)
SHAPES = [(5, 37), (3, 4, 40), (40,), (0, 5), (2, 0), (1, 1), ()]


def block_tensors(name: str) -> dict[str, lowp.BlockTensor]:
    """A block format's tensors of every shape that it takes."""
    found = {}
    for shape in SHAPES:
        x = RNG.standard_normal(shape).astype(np.float32)
        if len(shape) != 1 or not isinstance(lowp.block_format(name).shape, tuple):
            found[f"{name}{shape}"] = lowp.encode(np.asarray(x), lowp.block_format(name))
    return found


def small_model() -> dict[str, Any]:
    """Block tensors with one and two levels, codes of scalar formats, and plain arrays."""
    x = RNG.standard_normal((6, 50)).astype(np.float32)
    return {
        "mx": lowp.encode(x, "mxfp4"),
        "nv": lowp.encode(x, "nvfp4"),
        "rows": lowp.encode(x, "int8_row"),
        "six": files.CodeTensor("float6_e3m2fn", lowp.encode(x, "float6_e3m2fn")),
        "bf": files.CodeTensor("bfloat16", lowp.encode(x, "bfloat16"), "bfloat16"),
        "norm": x[0].copy(),
        "steps": np.arange(3),
    }


def assert_same(got: Any, want: Any) -> None:
    assert type(got) is type(want)
    if isinstance(want, lowp.BlockTensor):
        assert got == want
        assert (got.dtype, got.axis) == (want.dtype, want.axis)
    elif isinstance(want, files.CodeTensor):
        assert (got.format, got.dtype) == (want.format, want.dtype)
        np.testing.assert_array_equal(got.codes, want.codes)
    else:
        assert (got.dtype, got.shape) == (want.dtype.newbyteorder("="), want.shape)
        np.testing.assert_array_equal(got, want)


# ---- there and back ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(lowp.block_formats()))
def test_every_block_format_of_every_shape_reads_back_the_same(name: str, tmp_path: Path) -> None:
    tensors = block_tensors(name)
    files.save(tmp_path / "x.safetensors", tensors)
    loaded = files.load(tmp_path / "x.safetensors")
    assert sorted(loaded) == sorted(tensors)
    for key, tensor in tensors.items():
        assert_same(loaded[key], tensor)
        np.testing.assert_array_equal(loaded[key].decode(), tensor.decode())


@pytest.mark.parametrize("name", [n for n in lowp.formats() if n != "float32"])
def test_codes_of_every_scalar_format_read_back_the_same(name: str, tmp_path: Path) -> None:
    x = np.abs(RNG.standard_normal((3, 7)))
    tensor = files.CodeTensor(name, lowp.encode(x, name, saturation="finite"))
    files.save(tmp_path / "x.safetensors", {"w": tensor})
    loaded = files.load(tmp_path / "x.safetensors")["w"]
    assert_same(loaded, tensor)
    np.testing.assert_array_equal(loaded.decode(np.float64), tensor.decode(np.float64))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("packed", [True, False])
def test_any_axis_packing_and_two_levels_a_row_read_back(
    axis: int, packed: bool, tmp_path: Path
) -> None:
    x = RNG.standard_normal((5, 6, 7))
    block = lowp.BlockFormat("float6_e2m3fn", "float8_e4m3fn", 4, "amax", outer="row")
    tensor = lowp.encode(x, block, axis=axis, packed=packed)
    files.save(tmp_path / "x", {"w": tensor})
    assert_same(files.load(tmp_path / "x")["w"], tensor)


def test_own_formats_and_outer_scales_that_need_float64_read_back(tmp_path: Path) -> None:
    x = RNG.standard_normal((4, 32))
    block = lowp.BlockFormat([-1, 0, 0.5], "ue5m3", 8, "amax", outer="tensor", outer_fixed=0.1)
    tensors = {"a": lowp.encode(x, block), "b": lowp.encode(x, "mxfp4/rounding=toward_zero")}
    files.save(tmp_path / "x", tensors)
    for name, tensor in tensors.items():
        assert_same(files.load(tmp_path / "x")[name], tensor)


def test_plain_arrays_of_any_type_and_order_read_back(tmp_path: Path) -> None:
    arrays = {
        "scalar": np.array(3.0),
        "empty": np.zeros((0, 4), np.float16),
        "big": np.arange(3, dtype=">f4"),
        "complex": np.array([1 + 2j], ">c8"),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "strided": np.arange(10, dtype=np.int16)[::3],
        "bool": np.array([True, False]),
    }
    files.save(tmp_path / "x", arrays)
    for name, array in arrays.items():
        assert_same(files.load(tmp_path / "x")[name], array)


def test_types_of_ml_dtypes_keep_their_bits(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    codes = np.array([0x3F80, 0x7FC1, 0xFFA5], np.uint16)
    x = RNG.standard_normal((2, 32)).astype(ml_dtypes.bfloat16)
    files.save(tmp_path / "x", {"b": codes.view(ml_dtypes.bfloat16), "w": lowp.encode(x, "mxfp4")})
    loaded = files.load(tmp_path / "x")
    np.testing.assert_array_equal(loaded["b"].codes, codes)
    assert loaded["w"].dtype == ml_dtypes.bfloat16


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    model = small_model()
    files.save(tmp_path / "a", model, {"format": "pt"})
    files.save(tmp_path / "b", dict(reversed(model.items())), {"format": "pt"})
    loaded = files.load(tmp_path / "a")
    files.save(tmp_path / "c", loaded, {"format": "pt"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()
    assert files.Reader(tmp_path / "a").metadata == {"format": "pt"}


def test_a_block_tensor_saves_and_loads_itself(tmp_path: Path) -> None:
    tensor = lowp.encode(np.ones((3, 40), np.float32), "nvfp4")
    tensor.save(tmp_path / "x.safetensors")
    assert lowp.BlockTensor.load(tmp_path / "x.safetensors") == tensor


def test_the_safetensors_library_reads_the_parts_as_plain_tensors(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    model = small_model()
    files.save(tmp_path / "x.safetensors", model, {"format": "np"})
    with safetensors.safe_open(tmp_path / "x.safetensors", "np") as file:
        names = {"mx", "mx.scales", "nv", "nv.scales", "nv.outer_scale", "rows", "rows.scales"}
        assert set(file.keys()) == names | {"six", "bf", "norm", "steps"}
        assert set(file.metadata()) == {"lowp", "format"}
        codes = file.get_tensor("nv")
        assert (codes.dtype, codes.shape) == (np.uint8, (6, 25))
        np.testing.assert_array_equal(codes.reshape(-1), model["nv"].codes)
        np.testing.assert_array_equal(file.get_tensor("nv.scales"), model["nv"].scales)
        outer = file.get_tensor("nv.outer_scale")
        assert outer.dtype == np.float32
        np.testing.assert_array_equal(outer, model["nv"].outer_scale)
        assert file.get_tensor("rows.scales").dtype == np.uint32
        np.testing.assert_array_equal(file.get_tensor("norm"), model["norm"])


def test_files_of_the_safetensors_library_load_and_wide_elements_are_aligned(
    tmp_path: Path,
) -> None:
    numpy_part = pytest.importorskip("safetensors.numpy")
    arrays = {"a": np.arange(3, dtype=np.int8), "b": np.arange(4.0), "c": np.float32([[1], [2]])}
    numpy_part.save_file(arrays, tmp_path / "x.safetensors")
    loaded = files.load(tmp_path / "x.safetensors")
    files.save(tmp_path / "y.safetensors", loaded)
    data = (tmp_path / "y.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0
    for entry in json.loads(data[8 : 8 + length]).values():
        width = {"I8": 1, "F64": 8, "F32": 4}[entry["dtype"]]
        assert entry["data_offsets"][0] % width == 0
    again = numpy_part.load_file(tmp_path / "y.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


def test_importing_lowp_reads_no_files_module_until_it_is_used() -> None:
    import subprocess
    import sys

    code = "import lowp, sys; a = 'lowp.files' in sys.modules; lowp.files.save; print(a)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# ---- what is refused before anything is written --------------------------------------------------


def test_arrays_and_names_that_safetensors_lacks_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x"
    x = np.ones((2, 32), np.float32)
    for bad in (np.array([object()]), np.ones(2, np.complex128), np.array(["a"])):
        with pytest.raises(TypeError, match="tensor 'w': safetensors has no type"):
            files.save(path, {"w": bad})
    with pytest.raises(ValueError, match=r"'w\.scales'.*rename one"):
        files.save(path, {"w": lowp.encode(x, "mxfp4"), "w.scales": x})
    with pytest.raises(ValueError, match="__metadata__"):
        files.save(path, {"__metadata__": x})
    with pytest.raises(ValueError, match="metadata must be texts"):
        files.save(path, {"w": x}, {"lowp": "mine"})
    with pytest.raises(ValueError, match="no valid text"):
        files.save(path, {"\ud800": x})
    with pytest.raises(TypeError, match="uint8"):
        files.CodeTensor("float4_e2m1fn", np.arange(3))
    with pytest.raises(ValueError, match="dtype"):
        files.CodeTensor("float4_e2m1fn", np.zeros(3, np.uint8), "int64")
    assert list(tmp_path.iterdir()) == []


def test_folders_and_devices_are_no_targets(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name a file"):
        files.save(tmp_path, {"w": np.ones(2)})
    with pytest.raises(ValueError, match="device"):
        files.save("/dev/null", {"w": np.ones(2)})
    with pytest.raises(ValueError, match="there is no folder"):
        files.save(tmp_path / "absent" / "x", {"w": np.ones(2)})


# ---- interrupted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_error_or_ctrl_c_leaves_the_old_file_and_nothing_else(
    error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with files.Writer(path, {"a": files.Plain("float32", (4,))}) as writer:
            writer.write("a", np.ones(2, np.float32))
            assert len(list(tmp_path.iterdir())) == 2
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.save(tmp_path / "x", {"w": np.ones(2)})
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_too_much_or_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    layouts = {
        "a": files.Plain("float32", (4,)),
        "w": files.Codes(lowp.format("int4"), (2,), "float32"),
    }
    with (
        pytest.raises(ValueError, match="'a' is not complete: 8 of 16"),
        files.Writer(path, layouts) as w,
    ):
        w.write("a", np.ones(2, np.float32))
    with (
        pytest.raises(ValueError, match="'a' has 16 bytes; got 20"),
        files.Writer(path, layouts) as w,
    ):
        w.write("a", np.ones(5, np.float32))
    with (
        pytest.raises(TypeError, match="must be float32; got float64"),
        files.Writer(path, layouts) as w,
    ):
        w.write("a", np.ones(4))
    with pytest.raises(TypeError, match="CodeTensor in"), files.Writer(path, layouts) as w:
        w.write("w", np.ones(2))
    with pytest.raises(KeyError), files.Writer(path, layouts) as w:
        w.write("b", np.ones(2))
    with pytest.raises(ValueError, match="with statement"):
        files.Writer(path, layouts).write("a", np.ones(4, np.float32))
    assert list(tmp_path.iterdir()) == []


def test_pieces_in_any_order_give_the_file_of_the_whole(tmp_path: Path) -> None:
    x, y = RNG.standard_normal((64, 100)).astype(np.float32), np.arange(7.0)
    tensor = lowp.encode(x, "mxfp6_e3m2")
    files.save(tmp_path / "whole", {"w": tensor, "y": y})
    layouts = {
        "w": files.Blocks(tensor.format, x.shape, -1, "float32", True),
        "y": files.Plain("float64", (7,)),
    }
    with files.Writer(tmp_path / "pieces", layouts) as writer:
        writer.write("w", lowp.encode(x[:30], "mxfp6_e3m2"))
        writer.write("y", y)
        writer.write("w", lowp.encode(x[30:], "mxfp6_e3m2"))
        assert writer.nbytes == (tmp_path / "whole").stat().st_size
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    files.save(tmp_path / "x", {"w": np.ones(2)})
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


# ---- damaged -------------------------------------------------------------------------------------


def saved(folder: Path) -> bytes:
    files.save(folder / "good.safetensors", small_model())
    return (folder / "good.safetensors").read_bytes()


def test_a_file_that_is_cut_anywhere_is_refused_with_its_name(tmp_path: Path) -> None:
    data, path = saved(tmp_path), tmp_path / "bad.safetensors"
    for end in [*range(0, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"bad\.safetensors"):
            files.load(path)


def test_an_edited_byte_of_the_header_gives_an_error_or_well_formed_tensors(
    tmp_path: Path,
) -> None:
    data, path = saved(tmp_path), tmp_path / "bad.safetensors"
    (length,) = struct.unpack("<Q", data[:8])
    refused = 0
    for at in range(8 + length):
        for flip in (1, 2, 16):
            bad = bytearray(data)
            bad[at] ^= flip
            path.write_bytes(bad)
            refused += load_or_refuse(path)
    assert refused > length


def load_or_refuse(path: Path) -> bool:
    """Whether the file is refused, with its name; else every tensor of it can be used."""
    try:
        tensors = files.load(path)
    except ValueError as error:
        return str(error).startswith(str(path)) or bool(pytest.fail(str(error)))
    for tensor in tensors.values():
        if isinstance(tensor, lowp.BlockTensor | files.CodeTensor):
            assert tensor.decode().shape == tensor.shape
    return False


def edited(data: bytes, edit: Callable[[dict[str, Any], dict[str, Any]], None]) -> bytes:
    """The file with its header and lowp's metadata changed."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    words = json.loads(header["__metadata__"]["lowp"])
    edit(header, words)
    if "__metadata__" in header and "lowp" in header["__metadata__"]:
        header["__metadata__"]["lowp"] = json.dumps(words)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def record(key: str, value: Any, name: str = "mx") -> Callable[[Any, Any], None]:
    return lambda _, words: words["tensors"][name].__setitem__(key, value)


def renamed(header: dict[str, Any], _: Any) -> None:
    header["other"] = header.pop("mx.scales")


def overlapping(header: dict[str, Any], _: Any) -> None:
    header["nv"]["data_offsets"] = header["mx"]["data_offsets"]


def swapped_shape(header: dict[str, Any], _: Any) -> None:
    header["mx"]["shape"] = header["mx"]["shape"][::-1]


def stolen(_: Any, words: dict[str, Any]) -> None:
    six = words["tensors"]["six"]
    words["tensors"]["mx.scales"] = {**six, "format": "uint8", "shape": [6, 2], "packed": False}


BAD: dict[str, tuple[Callable[[Any, Any], None], str]] = {
    "unknown block format": (record("format", "mxfp5/32"), "'mx'.*mxfp5"),
    "unknown format": (record("format", "float99"), "'mx'"),
    "another block format": (record("format", "nvfp4"), "'mx.scales' must be"),
    "format of another width": (record("format", "mxfp8_e4m3"), "'mx' must be"),
    "two levels without the second": (record("format", "nvfp4_16x16"), "'mx.scales' must be"),
    "format no text": (record("format", 4), "must be a text"),
    "format endless": (record("format", "x" * 9999), "must be a text"),
    "another shape": (record("shape", [6, 48]), "'mx' must be"),
    "a column less": (record("shape", [6, 49]), "'mx': bits after the last code"),
    "shape of one axis": (record("shape", [300]), "must be"),
    "shape of negative size": (record("shape", [6, -50]), "integer >= 0"),
    "shape of many bits": (record("shape", [2**70, 1]), "71 bits"),
    "shape of huge product": (record("shape", [2**40, 2**40]), "2.58"),
    "shape no list": (record("shape", 6), "must be a list"),
    "shape of bools": (record("shape", [True, True]), "integer >= 0"),
    "axis beyond": (record("axis", 2), "one of the 2 axes"),
    "axis of another direction": (record("axis", 0), "must be"),
    "axis no number": (record("axis", "x"), "one of the 2 axes"),
    "dtype of integers": (record("dtype", "int64"), "that of floats"),
    "dtype unknown": (record("dtype", "float31"), "that of floats"),
    "packed no bool": (record("packed", 1), "true or false"),
    "packed the other way": (record("packed", False), "'mx' must be"),
    "codes packed the other way": (record("packed", False, "six"), "have packed true"),
    "one word more": (record("color", 1), "and no more"),
    "a word less": (lambda _, w: w["tensors"]["mx"].pop("axis"), "must have axis"),
    "record no object": (lambda _, w: w["tensors"].__setitem__("mx", 3), "must be an object"),
    "record of no tensor": (lambda _, w: w["tensors"].__setitem__("z", w["tensors"]["mx"]), "'z'"),
    "scales missing": (renamed, "'mx.scales', which the file lacks"),
    "parts overlap": (overlapping, "overlap|belong"),
    "codes of another shape": (swapped_shape, "'mx' must be"),
    "part of two tensors": (stolen, "belongs to"),
    "newer version": (lambda _, w: w.__setitem__("version", 2), "version 2.*update"),
    "no version": (lambda _, w: w.pop("version"), "with a version"),
    "no tensors": (lambda _, w: w.pop("tensors"), "version and tensors"),
    "more in it": (lambda _, w: w.__setitem__("x", 1), "and no more"),
    "no JSON": (lambda h, w: (w.clear(), h["__metadata__"].__setitem__("lowp", "{"))[0], "version"),
}


@pytest.mark.parametrize("case", BAD)
def test_metadata_that_does_not_fit_is_refused_with_file_tensor_and_problem(
    case: str, tmp_path: Path
) -> None:
    edit, problem = BAD[case]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(edited(saved(tmp_path), edit))
    with pytest.raises(ValueError, match=problem) as caught:
        files.load(path)
    assert str(caught.value).startswith(str(path))


def test_metadata_that_is_no_json_and_codes_beyond_the_format_are_refused(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "x.safetensors"
    safetensors.save_file({"w": np.ones(2, np.uint8)}, path, {"lowp": "{NaN"})
    with pytest.raises(ValueError, match="'lowp' is not valid JSON"):
        files.load(path)
    words = {"format": "e5m5", "shape": [2], "dtype": "float32", "packed": False}
    text = json.dumps({"version": 1, "tensors": {"w": words}})
    safetensors.save_file({"w": np.array([1, 1 << 11], np.uint16)}, path, {"lowp": text})
    with pytest.raises(ValueError, match="'w': a code has over 11 bits"):
        files.load(path)


def test_packed_elements_of_others_and_missing_files_are_told(tmp_path: Path) -> None:
    header = b'{"f":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}'
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(2))
    with pytest.raises(ValueError, match=r"'f' cannot be read: F4 packs"):
        files.load(path)
    with pytest.raises(FileNotFoundError):
        files.load(tmp_path / "absent.safetensors")
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        files.load(path)
