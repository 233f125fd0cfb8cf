"""``dkl``: targets from spectra, few of them measured, with a VAE of all patches or without."""

from __future__ import annotations

import pytest
import torch

from ppvae import zoo
from ppvae.data import Dataset, image_spectra, split_rows
from ppvae.errors import ArgumentError, DataError
from ppvae.models import VAE, DeepKernel
from ppvae.zoo.options import parse_options


def arranged(**options):
    entry = zoo.entry("dkl")
    splits = split_rows(image_spectra(side=8))
    return entry.arrange(splits, parse_options(entry.options, options))


def test_all_patches_stay_with_a_vae_and_those_measured_without():
    with_vae = arranged(measured=10)
    seen = ~torch.as_tensor(with_vae.train["target"]).isnan()
    assert with_vae.train["target"].shape == (52, 1)
    assert int(seen.sum()) == 10
    assert not torch.as_tensor(with_vae.test["target"]).isnan().any()
    alone = arranged(measured=10, embedding="net")
    assert alone.train.num_rows == 10
    assert torch.equal(alone.train["target"], with_vae.train["target"][seen[:, 0]])
    assert any("42 of 52 rows are not measured" in note for note in alone.train.notes)
    assert arranged(scalar="peak").test["target"].max() < 3


def test_the_pair_has_a_vae_or_none():
    splits = arranged(measured=10)
    pair = zoo.dkl(splits, hidden=(8,), frequencies=4)
    assert isinstance(pair.model, DeepKernel)
    assert isinstance(pair.model.body, VAE)
    assert pair.objective.weights == {"target": 30.0, "w": 30.0}
    alone = zoo.dkl(splits, embedding="net", hidden=(8,))
    assert alone.model.body is None


def test_data_without_targets_are_refused():
    with pytest.raises(ArgumentError, match="expected a column 'target' or 'spectrum'"):
        zoo.dkl({"x": torch.rand(4, 1, 4, 4)})
    entry = zoo.entry("dkl")
    data = Dataset({"x": torch.rand(4, 1, 4, 4)})
    with pytest.raises(DataError, match="expected a column 'target' or 'spectrum'"):
        entry.arrange(type(arranged())(data), parse_options(entry.options, {}))
