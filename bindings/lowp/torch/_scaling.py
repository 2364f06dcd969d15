"""How scales are found and what is done to both operands of a product before, as data.

Part of recipe.py, which gives these names to users.
"""

from __future__ import annotations

from dataclasses import dataclass

from lowp.torch._given import choose, whole

__all__ = ["Delayed", "Hadamard", "KSort", "Smooth", "Transform"]


@dataclass(frozen=True)
class Delayed:
    """A scale of the whole tensor from the largest magnitudes of past steps.

    history: how many steps are looked back at. take: "max" of them, or the "most_recent" one.
    margin: the scale is 2**margin times what would just fit. The first step has scale 1.
    Source: NVIDIA Transformer Engine, DelayedScaling; lowp.DelayedScaling has the details.
    """

    history: int = 1024
    margin: int = 0
    take: str = "max"

    def __post_init__(self) -> None:
        """Refuse what no step could use."""
        whole("Delayed: history", self.history, 1, 1 << 20)
        whole("Delayed: margin", self.margin, -64, 64)
        choose("Delayed: take", self.take, ("max", "most_recent"))


@dataclass(frozen=True)
class Hadamard:
    """Both operands of a product by the same random Hadamard matrix along the summed axis.

    size: run length, a power of two from 2 to 256; a sum that is no multiple of it is filled up
    with zeros, which changes no product. signs: "none", "fixed" (drawn once a layer from the
    recipe's seed) or "fresh" (drawn at each call). The transform cancels in the exact product.
    """

    size: int = 16
    signs: str = "fixed"

    def __post_init__(self) -> None:
        """Refuse other sizes and words."""
        whole("Hadamard: size", self.size, 2, 256)
        if self.size & (self.size - 1):
            raise ValueError(f"Hadamard: size must be a power of two; got {self.size}")
        choose("Hadamard: signs", self.signs, ("none", "fixed", "fresh"))


@dataclass(frozen=True)
class Smooth:
    """The range of the first operand's channels moved into the second's: a / s and b * s.

    alpha: 0 (nothing moves) to 1; s from the largest magnitudes of the tensors at hand.
    Source: SmoothQuant, arXiv 2211.10438, equation 4.
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        """Refuse other exponents."""
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"Smooth: alpha must be between 0 and 1; got {self.alpha!r}")


@dataclass(frozen=True)
class KSort:
    """Both operands with their channels by descending norm of the first operand's.

    norm: 1, 2 or infinity. The sum is only made in another order.
    Source: Accurate Block Quantization in LLMs with Outliers, arXiv 2403.20137.
    """

    norm: float = 2

    def __post_init__(self) -> None:
        """Refuse other norms."""
        if self.norm not in (1, 2, float("inf")):
            raise ValueError(f"KSort: norm must be 1, 2 or infinity; got {self.norm!r}")


Transform = Hadamard | Smooth | KSort
