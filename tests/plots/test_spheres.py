"""Maps of directions, errors of rotations, and paths."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import ppvae
from ppvae import plots
from ppvae.plots.spheres import _hammer
from ppvae.report.gallery import Subject, draw, measure
from ppvae.runs.run import Run
from tests.pairs import build


def test_the_map_is_true_to_area():
    """Uniform directions are uniform within the ellipse of half-axes 2 sqrt 2 and sqrt 2."""
    z = torch.nn.functional.normalize(torch.randn(20_000, 3), dim=1).double().numpy()
    x, y = _hammer(z).T
    radius = np.sqrt(x**2 / 8 + y**2 / 2)
    assert radius.max() <= 1
    assert np.mean(radius < 0.5) == pytest.approx(0.25, abs=0.02)
    np.testing.assert_allclose(_hammer(np.eye(3)[:1]), [[0, 0]], atol=1e-12)


@pytest.mark.parametrize("dim", [2, 3, 6])
def test_directions_of_any_dimension_are_drawn_by_class(dim):
    figure = plots.directions(torch.randn(30, dim), classes=torch.arange(30) % 3)
    assert len(figure.axes) == 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["0", "1", "2"]
    with pytest.raises(ValueError, match="with 1 zero vectors"):
        plots.directions(torch.cat([torch.zeros(1, dim), torch.ones(3, dim)]))


def test_errors_and_paths_are_drawn():
    figure = plots.rotation_errors(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1.0, 2.0, 3.0]))
    assert (
        f"median {math.degrees(0.2):.1f}" in figure.axes[0].get_legend().get_texts()[0].get_text()
    )
    steps = torch.eye(3).expand(10, 3, 3)
    assert plots.rotation_paths({"a": steps}, {"a": 1.0}).axes
    with pytest.raises(ValueError, match="expected at least two codes; got 1"):
        plots.rotation_paths({"a": steps[:1]}, {"a": 1.0})


@pytest.mark.parametrize("name", ["vae, sphere", "vae, direction beside normals"])
def test_a_run_with_directions_shows_them(name):
    pair = build(name)
    subject = Subject(Run(pair.model, pair.guide, pair.objective), pair.batch)
    names = [file for file, _, _ in draw(subject)]
    assert {"sphere.png", "geodesics.png"} <= set(names)
    scores = measure(subject)
    assert ("cone_90/z" in scores) == (name == "vae, sphere")
    circle = ppvae.report.gallery.spheres._great_circle(subject, "z", subject.directions["z"], 0)
    block = slice(*subject.directions["z"])
    torch.testing.assert_close(circle[:, block].norm(dim=1), torch.ones(len(circle)))
    torch.testing.assert_close(circle[0], subject.typical["z"])


def test_a_run_with_rotations_shows_turns_errors_and_paths():
    pair = build("so3vae, points")
    rotation = ppvae.distributions.RotationUniform().sample((len(pair.batch["x"]),))
    batch = {**pair.batch, "orientation": rotation}
    data = ppvae.data.Splits(ppvae.data.Dataset(batch), None, ppvae.data.Dataset(batch))
    subject = Subject(Run(pair.model, pair.guide, pair.objective), data)
    names = {file for file, _, _ in draw(subject)}
    assert {"turns.png", "rotations.png", "paths.png", "reconstructions.png"} <= names
    scores = measure(subject)
    assert 0 < scores["rotation_error"] <= 180
    assert scores["path_ratio"] >= 1
    assert 0 < scores["cone_90/rotation"] <= 180
