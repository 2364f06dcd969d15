"""The same bits on any instruction set, thread count, chunking and floating-point environment."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import json
import multiprocessing
import os
import platform
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import lowp
import numpy as np
import pytest
from samples import STOCHASTIC, carriers, probes, random_floats

FORMATS = (
    "float32", "tensorfloat32", "bfloat16", "float16", "float8_e5m2", "float8_e4m3fn",
    "float8_e4m3fnuz", "float8_e8m0fnu", "float6_e3m2fn", "float4_e2m1fn", "p3109_k8p1se",
    "p3109_k8p3ue", "int8", "uint4", "e4m3fn_nosub", "e5m10f", "e11m10", "e2m20f",
)  # fmt: skip


def digest() -> str:
    """One number for the results over formats, modes, saturations, carriers and verbs."""
    h = hashlib.sha256()
    for name in FORMATS:
        f = lowp.format(name)
        for dtype in carriers(f):
            x = np.concatenate([probes(f, dtype)[::5], random_floats(997, dtype)])
            for rounding in lowp.ROUNDINGS:
                for saturation in lowp.SATURATIONS:
                    how = {"rounding": rounding, "saturation": saturation, "random_bits": 11}
                    y = lowp.quantize(x, f, seed=3, stream=4, **how)
                    codes = lowp.encode(x, f, seed=3, stream=4, nan=f.nan_code or 0, **how)
                    h.update(y.tobytes())
                    h.update(codes.tobytes())
            h.update(lowp.decode(codes, f, dtype=dtype).tobytes())
    h.update(lowp.random_bits(1001, seed=5, stream=6, first_index=7).tobytes())
    return h.hexdigest()


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    variables = {k: v for k, v in os.environ.items() if k != "LOWP_ISA"} | environment
    variables["PYTHONPATH"] = os.pathsep.join([here, variables.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=variables, check=False
    )


@pytest.fixture(scope="module")
def expected() -> str:
    return digest()


@pytest.mark.parametrize("isa", lowp.isas())
def test_every_instruction_set_gives_the_same_bits(isa: str, expected: str) -> None:
    program = "import lowp, test_threads_isa as t; print(lowp.isa(), t.digest())"
    done = run(program, LOWP_ISA=isa)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [isa, expected]


def test_the_best_instruction_set_is_taken_by_itself() -> None:
    assert lowp.isas()[0] == "baseline"
    done = run("import lowp; print(lowp.isa(), lowp.isas()[-1])")
    assert len(set(done.stdout.split())) == 1, done.stdout + done.stderr
    assert (
        run("import lowp; print(lowp.isa())", LOWP_ISA="").stdout == done.stdout.split()[0] + "\n"
    )


def test_an_unknown_instruction_set_is_a_clear_error() -> None:
    program = """
import json, lowp, numpy as np
messages = []
for call in (lowp.isa, lambda: lowp.quantize(np.ones(3), "float16"), lambda: lowp.isa()):
    try:
        call()
        messages.append("nothing")
    except ValueError as error:
        messages.append(str(error))
print(json.dumps(messages))
"""
    done = run(program, LOWP_ISA="sse9")
    assert done.returncode == 0, done.stderr
    for message in json.loads(done.stdout):
        assert "LOWP_ISA" in message
        assert "sse9" in message
        assert all(isa in message for isa in lowp.isas())


# ---- threads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", ["nearest_ties_to_even", "toward_zero", *STOCHASTIC])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_threads_gives_the_same_bits(rounding: str, dtype: type) -> None:
    x = random_floats(300_017, dtype)
    how = {"rounding": rounding, "seed": 9}
    quantized = lowp.quantize(x, "float8_e5m2", threads=1, **how)
    codes = lowp.encode(x, "float8_e5m2", threads=1, **how)
    decoded = lowp.decode(codes, "float8_e5m2", dtype=dtype, threads=1)
    for threads in (0, 2, 3, 4, 1024, None):
        y = lowp.quantize(x, "float8_e5m2", threads=threads, **how)
        assert y.tobytes() == quantized.tobytes()
        c = lowp.encode(x, "float8_e5m2", threads=threads, **how)
        assert c.tobytes() == codes.tobytes()
        d = lowp.decode(c, "float8_e5m2", dtype=dtype, threads=threads)
        assert d.tobytes() == decoded.tobytes()


def test_the_default_number_of_threads_is_set_and_read() -> None:
    before = lowp.get_threads()
    try:
        for n in (1, 2, 0):
            lowp.set_threads(n)
            assert lowp.get_threads() == n
        for wrong in (-1, 1025):
            with pytest.raises(ValueError, match="threads"):
                lowp.set_threads(wrong)
        with pytest.raises(TypeError, match="threads"):
            lowp.set_threads(1.5)
    finally:
        lowp.set_threads(before)


@pytest.mark.parametrize(
    "size", [0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 4095, 4097]
)
@pytest.mark.parametrize("rounding", ["nearest_ties_to_even", "to_odd", "stochastic_b"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_element_does_not_see_its_neighbours(size: int, rounding: str, dtype: type) -> None:
    """The head of a longer array is the shorter array's result: lanes and tails agree."""
    x = np.random.default_rng(1).normal(size=5000).astype(dtype)
    how = {"rounding": rounding, "seed": 2}
    whole = lowp.quantize(x, "float8_e4m3fn", **how)
    assert lowp.quantize(x[:size], "float8_e4m3fn", **how).tobytes() == whole[:size].tobytes()
    codes = lowp.encode(x, "float8_e4m3fn", **how)
    assert lowp.encode(x[:size], "float8_e4m3fn", **how).tobytes() == codes[:size].tobytes()
    part = lowp.decode(codes[:size], "float8_e4m3fn", dtype=dtype)
    assert part.tobytes() == whole[:size].tobytes()


def test_calls_from_many_python_threads_do_not_disturb_each_other() -> None:
    x = random_floats(50_000, np.float32)
    modes = [(r, name) for r in lowp.ROUNDINGS for name in ("float16", "float8_e4m3fn")]
    want = [lowp.quantize(x, name, rounding=r).tobytes() for r, name in modes]
    wrong: list[int] = []

    def work() -> None:
        for i, (r, name) in enumerate(modes):
            if lowp.quantize(x, name, rounding=r, threads=2).tobytes() != want[i]:
                wrong.append(i)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_another_python_thread_runs_during_a_call() -> None:
    """A counter goes on while a long call is under way, so the call does not hold the lock."""
    x = np.random.default_rng(1).normal(size=1 << 22)
    out = np.empty_like(x)
    before = sys.getswitchinterval()
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0)

    ticker = threading.Thread(target=tick)
    sys.setswitchinterval(1e-4)
    try:
        ticker.start()
        inside = 0
        for _ in range(5):
            begin = time.perf_counter()
            lowp.quantize(x, "float16", rounding="stochastic_c", out=out, threads=1)
            end = time.perf_counter()
            # Ticks in the middle half: none at either edge, where the lock changes hands anyway.
            quarter = (end - begin) / 4
            inside += sum(begin + quarter < t < end - quarter for t in list(ticks))
    finally:
        stop.set()
        ticker.join()
        sys.setswitchinterval(before)
    assert inside > 0


# ---- the floating-point environment -----------------------------------------------------------

# fenv.h of glibc: the values differ by architecture.
DIRECTIONS = {
    "x86_64": {"downward": 0x400, "upward": 0x800, "zero": 0xC00},
    "aarch64": {"downward": 0x800000, "upward": 0x400000, "zero": 0xC00000},
}.get(platform.machine(), {})


@contextmanager
def rounding_direction(direction: int) -> Iterator[None]:
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    before = libm.fegetround()
    assert libm.fesetround(direction) == 0
    try:
        yield
    finally:
        libm.fesetround(before)


def results(threads: int) -> list[bytes]:
    found = []
    for name in ENVIRONMENT_FORMATS:
        for dtype in carriers(lowp.format(name)):
            x = PROBES[name, dtype]
            for rounding in lowp.ROUNDINGS:
                found.append(lowp.quantize(x, name, rounding=rounding, threads=threads).tobytes())
                nan = lowp.format(name).nan_code or 0
                codes = lowp.encode(x, name, rounding=rounding, threads=threads, nan=nan)
                found.append(codes.tobytes())
            found.append(lowp.decode(codes, name, dtype=dtype, threads=threads).tobytes())
    return found


def scalar_results() -> list[tuple[str, str, str, int, str]]:
    values = (0.0, -0.0, 1.0, 1.0001, -3.3, 1e-9, -1e-9, 1e300, 5e-324, float("inf"))
    return [
        (
            name,
            rounding,
            struct.pack(">d", v).hex(),  # float.hex would calculate, in the environment under test
            lowp.encode(v, name, rounding=rounding),
            struct.pack(">d", lowp.quantize(v, name, rounding=rounding)).hex(),
        )
        for name in ENVIRONMENT_FORMATS
        for rounding in lowp.ROUNDINGS
        for v in values
    ]


# The paths through the kernel: by a sum, by shifts, aligned with the carrier, and renormalized.
ENVIRONMENT_FORMATS = (
    "float16", "bfloat16", "float8_e4m3fn", "float4_e2m1fn", "float32", "int8", "e11m10", "e8m3f",
)  # fmt: skip
PROBES = {
    (name, dtype): np.ascontiguousarray(x[:: 1 + x.size // 6000])
    for name in ENVIRONMENT_FORMATS
    for dtype in carriers(lowp.format(name))
    for x in [probes(lowp.format(name), dtype)]
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_threads_rounding_direction_changes_no_result(direction: str, threads: int) -> None:
    want = results(threads)
    with rounding_direction(DIRECTIONS[direction]):
        got = results(threads)
        libm = ctypes.CDLL(ctypes.util.find_library("m"))
        left = libm.fegetround()
    assert got == want
    assert left == DIRECTIONS[direction]  # the caller's environment is as it was


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_rounding_direction_changes_no_result_of_a_python_float(direction: str) -> None:
    want = scalar_results()
    with rounding_direction(DIRECTIONS[direction]):
        got = scalar_results()
    different = [(g, w) for g, w in zip(got, want, strict=True) if g != w]
    assert not different, (len(different), different[:5])


@contextmanager
def flush_to_zero() -> Iterator[bool]:
    """Sets FTZ and DAZ (MXCSR bits 15 and 6) by way of fesetenv: glibc's x86-64 fenv_t is 28 bytes
    of x87 state and MXCSR. Yields whether a subnormal sum then vanishes, as a proof."""
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    before = (ctypes.c_uint32 * 8)()
    changed = (ctypes.c_uint32 * 8)()
    libm.fegetenv(before)
    libm.fegetenv(changed)
    changed[7] |= 0x8040
    libm.fesetenv(changed)
    try:
        yield sys.float_info.min / 2 + 0.0 == 0.0
    finally:
        libm.fesetenv(before)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="MXCSR is x86's")
@pytest.mark.parametrize("threads", [1, 2])
def test_flush_to_zero_in_the_thread_changes_no_result(threads: int) -> None:
    want = results(threads)
    with flush_to_zero() as flushes:
        got = results(threads)
    assert flushes
    assert got == want


@pytest.mark.skipif(platform.machine() != "x86_64", reason="MXCSR is x86's")
def test_flush_to_zero_changes_no_result_of_a_python_float() -> None:
    want = scalar_results()
    with flush_to_zero():
        got = scalar_results()
    different = [(g, w) for g, w in zip(got, want, strict=True) if g != w]
    assert not different, (len(different), different[:5])


# ---- fork -------------------------------------------------------------------------------------


def _in_child(queue: multiprocessing.Queue[str]) -> None:
    x = random_floats(200_000, np.float32)
    queue.put(hashlib.sha256(lowp.quantize(x, "float16", threads=2).tobytes()).hexdigest())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_works_after_a_threaded_call_in_its_parent() -> None:
    x = random_floats(200_000, np.float32)
    want = hashlib.sha256(lowp.quantize(x, "float16", threads=2).tobytes()).hexdigest()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=60) == want
    finally:
        child.join(timeout=10)
        if child.is_alive():
            child.kill()
    assert child.exitcode == 0
