"""Rendered solids: the renderer, its symmetries, and the dataset."""

from __future__ import annotations

import pytest
import torch

import ppvae
from ppvae.data import SOLIDS, mesh_solid, render, symmetries, turned_solids
from ppvae.data.solids import solid
from ppvae.distributions import RotationUniform, exp_rotation

TETRAHEDRON = (
    torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]),
    torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]]),
)


@pytest.mark.parametrize("name", SOLIDS)
def test_a_solid_looks_the_same_after_its_symmetries_and_no_other_turn(name):
    torch.manual_seed(0)
    shown, group = solid(name), symmetries(name)
    assert shown.points.norm(dim=1).max() < 1
    rotation = RotationUniform().sample().float()
    same = render(shown, rotation @ group, size=16).float()
    others = render(shown, RotationUniform().sample((10,)), size=16).float()
    gaps = (same - same[:1]).abs().mean((1, 2, 3))
    assert gaps.max() < 4
    assert (others - same[:1]).abs().mean((1, 2, 3)).min() > 2 * max(float(gaps.max()), 1)


def test_a_turn_about_the_line_of_sight_turns_the_picture():
    quarter = exp_rotation(torch.tensor([0.0, 0.0, torch.pi / 2]))
    start = exp_rotation(torch.tensor([0.5, 0.2, -0.3]))
    upright, turned = render(solid("tripod"), torch.stack([start, quarter @ start]), size=24) > 0
    agree = (torch.rot90(upright[0]) == turned[0]).float().mean()
    assert agree > 0.98


def test_the_dataset_is_of_uniform_rotations_and_of_one_seed():
    data = turned_solids("tripod", "cube", num=40, size=12, seed=3)
    assert [part.num_rows for part in data] == [32, 4, 4]
    x, rotation = (torch.as_tensor(data.train[name]) for name in ("x", "orientation"))
    assert x.shape == (32, 1, 12, 12)
    assert x.dtype == torch.uint8
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).to(rotation).expand(32, 3, 3))
    assert set(data.train["y"].tolist()) == {0, 1}
    again = turned_solids("tripod", "cube", num=40, size=12, seed=3)
    assert torch.equal(torch.as_tensor(again.train["x"]), x)
    other = turned_solids("tripod", "cube", num=40, size=12, seed=4)
    assert not torch.equal(torch.as_tensor(other.train["orientation"]), rotation)
    noisy = turned_solids("tripod", num=20, size=12, noise=0.2)
    assert torch.as_tensor(noisy.train["x"]).float().std() > 10
    assert "y" not in noisy.train


def test_a_mesh_is_a_solid():
    shown = mesh_solid(*TETRAHEDRON, count=3000)
    torch.testing.assert_close(shown.normals.norm(dim=1), torch.ones(3000, dtype=torch.float32))
    # Outward: the centre lies behind each face.
    assert bool(((shown.points * shown.normals).sum(1) > 0).all())
    pictures = turned_solids(shown, num=10, size=12)
    assert torch.as_tensor(pictures.train["x"]).max() > 50


def test_what_cannot_be_rendered_is_refused_in_words():
    error = ppvae.errors.DataError
    with pytest.raises(error, match="solid: expected one of tripod"):
        turned_solids("teapot")
    with pytest.raises(ValueError, match="num: expected an integer >= 10; got 3"):
        turned_solids(num=3)
    with pytest.raises(error, match="expected finite vertices"):
        mesh_solid(TETRAHEDRON[0], TETRAHEDRON[1] + 0.5)
    with pytest.raises(error, match="size: expected at least 4 pixels"):
        render(solid("cube"), torch.eye(3)[None], size=2)
    with pytest.raises(ValueError, match="reflections"):
        render(solid("cube"), -torch.eye(3)[None])
    with pytest.raises(error, match="expected finite vertices"):
        mesh_solid(torch.zeros(4, 2), TETRAHEDRON[1])
    with pytest.raises(error, match="triangles that have an area"):
        mesh_solid(torch.zeros(4, 3), TETRAHEDRON[1])
