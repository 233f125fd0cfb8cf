"""Digits as patients: who is seen when, and what a visit shows."""

from __future__ import annotations

import pytest
import torch

from ppvae.data import visits
from ppvae.errors import DataError

SIZES = {"num_subjects": 4, "num_test": 2, "num_visits": 20, "given": 3}


def test_later_visits_are_held_out_of_subjects_whose_first_ones_are_not():
    train, validation, test = visits(**SIZES)
    ids = [torch.as_tensor(part["id"]) for part in (train, validation, test)]
    assert [sorted(set(i.tolist())) for i in ids] == [[*range(8)], [4, 5], [6, 7]]
    assert (train.num_rows, validation.num_rows, test.num_rows) == (80 + 12, 34, 34)
    assert torch.as_tensor(test["age"]).min() == 3
    first = torch.as_tensor(train["age"])[ids[0] >= 4]
    assert first.max() == 2


def test_columns_and_missing_pixels():
    data = visits(**SIZES, missing=0.25).train
    whole = visits(**SIZES, missing=0.0).train
    x, full = torch.as_tensor(data["x"]), torch.as_tensor(whole["x"])
    seen = ~x.isnan()
    assert x.shape[1:] == (1, 36, 36)
    assert float(seen.float().mean()) == pytest.approx(0.75, abs=0.01)
    assert torch.equal(x[seen], full[seen])
    assert not full.isnan().any()
    sick = torch.as_tensor(data["disease"]) == 1
    assert torch.equal(torch.as_tensor(data["disease_age"]).isnan(), ~sick)
    assert torch.equal(torch.as_tensor(data["sex"]), torch.as_tensor(data["id"]) % 2)


def test_the_digit_moves_with_age_and_turns_with_the_disease():
    data = visits(**SIZES, missing=0.0).train
    x = torch.as_tensor(data["x"])[:80, 0].unflatten(0, (4, 20))
    grid = torch.arange(36.0)
    mass = x.sum((-1, -2))
    row = (x.sum(-1) * grid).sum(-1) / mass
    column = (x.sum(-2) * grid).sum(-1) / mass
    # A healthy digit moves by a tenth of a pixel per visit, but for its own small turns.
    assert float(row[:2, -5:].mean() - row[:2, :5].mean()) == pytest.approx(1.5, abs=0.1)
    assert float(column[:2, -5:].mean() - column[:2, :5].mean()) == pytest.approx(1.5, abs=0.1)
    # A sick one changes at the disease's start far more than a healthy one does there.
    change = (x[:, 12] - x[:, 7]).square().sum((-1, -2))
    assert change[2:].min() > 1.5 * change[:2].max()


def test_arguments():
    for options in ({"num_subjects": 1}, {"num_subjects": 1000}, {"given": 20}, {"missing": 1.0}):
        with pytest.raises(DataError, match="visits: expected"):
            visits(**{**SIZES, **options})
