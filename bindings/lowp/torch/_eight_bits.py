"""An optimizer's state in 8 bits: dynamic codebooks in blocks with a scale each."""

from __future__ import annotations

import numpy as np

from lowp.torch.recipe import Quantizer

__all__ = ["adam_8bit", "dynamic_codebook"]


def dynamic_codebook(kind: str) -> str:
    """The 256 values of dynamic quantization, as the name of an element of lowp's block formats.

    kind: "signed" (dynamic tree quantization: sign, e zeros, a one, a fraction of 6 - e bits) or
    "unsigned" (the sign's bit goes to the fraction). A value is 10**-e times the middle of one of
    the 2**bits equal parts of [0.1, 1], rounded to float32; the codes left over are 0 and 1.
    Source: Dettmers et al., 8-bit optimizers via block-wise quantization, arXiv 2110.02861.
    """
    if kind not in ("signed", "unsigned"):
        raise ValueError(f"kind must be signed or unsigned; got {kind!r}")
    bits = 6 if kind == "signed" else 7
    parts = [(np.arange(2 ** (bits - e)) + 0.5) / 2 ** (bits - e) for e in range(7)]
    positive = np.concatenate([10.0**-e * (0.1 + 0.9 * part) for e, part in enumerate(parts)])
    negative = -positive if kind == "signed" else positive[:0]
    values = np.sort(np.float32(np.concatenate([negative, positive, [0, 1]])))
    return "{" + ",".join(repr(float(v)) for v in values) + "}"


def adam_8bit(block: int = 256) -> dict[str, Quantizer]:
    """optimizer_state of Adam and AdamW in 8 bits: blocks with a float32 scale, their amax.

    exp_avg has the signed codebook, exp_avg_sq the unsigned one; both round to nearest.
    Source: as dynamic_codebook; there blocks are of 2048 values.
    """
    kinds = {"exp_avg": "signed", "exp_avg_sq": "unsigned"}
    return {
        name: Quantizer(f"{dynamic_codebook(kind)}/{block}/float32/amax")
        for name, kind in kinds.items()
    }
