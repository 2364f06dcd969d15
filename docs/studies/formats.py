"""What the study `formats` found: published figures, the capacity ranking, what scales reach."""

from __future__ import annotations

import lowp
import pandas as pd
from block_errors import BLOCKS, PER_TENSOR
from verdicts import markdown

DATA = ("gaussian", "laplace", "student_t3")

#: Without and with a Hadamard transform of 32. Source: MR-GPTQ, arXiv 2509.23202, recomputed.
TURNED = {
    ("laplace", "mxfp4"): (0.0159, 0.0131),
    ("laplace", "nvfp4"): (0.0086, 0.0091),
    ("student_t3", "mxfp4"): (0.0203, 0.0129),
    ("student_t3", "nvfp4"): (0.0081, 0.0095),
}


def tables(rows: pd.DataFrame) -> dict[str, str]:
    """The texts of the page."""
    return {
        "splits": _splits(rows),
        "references": _references(rows),
        "blocks": _blocks(rows),
        "hadamard": _hadamard(rows),
        "capacity": _capacity(rows),
        "scales": _scales(rows),
    }


def _scaled(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows.scale == "optimal"]


def _blocked(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows.scale == "none") & (rows.magnitude == 1)]


def _splits(rows: pd.DataFrame) -> str:
    """The best split of every width for every distribution."""
    found = []
    splits = _scaled(rows)[lambda f: f.format.str.fullmatch(r"e\dm\d(fn)?")]
    splits = splits[splits.format != "e3m0"]
    for bits, of_width in splits.groupby("bits"):
        row: dict[str, object] = {"bits": int(bits)}
        for data in DATA:
            best = of_width[of_width.data == data].nsmallest(1, "relative_mse").iloc[0]
            row[data] = (
                f"E{best.exponent_bits:.0f}M{best.mantissa_bits:.0f}, {best.relative_mse:.3g}"
            )
        found.append(row)
    return markdown(pd.DataFrame(found))


def _references(rows: pd.DataFrame) -> str:
    gaussian = rows[rows.data == "gaussian"]
    plain = _blocked(gaussian)[lambda f: f.hadamard == 0]
    found = []
    blocks = {name: mse for name, (mse, _) in BLOCKS.items() if mse is not None}
    for names, of in ((PER_TENSOR, _scaled(gaussian)), (blocks, plain)):
        errors = of.set_index("format").relative_mse
        for name, reference in names.items():
            ours = float(errors[name])
            row = {"format": f"`{name}`", "relMSE": ours, "reference": reference}
            found.append(row | {"off": f"{100 * (ours / reference - 1):+.1f} %"})
    return markdown(pd.DataFrame(found))


def _blocks(rows: pd.DataFrame) -> str:
    """MXFP4's relMSE by rule and block size."""
    plain = _blocked(rows)[lambda f: (f.hadamard == 0) & f.format.str.startswith("mxfp4/")]
    parts = plain.format.str.split("/", expand=True)
    plain = plain.assign(block=parts[1].astype(int), rule=parts[2])
    found = plain.pivot_table(index=["data", "block"], columns="rule", values="relative_mse")
    return markdown(found[["floor", "ceil", "rceil", "even"]])


def _hadamard(rows: pd.DataFrame) -> str:
    errors = _blocked(rows).set_index(["data", "format", "hadamard"]).relative_mse
    found = []
    for (data, name), (without, turned) in TURNED.items():
        a, b = float(errors[data, name, 0]), float(errors[data, name, 32])
        found.append(
            {
                "data": data,
                "format": f"`{name}`",
                "without": a,
                "with": b,
                "change": f"{100 * (b / a - 1):+.0f} %",
                "published": f"{without:.4f} -> {turned:.4f}",
            }
        )
    return markdown(pd.DataFrame(found))


def _capacity(rows: pd.DataFrame) -> str:
    """Presets by their Gaussian error, with the capacity that follows from it."""
    plain = _blocked(rows)[lambda f: (f.hadamard == 0) & (f.data == "gaussian")]
    presets = plain[plain.format.isin(list(lowp.block_formats()))]
    order = presets.sort_values("relative_mse")
    found = order[["format", "bits", "relative_mse", "capacity"]].rename(
        columns={"relative_mse": "GMSE", "bits": "bits a value"}
    )
    return markdown(found.assign(format="`" + found.format + "`"))


def _scales(rows: pd.DataFrame) -> str:
    """The magnitudes over which each scale format keeps its error within 1 %."""
    gaussian = rows[(rows.data == "gaussian") & (rows.scale == "none") & (rows.hadamard == 0)]
    found = []
    for name, label in {
        "float4_e2m1fn/16/float8_e4m3fn/amax": "E4M3, one level",
        "float4_e2m1fn/16/ue5m3/amax": "UE5M3, one level",
        "nvfp4": "E4M3, two levels (NVFP4)",
        "mxfp4/16": "E8M0",
    }.items():
        of = gaussian[gaussian.format == name].sort_values("magnitude")
        best = of.relative_mse.min()
        good = of[of.relative_mse <= 1.01 * best].magnitude
        ends = "the whole range" if len(good) == len(of) else ""
        found.append(
            {
                "scale": label,
                "least relMSE": best,
                "within 1 % of it from": ends or f"{good.min():.3g}",
                "to": ends or f"{good.max():.3g}",
            }
        )
    return markdown(pd.DataFrame(found))
