"""Every verb on arrays of a GPU, of PyTorch, CuPy and others: the CPU's bits."""

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
BLOCKS = ["mxfp4", "mxfp6_e2m3", "mxfp8_e4m3/rceil", "nvfp4", "nvfp4_16x16", "fp8_tensor", "nf4"]


def sample(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (x * 8).to(dtype)


def same(a: Tensor, b: Tensor) -> bool:
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    left, right = a.cpu().contiguous().view(bits), b.cpu().contiguous().view(bits)
    return a.dtype == b.dtype and torch.equal(left, right)


# ---- out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float8_e4m3fn", "mxfp4", "nvfp4"])
def test_quantize_writes_into_out_and_in_place(name: str) -> None:
    x = sample(48, 64)
    wanted = lt.quantize(x, name)
    there = x.cuda()
    out = torch.empty_like(there)
    assert lowp.quantize(there, name, out=out) is out
    assert same(out, wanted)
    wide = torch.zeros(48, 128, device="cuda")
    lowp.quantize(there, name, out=wide[:, ::2])
    assert same(wide[:, ::2], wanted)
    assert not wide[:, 1::2].any()
    lowp.quantize(there, name, out=there)
    assert same(there, wanted)
    with pytest.raises(ValueError, match="out must"):
        lowp.quantize(there, name, out=torch.empty(48, 64))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "mxfp4", "nvfp4"])
def test_quantize_goes_into_memory_that_it_reads(name: str) -> None:
    for of, into in (
        (lambda m: m.t(), lambda m: m),
        (lambda m: m, lambda m: m.t()),
        (lambda m: m[1:], lambda m: m[:-1]),
        (lambda m: m[:-1], lambda m: m[1:]),
    ):
        shared = sample(2048, 2048).cuda()
        wanted = lt.quantize(of(shared).cpu(), name)
        lowp.quantize(of(shared), name, out=into(shared))
        assert same(into(shared), wanted)
    with pytest.raises(ValueError, match="a place for each element"):
        lowp.quantize(shared, name, out=shared[0].expand(2048, 2048))


def test_autograd_notices_that_a_kernel_has_overwritten_what_it_saved() -> None:
    w = torch.ones(8, 32, device="cuda", requires_grad=True)
    saved = sample(8, 32).cuda()
    loss = (w * saved).sum()
    lowp.quantize(saved, "mxfp4", out=saved)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_encode_and_decode_write_into_out() -> None:
    x = sample(33, 40)
    there = x.cuda()
    wanted = torch.from_numpy(lowp.encode(x.numpy(), "float8_e4m3fn"))
    wide = torch.zeros(33, 40, dtype=torch.uint16, device="cuda")
    assert lowp.encode(there, "float8_e4m3fn", out=wide) is wide
    assert torch.equal(wide.cpu().int(), wanted.int())
    turned = torch.zeros(40, 33, dtype=torch.uint8, device="cuda").t()
    lowp.encode(there, "float8_e4m3fn", out=turned)
    assert same(turned, wanted)
    values = torch.zeros(33, 40, device="cuda")
    assert lowp.decode(turned, "float8_e4m3fn", out=values) is values
    assert same(values, lt.quantize(x, "float8_e4m3fn"))
    with pytest.raises(ValueError, match="out must"):
        lowp.encode(there, "float16", out=torch.zeros(33, 40, dtype=torch.uint8, device="cuda"))


def test_random_bits_go_by_the_place_in_c_order_whatever_the_strides() -> None:
    x = sample(64, 48)
    for options in ({"seed": 3, "stream": 2**40}, {"seed": 2**63, "generator": "philox4x32_7"}):
        for name in ("float8_e5m2", "mxfp4"):
            wanted = lowp.quantize(x.t().numpy(), name, rounding="stochastic_b", **options)
            got = lowp.quantize(x.cuda().t(), name, rounding="stochastic_b", **options)
            assert same(got, torch.from_numpy(wanted))


# ---- dense bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(1, 9))
def test_pack_and_unpack_are_the_cpus(bits: int) -> None:
    codes = torch.randint(0, 2**bits, (1003,), dtype=torch.uint8)
    packed = lowp.pack(codes.cuda(), bits)
    assert same(packed, torch.from_numpy(lowp.pack(codes.numpy(), bits)))
    assert same(lowp.unpack(packed, bits, 1003), codes)
    with pytest.raises(ValueError, match="take"):
        lowp.unpack(packed, bits, 2000)
    if bits < 8:
        with pytest.raises(ValueError, match="more than"):
            lowp.pack(torch.full((9,), 2**bits, dtype=torch.uint8, device="cuda"), bits)
        assert same(lowp.pack(codes.cuda(), bits), packed)  # what was told is forgotten


# ---- block tensors -------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BLOCKS)
def test_encode_gives_a_block_tensor_of_the_device(
    name: str, dtype: torch.dtype, packed: bool
) -> None:
    x = sample(64, 128, dtype=dtype)
    there = lowp.encode(x.cuda(), name, packed=packed)
    half = dtype in (torch.float16, torch.bfloat16)
    here = lowp.encode((x.float() if half else x).numpy(), name, packed=packed)
    assert isinstance(there, lowp.BlockTensor)
    for part in ("codes", "scales", "outer_scale"):
        on_device = getattr(there, part)
        assert on_device.is_cuda
        assert same(on_device, torch.from_numpy(getattr(here, part)))
    assert same(there.element_codes(), torch.from_numpy(here.element_codes()))
    assert same(there.scale_values(), torch.from_numpy(here.scale_values()))
    assert same(lowp.decode(there), lt.encode(x, name).decode())
    assert same(there.decode(torch.float64), torch.from_numpy(here.decode(np.float64)))
    assert there.nbytes == here.nbytes
    assert there.bits_per_value == here.bits_per_value
    key = (slice(None),) if "tensor" in name else (slice(16, 48), slice(64, 128))
    part, wanted = there[key], here[key]
    assert part.decode().is_cuda
    assert same(part.codes, torch.from_numpy(wanted.codes))
    assert same(part.decode(torch.float64), torch.from_numpy(wanted.decode(np.float64)))
    if dtype != torch.bfloat16:  # which NumPy may know or not
        assert there.numpy().dtype == str(dtype).removeprefix("torch.")


def test_parts_and_out_on_the_host_are_refused_before_a_kernel_reads_them() -> None:
    there = lowp.encode(sample(4, 32).cuda(), "mxfp4")
    with pytest.raises(ValueError, match="out must be on the device of codes"):
        there.decode(out=torch.empty(4, 32))
    decode = torch.ops.lowp.decode_blocks
    parts = (there.codes, there.scales, there.outer_scale)
    with pytest.raises(ValueError, match="scales must be on the device of codes"):
        decode(parts[0], parts[1].cpu(), parts[2], "mxfp4", [4, 32], dtype=torch.float32)
    with pytest.raises(ValueError, match="take 64 bytes; got 32"):
        decode(parts[0][:32], *parts[1:], "mxfp4", [4, 32], dtype=torch.float32)
    with pytest.raises(TypeError, match="scales must be uint8; got float32"):
        decode(parts[0], parts[1].float(), parts[2], "mxfp4", [4, 32], dtype=torch.float32)


def test_slices_of_lines_that_end_within_a_byte_are_the_cpus() -> None:
    x = sample(6, 99)
    for name in ("mxfp4", "mxfp6_e3m2"):
        there, here = lowp.encode(x.cuda(), name), lowp.encode(x.numpy(), name)
        for key in ((slice(1, 5), slice(32, 99)), (slice(0, 0),), (slice(None), slice(64, 96))):
            assert there[key].numpy() == here[key]


def test_a_block_tensor_of_the_device_goes_through_files_and_refuses_numpy(tmp_path: Any) -> None:
    x = sample(32, 64)
    there, here = lowp.encode(x.cuda(), "nvfp4"), lowp.encode(x.numpy(), "nvfp4")
    assert there == here
    assert here.numpy() is here
    there.save(tmp_path / "a.safetensors")
    lowp.files.save(tmp_path / "b.safetensors", {"tensor": there})
    for file in ("a", "b"):
        assert lowp.BlockTensor.load(tmp_path / f"{file}.safetensors") == here
    with pytest.raises(TypeError, match=r"numpy\(\)"):
        np.asarray(there)
    assert "nvfp4" in repr(there)


def test_nan_in_blocks_is_refused_or_given_a_code_as_on_the_cpu() -> None:
    x = sample(4, 32)
    x[1, 3] = float("nan")
    name = "mxfp4/nan=element"
    with pytest.raises(ValueError, match="NaN"):
        lowp.encode(x.cuda(), name)
    there, here = lowp.encode(x.cuda(), name, nan=7), lowp.encode(x.numpy(), name, nan=7)
    assert there.numpy() == here


def test_a_failure_after_inference_mode_is_told_as_before_it() -> None:
    x = torch.tensor([1.0, float("nan")], device="cuda")
    with torch.cuda.stream(torch.cuda.Stream()):  # of which no call has been
        with torch.inference_mode():
            lowp.encode(torch.ones(2, device="cuda"), "float4_e2m1fn")
        for _ in range(2):
            with pytest.raises(ValueError, match="has no NaN"):
                lowp.encode(x, "float4_e2m1fn")


# ---- given random bits and scales ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["float8_e4m3fn", "mxfp4"])
def test_given_random_bits_are_taken_from_the_host_and_the_device(name: str) -> None:
    x = sample(48, 64)
    for bits in (4, 32):
        words = np.random.default_rng(bits).integers(0, 2**bits, (48, 64), np.uint32)
        modes: dict[str, Any] = {"rounding": "stochastic_a", "random_bits": bits}
        wanted = torch.from_numpy(lowp.quantize(x.numpy(), name, random=words, **modes))
        there = torch.from_numpy(words).cuda()
        assert same(lowp.quantize(x.cuda(), name, random=words, **modes), wanted)
        assert same(lowp.quantize(x.cuda(), name, random=there, **modes), wanted)
        codes = lowp.encode(x.cuda(), name, random=there, **modes)
        assert same(lowp.decode(codes, None if name == "mxfp4" else name), wanted)
    large = torch.full((48, 64), 16, dtype=torch.uint32, device="cuda")
    with pytest.raises(ValueError, match="random"):
        lowp.quantize(x.cuda(), name, random=large, rounding="stochastic_a", random_bits=4)
    with pytest.raises(TypeError, match="uint32"):
        lowp.quantize(x.cuda(), name, random=there.to(torch.int64), rounding="stochastic_a")
    with pytest.raises(ValueError, match="shape"):
        lowp.quantize(x.cuda(), name, random=there[:4], rounding="stochastic_a")


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "int8_row", "nvfp4_16x16"])
def test_given_scales_are_taken_from_arrays_and_functions(name: str) -> None:
    x = sample(48, 64)
    shape = lowp.encode(x.numpy(), name).scales.shape
    scales = np.random.default_rng(1).uniform(0.1, 3, shape)
    wanted = torch.from_numpy(lowp.quantize(x.numpy(), name, scales=scales))
    assert same(lowp.quantize(x.cuda(), name, scales=scales), wanted)
    assert same(lowp.quantize(x.cuda(), name, scales=torch.from_numpy(scales).cuda()), wanted)
    assert same(lowp.encode(x.cuda(), name, scales=scales).decode(), wanted)
    by_function = lowp.quantize(x.numpy(), name, scales=lambda b: np.abs(b).max(1) / 4)
    got = lowp.quantize(x.cuda(), name, scales=lambda b: b.abs().amax(1) / 4)
    assert same(got, torch.from_numpy(by_function))
    with pytest.raises(ValueError, match="not negative"):
        lowp.quantize(x.cuda(), name, scales=-scales)
    with pytest.raises(ValueError, match="not negative"):
        lowp.quantize(x.cuda(), name, scales=-torch.from_numpy(scales).cuda())
    with pytest.raises(ValueError, match="shape"):
        lowp.quantize(x.cuda(), name, scales=scales[:1, :1])


def test_blocks_of_an_array_of_the_device_lie_there() -> None:
    x = sample(40, 70)
    for block in ("mxfp4", "nvfp4_16x16", "int8_row", "fp8_tensor"):
        got = lowp.blocks_of(x.cuda(), block)
        assert same(got, torch.from_numpy(lowp.blocks_of(x.numpy(), block)))


@pytest.mark.parametrize("name", ["mxfp4/mse", "nvfp4_four_six", "fp8_tensor/mean_abs"])
def test_rules_that_search_and_sum_are_the_cpus(name: str) -> None:
    try:
        lowp.block_format(name)
    except ValueError:
        pytest.skip(f"no format {name}")
    x = sample(64, 96)
    assert same(lt.quantize(x.cuda(), name), lt.quantize(x, name))


# ---- the Hadamard transform ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_hadamard_transform_is_the_cpus_along_every_axis(dtype: torch.dtype) -> None:
    x = sample(64, 32, 128, dtype=dtype)
    for axis in (0, 1, 2):
        for options in ({"seed": 5, "stream": 3}, {}, {"seed": 1, "inverse": True}):
            wanted = lt.hadamard(x, 32, axis=axis, **options)
            assert same(lowp.hadamard(x.cuda(), 32, axis=axis, **options), wanted)
            assert same(lt.hadamard(x.cuda(), 32, axis=axis, **options), wanted)
    turned = x.cuda().transpose(0, 2)
    assert same(lowp.hadamard(turned, 16, seed=2), lt.hadamard(x.transpose(0, 2), 16, seed=2))


def test_the_hadamard_transform_takes_signs_and_out_and_undoes_itself() -> None:
    x = sample(8, 64)
    signs = np.where(np.arange(16) % 3 == 0, -1, 1)
    wanted = torch.from_numpy(lowp.hadamard(x.numpy(), 16, signs=signs))
    out = torch.zeros(8, 128, device="cuda")[:, ::2]
    assert lowp.hadamard(x.cuda(), 16, signs=signs, out=out) is out
    assert same(out, wanted)
    there = x.cuda()
    lowp.hadamard(there, 16, signs=torch.from_numpy(signs).cuda(), out=there)
    assert same(there, wanted)
    undone = lowp.hadamard(there, 16, signs=signs, inverse=True)
    torch.testing.assert_close(undone.cpu(), x)  # up to rounding
    with pytest.raises(ValueError, match="1 or -1"):
        lowp.hadamard(there, 2, signs=[1, 2])
    with pytest.raises(ValueError, match="multiple"):
        lowp.hadamard(there, 128, axis=0)
    with pytest.raises(ValueError, match="power"):
        lowp.hadamard(there, 3)


# ---- other libraries -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float8_e4m3fn", "mxfp4"])
def test_every_verb_gives_cupy_arrays_for_cupy_arrays(name: str) -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    x = sample(32, 64).numpy()
    there = cupy.asarray(x)
    y = lowp.quantize(there, name)
    assert isinstance(y, cupy.ndarray)
    np.testing.assert_array_equal(cupy.asnumpy(y), lowp.quantize(x, name))
    if name == "mxfp4":
        tensor = lowp.encode(there, name)
        assert tensor.numpy() == lowp.encode(x, name)
        assert isinstance(tensor.decode(), cupy.ndarray)
        np.testing.assert_array_equal(cupy.asnumpy(tensor[:, 32:].decode()), y[:, 32:].get())
        return
    codes = lowp.encode(there, name)
    assert isinstance(codes, cupy.ndarray)
    np.testing.assert_array_equal(cupy.asnumpy(codes), lowp.encode(x, name))
    np.testing.assert_array_equal(cupy.asnumpy(lowp.decode(codes, name)), cupy.asnumpy(y))
    packed = lowp.pack(codes, 8)
    np.testing.assert_array_equal(cupy.asnumpy(lowp.unpack(packed, 8, 2048)), codes.get().ravel())


def test_arrays_of_jax_go_through_another_library_and_come_back() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    devices = [d for d in jax.devices() if d.platform in ("gpu", "cuda")]
    if not devices:
        pytest.skip("no GPU that JAX can use")
    x = sample(16, 32).numpy()
    there = jax.device_put(x, devices[0])
    y = lowp.quantize(there, "mxfp4")
    assert isinstance(y, jax.Array)
    np.testing.assert_array_equal(np.asarray(y), lowp.quantize(x, "mxfp4"))
    codes = lowp.encode(there, "float8_e4m3fn")
    assert isinstance(codes, jax.Array)
    np.testing.assert_array_equal(np.asarray(codes), lowp.encode(x, "float8_e4m3fn"))
    with pytest.raises(TypeError, match="do not change"):
        lowp.quantize(there, "mxfp4", out=there)
    assert lowp.error(there, "mxfp4") == lowp.error(x, "mxfp4")


class _Interface:
    """An array that has __cuda_array_interface__ and no more."""

    def __init__(self, x: Tensor) -> None:
        self._x = x
        self.__cuda_array_interface__ = x.__cuda_array_interface__


def test_arrays_with_the_interface_alone_are_read() -> None:
    x = sample(16, 32)
    y = lowp.quantize(_Interface(x.cuda()), "mxfp4")
    assert same(torch.as_tensor(y), lt.quantize(x, "mxfp4"))


# ---- what is refused -----------------------------------------------------------------------------


def test_what_is_not_done_on_the_device_says_so() -> None:
    x = sample(4, 32).cuda()
    with pytest.raises(TypeError, match="on a GPU"):
        lowp.add(x, x, "float16")
    with pytest.raises(TypeError, match=r"lowp\.torch"):
        lowp.quantize(x.clone().requires_grad_(), "mxfp4")
    with pytest.raises(TypeError, match="dtype"):
        lowp.quantize(x.int(), "mxfp4")
    with pytest.raises(ValueError, match="axis"):
        lowp.quantize(x, "mxfp4", axis=2)
    with pytest.raises(ValueError, match="generator"):
        lowp.quantize(x, "float8_e5m2", rounding="stochastic_a", generator="mt19937")


def test_arrays_without_elements_stay_so() -> None:
    for shape in ((0,), (3, 0), (0, 32)):
        x = torch.zeros(shape, device="cuda")
        for name in ("float8_e4m3fn", "mxfp4", "nvfp4"):
            assert lowp.quantize(x, name).shape == x.shape
        assert lowp.encode(x, "float8_e4m3fn").shape == x.shape
        assert lowp.encode(x, "mxfp4").decode().shape == x.shape


def test_a_view_that_lies_on_no_boundary_gives_the_same_bits() -> None:
    x = sample(1, 32 * 65 + 1, dtype=torch.bfloat16)
    odd = x.cuda()[0, 1:]
    for name in ("float8_e4m3fn", "mxfp4", "nvfp4", "fp8_tensor"):
        assert same(lowp.quantize(odd, name), lt.quantize(x[0, 1:], name))
        block = lowp.is_block_format(name)
        if block:
            assert same(lowp.encode(odd, name).decode(), lt.quantize(x[0, 1:], name))
