"""Tensors of a GPU: the operators give the CPU's bits; skipped where there is none."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
if not torch.cuda.is_available():
    pytest.skip("no GPU that PyTorch can use", allow_module_level=True)

import lowp  # noqa: E402
import lowp.torch as lt  # noqa: E402

Tensor = Any


def sample(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (x * torch.logspace(-3, 2, shape[-1], dtype=torch.float64)).to(dtype)
    x.view(-1)[:6] = torch.tensor([0.0, -0.0, 1e-3, 60.0, -1e-8, 3e4]).to(dtype)
    return x


def same(a: Tensor, b: Tensor) -> bool:
    """Of one shape and dtype and equal to the bit, but which NaN a NaN is."""
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    equal = a.contiguous().view(bits) == b.contiguous().view(bits)
    return bool((equal | (a.isnan() & b.isnan())).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "name",
    [
        "float8_e4m3fn",
        "float8_e5m2",
        "mxfp4",
        "mxfp8_e4m3/rceil",
        "nvfp4",
        "nvfp4_16x16",
        "fp8_tensor",
        "int8_row",
        "mxfp4/mse",
        "nvfp4/rounding=stochastic_a",
    ],
)
def test_quantize_on_the_gpu_gives_the_bits_of_the_cpu(name: str, dtype: torch.dtype) -> None:
    x = sample(96, 160, dtype=dtype)
    y = lt.quantize(x.cuda(), name, seed=3, stream=9)
    assert y.is_cuda
    assert same(y.cpu(), lt.quantize(x, name, seed=3, stream=9))
    turned = lt.quantize(x.cuda().t(), name, seed=3, stream=9)
    assert same(turned.cpu(), lt.quantize(x.t(), name, seed=3, stream=9))


def test_a_tensor_whose_sign_is_still_to_change_is_quantized_on_the_gpu() -> None:
    z = torch.complex(sample(8, 64), sample(8, 64))
    assert same(lt.quantize(z.cuda().conj().imag, "mxfp4").cpu(), lt.quantize(-z.imag, "mxfp4"))


@pytest.mark.parametrize("rounding", lowp.ROUNDINGS)
def test_every_rounding_on_the_gpu_gives_the_bits_of_the_cpu(rounding: str) -> None:
    x = sample(64, 64)
    options = {"rounding": rounding, "saturation": "finite", "seed": 1, "stream": 4}
    got = lt.quantize(x.cuda(), "float8_e4m3fn", **options)
    assert same(got.cpu(), lt.quantize(x, "float8_e4m3fn", **options))


def test_codes_hadamard_and_products_on_the_gpu_are_those_of_the_cpu() -> None:
    x = sample(64, 64)
    codes = lt.encode(x.cuda(), "float8_e4m3fn", saturation="finite")
    assert same(codes.cpu(), lt.encode(x, "float8_e4m3fn", saturation="finite"))
    assert same(lt.decode(codes, "float8_e4m3fn").cpu(), lt.decode(codes.cpu(), "float8_e4m3fn"))
    assert same(lt.encode(x.cuda(), "nvfp4").decode().cpu(), lt.encode(x, "nvfp4").decode())
    turned = lt.hadamard(x.cuda(), 16, seed=5, axis=0)
    assert same(turned.cpu(), lt.hadamard(x, 16, seed=5, axis=0))
    product = lt.matmul(x.cuda(), x.cuda().t(), accumulator="bfloat16", a_format="mxfp4")
    assert same(product.cpu(), lt.matmul(x, x.t(), accumulator="bfloat16", a_format="mxfp4"))
    mask = torch.ops.lowp.saturated(x.cuda(), "mxfp4")
    assert torch.equal(mask.cpu(), torch.ops.lowp.saturated(x, "mxfp4"))


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_operands_of_a_converted_layer_on_the_gpu_are_the_cpus(compiled: bool) -> None:
    """With a weight of the identity and small whole numbers every product is exact."""
    stochastic = "nvfp4/rounding=stochastic_a"
    layer = lt.Layer.of("mxfp4", "mxfp4", stochastic, wgrad_transform=lt.Hadamard(16, "fresh"))
    results = []
    for device in ("cpu", "cuda"):
        model = torch.nn.Linear(64, 64, bias=False)
        with torch.no_grad():
            model.weight.copy_(torch.eye(64))
        lt.convert(model, lt.Recipe(layer, seed=7))
        model.to(device)
        x = sample(32, 64).to(device).requires_grad_()
        run = torch.compile(model) if compiled and device == "cuda" else model
        y = run(x)
        y.backward(sample(32, 64).to(device))
        results.append((y.detach().cpu(), x.grad.cpu()))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_delayed_scaling_on_the_gpu_keeps_the_cpus_scales() -> None:
    scales = []
    for device in ("cpu", "cuda"):
        q = lt.Quantizer("float8_e4m3fn", scaling=lt.Delayed(4))
        model = torch.nn.Linear(64, 8)
        lt.convert(model, lt.Recipe(lt.Layer(x=q)))
        model.to(device)
        for step in range(3):
            model((sample(8, 64) * (step + 1)).to(device))
        scales.append(float(model.lowp.x_scale))
    assert scales[0] == scales[1]


@pytest.mark.parametrize("take", ["max", "most_recent"])
@pytest.mark.parametrize(("margin", "length"), [(0, 3), (-3, 300), (60, 1), (2000, 1024)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rounding", [None, "stochastic_a", "stochastic_b"])
@pytest.mark.parametrize("element", ["float8_e4m3fn", "float8_e5m2", "int8"])
def test_delayed_scales_on_the_gpu_are_the_cpus(
    element: str, rounding: str | None, dtype: torch.dtype, margin: int, length: int, take: str
) -> None:
    name = f"{element}/tensor/float32/amax"
    options: dict[str, Any] = {"margin": margin, "take": take, "rounding": rounding}
    options |= {"seed": 5, "stream": 9}
    here = (torch.zeros(length), torch.ones(()))
    there = tuple(t.cuda() for t in here)
    calls = torch.tensor(3)
    generator = torch.Generator().manual_seed(1)
    for step, shape in enumerate([(7, 33), (64, 160), (3, 8), (40, 512), (9, 9), (0, 4), (16, 16)]):
        x = torch.randn(shape, dtype=torch.float64, generator=generator) * 10.0 ** (step - 3)
        if step in (3, 4):  # in a strip that others do not see
            x[-1, -5] = {3: torch.inf, 4: torch.nan}[step]
        x = x.to(dtype)
        observe = step != 1
        want = torch.ops.lowp.delayed_quantize(x, *here, name, calls, observe=observe, **options)
        got = torch.ops.lowp.delayed_quantize(
            x.cuda(), *there, name, calls.cuda(), observe=observe, **options
        )
        assert torch.equal(got.cpu().nan_to_num(7), want.nan_to_num(7))
        assert torch.equal(got.cpu().signbit() & ~want.isnan(), want.signbit() & ~want.isnan())
        assert torch.equal(there[1].cpu(), here[1])
        assert torch.equal(there[0].cpu().nan_to_num(-1), here[0].nan_to_num(-1))


def test_delayed_scales_on_the_gpu_take_views_and_cost_three_launches() -> None:
    x = sample(64, 48).bfloat16()
    here, there = ((torch.zeros(4), torch.ones(())) for _ in range(2))
    there = tuple(t.cuda() for t in there)
    name = "float8_e4m3fn/tensor/float32/amax"
    want = torch.ops.lowp.delayed_quantize(x.t(), *here, name)
    far = x.cuda()
    got = torch.ops.lowp.delayed_quantize(far.t(), *there, name)
    assert torch.equal(got.cpu(), want)
    assert got.stride() == far.t().stride()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as found:
        torch.ops.lowp.delayed_quantize(far, *there, name)
        torch.cuda.synchronize()
    launches = sum(event.count for event in found.key_averages() if event.device_time)
    assert 0 < launches <= 3


@pytest.mark.parametrize(
    "name",
    ["float8_e4m3fn/tensor/float32/amax/nan=element", "float8_e4m3fn/tensor/float8_e8m0fnu/amax"],
)
def test_delayed_scales_of_other_formats_are_the_cpus(name: str) -> None:
    x = sample(40, 64)
    x[3, 3] = torch.nan
    here, there = ((torch.zeros(4), torch.ones(())) for _ in range(2))
    there = tuple(t.cuda() for t in there)
    for factor in (1, 3):
        want = torch.ops.lowp.delayed_quantize(x * factor, *here, name)
        got = torch.ops.lowp.delayed_quantize((x * factor).cuda(), *there, name)
        assert same(got.cpu(), want)
        assert torch.equal(there[1].cpu(), here[1])


def test_delayed_scales_refuse_on_the_gpu_what_they_refuse_on_the_cpu() -> None:
    memory = torch.zeros(4, device="cuda"), torch.ones((), device="cuda")
    run = torch.ops.lowp.delayed_quantize
    x = torch.ones(64, device="cuda")
    with pytest.raises(ValueError, match="latest"):
        run(x, *memory, "float8_e4m3fn/tensor/float32/amax", take="latest")
    with pytest.raises(ValueError, match="hold"):
        run(x.half(), *memory, "bfloat16/tensor/float32/amax")
    with pytest.raises(TypeError, match="int32"):
        run(x.int(), *memory, "float8_e4m3fn/tensor/float32/amax")


def test_a_model_trains_on_the_gpu() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 128), torch.nn.GELU(), torch.nn.Linear(128, 4)
    ).cuda()
    stochastic = "nvfp4/rounding=stochastic_a"
    layer = lt.Layer.of("nvfp4", "nvfp4_16x16", stochastic, wgrad_transform=lt.Hadamard(16))
    lt.convert(model, lt.Recipe(layer))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x = torch.randn(256, 64).cuda()
    labels = (x[:, :4]).argmax(1)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_a_layer_with_a_matrix_unit_does_not_wait_and_is_captured() -> None:
    plan = lt.Layer.of("float8_e4m3fn", "float8_e4m3fn", "float8_e5m2", accumulator="h100_fp8")
    model = torch.nn.Linear(64, 32)
    lt.convert(model, lt.Recipe(plan))
    model.cuda()
    x = torch.randn(32, 64, device="cuda")

    def step() -> Tensor:
        y = model(x)
        return torch.autograd.grad(y.sum(), model.weight)[0]

    want = step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = step()
    graph.replay()
    assert same(got, want)
