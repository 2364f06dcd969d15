"""What the studies `ptq_*` found: Hadamard transforms, blocks, layers, weights, allocation."""

from __future__ import annotations

import numpy as np
import pandas as pd
from ptq_tasks import KINDS
from verdicts import markdown, rows

#: The families of the table of block sizes.
FAMILIES = {
    "FP4, scale rounded to a power of two": "mxfp4/{}/mse",
    "FP4, UE5M3 scale": "fp4_ue5m3_{}",
    "FP4, float32 scale": "float4_e2m1fn/{}/float32/amax",
    "INT4, bfloat16 scale": "int4/{}/bfloat16/amax",
    "NF4, float32 scale": "nf4/{}",
}
#: Other names of what a preset means.
SHORT = {"mxfp4/32/floor": "mxfp4", "mxfp4/16/floor": "mxfp4/16"}


def tables(all_rows: pd.DataFrame) -> dict[str, str]:
    """The texts of the page."""
    whole = all_rows[(all_rows.layer == "all") & (all_rows.keep_outliers == 0)]
    plain = whole[(whole.hadamard == 0) & (whole.activations == "none")]
    return {
        "run": _run(all_rows),
        "hadamard": _hadamard(whole),
        "sizes": _sizes(whole),
        "why": _why(rows("ptq_errors")),
        "products": _products(rows("ptq_errors")),
        "blocks": _blocks(plain),
        "rules": _rules(plain),
        "front": _front(plain),
        "layers": _layers(all_rows, plain),
        "spikes": _spikes(all_rows, rows("ptq_spikes")),
        "outliers": _outliers(all_rows, plain),
        "allocation": _allocation(rows("ptq_allocation")),
        "presets": _presets(rows("ptq_allocation")),
        "spent": _spent(rows("ptq_allocation")),
    }


def _run(all_rows: pd.DataFrame) -> str:
    """How long the studies took, one process each."""
    every = {"ptq_sentences": all_rows} | {
        name: rows(name) for name in ("ptq_errors", "ptq_spikes", "ptq_allocation")
    }
    found = [
        {
            "study": f"[{name}.toml]({name}.toml)",
            "rows": f"[{len(of)}]({name}.csv)",
            "minutes": f"{of.seconds.sum() / 60:.1f}",
        }
        for name, of in every.items()
    ]
    return markdown(pd.DataFrame(found))


# ---- Hadamard ------------------------------------------------------------------------------------


def _with_signs(whole: pd.DataFrame) -> pd.DataFrame:
    """Configurations by what is quantized, and the format."""
    in_both = whole.weights == whole.activations
    operand = whole.activations.where(whole.weights == "none", whole.weights)
    what = pd.Series("weights", whole.index).where(whole.weights != "none", "activations")
    found = whole.assign(what=what.where(~in_both, "both"), format=operand.replace(SHORT))
    return found[found.format != "none"]


def _hadamard(whole: pd.DataFrame) -> str:
    """Distances without and with a transform of 32, and their range over signs."""
    named = _with_signs(whole)
    turned = named[named.hadamard == 32]
    found = []
    for what in ("activations", "weights", "both"):
        before = named[(named.what == what) & (named.hadamard == 0)].set_index("format").distance
        for name, of in turned[turned.what == what].groupby("format", sort=False):
            drawn = of[of.hadamard_signs == "fixed"].distance
            without = of[of.hadamard_signs == "none"].distance
            a = float(before[name])
            found.append(
                {
                    "of": what,
                    "format": f"`{name}`",
                    "without": a,
                    "with": drawn.mean(),
                    "range over signs": f"{drawn.min():.4g} to {drawn.max():.4g}",
                    "change": f"{100 * (drawn.mean() / a - 1):+.0f} %",
                    "no signs": without.iloc[0] if len(without) else float("nan"),
                    "": _verdict(a, drawn),
                }
            )
    return markdown(pd.DataFrame(found))


def _verdict(before: float, drawn: pd.Series) -> str:
    if drawn.max() < before:
        return "helps"
    return "hurts" if drawn.min() > before else "within the signs' scatter"


def _sizes(whole: pd.DataFrame) -> str:
    """Activations by the transform's length."""
    named = _with_signs(whole)[lambda f: (f.what == "activations") & (f.hadamard_signs == "fixed")]
    means = named.pivot_table(index="format", columns="hadamard", values="distance", sort=False)
    means = means.dropna()
    means.index = pd.Index([f"`{name}`" for name in means.index], name="format")
    return markdown(means)


def _changes(errors: pd.DataFrame, column: str, name: str) -> pd.Series:
    """How many times a measure is as large with the transform, by kind."""
    of = errors[errors.format == name].groupby(["kind", "hadamard"])[column].mean().unstack()
    return of[32] / of[0]


def _why(errors: pd.DataFrame) -> str:
    """What the transform does to weights and inputs as such."""
    of = errors[errors.format == "mxfp4"].groupby(["kind", "hadamard"]).mean(numeric_only=True)
    found = []
    for kind in KINDS:
        row: dict[str, object] = {"kind": kind}
        for label, column in (("weights", "kurtosis"), ("inputs", "input_kurtosis")):
            a, b = (float(of[column][kind, h]) for h in (0, 32))
            row[f"kurtosis of {label}"] = f"{a:.3g} -> {b:.3g}"
        for label, column in (("weights", "weight_error"), ("inputs", "input_error")):
            for name in ("mxfp4", "nvfp4"):
                change = 100 * (_changes(errors, column, name)[kind] - 1)
                row[f"{name.upper()}, error of {label}"] = f"{change:+.0f} %"
        found.append(row)
    return markdown(pd.DataFrame(found))


def _products(errors: pd.DataFrame) -> str:
    """What it does to the products."""
    spreading = errors.groupby("kind")[["spreading", "mean_spreading"]].mean()
    found = []
    for kind in KINDS:
        row: dict[str, object] = {"kind": kind, "spreading": f"{spreading.spreading[kind]:.2f}"}
        row["of means"] = f"{spreading.mean_spreading[kind]:.2f}"
        for name, label in {
            "mxfp8_e5m2": "E5M2",
            "mxfp4": "MXFP4",
            "nvfp4": "NVFP4",
            "int4/32/bfloat16/amax": "INT4",
        }.items():
            row[f"{label} weights"] = f"{_changes(errors, 'weight_product_error', name)[kind]:.2f}"
        for name, label in {"mxfp4": "MXFP4", "nvfp4": "NVFP4"}.items():
            row[f"{label} inputs"] = f"{_changes(errors, 'input_product_error', name)[kind]:.2f}"
        found.append(row)
    return markdown(pd.DataFrame(found))


# ---- formats of weights --------------------------------------------------------------------------


def _blocks(plain: pd.DataFrame) -> str:
    """Distance by data type and block size, bits beside."""
    by_name = plain.set_index("weights")
    found = []
    for label, family in FAMILIES.items():
        row = {"weights": label}
        for block in (16, 32, 64, 128):
            name = family.format(block)
            one = by_name.loc[name] if name in by_name.index else None
            row[str(block)] = "" if one is None else f"{one.distance:.4f} ({one.bits:.4g} bits)"
        found.append(row)
    return markdown(pd.DataFrame(found))


def _rules(plain: pd.DataFrame) -> str:
    """MXFP4 by rule and block size."""
    parts = plain.weights.str.extract(r"mxfp4/(?P<block>\d+)/(?P<rule>\w+)")
    named = plain.join(parts).dropna(subset=["block"])
    named["block"] = named.block.astype(int)
    found = named.pivot_table(index="block", columns="rule", values="distance")
    return markdown(found[["floor", "rceil", "even", "mse"]])


def _front(plain: pd.DataFrame) -> str:
    """The formats that none beats in bits and distance."""
    quantized = plain[plain.weights != "none"].sort_values(["bits", "distance"])
    best = quantized[quantized.distance < quantized.distance.cummin().shift(fill_value=9.0)]
    found = best[["weights", "bits", "distance", "neighbours"]]
    return markdown(found.assign(weights="`" + found.weights + "`"))


# ---- layers and weights --------------------------------------------------------------------------


def _kind(layer: str) -> str:
    return next(kind for kind, end in KINDS.items() if layer.endswith(end))


def _depth(layer: str) -> int:
    return int(layer.split(".")[2])


def _layers(all_rows: pd.DataFrame, plain: pd.DataFrame) -> str:
    """Thousandths of distance for one layer in MXFP4, and the sum over all beside them at once."""
    single = all_rows[(all_rows.layer != "all") & (all_rows.zero_weight == 0)]
    single = single.assign(kind=single.layer.map(_kind), depth=single.layer.map(_depth))
    grid = single[single.weights == "mxfp4"].pivot_table(
        index="depth", columns="kind", values="distance"
    )
    text = markdown((1000 * grid[list(KINDS)]).rename_axis("layer"))
    at_once = plain.assign(weights=plain.weights.replace(SHORT)).set_index("weights").distance
    for name in ("mxfp4", "nvfp4"):
        total = single[single.weights == name].distance.sum()
        text += f"\n{name.upper()}: the sum over layers is {total:.4f}, all at once "
        text += f"{float(at_once[name]):.4f}.\n"
    return text


def _spikes(all_rows: pd.DataFrame, spikes: pd.DataFrame) -> str:
    """The layers where the spike costs most, beside the largest weights and the whole layer."""
    zeroed = all_rows[all_rows.zero_weight > 0]
    by_rank = zeroed.pivot_table(index="layer", columns="zero_weight", values="distance")
    one_layer = all_rows[(all_rows.layer != "all") & (all_rows.weights == "mxfp4")]
    whole_layer = one_layer.set_index("layer").distance
    found = [
        {
            "layer": f"`{spike.layer.removeprefix('encoder.')}`",
            "spike": spike.value,
            "its rank by magnitude": int(spike["rank"]),
            "distance, spike zero": spike.distance,
            "largest weight zero": by_rank[1][spike.layer],
            "second largest zero": by_rank[2][spike.layer],
            "all weights in MXFP4": whole_layer[spike.layer],
        }
        for _, spike in spikes.nlargest(6, "distance").iterrows()
    ]
    return markdown(pd.DataFrame(found)) + (
        f"\nMedians over the 36 layers: spike {spikes.distance.median():.2g}, largest weight "
        f"{by_rank[1].median():.2g}.\n"
    )


def _outliers(all_rows: pd.DataFrame, plain: pd.DataFrame) -> str:
    """Distance with so many weights a layer held out."""
    held = pd.concat([all_rows[all_rows.keep_outliers > 0], plain])
    held["weights"] = held.weights.replace(SHORT)
    names = list(all_rows[all_rows.keep_outliers > 0].weights.unique())
    found = held[held.weights.isin(names)].pivot_table(
        index="weights", columns="keep_outliers", values="distance"
    )
    found.index = pd.Index([f"`{name}`" for name in found.index], name="weights")
    return markdown(found)


# ---- allocation ----------------------------------------------------------------------------------


def _allocation(given: pd.DataFrame) -> str:
    """Distance by budget and method, from E2M1 to E2M5."""
    of = given[given.choices == "minifloats"]
    found = of.pivot_table(index="bits", columns="method", values="distance")
    uniform = of[of.method == "uniform"].drop_duplicates("used")
    # between two formats for all: on the line through the logarithms
    line = np.interp(found.index, uniform.used, np.log(uniform.distance))
    gain = (100 * (found.loss / np.exp(line) - 1)).round() + 0.0
    found = found[["uniform", "weight_error", "output_error", "hessian", "loss"]]
    predicted = of[of.method == "loss"].set_index("bits").score
    found = found.assign(**{"loss, predicted": predicted})
    return markdown(found.assign(**{"loss against uniform": gain.map("{:+.0f} %".format)}))


def _presets(given: pd.DataFrame) -> str:
    """The same from NVFP4, MXFP6 and INT8."""
    of = given[given.choices == "presets"].set_index(["bits", "method"])
    found = [
        {
            "budget": bits,
            "uniform": of.distance[bits, "uniform"],
            "its bits": of.used[bits, "uniform"],
            "loss": of.distance[bits, "loss"],
            "bits": of.used[bits, "loss"],
        }
        for bits in sorted({bits for bits, _ in of.index})
    ]
    return markdown(pd.DataFrame(found))


def _spent(given: pd.DataFrame) -> str:
    """Where the bits go at 5.25 bits a weight."""
    of = given[(given.choices == "minifloats") & (given.bits == 5.25)].set_index("method")
    found = [
        {"method": method, **{k: of[f"bits_{k.replace(' ', '_')}"][method] for k in KINDS}}
        for method in ("weight_error", "output_error", "hessian", "loss")
    ]
    return markdown(pd.DataFrame(found))
