from collections.abc import Callable, Sequence
from typing import Any, final, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from lowp._arguments import FormatLike
from lowp._blocks import BlockTensor

__version__: str
ROUNDINGS: tuple[str, ...]
SATURATIONS: tuple[str, ...]
GENERATORS: tuple[str, ...]
SCALE_RULES: tuple[str, ...]
COMPATS: tuple[str, ...]
ELEMENTARY: tuple[tuple[str, int], ...]

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
    def holds(self, format: Format) -> bool: ...
    def values(self) -> NDArray[np.float64]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class BlockFormat:
    def __init__(
        self,
        element: FormatLike | Sequence[float] | NDArray[Any] = "float4_e2m1fn",
        scale: FormatLike = "float8_e8m0fnu",
        shape: int | str | tuple[int, int] = 32,
        rule: str | float | None = None,
        **fields: str | float | Format,
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def element(self) -> Format | NDArray[np.float64]: ...
    @property
    def scale(self) -> Format: ...
    @property
    def shape(self) -> int | str | tuple[int, int]: ...
    @property
    def rule(self) -> str: ...
    @property
    def fields(self) -> dict[str, Any]: ...
    @property
    def element_bits(self) -> int: ...
    @property
    def element_max(self) -> float: ...
    def replace(self, **fields: Any) -> BlockFormat: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class DelayedScaling:
    def __init__(
        self, max: float, history: int = 1024, margin: int = 0, take: str = "max"
    ) -> None: ...
    @property
    def scale(self) -> float: ...
    @property
    def history(self) -> NDArray[np.float32]: ...
    def observe(self, amax: float) -> None: ...
    def restore(self, history: Sequence[float] | NDArray[Any], scale: float) -> None: ...

@final
class Accumulator:
    def __init__(self, name: str, **fields: str | int | Format) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def fields(self) -> dict[str, str]: ...
    @property
    def order(self) -> str: ...
    @property
    def chunk(self) -> int: ...
    @property
    def group(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def accumulator(name: str | Accumulator) -> Accumulator: ...
def elementary(
    function: str,
    x: Any,
    y: Any,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: Any = None,
    out: Any = None,
    threads: int | None = None,
) -> Any: ...
def accumulators() -> dict[str, tuple[Accumulator, str, str]]: ...
def _matmul_2d(*args: Any) -> None: ...
def block_format(name: str | BlockFormat, /, *, compat: str | None = None) -> BlockFormat: ...
def block_formats() -> dict[str, BlockFormat]: ...
def block_format_sources() -> dict[str, str]: ...
def is_block_format(format: object, /) -> bool: ...
def format(name: FormatLike, /) -> Format: ...
def formats() -> dict[str, Format]: ...
def format_sources() -> dict[str, str]: ...
@overload
def quantize(
    x: float,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    axis: int = -1,
    scales: ArrayLike | Callable[[NDArray[Any]], ArrayLike] | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def quantize(
    x: ArrayLike,
    format: FormatLike | BlockFormat,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    axis: int = -1,
    scales: ArrayLike | Callable[[NDArray[Any]], ArrayLike] | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def encode(
    x: float,
    format: Format,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    nan: float | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    axis: int = -1,
    scales: ArrayLike | Callable[[NDArray[Any]], ArrayLike] | None = None,
    packed: bool | None = None,
    out: None = None,
    threads: int | None = None,
) -> int: ...
@overload
def encode(
    x: ArrayLike,
    format: Format,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    nan: float | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    axis: int = -1,
    scales: ArrayLike | Callable[[NDArray[Any]], ArrayLike] | None = None,
    packed: bool | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def encode(
    x: ArrayLike,
    format: BlockFormat,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    nan: float | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    axis: int = -1,
    scales: ArrayLike | Callable[[NDArray[Any]], ArrayLike] | None = None,
    packed: bool | None = None,
    out: None = None,
    threads: int | None = None,
) -> BlockTensor: ...
@overload
def encode(
    x: ArrayLike,
    format: str,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    nan: float | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    axis: int = -1,
    scales: ArrayLike | Callable[[NDArray[Any]], ArrayLike] | None = None,
    packed: bool | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> Any: ...
@overload
def decode(
    codes: int,
    format: FormatLike,
    *,
    dtype: DTypeLike | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def decode(
    codes: ArrayLike | BlockTensor,
    format: FormatLike | BlockFormat | None = None,
    *,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def add(
    x: float,
    y: float,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def add(
    x: ArrayLike,
    y: ArrayLike,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def sub(
    x: float,
    y: float,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def sub(
    x: ArrayLike,
    y: ArrayLike,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def mul(
    x: float,
    y: float,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def mul(
    x: ArrayLike,
    y: ArrayLike,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def div(
    x: float,
    y: float,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def div(
    x: ArrayLike,
    y: ArrayLike,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def sqrt(
    x: float,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def sqrt(
    x: ArrayLike,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def fma(
    x: float,
    y: float,
    z: float,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def fma(
    x: ArrayLike,
    y: ArrayLike,
    z: ArrayLike,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def remainder(
    x: float,
    y: float,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def remainder(
    x: ArrayLike,
    y: ArrayLike,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def minimum(
    x: float,
    y: float,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def minimum(
    x: ArrayLike,
    y: ArrayLike,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def maximum(
    x: float,
    y: float,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def maximum(
    x: ArrayLike,
    y: ArrayLike,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def minimum_number(
    x: float,
    y: float,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def minimum_number(
    x: ArrayLike,
    y: ArrayLike,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
) -> NDArray[Any]: ...
@overload
def maximum_number(
    x: float,
    y: float,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: int | None = None,
    out: None = None,
    threads: int | None = None,
) -> float: ...
@overload
def maximum_number(
    x: ArrayLike,
    y: ArrayLike,
    format: FormatLike,
    *,
    rounding: str | None = None,
    saturation: str | None = None,
    random_bits: int | None = None,
    seed: int = 0,
    stream: int = 0,
    generator: str = "philox4x32_10",
    random: ArrayLike | None = None,
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
    x: float, format: FormatLike, rounding: str, saturation: str, random_bits: int, random: int
) -> float: ...
def _spec_encode(
    x: float, format: FormatLike, rounding: str, saturation: str, random_bits: int, random: int
) -> int: ...
def _spec_decode(code: int, format: FormatLike) -> float: ...
def _block_grid(
    format: BlockFormat, shape: Sequence[int], axis: int
) -> tuple[int, int, int, int, int, bool]: ...
def _block_quantize(
    x: NDArray[Any],
    out: NDArray[Any],
    format: BlockFormat,
    axis: int,
    seed: int,
    stream: int,
    generator: str,
    random: NDArray[np.uint32] | None,
    scales: NDArray[np.float64] | None,
    threads: int,
) -> None: ...
def _block_quantize_halves(
    half: Format,
    x: NDArray[np.uint16],
    out: NDArray[np.uint16],
    format: BlockFormat,
    axis: int,
    seed: int,
    stream: int,
    generator: str,
    random: NDArray[np.uint32] | None,
    scales: NDArray[np.float64] | None,
    threads: int,
) -> None: ...
def _block_encode_halves(
    half: Format,
    x: NDArray[np.uint16],
    format: BlockFormat,
    axis: int,
    packed: bool,
    seed: int,
    stream: int,
    generator: str,
    random: NDArray[np.uint32] | None,
    scales: NDArray[np.float64] | None,
    nan: int | None,
    threads: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64]]: ...
def _block_decode_halves(
    half: Format,
    codes: NDArray[np.uint8],
    scales: NDArray[np.uint8],
    outer: NDArray[np.float64],
    out: NDArray[np.uint16],
    format: BlockFormat,
    axis: int,
    packed: bool,
    threads: int,
) -> None: ...
def _quantize_halves(
    half: Format,
    codes: NDArray[np.uint16],
    out: NDArray[np.uint16],
    format: Format,
    rounding: str | None,
    saturation: str | None,
    random_bits: int | None,
    seed: int,
    stream: int,
    generator: str,
    random: NDArray[np.uint32] | None,
    threads: int | None,
) -> None: ...
def _encode_halves(
    half: Format,
    codes: NDArray[np.uint16],
    out: NDArray[Any],
    format: Format,
    rounding: str | None,
    saturation: str | None,
    nan: int | None,
    random_bits: int | None,
    seed: int,
    stream: int,
    generator: str,
    random: NDArray[np.uint32] | None,
    threads: int | None,
) -> None: ...
def _decode_halves(
    half: Format,
    codes: NDArray[Any],
    out: NDArray[np.uint16],
    format: Format,
    threads: int | None,
) -> None: ...
def _block_encode(
    x: NDArray[Any],
    format: BlockFormat,
    axis: int,
    packed: bool,
    seed: int,
    stream: int,
    generator: str,
    random: NDArray[np.uint32] | None,
    scales: NDArray[np.float64] | None,
    nan: int | None,
    threads: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64]]: ...
def _block_decode(
    codes: NDArray[np.uint8],
    scales: NDArray[np.uint8],
    outer: NDArray[np.float64],
    out: NDArray[Any],
    format: BlockFormat,
    axis: int,
    packed: bool,
    threads: int,
) -> None: ...
def _hadamard(
    x: NDArray[Any],
    out: NDArray[Any],
    size: int,
    signs: NDArray[np.int8] | None,
    seed: int | None,
    stream: int,
    inverse: bool,
    columns: int,
    threads: int,
) -> None: ...
