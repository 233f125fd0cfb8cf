"""The entries with poses: built, fitted, measured, shown."""

from __future__ import annotations

import math

import pytest
import torch

import ppvae
from ppvae.data import Dataset, Splits, posed_digits
from ppvae.nets import Pose, grid, resample, transform_grid
from ppvae.report.gallery import Subject, draw, measure
from ppvae.runs.run import Recipe
from ppvae.zoo import build, entry
from tests.measured import measured
from tests.pairs import K, N, images

SMALL = {
    "rvae": {"latent_dim": 2, "hidden": (8,), "angles": 6},
    "trvae": {"latent_dim": 2, "hidden": (8,), "angles": 6},
    "jrvae": {"latent_dim": 2, "hidden": (8, 8), "classes": (K,), "steps": 5, "angles": 4},
}
VARIANTS = [
    ("rvae", {"decoder": "coordinates"}),
    ("rvae", {"rotation": 0.5, "pose": "mlp", "undo": False}),
    ("rvae", {"network": "conv", "scale": 0.2}),
    ("rvae", {"modes": 1}),
    ("trvae", {"scale": 0.2, "decoder": "coordinates", "pose": "conv"}),
    ("rvae", {"condition": "y"}),
    ("rvae", {"condition": "both", "decoder": "coordinates", "full_covariance": True}),
    ("trvae", {"condition": "c", "network": "conv", "warmup": 5}),
    ("jrvae", {"decoder": "coordinates", "translation": 0.1}),
]
LATENT = ["latents.png", "divergence.png"]


def columns():
    return {
        "x": images(),
        "y": torch.arange(N) % K,
        "angle": torch.linspace(-1, 1, N),
        "shift": 0.1 * torch.randn(N, 2),
        "c": torch.randn(N, 2),
    }


def splits(**more):
    part = Dataset({**columns(), **more})
    return Splits(part, part, part)


def fitted(name, data, recipe=None, **options):
    chosen = {**SMALL[name], **options}
    model, guide, objective = build(name, data.train.spec, **chosen)
    return ppvae.fit(
        model, guide, data, objective, epochs=1, seed=0, progress=False, recipe=recipe
    )


@pytest.mark.parametrize("name", SMALL)
def test_a_run_trains_and_comes_back_from_its_recipe(name, tmp_path):
    data = splits()
    recipe = Recipe("ppvae.zoo:build", name=name, options=SMALL[name], spec=data.train.spec)
    run = fitted(name, data, recipe)
    run.save(tmp_path / name)
    again = ppvae.load(tmp_path / name)
    metrics = measure(Subject(run, data))
    assert measure(Subject(again, data)) == pytest.approx(metrics)
    assert {"angle_correlation", "angle_from_content_r2"} <= set(metrics)
    assert ("shift_r2" in metrics) == (name == "trvae")
    assert all(math.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("name", SMALL)
def test_its_default_data_fit_it(name):
    found = entry(name)
    data = found.default_data()
    model, guide, objective = found.build(data.train.spec, found.options())
    batch = data.train.batch(slice(0, 8), dtype=torch.get_default_dtype())
    assert torch.isfinite(objective(model, guide)(batch).loss)
    assert {"angle", "shift"} <= set(data.test)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_its_options_go_together(name, options):
    data = splits()
    run = fitted(name, data, **options)
    latents = run.encode(data.test)
    known = {"none": (), "y": ("y",), "c": ("c",), "both": ("y", "c")}
    given = {**vars(entry(name).options()), **options}
    poses = {site for site in ("rotation", "translation", "scale") if given[site]}
    modes = {"turn", "turn_probs"} if given.get("modes", 1) > 1 else set()
    assert set(latents) - {"z", "y", "y_probs"} == poses | modes
    columns = {name: data.test[name] for name in known[given.get("condition", "none")]}
    assert run.decode(latents, **columns)["x"].shape == data.test["x"].shape


def test_what_is_encoded_comes_apart_and_can_be_changed_before_it_is_decoded():
    data = splits()
    run = fitted("trvae", data, scale=0.2)
    latents = run.encode(data.test)
    assert latents["rotation"].shape == latents["scale"].shape == (N,)
    assert latents["translation"].shape == latents["z"].shape == (N, 2)
    upright = {**latents, "rotation": torch.zeros(N), "translation": torch.zeros(N, 2)}
    upright["scale"] = torch.ones(N)
    pixels = [run.decode(values)["x"] for values in (upright, latents)]
    pose = Pose(latents["rotation"], latents["translation"], latents["scale"])
    logits = resample(torch.logit(pixels[0]), transform_grid(grid(8, 8), pose))
    torch.testing.assert_close(pixels[1], logits.sigmoid(), rtol=1e-3, atol=1e-4)


def test_the_condition_decides_the_picture_and_the_pose_stays():
    data = splits()
    run = fitted("trvae", data, condition="y")
    latents = run.encode(data.test)
    zero, one = (run.decode(latents, y=torch.full((N,), label))["x"] for label in (0, 1))
    assert not torch.allclose(zero, one)
    assert run.model.conditions.sizes == (K,)
    names = [file for file, _, _ in draw(Subject(run, data))]
    assert {"reconstructions.png", "angles.png"} <= set(names)
    assert "angle_correlation" in measure(Subject(run, data))


def test_a_condition_that_the_data_lack_is_refused():
    part = Dataset({"x": images(), "y": torch.arange(N) % K})
    with pytest.raises(ppvae.errors.ArgumentError, match=r"Add \['c'\], or choose"):
        build("rvae", part.spec, condition="both")


def test_spectra_move():
    x = images(1, 16)
    part = Dataset({"x": x, "shift": 0.1 * torch.randn(N, 1)})
    data = Splits(part, None, part)
    run = fitted("trvae", data, rotation=0.0)
    assert set(run.encode(part)) == {"z", "translation"}
    assert set(measured(run, data)) == {"shift_r2"}
    shown = [name for name, _, _ in draw(Subject(run, data))]
    assert "shifts.png" in shown
    assert not {"angles.png", "manifold.png", "traversals.png"} & set(shown)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("rvae", ["manifold.png", "traversals.png", *LATENT, "angles.png"]),
        ("trvae", ["manifold.png", "traversals.png", *LATENT, "angles.png", "shifts.png"]),
        ("jrvae", ["classes.png", "manifold.png", "traversals.png", *LATENT, "angles.png"]),
    ],
)
def test_its_figures(name, files):
    data = splits()
    made = draw(Subject(fitted(name, data), data))
    common = ["densities.png", "loss.png"]
    assert [file for file, _, _ in made] == ["reconstructions.png", *files, *common]
    assert all(caption.endswith(".") for _, caption, _ in made)


def test_without_known_poses_there_is_nothing_to_measure():
    part = Dataset({"x": images()})
    data = Splits(part, None, part)
    run = fitted("rvae", data)
    assert measured(run, data) == {}
    assert "angles.png" not in [name for name, _, _ in draw(Subject(run, data))]


def test_what_has_no_pose_is_refused_in_words():
    with pytest.raises(ValueError, match="expected one or more widths > 0"):
        build("rvae", splits().train.spec, rotation=0.0)
    wide = Dataset({"x": torch.rand(N, 1, 8, 9)})
    with pytest.raises(ValueError, match=r"expected square images; got \(8, 9\)"):
        build("rvae", wide.spec)


@pytest.mark.slow
def test_the_angles_of_threes_are_found():
    data = posed_digits(3, rotation=math.pi, shift=0.1)
    model, guide, objective = build("trvae", data.train.spec)
    run = ppvae.fit(
        model,
        guide,
        data,
        objective,
        epochs=60,
        batch_size=100,
        learning_rate=2e-3,
        seed=0,
        progress=False,
    )
    metrics = measure(Subject(run, data))
    assert metrics["angle_correlation"] > 0.9
    assert metrics["shift_r2"] > 0.9
    assert metrics["angle_from_content_r2"] < 0.05
