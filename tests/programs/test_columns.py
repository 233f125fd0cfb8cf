"""Tensors that no program can be given as a column are refused by name, before it runs."""

from __future__ import annotations

import pytest
import torch

from ppvae.errors import ContractError
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.programs import check_pair

X = torch.rand(8, 4, generator=torch.Generator().manual_seed(0))


def pair():
    model = VAE(MLP(2, heads.Normal((4,)), hidden=[8]), latent_dim=2)
    return model, AmortizedGuide(MLP(4, heads.DiagonalNormal(2), hidden=[8]))


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (X.to_sparse(), "column 'x': expected a dense tensor; got a sparse one"),
        (X.to("meta"), "column 'x': expected a dense tensor; got one without values"),
        (X[:0], r"expected at least one row in 'x'; got shape \(0, 4\)"),
    ],
)
def test_a_column_that_no_program_takes_is_refused(column, words):
    with pytest.raises(ContractError, match="batch: " + words):
        check_pair(*pair(), {"x": column})


def test_dense_rows_are_taken():
    assert check_pair(*pair(), {"x": X}).num_rows == 8
