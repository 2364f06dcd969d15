"""What the verbs take and give: shapes, strides, dtypes, out, scalars, and what they refuse."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import lowp
import ml_dtypes
import numpy as np
import pytest
from samples import assert_same_bits, code_dtype

E4M3 = "float8_e4m3fn"
FLOATS = [np.float32, np.float64]
bfloat16 = np.dtype(ml_dtypes.bfloat16)


def reference(x: np.ndarray, name: str = E4M3) -> np.ndarray:
    """Element by element, through Python floats."""
    flat = [lowp.quantize(float(v), name) for v in np.asarray(x).ravel().tolist()]
    return np.array(flat, x.dtype).reshape(x.shape)


def numbers(shape: Any, dtype: Any = np.float32) -> np.ndarray:
    return (np.random.default_rng(1).normal(size=shape) * 10).astype(dtype)


# ---- shapes and strides -----------------------------------------------------------------------

SHAPES = [(), (0,), (1,), (7,), (64,), (1000,), (0, 3), (3, 0), (4, 5), (2, 3, 4, 5), (1,) * 8]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_shape_and_dtype_stay(shape: tuple[int, ...], dtype: type) -> None:
    x = np.array(numbers(shape, dtype))
    y = lowp.quantize(x, E4M3)
    assert isinstance(y, np.ndarray)
    assert_same_bits(y, reference(x))
    codes = lowp.encode(x, E4M3)
    assert (codes.shape, codes.dtype) == (shape, np.uint8)
    assert_same_bits(lowp.decode(codes, E4M3, dtype=dtype), y)


@pytest.mark.parametrize("dtype", [*FLOATS, np.float16, bfloat16, ">f4", ">f8", ">f2"])
@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::-1],
        lambda a: a.T,
        lambda a: a[::2, 1::3],
        lambda a: np.asfortranarray(a),
        lambda a: np.broadcast_to(a[0], (5, a.shape[1])),
        lambda a: np.broadcast_to(a[0, 0], (3, 3)),
        lambda a: a[:0],
        lambda a: a[1],
        lambda a: a[:, 1],
        lambda a: a[2, 3],
        lambda a: a[2:3, 3:4].reshape(()),
        lambda a: a.swapaxes(0, 1)[::-2],
    ],
    ids=range(13),
)
def test_any_strides_give_what_a_plain_copy_gives(view: Any, dtype: Any) -> None:
    x = view(numbers((6, 8), np.float32).astype(dtype))
    plain = np.array(np.asarray(x).astype(np.float64), order="C")
    y = lowp.quantize(x, E4M3)
    assert np.shape(y) == np.shape(x)
    assert np.array_equal(np.asarray(y).astype(np.float64), reference(plain))
    codes = lowp.encode(x, E4M3)
    assert np.shape(codes) == np.shape(x)
    assert np.array_equal(codes, lowp.encode(plain, E4M3))


@pytest.mark.parametrize(
    "view", [lambda c: c[::-1], lambda c: c[::3], lambda c: c.reshape(16, 16).T]
)
@pytest.mark.parametrize("dtype", FLOATS)
def test_codes_of_any_strides_are_read(view: Any, dtype: type) -> None:
    codes = view(np.arange(256, dtype=np.uint8))
    plain = np.ascontiguousarray(codes)
    assert_same_bits(lowp.decode(codes, E4M3, dtype=dtype), lowp.decode(plain, E4M3, dtype=dtype))


def test_unaligned_arrays_are_read() -> None:
    buffer = np.zeros(4 * 9 + 1, np.uint8)
    x = buffer[1:].view(np.float32)
    x[:] = numbers(9)
    assert np.array_equal(lowp.quantize(x, E4M3), reference(np.array(x)))
    codes = np.zeros(19, np.uint8)[1:].view(np.uint16)
    assert np.array_equal(lowp.decode(codes, "float16"), np.zeros(9))
    out = np.zeros(4 * 9 + 1, np.uint8)[1:].view(np.float32)
    lowp.quantize(np.array(x), E4M3, out=out)
    assert np.array_equal(out, reference(np.array(x)))


def test_the_input_is_left_alone() -> None:
    x = numbers(1000)
    before = x.copy()
    for rounding in lowp.ROUNDINGS:
        lowp.quantize(x, E4M3, rounding=rounding)
        lowp.encode(x, E4M3, rounding=rounding)
    assert_same_bits(x, before)
    x.flags.writeable = False
    assert_same_bits(lowp.quantize(x, E4M3), reference(before))
    assert not np.shares_memory(lowp.quantize(x, "float32"), x)


def test_a_subclass_of_ndarray_gives_a_plain_array() -> None:
    class Mine(np.ndarray):
        pass

    y = lowp.quantize(numbers(5).view(Mine), E4M3)
    assert isinstance(y, np.ndarray)
    assert np.array_equal(y, reference(numbers(5)))


# ---- scalars and lists ------------------------------------------------------------------------


def test_a_scalar_gives_a_scalar_of_its_type() -> None:
    assert type(lowp.quantize(0.3, E4M3)) is float
    assert type(lowp.encode(0.3, E4M3)) is int
    assert type(lowp.decode(42, E4M3)) is float
    assert type(lowp.quantize(np.float32(0.3), E4M3)) is np.float32
    assert type(lowp.quantize(np.float64(0.3), E4M3)) is np.float64
    assert type(lowp.quantize(np.float16(0.3), E4M3)) is np.float16
    assert type(lowp.quantize(bfloat16.type(0.3), E4M3)) is bfloat16.type
    assert lowp.quantize(0.3, E4M3) == lowp.quantize(np.float32(0.3), E4M3) == 0.3125
    assert lowp.encode(np.float32(0.3), E4M3) == lowp.encode(0.3, E4M3) == 42
    assert lowp.decode(42, E4M3) == lowp.decode(np.uint8(42), E4M3) == 0.3125
    assert np.ndim(lowp.encode(np.float32(0.3), E4M3)) == 0


def test_a_0d_array_gives_a_0d_array() -> None:
    for dtype in (np.float32, np.float64, np.float16):
        y = lowp.quantize(np.array(0.3, dtype), E4M3)
        assert isinstance(y, np.ndarray)
        assert (y.shape, y.dtype) == ((), dtype)


@pytest.mark.parametrize("x", [[0.3, 1.0, 500.0], (0.3, 1.0), [[0.3], [1.0]], [], [[]]])
def test_lists_of_floats_become_float64_arrays(x: Any) -> None:
    y = lowp.quantize(x, E4M3, saturation="finite")
    assert y.dtype == np.float64
    assert y.shape == np.shape(x)
    assert np.array_equal(y, lowp.quantize(np.array(x, np.float64), E4M3, saturation="finite"))
    assert np.array_equal(lowp.encode(x, E4M3, saturation="finite"), lowp.encode(y, E4M3))


# ---- 16-bit floats ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, bfloat16])
@pytest.mark.parametrize("name", [E4M3, "float4_e2m1fn", "float8_e4m3fnuz"])
def test_16_bit_floats_go_in_and_come_out(name: str, dtype: Any) -> None:
    codes = np.arange(1 << 16, dtype=np.uint16)
    x = codes.view(dtype)
    y = lowp.quantize(x, name, saturation="finite")
    assert y.dtype == dtype
    want = lowp.quantize(x.astype(np.float32), name, saturation="finite")
    number = ~np.isnan(want)
    assert np.array_equal(y.astype(np.float32)[number], want[number])
    assert np.isnan(y.astype(np.float32)[~number]).all()
    assert np.array_equal(
        lowp.encode(x, name, nan=0, saturation="finite"),
        lowp.encode(x.astype(np.float32), name, nan=0, saturation="finite"),
    )


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("bfloat16", np.float16),
        ("float16", bfloat16),
        ("float32", np.float16),
        ("float8_e8m0fnu", np.float16),
    ],
)
def test_a_16_bit_float_is_refused_where_it_does_not_hold_the_format(name: str, dtype: Any) -> None:
    with pytest.raises(ValueError, match="does not hold every value"):
        lowp.quantize(np.ones(3, dtype), name)
    with pytest.raises(ValueError, match="does not hold every value"):
        lowp.decode(np.zeros(3, code_dtype(lowp.format(name).bits)), name, dtype=dtype)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_encoding_a_16_bit_float_needs_no_room_for_the_format(name: str) -> None:
    """Codes go into integers: every float16 may be encoded as bfloat16, or the other way round."""
    other = np.float16 if name == "bfloat16" else bfloat16
    x = np.array([1.0, 3.1415, 60000.0]).astype(other)
    assert np.array_equal(lowp.encode(x, name), lowp.encode(x.astype(np.float32), name))


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8"])
def test_big_endian_arrays_keep_their_byte_order(dtype: str) -> None:
    x = numbers(9, dtype)
    y = lowp.quantize(x, E4M3)
    assert y.dtype == np.dtype(dtype)
    assert np.array_equal(y, reference(x.astype(np.float64)))
    assert np.array_equal(lowp.encode(x, E4M3), lowp.encode(x.astype(dtype[1:]), E4M3))
    out = np.empty(9, dtype)
    assert lowp.quantize(x, E4M3, out=out) is out
    assert np.array_equal(out, y)


def test_big_endian_codes_are_read() -> None:
    codes = np.arange(0, 1 << 16, 7, dtype=np.uint16)
    assert_same_bits(lowp.decode(codes.astype(">u2"), "float16"), lowp.decode(codes, "float16"))
    y = lowp.decode(codes, "float16", dtype=">f4")
    assert y.dtype == np.dtype(">f4")
    np.testing.assert_array_equal(y, lowp.decode(codes, "float16"))


# ---- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "hint"),
    [
        (np.arange(3), "x.astype(np.float64)"),
        (np.arange(3, dtype=np.uint8), "decode"),
        (np.arange(3) > 1, "boolean"),
        (np.ones(3, complex), "real and imaginary"),
        (np.ones(3, np.complex64), "real and imaginary"),
        (np.array([1.0, None]), "astype"),
        (np.ones(3, np.longdouble), "wider than float64"),
        (np.array(["1.0"]), "convert"),
        (np.array([b"1.0"]), "convert"),
        (np.array(["2020-01-01"], "M8[D]"), "convert"),
        (np.zeros(3, [("a", "f4")]), "convert"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "filled"),
        ("1.0", "str"),
        (b"1.0", "bytes"),
        (None, "NoneType"),
        (True, "bool"),
        (3, "float(x)"),
        (2**80, "float(x)"),
        ([1, 2, 3], "astype"),
        ([1.0, "a"], "convert"),
        ([True], "boolean"),
        (1j, "float"),
        ({1.0}, "set"),
        ({"a": 1.0}, "dict"),
        (object(), "object"),
        (np.int64(3), "astype"),
        (np.bool_(True), "boolean"),
        (np.complex128(1), "real and imaginary"),
        ((v for v in [1.0]), "generator"),
    ],
)
@pytest.mark.parametrize("verb", [lowp.quantize, lowp.encode])
def test_what_is_no_float_is_refused_with_a_hint(verb: Any, x: Any, hint: str) -> None:
    with pytest.raises(TypeError, match=re.escape(hint)):
        verb(x, E4M3)


def test_a_ragged_list_is_refused() -> None:
    with pytest.raises(ValueError, match=r"inhomogeneous|shape"):
        lowp.quantize([[1.0], [1.0, 2.0]], E4M3)


@pytest.mark.parametrize("name", ["float64", "e11m3", "e8m30", "int32", "e4m3b200fn"])
def test_float32_is_refused_where_it_does_not_hold_the_format(name: str) -> None:
    f = lowp.format(name)
    for x in (np.ones(3, np.float32), np.float32(1), np.ones((2, 2), np.float32).T):
        with pytest.raises(ValueError, match="float64"):
            lowp.quantize(x, f)
    with pytest.raises(ValueError, match="float64"):
        lowp.decode(np.zeros(3, code_dtype(f.bits)), f)
    np.testing.assert_array_equal(lowp.quantize(np.ones(3), f), [lowp.quantize(1.0, f)] * 3)
    assert lowp.decode(np.zeros(3, code_dtype(f.bits)), f, dtype=np.float64).dtype == np.float64


def test_float32_is_refused_where_it_lacks_the_last_bit_of_the_smallest_normal_numbers() -> None:
    # 1.5 * 2^-149 is a value of both formats, which have no subnormals, and none of float32.
    for name in ("ue1m1b149f_nosub_nozero", "e2m1b150f_nosub"):
        assert 1.5 * 2.0**-149 in lowp.format(name).values()
        with pytest.raises(ValueError, match="float64"):
            lowp.quantize(np.ones(3, np.float32), name)
        with pytest.raises(ValueError, match="float64"):
            lowp.decode(np.zeros(3, np.uint8), name)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rounding": "nearest"}, ValueError, "rounding must be one of nearest_ties_to_even"),
        ({"rounding": 0.5}, TypeError, "rounding must be a string"),
        ({"rounding": 1}, TypeError, "rounding"),
        ({"saturation": "yes"}, ValueError, "saturation must be one of none propagate finite"),
        ({"saturation": True}, TypeError, "saturation"),
        ({"threads": -1}, ValueError, "threads"),
        ({"threads": 1025}, ValueError, "threads"),
        ({"threads": 1.0}, TypeError, "threads"),
        ({"threads": "all"}, TypeError, "threads"),
    ],
)
@pytest.mark.parametrize(
    "x", [np.ones(3), np.ones((3, 3)).T, np.float64(1), np.ones(3, np.float16)]
)
def test_wrong_options_are_refused_with_the_right_ones(
    x: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    for verb in (lowp.quantize, lowp.encode):
        with pytest.raises(error, match=message):
            verb(x, E4M3, **arguments)


def test_options_have_names_and_no_order() -> None:
    with pytest.raises(TypeError):
        lowp.quantize(np.ones(3), E4M3, "toward_zero")
    with pytest.raises(TypeError):
        lowp.quantize(np.ones(3), E4M3, roundings="toward_zero")


@pytest.mark.parametrize("x", [1.0, np.ones(3), np.ones(3, np.float16)])
def test_a_wrong_format_is_refused_before_anything_else(x: Any) -> None:
    for verb in (lowp.quantize, lowp.encode):
        with pytest.raises(ValueError, match="nearest"):
            verb(x, "float17")
        with pytest.raises(TypeError, match="format must be"):
            verb(x, 8)
    with pytest.raises(TypeError, match="format must be"):
        lowp.decode(np.zeros(3, np.uint8), None)


# ---- out --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*FLOATS, np.float16, bfloat16])
def test_out_is_filled_and_returned(dtype: Any) -> None:
    x = numbers((4, 6)).astype(dtype)
    want = lowp.quantize(x, E4M3)
    out = np.empty_like(x)
    assert lowp.quantize(x, E4M3, out=out) is out
    assert_same_bits(out, want)
    codes = np.empty(x.shape, np.uint8)
    assert lowp.encode(x, E4M3, out=codes) is codes
    assert np.array_equal(codes, lowp.encode(x, E4M3))
    values = np.empty(x.shape, dtype)
    assert lowp.decode(codes, E4M3, dtype=dtype, out=values) is values
    assert_same_bits(values, want)


@pytest.mark.parametrize("dtype", [*FLOATS, np.float16])
@pytest.mark.parametrize("view", [lambda a: a, lambda a: a[::-1], lambda a: a.T, lambda a: a[::2]])
def test_quantize_works_in_place(view: Any, dtype: type) -> None:
    x = numbers((6, 6)).astype(dtype)
    want = np.array(lowp.quantize(view(x.copy()), E4M3))
    target = view(x)
    assert lowp.quantize(target, E4M3, out=target) is target
    assert_same_bits(np.array(target), want)


@pytest.mark.parametrize("shift", [-64, -5, -1, 1, 3, 64])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [10, 1000])
def test_out_may_overlap_the_input_shifted(shift: int, dtype: type, size: int) -> None:
    base = numbers(size + 2 * 64, dtype)
    x, out = base[64 : 64 + size], base[64 + shift : 64 + shift + size]
    want = lowp.quantize(x.copy(), E4M3)
    assert lowp.quantize(x, E4M3, out=out) is out
    assert_same_bits(out.copy(), want)


def test_out_may_run_backwards_over_the_input() -> None:
    x = numbers(1000)
    want = lowp.quantize(x.copy(), E4M3)
    out = x[::-1]
    lowp.quantize(x, E4M3, out=out)
    assert np.array_equal(out, want)


@pytest.mark.parametrize("offset", [0, 1, 2, 500])
def test_codes_may_overlap_the_values_they_come_from(offset: int) -> None:
    x = numbers(1000)
    want = lowp.encode(x.copy(), E4M3)
    out = x.view(np.uint8)[offset : offset + 1000]
    lowp.encode(x, E4M3, out=out)
    assert np.array_equal(out, want)
    values = np.zeros(1000, np.float32)
    codes = values.view(np.uint8)[offset : offset + 1000]
    codes[:] = want
    lowp.decode(codes, E4M3, out=values)
    assert np.array_equal(values, lowp.decode(want, E4M3))


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.empty(4, np.float32), ValueError),  # shape
        (np.empty((5, 1), np.float32), ValueError),
        (np.empty(5, np.float64), ValueError),  # dtype
        (np.empty(5, np.int32), ValueError),
        (np.empty(5, np.float16), ValueError),
        ([0.0] * 5, TypeError),
        (1, TypeError),
        (bytearray(20), TypeError),
    ],
)
def test_a_wrong_out_is_refused(out: Any, error: type[Exception]) -> None:
    for x in (numbers(5), numbers(10)[::2]):
        with pytest.raises(error, match="out must"):
            lowp.quantize(x, E4M3, out=out)


def test_a_read_only_out_is_refused() -> None:
    out = np.zeros(5, np.float32)
    out.flags.writeable = False
    for x in (numbers(5), numbers(10)[::2]):
        with pytest.raises(ValueError, match="read-only"):
            lowp.quantize(x, E4M3, out=out)
    assert not out.any()
    codes = np.zeros(5, np.uint8)
    codes.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        lowp.encode(numbers(5), E4M3, out=codes)
    with pytest.raises(ValueError, match="read-only"):
        lowp.decode(np.zeros(5, np.uint8), E4M3, out=out)


def test_nothing_is_written_where_an_argument_is_wrong() -> None:
    out = np.zeros(3, np.float32)
    for wrong in ({"rounding": "x"}, {"saturation": "x"}, {"seed": -1}, {"threads": -1}):
        with pytest.raises(ValueError, match="must be"):
            lowp.quantize(np.ones(3, np.float32), E4M3, out=out, **wrong)
    assert not out.any()


def test_a_strided_out_is_filled() -> None:
    x = numbers((4, 6))
    for out in (np.zeros((6, 4), np.float32).T, np.zeros((4, 12), np.float32)[:, ::2]):
        assert lowp.quantize(x, E4M3, out=out) is out
        assert np.array_equal(out, lowp.quantize(x, E4M3))


# ---- codes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("float4_e2m1fn", np.uint8),
        (E4M3, np.uint8),
        ("e5m3", np.uint16),
        ("float16", np.uint16),
        ("e8m8", np.uint32),
        ("tensorfloat32", np.uint32),
        ("float32", np.uint32),
        ("e11m21", np.uint64),
        ("float64", np.uint64),
    ],
)
def test_codes_have_the_narrowest_unsigned_dtype(name: str, dtype: type) -> None:
    for x in (np.ones(3), np.ones((3, 3)).T, [1.0]):
        assert lowp.encode(x, name).dtype == dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_encode_writes_wider_codes_into_a_wider_out(dtype: type) -> None:
    x = numbers(100)
    for source in (x, x[::-1][::-1], np.repeat(x, 2)[::2]):
        out = np.empty(100, dtype)
        assert lowp.encode(source, E4M3, out=out) is out
        assert np.array_equal(out, lowp.encode(x, E4M3))
        assert np.array_equal(lowp.decode(out, E4M3), lowp.quantize(x, E4M3))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.float32, np.bool_])
def test_encode_refuses_an_out_that_holds_no_codes(dtype: type) -> None:
    for x in (numbers(5), numbers(10)[::2]):
        with pytest.raises(ValueError, match="out must"):
            lowp.encode(x, E4M3, out=np.empty(5, dtype))
    with pytest.raises(ValueError, match="out must"):
        lowp.encode(numbers(5), "float16", out=np.empty(5, np.uint8))


@pytest.mark.parametrize("dtype", [*FLOATS, np.float16, bfloat16, "float32", ">f8", None])
def test_decode_gives_the_dtype_that_is_asked_for(dtype: Any) -> None:
    codes = np.arange(127, dtype=np.uint8)
    y = lowp.decode(codes, E4M3, dtype=dtype)
    assert y.dtype == (np.float32 if dtype is None else np.dtype(dtype))
    assert np.array_equal(y.astype(np.float64), lowp.decode(codes, E4M3, dtype=np.float64))


@pytest.mark.parametrize("dtype", [np.int32, np.complex64, np.longdouble, object, "U3", np.uint8])
def test_decode_refuses_other_dtypes(dtype: Any) -> None:
    with pytest.raises(TypeError, match="dtype"):
        lowp.decode(np.zeros(3, np.uint8), E4M3, dtype=dtype)


@pytest.mark.parametrize(
    ("codes", "hint"),
    [
        (np.zeros(3, np.int8), "view(np.uint8)"),
        (np.zeros(3), "unsigned"),
        (np.zeros(3, bool), "unsigned"),
        (np.zeros(3, ml_dtypes.float8_e4m3fn), "view(np.uint8)"),
        ([1, 2], "unsigned"),
        (None, "codes"),
        (1.0, "codes"),
        ("a", "codes"),
    ],
)
def test_decode_refuses_what_holds_no_codes(codes: Any, hint: str) -> None:
    with pytest.raises(TypeError, match=re.escape(hint)):
        lowp.decode(codes, E4M3)


@pytest.mark.parametrize(
    "name", ["float4_e2m1fn", "float6_e3m2fn", "tensorfloat32", "int4", "e5m3"]
)
@pytest.mark.parametrize("size", [1, 5, 100, 10_000])
def test_codes_of_too_many_bits_are_refused(name: str, size: int) -> None:
    f = lowp.format(name)
    codes = np.zeros(size, code_dtype(f.bits))
    lowp.decode(codes, f)
    for position in {0, size // 2, size - 1}:
        wrong = codes.copy()
        wrong[position] = 1 << f.bits
        with pytest.raises(ValueError, match=r"bits"):
            lowp.decode(wrong, f)
        with pytest.raises(ValueError, match=r"bits"):
            lowp.decode(wrong[::-1], f)
    with pytest.raises(ValueError, match=r"bits"):
        lowp.decode(1 << f.bits, f)
    with pytest.raises(ValueError, match=r"codes"):
        lowp.decode(-1, f)


def test_codes_in_an_integer_narrower_than_the_format_are_the_numbers_they_are() -> None:
    codes = np.arange(256, dtype=np.uint8)
    wide = lowp.decode(codes.astype(np.uint16), "float16")
    assert_same_bits(lowp.decode(codes, "float16"), wide)


@pytest.mark.parametrize("x", [math.nan, np.array([1.0, math.nan]), np.float32([math.nan, 1])])
def test_a_nan_needs_a_code(x: Any) -> None:
    with pytest.raises(ValueError, match="NaN"):
        lowp.encode(x, "float4_e2m1fn")
    codes = lowp.encode(x, "float4_e2m1fn", nan=7)
    assert 7 in np.ravel(codes)
    with pytest.raises(ValueError, match="nan must be a code of 4 bits; got 16"):
        lowp.encode(x, "float4_e2m1fn", nan=16)
    with pytest.raises(ValueError, match="nan"):
        lowp.encode(x, "float4_e2m1fn", nan=-1)


def test_a_nan_may_have_another_code_than_the_formats_own() -> None:
    x = np.array([math.nan, 1.0, -math.nan])
    assert lowp.encode(x, "float8_e5m2").tolist() == [0x7E, 0x3C, 0x7E]
    assert lowp.encode(x, "float8_e5m2", nan=0x7F).tolist() == [0x7F, 0x3C, 0x7F]
    assert lowp.encode(x, "float8_e5m2", nan=0).tolist() == [0, 0x3C, 0]
    assert lowp.encode(x[::-1], "float8_e5m2", nan=0x7F).tolist() == [0x7F, 0x3C, 0x7F]
    assert lowp.encode(math.nan, "float8_e5m2", nan=0x7F) == 0x7F


@pytest.mark.parametrize("nan", ["max", 7.5, None, np.nan, [7]])
def test_a_nan_code_is_an_integer_for_any_input(nan: Any) -> None:
    """The same argument gives the same answer, whatever the strides of x."""
    x = np.array([1.0, math.nan])

    def outcome(values: Any) -> Any:
        try:
            return np.asarray(lowp.encode(values, "float4_e2m1fn", nan=nan)).tolist()
        except (TypeError, ValueError) as error:
            return type(error)

    strided = np.repeat(x, 2)[::2]
    assert outcome(x) == outcome(strided) == outcome(x.astype(np.float16))


# ---- other arrays -----------------------------------------------------------------------------


class WithInterface:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__


class WithDlpack:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


class WithArray:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array if dtype is None else self.array.astype(dtype)


@pytest.mark.parametrize("wrap", [WithInterface, WithDlpack, WithArray])
@pytest.mark.parametrize("dtype", [*FLOATS, np.float16])
def test_objects_that_expose_an_array_are_read(wrap: Any, dtype: type) -> None:
    x = numbers((3, 4)).astype(dtype)
    y = lowp.quantize(wrap(x), E4M3)
    assert isinstance(y, np.ndarray)
    assert_same_bits(y, lowp.quantize(x, E4M3))
    assert np.array_equal(lowp.encode(wrap(x), E4M3), lowp.encode(x, E4M3))
    codes = lowp.encode(x, E4M3)
    assert_same_bits(lowp.decode(wrap(codes), E4M3), lowp.decode(codes, E4M3))
    with pytest.raises(TypeError):
        lowp.quantize(wrap(np.arange(3)), E4M3)


def test_an_object_that_lends_no_memory_is_refused_with_a_hint() -> None:
    class OnDevice:
        def __dlpack__(self, **options: Any) -> Any:
            raise BufferError("on a device")

        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

    with pytest.raises(TypeError, match="CPU"):
        lowp.quantize(OnDevice(), E4M3)


def test_a_memoryview_of_floats_is_an_array_and_bytes_are_not() -> None:
    x = numbers(5)
    assert np.array_equal(lowp.quantize(memoryview(x), E4M3), lowp.quantize(x, E4M3))
    with pytest.raises(TypeError):
        lowp.quantize(x.tobytes(), E4M3)


# ---- packing ----------------------------------------------------------------------------------


def pack_bit_by_bit(codes: np.ndarray, bits: int) -> np.ndarray:
    """Bit j of code i is bit i * bits + j of the buffer; byte k holds bits 8k.. from the lowest."""
    size = (codes.size * bits + 7) // 8
    buffer = [0] * size
    for i, code in enumerate(codes.ravel().tolist()):
        for j in range(bits):
            position = i * bits + j
            buffer[position // 8] |= (code >> j & 1) << position % 8
    return np.array(buffer, np.uint8)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [*range(35), 63, 64, 65, 127, 128, 129, 1001])
def test_pack_puts_the_first_code_in_the_lowest_bits(bits: int, count: int) -> None:
    codes = np.random.default_rng(count).integers(0, 1 << bits, count).astype(np.uint8)
    packed = lowp.pack(codes, bits)
    assert (packed.dtype, packed.shape) == (np.uint8, ((count * bits + 7) // 8,))
    assert np.array_equal(packed, pack_bit_by_bit(codes, bits))
    unpacked = lowp.unpack(packed, bits, count)
    assert unpacked.dtype == np.uint8
    assert np.array_equal(unpacked, codes)
    assert np.array_equal(lowp.unpack(packed.tobytes(), bits, count), codes)
    assert np.array_equal(lowp.unpack(memoryview(packed), bits, count), codes)


def test_fp4_has_its_even_element_in_the_low_nibble() -> None:
    codes = lowp.encode([1.0, -6.0, 0.5], "float4_e2m1fn")
    assert codes.tolist() == [0x2, 0xF, 0x1]
    assert lowp.pack(codes, 4).tolist() == [0xF2, 0x01]
    assert lowp.unpack(b"\xf2\x01", 4, 3).tolist() == codes.tolist()


def test_codes_of_any_shape_and_strides_are_packed_in_c_order() -> None:
    codes = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert np.array_equal(lowp.pack(codes, 5), lowp.pack(codes.ravel(), 5))
    assert np.array_equal(lowp.pack(codes.T, 5), lowp.pack(codes.T.ravel(), 5))
    assert np.array_equal(lowp.pack(codes[::-1, ::2], 5), lowp.pack(codes[::-1, ::2].ravel(), 5))


def test_unpack_ignores_the_unused_bits_of_the_last_byte() -> None:
    assert lowp.unpack(b"\xff", 3, 2).tolist() == [7, 7]


@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("count", [1, 8, 9, 100])
def test_pack_refuses_a_code_of_too_many_bits(bits: int, count: int) -> None:
    for position in {0, count // 2, count - 1}:
        codes = np.zeros(count, np.uint8)
        codes[position] = 1 << bits
        with pytest.raises(ValueError, match="bits"):
            lowp.pack(codes, bits)


@pytest.mark.parametrize("bits", [0, 9, -1, 64])
def test_pack_and_unpack_take_one_to_eight_bits(bits: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 8"):
        lowp.pack(np.zeros(3, np.uint8), bits)
    with pytest.raises(ValueError, match="between 1 and 8"):
        lowp.unpack(np.zeros(3, np.uint8), bits, 3)


@pytest.mark.parametrize(("size", "count"), [(3, 7), (3, 4), (0, 1), (1, 0), (3, 2**62)])
def test_unpack_refuses_a_buffer_of_another_size(size: int, count: int) -> None:
    with pytest.raises(ValueError, match=r"take|bytes"):
        lowp.unpack(np.zeros(size, np.uint8), 4, count)


def test_unpack_refuses_a_negative_count() -> None:
    with pytest.raises(ValueError, match="count"):
        lowp.unpack(b"", 4, -1)


@pytest.mark.parametrize(
    "codes", [np.zeros(3), np.zeros(3, np.int8), np.zeros(3, np.uint16), [1, 2], None, "ab"]
)
def test_pack_takes_uint8_only(codes: Any) -> None:
    with pytest.raises(TypeError, match="codes must be"):
        lowp.pack(codes, 4)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("seed", lambda x: lowp.quantize(x, "e4m3", rounding="stochastic_a", seed=1.5)),
        ("seed", lambda x: lowp.quantize(x, "nvfp4", rounding="stochastic_a", seed=1.5)),
        ("stream", lambda x: lowp.encode(x, "nvfp4", stream=1.5)),
        ("threads", lambda x: lowp.quantize(x, "nvfp4", threads=1.5)),
        ("threads", lambda x: lowp.encode(x, "nvfp4").decode(threads=1.5)),
        ("seed", lambda x: lowp.hadamard(x, 16, seed=1.5)),
        ("size", lambda x: lowp.hadamard(x, 1.5)),
        ("bits", lambda _: lowp.pack(np.zeros(4, np.uint8), 1.5)),
        ("count", lambda _: lowp.unpack(np.zeros(4, np.uint8), 4, 1.5)),
        ("randsvd: seed", lambda _: lowp.matrices.randsvd(4, 10.0, seed=1.5)),
        ("the size of a matrix", lambda _: lowp.matrices.randsvd(4.5, 10.0)),
    ],
)
def test_a_float_for_an_integer_is_refused_by_the_arguments_name(
    name: str, call: Callable[[np.ndarray[Any, Any]], Any]
) -> None:
    with pytest.raises(TypeError, match=rf"^{name} must be an integer; got"):
        call(np.ones(16, np.float32))
