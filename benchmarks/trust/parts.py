"""Good calls of data, gp, active, scikit-learn, plots, nets and the zoo."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from gpytorch.kernels import RBFKernel
from PIL import Image

import ppvae
from benchmarks.trust.calls import Call
from benchmarks.trust.common import build, data
from ppvae import active, gp, guides, models, nets, plots, zoo
from ppvae import data as reading
from ppvae.active.moves import Moves
from ppvae.sklearn import VAETransformer
from ppvae.zoo.surrogates import deep_kernel_surrogate

__all__ = ["of_active", "of_gps", "of_plots", "of_reading", "of_transformer", "of_zoo"]


def of_reading(place: Path) -> Iterator[Call]:
    """Reading and making data."""
    (place / "a.csv").write_text("a,b,y\n" + "1.5,2,0\n3,4.5,1\n" * 4)
    table = {"path": str(place / "a.csv"), "x": ("a", "b"), "sep": ",", "decimal": "."}
    yield "data.table", reading.table, table
    yield "data.load", reading.load, {"path": str(place / "a.csv"), "seed": 1}
    yield "data.as_splits", reading.as_splits, {"data": data()}
    yield "data.describe", reading.describe, {"data": data()}
    yield "Dataset", reading.Dataset, {"columns": data(), "missing_ok": ("x",)}
    rows = reading.Dataset(data())
    yield (
        "split_rows",
        reading.split_rows,
        {"data": rows, "validation": 0.1, "test": 0.1, "seed": 1},
    )
    yield "Dataset.take", rows.take, {"rows": torch.arange(4)}
    yield "data.symmetries", reading.symmetries, {"name": "cube"}
    yield "data.cells", reading.cells, {"num_cells": 20, "size": 16, "noise": 1.0, "seed": 1}
    few = {"num_cells": 20, "num_genes": 8, "num_factors": 2, "num_types": 2, "num_batches": 1}
    yield "data.expression", reading.expression, {**few, "inflation": 0.1, "seed": 1}
    image, at = torch.rand(20, 20), torch.tensor([[10, 10], [8, 9]])
    yield "data.patches", reading.patches, {"image": image, "positions": at, "size": 5}
    yield "ppvae.load", ppvae.load, {"folder": str(place / "built"), "builders": (build,)}
    yield from _of_files(place)


def _of_files(place: Path) -> Iterator[Call]:
    """Readers of arrays and pictures, and makers of simulated data."""
    rng = np.random.default_rng(0)
    folder = place / "pictures"
    folder.mkdir(exist_ok=True)
    for number in range(8):
        pixels = rng.integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    seen = {"size": (4, 4), "crop": True, "channels": 1, "range": (0.0, 255.0)}
    yield "data.images", reading.images, {"folder": str(folder), **seen}
    np.save(place / "a.npy", rng.random((8, 6)))
    np.savez(place / "a.npz", x=rng.random((8, 6)), y=np.arange(8) % 2)
    with h5py.File(place / "a.h5", "w") as file:
        file["x"] = rng.random((8, 6))
    chosen = {"missing_ok": ("x",), "layout": "auto"}
    for name in ("npy", "npz", "h5"):
        path = str(place / f"a.{name}")
        yield f"data.{name}", getattr(reading, name), {"path": path, **chosen}
    yield "data.load", reading.load, {"path": str(place / "a.npy"), "missing_ok": ("x",)}
    options = {"columns": {"y": "y", "x": ("a", "b")}}
    yield "data.load", reading.load, {"path": str(place / "a.csv"), **options}
    rows = reading.Dataset({"x": torch.randn(6, 2)})
    yield "Dataset.batch", rows.batch, {"rows": torch.arange(3), "dtype": torch.float32}
    yield "Dataset.select", lambda name: rows.select(name), {"name": "x"}
    yield "Dataset.with_columns", lambda y: rows.with_columns(y=y), {"y": torch.arange(6) % 2}
    turned = {"num_angles": 8, "held_out": 1, "drop": 0.25, "num_objects": 200, "order": 1}
    made = {**turned, "clip": True, "validation": 0.1, "seed": 1}
    yield "data.rotated_digits", reading.rotated_digits, made
    posed = {"digit": 3, "rotation": 1.0, "shift": 0.1, "scale": 0.1, "seed": 1}
    yield "data.posed_digits", reading.posed_digits, posed
    yield "data.image_spectra", reading.image_spectra, {"side": 6, "noise": 0.02, "seed": 1}
    yield "data.digit_spectra", reading.digit_spectra, {"noise": 0.1, "seed": 1}
    few = {"num_subjects": 12, "num_test": 3, "num_visits": 6, "given": 2, "missing": 0.2}
    yield "data.visits", reading.visits, {**few, "seed": 1}
    regions = {"num_subjects": 6, "num_regions": 8, "num_networks": 2, "left_out": 0.2}
    yield "data.tasks", reading.tasks, {**regions, "seed": 1}
    points, faces = torch.rand(4, 3), torch.tensor([[0, 1, 2], [1, 2, 3]])
    solid = {"vertices": points, "faces": faces, "count": 50, "seed": 1}
    yield "data.mesh_solid", reading.mesh_solid, solid
    shape = reading.mesh_solid(points, faces, count=50)
    given = {"shown": shape, "rotations": torch.eye(3)[None], "size": 8}
    yield "data.render", reading.render, given
    few_turned = {"num": 20, "size": 8, "noise": 0.1, "seed": 1}
    yield "data.turned_solids", reading.turned_solids, few_turned


def of_gps() -> Iterator[Call]:
    """Gaussian processes."""
    yield "gp.ObjectTable", gp.ObjectTable, {"num_objects": 4, "num_features": 2}
    views = {"num_frequencies": 2, "period": 6.28}
    yield "gp.FourierFeatures", gp.FourierFeatures, views
    codes, at = torch.randn(12, 2), torch.arange(12) % 3
    given = {"codes": codes, "objects": at, "views": torch.linspace(0, 3, 12)}
    asked = {"at_objects": torch.tensor([0, 1]), "at_views": torch.tensor([0.5, 1.0])}
    yield "gp.interpolate_latents", gp.interpolate_latents, {**given, **asked, "period": 6.28}
    yield "gp.angular_kernel", gp.angular_kernel, {"lengthscale": 1.0, "period": 6.28}
    parts = {"objects": gp.ObjectTable(3, 2), "views": gp.FourierFeatures(num_frequencies=2)}
    yield "gp.GPPrior", gp.GPPrior, {**parts, "latent_dim": 2, "noise": 0.1, "folds": 2}
    prior = gp.GPPrior(**parts, latent_dim=2)
    prior.prepare({"object": at, "view": given["views"]})
    yield "gp.infer_objects", gp.infer_objects, {"prior": prior, **given}
    yield "gp.leave_one_out", gp.leave_one_out, {"prior": prior, "chunk": 4}
    kernel = RBFKernel()
    points = torch.linspace(0, 1, 4)
    yield "gp.Column", gp.Column, {"features": gp.FourierFeatures(), "index": 1}
    yield "gp.Lookup", gp.Lookup, {"covariates": torch.rand(4), "features": gp.FourierFeatures()}
    yield "gp.Every", gp.Every, {"steps": 3, "grows": True}
    yield "gp.ExactFeatures", gp.ExactFeatures, {"kernel": kernel, "dim": 2}
    yield "gp.FreeFormFeatures", gp.FreeFormFeatures, {"values": points, "rank": 2}
    hilbert = {"kernel": kernel, "domain": (0.0, 1.0), "num_features": 4, "boundary": 1.5}
    yield "gp.HilbertFeatures", gp.HilbertFeatures, hilbert
    induced = {"kernel": kernel, "points": points, "learn_points": True, "coverage": 0.5}
    yield "gp.InducingFeatures", gp.InducingFeatures, induced
    yield "gp.LeaveViewOut", gp.LeaveViewOut, {"weight": 1.0, "site": "z"}
    yield "gp.Mixing", gp.Mixing, {"latent_dim": 2, "out_features": 3}
    yield (
        "gp.NetworkFeatures",
        gp.NetworkFeatures,
        {"network": torch.nn.Linear(2, 3), "num_features": 3},
    )
    randoms = {"kernel": kernel, "dim": 2, "num_frequencies": 4, "seed": 1}
    yield "gp.RandomFeatures", gp.RandomFeatures, randoms
    yield "gp.StandardPrior", gp.StandardPrior, {"dim": 2}
    deep = {"embedding": torch.nn.Linear(2, 2), "features": gp.ExactFeatures(kernel, 2)}
    yield "gp.EmbeddedGP", gp.EmbeddedGP, {**deep, "outputs": 1, "noise": 0.05, "floor": 0.0001}
    yield "gp.spectral_density", gp.spectral_density, {"kernel": kernel, "frequencies": points}
    yield "gp.columns_of_targets", gp.columns_of_targets, {"values": torch.rand(4, 2)}


def of_active() -> Iterator[Call]:
    """Searches."""
    candidates = torch.randn(12, 1, 2, 3, dtype=torch.float64)
    small = {"ensemble": 1, "steps": 2, "first_steps": 2, "components": 2, "dim": 2}

    @functools.wraps(active.explore)
    def searched(**given: Any) -> object:
        surrogate = deep_kernel_surrogate(candidates, **small)
        return active.explore(**{"model": surrogate, **given})

    given = {"candidates": candidates, "measure": float, "acquisition": "random"}
    yield "active.explore", searched, {**given, "budget": 4, "start": 2, "batch": 1, "seed": 1}
    yield "deep_kernel_surrogate", deep_kernel_surrogate, {"x": candidates, **small, "seed": 1}
    y = torch.rand(9)
    yield "active.calibration", active.calibration, {"y": y, "mean": y + 0.1, "scale": y + 1}
    yield "active.acquisition_named", active.acquisition_named, {"name": "ucb"}
    moves = {"positions": torch.rand(5, 2), "price": 0.5, "reach": 2.0}
    yield "active.Moves", Moves, moves

    def told(**given: Any) -> object:
        search = active.Search(deep_kernel_surrogate(candidates, **small), candidates, start=2)
        asked = search.ask()
        return search.tell(**{"place": asked[0], **given})

    yield "Search.tell", told, {"y": 1.0}


def of_transformer() -> Iterator[Call]:
    """scikit-learn's interface."""
    rows = torch.rand(24, 6).numpy()

    @functools.wraps(VAETransformer.__init__)
    def fitted(**given: Any) -> object:
        data = given.pop("X", rows)
        quick = {"epochs": 1, "settings": {"compile": False, "device": "cpu"}}
        return VAETransformer(**{**quick, **given}).fit(data).transform(rows[:2])

    named = {"n_components": 2, "model": "vae", "options": {"hidden": (8,)}, "epochs": 1}
    numbers = {"batch_size": 8, "learning_rate": 0.001, "validation": 0.2, "random_state": 1}
    yield "VAETransformer", fitted, {**named, **numbers, "settings": {"compile": False}}
    yield "VAETransformer", fitted, {"X": torch.from_numpy(rows)}


def of_zoo() -> Iterator[Call]:
    """Models by name."""
    spec = reading.Dataset(data()).spec
    options = {"latent_dim": 2, "hidden": (8,), "beta": 2.0}
    yield "zoo.build", zoo.build, {"name": "vae", "spec": spec, **options}
    yield "zoo.entry", zoo.entry, {"name": "vae"}
    pair = ppvae.zoo.jvae  # As users call it: by name, with data.
    yield "zoo.jvae", pair, {"spec": spec, "classes": (3,), "latent_dim": 2}
    options = {"latent_dim": 2, "hidden": (8,), "likelihood": "normal"}
    kind = zoo.entry("vae").options
    yield "zoo.parse_options", zoo.parse_options, {"options": kind, "values": options}
    yield "VAE", models.VAE, {"decoder": build()[0].decoder, "latent_dim": 2}
    yield "AmortizedGuide", guides.AmortizedGuide, {"encoder": build()[1].encoder}
    yield "MLP", nets.MLP, {"in_features": 2, "head": nets.heads.Normal((6,)), "hidden": (8,)}


def of_plots() -> Iterator[Call]:
    """Figures of arrays."""
    z, k = torch.randn(30, 2), torch.rand(30)
    pictures, classes = torch.rand(4, 1, 5, 5), torch.arange(30) % 3
    given: dict[str, dict[str, Any]] = {
        "agreement": {"true": classes, "found": classes},
        "calibration": {"pit": k, "interval": 0.9, "bins": 5},
        "covariance": {"matrix": torch.eye(3)},
        "directions": {"points": torch.randn(30, 3), "classes": classes, "name": "y"},
        "images": {"pictures": pictures, "per_row": 2},
        "latents": {"z": z, "colour": k, "name": "a"},
        "pareto_k": {"k": k, "threshold": 0.7},
        "predicted": {"y": k.numpy(), "mean": k.numpy(), "scale": k.numpy()},
        "reconstructions": {"original": pictures, "mean": pictures, "number": 2},
        "rotation_errors": {"errors": k},
        "learning_curves": {"curves": {"a": k.numpy()}, "ylabel": "best"},
    }
    for name, arguments in given.items():
        yield f"plots.{name}", getattr(plots, name), arguments
