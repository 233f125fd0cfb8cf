"""Ensembles of runs in folders, such as those of a sweep over seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from ppvae.borders import typed
from ppvae.ensembles.members import Ensemble
from ppvae.errors import ArgumentError, RunError
from ppvae.runs.config import FINISHED, configuration_of, copies_of, elbo_of, is_run, read_config
from ppvae.runs.recipe import Builder
from ppvae.runs.run import load as load_run
from ppvae.typing import JsonObject

__all__ = ["load"]

# Folder of a sweep, and of an ensemble, that holds the runs.
RUNS = "runs"


@typed()
def load(
    folder: str | Path,
    *,
    builders: Sequence[Builder] = (),
    device: str | torch.device | None = None,
    **chosen: object,
) -> Ensemble:
    """The runs of a folder that differ only in their seed, as an ensemble.

    ``ppvae sweep jvae --seeds 0..7`` trains the members, in as many processes or on as many
    machines as work on the sweep, and ``ppvae.ensembles.load("sweeps/jvae")`` joins them. A run
    that diverged, was interrupted or was pruned is left out.

    Arguments:
        folder: Folder of a sweep, or of :func:`~ppvae.ensembles.fit_ensemble`'s ``out``, or one
            that holds runs.
        builders: Trusted builders, as for :func:`ppvae.load`.
        device: Device of the members.
        chosen: Options of the model and settings of the fit that the members have, such as
            ``latent_dim=5``, where the folder holds other runs, too.

    Raises:
        ArgumentError: If the runs differ in more than their seed.
        RunError: If there are no two runs, one cannot be read, or one is a copy of another.
    """
    place = Path(folder)
    place = place / RUNS if (place / RUNS).is_dir() else place
    wanted = {n: v if isinstance(v, str) else json.dumps(v) for n, v in chosen.items()}
    paths: dict[Path, dict[str, str]] = {}
    configs: dict[Path, JsonObject] = {}
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        config = read_config(path) if is_run(path) else {}
        if config.get("status") not in FINISHED or "pruned" in config:
            continue
        own = {**_pair(config), **configuration_of(config)}
        if all(own.get(name) == value for name, value in wanted.items()):
            paths[path], configs[path] = own, config
    if len(paths) < 2:
        raise RunError(
            f"{folder}: expected at least two runs that ended well{_with(wanted)}; got "
            f"{len(paths)}. Train them: ppvae sweep MODEL --seeds 0..7."
        )
    copies = copies_of({path.name: config for path, config in configs.items()}, "weights")
    if copies is not None:
        raise RunError(
            f"{folder}: expected members of their own; got {copies[0]!r} and {copies[1]!r}, which "
            "have the same weights. Move one elsewhere."
        )
    names = dict.fromkeys(name for own in paths.values() for name in own)
    values = {name: {own.get(name, "") for own in paths.values()} for name in names}
    differing = {name: sorted(found) for name, found in values.items() if len(found) > 1}
    if differing:
        raise ArgumentError(
            f"{folder}: expected runs that differ only in their seed; got runs that differ in "
            f"{differing}. Name one value of each: load(folder, {next(iter(differing))}=...)."
        )
    runs = [load_run(path, builders=builders, device=device) for path in paths]
    members = [(run.model.eval(), run.guide.eval()) for run in runs]
    return Ensemble(members, [run.seed for run in runs], [elbo_of(path) for path in paths])


def _pair(config: JsonObject) -> dict[str, str]:
    """What builds the pair."""
    recipe = config.get("recipe") or {}
    return {name: str(recipe.get(name)) for name in ("builder", "name")}


def _with(wanted: dict[str, str]) -> str:
    return "".join(f" with {name}={value}" for name, value in wanted.items())
