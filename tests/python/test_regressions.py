"""Defects of lowp itself that a review found, each as the call that showed it."""

from __future__ import annotations

import os
import subprocess
import sys

import lowp
import numpy as np
import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_that_never_uses_lowp_can_exit() -> None:
    program = (
        "import lowp, numpy as np, os, sys\n"
        "lowp.quantize(np.ones(1 << 20, np.float32), 'float16', threads=2)\n"
        "child = os.fork()\n"
        "if child == 0: sys.exit(0)\n"
        "os.waitpid(child, 0)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_format_in_use_survives_thousands_of_other_names() -> None:
    class Evil:
        @property
        def dtype(self) -> np.dtype[np.float32]:
            for bias in range(-900, 900):
                for name in ("e3m2", "e4m2", "e2m3", "e3m3", "e2m2"):
                    lowp.format(f"{name}b{bias}")
            return np.dtype(np.float32)

    codes = np.arange(256, dtype=np.uint8)
    expected = lowp.decode(codes, "e4m3b9fn")
    assert np.array_equal(lowp.decode(codes, "e4m3b9fn", dtype=Evil()), expected, equal_nan=True)


def test_random_integers_may_lie_in_the_memory_that_is_written() -> None:
    n = 5000
    buffer = np.random.default_rng(0).integers(0, 1 << 32, n + 100, dtype=np.uint32)
    x = np.random.default_rng(1).standard_normal(n, dtype=np.float32)
    options = {"rounding": "stochastic_a", "random": buffer[:n]}
    expected = lowp.quantize(x, "float8_e4m3fn", **options, out=np.empty_like(x))
    out = buffer[100:].view(np.float32)
    assert np.array_equal(lowp.quantize(x, "float8_e4m3fn", **options, out=out), expected)


def test_unaligned_arrays_are_converted() -> None:
    memory = np.zeros(4 * 1000 + 1, np.uint8)
    x = memory[1:].view(np.float32)
    x[:] = np.random.default_rng(2).standard_normal(1000, dtype=np.float32)
    assert not x.flags.aligned
    expected = lowp.quantize(x.copy(), "float8_e5m2")
    assert np.array_equal(lowp.quantize(x, "float8_e5m2"), expected)


def test_a_nan_may_become_infinity() -> None:
    f = lowp.Format(exponent_bits=4, mantissa_bits=3, has_inf=True)
    assert lowp.encode(float("nan"), f, nan=float("inf")) == f.inf_code


@pytest.mark.parametrize("field", ["seed", "stream"])
def test_numpy_integers_are_integers(field: str) -> None:
    x = np.full(100, 1.06, np.float32)
    options = {"rounding": "stochastic_a"}
    a = lowp.quantize(x, "float8_e4m3fn", **options, **{field: np.int64(3)})
    assert np.array_equal(a, lowp.quantize(x, "float8_e4m3fn", **options, **{field: 3}))


def test_signed_integers_get_a_hint_that_keeps_their_number() -> None:
    with pytest.raises(TypeError, match=r"astype\(np\.uint8\)"):
        lowp.decode(np.array([1, 2], np.int64), "float8_e4m3fn")
    with pytest.raises(TypeError, match=r"view\(np\.uint8\)"):
        lowp.decode(np.array([1, 2], np.int8), "float8_e4m3fn")


@pytest.mark.parametrize("name", ["a" + "é" * 80, "\ud800", "e4m3\0"])
def test_any_text_is_refused_as_a_name(name: str) -> None:
    with pytest.raises((ValueError, TypeError), match=r"format"):
        lowp.format(name)


def test_values_count_both_signs_of_a_format_without_zero() -> None:
    f = lowp.Format(exponent_bits=3, mantissa_bits=2, has_zero=False, has_subnormals=False)
    assert len(f.values()) == f.finite_values
    assert f.values()[31] == -f.min_normal


def test_floats_check_what_they_do_not_need() -> None:
    with pytest.raises(TypeError, match="threads"):
        lowp.quantize(1.0, "float16", threads="banana")


def test_a_subclass_of_float_is_a_float() -> None:
    class Real(float):
        pass

    assert lowp.quantize(Real(0.3), "float8_e4m3fn") == 0.3125
    assert isinstance(lowp.quantize(np.float64(0.3), "float8_e4m3fn"), np.float64)
