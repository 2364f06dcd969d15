"""Random bits are a pure function of (seed, stream, index): Philox4x32, as published."""

from __future__ import annotations

import lowp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import STOCHASTIC

WORD = st.integers(0, 2**64 - 1)
MASK = 0xFFFFFFFF


def philox4x32(counter: list[int], key: list[int], rounds: int) -> list[int]:
    """Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011)."""
    c, k = list(counter), list(key)
    for _ in range(rounds):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & MASK, (a >> 32) ^ c[3] ^ k[1], a & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


def element(index: int, seed: int, stream: int, rounds: int = 10) -> int:
    """Word index % 4 of Philox with counter (index // 4, stream) and key seed."""
    block = index // 4
    counter = [block & MASK, block >> 32, stream & MASK, stream >> 32]
    return philox4x32(counter, [seed & MASK, seed >> 32], rounds)[index % 4]


# kat_vectors of Random123 (philox4x32): rounds, counter, key, result.
VECTORS = [
    (7, [0] * 4, [0] * 2, [0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48]),
    (7, [MASK] * 4, [MASK] * 2, [0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662]),
    (
        7,
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0x4DFCCABA, 0x190A87F0, 0xC47362BA, 0xB6B5242A],
    ),
    (10, [0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    (10, [MASK] * 4, [MASK] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        10,
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("rounds", "counter", "key", "want"), VECTORS)
def test_the_published_vectors_of_random123_come_out(
    rounds: int, counter: list[int], key: list[int], want: list[int]
) -> None:
    assert philox4x32(counter, key, rounds) == want
    block, stream = counter[0] | counter[1] << 32, counter[2] | counter[3] << 32
    if block >= 2**62:  # element indices have 64 bits, so their blocks have 62
        return
    got = lowp.random_bits(
        4,
        seed=key[0] | key[1] << 32,
        stream=stream,
        first_index=4 * block,
        generator=f"philox4x32_{rounds}",
    )
    assert got.tolist() == want


@given(WORD, WORD, st.integers(0, 2**63), st.sampled_from(lowp.GENERATORS))
@settings(max_examples=200)
def test_random_bits_equal_philox_written_in_python(
    seed: int, stream: int, first: int, generator: str
) -> None:
    got = lowp.random_bits(11, seed=seed, stream=stream, first_index=first, generator=generator)
    rounds = int(generator.removeprefix("philox4x32_"))
    assert got.dtype == np.uint32
    assert got.tolist() == [element(first + i, seed, stream, rounds) for i in range(11)]


@pytest.mark.parametrize("first", [0, 1, 2, 3, 4, 5, 63, 64, 2**32 * 4 - 6, 2**34 + 1])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 15, 16, 17, 63, 64, 65, 257])
def test_a_part_of_a_stream_is_that_part_of_the_whole(first: int, count: int) -> None:
    whole = lowp.random_bits(300, seed=11, stream=7, first_index=first)
    assert np.array_equal(
        lowp.random_bits(count, seed=11, stream=7, first_index=first + 3), whole[3 : 3 + count]
    )


def test_seeds_and_streams_give_unrelated_bits() -> None:
    rows = [
        lowp.random_bits(1 << 12, seed=seed, stream=stream)
        for seed in (0, 1, 2**32, 2**64 - 1)
        for stream in (0, 1, 2**32, 2**64 - 1)
    ]
    for i, a in enumerate(rows):
        assert abs(int(np.unpackbits(a.view(np.uint8)).sum()) - (1 << 16)) < 1500
        for b in rows[:i]:
            assert (a == b).sum() < 4


@pytest.mark.parametrize("rounding", STOCHASTIC)
@pytest.mark.parametrize("bits", [1, 2, 7, 16, 31, 32])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_array_takes_the_upper_bits_of_its_elements_words(
    rounding: str, bits: int, dtype: type
) -> None:
    x = np.random.default_rng(1).normal(size=400).astype(dtype)
    how = {"rounding": rounding, "random_bits": bits}
    words = [element(i, 2**40 + 17, 2**33 + 1) for i in range(x.size)]
    random = [w >> (32 - bits) for w in words]
    got = lowp.quantize(x, "float8_e4m3fn", seed=2**40 + 17, stream=2**33 + 1, **how)
    want = [
        lowp.spec.quantize(v, "float8_e4m3fn", random=r, **how)
        for v, r in zip(x.tolist(), random, strict=True)
    ]
    assert got.tolist() == want
    given_bits = lowp.quantize(x, "float8_e4m3fn", random=np.array(random, np.uint32), **how)
    assert np.array_equal(given_bits, got)
    codes = lowp.encode(x, "float8_e4m3fn", seed=2**40 + 17, stream=2**33 + 1, **how)
    assert np.array_equal(lowp.decode(codes, "float8_e4m3fn", dtype=dtype), got)


def test_elements_are_counted_in_c_order_whatever_the_strides() -> None:
    x = np.random.default_rng(1).normal(size=(20, 30))
    how = {"rounding": "stochastic_a", "seed": 3}
    flat = lowp.quantize(x.ravel(), "float4_e2m1fn", **how).reshape(x.shape)
    assert np.array_equal(lowp.quantize(x, "float4_e2m1fn", **how), flat)
    assert np.array_equal(lowp.quantize(np.asfortranarray(x), "float4_e2m1fn", **how), flat)
    assert np.array_equal(
        lowp.quantize(x[::-1], "float4_e2m1fn", **how),
        lowp.quantize(np.ascontiguousarray(x[::-1]), "float4_e2m1fn", **how),
    )
    assert lowp.quantize(float(x[0, 0]), "float4_e2m1fn", **how) == flat[0, 0]


def test_deterministic_modes_ignore_the_seed() -> None:
    x = np.random.default_rng(1).normal(size=1000)
    for rounding in lowp.ROUNDINGS[:8]:
        a = lowp.quantize(x, "float8_e5m2", rounding=rounding, seed=1)
        assert np.array_equal(a, lowp.quantize(x, "float8_e5m2", rounding=rounding, seed=2))


def test_the_two_generators_give_different_bits_and_both_are_random() -> None:
    x = np.full(1 << 14, 1.05)
    results = [
        lowp.quantize(x, "float8_e4m3fn", rounding="stochastic_a", generator=g)
        for g in lowp.GENERATORS
    ]
    assert not np.array_equal(*results)
    for y in results:
        assert np.mean(y == 1.125) == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"seed": -1}, ValueError),
        ({"seed": 2**64}, ValueError),
        ({"seed": 1.0}, TypeError),
        ({"seed": None}, TypeError),
        ({"stream": -1}, ValueError),
        ({"stream": "a"}, TypeError),
        ({"generator": "mt19937"}, ValueError),
        ({"generator": 10}, TypeError),
        ({"random_bits": 0}, ValueError),
        ({"random_bits": 33}, ValueError),
        ({"random_bits": 8.0}, TypeError),
    ],
)
def test_wrong_sources_of_randomness_are_refused(
    arguments: dict[str, object], error: type[Exception]
) -> None:
    for x in (np.zeros(3), np.zeros((2, 2))[::-1], np.float32(1)):
        with pytest.raises(error, match=next(iter(arguments))):
            lowp.quantize(x, "float16", rounding="stochastic_a", **arguments)


def test_a_python_float_refuses_them_in_every_mode_as_an_array_does() -> None:
    for rounding in ("stochastic_a", "nearest_ties_to_even"):
        for x in (1.0, np.array([1.0])):
            for arguments in ({"seed": -1}, {"stream": 2**64}, {"generator": "mt19937"}):
                with pytest.raises(ValueError, match=next(iter(arguments))):
                    lowp.quantize(x, "float16", rounding=rounding, **arguments)


@pytest.mark.parametrize(
    ("random", "error", "message"),
    [
        (np.zeros(2, np.uint32), ValueError, "random must have"),
        (np.zeros((3, 1), np.uint32), ValueError, "random must have"),
        (np.full(3, 256, np.uint32), ValueError, "below"),
        (np.zeros(3), TypeError, "random must"),
        (np.full(3, -1), TypeError, "random must"),
    ],
)
def test_given_random_integers_are_checked(
    random: np.ndarray, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        lowp.quantize(np.zeros(3), "float16", rounding="stochastic_a", random=random, random_bits=8)


def test_given_random_integers_of_other_dtypes_are_taken() -> None:
    x = np.array([1.05, 1.05, 1.05])
    how = {"rounding": "stochastic_a", "random_bits": 8}
    want = lowp.quantize(x, "float8_e4m3fn", random=np.array([0, 200, 255], np.uint32), **how)
    for dtype in (np.uint8, np.uint64, np.int64, np.int16):
        random = np.array([0, 200, 255], dtype)
        for y in (x, x[::-1][::-1]):
            assert np.array_equal(lowp.quantize(y, "float8_e4m3fn", random=random, **how), want)


def test_a_negative_count_is_refused_and_zero_is_empty() -> None:
    with pytest.raises(ValueError, match="count"):
        lowp.random_bits(-1)
    assert lowp.random_bits(0).shape == (0,)
