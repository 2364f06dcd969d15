"""Recipes of papers and libraries by name: which tensors, which scales, which rounding.

    >>> from lowp.torch import recipes
    >>> recipes.get("nvfp4", seed=1) == recipes.nvfp4(seed=1)
    True

Each is a function that returns a Recipe; its docstring says what the source does and what is left
out or read otherwise here. All are for the products of linear layers and convolutions, leave other
modules alone, round to nearest even where nothing is said, and take `keep`, names of modules to
leave as they are (see Recipe), and `seed`, of all random bits. Sums are made in float32. "Backward
from the forward's operands" is Layer's backward_from="forward".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

import lowp
from lowp._arguments import suggest_arguments
from lowp.torch._adaptive import AdaptiveFixedPoint, fixed_point_layer
from lowp.torch._given import choose, whole
from lowp.torch._oscillation import Oscillations, oscillations
from lowp.torch.recipe import Delayed, Hadamard, Layer, Quantizer, Recipe

__all__ = [
    "REGISTRY",
    "AdaptiveFixedPoint",
    "Oscillations",
    "adapt",
    "bf16",
    "deepseek_fp8",
    "fp4_design_space",
    "fp8_and_back",
    "get",
    "graphcore_fp8",
    "hybrid_fp8",
    "int8_qat",
    "mxfp4",
    "mxfp6",
    "mxfp8",
    "names",
    "nvfp4",
    "ofq",
    "oscillations",
    "quartet",
]

#: The recipes by name.
REGISTRY: dict[str, Callable[..., Recipe]] = {}


def _registered(make: Callable[..., Recipe]) -> Callable[..., Recipe]:
    REGISTRY[make.__name__] = make
    return make


def names() -> tuple[str, ...]:
    """The names that get knows."""
    return tuple(REGISTRY)


def get(name: str, **choices: Any) -> Recipe:
    """The recipe of a name, with its choices as keywords; ValueError says what names there are."""
    if name not in REGISTRY:
        near = get_close_matches(name, REGISTRY, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(REGISTRY)}"
        raise ValueError(f"recipes: no recipe {name!r}; {hint}")
    return REGISTRY[name](**choices)


def _block(name: str, **changes: Any) -> str:
    """The name of a block format with other fields."""
    return lowp.block_format(name).replace(**changes).name


def _recipe(layer: Layer, name: str, source: str, keep: Any, seed: int, **rest: Any) -> Recipe:
    return Recipe(layer, keep=keep, seed=seed, name=name, source=source, **rest)


# ---- 16 and 8 bits -------------------------------------------------------------------------------


@_registered
def bf16(*, keep: Iterable[str] = (), seed: int = 0) -> Recipe:
    """Bfloat16 operands of all three products, sums in float32: the baseline of the others.

    Outputs, weights and gradients of weights stay in the model's dtype.
    Source: mixed-precision training in bfloat16, arXiv 1905.12322.
    """
    layer = Layer.of("bfloat16", "bfloat16", "bfloat16")
    return _recipe(layer, "bf16", "arXiv 1905.12322", keep, seed)


@_registered
def hybrid_fp8(
    *, history: int = 1024, margin: int = 0, keep: Iterable[str] = (), seed: int = 0
) -> Recipe:
    """E4M3 forward and E5M2 for gradients, one delayed scale a tensor.

    x and w in float8_e4m3fn, dy in float8_e5m2, saturating; the float32 scale of a step is
    2**margin times largest magnitude of the last `history` steps / largest value of the format. The
    first step of a tensor has scale 1.
    Source: NVIDIA Transformer Engine, DelayedScaling with Format.HYBRID; arXiv 2209.05433.
    """
    delayed = Delayed(history, margin)
    forward = Quantizer("float8_e4m3fn", scaling=delayed)
    layer = Layer.of(forward, forward, Quantizer("float8_e5m2", scaling=delayed))
    return _recipe(layer, "hybrid_fp8", "Transformer Engine, DelayedScaling", keep, seed)


@_registered
def graphcore_fp8(
    *,
    forward: str = "float8_e4m3fn",
    gradients: str = "float8_e5m2",
    margin: int = 0,
    keep: Iterable[str] = (),
    seed: int = 0,
) -> Recipe:
    """E4M3 weights and activations, E5M2 gradients, one power of two a tensor found at each step.

    The bias of a tensor is floor(log2(M / amax)) - margin, M the format's largest value: the scale
    is the smallest power of two that cuts nothing off, times 2**margin. Graphcore's own formats are
    forward="float8_e4m3fnuz", gradients="float8_e5m2fnuz".
    Source: arXiv 2309.17224, FP8-AMAX.
    """
    whole("graphcore_fp8: margin", margin, -64, 64)
    gain = 2.0**margin
    x, dy = (
        _block(f"{name}/tensor/float8_e8m0fnu/rceil", gain=gain) for name in (forward, gradients)
    )
    layer = Layer.of(x, x, dy)
    return _recipe(layer, "graphcore_fp8", "arXiv 2309.17224", keep, seed)


@_registered
def deepseek_fp8(*, exact: bool = False, keep: Iterable[str] = (), seed: int = 0) -> Recipe:
    """E4M3 everywhere: x and dy in 1 x 128 blocks, w in 128 x 128 tiles, a float32 scale each.

    The scale is max(amax, 1e-4) / 448. Backward from the forward's operands: dx takes the same w,
    dw takes x from its 1 x 128 blocks into new ones of 128 rows, as the paper stores it; dy is
    quantized along the axis of each product.

    exact: with every sum as an H100 makes it with promotion each 128 terms (h100_fp8_promoted);
    slow. Scales are then powers of two, rounded up, so that the unit's sums of scaled values are
    its sums, scaled; only a subnormal E4M3 code counts with its own exponent, where the unit takes
    that of the smallest normal one.
    Left out: the 12-bit format (E5M6) of what is kept after attention.
    Source: DeepSeek-V3, arXiv 2412.19437, section 3.3.
    """
    row, tile = "deepseek_1x128", "deepseek_128x128"
    accumulator = None
    if exact:
        scale = {"scale": "float8_e8m0fnu", "rule": "rceil", "min_scale": 2.0**-22}
        row, tile = _block(row, **scale), _block(tile, **scale)
        # The unit's lowest exponent is that of products of plain FP8 values.
        accumulator = "h100_fp8_promoted/lowest_exponent=-149"
    layer = Layer.of(row, tile, row, dgrad_w=None, accumulator=accumulator, backward_from="forward")
    return _recipe(layer, "deepseek_fp8", "arXiv 2412.19437", keep, seed)


@_registered
def fp8_and_back(
    exponent_bits: int = 8,
    mantissa_bits: int = 7,
    *,
    tensors: str = "all",
    keep: Iterable[str] = (),
    seed: int = 0,
) -> Recipe:
    """Bits of the operands masked away: e{E}m{M}, truncated.

    tensors: "all" operands of the three products, or those of the "forward" product only. Dropped
    mantissa bits are cut off (toward zero). The ends of a shorter exponent are read so here: what
    is beyond becomes the largest value, what is below goes through subnormals to zero. 8 and 7 bits
    are bfloat16, truncated.
    Source: To FP8 and Back Again, arXiv 2405.18710.
    """
    choose("fp8_and_back: tensors", tensors, ("all", "forward"))
    whole("fp8_and_back: exponent_bits", exponent_bits, 2, 8)
    whole("fp8_and_back: mantissa_bits", mantissa_bits, 1, 23)
    q = Quantizer(f"e{exponent_bits}m{mantissa_bits}", rounding="toward_zero", saturation="finite")
    layer = Layer.of(q, q, q) if tensors == "all" else Layer(x=q, w=q)
    return _recipe(layer, "fp8_and_back", "arXiv 2405.18710", keep, seed)


# ---- microscaling --------------------------------------------------------------------------------


@_registered
def mxfp8(
    *, gradients: str = "mxfp8_e4m3", rule: str = "rceil", keep: Iterable[str] = (), seed: int = 0
) -> Recipe:
    """MXFP8 with E4M3 for every operand, scales rounded up.

    Blocks of 32 along the axis of each product, each quantized from the original tensor; E8M0
    scale 2^ceil(log2(amax / 448)). gradients: "mxfp8_e5m2" to compare; rule: "floor" is OCP's. The
    paper keeps embeddings and the output layer in bfloat16: keep=["lm_head"].
    Source: Recipes for Pre-training LLMs with MXFP8, arXiv 2506.08027.
    """
    forward, back = (_block(name, rule=rule) for name in ("mxfp8_e4m3", gradients))
    layer = Layer.of(forward, forward, back)
    return _recipe(layer, "mxfp8", "arXiv 2506.08027", keep, seed)


@_registered
def mxfp6(
    *, element: str = "e3m2", rule: str = "floor", keep: Iterable[str] = (), seed: int = 0
) -> Recipe:
    """MXFP6 for every operand: E3M2 or E2M3 elements in blocks of 32, scales by OCP's rule.

    element: "e3m2" or "e2m3". Each operand along the axis of its product, from the original tensor.
    Source: Microscaling Data Formats for Deep Learning, arXiv 2310.10537.
    """
    choose("mxfp6: element", element, ("e3m2", "e2m3"))
    q = _block(f"mxfp6_{element}", rule=rule)
    layer = Layer.of(q, q, q)
    return _recipe(layer, "mxfp6", "arXiv 2310.10537", keep, seed)


@_registered
def mxfp4(
    *,
    rule: str = "floor",
    gradients: str = "nearest_ties_to_even",
    hadamard: int | None = None,
    keep: Iterable[str] = (),
    seed: int = 0,
) -> Recipe:
    """MXFP4 for every operand, without help: the case that the others improve on.

    E2M1 in blocks of 32 along the axis of each product, scales by OCP's rule. gradients: the
    rounding of dy; under a stochastic one, dy's blocks have the rule three_quarters, which cuts
    nothing off, so that they are unbiased. hadamard: the length of random Hadamard runs, with fresh
    signs, on both operands of both backward products (Tseng et al.: 64).
    Source: OCP MX 1.0; with stochastic gradients and hadamard: Training LLMs with MXFP4, arXiv
    2502.20586, which rounds x and w of the backward products stochastically, too, and leaves the
    forward product in higher precision.
    """
    q = _block("mxfp4", rule=rule)
    unbiased = "three_quarters" if gradients.startswith("stochastic") else rule
    back = _block("mxfp4", rule=unbiased, rounding=gradients)
    turn = None if hadamard is None else Hadamard(hadamard, "fresh")
    layer = Layer.of(q, q, back, dgrad_transform=turn, wgrad_transform=turn)
    source = "OCP MX 1.0" if hadamard is None else "arXiv 2502.20586"
    return _recipe(layer, "mxfp4", source, keep, seed)


# ---- four bits -----------------------------------------------------------------------------------


@_registered
def nvfp4(
    *,
    hadamard: int = 16,
    bfloat16: Iterable[str] = ("first:1", "last:1"),
    keep: Iterable[str] = (),
    seed: int = 0,
) -> Recipe:
    """NVIDIA's recipe for NVFP4: E2M1, a scale in E4M3 each 16, one in float32 a tensor.

    x: 1 x 16 blocks. w: 16 x 16 tiles, the same forward and in dx. dy: 1 x 16 blocks, rounded
    stochastically in dx and dw. dw: both operands through random Hadamard runs of `hadamard` values
    first. All else to nearest even. bfloat16: modules in bfloat16, as in Recipe.patterns; the paper
    has the last blocks of its models so, some 15 % of the layers. Its signs of the Hadamard matrix
    are drawn once for all layers, these once a layer from the seed.
    Source: Pretraining Large Language Models with NVFP4, arXiv 2509.25149.
    """
    if isinstance(bfloat16, str):
        raise TypeError(f"nvfp4: bfloat16 must be a list of names; got {bfloat16!r}")
    dy = _block("nvfp4", rounding="stochastic_a")
    layer = Layer.of("nvfp4", "nvfp4_16x16", dy, wgrad_transform=Hadamard(hadamard, "fixed"))
    kept = dict.fromkeys(bfloat16, bf16().layer)
    return _recipe(layer, "nvfp4", "arXiv 2509.25149", keep, seed, patterns=kept)


@_registered
def quartet(*, rule: str = "std", keep: Iterable[str] = (), seed: int = 0) -> Recipe:
    """MXFP4 in all three products: least error forward, unbiased backward.

    Forward: x and w through Hadamard runs of 32, blocks of 32 with QuEST's scale 2.92247856 rms / 6
    rounded into E8M0, to nearest even. Backward from the forward's operands: dy and the other
    operand through Hadamard runs of 32 with fresh signs, then stochastic rounding under the rule
    three_quarters; the result is zero where the forward pass cut x or w off, and goes back through
    the forward Hadamard. The authors' code takes the standard deviation for rms, and the power of
    two below, as rule="std/power_of_two=floor" does; it has the same signs in both backward
    products, where here each has its own.
    Source: Quartet, arXiv 2505.14669, algorithm 1; QuEST, arXiv 2502.05003.
    """
    forward = Quantizer(f"mxfp4/{rule}", gradient="clipped")
    back = _block("mxfp4/three_quarters", rounding="stochastic_a")
    layer = Layer.of(
        forward,
        forward,
        back,
        dgrad_w=back,
        wgrad_x=back,
        transform=Hadamard(32, "fresh"),
        forward_transform=Hadamard(32, "none"),
        backward_from="forward",
    )
    return _recipe(layer, "quartet", "arXiv 2505.14669", keep, seed)


@_registered
def fp4_design_space(
    *,
    scale: str = "float8_e4m3fn",
    block: int = 16,
    hadamard: int = 16,
    keep: Iterable[str] = (),
    seed: int = 0,
) -> Recipe:
    """The best trade-off of a sweep over FP4 training: Hadamard, tensor scale, stochastic rounding.

    Every operand: Hadamard runs with signs fixed a layer, E2M1 in blocks of `block` along the axis
    of its product, scales amax / 6 in `scale`, and one float32 scale a tensor; for scale="ue5m3",
    whose range needs no second level, none. dy is rounded stochastically. The paper sweeps many
    combinations; sizes, and which operands are turned, are read so here.
    Source: Elucidating the Design Space of FP4 training, arXiv 2509.17791.
    """
    outer = "none" if scale == "ue5m3" else "tensor"
    q = _block(f"float4_e2m1fn/{block}/{scale}/amax", outer=outer)
    dy = _block(q, rounding="stochastic_a")
    layer = Layer.of(q, q, dy, transform=Hadamard(hadamard, "fixed"))
    return _recipe(layer, "fp4_design_space", "arXiv 2509.17791", keep, seed)


# ---- quantization-aware training -----------------------------------------------------------------


@_registered
def int8_qat(*, bits: int = 8, history: int = 0, keep: Iterable[str] = (), seed: int = 0) -> Recipe:
    """Integers forward: a scale a row of w (an output channel), one a tensor of x; symmetric.

    Backward from the forward's operands in float32, straight through, zero where x was beyond the
    range. history: 0, the range of x at hand; else the largest of so many past steps (Delayed),
    which can be exceeded. Read otherwise than in the papers: no zero point, no moving average. Of a
    convolution each place of the kernel has scales of its own.
    Source: arXiv 1712.05877; scales a channel, arXiv 1806.08342.
    """
    whole("int8_qat: bits", bits, 2, 16)
    format = f"int{bits}"
    x = Quantizer(f"{format}/tensor/float32/amax", gradient="clipped")
    if history:
        x = Quantizer(format, scaling=Delayed(history), gradient="clipped")
    w = Quantizer(f"{format}/row/float32/amax", gradient="clipped")
    layer = Layer(x=x, w=w, backward_from="forward")
    return _recipe(layer, "int8_qat", "arXiv 1712.05877", keep, seed)


@_registered
def adapt(*, word: int = 8, fraction: int = 4, keep: Iterable[str] = (), seed: int = 0) -> Recipe:
    """Fixed point <word, fraction> a layer, for AdaptiveFixedPoint to change while it trains.

    x and w with `word` bits in all, `fraction` of them behind the point, saturating and rounded
    stochastically; backward from the forward's operands in float32, straight through. Left out: the
    quantization of the finished gradients, their norm of one and the terms of the loss that make
    weights sparse.
    Source: AdaPT, arXiv 2107.13490.
    """
    layer = fixed_point_layer(word, fraction)
    return _recipe(layer, "adapt", "arXiv 2107.13490", keep, seed)


def _mid_rise(bits: int) -> str:
    """The grid of 2**bits levels (k + 1/2) / 2**(bits - 1) times 2 mean|row|: none is zero."""
    half = 2 ** (bits - 1)
    levels = [(k + 0.5) / half for k in range(-half, half)]
    # Rules of means have scale gain * mean / largest level.
    grid = "{" + ",".join(map(repr, levels)) + "}"
    return f"{grid}/row/float32/mean_abs/gain={2 * levels[-1]!r}"


@_registered
def ofq(
    *, bits: int = 4, activations: str | None = None, keep: Iterable[str] = (), seed: int = 0
) -> Recipe:
    """Weights on a grid without zero whose scale is 2 mean|row|, so that it follows no gradient.

    w: 2**bits levels (k + 1/2) / 2**(bits - 1) of s = 2 mean|row|. x: `activations`, or integers of
    `bits` bits with the scale a tensor that has the least error (rule shrink), zero gradient where
    cut off; in the paper that scale is learned (LSQ), which no Quantizer does. Backward from the
    forward's operands in float32, straight through. Left out: annealing that freezes settled
    weights, and the paper's other form of queries and keys. oscillations() and Oscillations count
    what the grid is made against.
    Source: Oscillation-free Quantization, arXiv 2302.02210, StatsQ.
    """
    whole("ofq: bits", bits, 2, 8)
    x = Quantizer(activations or f"int{bits}/tensor/float32/shrink", gradient="clipped")
    layer = Layer(x=x, w=Quantizer(_mid_rise(bits)), backward_from="forward")
    return _recipe(layer, "ofq", "arXiv 2302.02210", keep, seed)


suggest_arguments(__name__)
REGISTRY |= {name: globals()[name] for name in REGISTRY}
