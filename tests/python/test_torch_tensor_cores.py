"""Products of narrow float32 operands on tensor cores: which formats, and that nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp.torch as lt  # noqa: E402
from lowp.torch import _tensor_cores  # noqa: E402

Tensor = Any
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")
ROUTES = {
    "mxfp4": "bfloat16",
    "mxfp6_e2m3": "bfloat16",
    "mxfp6_e3m2": "bfloat16",
    "mxint8": "bfloat16",
    "float8_e4m3fn": "bfloat16",
    "float8_e5m2": "bfloat16",
    "bfloat16": "bfloat16",
    "float4_e2m1fn/16/float8_e4m3fn/amax": "bfloat16",
    # Its least values, 2^-9 of a scale of 2^-127, are below bfloat16's.
    "mxfp8_e4m3": "tensorfloat32",
    "float16": "tensorfloat32",
    "mxfp8_e5m2": "",
    "nvfp4": "",
    "nf4": "",
    "fp8_tensor": "",
    "mxfp4/three_quarters": "",
}


@pytest.mark.parametrize("name", ROUTES)
def test_the_route_follows_from_the_descriptor(name: str) -> None:
    assert _tensor_cores.route_of(name) == ROUTES[name]


def test_products_with_an_operand_of_no_format_have_no_route() -> None:
    layer = lt.Layer(x="mxfp4", w="mxfp4", dgrad_dy="mxfp4")
    found = _tensor_cores.routes(layer)
    assert found == {"forward": "bfloat16", "dgrad": "", "wgrad": ""}
    delayed = lt.Quantizer("float8_e4m3fn", scaling=lt.Delayed(4))
    assert not any(_tensor_cores.routes(lt.Layer.of(delayed, delayed, delayed)).values())


@pytest.mark.parametrize("name", [name for name, route in ROUTES.items() if route])
def test_the_route_holds_every_value_of_the_grid(name: str) -> None:
    x = torch.randn(64, 4096) * torch.logspace(-40, 36, 64)[:, None]
    y = lt.quantize(x, name, **({} if "/" in name or "mx" in name else {"saturation": "finite"}))
    finite = y[y.isfinite()]
    assert torch.equal(lt.quantize(finite, ROUTES[name]), finite)


def exact(*shape: int, name: str, tiny: str = "") -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    x = x * (2.0**-120 if tiny else 1)
    options = {} if "mx" in name else {"saturation": "finite"}
    return lt.quantize(x, name, **options).cuda()


@needs_gpu
@pytest.mark.parametrize("tiny", ["", "tiny"])
@pytest.mark.parametrize("shapes", [((96, 64), (64, 80)), ((2, 3, 48, 64), (3, 64, 32))])
@pytest.mark.parametrize("name", ["mxfp4", "float8_e4m3fn", "mxfp8_e4m3", "bfloat16", "float16"])
def test_products_on_tensor_cores_lose_no_operand(name: str, shapes: Any, tiny: str) -> None:
    """Sums of 64 terms within what float32's own additions may lose; tiny values count in full."""
    a = exact(*shapes[0], name=name, tiny=tiny)
    b = exact(*shapes[1], name=name)
    with torch.no_grad():
        got = _tensor_cores.matmul(a, b, ROUTES[name])
    assert got.dtype == torch.float32
    want = a.double() @ b.double()
    bound = 64 * 2.0**-22 * (a.double().abs() @ b.double().abs()) + 2.0**-149
    assert bool(((got.double() - want).abs() <= bound).all())


@needs_gpu
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", ["mxfp4", "mxfp8_e4m3"])
def test_layers_in_float32_take_the_route(name: str, compiled: bool) -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    grads = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = torch.nn.Linear(64, 96)
        lt.convert(model, lt.Recipe(lt.Layer.of(name, name, name)))
        model.to(device)
        run = torch.compile(model, fullgraph=True) if compiled and device == "cuda" else model
        torch.manual_seed(1)
        x = torch.randn(32, 64).to(device).requires_grad_()
        y = run(x)
        y.backward(torch.randn(32, 96).to(device))
        grads.append([t.detach().cpu() for t in (y, x.grad, model.weight.grad)])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)
    assert torch.backends.cuda.matmul.allow_tf32 == before


def test_other_devices_and_dtypes_are_left_to_pytorch() -> None:
    a = torch.randn(4, 4)
    with torch.no_grad():
        assert _tensor_cores.matmul(a, a, "bfloat16") is None
    assert torch.equal(torch.ops.lowp.matmul_on_tensor_cores(a, a, "bfloat16"), a @ a)


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="of PyTorch 2.9")
@pytest.mark.parametrize("product", ["none", "ieee", "tf32"])
@pytest.mark.parametrize("cuda", ["none", "ieee", "tf32"])
@pytest.mark.parametrize("every", ["none", "ieee", "tf32"])
def test_the_switch_is_as_it_was_after_a_product_inheritance_too(
    every: str, cuda: str, product: str
) -> None:
    switches: list[Any] = [torch.backends, torch.backends.cudnn, torch.backends.cuda.matmul]

    def what_holds() -> list[str]:
        """What products are made in for each setting of what they may inherit from."""
        return [
            (setattr(switch, "fp32_precision", value), switches[2].fp32_precision)[1]
            for switch in switches[:2]
            for value in ("ieee", "tf32", "none")
        ]

    def put() -> None:
        for switch, value in zip(switches, (every, cuda, product), strict=True):
            switch.fp32_precision = value

    before = [switch.fp32_precision for switch in switches]
    try:
        put()
        read = [switch.fp32_precision for switch in switches]
        want = what_holds()
        put()
        with _tensor_cores._tensorfloat32():
            assert switches[2].fp32_precision == "tf32"
        assert [switch.fp32_precision for switch in switches] == read
        assert what_holds() == want
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value
