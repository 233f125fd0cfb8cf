"""Columns of text, whose numbers follow the order of the text, where quantities are needed."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import ppvae
from ppvae.data.spectra import targets_of
from ppvae.data.tables import from_frame
from ppvae.errors import ArgumentError, DataError
from ppvae.gp.additive import AdditivePrior
from ppvae.nets import Columns
from ppvae.zoo import entry

VISITS = 12


def _table(tmp_path, **columns):
    """Three subjects' visits, with columns of their own, from a file."""
    rows = [(s, v) for s in range(3) for v in range(VISITS)]
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=len(rows))})
    frame["id"] = [f"P{s}" for s, _ in rows]
    for name, of in columns.items():
        frame[name] = [of(v) for _, v in rows]
    frame.to_csv(tmp_path / "t.csv", index=False)
    named = {name: name for name in ("id", *columns)}
    return ppvae.data.load(tmp_path / "t.csv", seed=None, columns=named).train


NAMED = {
    "visits": lambda v: f"v{v + 1}",
    "dates": lambda v: str(np.datetime64("2020-01-01") + 10 * v),
    "months": lambda v: ["Jan", "Feb", "Mar", "Apr"][v % 4],
}


@pytest.mark.parametrize("factor", ["rbf", "matern", "linear", "sm", "periodic"])
@pytest.mark.parametrize("kind", NAMED)
def test_names_are_no_quantities_of_a_kernel(tmp_path, kind, factor):
    data = _table(tmp_path, visit=NAMED[kind])
    for kernel in (f"{factor}(visit) + cat(id)", f"cat(id) + {factor}(visit)*cat(id)"):
        with pytest.raises(DataError, match=rf"'visit'.*{factor}\(visit.*first date; cat\(visit"):
            AdditivePrior(kernel, latent_dim=2).prepare(data)


def test_names_are_categories_and_numbers_are_quantities(tmp_path):
    data = _table(
        tmp_path, task=lambda v: "abc"[v % 3], day=lambda v: v, sex=lambda v: "FM"[v % 2]
    )
    for kernel in (
        "cat(id) + cat(task) + rbf(day)",
        "cat(id) + free(task)*cat(id)",
        "cat(id) + linear(sex)",  # Two names have no order that could be wrong.
        "cat(id) + rbf(sex)*cat(id)",
    ):
        AdditivePrior(kernel, latent_dim=2).prepare(data)


@pytest.mark.parametrize("names", ["v{}", "{}", ["baseline", "after"]])
def test_visits_are_in_the_order_of_numbers(tmp_path, names):
    def visit(v):
        return names.format(v) if isinstance(names, str) else names[v % 2]

    data = _table(tmp_path, visit=visit, day=lambda v: v)
    prior = AdditivePrior("rbf(day) + cat(id)", latent_dim=2, order="visit")
    if names == "{}":
        prior.prepare(data)
        return
    with pytest.raises(DataError, match="the order of the visits takes them as quantities"):
        prior.prepare(data)


def test_a_fit_of_an_entry_is_refused_before_its_first_step(tmp_path):
    data = _table(tmp_path, visit=NAMED["visits"])
    model, guide, objective = entry("longitudinal")(data, kernel="rbf(visit) + cat(id)")
    with pytest.raises(DataError, match="got the names v1, v10, v11, v12"):
        ppvae.fit(model, guide, data, objective, epochs=1)


def test_names_are_neither_sizes_nor_targets(tmp_path):
    texts = ["low", "mid", "high", "mid"]
    frame = pd.DataFrame({"a": [3, 4, 5, 6], "b": [1, 2, 0, 4], "size_factor": texts})
    data = from_frame(frame, columns={"size_factor": "size_factor"})
    with pytest.raises(ArgumentError, match="expected numbers in the column 'size_factor'"):
        entry("counts")(data, library="size-factor")
    measured = from_frame(frame.rename(columns={"size_factor": "t"}), columns={"target": "t"})
    with pytest.raises(DataError, match="'target'.*the regression takes them"):
        targets_of(measured, "area")


def test_names_as_inputs_of_networks_are_warned_of(tmp_path):
    data = _table(tmp_path, visit=NAMED["visits"], sex=lambda v: "FM"[v % 2])
    with pytest.warns(UserWarning, match="names v1, v10, v11, v12"):
        Columns("visit").prepare(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Columns("sex", "a").prepare(data)
        Columns("visit").prepare({"visit": torch.zeros(3)})
