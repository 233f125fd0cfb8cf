"""A small pair, its run and its checkpoint, and the results of loading mutated copies."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import ppvae
from benchmarks.trust.mutate import mutate
from ppvae.errors import ArgumentError, RunError
from ppvae.fitting import Checkpoint, fit
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO
from ppvae.runs.config import sealed
from ppvae.runs.recipe import Recipe

__all__ = ["Outcome", "build", "data", "folders", "outcome", "pair", "settings"]

# Files that links of mutants lead to.
WATCHED = (Path("/etc/hostname"), Path("/etc/passwd"))


@dataclass(frozen=True)
class Outcome:
    """The result of loading a mutant.

    Attributes:
        mutation: Its name.
        word: ``"refused"``, ``"equal"``, ``"claimed"`` (other words, with checksums that are
            right), or what should not be.
        detail: The error, or what differed.
    """

    mutation: str
    word: str
    detail: str = ""


def build() -> tuple[VAE, AmortizedGuide, ELBO]:
    """A VAE of six numbers a datum."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(MLP(2, heads.Normal((6,)), hidden=[8]), latent_dim=2)
        return model, AmortizedGuide(MLP(6, heads.DiagonalNormal(2), hidden=[8])), ELBO()


def pair() -> tuple[VAE, AmortizedGuide]:
    """Its model and its guide."""
    return build()[:2]


def data() -> dict[str, torch.Tensor]:
    """64 data."""
    return {"x": torch.randn(64, 6, generator=torch.Generator().manual_seed(0))}


def settings(**changes: Any) -> dict[str, Any]:
    """Quick settings of a fit."""
    quick = {"batch_size": 16, "seed": 0, "progress": False, "compile": False, "device": "cpu"}
    return {**quick, **changes}


def folders(place: Path) -> dict[str, Path]:
    """A run and its checkpoint, and beside them the run that it becomes, written."""
    recipe = Recipe(f"{build.__module__}:build")
    fit(
        *pair(),
        data(),
        epochs=2,
        out=place / "run",
        recipe=recipe,
        callbacks=[Checkpoint(place / "checkpoint")],
        **settings(),
    )
    fit(*pair(), data(), epochs=3, out=place / "straight", **settings())
    return {"run": place / "run", "checkpoint": place / "checkpoint"}


def outcome(kind: str, original: Path, mutant: Path, rng: random.Random) -> Outcome:
    """Mutate a copy, and load it or go on from it.

    Arguments:
        kind: ``"run"`` or ``"checkpoint"``.
        original: The folder.
        mutant: Where the copy goes.
        rng: Chooses the mutation.
    """
    shutil.copytree(original, mutant)
    outside = sorted(os.listdir(mutant.parent))
    name = mutate(mutant, rng, sealed)
    watched = {path: path.read_bytes() for path in WATCHED if path.is_file()}
    planted = {path for path in os.listdir(mutant.parent) if path.startswith("outside-")}
    try:
        differs = (
            _run_differs(mutant, original) if kind == "run" else _resumed_differs(mutant, original)
        )
    except (RunError, ArgumentError) as error:
        word, detail = "refused", str(error)
        if not detail.isprintable() and kind == "run":
            word = "unprintable"
    except Exception as error:
        word, detail = "traceback", f"{type(error).__name__}: {error}"
    else:
        word, detail = ("different", differs) if differs else ("equal", "")
        own = ("weights", "history") if kind == "run" else ()
        if name in ("change", "reweigh") and differs and differs not in own:
            # Sealed again by somebody who can: other words, said by a file that is whole.
            word = "claimed"
    changed = any(path.read_bytes() != content for path, content in watched.items())
    if changed or set(os.listdir(mutant.parent)) - planted != set(outside) - planted:
        word = "harmful"
    for path in planted:
        (mutant.parent / path).unlink()
    return Outcome(name, word, detail)


def _run_differs(mutant: Path, original: Path) -> str:
    ours, theirs = (ppvae.load(path, builders=[build]) for path in (original, mutant))
    for name in ("history", "metrics", "seed", "epochs", "status", "id", "config"):
        if repr(getattr(ours, name)) != repr(getattr(theirs, name)):
            return name
    return _weights_differ(ours, theirs)


def _resumed_differs(mutant: Path, original: Path) -> str:
    straight = ppvae.load(original.parent / "straight", *pair())
    resumed = fit(*pair(), data(), epochs=3, resume=mutant, **settings())
    return _weights_differ(straight, resumed)


def _weights_differ(ours: Any, theirs: Any) -> str:
    pairs = zip(ours._modules().parameters(), theirs._modules().parameters(), strict=True)
    return "" if all(torch.equal(a, b) for a, b in pairs) else "weights"
