"""Sparse matrices and AnnData: kept sparse, made dense a batch at a time."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from ppvae import data as ppdata
from ppvae import zoo
from ppvae.data import Dataset, Splits, split_rows
from ppvae.data.files import rows
from ppvae.data.sparse import SparseRows
from ppvae.data.tables import from_frame
from ppvae.data.values import describe_values
from ppvae.errors import DataError
from ppvae.zoo.options import parse_options

N, D = 30, 8


def counts(kind: str = "csr"):
    rng = np.random.default_rng(0)
    dense = rng.poisson(0.6, (N, D))
    return sparse.csr_array(dense).asformat(kind), dense


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
def test_rows_are_those_of_the_dense_matrix(kind):
    matrix, dense = counts(kind)
    data = Dataset({"x": matrix, "y": np.arange(N) % 3})
    assert isinstance(data["x"], SparseRows)
    assert data["x"].nbytes < dense.nbytes
    rows = torch.tensor([7, 0, 7, 29])
    batch = data.batch(rows)
    assert batch["x"].dtype == torch.float32
    assert np.array_equal(batch["x"].numpy(), dense[rows.numpy()])
    assert np.array_equal(data.batch(slice(3, 9))["x"].numpy(), dense[3:9])
    taken = data.take(rows)
    assert isinstance(taken["x"], SparseRows)
    assert np.array_equal(np.asarray(taken["x"]), dense[rows.numpy()])
    assert np.array_equal(data["x"][5], dense[5])
    assert any("sparse" in note for note in data.notes)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, bool])
def test_counts_of_any_type_are_no_intensities(kind):
    dense = np.array([[0, 200, 0], [3, 0, 1]]).astype(kind)
    data = Dataset({"x": sparse.csr_matrix(dense)})
    expected = torch.from_numpy(dense.astype(np.float32))
    assert torch.equal(data.batch(slice(None))["x"], expected)


def test_bytes_of_cells_and_tables_are_counts(tmp_path):
    anndata = pytest.importorskip("anndata")
    dense = np.array([[0, 200, 0], [3, 0, 1]], np.uint8)
    cells = anndata.AnnData(dense.astype(np.float32), layers={"raw": dense})
    table = pd.DataFrame(dense, columns=list("abc"))
    made = {
        "X": ppdata.from_anndata(anndata.AnnData(dense)),
        "a layer": ppdata.from_anndata(cells, layer="raw"),
        "some genes": ppdata.from_anndata(
            cells[:, ::-1], layer="raw", like={"x": {"names": "012"}}
        ),
        "a column of a table": Dataset({"x": table}),
        "pairs of tables": Dataset({"x": dense.astype(float), "source": table}),
    }
    for what, data in made.items():
        batch = data.batch(slice(None))
        np.testing.assert_array_equal(batch.get("source", batch["x"]), dense, err_msg=what)
        assert any("taken as counts, unscaled" in note for note in data.notes), what
    assert ppdata.as_splits(table).train.batch(slice(None))["x"].max() == 200
    chosen = ppdata.tables.from_frame(table, x=["a"], columns={"source": ["b", "c"]})
    assert chosen.batch(slice(None))["source"].max() == 200
    assert Dataset({"x": dense}).batch(slice(None))["x"].max() < 1  # intensities


def test_splits_stay_sparse_and_say_what_the_dense_ones_say():
    matrix, dense = counts()
    parts = split_rows(Dataset({"x": matrix}))
    assert all(isinstance(part["x"], SparseRows) for part in parts)
    assert sum(part.num_rows for part in parts) == N
    own, other = Dataset({"x": matrix}).spec["x"], Dataset({"x": dense}).spec["x"]
    np.testing.assert_allclose(own["library"], other["library"])
    found, truth = describe_values(SparseRows(matrix)), describe_values(torch.as_tensor(dense))
    assert (found.low, found.high, found.whole, found.binary) == (0, dense.max(), True, False)
    np.testing.assert_allclose(found.mean, truth.mean)
    np.testing.assert_allclose(found.sd, truth.sd)
    signed = SparseRows(sparse.csr_array(np.array([[-1.5, 0], [0, 2]])))
    assert describe_values(signed).low == -1.5
    assert not describe_values(signed).whole


def test_values_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match="sparse matrix: expected finite numbers"):
        Dataset({"x": sparse.csr_array(np.array([[np.nan, 0.0]]))})
    with pytest.raises(DataError, match="sparse matrix: expected numbers; got dtype complex128"):
        Dataset({"x": sparse.csr_array(np.array([[1j, 0.0]]))})


@pytest.fixture
def annotated():
    anndata = pytest.importorskip("anndata")
    matrix, dense = counts()
    cells = anndata.AnnData(sparse.csr_matrix(matrix))
    cells.var_names = [f"gene{i}" for i in range(D)]
    cells.obs["cell_type"] = ["T", "B", "NK"] * 10
    cells.obs["donor"] = ["d2", "d1"] * 15
    cells.obs["age"] = np.linspace(20, 70, N)
    cells.layers["raw"] = sparse.csr_matrix(2 * dense)
    return cells, dense


@pytest.mark.filterwarnings("ignore")
def test_annotated_cells_that_are_on_the_disk_are_read(annotated, tmp_path):
    anndata = pytest.importorskip("anndata")
    cells, dense = annotated
    cells.raw = cells
    ppdata.write_h5ad(cells, tmp_path / "cells.h5ad")
    read = ppdata.from_anndata(anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r"))
    np.testing.assert_array_equal(read.batch(slice(None))["x"].numpy(), dense)
    assert "left out: raw" in read.notes


@pytest.mark.filterwarnings("ignore")
def test_annotated_cells_are_read_from_memory_and_from_a_file(annotated, tmp_path):
    cells, dense = annotated
    columns = {"y": "cell_type", "batch": "donor", "c": ["age"]}
    # anndata 0.12.6 cannot write pandas' new strings.
    with pd.option_context("future.infer_string", False):
        plain = cells.copy()
        plain.obs = pd.DataFrame(
            {k: list(v) for k, v in cells.obs.items()}, index=[f"cell{i}" for i in range(N)]
        )
        plain.var_names = pd.Index([f"gene{i}" for i in range(D)], dtype=object)
        plain.write_h5ad(tmp_path / "cells.h5ad")
    read = ppdata.load(tmp_path / "cells.h5ad")
    assert isinstance(read, Splits)
    assert isinstance(read.train["x"], SparseRows)
    for data in (
        ppdata.from_anndata(cells, **columns),
        ppdata.h5ad(tmp_path / "cells.h5ad", **columns),
    ):
        assert isinstance(data["x"], SparseRows)
        assert np.array_equal(np.asarray(data["x"]), dense)
        assert data.names["y"] == ("B", "NK", "T")
        assert data["y"][:3].tolist() == [2, 0, 1]
        assert data["batch"][:2].tolist() == [1, 0]
        assert data["c"].shape == (N, 1)
        assert data.names["x"][:2] == ("gene0", "gene1")
    with h5py.File(tmp_path / "cells.h5ad", "a") as file:  # as a writer leaves it that fails
        del file["obs"][file["obs"].attrs["_index"]]
    with pytest.raises(DataError, match="expected obs, with the names of its rows; got none"):
        ppdata.h5ad(tmp_path / "cells.h5ad")
    raw = ppdata.from_anndata(cells, layer="raw")
    assert np.array_equal(np.asarray(raw["x"]), 2 * dense)
    assert ppdata.as_splits(cells).train.num_rows == N


FLAGS = np.arange(N) % 3 == 0
# A column of obs that holds booleans, and the numbers that c has.
TRUE = {
    "booleans": (FLAGS, FLAGS * 1.0),
    "objects": (FLAGS.astype(object), FLAGS * 1.0),
    "categories": (pd.Categorical(FLAGS), FLAGS * 1.0),
    "some missing": (pd.array([None, *FLAGS[1:]], "boolean"), np.r_[np.nan, FLAGS[1:]]),
    "missing among objects": ([None, *FLAGS[1:].tolist()], np.r_[np.nan, FLAGS[1:]]),
    "numbers as categories": (pd.Categorical(np.arange(N) / 4), np.arange(N) / 4),
}


@pytest.mark.parametrize("kind", TRUE)
def test_booleans_of_obs_are_0_and_1_as_those_of_a_table(annotated, kind):
    cells, _ = annotated
    values, expected = TRUE[kind]
    cells.obs["treated"] = pd.Series(values, index=cells.obs.index)
    table = cells.obs[["age", "treated"]].reset_index(drop=True)
    for name in ("c", "treated"):  # a dataset column, and one of the user's own
        role, may = {name: "treated"}, {"missing_ok": [name]}
        for read in (
            ppdata.from_anndata(cells, **may, **role),
            from_frame(table, x=["age"], columns=role, **may),
        ):
            np.testing.assert_array_equal(read[name], expected)
    both = {"missing_ok": ["c"], "c": ["age", "treated"]}
    read = ppdata.from_anndata(cells, **both)
    np.testing.assert_array_equal(read["c"][:, 1], expected)
    np.testing.assert_array_equal(
        ppdata.from_anndata(cells, like=read.spec, **both)["c"], read["c"]
    )


@pytest.mark.filterwarnings("ignore")
def test_columns_that_a_model_reads_are_found_in_every_kind_of_file(annotated, tmp_path):
    cells, dense = annotated
    counts, gpvae = zoo.entry("counts"), zoo.entry("gpvae")
    chosen = parse_options(counts.options, {"library": "size-factor"})
    kernel = parse_options(gpvae.options, {"kernel": "rbf(dose)"})
    factors = {"size_factor": np.arange(N) / N + 0.5, "dose": np.arange(N) % 4 / 2}
    for name, values in factors.items():
        cells.obs[name] = values
    ppdata.write_h5ad(cells, tmp_path / "t.h5ad")
    frame = pd.DataFrame(dense, columns=list(cells.var_names))
    frame.assign(**factors).to_csv(tmp_path / "t.csv", index=False)
    np.savez(tmp_path / "t.npz", x=dense, **factors)
    for model, options, name in ((counts, chosen, "size_factor"), (gpvae, kernel, "dose")):
        for file in ("t.h5ad", "t.csv", "t.npz"):
            path = tmp_path / file
            read = rows(path, **model.reading(path, options))
            np.testing.assert_allclose(read[name], factors[name])
    assert "columns" not in counts.reading(tmp_path / "t.h5ad", parse_options(counts.options, {}))
    del cells.obs["size_factor"]
    ppdata.write_h5ad(cells, tmp_path / "t.h5ad")
    with pytest.raises(DataError, match="size_factor: expected columns of obs"):
        rows(tmp_path / "t.h5ad", **counts.reading(tmp_path / "t.h5ad", chosen))


def test_genes_and_categories_are_matched_by_name(annotated):
    cells, dense = annotated
    like = ppdata.from_anndata(cells, y="cell_type").spec
    turned = cells[:, ::-1].copy()[np.asarray(cells.obs["cell_type"] != "B")]
    found = ppdata.from_anndata(turned, y="cell_type", like=like)
    kept = np.asarray(cells.obs["cell_type"] != "B")
    assert np.array_equal(np.asarray(found["x"]), dense[kept])
    assert set(found["y"].tolist()) == {1, 2}
    with pytest.raises(DataError, match="expected the 8 genes .* got no \\['gene0'\\]"):
        ppdata.from_anndata(cells[:, 1:], like=like)


def test_what_is_not_there_is_refused_in_words(annotated):
    cells, _ = annotated
    with pytest.raises(DataError, match=r"layer: expected one of \['raw'\]; got 'counts'"):
        ppdata.from_anndata(cells, layer="counts")
    with pytest.raises(DataError, match=r"y: expected columns of obs, .* got \['type'\]"):
        ppdata.from_anndata(cells, y="type")


def test_latents_are_written_back(annotated):
    cells, _ = annotated
    ppdata.add_latents(cells, {"z": torch.ones(N, 2), "y": torch.zeros(N)})
    assert cells.obsm["X_ppvae"].shape == (N, 2)
    assert cells.obs["X_ppvae_y"].tolist() == [0] * N
    with pytest.raises(DataError, match="z: expected 30 rows"):
        ppdata.add_latents(cells, {"z": torch.ones(3, 2)})
