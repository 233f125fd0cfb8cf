"""What a GP prior cannot say anything about is refused in words, in training and in prediction."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from gpytorch.kernels import RBFKernel
from pyro import poutine
from torch import Tensor

from ppvae.data import Dataset, Splits
from ppvae.errors import ArgumentError
from ppvae.evaluate.predict import predict
from ppvae.fitting import fit
from ppvae.gp import FourierFeatures, FreeFormFeatures, GPPrior, HilbertFeatures, ObjectTable
from ppvae.guides import GPGuide
from ppvae.models import GPVAE
from ppvae.nets import MLP, Calibrated, heads
from ppvae.objectives import ELBO

P, Q, D = 4, 5, 3


def columns(unit: float = 1.0) -> dict[str, Tensor]:
    cells = torch.cartesian_prod(torch.arange(P), torch.arange(Q))
    return {"object": cells[:, 0], "view": cells[:, 1] * unit}


def pair(views, *, calibrated: bool = False):
    prior = GPPrior(ObjectTable(P, 2), views, latent_dim=2)
    network = MLP(2, heads.Normal((D,)), hidden=[4])
    decoder = Calibrated(network) if calibrated else network
    return GPVAE(prior, decoder), GPGuide(MLP(D, heads.DiagonalNormal(2), hidden=[4]), prior)


def line() -> HilbertFeatures:
    return HilbertFeatures(RBFKernel(), (0.0, float(Q)), num_features=6)


VIEWS = {
    "line": (line, Q + 1.0, r"expected values within the domain \[0, 5\]; got 6 to 6"),
    "missing": (line, math.nan, "expected finite numbers; got nan"),
    "free-form": (lambda: FreeFormFeatures(torch.arange(Q)), 0.5, "was made for; got"),
    "free-form, missing": (lambda: FreeFormFeatures(torch.arange(Q)), math.nan, "finite numbers"),
    "circle, missing": (lambda: FourierFeatures(num_frequencies=2), math.nan, "finite numbers"),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_that_the_kernel_does_not_know_are_refused(name):
    make, view, message = VIEWS[name]
    model, guide = pair(make())
    bad = {"object": torch.zeros(1).long(), "view": torch.tensor([view])}
    with pytest.raises(ArgumentError, match=message):
        predict(model, bad, num_draws=2)
    if math.isnan(view):
        return  # a Dataset refuses it, too
    data = {"x": torch.randn(P * Q, D), **columns()}
    test = {"x": torch.randn(1, D), **bad}
    for splits in (
        Splits(Dataset(data), Dataset(test), None),
        Splits(Dataset(data), None, Dataset(test)),
    ):
        with pytest.raises(ArgumentError, match=message):
            fit(model, guide, splits, epochs=1, progress=False)
    assert model.prior.layout is None  # before anything was trained


@pytest.mark.parametrize("object_id", [P, -1])
def test_objects_that_are_not_there_are_refused(object_id):
    model, _ = pair(FourierFeatures(num_frequencies=2))
    bad = {"object": torch.tensor([object_id]), "view": torch.zeros(1)}
    with pytest.raises(ArgumentError, match=f"ids from 0 to {P - 1}; got {object_id}") as error:
        poutine.trace(model.eval()).get_trace(**bad)
    assert str(error.value).endswith("or train with more objects.")  # and not Pyro's shapes


def test_small_integers_are_ids_and_truth_values_are_not():
    table = ObjectTable(P, 2)
    ids = torch.arange(P)
    torch.testing.assert_close(table(ids.to(torch.uint8)), table(ids))
    with pytest.raises(ArgumentError, match="expected integer ids; got torch.bool"):
        table.check(torch.tensor([True, False]))


def test_views_of_many_periods_are_warned_about():
    views = FourierFeatures(num_frequencies=2)
    with pytest.warns(UserWarning, match=r"0 to 360, 57.3 periods. .*--period 360"):
        views.check_training(torch.linspace(0, 360, 9))
    with pytest.warns(UserWarning, match=r"whole numbers from 1 to 12, 1.8 periods"):
        views.check_training(torch.arange(1.0, 13.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        views.check_training(torch.linspace(-math.pi, 3 * math.pi, 9))
        views.check_training(torch.arange(-3.0, 4.0))
        FourierFeatures(num_frequencies=2, period=24.0).check_training(torch.arange(48.0))
        FourierFeatures(num_frequencies=2, period=360.0).check_training(torch.linspace(0, 360, 9))


def test_views_that_float32_merges_are_refused():
    prior = GPPrior(
        ObjectTable(P, 2), FourierFeatures(num_frequencies=2, period=1e9), latent_dim=2
    )
    data = columns()
    data["view"] = 1.7e9 + data["view"].double()
    with pytest.raises(ArgumentError, match="got 5 that are 1 there, such as 1700000000.0 and"):
        prior.float().prepare(data)
    data["view"] -= 1.7e9
    prior.prepare(data)


def test_a_calibrated_likelihood_is_trained_by_the_plain_elbo():
    """With no term that predicts views, its scale is learned from reconstructions."""
    model, guide = pair(FourierFeatures(num_frequencies=2), calibrated=True)
    before = [p.detach().clone() for p in model.decoder.net.parameters()]
    data = {"x": torch.randn(P * Q, D), **columns()}
    splits = Splits(Dataset(data), Dataset(data), None)
    run = fit(model, guide, splits, ELBO(), epochs=2, learning_rate=1e-2, progress=False, seed=0)
    moved = list(model.decoder.net.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, moved, strict=True))
    assert "val_log_likelihood/x" in run.history[-1]
