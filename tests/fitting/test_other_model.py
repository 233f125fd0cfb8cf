"""A checkpoint is resumed only by the model, the guide and the names that it was written with."""

from __future__ import annotations

import pandas as pd
import pyro
import pytest
import torch
from pyro.distributions import Normal
from torch import nn

from ppvae.errors import ArgumentError
from ppvae.fitting import Checkpoint, fit
from ppvae.guides import AmortizedGuide
from ppvae.nets import MLP, heads
from ppvae.programs import data_plate

X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
OPTIONS = {"batch_size": 8, "seed": 0, "progress": False, "compile": False}


class Model(nn.Module):
    """p(z) p(x | z), with a scale that is no parameter and a layer without weights."""

    def __init__(self, activation: type[nn.Module] = nn.SiLU, scale: float = 1.0) -> None:
        super().__init__()
        self.decoder = MLP(2, heads.Normal((4,)), hidden=[8], activation=activation)
        self.scale = scale

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z = pyro.sample("z", Normal(torch.zeros(2), self.scale).to_event(1))
            return pyro.sample("x", self.decoder(z), obs=x)


def pair(**options) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return Model(**options), AmortizedGuide(MLP(4, heads.DiagonalNormal(2), hidden=[8]))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    fit(*pair(), {"x": X}, epochs=2, callbacks=[Checkpoint(folder)], **OPTIONS)
    return folder


@pytest.mark.parametrize("options", [{"activation": nn.ReLU}, {"scale": 3.0}], ids=str)
def test_another_model_with_the_same_weights_is_refused(stopped, options):
    model, guide = pair(**options)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ArgumentError, match="resume: expected the model and the guide"):
        fit(model, guide, {"x": X}, epochs=3, resume=stopped, **OPTIONS)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)
    resumed = fit(*pair(), {"x": X}, epochs=3, resume=stopped, **OPTIONS)
    in_one = fit(*pair(), {"x": X}, epochs=3, **OPTIONS)
    assert [row["elbo"] for row in resumed.history] == [row["elbo"] for row in in_one.history]


def test_other_names_of_the_same_numbers_are_refused(tmp_path):
    frames = [pd.DataFrame(X.numpy(), columns=list(names)) for names in ("pqrs", "srqp")]
    fit(*pair(), frames[0], epochs=1, callbacks=[Checkpoint(tmp_path)], **OPTIONS)
    with pytest.raises(ArgumentError, match="expected the names of features, classes and objects"):
        fit(*pair(), frames[1], epochs=2, resume=tmp_path, **OPTIONS)
    fit(*pair(), frames[0], epochs=2, resume=tmp_path, **OPTIONS)
