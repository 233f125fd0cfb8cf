"""The arguments that a stopped run of the command line was started with, to resume it."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from ppvae.errors import ArgumentError, RunError
from ppvae.expected import real_path
from ppvae.fitting.callbacks import load_checkpoint
from ppvae.runs.config import is_run, read_config
from ppvae.runs.folder import CHECKPOINT
from ppvae.runs.source import followed_reading, followed_source
from ppvae.typing import JsonObject
from ppvae.zoo.entry import Entry
from ppvae.zoo.options import parse_options

__all__ = ["arguments_of", "refuse_other_run"]

logger = logging.getLogger(__name__)

SETTINGS = ("epochs", "batch_size", "learning_rate")


def arguments_of(folder: Path, model: Entry, given: JsonObject) -> JsonObject:
    """Arguments of :func:`~ppvae.app.workflow.fit_entry` that go on with a run.

    Arguments:
        folder: Folder of the run, or of its checkpoint.
        model: Entry named on the command line.
        given: Arguments of the command line. ``options`` are those that were typed, and ``seed``
            is None unless it was; one that is not that of the run is refused. ``data`` and
            settings replace those of the run.

    Raises:
        ArgumentError: If the run is of another model, or has another option or seed.
        RunError: If there is no checkpoint, or its data are not where they were.
    """
    state = load_checkpoint(folder)
    config = state["config"]
    own = read_config(folder) if is_run(folder) else None
    if own is not None and own["id"] != state["id"]:
        logger.warning(
            "resume: the checkpoint is not of the run in %s, but of one with seed %s that was "
            "begun there; when that ends well, it replaces the run (--out names another place).",
            *(folder, state["run"].get("seed")),
        )
    recipe = config.get("recipe") or {}
    shipped = ("ppvae.zoo:build", model.name)
    if (recipe.get("builder"), recipe.get("name")) not in (shipped, (model.path, None)):
        raise ArgumentError(
            f"--resume: expected a run of ppvae fit {model.name}; got one of "
            f"{recipe.get('name')!r}. Name the model that it was started with."
        )
    options = asdict(parse_options(model.options, recipe.get("options") or {}))
    for name, value in given["options"].items():
        if value != options[name]:
            flag = "--" + name.replace("_", "-")
            raise ArgumentError(
                f"{flag}: expected {options[name]}, as in the run that stopped; got {value}. "
                "Leave it out, or start a new run."
            )
    seed = state["run"].get("seed")
    if given["seed"] not in (None, seed):
        raise ArgumentError(
            f"--seed: expected {seed}, as in the run that stopped; got {given['seed']}. "
            "Leave it out, or start a new run."
        )
    fitted = {name: value for name, value in (config.get("fit") or {}).items() if name in SETTINGS}
    if own is not None and own["id"] == state["id"] and "epochs" in fitted:
        # A run that went on to more epochs may have ended without a further checkpoint.
        fitted["epochs"] = max(fitted["epochs"], (own.get("fit") or {}).get("epochs") or 0)
    return {
        **fitted,
        **given,
        "data": given["data"] or followed_source(folder, config),
        "seed": seed,
        "options": options,
        "reading": given.get("reading") or followed_reading(folder, config),
        "resume": folder,
    }


def refuse_other_run(out: Path, resumed: Path) -> None:
    """Refuse to go on with a run in a folder that holds another one, which would be replaced.

    Arguments:
        out: Folder to write to.
        resumed: Folder of the run, or of its checkpoint.

    Raises:
        RunError: If ``out`` holds another run, finished or not.
    """
    own = real_path(resumed)
    if real_path(out) in (own, own.parent if own.name == "checkpoint" else own):
        return
    run = load_checkpoint(resumed)["id"]
    begun = out / "checkpoint"
    there = [read_config(out)["id"]] if is_run(out) else []
    there += [load_checkpoint(begun)["id"]] if (begun / CHECKPOINT).exists() else []
    if set(there) - {run}:
        raise RunError(
            f"--out: expected a new folder, or that of the run to go on with; got {str(out)!r}, "
            "which holds another run. Name another folder, or replace that run: --overwrite."
        )
