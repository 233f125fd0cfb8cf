"""``longitudinal`` on a study of one's own: names of subjects, gaps in covariates, a table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppvae import zoo
from ppvae.app.workflow import evaluate_run, fit_entry, predict_run, splits_of
from ppvae.errors import ArgumentError, DataError
from ppvae.evaluate.predict import predict
from ppvae.gp.additive import given_visits
from ppvae.report.gallery import Subject
from ppvae.report.gallery.additive import correlation_figure

OPTIONS = {
    "kernel": "cat(id) + rbf(age) + rbf(dose)*obs(dose) + cat(arm)*obs(arm)",
    "latent_dim": 2,
    "hidden": 4,
}


def study(rng: np.random.Generator, rows: int = 24) -> dict[str, np.ndarray]:
    dose = rng.random(rows)
    dose[::4] = np.nan
    arm = np.array([["drug", "placebo", ""][i % 3] for i in range(rows)])
    return {
        "id": np.array([f"patient {'abcd'[i % 4]}" for i in range(rows)]),
        "age": np.arange(rows) // 4 % 4 + rng.random(rows),
        "dose": dose,
        "arm": arm,
        "split": np.where(np.arange(rows) >= 20, 2, 0),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("study")
    columns, x = study(rng), rng.normal(size=(24, 3))
    # A column that no kernel below reads has gaps.
    np.savez(folder / "visits.npz", x=x, weight=columns["dose"], **columns)
    lines = ["id,age,dose,arm,split,first,second,third"]
    for i in range(24):
        dose = "" if np.isnan(columns["dose"][i]) else columns["dose"][i]
        row = [columns["id"][i], columns["age"][i], dose, columns["arm"][i], columns["split"][i]]
        lines.append(",".join(map(str, [*row, *x[i]])))
    (folder / "visits.csv").write_text("\n".join(lines) + "\n")
    at = "id,age,dose,arm\npatient c,4.5,0.5,drug\n-1,1.0,,\n"
    (folder / "at.csv").write_text(at)
    return folder


@pytest.fixture(scope="module")
def fitted(files):
    """A run of ``gpvae`` with an additive kernel."""
    settings = {"epochs": 1, "progress": False, "compile": False, "device": "cpu"}
    options = {"kernel": "cat(id) + rbf(age) + rbf(age)*cat(id)", "latent_dim": 2, "hidden": 4}
    folder = files / "gpvae"
    return fit_entry(
        "gpvae", folder, data=files / "visits.npz", options=options, **settings
    ), folder


def test_gpvae_with_a_kernel_over_columns(fitted, tmp_path):
    run, folder = fitted
    assert run.model.prior.kernel.written == "cat(id) + rbf(age) + rbf(age)*cat(id)"
    assert run.model.prior.order == "age"
    assert [term.name for term in run.objective.terms] == ["leave_visits_out"]
    (tmp_path / "at.csv").write_text("id,age\npatient a,4.5\n-1,4.5\n")
    prediction, _ = predict_run(
        folder, {}, tmp_path, at=tmp_path / "at.csv", num_draws=4, keep_draws=True
    )
    saved = np.load(tmp_path / "predictions.npz")
    assert saved["draws"].shape == (4, 2, 3)
    np.testing.assert_array_equal(saved["draws"], prediction.draws.numpy())
    assert saved["terms"].tolist() == ["id", "age", "age x id", "noise"]
    np.testing.assert_allclose(saved["shares"].sum(0), 1.0)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kernel": "cat(id)", "rank": 4}, "another rank. Leave them out, or --kernel"),
        ({"kernel": "cat(id)", "view_kernel": "rbf"}, "options of the view kernel"),
        ({"subject": "id"}, "expected one where --subject or --order is given"),
    ],
)
def test_gpvae_refuses_options_of_the_other_kernel(options, match):
    columns = {"x": torch.rand(4, 3), "object": torch.arange(4) % 2, "view": torch.rand(4)}
    with pytest.raises(ArgumentError, match=match):
        zoo.gpvae(columns, **options)


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_new_subjects_are_predicted_from_their_visits(fitted, suffix, tmp_path):
    run, folder = fitted
    x = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)
    columns = {"id": np.array(["zoe", "zoe", "patient b"]), "age": np.array([0.5, 1.5, 3.5])}
    path = tmp_path / f"more.{suffix}"
    if suffix == "npz":
        np.savez(path, x=x, **columns)
    else:
        rows = zip(*columns.values(), *x.T, strict=True)
        lines = ["id,age,first,second,third", *(",".join(map(str, row)) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    at = tmp_path / "at.csv"
    at.write_text("id,age\nzoe,2.5\n-1,2.5\npatient a,2.5\n")
    with pytest.raises(DataError, match=r"got zoe\. Give their visits \(--visits FILE\)"):
        predict_run(folder, {}, tmp_path / "out", at=at)
    prediction, given = predict_run(folder, {}, tmp_path / "out", at=at, visits=path)
    assert given["id"].tolist() == [4, -1, 0]
    assert np.load(tmp_path / "out" / "predictions.npz")["id"].tolist() == [
        "zoe",
        "-1",
        "patient a",
    ]
    data = {
        "x": torch.from_numpy(x),
        "id": torch.tensor([4, 4, 1]),
        "age": torch.tensor([0.5, 1.5, 3.5]),
    }
    model = given_visits(run.model, run.guide, data)
    expected = predict(model, given, seed=0)
    torch.testing.assert_close(prediction.mean, expected.mean)
    # Visits of their own make a subject's prediction differ from, and less wide than, none's.
    mean, variance = model.prior.moments(given)
    assert not torch.allclose(mean[0], mean[1])
    assert (variance[0] < variance[1]).all()


def test_visits_that_cannot_be_used(fitted, tmp_path):
    _, folder = fitted
    at, path = tmp_path / "at.csv", tmp_path / "more.npz"
    at.write_text("id,age\npatient a,2.5\n")

    def refused(match, **columns):
        np.savez(path, **columns)
        with pytest.raises(DataError, match=match):
            predict_run(folder, {}, tmp_path / "out", at=at, visits=path)

    x, ids, age = np.ones((2, 3)), np.array(["zoe", "zoe"]), np.array([1.0, 2.0])
    refused("expected a column 'id' with the subject of each visit", x=x, age=age)
    refused(r"each visit once; got rows \[0, 1\]", x=x, id=ids, age=np.ones(2))
    refused("column 'age': expected values from", x=x, id=ids, age=age * 100)
    refused("numbered from 0, in every row.*got -1 in row 1", x=x, id=["zoe", "-1"], age=age)
    at.write_text("id,age\n,2.5\n")
    with pytest.raises(DataError, match="expected a subject in every row.*-1 is one that"):
        predict_run(folder, {}, tmp_path / "out", at=at)


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_subjects_are_asked_for_by_name(files, suffix, tmp_path):
    settings = {"epochs": 1, "progress": False, "compile": False, "device": "cpu"}
    data = files / f"visits.{suffix}"
    run = fit_entry(
        "longitudinal", tmp_path / "run", data=data, seed=0, options=OPTIONS, **settings
    )
    spec = run.config["data"]["columns"]
    assert spec["x"]["shape"] == [3]
    assert spec["id"]["names"] == [f"patient {letter}" for letter in "abcd"]
    assert spec["arm"]["names"] == ["drug", "placebo"]
    assert {"share/dose", "share/arm", "test_mse"} <= set(run.metrics)
    prediction, given = predict_run(
        tmp_path / "run", {}, tmp_path / "out", at=files / "at.csv", num_draws=4
    )
    assert prediction.mean.isfinite().all()
    assert given["id"].tolist() == [2, -1]
    saved = np.load(tmp_path / "out" / "predictions.npz")
    assert saved["id"].tolist() == ["patient c", "-1"]
    assert saved["arm"].tolist() == ["drug", ""]
    table = tmp_path / "at.csv"
    table.write_text("id,age,dose,arm\npatient z,4.5,0.5,drug\n")
    with pytest.raises(
        DataError, match="subjects that the run was fitted to, patient a.*got patient z"
    ):
        predict_run(tmp_path / "run", {}, tmp_path / "out", at=table)
    assert "mse_train_mean" in run.metrics
    again = evaluate_run(tmp_path / "run", data=data)
    assert again.metrics["n_test"] == 24
    # The data of the fit are not at hand, and what was found for its test data is of those.
    assert "mse_train_mean" not in again.metrics
    assert again.metrics["n_train"] == run.metrics["n_train"]


def test_a_gap_that_the_kernel_does_not_name_is_refused(files, tmp_path):
    options = OPTIONS | {"kernel": "cat(id) + rbf(dose) + cat(arm)*obs(arm)"}
    with pytest.raises(DataError, match=r"column 'dose'.*rbf\(dose\)\*obs\(dose\)"):
        fit_entry(
            "longitudinal", tmp_path / "run", data=files / "visits.npz", options=options, epochs=1
        )


def test_a_row_without_a_subject_is_refused(files, tmp_path):
    columns = dict(np.load(files / "visits.npz"))
    columns["id"] = np.arange(24) % 4 - 1
    np.savez(tmp_path / "visits.npz", **columns)
    with pytest.raises(DataError, match="expected a subject, numbered from 0.*got -1 in row 0"):
        fit_entry(
            "longitudinal",
            tmp_path / "run",
            data=tmp_path / "visits.npz",
            options=OPTIONS,
            epochs=1,
        )


def test_tasks_with_a_free_correlation_and_doses_in_fractions(tmp_path):
    """As a user's file has them: text, and doses in float64, which training converts."""
    rng, rows = np.random.default_rng(0), 36
    names = np.array(["foot", "hand", "rest"])
    study = {
        "x": rng.normal(size=(rows, 4)),
        "id": np.array([f"s{i // 3:02d}" for i in range(rows)]),
        "task": names[np.arange(rows) % 3],
        "dose": np.array([0.1, 0.2, 0.7])[np.arange(rows) // 6 % 3],
        "split": np.where(np.isin(np.arange(rows), (29, 32, 35)), 2, 0),
    }
    np.savez(tmp_path / "study.npz", **study)
    options = {"kernel": "cat(dose) + free(task)*cat(id)", "latent_dim": 2, "hidden": 4}
    settings = {"epochs": 1, "progress": False, "compile": False, "device": "cpu"}
    folder = tmp_path / "run"
    fit_entry("gpvae", folder, data=tmp_path / "study.npz", options=options, **settings)
    (tmp_path / "at.csv").write_text("id,task,dose\ns01,hand,0.2\n-1,rest,0.7\n")
    prediction, given = predict_run(folder, {}, tmp_path, at=tmp_path / "at.csv", num_draws=4)
    assert prediction.mean.shape == (2, 4)
    assert given["task"].tolist() == [1, 2]

    run, _, splits = splits_of(folder)
    [(file, caption, drawn)] = correlation_figure(Subject(run, splits))
    assert file == "correlations.png"
    assert "without an interval" in caption
    axes = drawn.axes[0]
    free = next(iter(list(run.model.prior.kernel)[1]))
    np.testing.assert_allclose(axes.images[0].get_array(), free.correlation().detach())
    assert axes.get_title(loc="left") == "task: free(task)*cat(id)"
    assert [label.get_text() for label in axes.get_yticklabels()] == names.tolist()
