"""Tensors on another device than the batch; ``meta`` stands for a GPU."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppvae.errors import ContractError
from ppvae.programs.batches import placed
from ppvae.programs.precision import check_devices
from ppvae.programs.running import run_program

META = torch.device("meta")


@pytest.mark.parametrize(
    "fn",
    [
        dist.Normal(torch.zeros(2), 1.0).to_event(1),
        dist.Normal(0.0, 1.0).expand([1]).to_event(1),
        dist.Categorical(torch.ones(3)),
        dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(torch.ones(2), 1.0)),
    ],
)
def test_parameters_elsewhere_are_refused_with_a_remedy(fn):
    with pytest.raises(ContractError, match=r"site 'z'.* on meta.*got one on cpu.*new_zeros"):
        check_devices("model", {"z": {"fn": fn}}, META)
    check_devices("model", {"z": {"fn": fn}}, torch.device("cpu"))


def test_numbers_without_dimensions_may_be_anywhere():
    check_devices("guide", {"z": {"fn": dist.Normal(torch.tensor(0.0), 1.0)}}, META)


def test_a_program_that_mixes_devices_is_told_how_not_to():
    class Mixed(nn.Module):
        def forward(self, x):
            raise RuntimeError("Expected all tensors to be on the same device, but got mat1 is on")

    with pytest.raises(ContractError, match="new_zeros"):
        run_program(Mixed(), "model", {"x": torch.zeros(2)})


def test_columns_go_where_a_module_is():
    columns = placed(nn.Linear(2, 2, device="meta"), {"x": torch.ones(3), "size": 3})
    assert columns["x"].device == META
    assert columns["size"] == 3
