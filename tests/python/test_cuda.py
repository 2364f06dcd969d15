"""Arrays of a GPU through lowp._cuda: the CPU's bits; skipped without a GPU or the module."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
if not torch.cuda.is_available():
    pytest.skip("no GPU that PyTorch can use", allow_module_level=True)
pytest.importorskip("lowp._cuda", reason="this lowp was built without CUDA")

import lowp  # noqa: E402
import lowp.torch as lt  # noqa: E402

Tensor = Any
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
BLOCKS = ["mxfp4", "mxfp8_e4m3/rceil", "nvfp4", "nvfp4_16x16", "fp8_tensor", "int8_row", "nf4"]


def sample(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (x * 8).to(dtype)


def same(a: Tensor, b: Tensor) -> bool:
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    left, right = a.cpu().contiguous().view(bits), b.cpu().contiguous().view(bits)
    return a.dtype == b.dtype and torch.equal(left, right)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["float8_e4m3fn", "float4_e2m1fn", "e5m2", *BLOCKS])
def test_lowp_quantize_takes_tensors_of_a_gpu(name: str, dtype: torch.dtype) -> None:
    x = sample(64, 96, dtype=dtype)
    y = lowp.quantize(x.cuda(), name)
    assert y.is_cuda
    assert same(y, lt.quantize(x, name))
    assert same(lowp.quantize(x.cuda().t(), name), lt.quantize(x.t(), name))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float16", "float4_e2m1fn"])
def test_codes_go_there_and_back(name: str) -> None:
    x = sample(33, 7)
    codes = lowp.encode(x.cuda(), name, saturation="finite")
    assert same(codes, torch.from_numpy(lowp.encode(x.numpy(), name, saturation="finite")))
    back = lowp.decode(codes, name)
    assert same(back, lt.quantize(x, name, saturation="finite"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_encode_and_decode_as_on_the_cpu(name: str, dtype: torch.dtype) -> None:
    for shape in [(64, 96), (5, 33)]:
        x = sample(*shape, dtype=dtype)
        here, there = lt.encode(x, name), lt.encode(x.cuda(), name)
        for part in ("codes", "scales", "outer_scale"):
            assert same(getattr(there, part), getattr(here, part))
        assert same(there.decode(), here.decode())


def test_a_nan_without_a_code_and_a_code_with_higher_bits_are_refused() -> None:
    x = torch.tensor([1.0, float("nan")], device="cuda")
    with pytest.raises(ValueError, match="NaN"):
        lowp.encode(x, "float4_e2m1fn")
    assert lowp.encode(x, "float4_e2m1fn", nan=7).tolist() == [2, 7]
    with pytest.raises(ValueError, match="higher bits"):
        lowp.decode(torch.tensor([200], dtype=torch.uint8, device="cuda"), "float4_e2m1fn")


@pytest.mark.parametrize("name", ["float8_e4m3fn", "nvfp4", "mxfp4", "fp8_tensor"])
def test_a_cuda_graph_replays_the_bits(name: str) -> None:
    x = sample(64, 128).cuda()
    calls = torch.zeros((), dtype=torch.int64, device="cuda")
    options = {"rounding": "stochastic_a", "seed": 5}

    def run() -> Tensor:
        number = torch.ops.lowp.next_call(calls, count=True)
        return torch.ops.lowp.quantize(x, name, -1, number, **options)

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        run()
    side.synchronize()
    calls.zero_()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = run()
    calls.zero_()
    for stream in range(3):
        graph.replay()
        torch.cuda.synchronize()
        assert same(y, lt.quantize(x.cpu(), name, stream=stream, **options))


def test_compiled_code_gives_the_bits_of_eager_code() -> None:
    x = sample(32, 64).cuda()
    compiled = torch.compile(lambda t: lt.quantize(t * 2, "mxfp4") + 1)
    assert same(compiled(x), lt.quantize(x * 2, "mxfp4") + 1)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "mxfp4", "nvfp4"])
def test_cupy_arrays_give_cupy_arrays(name: str) -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    x = sample(32, 64).numpy()
    y = lowp.quantize(cupy.asarray(x), name)
    assert isinstance(y, cupy.ndarray)
    np.testing.assert_array_equal(cupy.asnumpy(y), lowp.quantize(x, name))
    turned = lowp.quantize(cupy.asarray(x).T, name)
    np.testing.assert_array_equal(cupy.asnumpy(turned), lowp.quantize(x.T, name))
