"""The report: one HTML page that contains everything it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePath

from ppvae.errors import RunError
from ppvae.expected import real_path
from ppvae.report.facts import Facts, read
from ppvae.report.held_out import doubt
from ppvae.report.html import page_of, scripted
from ppvae.report.rules import verdict
from ppvae.report.words import EVALUATED, duration, in_order, meaning, shown
from ppvae.runs.files import written
from ppvae.typing import ColumnSpec

__all__ = ["render", "write"]

FILE = "report.html"
_PIXELS_AN_INCH = 120
_NAMES = 10  # of classes, that are listed
_SIGNS = {"ok": "\u2713", "caution": "!", "bad": "\u2717", "unknown": "?"}
_SIZES = {"n_train": "training data", "n_validation": "validation", "n_test": "test"}


def write(folder: str | Path) -> Path:
    """Write ``report.html`` into a run's folder from its files, complete or not at all.

    Arguments:
        folder: Folder written by :func:`ppvae.fit` (``out=``) or
            :meth:`ppvae.runs.run.Run.save`, with plots from :func:`ppvae.plots.save`, if any.

    Returns:
        The path of the report.

    Raises:
        RunError: If the folder is not that of a run, a file is missing or damaged, or the report
            cannot be written.
    """
    folder = Path(folder)
    page = render(read(folder))
    try:
        with written(real_path(folder) / FILE) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"report: could not write {str(folder / FILE)!r} ({error.strerror or error}). "
            "Free some space, or make the folder writable."
        ) from error
    return folder / FILE


def render(facts: Facts) -> str:
    """The page as HTML; all text from the run is escaped."""
    return page_of(
        FILE,
        signs=_SIGNS,
        model=facts.model,
        summary=facts.text("summary"),
        facts=_in_short(facts),
        columns=[(name, _column(spec)) for name, spec in facts.section("data", "columns").items()],
        notes=facts.section("data").get("notes") or [],
        description=facts.section("data").get("description") or "",
        answers=verdict(facts),
        pictures=[
            {
                "name": p.name,
                "caption": p.caption or p.name.replace("_", " "),
                "data": p.data,
                "width": round(p.inches * _PIXELS_AN_INCH),
                "height": round(p.inches * _PIXELS_AN_INCH * p.height / p.width),
            }
            for p in facts.pictures
        ],
        failures=[
            {**f, "what": "drawn" if f["kind"] == "figure" else "measured"} for f in facts.failures
        ],
        explore=scripted("explore.js", facts.controls) if facts.controls else None,
        numbers=[_number(facts, name) for name in in_order(facts.metrics)],
        command=_command(str(facts.config.get("command") or "")),
        settings=_settings(facts),
        config=json.dumps(facts.config, indent=2),
    )


def _number(facts: Facts, name: str) -> tuple[str, str, str, str, str]:
    """A metric's name, value, title, unit and explanation; one that is doubtful is marked."""
    title, unit, text = EVALUATED if name == "n_test" and facts.part == "fitted" else meaning(name)
    value, doubts = shown(facts.metrics[name]), doubt(facts)
    if name == "log_likelihood" and doubts:
        value, text = f"{value} (!)", f"{text} It is {doubts}."
    return name, value, title, unit, text


def _command(said: str) -> str:
    """The command as typed, without the path of the program."""
    quoted = re.match(r"'[^']*'", said)  # A path with a space.
    program = quoted[0] if quoted else said.partition(" ")[0]
    rest = said.removeprefix(program).strip()
    name = PurePath(program.strip("'")).name
    return f"{'ppvae' if name in ('cli.py', '__main__.py', 'ppvae.exe') else name} {rest}".strip()


def _in_short(facts: Facts) -> list[str]:
    """Date, duration, device and numbers of data of the training."""
    names = _SIZES | ({"n_test": "evaluated"} if facts.part == "fitted" else {})
    sizes = [
        f"{shown(facts.metrics[name])} {text}"
        for name, text in names.items()
        if facts.metrics.get(name)
    ]
    seconds = facts.number("train_seconds")
    device = facts.section("fit").get("device")
    texts = [
        ", ".join(sizes),
        ""
        if seconds is None
        else f"trained in {duration(seconds)}" + f" on {device}" * bool(device),
        f"seed {facts.config.get('seed')}",
        str(facts.config.get("created") or "").partition("T")[0],
    ]
    return [text for text in texts if text]


def _column(spec: ColumnSpec) -> str:
    """Description of a column of the data, in words."""
    shape, classes = spec.get("shape") or [], spec.get("classes")
    size = " \u00d7 ".join(map(str, shape))
    if classes is not None:
        words = f"whole numbers from 0 to {classes - 1}" if classes else "whole numbers"
        named = [str(name) for name in spec.get("names") or []]
        words += (
            f" ({', '.join(named[:_NAMES])}{', ...' * (len(named) > _NAMES)})" if named else ""
        )
    elif len(shape) == 3:
        channels, rows, columns = shape
        colours = f"{channels} channel{'s' * (channels != 1)}"
        words = f"images, {rows} \u00d7 {columns} pixels, {colours}"
    else:
        words = f"vectors of {size} numbers" if len(shape) == 1 else size or "one number each"
    kept = f"{words}, stored as {spec['dtype']}" if spec.get("dtype") else words
    return f"{kept}, in {spec['unit']}" if spec.get("unit") else kept


def _settings(facts: Facts) -> list[tuple[str, list[tuple[str, str]]]]:
    """The settings needed to repeat the run, by topic."""
    config, recipe, fit = facts.config, facts.section("recipe"), facts.section("fit")
    versions = ("ppvae", "python", "torch", "pyro")
    topics = {
        "Model": {"built by": recipe.get("builder"), "name": recipe.get("name")}
        | dict(recipe.get("options") or {}),
        "Training": {"seed": config.get("seed")} | dict(fit),
        "Versions": {name: config.get(name) for name in versions},
    }
    return [
        (topic, [(name.replace("_", " "), shown(v)) for name, v in rows.items() if v is not None])
        for topic, rows in topics.items()
    ]
