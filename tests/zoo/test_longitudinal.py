"""The entry ``longitudinal``: its kernel from the command line, and rows of a table predicted."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from ppvae.app.workflow import predict_run
from ppvae.data import visits
from ppvae.errors import ArgumentError, DataError
from ppvae.fitting import fit
from ppvae.report.gallery import Subject
from ppvae.report.gallery.additive import metrics, share_figure
from ppvae.report.gallery.unseen import predictions
from ppvae.runs import Recipe
from ppvae.zoo import entry

OPTIONS = {
    "kernel": "cat(id) + rbf(age)*cat(sex)",
    "latent_dim": 2,
    "hidden": 4,
    "filters": (4, 2),
}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    splits = visits(num_subjects=4, num_test=2, num_visits=4, given=2)
    model, guide, objective = entry("longitudinal")(splits, **OPTIONS)
    recipe = Recipe(
        "ppvae.zoo:build", name="longitudinal", options=OPTIONS, spec=splits.train.spec
    )
    settings = {"epochs": 1, "progress": False, "compile": False, "device": "cpu"}
    run = fit(model, guide, splits.train, objective, recipe=recipe, **settings)
    folder = tmp_path_factory.mktemp("run") / "run"
    run.save(folder)
    return run, splits, folder


def test_rows_of_a_table_are_predicted(fitted, tmp_path):
    run, _, folder = fitted
    table = tmp_path / "at.csv"
    table.write_text("id,age,sex\n5,3.5,1\n-1,0,0\n")
    prediction, given = predict_run(folder, {}, tmp_path / "out", at=table, num_draws=4)
    assert prediction.mean.shape == (2, 1, 36, 36)
    assert given["id"].tolist() == [5, -1]
    saved = np.load(tmp_path / "out" / "predictions.npz")
    np.testing.assert_allclose(saved["age"], [3.5, 0.0])
    table.write_text("id,age\n5,3.5\n")
    with pytest.raises(ArgumentError, match=r"expected a table with columns .*'sex'"):
        predict_run(folder, {}, tmp_path / "out", at=table)
    table.write_text("id,age,sex\n77,3.5,1\n")
    with pytest.raises(DataError, match="subjects with a visit in the training data"):
        predict_run(folder, {}, tmp_path / "out", at=table)


def test_the_report_says_each_terms_share(fitted):
    run, splits, _ = fitted
    found = metrics(Subject(run, splits))
    shares = {name: value for name, value in found.items() if name.startswith("share/")}
    assert set(shares) == {"share/id", "share/age x sex", "share/noise"}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert 0 < found["test_mse"] < 1
    ((name, _, figure),) = share_figure(Subject(run, splits))
    assert name == "shares.png"
    bars = [bar.get_x() + bar.get_width() / 2 for bar in figure.axes[0].patches]
    assert (min(bars), max(bars)) == pytest.approx((1, run.model.prior.latent_dim))


def test_the_report_shows_later_visits_beside_the_last_one(fitted):
    run, splits, _ = fitted
    subject = Subject(run, splits)
    drawn = predictions(subject)
    assert [name for name, _, _ in drawn] == ["predictions.png", "calibration.png"]
    heads = {t.get_text() for t in drawn[0][2].findobj(Text) if t.get_text().startswith("id")}
    assert heads == {"id 6\nage 2", "id 6\nage 3", "id 7\nage 2", "id 7\nage 3"}
    test, train = splits.test, splits.train
    guesses = []
    for own in test["id"]:
        guess = train["x"].nanmean(0)
        for age in (0, 1):
            x = train["x"][(train["id"] == own) & (train["age"] == age)][0]
            guess = torch.where(x.isnan(), guess, x)
        guesses.append(guess)
    squares = (torch.stack(guesses) - test["x"]).square().flatten(1)
    expected = float(squares.nanmean(1).mean())
    assert metrics(subject)["mse_last_visit"] == pytest.approx(expected, rel=1e-4)


def test_a_kernel_that_is_none_is_refused():
    splits = visits(num_subjects=2, num_test=1, num_visits=3, given=1)
    with pytest.raises(ArgumentError, match="kernel: expected factors"):
        entry("longitudinal")(splits, kernel="rbf(age) - cat(id)")
    assert torch.as_tensor(splits.train["x"]).isnan().any()


def test_it_is_built_where_nothing_else_has_imported_its_kernel():
    spec = {"x": {"shape": [9], "dtype": "float32", "classes": None}}
    code = f"from ppvae.zoo import entry; entry('longitudinal')({spec!r})"
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
