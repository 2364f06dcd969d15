"""Matrix products on a GPU: the CPU's bits, and those of an H100's own unit."""

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
from lowp import _device_products  # noqa: E402

Tensor = Any
ACCUMULATORS = [
    "float32",
    "float16",
    "bfloat16",
    "float8_e5m2",
    "float16/rounding=toward_zero",
    "float16/rounding=stochastic_a",
    "bfloat16/separate",
    "float16/chunk=32",
    "float16/chunk=32/promotion=bfloat16",
    "h100_fp8/chunk=64/lowest_exponent=-149",
    "float16/pairwise",
    "exact",
    "h100/result=float16/result_rounding=nearest_ties_to_even",
]
is_h100 = pytest.mark.skipif(
    torch.cuda.get_device_capability() != (9, 0), reason="no GPU of Hopper's architecture"
)


def sample(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (x * 4).to(dtype)


def wide(x: Tensor) -> Any:
    return (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x).numpy()


def same(there: Tensor, here: Any) -> bool:
    got, want = there.cpu().numpy(), np.asarray(here)
    return got.dtype == want.dtype and got.shape == want.shape and got.tobytes() == want.tobytes()


@pytest.mark.parametrize("accumulator", ACCUMULATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_matmul_on_the_device_has_the_bits_of_the_cpu(accumulator: str, dtype: Any) -> None:
    a, b = sample(37, 70, dtype=dtype), sample(70, 41, seed=2, dtype=dtype)
    if accumulator.startswith("h100"):
        a, b = (lt.quantize(x.float(), "float16").to(dtype) for x in (a, b))
    options = {"accumulator": accumulator, "seed": 7, "stream": 3}
    want = lowp.matmul(wide(a), wide(b), **options)
    assert same(lowp.matmul(a.cuda(), b.cuda(), **options), want)
    turned = a.cuda().t().contiguous().t()
    assert same(lowp.matmul(turned, b.cuda().t().contiguous().t(), **options), want)


@pytest.mark.parametrize(
    "shapes",
    [((5,), (5,)), ((3, 5), (5,)), ((5,), (5, 4)), ((2, 1, 3, 5), (4, 5, 6)), ((3, 0), (0, 2))],
)
def test_shapes_are_those_of_numpy(shapes: Any) -> None:
    a, b = sample(*shapes[0]), sample(*shapes[1], seed=2)
    for accumulator in ("float16", "float16/rounding=stochastic_b", "a100_tf32"):
        grid = "tensorfloat32" if accumulator == "a100_tf32" else "float8_e4m3fn"
        options: Any = {"accumulator": accumulator, "a_format": grid, "b_format": grid}
        want = lowp.matmul(a.numpy(), b.numpy(), **options)
        assert same(lowp.matmul(a.cuda(), b.cuda(), **options), want)
        addend = sample(1, *want.shape, seed=3)[0]
        assert same(
            lowp.matmul(a.cuda(), b.cuda(), c=addend.cuda(), **options),
            lowp.matmul(a.numpy(), b.numpy(), c=addend.numpy(), **options),
        )
    assert same(
        lowp.dot(a.flatten().cuda(), a.flatten().cuda()),
        lowp.dot(a.flatten().numpy(), a.flatten().numpy()),
    )


@pytest.mark.parametrize(
    ("accumulator", "a_format", "b_format"),
    [
        ("h100_fp8", "float8_e4m3fn", "float8_e5m2"),
        ("h100_fp8_promoted", "float8_e4m3fn", "float8_e4m3fn"),
        ("mi300", "float16", "bfloat16"),
        ("b200_mxf8", "mxfp8_e4m3", "mxfp8_e4m3"),
        ("b200_mxf8", "mxfp8_e5m2", "mxfp8_e4m3"),
        ("b200_mxf4", "mxfp4", "mxfp4"),
        ("b200_nvfp4", "nvfp4", "nvfp4"),
        ("float32", "mxfp4", "nvfp4"),
        ("float16", "fp8_tensor", "float8_e4m3fn"),
    ],
)
@pytest.mark.parametrize("batch", [(), (3,)])
def test_factors_are_rounded_to_their_formats_first(
    accumulator: str, a_format: str, b_format: str, batch: Any
) -> None:
    a, b = sample(*batch, 33, 128), sample(128, 20, seed=2)
    options: Any = {"accumulator": accumulator, "a_format": a_format, "b_format": b_format}
    want = lowp.matmul(a.numpy(), b.numpy(), **options)
    assert same(lowp.matmul(a.cuda(), b.cuda(), **options), want)
    options |= {"out_format": "float8_e5m2", "out_rounding": "stochastic_a", "seed": 5}
    want = lowp.matmul(a.numpy(), b.numpy(), **options)
    out = torch.empty(want.shape, device="cuda")
    assert lowp.matmul(a.cuda(), b.cuda(), out=out, **options) is out
    assert same(out, want)


@pytest.mark.parametrize("part", ["terms=16", "fraction_bits=24", "fraction_bits=22", "terms=64"])
def test_scales_that_are_no_powers_of_two_leave_room_in_a_steps_sum(part: str) -> None:
    x = np.full((3, 64), 1.75 * 448, np.float32)  # elements of 448, each scale 1.75
    block = "float8_e4m3fn/16/float8_e4m3fn"
    options: Any = {"accumulator": f"b200_mxf8/{part}", "a_format": block, "b_format": block}
    want = lowp.matmul(x, x.T, **options)
    there = torch.from_numpy(x).cuda()
    assert same(lowp.matmul(there, there.t(), **options), want)


@pytest.mark.parametrize(
    ("accumulator", "grid"),
    [
        ("h100/terms=256", "float16"),
        ("mi300/terms=200", "float16"),
        ("b200_mxf8/terms=256", "mxfp8_e4m3"),
        ("b200_nvfp4/terms=256/group=4/fraction_bits=20", "nvfp4"),
        ("b200_nvfp4/terms=128/group=2/fraction_bits=20", "nvfp4"),
    ],
)
def test_units_of_many_terms_have_room_in_shared_memory(accumulator: str, grid: str) -> None:
    a, b = sample(33, 640), sample(640, 20, seed=2)
    options: Any = {"accumulator": accumulator, "a_format": grid, "b_format": grid}
    want = lowp.matmul(a.numpy(), b.numpy(), **options)
    assert same(lowp.matmul(a.cuda(), b.cuda(), **options), want)


def test_units_take_the_first_of_their_formats_that_holds_the_numbers() -> None:
    tiny = lt.quantize(sample(16, 64) * 2.0**-9, "float8_e4m3fn")
    for dtype in (torch.float32, torch.bfloat16):
        x = tiny.to(dtype)
        want = lowp.matmul(wide(x), wide(x).T, accumulator="h100_fp8")
        assert same(lowp.matmul(x.cuda(), x.cuda().t(), accumulator="h100_fp8"), want)
    with pytest.raises(ValueError, match="other numbers"):
        lowp.matmul(sample(4, 4).cuda(), sample(4, 4).cuda(), accumulator="h100_fp8")


def test_what_the_device_does_not_do_says_so() -> None:
    x = sample(4, 4).cuda()
    with pytest.raises(NotImplementedError, match="CPU"):
        lowp.matmul(x, x, accumulator="float32/rounding=stochastic_a")
    with pytest.raises(TypeError, match="both"):
        lowp.matmul(x, x.cpu())
    with pytest.raises(TypeError, match="one dtype"):
        lowp.matmul(x, x.double())
    with pytest.raises(ValueError, match="agree in k"):
        lowp.matmul(x, x[:3])
    with pytest.raises(ValueError, match="out must"):
        lowp.matmul(x, x, out=torch.empty(3, 4, device="cuda"))


@pytest.mark.parametrize(
    "accumulator",
    ["float16", "h100/lowest_exponent=-149", "float32/separate/rounding=stochastic_a"],
)
def test_lowp_torch_multiplies_on_the_device_and_has_derivatives(accumulator: str) -> None:
    found = []
    for device in ("cpu", "cuda"):
        a = sample(6, 40).to(device).requires_grad_()
        b = sample(40, 9, seed=2).to(device).requires_grad_()
        y = lt.matmul(a, b, accumulator=accumulator, a_format="float16", b_format="float16")
        y.sum().backward()
        assert y.device.type == device
        found.append(y.detach().cpu().numpy())
        assert a.grad is not None
        assert b.grad is not None
    assert found[0].tobytes() == found[1].tobytes()


def test_layers_with_an_accumulator_run_on_the_device() -> None:
    layer = lt.Layer.of("mxfp4", "mxfp4", "mxfp4", accumulator="float16/chunk=32")
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = torch.nn.Linear(64, 32)
        lt.convert(model, lt.Recipe(layer))
        model.to(device)
        x = sample(16, 64).to(device).requires_grad_()
        model(x).sum().backward()
        found.append([t.detach().cpu().numpy().tobytes() for t in (x.grad, model.weight.grad)])
    assert found[0] == found[1]


def test_products_are_captured_in_graphs_and_compiled() -> None:
    a, b = sample(64, 64).cuda(), sample(64, 64, seed=2).cuda()
    want = lowp.matmul(a, b, accumulator="float16")
    out = torch.empty_like(want)
    lowp.matmul(a, b, accumulator="float16", out=out)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        lowp.matmul(a, b, accumulator="float16", out=out)
    out.zero_()
    graph.replay()
    assert torch.equal(out, want)
    run = torch.compile(lambda x, y: lt.matmul(x, y, accumulator="float16"), fullgraph=True)
    assert torch.equal(run(a, b), want)


def test_arrays_of_cupy_stay_arrays_of_cupy() -> None:
    cupy = pytest.importorskip("cupy")
    a, b = sample(20, 64).numpy(), sample(64, 24, seed=2).numpy()
    for options in (
        {"accumulator": "float16"},
        {"accumulator": "b200_nvfp4", "a_format": "nvfp4", "b_format": "nvfp4"},
    ):
        got = lowp.matmul(cupy.asarray(a), cupy.asarray(b), **options)
        assert isinstance(got, cupy.ndarray)
        assert cupy.asnumpy(got).tobytes() == lowp.matmul(a, b, **options).tobytes()


@is_h100
@pytest.mark.parametrize("side", [256, 4096])
@pytest.mark.parametrize("speed", ["fast", "slow"])
def test_the_model_of_an_h100_is_what_its_fp8_unit_computes(side: int, speed: str) -> None:
    torch.manual_seed(3)
    a, b = (torch.randn(side, side, device="cuda").to(torch.float8_e4m3fn) for _ in range(2))
    one = torch.ones((), device="cuda")
    want = torch._scaled_mm(
        a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.float32, use_fast_accum=speed == "fast"
    )
    unit = "h100_fp8" if speed == "fast" else "h100_fp8_promoted"
    grid = "float8_e4m3fn"
    got = lowp.matmul(a.float(), b.float().t(), accumulator=unit, a_format=grid, b_format=grid)
    assert torch.equal(got.view(torch.int32), want.view(torch.int32))


@is_h100
def test_the_model_of_an_h100_is_what_its_half_precision_unit_computes() -> None:
    torch.manual_seed(4)
    for dtype in (torch.float16, torch.bfloat16):
        a, b = (torch.randn(1024, 1024, device="cuda").to(dtype) for _ in range(2))
        want = torch.mm(a, b, out_dtype=torch.float32)
        got = _device_products.matmul(a, b, accumulator="h100")
        assert torch.equal(got.view(torch.int32), want.view(torch.int32))


def test_b200_nvfp4_of_some_rows_is_the_cpus() -> None:
    a, b = sample(2048, 1024), sample(1024, 512, seed=2)
    options: Any = {"accumulator": "b200_nvfp4", "a_format": "nvfp4", "b_format": "nvfp4"}
    there = lowp.matmul(a.cuda(), b.cuda(), **options)
    here = lowp.matmul(a.numpy(), b.numpy(), **options)
    assert same(there, here)
