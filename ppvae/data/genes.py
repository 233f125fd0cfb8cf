"""Tables with a gene in each row, where a dataset has a cell or a sample."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["said_genes"]

# Names of a column with the names of genes, proteins and the like.
COLUMN = re.compile(
    r"(?:ensembl[_ .-]?)?(?:gene|transcript|protein|peptide|probe|probe_?set|otu|metabolite)s?"
    r"(?:[_ .-]?(?:ids?|names?|symbols?|accessions?))?|hgnc[_ .-]?(?:ids?|symbols?)",
    re.IGNORECASE,
)
# Stable identifiers of Ensembl, and genes that nearly every table of expression has.
STABLE = re.compile(r"ENS[A-Z]{0,4}[GTP]\d{11}(?:\.\d+)?")
COMMON = frozenset({"ACTB", "B2M", "CD4", "EGFR", "FOS", "GAPDH", "JUN", "MYC", "STAT1", "TP53"})


def said_genes(source: str, named: Mapping[str, Iterable[object]]) -> str:
    """A note if the rows have the names of genes, a name for each; empty for others.

    Arguments:
        source: Name of the table.
        named: Texts in each row, by the name of their column, which is empty without one.
    """
    for column, values in named.items():
        names = [str(value) for value in values]
        distinct = set(names)
        known = sum(STABLE.fullmatch(name) is not None for name in distinct) > len(distinct) / 2
        common = len(COMMON & {name.upper() for name in distinct}) >= 3
        if len(distinct) < max(2, 0.9 * len(names)):  # Symbols of some genes repeat.
            continue
        if known or common or COLUMN.fullmatch(column.strip()):
            return (
                f"rows: {source} has a gene or the like in each row, such as {names[0]}; if a "
                "datum is a cell or a sample, transpose it (pandas: frame.set_index(NAME).T, "
                "AnnData: adata.T)"
            )
    return ""
