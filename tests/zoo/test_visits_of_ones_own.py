"""``longitudinal`` on a study of one's own: names of subjects, gaps in covariates, a table."""

from __future__ import annotations

import numpy as np
import pytest

from ppvae.app.workflow import evaluate_run, fit_entry, predict_run
from ppvae.errors import DataError

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
    np.savez(folder / "visits.npz", x=x, **columns)
    lines = ["id,age,dose,arm,split,first,second,third"]
    for i in range(24):
        dose = "" if np.isnan(columns["dose"][i]) else columns["dose"][i]
        row = [columns["id"][i], columns["age"][i], dose, columns["arm"][i], columns["split"][i]]
        lines.append(",".join(map(str, [*row, *x[i]])))
    (folder / "visits.csv").write_text("\n".join(lines) + "\n")
    at = "id,age,dose,arm\npatient c,4.5,0.5,drug\n-1,1.0,,\n"
    (folder / "at.csv").write_text(at)
    return folder


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
    with pytest.raises(DataError, match="expected the names patient a.*got patient z"):
        predict_run(tmp_path / "run", {}, tmp_path / "out", at=table)
    again = evaluate_run(tmp_path / "run", data=data)
    assert again.metrics["n_test"] == 24


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
