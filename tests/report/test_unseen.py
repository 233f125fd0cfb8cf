"""The baseline of the nearest view, and what is said where nothing was held out."""

from __future__ import annotations

import math

import torch

from ppvae.data import Dataset, Splits
from ppvae.report.gallery import Subject, unseen
from ppvae.runs import Run
from ppvae.zoo import build


def data(objects: list[int], views: list[float]) -> Dataset:
    return Dataset({"x": torch.rand(len(views), 2), "object": objects, "view": views})


def test_the_nearest_view_is_the_same_in_pieces(monkeypatch):
    train = data([0, 0, 0, 1, 1], [0.0, 2.0, 6.0, 1.0, 4.0])
    rows = data([0, 1, 0, 2], [6.2, 3.0, 1.5, 0.0])
    x = train["x"].float()
    expected = torch.stack([x[0], x[4], x[1], x.double().mean(0).float()])
    for budget in (1, unseen.BUDGET):
        monkeypatch.setattr(unseen, "BUDGET", budget)
        found = unseen.nearest_view(train, rows, period=2 * math.pi)
        torch.testing.assert_close(found, expected)
    assert torch.equal(unseen.nearest_view(train, rows, period=None)[0], x[2])


def test_nothing_held_out_is_no_unseen_view():
    train = data([0, 1], [0.0, 1.0])
    model, guide, _ = build("gpvae", train.spec, latent_dim=2, rank=2, network="mlp", hidden=4)
    alone = Subject(Run(model, guide), Splits(train))
    assert unseen.unseen_metrics(alone) == {}
    assert unseen.predictions(alone) == []
    assert unseen.unseen(Subject(Run(model, guide), Splits(train, None, train))) is train
    model, guide, _ = build("vae", train.spec, latent_dim=2)
    assert unseen.unseen(Subject(Run(model, guide), Splits(train, None, train))) is None
