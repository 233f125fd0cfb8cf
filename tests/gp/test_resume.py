"""Guides of a GP prior go on bit for bit from a checkpoint."""

from __future__ import annotations

import math

import pytest
import torch

from ppvae.data import Dataset
from ppvae.fitting import Checkpoint, fit
from ppvae.gp import FourierFeatures, GPPrior, ObjectTable
from ppvae.guides import GPGuide, PseudoGuide, WeightSpaceGuide
from ppvae.models import GPVAE
from ppvae.nets import MLP, heads

P, Q = 5, 4


def encoder():
    return MLP(3, heads.DiagonalNormal(2), hidden=[8])


GUIDES = {
    "amortised": lambda prior: GPGuide(encoder(), prior),
    "weight space": WeightSpaceGuide,
    "pseudo-observations": lambda prior: PseudoGuide(encoder(), prior, refresh=5),
}


def train(name, epochs, **options):
    torch.manual_seed(0)
    cells = torch.cartesian_prod(torch.arange(P), torch.arange(Q))
    view = cells[:, 1] * 2 * math.pi / Q
    rows = Dataset({"x": torch.randn(len(cells), 3), "object": cells[:, 0], "view": view})
    prior = GPPrior(ObjectTable(P, 2), FourierFeatures(num_frequencies=2), latent_dim=2)
    model = GPVAE(prior, MLP(2, heads.Normal((3,)), hidden=[8]))
    settings = {"batch_size": 7, "progress": False, "seed": 0, "compile": False, **options}
    fit(model, GUIDES[name](prior), rows, epochs=epochs, **settings)
    return model.state_dict()


@pytest.mark.parametrize("name", GUIDES)
def test_a_resumed_run_is_the_uninterrupted_one(name, tmp_path):
    whole = train(name, 5)
    train(name, 3, callbacks=[Checkpoint(tmp_path / "at")])
    resumed = train(name, 5, resume=tmp_path / "at")
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key
