"""The Hadamard transform against Sylvester's matrix and Transformer Engine's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import lowp
import ml_dtypes
import numpy as np
import pytest
from samples import assert_same_bits
from test_threads_isa import run

Array = np.ndarray[Any, Any]

SIZES = (2, 4, 8, 16, 32, 64, 128, 256)
FLOATS = (np.float32, np.float64)
NVIDIA_SIGNS = [1, 1, 1, -1, 1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, -1]
TE = Path(__file__).resolve().parents[1] / "data" / "blocks" / "transformer_engine.npz"


def sylvester(size: int) -> Array:
    """The matrix of plus and minus ones."""
    h = np.ones((1, 1))
    while len(h) < size:
        h = np.block([[h, h], [h, -h]])
    return h


def butterflies(x: Array, size: int) -> Array:
    """The documented order of sums, in the carrier of x: distances 1, 2, 4, ..., then the norm."""
    runs = x.reshape(-1, size).copy()
    distance = 1
    while distance < size:
        pairs = runs.reshape(-1, size // (2 * distance), 2, distance)
        above, below = pairs[:, :, 0].copy(), pairs[:, :, 1].copy()
        pairs[:, :, 0], pairs[:, :, 1] = above + below, above - below
        distance *= 2
    norm = x.dtype.type(1 / np.sqrt(float(size)))
    return (runs * norm).reshape(x.shape)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", SIZES)
def test_runs_are_multiplied_by_the_normalized_matrix(size: int, dtype: Any) -> None:
    x = np.random.default_rng(size).normal(size=(37, size)).astype(dtype)
    y = lowp.hadamard(x, size)
    want = x.astype(np.longdouble) @ sylvester(size) / np.sqrt(np.longdouble(size))
    # log2(size) additions and one multiplication, each off by half an ulp of at most sum |x|.
    steps = np.log2(size) + 2
    bound = steps * np.finfo(dtype).eps * np.abs(x).sum(1, keepdims=True) / np.sqrt(size)
    assert (np.abs(y - want) <= bound).all()
    assert_same_bits(y, butterflies(x, size))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [4, 16, 64, 256])
def test_small_integers_are_exact_and_come_back(size: int, dtype: Any) -> None:
    x = np.random.default_rng(size).integers(-1000, 1000, (9, size)).astype(dtype)
    y = lowp.hadamard(x, size)
    assert np.array_equal(y, x @ sylvester(size) / np.sqrt(size))
    for how in ({}, {"seed": 3}, {"signs": np.resize(NVIDIA_SIGNS, size)}):
        there = lowp.hadamard(x, size, **how)
        assert np.array_equal(lowp.hadamard(there, size, inverse=True, **how), x)
    assert np.array_equal(lowp.hadamard(y, size), x)  # without signs it is its own inverse


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", SIZES)
def test_it_undoes_itself_up_to_rounding_and_keeps_the_norm(size: int, dtype: Any) -> None:
    x = np.random.default_rng(size).normal(size=(16, size)).astype(dtype)
    for how in ({}, {"seed": 1, "stream": 2}):
        y = lowp.hadamard(x, size, **how)
        back = lowp.hadamard(y, size, inverse=True, **how)
        eps = float(np.finfo(dtype).eps)
        assert (
            np.abs(back - x).max() <= 4 * np.log2(2 * size) * eps * np.linalg.norm(x, axis=1).max()
        )
        assert np.allclose(np.linalg.norm(y, axis=1), np.linalg.norm(x, axis=1), rtol=100 * eps)


def test_the_matrix_is_orthogonal_and_symmetric() -> None:
    for size in SIZES:
        matrix = lowp.hadamard(np.eye(size), size)
        assert np.array_equal(np.sign(matrix), sylvester(size))
        assert np.array_equal(matrix, matrix.T)
        assert np.allclose(matrix @ matrix.T, np.eye(size), atol=1e-13)


# ---- signs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", SIZES)
def test_signs_come_first_and_in_the_inverse_last(size: int, dtype: Any) -> None:
    rng = np.random.default_rng(size)
    x = rng.normal(size=(5, size)).astype(dtype)
    signs = rng.choice([-1, 1], size)
    assert_same_bits(
        lowp.hadamard(x, size, signs=signs), lowp.hadamard(x * signs.astype(dtype), size)
    )
    assert_same_bits(lowp.hadamard(x, size, signs=signs, inverse=True),
                     lowp.hadamard(x, size) * signs.astype(dtype))  # fmt: skip
    assert_same_bits(
        lowp.hadamard(x, size, signs=signs.tolist()), lowp.hadamard(x, size, signs=signs)
    )


@pytest.mark.parametrize("size", SIZES)
def test_random_signs_are_the_top_bits_of_words(size: int) -> None:
    x = np.random.default_rng(size).normal(size=(3, size))
    signs = 1 - 2 * (lowp.random_bits(size, seed=11, stream=12) >> np.uint32(31)).astype(int)
    with_seed = lowp.hadamard(x, size, seed=11, stream=12)
    assert_same_bits(with_seed, lowp.hadamard(x, size, signs=signs))
    assert_same_bits(with_seed, lowp.hadamard(x, size, seed=11, stream=12))
    if size >= 16:
        assert not np.array_equal(with_seed, lowp.hadamard(x, size, seed=11, stream=13))
        assert not np.array_equal(with_seed, lowp.hadamard(x, size))


def test_it_is_transformer_engines_matrix_with_nvidias_signs() -> None:
    with np.load(TE) as archive:
        matrix = archive["hadamard16"]  # signs times Hadamard, not yet divided by 4
    assert np.array_equal(matrix, np.diag(NVIDIA_SIGNS) @ sylvester(16))
    for dtype in FLOATS:
        got = lowp.hadamard(np.eye(16, dtype=dtype), 16, signs=NVIDIA_SIGNS)
        assert np.array_equal(got, matrix / 4)
    x = np.random.default_rng(0).integers(-99, 99, (8, 64)).astype(np.float32)
    want = (x.reshape(-1, 16) @ matrix / 4).reshape(x.shape)
    assert np.array_equal(lowp.hadamard(x, signs=NVIDIA_SIGNS), want)


# ---- arrays -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*FLOATS, np.float16, ml_dtypes.bfloat16, ">f4", ">f8"])
def test_any_axis_strides_and_dtype(dtype: Any) -> None:
    x = np.random.default_rng(1).normal(size=(16, 32, 48)).astype(dtype)
    carrier = np.float64 if np.dtype(dtype).itemsize == 8 else np.float32
    for axis in range(-3, 3):
        plain = np.ascontiguousarray(np.moveaxis(x, axis, -1).astype(carrier))
        want = np.moveaxis(lowp.hadamard(plain, 16), -1, axis)
        got = lowp.hadamard(x, axis=axis)
        assert (got.shape, got.dtype) == (x.shape, x.dtype)
        assert np.array_equal(got, want.astype(dtype))
    for view in (x[::2, ::-1], x.T, x[:, :, 16:], np.asfortranarray(x)):
        if view.shape[-1] % 16 == 0:
            assert np.array_equal(lowp.hadamard(view), lowp.hadamard(np.ascontiguousarray(view)))


def test_results_can_go_to_the_input_itself() -> None:
    x = np.random.default_rng(2).normal(size=(70, 96)).astype(np.float32)
    for axis, size in ((1, 32), (0, 2)):
        want = lowp.hadamard(x, size, axis=axis)
        same = x.copy()
        assert lowp.hadamard(same, size, axis=axis, out=same) is same
        assert_same_bits(same, want)
        strided = np.zeros((70, 192), np.float32)[:, ::2]
        assert lowp.hadamard(x, size, axis=axis, out=strided) is strided
        assert np.array_equal(strided, want)
    assert lowp.hadamard(np.zeros((0, 16))).shape == (0, 16)
    assert lowp.hadamard(np.zeros((3, 0))).shape == (3, 0)


def test_nan_and_infinity_spread_over_their_run_alone() -> None:
    x = np.random.default_rng(3).normal(size=(4, 64))
    for bad in (np.nan, np.inf):
        dirty = x.copy()
        dirty[1, 20] = bad
        y = lowp.hadamard(dirty)
        assert not np.isfinite(y[1, 16:32]).any()
        y[1, 16:32] = lowp.hadamard(x)[1, 16:32]
        assert_same_bits(y, lowp.hadamard(x))


BAD: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (np.ones(24), {"size": 16}, ValueError, "multiple of size 16; got 24"),
    (np.ones((16, 3)), {}, ValueError, "multiple of size 16; got 3"),
    (np.ones(12), {"size": 12}, ValueError, "power of two from 2 to 256; got 12"),
    (np.ones(3), {"size": 3}, ValueError, "power of two from 2 to 256; got 3"),
    (np.ones(3), {"size": 1}, ValueError, "power of two from 2 to 256; got 1"),
    (np.ones(3), {"size": 0}, ValueError, "power of two from 2 to 256; got 0"),
    (np.ones(512), {"size": 512}, ValueError, "power of two from 2 to 256; got 512"),
    (np.ones(16), {"size": -16}, ValueError, "power of two from 2 to 256; got -16"),
    (np.ones(16), {"size": 16.0}, TypeError, "integer"),
    (np.array(1.0), {"size": 2}, ValueError, "multiple of size 2; got 1"),
    (np.ones(16), {"axis": 1}, ValueError, "axis must be between -1 and 0; got 1"),
    (np.ones(16), {"axis": True}, TypeError, "axis must be an integer"),
    (np.ones(16), {"signs": [1] * 15}, ValueError, "signs must have 16 entries; got 15"),
    (np.ones(16), {"signs": [0] * 16}, ValueError, "signs must be 1 or -1; got 0"),
    (np.ones(16), {"signs": [257] * 16}, ValueError, "signs must be 1 or -1"),
    (np.ones(16), {"signs": [1.5] * 16}, ValueError, "signs must be 1 or -1"),
    (np.ones(16), {"signs": [1] * 16, "seed": 1}, ValueError, "not both"),
    (np.ones(16), {"seed": -1}, ValueError, "seed must be between 0"),
    (np.ones(16), {"out": np.ones(15)}, ValueError, "out must have shape"),
    (np.ones(16), {"threads": 2000}, ValueError, "threads must be between 0"),
    (np.ones(16, int), {}, TypeError, "x must have dtype float32"),
]


@pytest.mark.parametrize(("x", "how", "error", "text"), BAD, ids=[str(b[1])[:30] for b in BAD])
def test_what_cannot_be_is_refused(
    x: Any, how: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        lowp.hadamard(x, **how)


# ---- the same bits ----------------------------------------------------------------------------


def digest() -> str:
    h = hashlib.sha256()
    for dtype in FLOATS:
        for size in SIZES:
            for count in (1, 2, 3, 17, 257):
                x = np.random.default_rng(count).normal(size=size * count).astype(dtype)
                for how in ({}, {"seed": 5}, {"seed": 5, "inverse": True}):
                    h.update(lowp.hadamard(x, size, **how).tobytes())
    return h.hexdigest()


@pytest.mark.parametrize("isa", lowp.isas())
def test_every_instruction_set_gives_the_same_transform(isa: str) -> None:
    done = run("import lowp, test_hadamard as t; print(lowp.isa(), t.digest())", LOWP_ISA=isa)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [isa, digest()]


def test_any_number_of_threads_gives_the_same_transform() -> None:
    x = np.random.default_rng(4).normal(size=(1 << 21) + 256).astype(np.float32)
    for size in (16, 256):
        want = lowp.hadamard(x, size, threads=1, seed=1)
        for threads in (2, 3, 7):
            assert_same_bits(lowp.hadamard(x, size, threads=threads, seed=1), want)
