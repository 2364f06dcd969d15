"""lowp.plot: every picture is made, says what it shows, and is written to a file."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import lowp
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from lowp import plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATA = np.random.default_rng(8).standard_normal(5000).astype(np.float32)


def texts(figure: Figure) -> str:
    """All that is written in a figure; legends, too."""
    from matplotlib.text import Text

    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(Text) if text.get_visible())


def assert_is_png(figure: Figure, path: Path) -> None:
    plot.save(figure, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 5000


def test_values_has_a_row_a_format_with_its_range_and_labels(tmp_path: Path) -> None:
    figure = plot.values("float4_e2m1fn", lowp.format("int4"), "ue5m3", "float8_e4m3fn")
    written = texts(figure)
    for text in ("float4_e2m1fn: -6 to 6", "int4: -8 to 7", "subnormal", "value / largest"):
        assert text in written
    assert len(figure.axes) == 8
    assert_is_png(figure, tmp_path / "values.png")


def test_every_label_of_values_has_room() -> None:
    for name in ("float4_e2m1fn", "int4", "e3m0", "e2m2", "uint4", "int2", "e0m3"):
        figure = plot.values(name)
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
        assert boxes
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_values_refuses_what_has_too_many() -> None:
    with pytest.raises(ValueError, match=r"at most 10 bits; got .*bfloat16"):
        plot.values("bfloat16")
    with pytest.raises(ValueError, match="at least one format"):
        plot.values()


def test_error_curve_is_half_an_ulp_where_the_format_is_normal_and_one_where_it_ends() -> None:
    figure = plot.error_curve("float8_e4m3fn")
    (line, _) = figure.axes[0].lines
    places, errors = (np.asarray(data, np.float64) for data in line.get_data())
    normal = (places >= -6) & (places <= 8)
    assert errors[normal].max() == -4
    assert errors[normal].min() == pytest.approx(-5, abs=0.1)
    assert np.all(errors[places < -10] == 0)
    assert errors[-1] == pytest.approx(math.log2(1 - 448 / 2.0 ** places[-1]))


def test_error_curve_never_lies_below_an_error() -> None:
    from lowp._plot_formats import _largest_errors

    x = np.exp2(np.random.default_rng(9).uniform(-20, 20, 20_000))
    for name in ("float4_e2m1fn", "e4m3fn_nosub", "int8", "e3m0", "float8_e8m0fnu", "bfloat16"):
        f = lowp.format(name)
        errors = np.abs(lowp.quantize(x, f, saturation="finite") - x) / x
        assert np.all(errors <= _largest_errors(f, x))


def test_error_curve_names_its_lines_and_takes_seven_formats(tmp_path: Path) -> None:
    names = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int8", "e3m0", "float64")
    figure = plot.error_curve(*names)
    written = texts(figure)
    assert all(lowp.format(name).name in written for name in names)
    assert "magnitude |x|" in written
    assert_is_png(figure, tmp_path / "curve.png")
    with pytest.raises(ValueError, match="at most 7 formats; got 8"):
        plot.error_curve(*names, "int4")
    with pytest.raises(ValueError, match="at least one format"):
        plot.error_curve()


@pytest.mark.parametrize("name", ["float4_e2m1fn", "float8_e4m3fn", "int4", "bfloat16", "ue5m3"])
def test_code_histogram_shows_all_values_and_the_entropy(name: str, tmp_path: Path) -> None:
    figure = plot.code_histogram(np.abs(DATA), name)
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert sum(heights) == pytest.approx(100)
    entropy = lowp.error(np.abs(DATA), name).code_entropy
    assert f"entropy {entropy:.2f} of {lowp.format(name).bits} bits" in texts(figure)
    assert "value of the code" in texts(figure)
    if name != "bfloat16":
        assert_is_png(figure, tmp_path / "codes.png")


def test_code_histogram_of_nothing_is_an_empty_picture() -> None:
    assert "entropy 0.00 of 4 bits" in texts(plot.code_histogram(np.zeros(0), "int4"))


class Blocks:
    """Stands for a BlockTensor."""

    def scale_values(self) -> np.ndarray:
        return np.exp2(np.arange(12.0)).reshape(3, 4)


def test_scale_map_shows_logarithms_and_counts_what_has_none(tmp_path: Path) -> None:
    figure = plot.scale_map(Blocks())
    (image,) = figure.axes[0].images
    np.testing.assert_array_equal(image.get_array(), np.arange(12).reshape(3, 4))
    assert "3 x 4 blocks" in texts(figure)
    assert_is_png(figure, tmp_path / "scales.png")
    odd = np.array([[[1.0, 0.0], [math.nan, 2.0]], [[math.inf, -1.0], [4.0, 8.0]]])
    assert "4 x 2 blocks, 4 not positive and finite (grey)" in texts(plot.scale_map(odd))
    assert "1 x 5 blocks" in texts(plot.scale_map(np.ones(5)))
    assert "1 x 1 blocks" in texts(plot.scale_map(2.0))
    for bad in (np.ones((0, 3)), np.ones((1, 5000))):
        with pytest.raises(ValueError, match=r"1 to 4096 scales a side; got \(., "):
            plot.scale_map(bad)


def test_compare_writes_the_numbers_after_the_bars(tmp_path: Path) -> None:
    results = {name: lowp.error(DATA, name) for name in ("float8_e4m3fn", "int4", "float32")}
    results["given"] = lowp.error(DATA, DATA * np.float32(1.5))
    results["overflow"] = replace(results["int4"], sqnr_db=-math.inf)
    figure = plot.compare(results)
    written = texts(figure)
    for text in (*results, "exact", "unknown", "overflow", "SQNR, dB", "become zero, %"):
        assert text in written
    assert f"{results['int4'].sqnr_db:.1f}" in written
    assert_is_png(figure, tmp_path / "compare.png")


def test_compare_takes_any_measure_and_refuses_others() -> None:
    results = {"int4": lowp.error(DATA, "int4")}
    every = [n for n in lowp.Error.__dataclass_fields__ if not n.endswith("count")]
    assert len(plot.compare(results, every).axes) == len(every)
    with pytest.raises(ValueError, match="no measure 'speed'"):
        plot.compare(results, ["speed"])
    for nothing in ({}, results):
        with pytest.raises(ValueError, match="at least one"):
            plot.compare(nothing, [])


@pytest.mark.parametrize("name", ["float8_e4m3fn", "int8", "e3m0fn", "float8_e8m0fnu"])
@pytest.mark.parametrize("unit", ["one", "max"])
def test_colours_of_the_distribution_count_each_zone_to_the_value(name: str, unit: str) -> None:
    from matplotlib.colors import to_hex

    f = lowp.format(name)
    x = f.max * np.array([1, 1, 1, 0.9, 1.05, 1.1, 1.3, 0.5, 0.5], np.float64)
    x = x if unit == "one" else np.minimum(x, f.max)
    histogram = plot.Histogram()
    histogram.add(x)
    panel = plot.Panel(f, histogram, lowp.error(x, f), 1.0 if unit == "one" else f.max)
    figure = plot.distribution([panel], "colours")
    heights: dict[str, float] = {}
    for bar in figure.axes[0].patches:
        colour = to_hex(bar.get_facecolor())
        heights[colour] = heights.get(colour, 0) + bar.get_height()
    beyond = to_hex(plot.style.BEYOND)
    assert heights.pop(beyond, 0) == pytest.approx(100 * np.mean(x > f.max))
    assert sum(heights.values()) == pytest.approx(100 * np.mean(x <= f.max))
