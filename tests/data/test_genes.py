"""Tables whose rows are genes are noted; those of cells with columns of genes are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ppvae import data

COUNTS = np.arange(24).reshape(8, 3)
SYMBOLS = ["TP53", "ACTB", "GAPDH", "MYC", "A1BG", "A2M", "NAT2", "ADA"]
STABLE = [f"ENSG{i:011d}.{i}" for i in range(8)]


@pytest.mark.parametrize(
    ("name", "texts", "noted"),
    [
        ("HGNC symbol", [f"g{i}" for i in range(8)], True),
        ("symbol", SYMBOLS, True),
        ("symbol", [f"g{i}" for i in range(8)], False),  # of stocks
        ("Gene_ID", [f"g{i}" for i in range(8)], True),
        ("", STABLE, True),
        ("", [text.lower() for text in SYMBOLS], True),
        ("Name", SYMBOLS, True),
        ("gene", ["TP53", "MYC"] * 4, False),  # What was switched off in each cell.
        ("", [f"cell{i}" for i in range(8)], False),
        ("protein", [f"p{i % 3}" for i in range(8)], False),
    ],
)
def test_rows_that_are_genes_are_noted(tmp_path, name, texts, noted):
    frame = pd.DataFrame(COUNTS, columns=["s1", "s2", "s3"])
    frame.insert(0, name, texts)
    frame.to_csv(tmp_path / "t.csv", index=False)
    notes = data.table(tmp_path / "t.csv").notes
    assert any("t.csv has a gene or the like in each row" in note for note in notes) == noted
    # No class has a name for each row.
    hinted = any("reads one as classes" in note for note in notes)
    assert hinted == (bool(name) and len(set(texts)) < 8)


def test_genes_by_cells_are_noted_in_anndata():
    anndata = pytest.importorskip("anndata")
    cells = anndata.AnnData(COUNTS.T.astype("f4"))
    cells.var_names = STABLE
    assert not any("gene or the like" in note for note in data.from_anndata(cells).notes)
    assert any("obs has a gene or the like" in note for note in data.from_anndata(cells.T).notes)
