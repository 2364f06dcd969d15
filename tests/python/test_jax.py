"""lowp.jax gives lowp's bits under every transformation of JAX, and the gradients asked for."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from typing import Any

import lowp
import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'lowp[jax]'")
import jax.numpy as jnp  # noqa: E402
import lowp.jax  # noqa: E402

jax.config.update("jax_enable_x64", True)

DTYPES = [np.dtype(t) for t in (jnp.float32, jnp.float64, jnp.float16, jnp.bfloat16)]
SCALAR = ["float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "e3m2", "bfloat16", "q3.4"]
BLOCK = [*lowp.block_formats(), "mxfp4/column", "float4_e2m1fn/16/ue5m3/amax/outer=row"]


def every_kind(dtype: Any, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Bit patterns at random, NaNs of any payload among them, and in its second half subnormals."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    bits = rng.integers(0, 1 << 63, int(np.prod(shape)), np.uint64) << np.uint64(1)
    x = (bits >> np.uint64(64 - 8 * dtype.itemsize)).astype(f"u{dtype.itemsize}").view(dtype)
    half = len(x) // 2
    tiny = np.finfo(np.float32).smallest_normal / 4
    x[half:] = (rng.standard_normal(len(x) - half) * tiny).astype(dtype)
    return x.reshape(shape)


def assert_same_bits(got: Any, want: Any) -> None:
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    word = f"u{got.dtype.itemsize}"
    np.testing.assert_array_equal(
        np.ascontiguousarray(got).view(word), np.ascontiguousarray(want).view(word)
    )


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ---- the bits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fmt", "dtype"),
    [*product(SCALAR, DTYPES), *product(BLOCK, (DTYPES[0], DTYPES[-1]))],
    ids=str,
)
def test_jit_gives_the_bits_of_numpy_for_every_kind_of_number(fmt: str, dtype: Any) -> None:
    x = every_kind(dtype, (40, 70))
    for rounding in (None, "stochastic_b"):
        options = {"rounding": rounding, "seed": 3, "stream": 5}
        try:
            want = lowp.quantize(x, fmt, **options)
        except ValueError as error:  # the dtype does not hold the format
            with pytest.raises(ValueError, match="does not hold"):
                lowp.jax.quantize(x, fmt, **options)
            assert "does not hold" in str(error)  # noqa: PT017
            continue
        quantize = jax.jit(lambda x, o=options: lowp.jax.quantize(x, fmt, **o))
        assert_same_bits(quantize(x), want)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_encode_and_decode_give_the_bits_of_numpy(dtype: Any) -> None:
    for fmt in ("float8_e4m3fn", "float8_e5m2", "float16", "e4m3fn"):
        if dtype == np.dtype(jnp.bfloat16) and fmt == "float16":
            continue
        x = every_kind(dtype, (300,))
        encode = jax.jit(lambda x, f=fmt: lowp.jax.encode(x, f, rounding="to_odd"))
        codes = lowp.encode(x, fmt, rounding="to_odd")
        assert_same_bits(encode(x), codes)
        decode = jax.jit(lambda c, f=fmt: lowp.jax.decode(c, f, dtype=dtype))
        assert_same_bits(decode(codes), lowp.decode(codes, fmt, dtype=dtype))


def test_encode_takes_the_code_of_nan_and_random_bits() -> None:
    x = np.float32([np.nan, 0.3, 1.7])
    options = {"nan": 3, "rounding": "stochastic_c", "random_bits": 5, "seed": 2**63, "stream": 9}
    assert_same_bits(
        lowp.jax.encode(x, "float4_e2m1fn", **options), lowp.encode(x, "float4_e2m1fn", **options)
    )


def test_scalars_and_empty_arrays_keep_their_shape() -> None:
    for shape in ((), (0,), (2, 0, 3), (1,)):
        x = np.full(shape, 0.3, np.float32)
        for fmt in ("float8_e4m3fn", "mxfp4"):
            assert_same_bits(lowp.jax.quantize(x, fmt), lowp.quantize(x, fmt))
            assert_same_bits(
                jax.jit(lambda x, f=fmt: lowp.jax.quantize(x, f))(x), lowp.quantize(x, fmt)
            )


def test_a_seed_of_64_bits_is_taken_whole() -> None:
    x = normal(100)
    options = {"rounding": "stochastic_a", "seed": 2**64 - 1, "stream": 2**40 + 7}
    want = lowp.quantize(x, "e3m2", **options)
    assert_same_bits(lowp.jax.quantize(x, "e3m2", **options), want)
    traced = jax.jit(
        lambda s: lowp.jax.quantize(x, "e3m2", rounding="stochastic_a", seed=s, stream=s)
    )
    want = lowp.quantize(x, "e3m2", rounding="stochastic_a", seed=2**40, stream=2**40)
    assert_same_bits(traced(2**40), want)


def test_a_step_counter_compiles_nothing_anew() -> None:
    traces = []

    @jax.jit
    def rounded(x: Any, step: Any) -> Any:
        traces.append(step)
        return lowp.jax.quantize(x, "e3m2", rounding="stochastic_a", stream=step)

    x = normal(64)
    for step in range(4):
        want = lowp.quantize(x, "e3m2", rounding="stochastic_a", stream=step)
        assert_same_bits(rounded(x, step), want)
    assert len(traces) == 1


def test_scan_rounds_every_step_with_its_stream() -> None:
    def step(x: Any, n: Any) -> Any:
        y = lowp.jax.quantize(x * 1.25, "e3m2", rounding="stochastic_a", stream=n)
        return y, y

    x = normal(50)
    _, got = jax.jit(lambda x: jax.lax.scan(step, x, jnp.arange(5)))(x)
    for n in range(5):
        x = lowp.quantize(x * np.float32(1.25), "e3m2", rounding="stochastic_a", stream=n)
        assert_same_bits(got[n], x)


def test_many_calls_in_one_function_do_not_wait_for_each_other() -> None:
    def quantize(x: Any) -> Any:
        return lowp.jax.quantize(x, "float8_e5m2")

    tree = jax.jit(lambda x: sum(quantize(quantize(x * n)) for n in range(8)))
    x = jnp.ones(1 << 18, jnp.float32)
    for _ in range(10):
        x = tree(x) / 28
    assert_same_bits(x, np.ones(1 << 18, np.float32))


# ---- vmap ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", [None, "stochastic_a"])
@pytest.mark.parametrize("fmt", ["float8_e4m3fn", *BLOCK])
def test_vmap_does_to_every_example_what_is_done_to_it_alone(
    fmt: str, rounding: str | None
) -> None:
    shape = lowp.block_format(fmt).shape if lowp.is_block_format(fmt) else 1
    is_tile = isinstance(shape, tuple) or shape == "column"
    x = normal(3, 20, 2, 40)  # examples along the first and third axes
    for axis in (-1,) if is_tile else (-1, 0, 1):
        options = {"rounding": rounding, "axis": axis, "seed": 1, "stream": 2}
        one = lambda x, o=options: lowp.jax.quantize(x, fmt, **o)  # noqa: E731
        got = jax.jit(jax.vmap(jax.vmap(one, in_axes=1, out_axes=1)))(x)
        for i in range(3):
            for j in range(2):
                assert_same_bits(got[i, :, j], lowp.quantize(x[i, :, j], fmt, **options))


def test_vmap_of_vectors_makes_no_tiles_and_of_scalars_no_blocks() -> None:
    x = normal(40)
    got = jax.vmap(lambda x: lowp.jax.quantize(x, "mxfp4"))(x)
    assert_same_bits(got, np.stack([lowp.quantize(v.reshape(()), "mxfp4") for v in x]))
    with pytest.raises(ValueError, match="last two axes"):
        jax.vmap(lambda x: lowp.jax.quantize(x, "deepseek_128x128"))(normal(4, 128))


@pytest.mark.parametrize("fmt", ["float8_e4m3fn", "mxfp4"])
def test_vmap_over_the_stream_alone_rounds_each_example_with_its_own(fmt: str) -> None:
    x = normal(4, 64)

    def one(x: Any, n: Any) -> Any:
        return lowp.jax.quantize(x, fmt, rounding="stochastic_a", stream=n)

    got = jax.vmap(one, in_axes=(None, 0))(x, jnp.arange(3))
    for n in range(3):
        want = lowp.quantize(x, fmt, rounding="stochastic_a", stream=n)
        assert_same_bits(got[n], want)


def test_vmap_calls_the_host_once_where_examples_do_not_matter(monkeypatch: Any) -> None:
    calls = []
    quantize = lowp._core.quantize

    def counted(x: Any, *args: Any, **options: Any) -> Any:
        calls.append(np.shape(x))
        return quantize(x, *args, **options)

    monkeypatch.setattr(lowp._core, "quantize", counted)
    for fmt in ("float8_e4m3fn", "mxfp4"):
        jax.vmap(lambda x, f=fmt: lowp.jax.quantize(x, f))(normal(30, 64)).block_until_ready()
    assert [shape for shape in calls if 0 not in shape] == [(30, 64), (30, 64)]


# ---- gradients -----------------------------------------------------------------------------------


def slope(x: Any, fmt: str, gradient: Any, **options: Any) -> Any:
    def total(x: Any) -> Any:
        y = lowp.jax.quantize(x, fmt, gradient=gradient, **options)
        return jnp.sum(y * jnp.arange(1, x.size + 1, dtype=x.dtype).reshape(x.shape))

    return jax.jit(jax.grad(total))(x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("fmt", ["float4_e2m1fn", "mxfp4", "nvfp4"])
def test_a_straight_through_gradient_is_that_of_the_result(fmt: str, dtype: Any) -> None:
    x = (normal(4, 32) * 4).astype(dtype)
    for rounding in (None, "stochastic_a"):
        got = slope(jnp.asarray(x), fmt, "straight_through", rounding=rounding)
        assert_same_bits(got, np.arange(1, 129).reshape(4, 32).astype(dtype))


def test_a_clipped_gradient_is_zero_beyond_the_format() -> None:
    f = lowp.format("float8_e4m3fn")
    above = np.nextafter(np.float32(f.max), np.float32(np.inf))
    x = np.float32([1, f.max, above, -f.max, -above, np.inf, -np.inf, np.nan, 0, -0.0])
    inside = np.float32([1, 1, 0, 1, 0, 0, 0, 1, 1, 1])
    assert_same_bits(slope(x, f.name, "clipped"), inside * np.arange(1, 11, dtype=np.float32))
    below = np.float32([2.0**-127, 2.0**-128, -1])  # the lowest value is subnormal in float32
    assert_same_bits(slope(below, "float8_e8m0fnu", "clipped"), np.float32([1, 0, 0]))


@pytest.mark.parametrize(
    "fmt", ["mxfp4", "nvfp4", "fp8_tensor", "nf4", "float4_e2m1fn/16/fixed=0.5"]
)
def test_a_clipped_gradient_is_zero_where_lowp_counts_a_block_clipped(fmt: str) -> None:
    x = normal(8, 64) * 3
    for rounding in ("nearest_ties_to_even", "stochastic_a"):
        options = {"rounding": rounding, "seed": 1, "stream": 4}
        got = np.asarray(slope(x, fmt, "clipped", **options))
        share = lowp.error(x, fmt, **options).clipped
        assert np.mean(got == 0) == share
    assert share > 0 or fmt not in ("mxfp4", "float4_e2m1fn/16/fixed=0.5")


def test_a_gradient_may_be_any_function_of_x_y_and_dy() -> None:
    x = normal(32)
    y = lowp.quantize(x, "e3m2")
    got = slope(x, "e3m2", lambda x, y, dy: lowp.jax.quantize(dy * (x - y), "float8_e5m2"))
    want = lowp.quantize(np.arange(1, 33, dtype=np.float32) * (x - y), "float8_e5m2")
    assert_same_bits(got, want)


@pytest.mark.parametrize("gradient", ["straight_through", "clipped"])
def test_gradients_have_gradients_and_go_through_vmap_and_scan(gradient: str) -> None:
    def cubes(x: Any) -> Any:
        return jnp.sum(lowp.jax.quantize(x, "float4_e2m1fn", gradient=gradient) ** 3)

    x = normal(5, 6)
    y = lowp.quantize(x, "float4_e2m1fn")
    assert_same_bits(jax.vmap(jax.grad(cubes))(x), 3 * y**2)
    second = jax.grad(lambda x: jnp.sum(jax.grad(cubes)(x)))
    assert_same_bits(second(x), 6 * y)

    def chained(x: Any) -> Any:
        def step(x: Any, n: Any) -> Any:
            y = lowp.jax.quantize(x, "e5m4", rounding="stochastic_a", stream=n, gradient=gradient)
            return 2 * y, None

        return jnp.sum(jax.lax.scan(step, x, jnp.arange(3))[0])

    assert_same_bits(jax.jit(jax.grad(chained))(x), np.full((5, 6), 8, np.float32))


# ---- matmul --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulator": "float16"},
        {"accumulator": "float16/pairwise", "a_format": "float8_e4m3fn", "out_format": "bfloat16"},
        {"accumulator": "h100_fp8", "a_format": "float8_e4m3fn", "b_format": "float8_e5m2"},
        {"accumulator": "e5m6/rounding=stochastic_a", "seed": 3, "stream": 4},
    ],
    ids=lambda options: options.get("accumulator", "plain"),
)
def test_matmul_gives_the_bits_of_numpy(options: dict[str, Any]) -> None:
    a, b = normal(2, 5, 32), normal(32, 3, seed=1)
    multiply = jax.jit(lambda a, b: lowp.jax.matmul(a, b, **options))
    assert_same_bits(multiply(a, b), lowp.matmul(a, b, **options))
    assert_same_bits(multiply(a[0, 0], b), lowp.matmul(a[0, 0], b, **options))
    assert_same_bits(multiply(a, b[:, 0]), lowp.matmul(a, b[:, 0], **options))
    assert_same_bits(multiply(a[0, 0], b[:, 0]), lowp.matmul(a[0, 0], b[:, 0], **options))
    for axes in ((0, None), (None, 1)):
        got = jax.vmap(multiply, in_axes=axes)(a, b)
        parts = [(x, b) for x in a] if axes[0] == 0 else [(a, y) for y in b.T]
        assert_same_bits(got, np.stack([lowp.matmul(x, y, **options) for x, y in parts]))


def test_matmul_has_the_gradients_of_the_plain_product() -> None:
    for dtype in (jnp.float32, jnp.bfloat16):
        a, b = jnp.asarray(normal(5, 8), dtype), jnp.asarray(normal(8, 3, seed=1), dtype)
        dy = jnp.asarray(normal(5, 3, seed=2))
        _, pull = jax.vjp(lambda a, b: lowp.jax.matmul(a, b, accumulator="float16"), a, b)
        _, plain = jax.vjp(lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32), a, b)
        for got, want in zip(pull(dy), plain(dy), strict=True):
            assert_same_bits(got, want)


# ---- errors --------------------------------------------------------------------------------------

X = np.ones((2, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: lowp.jax.quantize(jnp.arange(3), "e3m2"), TypeError, "got int64"),
        (lambda x: lowp.jax.quantize(x * 1j, "e3m2"), TypeError, "got complex64"),
        (lambda x: lowp.jax.quantize(x > 0, "e3m2"), TypeError, "got bool"),
        (lambda x: lowp.jax.quantize("x", "e3m2"), TypeError, "x must be"),
        (lambda x: lowp.jax.quantize(jax.random.key(0), "e3m2"), TypeError, "x must have dtype"),
        (lambda x: lowp.jax.quantize(x, "float8_e9"), ValueError, "unknown format"),
        (lambda x: lowp.jax.quantize(x, "e3m2", axis=2), ValueError, "axis must be"),
        (lambda x: lowp.jax.quantize(x, "mxfp4", axis=-3), ValueError, "axis must be"),
        (lambda x: lowp.jax.quantize(x, "mxfp4", axis=1.0), TypeError, "axis must be"),
        (lambda x: lowp.jax.quantize(x, "e3m2", rounding="up"), ValueError, "rounding must be"),
        (lambda x: lowp.jax.quantize(x, "e3m2", saturation="up"), ValueError, "saturation"),
        (lambda x: lowp.jax.quantize(x, "e3m2", random_bits=33), ValueError, "random_bits"),
        (lambda x: lowp.jax.quantize(x, "e3m2", seed=-1), ValueError, "seed must be"),
        (lambda x: lowp.jax.quantize(x, "e3m2", stream=x), TypeError, "stream must be an integer"),
        (lambda x: lowp.jax.quantize(x, "e3m2", stream=0.5), TypeError, "integer"),
        (lambda x: lowp.jax.quantize(x, "e3m2", gradient="none"), ValueError, "gradient must be"),
        (lambda x: lowp.jax.quantize(x, "float64"), ValueError, "does not hold"),
        (lambda x: lowp.jax.encode(x, "mxfp4"), ValueError, "scalar formats"),
        (lambda x: lowp.jax.encode(x > 0, "e3m2"), TypeError, "got bool"),
        (lambda x: lowp.jax.decode(x, "e3m2"), TypeError, "unsigned"),
        (lambda x: lowp.jax.matmul(x, x), ValueError, "agree in k"),
        (lambda x: lowp.jax.matmul(x, x.T, c=x), TypeError, "no argument 'c'"),
        (lambda x: lowp.jax.matmul(x, x.T, accumulator="none"), ValueError, "accumulator"),
        (lambda x: lowp.jax.matmul(x, x.T.astype(jnp.float64)), TypeError, "one dtype"),
    ],
)
def test_wrong_arguments_are_refused_when_traced(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        jax.jit(call).lower(X)


def test_what_only_numbers_tell_ends_the_run() -> None:
    def rounded(seed: Any) -> Any:
        return lowp.jax.quantize(X, "e3m2", rounding="stochastic_a", seed=seed)

    with pytest.raises(jax.errors.JaxRuntimeError, match="seed must be between"):
        jax.jit(rounded)(-1).block_until_ready()
    with pytest.raises(jax.errors.JaxRuntimeError, match="NaN"):
        jax.jit(lambda x: lowp.jax.encode(x, "float4_e2m1fn"))(X * np.nan).block_until_ready()


# ---- other processes -----------------------------------------------------------------------------


def run(text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lowp_imports_jax_only_when_asked() -> None:
    text = "import lowp, sys; print('jax' in sys.modules); lowp.jax; print('jax' in sys.modules)"
    assert run(text).split() == ["False", "True"]


def test_without_jax_the_import_says_what_to_install() -> None:
    text = """
import sys
sys.modules["jax"] = None
try:
    import lowp.jax
except ImportError as error:
    print(error)
"""
    assert "pip install 'lowp[jax]'" in run(text)


def test_without_x64_nothing_is_cut_to_32_bits() -> None:
    text = """
import numpy as np, lowp.jax
for call in (
    lambda: lowp.jax.quantize(np.ones(3), "e3m2"),
    lambda: lowp.jax.quantize(0.3, "e3m2"),
    lambda: lowp.jax.encode(np.ones(3, np.float32), "e8m30"),
    lambda: lowp.jax.decode(np.ones(3, np.uint8), "e3m2", dtype=np.float64),
    lambda: lowp.jax.decode(np.ones(3, np.uint64), "e3m2"),
):
    try:
        print(call())
    except ValueError as error:
        print("jax_enable_x64" in str(error))
x = np.float32([0.3, 0.7])
options = {"rounding": "stochastic_a", "seed": 2**63, "stream": 2**50}
print((lowp.jax.quantize(x, "e2m2", **options) == lowp.quantize(x, "e2m2", **options)).all())
"""
    assert run(text).split() == ["True"] * 6
