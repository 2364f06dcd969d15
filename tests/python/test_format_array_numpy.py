"""NumPy's functions on lowp.array: rounded in a stated order, or refused by name."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import lowp
import numpy as np
import pytest
from linalg_oracle import Exact
from lowp import FormatArray, array

HALF = "float16"


def values(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count)


def on_grid(x: FormatArray) -> bool:
    again = lowp.quantize(np.array(x.values), x.format, saturation=x.saturation)
    return bool(np.array_equal(again, x.values, equal_nan=True))


# What is refused

_X = array([[1.0, 2.0], [3.0, 4.0]], HALF)
REFUSED = [
    (lambda: np.ones((2, 2)) + _X, "ndarray has no format"),
    (lambda: _X * np.ones((2, 2), np.float32), r"lowp\.array\(x, 'float16'\)"),
    (lambda: _X.__add__([1.0, 2.0]), "list has no format"),
    (lambda: _X @ np.ones((2, 2)), "has no format"),
    (lambda: np.concatenate([_X, np.ones((2, 2))]), "has no format"),
    (lambda: _X + True, "bool has no format"),
    (lambda: _X + 1j, "complex has no format"),
    (lambda: _X + None, "FormatArray"),
    (lambda: np.einsum("ij->i", _X), "np.einsum has no rule"),
    (lambda: np.linalg.inv(_X), "np.linalg.inv has no rule.*lowp.linalg"),
    (lambda: np.fft.fft(_X), "np.fft.fft has no rule"),
    (lambda: np.median(_X), "np.median has no rule"),
    (lambda: np.add(_X, _X, dtype=np.float32), "dtype cannot be given"),
    (lambda: np.add(_X, _X, where=np.eye(2, dtype=bool)), "where cannot be given"),
    (lambda: np.add(_X, _X, out=np.ones((2, 2))), "out must be an array in the format float16"),
    (lambda: np.add.at(_X, [0], 1.0), "np.add.at has no rule"),
    (lambda: np.add.reduceat(_X, [0]), "np.add.reduceat has no rule"),
    (lambda: np.sum(_X, dtype=np.float64), "np.sum.*dtype"),
    (lambda: np.sum(_X, initial=1.0), "np.sum.*initial"),
    (lambda: np.remainder(_X, 2.0), "np.remainder has no rule"),
    (lambda: np.floor_divide(_X, 2.0), "np.floor_divide has no rule"),
    (lambda: np.bitwise_and(_X, 2.0), "np.bitwise_and has no rule"),
    (lambda: np.copyto(np.ones((2, 2)), _X), "into a plain one"),
    (lambda: np.frexp(_X), "np.frexp has no rule"),
    (lambda: hash(_X), "unhashable"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_has_no_rule_is_refused_by_name(call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


#: These say that they make plain arrays or files, know no protocol, or take x as a tolerance.
CONVERTING = """array asanyarray asarray asarray_chkfinite ascontiguousarray asfortranarray asmatrix
bmat disp fastCopyAndTranspose info kaiser mat obj2sctype real_if_close require save savetxt savez
savez_compressed test"""


def calls(x: FormatArray) -> list[tuple[Any, ...]]:
    places = np.array([0, 1])
    return [
        (x,), (x, x), (x, 1), (1, x), (x, 0.5), (x, x, x), (x[0],), (x[0], x[0]), (x, 0, 1),
        (x > 1, x), (x, places), (places, x), ("ij->i", x), (x, 0, 0.1), (x, np.ones((2, 2)) / 3),
        (np.ones((2, 2)) / 3, x),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of what NumPy calls deprecated
@pytest.mark.parametrize("module", [np, np.linalg, np.fft])
def test_no_numpy_function_answers_with_plain_numbers(module: Any) -> None:
    """Each is refused, stays in the format, or has an answer that is no number of the format."""
    answered = 0
    for name in dir(module):
        function = getattr(module, name)
        is_function = callable(function) and not isinstance(function, type)
        if not is_function or name.startswith("_") or name in CONVERTING.split():
            continue
        for number in range(len(calls(_X))):
            try:
                result = function(*calls(array(_X, HALF))[number])
            except Exception:
                continue
            for item in result if isinstance(result, list | tuple) else [result]:
                if isinstance(item, FormatArray):
                    assert on_grid(item)
                    answered += 1
                    continue
                dtype = getattr(item, "dtype", None)
                assert not isinstance(item, float), (name, item)
                assert dtype is None or dtype.kind not in "fcO", (name, item)
    assert answered > 100 or module is not np


def test_numbers_that_join_arrays_are_rounded_and_plain_arrays_refused() -> None:
    x = array([0.3, 1.0], "float8_e4m3fn")
    tenth = lowp.quantize(0.1, "float8_e4m3fn")
    for joined in (np.block([x, 0.1]), np.hstack([x, 0.1]), np.block([[x, 0.1]])[0]):
        assert joined.tolist() == [0.3125, 1.0, tenth]
    assert np.broadcast_arrays(x, 0.1)[1].tolist() == [tenth, tenth]
    with pytest.raises(TypeError, match=r"np\.block: numpy\.ndarray has no format"):
        np.block([[x], [np.ones(2)]])
    with pytest.raises(TypeError, match="give only the second argument"):
        np.compress(x, np.ones(2) / 3)
    with pytest.raises(TypeError, match="give only the first argument"):
        np.delete(np.ones(3), x)
    assert np.compress([True, False], x).tolist() == [0.3125]


# Shapes and functions that move values


def test_moving_functions_keep_format_and_values() -> None:
    plain = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    x = array(plain, HALF)
    moves: list[Any] = [
        lambda v: np.concatenate([v, v]),
        lambda v: np.stack([v, v], axis=1),
        lambda v: np.vstack((v, v)),
        lambda v: np.hstack([v, v]),
        lambda v: np.reshape(v, (3, 2)),
        lambda v: np.transpose(v),
        lambda v: np.moveaxis(v, 0, 1),
        lambda v: np.swapaxes(v, 0, 1),
        lambda v: np.expand_dims(v, 0),
        lambda v: np.squeeze(v[:1]),
        lambda v: np.broadcast_to(v, (4, 2, 3)),
        lambda v: np.take(v, [1, 0], axis=1),
        lambda v: np.flip(v, 1),
        lambda v: np.roll(v, 1),
        lambda v: np.repeat(v, 2, axis=0),
        lambda v: np.tile(v, (2, 2)),
        lambda v: np.tril(v),
        lambda v: np.diagonal(v),
        lambda v: np.diag(v[0]),
        lambda v: np.sort(v[:, ::-1]),
        lambda v: np.split(v, 3, axis=1)[1],
        lambda v: np.copy(v),
        lambda v: np.ravel(v),
        lambda v: np.block([[v, v], [v, v]]),
        lambda v: np.zeros_like(v),
        lambda v: np.full_like(v, 2.5),
        lambda v: np.ones_like(v, shape=(2,)),
        lambda v: np.where(v > 2, v, 0.5),
        lambda v: v.reshape(-1),
        lambda v: v.swapaxes(0, 1),
        lambda v: v[:1].squeeze(),
        lambda v: v.transpose(1, 0),
    ]
    for move in moves:
        got, want = move(x), move(plain)
        assert isinstance(got, FormatArray)
        assert got.format == x.format
        assert np.array_equal(got.values, want)


def test_answers_that_are_no_numbers_are_numpys() -> None:
    x = array([[3.0, 1.0], [2.0, 5.0]], HALF)
    assert np.argmax(x) == 3
    assert x.argmin() == 1
    assert np.argsort(x, axis=1).tolist() == [[1, 0], [0, 1]]
    assert np.nonzero(x)[0].tolist() == [0, 0, 1, 1]
    assert np.shape(x) == (2, 2)
    assert np.ndim(x) == 2
    assert np.size(x) == 4
    assert np.count_nonzero(x) == 4
    assert np.isclose(x, x).all()


# Reductions


def test_half_sums_of_ones_stall_in_sequence_and_not_pairwise() -> None:
    ones = array(np.ones(3000), HALF)
    assert ones.sum().item() == 2048
    assert np.sum(ones).item() == 2048
    assert ones.sum(order="pairwise").item() == 3000
    assert ones.mean(order="pairwise").item() == 1
    assert ones.cumsum()[-1].item() == 2048
    assert sum(ones).item() == 2048  # Python's own, from 0 on


@pytest.mark.parametrize("name", ["float8_e4m3fn", "bfloat16", "float16"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 7, 8, 13])
def test_reductions_round_every_step_in_the_stated_order(name: str, count: int) -> None:
    exact = Exact(name)
    x = array(values(count), name)
    terms = x.tolist()

    def sequence(verb: Any, empty: float) -> float:
        total = terms[0] if terms else empty
        for term in terms[1:]:
            total = verb(total, term)
        return total

    def pairs(verb: Any, items: list[float], empty: float) -> float:
        while len(items) > 1:
            joined = [verb(a, b) for a, b in zip(items[0::2], items[1::2], strict=False)]
            items = joined + items[len(joined) * 2 :]
        return items[0] if items else empty

    assert x.sum().item() == sequence(exact.add, 0.0)
    assert x.sum(order="pairwise").item() == pairs(exact.add, terms, 0.0)
    assert x.prod().item() == sequence(exact.mul, 1.0)
    assert x.prod(order="pairwise").item() == pairs(exact.mul, terms, 1.0)
    if count:
        mean = exact.round(Fraction(sequence(exact.add, 0.0)) / count)
        assert x.mean().item() == mean
        running = [x[: i + 1].sum().item() for i in range(count)]
        assert x.cumsum().tolist() == running
    assert x.sum().format == x.format


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (2, 0)])
def test_reductions_take_axes(axis: Any) -> None:
    plain = np.arange(24.0).reshape(2, 3, 4)
    x = array(plain, "float32")
    for name in ("sum", "max", "min", "mean", "prod"):
        for keepdims in (False, True):
            want = getattr(np, name)(plain[:, :, :2], axis=axis, keepdims=keepdims)
            got = getattr(np, name)(x[:, :, :2], axis=axis, keepdims=keepdims)
            assert got.shape == want.shape
            assert np.array_equal(got.values, want.astype(np.float32))
    assert np.add.reduce(x).tolist() == plain.sum(0).tolist()
    assert np.maximum.reduce(x, axis=1).tolist() == plain.max(1).tolist()


def test_empty_reductions_and_bad_orders() -> None:
    none = array([], HALF)
    assert none.sum().item() == 0
    assert none.prod().item() == 1
    assert math.isnan(none.mean().item())
    with pytest.raises(ValueError, match="zero-size"):
        none.max()
    with pytest.raises(ValueError, match="sequential, pairwise; got 'random'"):
        _X.sum(order="random")
    with pytest.raises(ValueError, match="axis"):
        _X.sum(axis=2)


def test_differences_and_spreads_are_rounded() -> None:
    x = array([1.0, 4.0, 9.0, 16.0], HALF)
    assert np.diff(x).tolist() == [3, 5, 7]
    assert np.var(x).item() == 32.25
    assert np.std(x, ddof=1).format.name == HALF
    assert np.trace(_X).item() == 5


# Products


@pytest.mark.parametrize("name", ["float8_e4m3fn", "bfloat16", "float16", "float32", "float64"])
def test_matrix_products_add_exact_products_in_order(name: str) -> None:
    exact = Exact(name, fused="yes")
    a, b = array(values(12).reshape(3, 4), name), array(values(8, 1).reshape(4, 2), name)
    columns = b.T.tolist()
    want = [[exact.dot(row, column, 0.0) for column in columns] for row in a.tolist()]
    assert (a @ b).tolist() == want
    assert np.dot(a, b).tolist() == want
    assert a.dot(b).tolist() == want
    assert (a[0] @ b).tolist() == want[0]
    assert (a @ b[:, 0]).tolist() == [row[0] for row in want]
    assert (a[1] @ b[:, 1]).item() == want[1][1]
    assert np.inner(a, b.T).tolist() == want
    assert np.vdot(a[1], b[:, 1]).item() == want[1][1]
    assert np.outer(a[0], b[0]).tolist() == [
        [exact.mul(x, y) for y in b[0].tolist()] for x in a[0].tolist()
    ]
    assert (a * 2.0 @ b).format.name == name


def test_batches_of_products_are_those_of_their_matrices() -> None:
    a, b = array(values(24).reshape(2, 3, 4), HALF), array(values(8, 1).reshape(4, 2), HALF)
    assert (a @ b).shape == (2, 3, 2)
    assert (a @ b)[1].tolist() == (a[1] @ b).tolist()
    with pytest.raises(ValueError, match="agree"):
        a @ array(np.ones((3, 2)), HALF)


def test_a_negative_order_of_differences_is_refused() -> None:
    x = array([1, 2, 4], "float16")
    assert np.diff(x, n=2).tolist() == [1]
    assert np.diff(x, n=0).tolist() == [1, 2, 4]
    with pytest.raises(ValueError, match="n must not be negative; got -1"):
        np.diff(x, n=-1)
