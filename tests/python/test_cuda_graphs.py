"""torch.ops.lowp on a GPU: dispatch, torch.compile, CUDA graphs, streams and several devices."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
if not torch.cuda.is_available():
    pytest.skip("no GPU that PyTorch can use", allow_module_level=True)
pytest.importorskip("lowp._cuda", reason="this lowp was built without CUDA")

import lowp  # noqa: E402
import lowp.torch as lt  # noqa: E402

Tensor = Any
NAMES = ["float8_e4m3fn", "mxfp4", "nvfp4", "fp8_tensor"]
STOCHASTIC = {"rounding": "stochastic_a", "seed": 5}


def sample(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (x * 8).to(dtype)


def same(a: Tensor, b: Tensor) -> bool:
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    left, right = a.cpu().contiguous().view(bits), b.cpu().contiguous().view(bits)
    return a.dtype == b.dtype and torch.equal(left, right)


def captured(run: Any) -> tuple[Any, Any]:
    """A graph of run(), which was run before, and what it gave."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = run()
    return graph, y


# ---- dispatch ------------------------------------------------------------------------------------


def test_tensors_of_a_gpu_have_kernels_of_their_own() -> None:
    names = ("quantize", "encode", "decode", "encode_blocks", "decode_blocks", "hadamard")
    for name in names:
        keys = torch._C._dispatch_has_kernel_for_dispatch_key
        assert keys(f"lowp::{name}", "CUDA")


def test_opcheck_accepts_the_operators_on_a_gpu() -> None:
    x = sample(8, 32).cuda().requires_grad_()
    for name in ("float8_e4m3fn", "mxfp4"):
        torch.library.opcheck(torch.ops.lowp.quantize.default, (x, name))
    codes = torch.ops.lowp.encode(x.detach(), "float8_e4m3fn")
    torch.library.opcheck(torch.ops.lowp.encode.default, (x.detach(), "float8_e4m3fn"))
    torch.library.opcheck(
        torch.ops.lowp.decode.default, (codes, "float8_e4m3fn"), {"dtype": torch.float32}
    )
    parts = torch.ops.lowp.encode_blocks(x.detach(), "mxfp4")
    torch.library.opcheck(torch.ops.lowp.encode_blocks.default, (x.detach(), "mxfp4"))
    torch.library.opcheck(
        torch.ops.lowp.decode_blocks.default,
        (*parts, "mxfp4", [8, 32], -1),
        {"dtype": torch.float32},
    )


def test_gradients_pass_straight_through_with_and_without_the_dispatcher() -> None:
    for run in (
        lambda t: lt.quantize(t, "mxfp4"),
        lambda t: torch.ops.lowp.quantize(t, "mxfp4"),
        lambda t: lt.quantize(t, "mxfp4", gradient=lambda x, y, dy: dy),
    ):
        x = sample(4, 32).cuda().requires_grad_()
        y = run(x)
        assert y.requires_grad
        y.backward(torch.full_like(y, 3.0))
        assert torch.equal(x.grad, torch.full_like(x, 3.0))
    with torch.no_grad():
        assert not lt.quantize(x, "mxfp4").requires_grad


def test_transforms_of_functions_see_the_operator() -> None:
    x = sample(5, 64).cuda()
    wanted = lt.quantize(x, "mxfp4")
    assert same(torch.func.vmap(lambda t: lt.quantize(t, "mxfp4"))(x), wanted)
    gradient = torch.func.grad(lambda t: lt.quantize(t, "mxfp4").sum())(x)
    assert torch.equal(gradient, torch.ones_like(x))


# ---- torch.compile -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_compiled_code_is_one_graph_with_the_bits_of_eager_code(name: str) -> None:
    x = sample(32, 64).cuda()

    def run(t: Tensor) -> Tensor:
        return lt.quantize(t * 2, name, **STOCHASTIC) + lt.quantize(t, name)

    torch._dynamo.reset()
    assert same(torch.compile(run, fullgraph=True)(x), run(x))


def test_compiled_code_trains_through_the_operators() -> None:
    def run(t: Tensor, w: Tensor) -> Tensor:
        return (lt.quantize(t, "mxfp8_e4m3") @ lt.quantize(w, "mxfp8_e4m3", axis=0)).square().sum()

    gradients = []
    for call in (run, torch.compile(run, fullgraph=True)):
        torch._dynamo.reset()
        x = sample(32, 64).cuda().requires_grad_()
        w = sample(64, 16).cuda().requires_grad_()
        call(x, w).backward()
        gradients.append((x.grad, w.grad))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)  # the products' own order of addition may differ


def test_codes_and_blocks_compile_in_one_graph() -> None:
    def run(t: Tensor) -> Tensor:
        ops = torch.ops.lowp
        codes = ops.encode(t, "float8_e4m3fn", saturation="finite")
        values = ops.decode(codes, "float8_e4m3fn", dtype=torch.float32)
        parts = ops.encode_blocks(t, "mxfp4")
        return values + ops.decode_blocks(*parts, "mxfp4", list(t.shape), dtype=torch.float32)

    x = sample(32, 64).cuda()
    torch._dynamo.reset()
    assert same(torch.compile(run, fullgraph=True)(x), run(x))


def test_a_compiled_function_that_uses_graphs_itself_gives_the_bits() -> None:
    x = sample(64, 64).cuda()
    torch._dynamo.reset()
    run = torch.compile(lambda t: lt.quantize(t, "nvfp4"), fullgraph=True, mode="reduce-overhead")
    for _ in range(4):
        assert same(run(x), lt.quantize(x, "nvfp4"))


# ---- CUDA graphs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_replays_on_new_values(name: str) -> None:
    x = sample(64, 128).cuda()
    graph, y = captured(lambda: lt.quantize(x, name))
    for seed in range(3):
        new = torch.randn(64, 128, generator=torch.Generator().manual_seed(seed))
        x.copy_(new)
        graph.replay()
        assert same(y, lt.quantize(new, name))


@pytest.mark.parametrize("name", NAMES)
def test_replays_of_stochastic_rounding_differ_by_the_number_of_the_call(name: str) -> None:
    x = sample(64, 128).cuda()
    calls = torch.zeros((), dtype=torch.int64, device="cuda")

    def run() -> Tensor:
        number = torch.ops.lowp.next_call(calls, count=True)
        return torch.ops.lowp.quantize(x, name, -1, number, **STOCHASTIC)

    graph, y = captured(run)
    calls.zero_()
    seen = []
    for stream in range(3):
        graph.replay()
        assert same(y, lt.quantize(x.cpu(), name, stream=stream, **STOCHASTIC))
        seen.append(y.clone())
    assert not torch.equal(seen[0], seen[1])


def test_replays_of_the_hadamard_transform_take_fresh_signs() -> None:
    x = sample(64, 128).cuda()
    calls = torch.zeros((), dtype=torch.int64, device="cuda")

    def run() -> Tensor:
        number = torch.ops.lowp.next_call(calls, count=True)
        return torch.ops.lowp.hadamard(x, 16, 0, number, seed=3)

    graph, y = captured(run)
    calls.zero_()
    for stream in range(3):
        graph.replay()
        assert same(y, lt.hadamard(x.cpu(), 16, axis=0, seed=3, stream=stream))


def test_codes_are_captured_also_in_formats_without_nan() -> None:
    x = sample(64, 128).cuda()
    graph, codes = captured(lambda: lowp.encode(x, "float4_e2m1fn", nan=7))
    x.mul_(0.5)
    x[0, 0] = float("nan")
    graph.replay()
    assert same(codes, lowp.encode(x, "float4_e2m1fn", nan=7))
    assert codes[0, 0] == 7
    for name in ("mxfp4", "nvfp4"):
        tensor = None

        def run(name: str = name) -> Tensor:
            nonlocal tensor
            tensor = lowp.encode(x, name)
            return tensor.decode()

        x.copy_(sample(64, 128))
        graph, values = captured(run)
        x.mul_(3)
        graph.replay()
        assert same(values, lt.quantize(x, name))


def test_the_capture_of_what_has_to_wait_is_refused() -> None:
    x = sample(64).cuda()
    with pytest.raises(RuntimeError, match="pass nan"):
        captured_alone(lambda: lowp.encode(x, "float4_e2m1fn"))
    assert lowp.encode(x, "float4_e2m1fn").shape == x.shape


def captured_alone(run: Any) -> None:
    """Capture without a run before, on a stream of its own."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()


# ---- streams and devices -------------------------------------------------------------------------


def test_work_is_put_on_the_current_stream() -> None:
    x = sample(4096, 4096).cuda()
    wanted = lt.quantize(x, "mxfp4")
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        z = x.clone()
        for _ in range(20):
            z = z * 1.0
        y = lowp.quantize(z, "mxfp4")  # reads z behind what writes it
        codes = lowp.encode(z, "float8_e4m3fn", saturation="finite")
    side.synchronize()
    assert same(y, wanted)
    assert same(codes, lowp.encode(x, "float8_e4m3fn", saturation="finite"))


def test_nothing_waits_for_the_device() -> None:
    x = torch.randn(4096, 4096, device="cuda")
    for name in (*NAMES, "nvfp4"):
        lowp.quantize(x, name)
    torch.cuda.synchronize()
    torch.cuda._sleep(200_000_000)  # about a tenth of a second
    start = time.perf_counter()
    for name in NAMES:
        lowp.quantize(x, name)
    lowp.encode(x, "float8_e4m3fn")
    lowp.encode(x, "mxfp4").decode()
    queued = time.perf_counter() - start
    torch.cuda.synchronize()
    assert queued < 0.5 * (time.perf_counter() - start)


def test_a_tensor_of_a_device_that_is_not_current_is_worked_on_there() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU: nothing to tell apart")
    x = sample(64, 96)
    there = x.to("cuda:1")
    assert torch.cuda.current_device() == 0
    for name in NAMES:
        y = lowp.quantize(there, name)
        assert y.device == there.device
        assert same(y, lt.quantize(x, name))
    assert same(lowp.encode(there, "mxfp4").decode(), lt.quantize(x, "mxfp4"))
    assert lowp.error(there, "mxfp4") == lowp.error(x.numpy(), "mxfp4")
    assert torch.cuda.current_device() == 0


# ---- the order of imports ------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["lowp", "torch", "lowp._cuda"])
def test_lowp_and_pytorch_are_imported_in_any_order(first: str) -> None:
    """A module that exported its own libstdc++ made PyTorch's streams crash."""
    code = f"import {first}, torch, lowp; print(lowp.quantize(torch.ones(2).cuda(), 'mxfp4'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tensor" in done.stdout
