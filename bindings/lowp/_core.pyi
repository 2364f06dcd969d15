from typing import Any, final, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

__version__: str
ROUNDINGS: tuple[str, ...]
SATURATIONS: tuple[str, ...]
GENERATORS: tuple[str, ...]

@final
class Format:
    def __init__(
        self,
        *,
        exponent_bits: int,
        mantissa_bits: int,
        bias: int | None = None,
        is_signed: bool = True,
        has_inf: bool = False,
        nan_codes: int = 0,
        has_neg_zero: bool | None = None,
        has_subnormals: bool = True,
        has_zero: bool = True,
        is_twos_complement: bool = False,
    ) -> None: ...
    @property
    def exponent_bits(self) -> int: ...
    @property
    def mantissa_bits(self) -> int: ...
    @property
    def bias(self) -> int: ...
    @property
    def is_signed(self) -> bool: ...
    @property
    def has_inf(self) -> bool: ...
    @property
    def nan_codes(self) -> int: ...
    @property
    def has_neg_zero(self) -> bool: ...
    @property
    def has_subnormals(self) -> bool: ...
    @property
    def has_zero(self) -> bool: ...
    @property
    def is_twos_complement(self) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def bits(self) -> int: ...
    @property
    def precision(self) -> int: ...
    @property
    def emin(self) -> int: ...
    @property
    def emax(self) -> int: ...
    @property
    def max(self) -> float: ...
    @property
    def lowest(self) -> float: ...
    @property
    def min_normal(self) -> float: ...
    @property
    def min_subnormal(self) -> float: ...
    @property
    def epsilon(self) -> float: ...
    @property
    def has_nan(self) -> bool: ...
    @property
    def finite_values(self) -> int: ...
    @property
    def max_code(self) -> int: ...
    @property
    def lowest_code(self) -> int: ...
    @property
    def inf_code(self) -> int | None: ...
    @property
    def nan_code(self) -> int | None: ...
    @property
    def zero_code(self) -> int | None: ...
    def values(self) -> NDArray[np.float64]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

def format(name: str | Format, /) -> Format: ...
def formats() -> dict[str, Format]: ...
def format_sources() -> dict[str, str]: ...
@overload
def quantize(
    x: float,
    format: str | Format,
    *,
    rounding: str = "nearest_ties_to_even",
    saturation: str = "none",
    random_bits: int = 32,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def quantize(
    x: ArrayLike,
    format: str | Format,
    *,
    rounding: str = "nearest_ties_to_even",
    saturation: str = "none",
    random_bits: int = 32,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def encode(
    x: float,
    format: str | Format,
    *,
    rounding: str = "nearest_ties_to_even",
    saturation: str = "none",
    nan: float | None = None,
    random_bits: int = 32,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    out: None = None,
    threads: int | None = None,
) -> int: ...
@overload
def encode(
    x: ArrayLike,
    format: str | Format,
    *,
    rounding: str = "nearest_ties_to_even",
    saturation: str = "none",
    nan: float | None = None,
    random_bits: int = 32,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def decode(
    codes: int,
    format: str | Format,
    *,
    dtype: DTypeLike | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def decode(
    codes: ArrayLike,
    format: str | Format,
    *,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
def random_bits(
    count: int,
    *,
    seed: int = 0,
    stream: int = 0,
    first_index: int = 0,
    generator: str = "philox4x32_10",
) -> NDArray[np.uint32]: ...
def set_threads(threads: int) -> None: ...
def get_threads() -> int: ...
def isa() -> str: ...
def isas() -> tuple[str, ...]: ...
def _pack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]: ...
def _unpack(buffer: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]: ...
def _spec_quantize(
    x: float, format: str | Format, rounding: str, saturation: str, random_bits: int, random: int
) -> float: ...
def _spec_encode(
    x: float, format: str | Format, rounding: str, saturation: str, random_bits: int, random: int
) -> int: ...
def _spec_decode(code: int, format: str | Format) -> float: ...
