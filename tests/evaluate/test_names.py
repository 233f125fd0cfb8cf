"""Names of genes, classes and rows in what ArviZ gets; scores of views with missing pixels."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from ppvae import evaluate
from ppvae.app.commands.predict import COLUMNS as FLAGS
from ppvae.data import Dataset, Splits, as_splits
from ppvae.data.columns import COLUMNS
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.report.gallery import Subject
from ppvae.report.gallery.unseen import unseen_metrics
from ppvae.runs.run import Run
from tests.pairs import build


@pytest.mark.parametrize("name", [None, "a.nc", "a.zarr"])
def test_names_are_coordinates(tmp_path, name):
    if name == "a.zarr":
        pytest.importorskip("zarr", minversion="3")
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(4, 3)), columns=["g1", "g2", "g3"])
    frame.index = ["r0", "r1", "r2", "r3"]
    frame["y"] = ["cat", "dog", "cat", None]
    frame["view"] = ["0 days", "15 days", "30 days", "45 days"]
    data = as_splits(frame).train
    run = Run(
        VAE(MLP(2, heads.Normal((3,), heads.Shared()), hidden=[2]), latent_dim=2),
        AmortizedGuide(MLP(3, heads.DiagonalNormal(2), hidden=[2], in_shape=(3,))),
    )
    path = None if name is None else tmp_path / name
    tree = evaluate.to_arviz(run, data, num_draws=3, prior_rows=2, path=path)
    drawn = tree["posterior_predictive"]
    assert list(map(str, drawn["feature"].values)) == ["g1", "g2", "g3"]
    assert list(map(str, drawn["y_name"].values)) == ["cat", "dog", "cat", ""]
    assert list(map(str, drawn["sample_name"].values)) == ["r0", "r1", "r2", "r3"]
    assert drawn["view"].attrs["unit"] == "days"
    assert drawn["view"].values.tolist() == [0, 15, 30, 45]
    gene = drawn["x"].sel(feature="g2")
    np.testing.assert_allclose(gene.values, drawn["x"].values[..., 1])
    assert list(map(str, tree["observed_data"]["feature"].values)) == ["g1", "g2", "g3"]


def test_flags_of_predict_are_those_of_the_columns():
    assert {(column, flag) for flag, column, _, _ in FLAGS} == {
        (kind.name, kind.flag) for kind in COLUMNS.values() if kind.flag is not None
    }


def test_unseen_views_are_scored_by_what_was_seen():
    pair = build("gpvae, missing values")
    assert pair.batch["x"].isnan().any()
    rows = Dataset(pair.batch, missing_ok=("x",))
    data = Splits(rows, None, rows)
    metrics = unseen_metrics(Subject(Run(pair.model, pair.guide), data))
    assert metrics
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["mse_nearest_view"] < 1e-12
