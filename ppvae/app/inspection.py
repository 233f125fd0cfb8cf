"""Descriptions of data as they are read, and of what a model would do with them."""

from __future__ import annotations

from pathlib import Path

import torch

from ppvae import plots
from ppvae.app.places import refuse_taken
from ppvae.app.users import entry_named
from ppvae.data import Splits, describe, load
from ppvae.errors import ArgumentError, DataError, PPVAEError, RunError
from ppvae.expected import real_path
from ppvae.programs import columns_of
from ppvae.runs.files import written
from ppvae.typing import Keywords
from ppvae.zoo.entry import Entry
from ppvae.zoo.observed import resolved
from ppvae.zoo.options import auto_options, parse_options

__all__ = ["inspect_data"]

SHOWN = 48


def inspect_data(
    path: str | Path,
    *,
    model: str | None = None,
    out: str | Path | None = None,
    reading: Keywords | None = None,
) -> str:
    """Describe in words how a file or a folder of data is read.

    Arguments:
        path: A file or a folder.
        model: Name of a model; the description then says what it would do with the data.
        out: Path of a ``.png`` file for a contact sheet of the pictures.
        reading: Options of the reader.

    Raises:
        ArgumentError: If there is no such model; if ``out`` is no .png file, or is of the data.
        DataError: If the data cannot be read, or are not pictures where a sheet is requested.
        RunError: If the sheet cannot be written, or is a file of a run.
    """
    options = dict(reading or {})
    if out is not None:
        if Path(out).suffix.lower() != ".png":
            raise ArgumentError(
                f"out: expected a name that ends in .png; got {Path(out).name!r}. Use --out "
                "sheet.png."
            )
        refuse_taken(real_path(out), reads=(path, options.get("labels")))
    if model is not None:
        model_entry = entry_named(model)
        options = model_entry.reading(path, parse_options(model_entry.options, {}), options)
    splits = load(path, **options)
    lines = [str(describe(splits))]
    if model is not None:
        lines.append(_with_model(splits, model_entry))
    if out is not None:
        lines.append(_sheet(splits, Path(out)))
    return "\n".join(lines)


def _with_model(splits: Splits, model_entry: Entry) -> str:
    """A paragraph on the fit of a model: the error that it would raise, or the model's size."""
    try:
        options = parse_options(model_entry.options, auto_options(model_entry.options))
        arranged = model_entry.arrange(splits, options)
        model_entry.check(arranged)
        spec, options, sentence = resolved(arranged, options)
        with torch.random.fork_rng(devices=[]):
            pair = model_entry.build(spec, options)[:2]
    except PPVAEError as error:
        return f"{model_entry.name}: would be refused: {error}"
    count = sum(p.numel() for module in pair for p in module.parameters())
    used = [column for column in arranged.train if column in columns_of(*pair)]
    lines = [f"{model_entry.name}: {count:,} parameters, built for columns {', '.join(used)}"]
    return "\n".join([*lines, *[f"  {sentence}"] * bool(sentence)])


def _sheet(splits: Splits, out: Path) -> str:
    """Write the first pictures, missing pixels black, and describe them."""
    x = splits.train.batch(slice(0, SHOWN)).get("x")
    if x is None or x.dim() != 4:
        raise DataError(
            "out: expected pictures (N, C, H, W) for a contact sheet; got none. Leave out --out."
        )
    known = x[~x.isnan()]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    figure = plots.images(((x - low) / ((high - low) or 1.0)).nan_to_num(0.0))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with written(real_path(out)) as new:
            figure.savefig(new, format="png")
    except OSError as error:
        raise RunError(
            f"out: expected a file that can be written; got {str(out)!r} "
            f"({error.strerror or error}). Name another: --out."
        ) from error
    missing = ", missing pixels black" if len(known) < x.numel() else ""
    return f"contact sheet: {out}, {len(x)} pictures, black {low:g}, white {high:g}{missing}"
