"""Missing values in x at every entry: trained and evaluated, or refused in words."""

from __future__ import annotations

import math

import pytest
import torch

import ppvae
from ppvae import data, evaluate, zoo
from ppvae.data import Dataset, Splits
from ppvae.errors import ArgumentError, DataError
from ppvae.runs.run import Run
from ppvae.zoo.options import parse_options

ROWS = 12
# Entries that score x without masks, or measure information in it, and say that they refuse.
REFUSED = {"infomax", "two-stage-single", "two-stage-double"}
SMALLER = {
    "hidden": (8,),
    "second_hidden": (8,),
    "filters": (4, 2),
    "latent_dim": 2,
    "channels": (4, 2),
    "labels": 6,
}


def _columns(name: str) -> Splits:
    if name == "longitudinal":
        return data.visits(num_subjects=3, num_test=1, num_visits=3, given=1)
    x = torch.rand(ROWS, 1, 16, 16)
    if name == "counts":
        x = torch.randint(0, 9, (ROWS, 20)).float()
    x.view(-1)[::3], x[0] = math.nan, math.nan
    columns = {"x": x, "y": torch.arange(ROWS) % 3}
    if name == "gpvae":
        columns |= {"object": torch.arange(ROWS) % 3, "view": torch.arange(ROWS) / 4}
    if name == "ved":
        columns["source"] = torch.rand(ROWS, 1, 16, 16)
    rows = Dataset(columns, missing_ok=("x",))
    return Splits(rows, rows, rows)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", zoo.names())
def test_missing_values_are_left_out_or_refused(name):
    entry, splits = zoo.entry(name), _columns(name)
    if "x" not in entry.missing_ok:
        with pytest.raises(DataError, match="expected finite numbers"):
            Dataset(splits.train, missing_ok=entry.missing_ok)
        return
    assert splits.train.spec["x"]["missing"]
    given = {key: value for key, value in SMALLER.items() if key in entry.options.__annotations__}
    if name in ("gpvae", "longitudinal"):  # A width, not several.
        given["hidden"] = 8
    if name == "longitudinal":
        given["kernel"] = "rbf(age)"
    options = parse_options(entry.options, given)
    arranged = entry.arrange(splits, options)
    entry.check(arranged)
    if name in REFUSED:
        with pytest.raises(ArgumentError, match="expected x without missing values"):
            entry.build(arranged.train.spec, options)
        return
    model, guide, objective = entry.build(arranged.train.spec, options)
    settings = {**entry.fit, **entry.tune(model, guide), "epochs": 1, "batch_size": 6, "seed": 0}
    settings |= {"compile": False, "progress": False, "device": "cpu"}
    ppvae.fit(model, guide, arranged, objective, **settings)
    found = evaluate.summary(Run(model, guide), arranged.held_out, num_particles=2)
    assert math.isfinite(found["elbo"])
