"""The description of a run in its folder: ``config.json``, checksums, and the history."""

from __future__ import annotations

import csv
import json
import platform
import re
import shlex
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ppvae._version import __version__
from ppvae.errors import ArgumentError, RunError
from ppvae.expected import integer
from ppvae.runs.files import digest_of, is_kind, read_bytes, read_json
from ppvae.runs.history import History
from ppvae.runs.schema import (
    COLUMNS,
    LISTED_TEXTS,
    NAMED,
    NUMBER,
    OPTIONS,
    PAIRS,
    TEXT,
    TEXTS,
    Rule,
    check_fields,
    optional,
)
from ppvae.typing import JsonObject, Spec

__all__ = [
    "CONFIG",
    "FINISHED",
    "FORMAT",
    "HISTORY",
    "KIND",
    "METRICS",
    "OWN",
    "STATUSES",
    "WEIGHTS",
    "check_digest",
    "columns_of",
    "configuration_of",
    "copies_of",
    "elbo_of",
    "environment",
    "is_run",
    "read_config",
    "read_history",
    "read_metrics",
    "sealed",
    "validated",
    "verify",
]

# Format 2 adds checksums of all files, the config's own among them.
FORMAT, READABLE = 2, (1, 2)
KIND = "ppvae run"
CONFIG, WEIGHTS, HISTORY, METRICS = (
    "config.json",
    "weights.safetensors",
    "history.csv",
    "metrics.json",
)
# Settings that record where a fit ran, not what was fitted.
CIRCUMSTANCES = ("seed", "device", "compile", "resident", "workers", "resumed", "retries")
FINISHED = ("completed", "stopped")
STATUSES = (*FINISHED, "diverged", "interrupted")
# Keys that belong to the folder; the others belong to the run's ``config``.
REQUIRED = ("kind", "format", "id", "status", "seed", "epochs", "weights")
OWN = (*REQUIRED, "files", "digest")

ID = re.compile(r"[\w.-]{1,100}")
DIGEST = Rule("a checksum", lambda v: isinstance(v, str) and bool(re.fullmatch("[0-9a-f]{64}", v)))
RULES = {
    "id": Rule("letters and digits", lambda v: isinstance(v, str) and bool(ID.fullmatch(v))),
    "status": Rule(f"one of {', '.join(STATUSES)}", lambda v: v in STATUSES),
    "seed": integer(0, 2**63 - 1),
    "epochs": integer(0, 2**40 - 1),
    "files": TEXTS,
    "digest": DIGEST,
    **dict.fromkeys(("created", "command", "ppvae", "python", "torch", "pyro"), optional(TEXT)),
    **dict.fromkeys(("source", "source_digest", "labels_digest"), optional(TEXT)),
    **dict.fromkeys(("recipe", "data", "fit", "pair"), optional(NAMED)),
    "reading": optional(OPTIONS),
    "ranges": optional(PAIRS),
    "probe": optional(NUMBER),
}
WEIGHTS_RULES = {"sha256": DIGEST, "shared": TEXTS}
PAIR_RULES = {"model": TEXT, "guide": TEXT, "shared": optional(LISTED_TEXTS)}
DATA_RULES = {"columns": COLUMNS, "rows": NAMED}


def is_run(folder: Path) -> bool:
    """Whether the folder holds a run, of any version."""
    return is_kind(folder / CONFIG, KIND)


def sealed(config: JsonObject) -> JsonObject:
    """A config with its own checksum."""
    content = {key: value for key, value in config.items() if key != "digest"}
    return {**content, "digest": digest_of(content)}


def read_config(folder: Path) -> JsonObject:
    """A run's ``config.json``.

    Raises:
        RunError: If there is none, or it is damaged, not that of a run, or of another format.
    """
    path = folder / CONFIG
    config = read_json(path)
    if not isinstance(config, dict) or config.get("kind") != KIND:
        raise RunError(f"{path}: expected a {KIND}; got something else. Name the folder of a run.")
    if config.get("format") not in READABLE:
        raise RunError(
            f"{folder}: expected a run of format {' or '.join(map(str, READABLE))}; got "
            f"{config.get('format')!r}, written by ppvae {config.get('ppvae')}. "
            "Load it with that version."
        )
    lacks = sorted(set(REQUIRED) - config.keys())
    weights = config.get("weights")
    if lacks or not isinstance(weights, dict) or not WEIGHTS_RULES.keys() <= weights.keys():
        raise RunError(
            f"{path}: expected the keys {', '.join(REQUIRED)}; got a damaged file without "
            f"{lacks or 'parts of weights'}. Restore it from a copy, or train again."
        )
    check_fields(path, config, RULES)
    check_fields(path, weights, WEIGHTS_RULES)
    check_fields(path, config.get("data") or {}, DATA_RULES)
    check_fields(path, config.get("pair") or {}, PAIR_RULES)
    return config


def verify(folder: Path, config: JsonObject) -> None:
    """Check the config, the history and the metrics against the checksums in the config.

    A run of format 1 has none.

    Raises:
        RunError: If a checksum differs.
    """
    if config["format"] == 1:
        return
    if sealed(config)["digest"] != config.get("digest") or "files" not in config:
        raise RunError(
            f"{folder / CONFIG}: expected the checksum that it holds; got another, so it was "
            "changed or damaged. Restore it from a copy, or train again."
        )
    for name in (HISTORY, METRICS):
        check_digest(folder / name, read_bytes(folder / name), config["files"].get(name))


def check_digest(path: Path, content: bytes, digest: str | None) -> None:
    """Check a file's content against the checksum in the config.

    Raises:
        RunError: If they differ.
    """
    if digest_of(content) != digest:
        raise RunError(
            f"{path}: expected the checksum in {CONFIG}; got another, so the file is damaged or "
            "of another run. Restore it from a copy, or train again."
        )


def read_metrics(folder: Path) -> JsonObject:
    """A run's ``metrics.json``.

    Raises:
        RunError: If there is none, or it is damaged.
    """
    path = folder / METRICS
    metrics = read_json(path)
    if not isinstance(metrics, dict):
        raise RunError(
            f"{path}: expected names and numbers; got a damaged file. "
            "Evaluate the run again: ppvae evaluate."
        )
    return metrics


def read_history(folder: Path, epochs: int) -> History:
    """A run's ``history.csv``.

    Arguments:
        folder: Folder of the run.
        epochs: Expected number of rows.

    Raises:
        RunError: If there is none, or it is damaged.
    """
    path = folder / HISTORY
    try:
        history = History.from_text(read_bytes(path).decode("utf-8"))
        if len(history) != epochs:
            raise ArgumentError(f"{len(history)} rows for {epochs} epochs")
        if not all(name.isprintable() for name in history.columns):
            raise ArgumentError("names that cannot be printed")
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise RunError(
            f"{path}: expected a table of numbers; got a damaged file ({error}). "
            "Restore the folder from a copy."
        ) from error
    return history


def elbo_of(folder: Path) -> float:
    """The validation ELBO of a run in nats per datum: that of the weights that it kept.

    The training ELBO where there are no validation data.

    Arguments:
        folder: Folder of the run.

    Raises:
        RunError: If a file of it is missing or damaged, or it has no epoch.
    """
    config = read_config(folder)
    history = read_history(folder, config["epochs"])
    elbo = validated(config, read_metrics(folder), history)
    elbo = elbo if elbo is not None or not len(history) else history[-1].get("elbo")
    if elbo is None:
        raise RunError(
            f"{folder}: expected a run of at least one epoch; got none with an ELBO. Fit it again."
        )
    return elbo


def validated(config: JsonObject, metrics: JsonObject, history: History) -> float | None:
    """The validation ELBO of the weights that a run kept; None without validation.

    It is the best one only where the weights of the best epoch were restored.

    Arguments:
        config: The run's ``config``.
        metrics: Its metrics.
        history: Its history.
    """
    values = [row["val_elbo"] for row in history if "val_elbo" in row]
    best = metrics.get("best_val_elbo")
    if (
        best is not None
        and NUMBER.allows(best)
        and ((config.get("fit") or {}).get("restore_best") or not values)
    ):
        return float(best)
    return values[-1] if values else None


def configuration_of(config: JsonObject) -> dict[str, str]:
    """Options of a run's model, settings of its fit and its data, without the seed, each as text.

    The data are the checksums of their files; runs that differ in them are no replicates.

    Arguments:
        config: The run's ``config``.
    """
    recipe = config.get("recipe") or {}
    parts = {**(recipe.get("options") or {}), **(config.get("fit") or {})}
    data = config.get("data") or {}
    parts |= {"rows": (data.get("rows") or {}).get("train")}
    terms = (config.get("objective") or {}).get("settings")
    parts |= {} if terms is None else {"terms of the objective": terms}
    digests = [d for d in map(config.get, ("source_digest", "labels_digest")) if d is not None]
    reading = {k: v for k, v in (config.get("reading") or {}).items() if k != "labels"}
    parts |= {"data": "+".join(digests)} if digests else {}
    parts |= {"reading": reading} if reading else {}
    return {
        name: value if isinstance(value, str) else json.dumps(value, default=str)
        for name, value in parts.items()
        if name not in CIRCUMSTANCES
    }


def copies_of(configs: Mapping[str, JsonObject], *names: str) -> tuple[str, str] | None:
    """The names of two runs that are one, such as a folder and its copy; None without.

    Arguments:
        configs: The ``config`` of each run, by name.
        names: Facts that copies have in common, of ``id`` and ``weights``.
    """
    seen: dict[tuple[str, ...], str] = {}
    for name, config in configs.items():
        facts = {"id": config.get("id"), "weights": (config.get("weights") or {}).get("sha256")}
        key = tuple(str(facts[fact]) for fact in names if facts[fact] is not None)
        if len(key) == len(names) and seen.setdefault(key, name) != name:
            return seen[key], name
    return None


def columns_of(config: JsonObject) -> Spec:
    """The spec of the columns that a run was fitted with.

    Arguments:
        config: The run's ``config``.

    Raises:
        RunError: If it has none.
    """
    columns: Spec | None = (config.get("data") or {}).get("columns")
    if columns is None:
        raise RunError(
            f"{CONFIG}: expected the columns of the training data; got none. Restore the run from "
            "a copy, or fit it again with ppvae.fit."
        )
    return columns


def environment() -> JsonObject:
    """Time, command and versions, for a run's ``config.json``."""
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "ppvae": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyro": _version("pyro-ppl"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
