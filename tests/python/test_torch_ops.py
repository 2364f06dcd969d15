"""Operators on tensors: the bits of the NumPy verbs, under autograd, compile, export and vmap."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import lowp  # noqa: E402
import lowp.torch as lt  # noqa: E402
from lowp.torch import _quantize  # noqa: E402

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
FORMATS = ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "e3m2"]
BLOCKS = ["mxfp8_e4m3", "mxfp4", "nvfp4", "nvfp4_16x16", "fp8_tensor", "int8_row", "msfp12"]


def sample(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (x * torch.logspace(-3, 2, shape[-1], dtype=torch.float64)).to(dtype)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal to the bit, NaN and the sign of zero included."""
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    x, y = a.contiguous().view(bits), b.contiguous().view(bits)
    both_nan = a.isnan() & b.isnan()
    return a.shape == b.shape and a.dtype == b.dtype and bool(((x == y) | both_nan).all())


def by_numpy(x: torch.Tensor, name: str, **options: object) -> torch.Tensor:
    wide = x.double() if x.dtype == torch.float64 else x.float()
    y = lowp.quantize(wide.contiguous().numpy(), name, **options)  # type: ignore[call-overload]
    return torch.from_numpy(np.asarray(y)).to(x.dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FORMATS + BLOCKS)
def test_quantize_on_a_tensor_gives_the_bits_of_quantize_on_an_array(
    name: str, dtype: torch.dtype
) -> None:
    x = sample(6, 5, 48, dtype=dtype)
    x[0, 0, :4] = torch.tensor([0.0, -0.0, 1e-3, 60.0])
    assert same(lt.quantize(x, name), by_numpy(x, name))


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_any_strides_give_the_bits_of_the_contiguous_copy(name: str, axis: int) -> None:
    if name == "nvfp4_16x16" and axis != -1:
        pytest.skip("tiles lie on the last two axes")
    base = sample(32, 24, 48)
    views = [base.permute(order) for order in itertools.permutations(range(3))] + [
        base[::2],
        base[:, ::3, 1:],
        base.expand(2, 32, 24, 48)[1],
        base[:1].expand(4, 24, 48),
    ]
    for x in views:
        want = by_numpy(x, name, axis=axis)
        assert same(lt.quantize(x, name, axis=axis), want)
        stochastic = f"{name}/rounding=stochastic_a"
        want = by_numpy(x, stochastic, axis=axis, seed=3, stream=5)
        assert same(lt.quantize(x, stochastic, axis=axis, seed=3, stream=5), want)


@pytest.mark.parametrize("rounding", lowp.ROUNDINGS)
@pytest.mark.parametrize("saturation", lowp.SATURATIONS)
def test_every_mode_passes_through(rounding: str, saturation: str) -> None:
    x = sample(4, 64)
    x[0, :3] = torch.tensor([float("nan"), float("inf"), -1e9])
    options = {"rounding": rounding, "saturation": saturation, "seed": 9, "stream": 2}
    got = lt.quantize(x, "float8_e4m3fn", **options)  # type: ignore[arg-type]
    assert same(got, by_numpy(x, "float8_e4m3fn", **options))


def test_a_tensor_whose_sign_is_still_to_change_goes_through_the_dispatcher() -> None:
    x = torch.complex(sample(4, 64), sample(4, 64, seed=1)).conj().imag
    assert x.is_neg()
    assert not _quantize.is_eager(x)
    assert _quantize.is_eager(x.resolve_neg())
    assert same(lt.quantize(x, "mxfp4"), lt.quantize(x.resolve_neg(), "mxfp4"))


def test_empty_and_scalar_tensors_are_quantized() -> None:
    assert lt.quantize(torch.zeros(0, 3), "mxfp4").shape == (0, 3)
    assert lt.quantize(torch.tensor(0.3), "float8_e4m3fn") == 0.3125


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: lt.quantize(torch.arange(3), "mxfp4"), TypeError, "int64.*x.float"),
        (lambda: lt.quantize(torch.zeros(3, dtype=torch.complex64), "mxfp4"), TypeError, "apart"),
        (lambda: lt.quantize(np.zeros(3), "mxfp4"), TypeError, "takes arrays"),
        (lambda: lt.quantize(torch.zeros(3).half(), "float32"), ValueError, "does not hold"),
        (lambda: lt.quantize(torch.zeros(3), "float64"), ValueError, "x.double"),
        (lambda: lt.quantize(torch.zeros(3), "mxfp5"), ValueError, "mxfp5"),
        (lambda: lt.quantize(torch.zeros(3), "mxfp4", axis=1), ValueError, "axis"),
        (lambda: lt.quantize(torch.zeros(3), "mxfp4", gradient="none"), ValueError, "clipped"),
        (lambda: lt.decode(torch.zeros(3).byte()), TypeError, "need their format"),
        (lambda: lt.hadamard(torch.zeros(3, 20), 16), ValueError, "multiple"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(call, error, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=words):
        call()


VERBS = {
    "quantize": lambda x, **words: lt.quantize(x, "mxfp4", rounding="stochastic_a", **words),
    "gradient": lambda x, **words: lt.quantize(x, "mxfp4", gradient_format="mxfp4", **words),
    "encode": lambda x, **words: lt.encode(x, "mxfp4", **words),
    "hadamard": lambda x, **words: lt.hadamard(x, 4, **{"seed": 1, **words}),
}


@pytest.mark.parametrize("word", ["seed", "stream"])
@pytest.mark.parametrize("verb", VERBS)
def test_seeds_and_streams_that_operators_do_not_hold_are_refused_by_name(
    verb: str, word: str
) -> None:
    for value in (-1, 2**63, 2**64):
        with pytest.raises(ValueError, match=f"{word} must be between 0 and 2"):
            VERBS[verb](sample(4, 64), **{word: value})
    assert VERBS[verb](sample(4, 64), **{word: 2**63 - 2}) is not None


# ---- codes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float4_e2m1fn", "float16", "bfloat16"])
def test_codes_are_those_of_numpy_and_decode_undoes_them(name: str) -> None:
    x = sample(7, 40)
    codes = lt.encode(x, name)
    assert np.array_equal(codes.numpy(), lowp.encode(x.numpy(), name))
    assert same(lt.decode(codes, name), lt.quantize(x, name))


@pytest.mark.parametrize("name", BLOCKS)
def test_block_tensors_decode_to_what_quantize_gives(name: str) -> None:
    x = sample(32, 80)
    blocks = lt.encode(x, name)
    assert same(blocks.decode(), lt.quantize(x, name))
    assert blocks.numpy() == lowp.encode(x.numpy(), name)
    assert blocks.nbytes == blocks.numpy().nbytes


# ---- derivatives ---------------------------------------------------------------------------------


def test_the_derivative_is_straight_through_clipped_or_the_users() -> None:
    x = torch.tensor([0.1, 2.0, 700.0, -500.0, float("inf")], requires_grad=True)
    dy = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])

    def derivative(**options: object) -> list[float]:
        x.grad = None
        y = lt.quantize(x, "float8_e4m3fn", saturation="finite", **options)  # type: ignore[arg-type]
        y.backward(dy)
        assert x.grad is not None
        return x.grad.tolist()  # type: ignore[no-any-return]

    assert derivative() == [1, 2, 3, 4, 5]
    assert derivative(gradient="clipped") == [1, 2, 0, 0, 0]
    assert derivative(gradient=lambda x, y, dy: dy * 2) == [2, 4, 6, 8, 10]
    assert derivative(gradient_format="float4_e2m1fn") == [1, 2, 3, 4, 4]


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "mxint8", "int8_row"])
def test_saturated_marks_what_is_beyond_the_largest_of_its_block(name: str) -> None:
    x = sample(4, 64)
    t = lowp.encode(x.numpy(), name, packed=False)
    outer = t.outer_scale[0] if t.outer_scale.size else 1.0
    scales = np.repeat(t.scale_values() * outer, x.shape[1] // t.scales.shape[1], axis=1)
    element = t.format.element
    largest = np.where(x.numpy() < 0, -element.lowest, element.max)  # type: ignore[union-attr]
    limit = np.float32(scales * largest)
    assert np.array_equal(torch.ops.lowp.saturated(x, name).numpy(), np.abs(x.numpy()) > limit)


def test_hadamard_is_its_own_derivative_and_numpys_bits() -> None:
    x = sample(4, 48).requires_grad_()
    y = lt.hadamard(x, 16, seed=4, stream=2)
    assert np.array_equal(
        y.detach().numpy(), lowp.hadamard(x.detach().numpy(), 16, seed=4, stream=2)
    )
    dy = sample(4, 48, seed=1)
    y.backward(dy)
    assert x.grad is not None
    want = lowp.hadamard(dy.numpy(), 16, seed=4, stream=2, inverse=True)
    assert np.array_equal(x.grad.numpy(), want)
    columns = lt.hadamard(x.detach().t(), 16, axis=0)
    assert same(columns, lt.hadamard(x.detach(), 16).t())


# ---- matmul --------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulator", ["float32", "float16", "h100_fp8", "exact"])
def test_matmul_gives_the_bits_of_lowp_matmul_and_the_exact_derivative(accumulator: str) -> None:
    a = lt.quantize(sample(2, 9, 64) / 64, "float8_e4m3fn").requires_grad_()
    b = lt.quantize(sample(64, 5, seed=1) / 64, "float8_e4m3fn").requires_grad_()
    y = lt.matmul(a, b, accumulator=accumulator)
    want = lowp.matmul(a.detach().numpy(), b.detach().numpy(), accumulator=accumulator)
    assert np.array_equal(y.detach().numpy(), want)
    dy = torch.ones_like(y)
    y.backward(dy)
    assert a.grad is not None
    assert b.grad is not None
    assert torch.equal(a.grad, dy @ b.detach().mT)
    assert torch.allclose(b.grad, (a.detach().mT @ dy).sum(0))


@pytest.mark.parametrize(
    ("a", "b"), [((6,), (6,)), ((6,), (6, 3)), ((4, 6), (6,)), ((2, 4, 6), (6,))]
)
def test_matmul_takes_vectors_as_torch_does(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = sample(*a).requires_grad_(), sample(*b, seed=1).requires_grad_()
    got = lt.matmul(x, y, accumulator="exact")
    want = torch.matmul(x.detach(), y.detach())
    assert got.shape == want.shape
    got.sum().backward()
    grads = x.grad, y.grad
    x.grad = y.grad = None
    torch.matmul(x, y).sum().backward()
    for mine, theirs in zip(grads, (x.grad, y.grad), strict=True):
        assert mine is not None
        assert theirs is not None
        assert torch.allclose(mine, theirs)


# ---- the rest of PyTorch -------------------------------------------------------------------------

OPS = torch.ops.lowp
CASES = [
    (OPS.quantize, (sample(8, 64), "mxfp4"), {}),
    (OPS.quantize, (sample(8, 64).requires_grad_(), "float8_e4m3fn"), {"saturation": "finite"}),
    (OPS.quantize, (sample(8, 64).t(), "nvfp4", 0), {}),
    (OPS.quantize, (sample(8, 64).bfloat16(), "mxfp8_e4m3"), {}),
    (OPS.quantize, (sample(8, 64)[:, ::2], "mxfp8_e4m3"), {}),
    (OPS.quantize, (sample(2, 8, 4, 4).to(memory_format=torch.channels_last), "mxfp4", 1), {}),
    (OPS.quantize_both, (sample(32, 64), "nvfp4", "nvfp4"), {"hadamard": 16}),
    (OPS.quantize_both, (sample(32, 64).t(), "nvfp4", "nvfp4"), {}),
    (OPS.quantize_both, (sample(32, 64).t(), "nvfp4", "nvfp4_16x16"), {"hadamard": 16}),
    (
        OPS.quantize,
        (sample(8, 64), "mxfp4/rounding=stochastic_a", -1, torch.tensor(3)),
        {"seed": 1, "stream": 7},
    ),
    (OPS.saturated, (sample(8, 64), "mxfp4"), {}),
    (OPS.saturated, (sample(8, 64).t(), "mxfp4"), {}),
    (OPS.hadamard, (sample(8, 64).requires_grad_(), 16), {"seed": 1}),
    (OPS.hadamard, (sample(64, 8), 16, 0), {}),
    (OPS.hadamard, (sample(8, 64).t(), 16, 0), {}),
    (OPS.encode, (sample(8, 64), "float8_e4m3fn"), {}),
    (OPS.encode_blocks, (sample(8, 64), "nvfp4"), {}),
    (OPS.decode, (torch.arange(100).byte(), "float8_e4m3fn"), {"dtype": torch.float32}),
    (
        OPS.decode,
        (torch.arange(100).byte().reshape(4, 25).t(), "float8_e4m3fn"),
        {"dtype": torch.float64},
    ),
    (OPS.matmul, (sample(2, 4, 16).requires_grad_(), sample(16, 3), "float16"), {}),
    (OPS.matmul, (sample(4, 16).requires_grad_(), sample(16).requires_grad_(), "exact"), {}),
    (
        OPS.delayed_quantize,
        (sample(8, 8), torch.zeros(4), torch.ones(()), "float8_e4m3fn/tensor/float32/amax"),
        {},
    ),
    (
        OPS.delayed_quantize,
        (sample(4, 8).t(), torch.zeros(4), torch.ones(()), "float8_e4m3fn/tensor/float32/amax"),
        {},
    ),
]


@pytest.mark.parametrize(("op", "args", "keywords"), CASES)
def test_opcheck_passes(op, args, keywords) -> None:  # type: ignore[no-untyped-def]
    torch.library.opcheck(op, args, keywords)


@pytest.mark.parametrize(
    ("op", "args", "keywords"),
    [case for case in CASES if case[0] in (OPS.quantize, OPS.quantize_both)],
)
@pytest.mark.usefixtures("plain_path")
def test_opcheck_passes_on_the_plain_path(op, args, keywords) -> None:  # type: ignore[no-untyped-def]
    torch.library.opcheck(op, args, keywords)


def test_a_function_with_verbs_compiles_into_one_graph_with_the_same_bits() -> None:
    def f(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        y = lt.quantize(x, "mxfp4", gradient="clipped")
        z = lt.matmul(y, lt.quantize(w, "nvfp4", axis=0), accumulator="bfloat16")
        return lt.hadamard(z, 16)

    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    pairs = []
    for function in (f, compiled):
        x, w = sample(16, 64).requires_grad_(), sample(64, 32, seed=1).requires_grad_()
        y = function(x, w)
        y.square().sum().backward()
        pairs.append((y.detach(), x.grad, w.grad))
    assert all(same(a, b) for a, b in zip(*pairs, strict=True))


def test_a_step_counter_does_not_recompile() -> None:
    compiled = torch.compile(
        lambda x, calls: OPS.quantize(x, "mxfp4/rounding=stochastic_a", -1, calls, seed=3),
        fullgraph=True,
        backend="aot_eager",
    )
    x = sample(4, 64)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        for call in range(4):
            want = by_numpy(x, "mxfp4/rounding=stochastic_a", seed=3, stream=call)
            assert same(compiled(x, torch.tensor(call)), want)


def test_a_module_with_verbs_exports() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return lt.quantize(x, "mxfp8_e4m3")

    x = sample(8, 64)
    program = torch.export.export(Net(), (x,))
    assert same(program.module()(x), lt.quantize(x, "mxfp8_e4m3"))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "mxfp4", "nvfp4", "fp8_tensor", "nvfp4_16x16"])
@pytest.mark.parametrize("in_dim", [0, 1, 2])
def test_vmap_quantizes_each_element_of_the_batch_by_itself(name: str, in_dim: int) -> None:
    x = sample(32, 48, 64)
    got = torch.vmap(lambda row: lt.quantize(row, name), in_dims=in_dim)(x)
    want = torch.stack([lt.quantize(row, name) for row in x.unbind(in_dim)])
    assert same(got, want)


def test_per_example_gradients_come_from_vmap_of_grad() -> None:
    x, w = sample(8, 64), sample(64, seed=1)

    def loss(w: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        return (lt.quantize(w, "mxfp4") * row).sum().square()

    got = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(w, x)
    want = torch.stack([torch.func.grad(loss)(w, row) for row in x])
    assert torch.allclose(got, want)
