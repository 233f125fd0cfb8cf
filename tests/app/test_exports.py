"""New data for a run: evaluated in full, encoded, reconstructed; samples; what data are."""

from __future__ import annotations

import html
import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array

import ppvae
from ppvae.app.cli import main
from ppvae.app.exports import encode_run, sample_run
from ppvae.app.workflow import evaluate_run, fit_entry, predict_run
from ppvae.data.annotated import write_h5ad
from ppvae.errors import ArgumentError, DataError, RunError


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A small run on a table with classes, and the table's folder."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 3)).round(3), columns=["g1", "g2", "g3"])
    frame.insert(0, "id", [f"cell{i}" for i in range(40)])
    frame["split"] = ["train"] * 30 + ["test"] * 10
    frame.to_csv(folder / "t.csv", index=False)
    frame[["id", "g3", "g1", "g2"]].iloc[:17].to_csv(folder / "q.csv", index=False)
    options = {"likelihood": "normal", "hidden": (4,), "latent_dim": 2}
    fit_entry(
        "vae",
        folder / "run",
        data=folder / "t.csv",
        options=options,
        epochs=1,
        progress=False,
        compile=False,
    )
    return folder


def test_every_row_of_new_data_is_scored_beside_the_run(fitted):
    before = (fitted / "run" / "metrics.json").read_bytes()
    run = evaluate_run(fitted / "run", data=fitted / "q.csv")
    assert run.metrics["n_test"] == 17
    assert (fitted / "run" / "metrics.json").read_bytes() == before
    written = json.loads((fitted / "run/evaluations/q/metrics.json").read_text("utf-8"))
    assert written["n_test"] == 17
    config = json.loads((fitted / "run/evaluations/q/config.json").read_text("utf-8"))
    assert config["evaluation"]["rows"] == 17
    assert any("order" in note for note in config["data"]["notes"])
    assert "rows: 17 (evaluated 17)" in config["data"]["description"]
    assert not config["evaluation"]["fitted"]
    with pytest.raises(ArgumentError, match="--data PATH"):
        evaluate_run(fitted / "run", out=fitted / "elsewhere")


def test_scores_of_the_data_that_a_run_was_trained_on_are_called_that(fitted, capsys):
    assert main(["evaluate", str(fitted / "run"), "--data", str(fitted / "t.csv")]) == 0
    said = capsys.readouterr().out
    assert "among them those that the run was trained on" in said
    assert "not seen" not in said
    page = (fitted / "run/evaluations/t/report.html").read_text("utf-8")
    assert "data it has not seen" not in page


def test_latents_have_the_names_of_the_rows_whatever_the_order_of_the_columns(fitted):
    table = encode_run(fitted / "run", fitted / "q.csv", fitted / "q_latents.csv")
    assert table["row"].tolist() == [f"cell{i}" for i in range(17)]
    all_rows = encode_run(fitted / "run", fitted / "t.csv", fitted / "t.npz")
    for name in ("z_0", "z_0_sd", "z_1", "z_1_sd"):
        np.testing.assert_allclose(table[name], all_rows[name][:17], rtol=1e-6)
    read = pd.read_csv(fitted / "q_latents.csv")
    np.testing.assert_allclose(read["elbo"], table["elbo"])
    assert (table["z_0_sd"] > 0).all()
    with pytest.raises(ArgumentError, match=r"\.csv, \.parquet, \.npz or \.h5ad"):
        encode_run(fitted / "run", fitted / "q.csv", fitted / "latents.doc")
    (fitted / "other.csv").write_text("g1,g2\n1,2\n3,4\n")
    with pytest.raises(DataError, match=r"missing \['g3'\]"):
        encode_run(fitted / "run", fitted / "other.csv", fitted / "o.csv")


def test_samples_reconstructions_and_inspect_on_the_command_line(fitted, capsys):
    assert main(["sample", str(fitted / "run"), "--count", "3"]) == 0
    with np.load(fitted / "run/samples/samples.npz") as archive:
        assert archive["x"].shape == archive["x_mean"].shape == (3, 3)
    assert main(["reconstruct", str(fitted / "run"), "--data", str(fitted / "q.csv")]) == 0
    with np.load(fitted / "run/reconstructions/reconstructions.npz") as archive:
        assert archive["x_mean"].shape == (17, 3)
    assert main(["inspect", str(fitted / "t.csv"), "--model", "vae"]) == 0
    said = capsys.readouterr().out
    for words in ("rows: 40 (train 30, test 10)", "g1, g2, g3", "which names the rows"):
        assert words in said
    assert main(["inspect", str(fitted / "t.csv"), "--out", str(fitted / "s.png")]) == 1
    assert "expected pictures" in capsys.readouterr().err


def test_samples_of_damaged_weights_are_refused_in_words(fitted, tmp_path):
    run = ppvae.load(fitted / "run")
    with torch.no_grad():
        for weights in run.model.decoder.parameters():
            weights.fill_(torch.finfo(weights.dtype).min)
    run.save(tmp_path / "run")
    with pytest.raises(RunError, match="sample: expected finite .* weights are damaged"):
        sample_run(tmp_path / "run", tmp_path, num_samples=3)


def test_latents_in_obsm_have_the_names_of_the_rows(fitted):
    anndata = pytest.importorskip("anndata")
    table = encode_run(fitted / "run", fitted / "q.csv", fitted / "q.h5ad")
    cells = anndata.read_h5ad(fitted / "q.h5ad")
    assert list(cells.obs_names) == [f"cell{i}" for i in range(17)]
    np.testing.assert_allclose(cells.obsm["X_ppvae"][:, 1], table["z_1"])
    np.testing.assert_allclose(cells.obsm["X_ppvae_sd"][:, 0], table["z_0_sd"])
    np.testing.assert_allclose(cells.obs["ppvae_elbo"], table["elbo"])


def test_an_annotated_file_is_fitted_encoded_and_keeps_what_it_had(tmp_path):
    anndata = pytest.importorskip("anndata")
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {"kind": pd.Categorical(["T", "B"] * 10), "note": [f"n{i}" for i in range(20)]},
        index=[f"cell{i}" for i in range(20)],
    )
    var = pd.DataFrame({"symbol": ["x", "y", "z"]}, index=["g1", "g2", "g3"])
    counts = csr_array(rng.poisson(2.0, (20, 3)).astype(np.float32))
    written = anndata.AnnData(X=counts, obs=obs, var=var)
    written.raw = written  # as scanpy's users keep all genes
    write_h5ad(written, tmp_path / "a.h5ad")
    settings = {"epochs": 1, "progress": False, "compile": False}
    options = {"hidden": (4,), "latent_dim": 2}
    fit_entry("vae", tmp_path / "run", data=tmp_path / "a.h5ad", options=options, **settings)
    table = encode_run(tmp_path / "run", tmp_path / "a.h5ad", tmp_path / "b.h5ad")
    cells = anndata.read_h5ad(tmp_path / "b.h5ad")
    assert list(cells.obs_names) == table["row"].tolist() == [f"cell{i}" for i in range(20)]
    assert cells.obs["kind"].tolist() == ["T", "B"] * 10
    assert list(map(str, cells.obs["note"])) == [f"n{i}" for i in range(20)]
    assert list(cells.var["symbol"]) == list(cells.raw.var["symbol"]) == ["x", "y", "z"]
    np.testing.assert_array_equal(cells.X.toarray(), counts.toarray())
    np.testing.assert_allclose(cells.obsm["X_ppvae"][:, 0], table["z_0"])
    encode_run(tmp_path / "run", tmp_path / "b.h5ad", tmp_path / "c.h5ad")  # once more
    again = anndata.read_h5ad(tmp_path / "c.h5ad")
    np.testing.assert_allclose(again.obsm["X_ppvae"], cells.obsm["X_ppvae"])


def test_what_cannot_be_annotated_leaves_the_file_that_was_there(tmp_path):
    anndata = pytest.importorskip("anndata")
    cells = anndata.AnnData(np.zeros((2, 1), np.float32), uns={"call": print})
    (tmp_path / "a.h5ad").write_text("before")
    with pytest.raises(DataError, match=r"a\.h5ad: expected an AnnData that anndata can write"):
        write_h5ad(cells, tmp_path / "a.h5ad")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5ad"]
    assert (tmp_path / "a.h5ad").read_text() == "before"


def test_missing_values_are_imputed_where_data_are_reconstructed(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(30, 3))
    gone = np.arange(90).reshape(30, 3) % 7 == 0
    x[gone] = np.nan
    np.savez(tmp_path / "d.npz", x=x)
    options = {"likelihood": "normal", "hidden": (4,), "latent_dim": 2}
    settings = {"epochs": 1, "progress": False, "compile": False}
    run = tmp_path / "run"
    fit_entry("vae", run, data=tmp_path / "d.npz", options=options, **settings)
    assert main(["reconstruct", str(run), "--data", str(tmp_path / "d.npz")]) == 0
    assert f"imputed: {gone.sum()} missing values" in capsys.readouterr().out
    with np.load(run / "reconstructions/reconstructions.npz") as archive:
        imputed, sd = archive["x_imputed"], archive["x_imputed_sd"]
        assert np.isfinite(archive["x_mean"]).all()
        np.testing.assert_allclose(imputed[~gone], x[~gone], rtol=1e-6)
        assert ((sd > 0) == gone).all()
        assert (archive["x_imputed_lower"][gone] < imputed[gone]).all()
        assert (imputed[gone] < archive["x_imputed_upper"][gone]).all()


def test_the_report_opens_with_the_text_of_inspect(fitted, capsys):
    assert main(["inspect", str(fitted / "t.csv")]) == 0
    said = capsys.readouterr().out.strip()
    page = html.unescape((fitted / "run/report.html").read_text("utf-8"))
    assert said in page


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A small conditional run on a table whose classes have names."""
    folder = tmp_path_factory.mktemp("labelled")
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), columns=["a", "b", "c1"])
    frame["y"] = ["dog", "cat"] * 20
    frame.to_csv(folder / "t.csv", index=False)
    options = {"likelihood": "normal", "hidden": (4,), "latent_dim": 2}
    settings = {"epochs": 1, "progress": False, "compile": False}
    fit_entry("cvae", folder / "run", data=folder / "t.csv", options=options, **settings)
    return folder


def test_predictions_at_rows_of_a_table_are_by_name(labelled):
    (labelled / "at.csv").write_text("y\ndog\ncat\ndog\n")
    at = ["--at", str(labelled / "at.csv"), "--draws", "3"]
    assert main(["predict", str(labelled / "run"), *at]) == 0
    with np.load(labelled / "run/predictions/predictions.npz") as archive:
        assert archive["y"].tolist() == [1, 0, 1]
    (labelled / "at.csv").write_text("y\nhorse\n")
    with pytest.raises(DataError, match="horse"):
        predict_run(labelled / "run", {}, labelled / "p", at=labelled / "at.csv")
    (labelled / "at.csv").write_text("kind\ndog\n")
    with pytest.raises(ArgumentError, match=r"columns \['y'\]"):
        predict_run(labelled / "run", {}, labelled / "p", at=labelled / "at.csv")


def test_new_data_are_read_and_checked_as_those_of_the_run(fitted):
    (fitted / "long.csv").write_text("g1;g2;g3\n" + "1,5;2,5;3\n" * 2)
    assert len(encode_run(fitted / "run", fitted / "long.csv", fitted / "l.csv")["row"]) == 2
    np.savez(fitted / "wide.npz", x=np.ones((4, 5)))
    with pytest.raises(DataError, match=r"x with shape \[3\] per datum.*got \[5\]"):
        encode_run(fitted / "run", fitted / "wide.npz", fitted / "l.csv")
