"""Runs side by side in one table and one report; those that differ only in seed share a row."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import arviz
import pandas as pd

from ppvae.app.places import read_by, refuse_taken
from ppvae.app.workflow import splits_of
from ppvae.data import Dataset
from ppvae.data.hdf5 import refuse_outside
from ppvae.errors import ArgumentError, PPVAEError, RunError
from ppvae.evaluate.compare import ComparedRun, likelihoods, ranked
from ppvae.expected import real_path
from ppvae.fitting.fingerprint import fingerprint
from ppvae.report.comparison import PAGE, TABLE, Group, GroupedRun, groups_of, write_comparison
from ppvae.report.facts import read
from ppvae.runs.config import FINISHED, configuration_of, copies_of
from ppvae.runs.files import size_of
from ppvae.runs.run import Run
from ppvae.typing import JsonObject

__all__ = ["Comparison", "compare_runs"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """The result of :func:`compare_runs`.

    Attributes:
        groups: Groups of runs that differ only in their seed, highest log-likelihood first.
        runs: Log-likelihoods of the same rows under each run, highest first.
        arviz: The table of ``az.compare``; None where it is not valid.
        without: Reason why there is no such table; empty where there is one.
        report: Path of the report.
    """

    groups: list[Group]
    runs: list[ComparedRun]
    arviz: pd.DataFrame | None
    without: str
    report: Path


def compare_runs(
    folders: Sequence[str | Path],
    out: str | Path,
    *,
    data: str | Path | None = None,
    labels: str | Path | None = None,
    num_particles: int = 256,
    max_rows: int | None = 1000,
    device: str | None = None,
) -> Comparison:
    """Compare runs on the same held-out rows; write ``comparison.html`` and ``comparison.csv``.

    Arguments:
        folders: At least two folders of runs.
        out: Folder of the report.
        data: New data, all rows of which are scored; the runs' own test data by default.
        labels: Table of the classes of new pictures (:func:`ppvae.data.images`).
        num_particles: Draws of the guide per datum.
        max_rows: Number of rows that are scored, evenly spaced; None for all.
        device: Device of the runs.

    Raises:
        ArgumentError: If there are fewer than two runs, one is named twice or is a copy of
            another, or their models do not observe the same values; or ``out`` has a file of the
            data.
        RunError: If a run cannot be read, has no test data, or was tested on other data.
    """
    paths = [Path(folder) for folder in folders]
    _refuse_twice(paths)
    if len(paths) < 2:
        raise ArgumentError(
            f"compare: expected at least two folders of runs; got {len(paths)}. Name another run."
        )
    names = _names(paths)
    facts = {name: read(path) for name, path in zip(names, paths, strict=True)}
    copies = copies_of({name: fact.config for name, fact in facts.items()}, "id", "weights")
    if copies is not None:
        raise ArgumentError(
            f"compare: expected folders of different runs; got {copies[0]!r} and {copies[1]!r}, "
            "which are copies of one. Leave one out."
        )
    runs: dict[str, Run] = {}
    rows: dict[str, Dataset] = {}
    for name, path in zip(names, paths, strict=True):
        run, _, splits = splits_of(path, data=data, labels=labels, device=device)
        if splits.test is None:
            raise RunError(
                f"{path}: expected test data, which the run was not fitted to; got none. Name "
                "data that no run has seen: --data FILE."
            )
        runs[name], rows[name] = run, splits.test
    files = (Path(out) / name for name in (PAGE, TABLE))
    refuse_taken(*files, reads=(data, labels, *read_by(*runs.values())))
    _same_rows(rows)
    ranking = ranked(likelihoods(runs, rows, num_particles=num_particles, max_rows=max_rows))
    table, without = (None, "new data have no draws") if data is not None else _arviz(names, paths)
    configurations = _configurations({name: fact.config for name, fact in facts.items()})
    members = {
        row.name: GroupedRun(
            row.name,
            facts[row.name].model,
            configurations[row.name],
            int(facts[row.name].config.get("seed") or 0),
            _own(facts[row.name].metrics, new=data is not None),
            row,
        )
        for row in ranking
    }
    groups = groups_of([members[row.name] for row in ranking])
    for group in groups:
        if len(set(group.seeds)) < len(group.runs):
            logger.warning(
                "compare: %s has runs with one seed (%s), no replicates, and so no interval",
                group.label,
                ", ".join(run.name for run in group.runs),
            )
    report = write_comparison(Path(out), groups, table, without)
    return Comparison(groups, ranking, table, without, report)


def _configurations(configs: Mapping[str, JsonObject]) -> dict[str, dict[str, str]]:
    """The configuration of each run, in which data are named by their file.

    A run that did not end well is no replicate of those that did: its status is a part.
    """
    found = {name: configuration_of(config) for name, config in configs.items()}
    files: dict[str, str] = {}
    for name, own in found.items():
        if "data" in own:
            file = Path(str(configs[name].get("source"))).name
            files.setdefault(own["data"], file)
    for name, own in found.items():
        status = "pruned" if "pruned" in configs[name] else str(configs[name].get("status"))
        if status not in FINISHED:
            own["status"] = status
        if "data" in own:
            digest, file = own["data"], files[own["data"]]
            alone = list(files.values()).count(file) == 1
            own["data"] = file if alone else f"{file} ({digest[:8]})"
    return found


def _names(paths: Sequence[Path]) -> list[str]:
    """The last parts of the folders' paths, as many as are needed to tell the folders apart."""
    places = [real_path(path).parts for path in paths]
    for length in range(1, max(map(len, places)) + 1):
        names = ["/".join(parts[-length:]) for parts in places]
        if len(set(names)) == len(names):
            return names
    raise AssertionError(places)  # Each is another folder.


def _refuse_twice(paths: Sequence[Path]) -> None:
    """Refuse a run that is named more than once, by whatever path."""
    seen: dict[Path, Path] = {}
    for path in paths:
        first = seen.setdefault(real_path(path), path)
        if first is not path:
            twice = f"{str(path)!r} twice"
            if str(first) != str(path):
                twice = f"{str(first)!r} and {str(path)!r}, which are the same"
            raise ArgumentError(
                f"compare: expected folders of different runs, each once; got {twice}. Name "
                "another run in its place, or leave it out."
            )


def _same_rows(rows: Mapping[str, Dataset]) -> None:
    """Refuse runs whose test data are not the same rows."""
    first, reference = next(iter(rows.items()))
    for name, data in rows.items():
        shared = [column for column in reference if column in data]
        same = (
            len(shared) > 0
            and data.num_rows == reference.num_rows
            and fingerprint(data.select(*shared)) == fingerprint(reference.select(*shared))
        )
        if not same:
            raise RunError(
                f"compare: expected runs tested on the same rows; the {data.num_rows} of {name!r} "
                f"are not the {reference.num_rows} of {first!r}. Score all on the same data: "
                "--data FILE."
            )


# Metrics that are estimated again on the common rows, or that do not measure the model.
ELSEWHERE = ("log_likelihood", "pareto_k", "untrusted", "effective", "seed", "compiled")


def _own(metrics: JsonObject, *, new: bool) -> dict[str, float]:
    """A run's own metrics; on new data, those that were measured on its test data are left out."""
    if new:
        return {}
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and name not in ELSEWHERE
        and not name.startswith("n_")
    }


def _arviz(names: Sequence[str], paths: Sequence[Path]) -> tuple[pd.DataFrame | None, str]:
    """The table of ``az.compare``, or the reason why there is none."""
    drawn = {}
    try:
        for name, path in zip(names, paths, strict=True):
            file = path / "arviz.nc"
            if not os.path.lexists(file):
                return None, f"{name} has no draws (ppvae evaluate writes them)"
            size_of(file)  # Refuses a link or a device.
            refuse_outside(file)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                drawn[name] = arviz.from_netcdf(file)
            if "log_likelihood" not in drawn[name].groups():
                return None, f"{name} has no log-likelihoods"
        likelihood = {name: values.log_likelihood for name, values in drawn.items()}
        first = likelihood[names[0]]
        for name, values in likelihood.items():
            if list(values.data_vars) != list(first.data_vars):
                return None, f"{name} observes {list(values.data_vars)}, not {list(first)}"
            if not values["sample"].equals(first["sample"]):
                return None, f"{name} has draws for other rows than {names[0]}"
        with warnings.catch_warnings():
            # The table of log-likelihoods shows Pareto k already.
            warnings.simplefilter("ignore")
            return arviz.compare(drawn, ic="loo"), ""
    except (PPVAEError, ValueError, TypeError, KeyError, OSError) as error:
        return None, str(error).splitlines()[0]
    finally:
        for values in drawn.values():
            values.close()
