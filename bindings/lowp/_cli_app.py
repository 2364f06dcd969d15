"""The commands of `lowp` and their options; what they show is in the other `_cli_*` modules."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

import lowp

from . import _cli_convert, _cli_error, _cli_formats, _cli_show, _cli_study, _convert
from ._cli_common import Json, guarded, show
from ._targets import resolve
from .readers import find_model, open_tensors

_PICTURES = (".png", ".svg", ".pdf")

app = typer.Typer(
    name="lowp",
    help="Number formats of few bits: look at them, convert to them, measure what they lose.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(_cli_study.app)

FormatName = Annotated[
    str, typer.Argument(metavar="FORMAT", help="A name as float8_e4m3fn, bfloat16 or e5m10.")
]
Rounding = Annotated[
    str | None,
    typer.Option(
        help="How inexact values are rounded: "
        + ", ".join(lowp.ROUNDINGS)
        + "; without it nearest_ties_to_even, or as the block format says.",
        autocompletion=lambda: list(lowp.ROUNDINGS),
    ),
]
Saturation = Annotated[
    str,
    typer.Option(
        help="What values beyond the largest become: " + ", ".join(lowp.SATURATIONS) + ".",
        autocompletion=lambda: list(lowp.SATURATIONS),
    ),
]
RandomBits = Annotated[int, typer.Option(help="Random bits of the stochastic roundings, 1 to 32.")]
Seed = Annotated[int, typer.Option(help="Seed of the stochastic roundings.")]


def one_of(what: str, word: str, words: Sequence[str]) -> str:
    """`word` if it is one of `words`; ValueError with all of them otherwise."""
    if word in words:
        return word
    raise ValueError(f"{what} must be one of {', '.join(words)}; got {word!r}")


def _rounding(word: str | None) -> str | None:
    return None if word is None else one_of("rounding", word, lowp.ROUNDINGS)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"lowp {lowp.__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command("formats")
@guarded
def formats_command(as_json: Json = False) -> None:
    """List the named formats."""
    show(_cli_formats.formats_data, _cli_formats.formats_table, as_json)


@app.command("info")
@guarded
def info_command(name: FormatName, as_json: Json = False) -> None:
    """Show a format's limits, its bits and its special codes, or the fields of a block format."""
    target = resolve(name)
    if isinstance(target, lowp.BlockFormat):
        block = target
        show(
            lambda: _cli_formats.describe_blocks(block),
            lambda: _cli_formats.block_text(block),
            as_json,
        )
        return
    show(lambda: _cli_formats.info_data(target), lambda: _cli_formats.info_text(target), as_json)


@app.command("values")
@guarded
def values_command(
    name: FormatName,
    limit: Annotated[int | None, typer.Option(min=1, help="List the first codes only.")] = None,
    as_json: Json = False,
) -> None:
    """List a format's codes and their values (up to 16 bits, or as many as --limit says); of a
    block format those of its elements.
    """
    found = resolve(name)
    target = found.element if isinstance(found, lowp.BlockFormat) else found
    if not isinstance(target, lowp.Format):
        values = target
        show(
            lambda: _cli_formats.codebook_data(values, limit),
            lambda: _cli_formats.codebook_text(found.name, values, limit),
            as_json,
        )
        return
    show(
        lambda: _cli_formats.values_data(target, limit),
        lambda: _cli_formats.values_text(target, limit),
        as_json,
    )


def _check_options(context: typer.Context, values: Sequence[str]) -> None:
    """Refuse what is meant for an option; ValueError with the nearest one."""
    known = [name for parameter in context.command.params for name in parameter.opts]
    for text in values:
        name = text.partition("=")[0]
        near = get_close_matches(name, known, 1) if name.startswith("-") else []
        if near or name.startswith("--"):
            hint = f"did you mean {near[0]}?" if near else "--help lists them"
            raise ValueError(f"there is no option {name}; {hint}")


# Unknown options pass as values, so that -0.3 is a number; parse_number refuses what is none.
@app.command("convert", context_settings={"ignore_unknown_options": True})
@guarded
def convert_command(
    context: typer.Context,
    values: Annotated[
        list[str],
        typer.Argument(metavar="VALUE...", help="Numbers as 0.3, -1e-5, 0x1.8p-3, inf, nan."),
    ],
    to: Annotated[list[str], typer.Option("--to", metavar="FORMAT", help="Target; repeatable.")],
    rounding: Rounding = None,
    saturation: Saturation = "none",
    random_bits: RandomBits = 32,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Convert float64 numbers to formats: code, value and error. Block formats take the numbers as
    one row, and so they share scales.
    """
    _check_options(context, values)
    numbers = [_cli_formats.parse_number(text) for text in values]
    one_of("saturation", saturation, lowp.SATURATIONS)
    how: dict[str, Any] = {"rounding": _rounding(rounding), "seed": seed}
    rows: list[dict[str, Any]] = []
    for target in [resolve(name) for name in to]:
        if isinstance(target, lowp.BlockFormat):
            # Elements of blocks saturate, whatever scalar formats do without the option.
            limit = None if saturation == "none" else saturation
            bits = None if random_bits == 32 else random_bits
            rows += _cli_formats.convert_block_data(
                numbers, target, saturation=limit, random_bits=bits, **how
            )
        else:
            rows += _cli_formats.convert_data(
                numbers, target, saturation=saturation, random_bits=random_bits, **how
            )
    show(lambda: rows, lambda: _cli_formats.convert_table(rows), as_json)


@app.command("error")
@guarded
def error_command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A .safetensors, .npy, .npz, .pt, .pth or .bin file, or package:NAME for the "
            "model file in an installed Python package.",
        ),
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"Repeatable; without it {', '.join(_cli_error.DEFAULT_FORMATS)}.",
        ),
    ] = None,
    rounding: Rounding = None,
    saturation: Saturation = "finite",
    random_bits: RandomBits = 32,
    seed: Seed = 0,
    scale: Annotated[
        str, typer.Option(help="none, or tensor: divide each tensor by amax / max of the format.")
    ] = "none",
    include: Annotated[
        list[str] | None, typer.Option(help="Only tensors whose name matches, as '*.weight'.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="No tensors whose name matches, as '*.bias'.")
    ] = None,
    min_size: Annotated[int, typer.Option(min=0, help="Only tensors of so many elements.")] = 1,
    worst: Annotated[int, typer.Option(min=1, help="Tensors to show a format.")] = 10,
    all_tensors: Annotated[bool, typer.Option("--all", help="Show every tensor.")] = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write every tensor to a CSV file.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json-file", help="Write the whole report to a JSON file.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the values against the formats' grids.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure what formats do to a model's tensors: SQNR, errors, flushed and clipped shares."""
    targets = dict.fromkeys(resolve(name) for name in formats or _cli_error.DEFAULT_FORMATS)
    plan = _cli_error.Plan(
        formats=tuple(targets),
        rounding=_rounding(rounding),
        saturation=one_of("saturation", saturation, lowp.SATURATIONS),
        random_bits=random_bits,
        seed=seed,
        scale=one_of("scale", scale, _cli_error.SCALES),
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        min_size=min_size,
    )
    _check_outputs(csv_file, json_file, plot)
    axis = _cli_error.axis_label(plan) if plot is not None else ""
    with open_tensors(find_model(model)) as file:
        names = _cli_error.chosen(file, plan)
        total = sum(file.size(name) for name in names) * len(plan.formats)
        with _progress() as progress:
            advance = progress(total)
            report = _cli_error.run(file, plan, advance, draw=plot is not None)
    _write(report, model, csv_file, json_file)
    if plot is not None:
        from . import plot as drawing

        figure = drawing.distribution(_cli_error.panels(report), f"Values of {model}", axis)
        drawing.save(figure, plot)
    shown, width = None if all_tensors else worst, _cli_show.output().width
    show(
        lambda: _cli_error.report_data(report, model),
        lambda: _cli_error.report_text(report, shown, width),
        as_json,
    )
    if report.interrupted:
        _cli_show.messages().print("lowp: interrupted; the tensors above are complete")
        raise typer.Exit(130)


@app.command("convert-model")
@guarded
def convert_model_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="A .safetensors, .npy, .npz, .pt, .pth or .bin file, or package:NAME for the "
            "model file in an installed Python package.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .safetensors file to write.")],
    format_name: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="As mxfp4 or float8_e4m3fn.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only tensors whose name matches, as '*.weight'; repeatable."),
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="No tensors whose name matches; repeatable.")
    ] = None,
    axis: Annotated[int, typer.Option(help="Axis along which blocks lie.")] = -1,
    rounding: Rounding = None,
    seed: Seed = 0,
    min_size: Annotated[int, typer.Option(min=0, help="Only tensors of so many elements.")] = 1,
    compat: Annotated[
        str | None,
        typer.Option(help="Behave at the edges as another library: " + ", ".join(lowp.COMPATS)),
    ] = None,
    dequantize: Annotated[
        bool, typer.Option("--dequantize", help="The way back: numbers from lowp's formats.")
    ] = False,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Type of the numbers, with --dequantize: " + ", ".join(_convert.DTYPES) + "; "
            "without it the one that each tensor had."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT where it exists.")] = False,
    worst: Annotated[int, typer.Option(min=1, help="Tensors to show, by lowest SQNR.")] = 5,
    as_json: Json = False,
) -> None:
    """Write a model's tensors in another format as safetensors, and back with --dequantize."""
    chosen: dict[str, Any] = {"--format": format_name, "--rounding": rounding, "--compat": compat}
    chosen |= {"--only": only, "--keep": keep, "--axis": axis != -1, "--seed": seed != 0}
    _check_direction(dequantize, chosen | {"--min-size": min_size != 1}, dtype)
    plan = None
    if format_name is not None:
        plan = _convert.Plan(
            format=_block_options(format_name, compat, axis),
            axis=axis,
            rounding=_rounding(rounding),
            seed=seed,
            only=tuple(only or ()),
            keep=tuple(keep or ()),
            min_size=min_size,
        )
    path = find_model(source)
    _cli_convert.check_files(path, out, force)
    try:
        with _progress() as progress:
            if plan is None:
                report = _convert.restore(path, out, dtype, progress)
            else:
                report = _convert.convert(path, out, plan, progress)
    except KeyboardInterrupt:
        _cli_show.messages().print("lowp: interrupted; nothing was written")
        raise
    name = None if plan is None else plan.target().name
    show(
        lambda: _cli_convert.report_data(report, source, out, name),
        lambda: _cli_convert.report_text(report, source, out, name, worst),
        as_json,
    )


def _check_direction(dequantize: bool, chosen: dict[str, Any], dtype: str | None) -> None:
    """Refuse options of the other direction, and neither."""
    if not dequantize and not chosen["--format"]:
        raise ValueError("say --format FORMAT to convert, or --dequantize for the way back")
    given = [option for option, value in chosen.items() if value]
    if dequantize and given:
        raise ValueError(f"--dequantize takes no {given[0]}: the file says what its tensors are")
    if dtype is not None and not dequantize:
        raise ValueError("--dtype needs --dequantize")
    if dtype is not None:
        one_of("dtype", dtype, _convert.DTYPES)


def _block_options(name: str, compat: str | None, axis: int) -> lowp.Format | lowp.BlockFormat:
    """The format, as another library has it. ValueError: options that a scalar one lacks."""
    target = resolve(name)
    if isinstance(target, lowp.BlockFormat):
        known = None if compat is None else one_of("compat", compat, lowp.COMPATS)
        return lowp.block_format(target, compat=known)
    if compat is not None or axis != -1:
        option = "--axis" if compat is None else "--compat"
        raise ValueError(f"{option} is for block formats; {target.name} is none")
    return target


def _check_outputs(csv_file: Path | None, json_file: Path | None, plot: Path | None) -> None:
    """Refuse, before anything is measured, files that could not be written after it."""
    for path in (csv_file, json_file, plot):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"{path}: there is no folder {path.parent} to write to")
    if plot is None:
        return
    if plot.suffix.lower() not in _PICTURES:
        raise ValueError(f"{plot}: a picture must be one of {', '.join(_PICTURES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("--plot needs matplotlib, which is not installed; pip install lowp[cli]")


@contextmanager
def _progress() -> Iterator[Callable[[int], Callable[[str, int], None]]]:
    """A progress bar on standard error, where that is a terminal: takes the number of elements,
    and gives what takes names and elements done.
    """
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = _cli_show.messages()
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:

        def begin(total: int) -> Callable[[str, int], None]:
            task = bar.add_task("", total=total)

            def advance(name: str, count: int) -> None:
                bar.update(task, advance=count, description=name)

            return advance

        yield begin


def _write(
    report: _cli_error.Report, model: str, csv_file: Path | None, json_file: Path | None
) -> None:
    if csv_file is not None:
        _cli_error.write_csv(report, csv_file)
    if json_file is not None:
        text = _cli_show.json_text(_cli_error.report_data(report, model))
        json_file.write_text(text + "\n", encoding="utf-8")
