"""What is decided before a kernel of a GPU runs: whom it refuses and which memory it is handed.
Runs anywhere, on a made-up GPU.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp  # noqa: E402
from lowp import _device_blocks, _device_calls, _device_libraries, _device_measures  # noqa: E402
from made_up_gpu import lent, there  # noqa: E402

Put = Callable[..., Any]
FORMATS = ["float8_e4m3fn", "mxfp4"]


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Put]:
    """What makes a tensor lie on a GPU that is none."""
    with lent(monkeypatch):
        yield there


def sample(*shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 8


def wanted(x: Any, name: str) -> Any:
    return torch.from_numpy(lowp.quantize(x.contiguous().numpy(), name))


def block_parts(on_gpu: Put, name: str = "mxfp4") -> list[Any]:
    tensor = lowp.encode(sample(4, 32).numpy(), name)
    return [on_gpu(torch.from_numpy(part)) for part in block_arrays(tensor)]


def block_arrays(tensor: lowp.BlockTensor) -> tuple[Any, Any, Any]:
    return tensor.codes, tensor.scales, tensor.outer_scale


# ---- out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_quantize_goes_where_it_is_read_from_or_beside_it(name: str, on_gpu: Put) -> None:
    x = sample(32, 32)
    for of, into in (
        (lambda m: m, lambda m: m),
        (lambda m: m.t(), lambda m: m),
        (lambda m: m, lambda m: m.t()),
        (lambda m: m[1:], lambda m: m[:-1]),
        (lambda m: m[:-1], lambda m: m[1:]),
        (lambda m: m[0].expand(4, 32), lambda m: m[:4]),
    ):
        shared = x.clone()
        expected = wanted(of(shared), name)
        out = on_gpu(into(shared))
        assert lowp.quantize(on_gpu(of(shared)), name, out=out) is out
        assert torch.equal(into(shared), expected)


def test_codes_values_and_transforms_go_into_memory_that_is_read(on_gpu: Put) -> None:
    x = sample(33)
    codes = torch.from_numpy(lowp.encode(x[:-1].numpy(), "float8_e4m3fn")).int()
    shared = x.clone()
    into = shared.view(torch.uint32)[1:]
    lowp.encode(on_gpu(shared[:-1]), "float8_e4m3fn", out=on_gpu(into))
    assert torch.equal(into.int(), codes)
    values = wanted(x[:-1], "float8_e4m3fn")
    lowp.decode(on_gpu(into), "float8_e4m3fn", out=on_gpu(shared[:-1]))
    assert torch.equal(shared[:-1], values)
    expected = torch.from_numpy(lowp.hadamard(x[:-1].numpy(), 2))
    shared = x.clone()
    lowp.hadamard(on_gpu(shared[:-1]), 2, out=on_gpu(shared[1:]))
    assert torch.equal(shared[1:], expected)


def test_an_out_with_one_place_for_several_elements_is_refused(on_gpu: Put) -> None:
    x, narrow = on_gpu(sample(4, 32)), torch.empty(1)
    for name in FORMATS:
        with pytest.raises(ValueError, match="a place for each element; got one that is broadcast"):
            lowp.quantize(x, name, out=on_gpu(narrow.expand(4, 32)))
    with pytest.raises(ValueError, match="a place for each element"):
        lowp.hadamard(x, 2, out=on_gpu(narrow.expand(4, 32)))
    with pytest.raises(ValueError, match="a place for each element"):
        lowp.matmul(x, x.t(), out=on_gpu(narrow.expand(4, 4)))
    one = on_gpu(torch.empty(1).expand(1, 1))
    lowp.quantize(on_gpu(sample(1, 1)), "float8_e4m3fn", out=one)


def test_an_out_on_the_host_of_another_shape_or_with_a_gradient_is_refused(on_gpu: Put) -> None:
    x = on_gpu(sample(4, 32))
    codes = on_gpu(torch.zeros(4, 32, dtype=torch.uint8))
    tensor = _device_blocks.DeviceBlockTensor("mxfp4", *block_parts(on_gpu), (4, 32))
    calls = {
        "x": lambda out: lowp.quantize(x, "mxfp4", out=out),
        "codes": lambda out: lowp.decode(codes, "float8_e4m3fn", out=out),
        "codes of blocks": lambda out: tensor.decode(torch.float32, out=out),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"out must be on the device of {name.split()[0]}"):
            call(torch.empty(4, 32))
        with pytest.raises(ValueError, match=r"must be on the device of .*, 0; got one on 1"):
            call(on_gpu(torch.empty(4, 32), 1))
        with pytest.raises(ValueError, match=r"out must have shape \(4, 32\) and dtype float32"):
            call(on_gpu(torch.empty(4, 31)))
        with pytest.raises(TypeError, match=r"out requires a gradient.*out\.detach\(\)"):
            call(on_gpu(torch.empty(4, 32)).requires_grad_())
    with pytest.raises(ValueError, match="dtype uint16 or uint32 or uint64; got"):
        lowp.encode(x, "float16", out=codes)


def test_autograd_does_not_use_what_a_kernel_has_overwritten(on_gpu: Put) -> None:
    w = torch.ones(4, 32, requires_grad=True)
    saved = sample(4, 32)
    loss = (w * saved).sum()
    lowp.quantize(on_gpu(saved), "mxfp4", out=on_gpu(saved))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_decode_of_blocks_writes_into_strided_out(on_gpu: Put) -> None:
    parts = block_parts(on_gpu)
    tensor = _device_blocks.DeviceBlockTensor("mxfp4", *parts, (4, 32), -1, torch.float32)
    wide = torch.zeros(4, 64)
    tensor.decode(out=on_gpu(wide[:, ::2]))
    assert torch.equal(wide[:, ::2], wanted(sample(4, 32), "mxfp4"))
    assert not wide[:, 1::2].any()


# ---- pointers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "int8_row", "fp8_tensor"])
def test_parts_of_a_block_tensor_are_refused_as_on_the_cpu(name: str, on_gpu: Put) -> None:
    tensor = lowp.encode(sample(4, 32).numpy(), name)
    codes, scales, outer = block_arrays(tensor)
    longer = np.concatenate([scales, scales])
    for parts in (
        (codes.astype(np.int64), scales, outer),
        (codes, scales.astype(np.float32), outer),
        (codes, scales, np.ones(5)),
        (codes[1:], scales, outer),
        (codes, longer, outer),
    ):
        with pytest.raises((TypeError, ValueError)) as here:
            lowp.BlockTensor(name, *parts, (4, 32))
        moved = [on_gpu(torch.from_numpy(np.ascontiguousarray(part))) for part in parts]
        with pytest.raises(here.type) as on_device:
            _device_blocks.DeviceBlockTensor(name, *moved, (4, 32))
        assert str(on_device.value) == str(here.value)
        with pytest.raises(here.type) as decoded:
            _device_blocks.decode_blocks(*moved, name, (4, 32), -1, "float32")
        assert str(decoded.value) == str(here.value)
    moved = [on_gpu(torch.from_numpy(part)) for part in (codes, scales, outer)]
    with pytest.raises(ValueError, match="no negative length"):
        _device_blocks.DeviceBlockTensor(name, *moved, (-4, 32))


def test_parts_of_a_block_tensor_lie_on_one_device(on_gpu: Put) -> None:
    parts = block_parts(on_gpu)
    for at, what in ((1, "scales"), (2, "outer_scale")):
        for elsewhere in (torch.Tensor(parts[at]), on_gpu(parts[at], 1)):
            moved = [*parts[:at], elsewhere.clone(), *parts[at + 1 :]]
            moved[at].place = getattr(elsewhere, "place", 0)
            with pytest.raises(ValueError, match=f"{what} must be on the device of codes"):
                _device_blocks.DeviceBlockTensor("mxfp4", *moved, (4, 32))
            with pytest.raises(ValueError, match=f"{what} must be on the device of codes"):
                _device_blocks.decode_blocks(*moved, "mxfp4", (4, 32), -1, "float32")


class Wrapper(torch.Tensor):
    """As a DTensor: a tensor whose memory is another's."""

    @staticmethod
    def __new__(cls, x: Any) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, x.shape, dtype=x.dtype)

    @classmethod
    def __torch_dispatch__(cls, function: Any, *_: Any) -> Any:
        raise AssertionError(f"{function} is not called")


def test_a_tensor_without_memory_of_its_own_is_refused() -> None:
    library = _device_libraries._load("torch")
    with pytest.raises(TypeError, match=r"got a Wrapper, .*x\.to_local\(\) of a DTensor"):
        library.pointer(Wrapper(torch.zeros(3)))
    assert library.pointer(torch.zeros(0)) == 0
    assert library.pointer(torch.zeros(3))


def test_error_of_arrays_of_two_devices_is_refused(on_gpu: Put) -> None:
    x = sample(4, 32)
    with pytest.raises(ValueError, match=r"quantized array must be .* of x, 0; got one on 1"):
        lowp.error(on_gpu(x), on_gpu(x.clone(), 1))


# ---- words for failures --------------------------------------------------------------------------


def test_a_failure_after_inference_mode_is_told_as_before_it(on_gpu: Put) -> None:
    x = on_gpu(torch.tensor([1.0, math.nan]))
    with torch.inference_mode():
        lowp.encode(on_gpu(torch.ones(2)), "float4_e2m1fn")
    for _ in range(2):
        with pytest.raises(ValueError, match="has no NaN; got NaN"):
            lowp.encode(x, "float4_e2m1fn")
    with torch.inference_mode(), pytest.raises(ValueError, match="has no NaN; got NaN"):
        lowp.encode(x, "float4_e2m1fn")
    assert lowp.encode(on_gpu(torch.ones(2)), "float4_e2m1fn").tolist() == [2, 2]


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
def test_a_word_that_is_made_among_fake_tensors_is_not_kept(on_gpu: Put) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    x = on_gpu(torch.tensor([1.0, math.nan]))
    with FakeTensorMode(), pytest.raises(TypeError, match="no memory of its own"):
        lowp.encode(x, "float4_e2m1fn")
    with pytest.raises(ValueError, match="has no NaN; got NaN"):
        lowp.encode(x, "float4_e2m1fn")


def test_kernels_that_do_not_load_are_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libcudart.so.13: cannot open shared object file")

    _device_calls.kernels.cache_clear()
    try:
        monkeypatch.setattr(_device_calls, "import_module", broken)
        with pytest.raises(ImportError, match="libcudart"):
            _device_calls.module()
        monkeypatch.undo()
        monkeypatch.setitem(sys.modules, "lowp._cuda", None)
        with pytest.raises(TypeError, match="built without CUDA"):
            _device_calls.module()
    finally:
        _device_calls.kernels.cache_clear()


# ---- the rest ------------------------------------------------------------------------------------


def test_matmul_adds_nan_and_refuses_what_has_a_gradient(on_gpu: Put) -> None:
    x = on_gpu(sample(4, 4))
    assert lowp.matmul(x, x, c=math.nan).isnan().all()
    assert torch.equal(lowp.matmul(x, x, c=2.0), lowp.matmul(x, x, c=on_gpu(torch.tensor(2.0))))
    with pytest.raises(ValueError, match=r"c is 0\.1, which float32 does not hold"):
        lowp.matmul(x, x, c=0.1)
    with pytest.raises(ValueError, match="c must be on the device"):
        lowp.matmul(x, x, c=np.zeros(4, np.float32))
    for name in ("b", "c", "out"):
        given = {"b": x, name: on_gpu(sample(4, 4)).requires_grad_()}
        with pytest.raises(TypeError, match=f"{name} requires a gradient"):
            lowp.matmul(x, **given)
    with pytest.raises(ValueError, match="b must be on the device of a"):
        lowp.matmul(x, on_gpu(sample(4, 4), 1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_largest_magnitude_of_nothing_has_its_dtype(dtype: Any, on_gpu: Put) -> None:
    found = _device_measures.amax(on_gpu(torch.zeros(0, 4, dtype=dtype)))
    assert found.dtype == dtype
    assert found.tolist() == [0]


@pytest.mark.parametrize("wrong", [["mxfp4"], {}, ("mxfp4", [])])
def test_formats_without_a_hash_are_refused_as_on_the_cpu(wrong: Any, on_gpu: Put) -> None:
    x = on_gpu(sample(4, 32))
    codes = on_gpu(torch.zeros(4, 32, dtype=torch.uint8))
    for call in (
        lambda: lowp.quantize(x, wrong),
        lambda: lowp.encode(x, wrong),
        lambda: lowp.decode(codes, wrong),
        lambda: lowp.matmul(x, x.t(), a_format=wrong),
    ):
        with pytest.raises(TypeError, match="format must be a Format, a dtype or a name"):
            call()
