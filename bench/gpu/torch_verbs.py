"""lowp on a GPU through PyTorch, against a copy on the device and PyTorch's own casts, in one run.

Prints values a second and the ratio to the copy of as many bytes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

# isort: off
import torch  # before lowp: PyTorch 2.11 has crashed where another pybind11 module was there first
import lowp
import lowp.torch as lt
# isort: on

COUNT = 2**28


def seconds(work: Callable[[], object]) -> float:
    """Median of the device's own clock, after warming up."""
    times = []
    for i in range(13):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        if i >= 3:
            times.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    x = torch.randn(COUNT // 4096, 4096, device="cuda")
    y = torch.empty_like(x)
    copy = 8 * COUNT / seconds(lambda: y.copy_(x))
    print(f"{torch.cuda.get_device_name()}, lowp {lowp.__version__}, torch {torch.__version__}")
    print(f"{'copy, float32':50} {COUNT / 1e9 / (8 * COUNT / copy):8.1f} Gv/s")

    def row(what: str, bytes_a_value: float, work: Callable[[], object]) -> None:
        rate = COUNT / seconds(work)
        print(f"{what:50} {rate / 1e9:8.1f} Gv/s {rate * bytes_a_value / copy:6.3f} of copy")

    fp8 = torch.float8_e4m3fn
    for dtype in (torch.float32, torch.bfloat16):
        z, size, name = x.to(dtype), dtype.itemsize, str(dtype).removeprefix("torch.")
        row(f"torch {name} to fp8 and back", 2 * size, lambda z=z: z.to(fp8).to(z.dtype))
        row(f"torch {name} to fp8", size + 1, lambda z=z: z.to(fp8))
        for f, options in (
            ("float8_e4m3fn", {}),
            ("float8_e4m3fn", {"rounding": "stochastic_a"}),
            ("mxfp8_e4m3", {}),
            ("mxfp4", {}),
            ("nvfp4", {}),
        ):
            reads = 2 if f == "nvfp4" else 1
            words = " ".join([f, *options.values()])
            row(
                f"lowp quantize {name} {words}",
                (reads + 1) * size,
                lambda z=z, f=f, options=options: lt.quantize(z, f, **options),
            )
        row(f"lowp encode {name} fp8", size + 1, lambda z=z: lt.encode(z, "float8_e4m3fn"))


if __name__ == "__main__":
    main()
