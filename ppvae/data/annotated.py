"""AnnData: cells by genes with their annotations, from memory or a ``.h5ad`` file, and back.

The package ``anndata`` is needed only for files (``pip install 'ppvae[counts]'``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ppvae.data.dataset import Dataset
from ppvae.data.genes import said_genes
from ppvae.data.hdf5 import refuse_outside
from ppvae.data.paths import UNREADABLE
from ppvae.data.record import Record, known_names
from ppvae.data.sparse import is_sparse
from ppvae.errors import DataError
from ppvae.expected import expect_package, real_path
from ppvae.typing import Spec

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["add_latents", "from_anndata", "h5ad", "write_h5ad"]


def h5ad(
    path: str | Path,
    *,
    layer: str | None = None,
    missing_ok: Sequence[str] = (),
    like: Spec | None = None,
    **columns: str | Sequence[str],
) -> Dataset:
    """Read a ``.h5ad`` file, by the rules of :func:`from_anndata`; sparse matrices stay sparse.

    Arguments:
        path: Path of the file.
        layer: Layer of ``layers``, such as raw counts; ``X`` by default.
        missing_ok: Dataset columns that may hold NaN.
        like: Spec of the columns of a fitted run (:func:`from_anndata`).
        columns: Column of ``obs``, or several, for each dataset column.

    Raises:
        MissingPackageError: If anndata is not installed.
        DataError: If the file cannot be read, or its writing was not finished.
    """
    anndata = expect_package(Path(path).name, "anndata", "counts")
    try:
        refuse_outside(Path(path))
        _refuse_unfinished(Path(path))
        read = anndata.read_h5ad(path)
    except UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{Path(path).name}: expected an .h5ad file; it cannot be read ({error}). "
            "Save it again with adata.write_h5ad."
        ) from error
    return from_anndata(read, layer=layer, missing_ok=missing_ok, like=like, **columns)


def _refuse_unfinished(path: Path) -> None:
    """Refuse a file without the names of cells or genes, which anndata would number silently."""
    import h5py

    with h5py.File(path) as file:
        for name in ("obs", "var"):
            part = file.get(name)
            if isinstance(part, h5py.Dataset):  # as anndata wrote them before 0.7
                continue
            if part is None or part.attrs.get("_index", "_index") not in part:
                raise DataError(
                    f"{path.name}: expected {name}, with the names of its rows; got none, so the "
                    "file was not written to its end. Save it again with adata.write_h5ad."
                )


def from_anndata(
    data: AnnData,
    *,
    layer: str | None = None,
    missing_ok: Sequence[str] = (),
    like: Spec | None = None,
    **columns: str | Sequence[str],
) -> Dataset:
    """Cells by genes: ``x`` from ``X`` or a layer, other columns from ``obs``.

    The names of genes and cells are stored with the data.

    Arguments:
        data: An ``anndata.AnnData``.
        layer: Layer of ``data.layers``, such as raw counts; ``X`` by default.
        missing_ok: Dataset columns that may hold NaN.
        like: Spec of the columns of a fitted run: genes are matched by name, and categories get
            the numbers that they have in the run.
        columns: Column of ``obs``, or several, for each dataset column, such as
            ``y="cell_type", batch="donor", c=["age"]``; by default the columns of ``obs`` with
            the names of dataset columns. Text and categories are numbered in sorted order.

    Raises:
        DataError: If a layer, a gene or a column does not exist, or a column is text where
            numbers are needed.
    """
    from ppvae.data.roles import AS_CLASS, roles_of, taken_by
    from ppvae.data.tables import column_of

    if layer is not None and (not isinstance(layer, str) or layer not in data.layers):
        raise DataError(
            f"layer: expected one of {sorted(data.layers)}; got {layer!r}. Name one, or leave it "
            "out for X."
        )
    known = known_names(like, "x")
    twice = sorted(set(map(str, data.var_names[data.var_names.duplicated()])))
    if twice:
        raise DataError(
            f"anndata: expected a name of its own for each gene; got {twice[:6]} more than once. "
            "Rename them: adata.var_names_make_unique()."
        )
    genes, places, notes = tuple(map(str, data.var_names)), None, []
    if known is not None and known != genes:
        places = data.var_names.get_indexer(known)
        if (places < 0).any():
            absent = [name for name, place in zip(known, places, strict=True) if place < 0]
            raise DataError(
                f"anndata: expected the {len(known)} genes that the run was fitted with; got no "
                f"{absent[:6]}. Add them, or fit a run without them."
            )
        extra = len(genes) - len(known)
        notes.append("x: genes put into the order that the run was fitted with")
        notes.append(f"left out: {extra} genes that the run was not fitted with" * (extra > 0))
        genes = known
    chosen = data.isbacked and data.is_view
    if data.isbacked:
        data = data.to_memory()
    x = data.X if layer is None else data.layers[layer]
    if x is None:
        remedy = f"Name a layer of {sorted(data.layers)}"
        if chosen:  # anndata leaves out a sparse X that it cannot cut on the disk.
            remedy = "Read the file into memory before choosing cells: anndata.read_h5ad(path)"
        raise DataError(f"anndata: expected values in X; got none. {remedy}.")
    if getattr(x, "dtype", None) == np.uint8 and not is_sparse(x):
        x = np.asarray(x).astype(np.int64)  # uint8 of an array is an intensity.
        notes.append("x: uint8 taken as counts, unscaled")
    record = Record(names={"x": genes}).noted(*notes)
    arrays: dict[str, object] = {"x": x if places is None else x[:, places]}
    frame = data.obs.set_axis([str(c) for c in data.obs.columns], axis=1)
    columns, noted = roles_of("obs", frame, (), like, columns, features_here=False)
    left = [str(c) for c in frame.columns if c not in taken_by(columns)]
    likely = [c for c in left if frame[c].dtype.kind not in "iufb"] or left  # text, categories
    others = sorted(set(data.layers) - {layer}) + (["X"] if layer is not None else [])
    record = record.noted(
        *noted.notes,
        f"left out: columns of obs {', '.join(left[:12])}{AS_CLASS.format(likely[0])}"
        if left
        else "",
        f"left out: layers {', '.join(others)}; --layer names another" if others else "",
        "left out: raw" if data.raw is not None else "",
    )
    for name, given in columns.items():
        wanted = [given] if isinstance(given, str) else list(given)
        absent = [column for column in wanted if column not in frame]
        if absent:
            raise DataError(
                f"{name}: expected columns of obs, {list(frame.columns)[:12]}; got {absent}. "
                "Name one that is there."
            )
        parts = []
        for column in wanted:
            values, record = column_of("obs", name, frame[column], record, like)
            parts.append(values)
        arrays[name] = parts[0] if isinstance(given, str) else np.stack(parts, 1)
    names = list(map(str, data.obs_names))
    record = record.noted(said_genes("obs", {"": names}))
    return Dataset(arrays, missing_ok=missing_ok, record=record, row_names=names)


def add_latents(data: AnnData, latents: Mapping[str, Tensor], *, prefix: str = "X_ppvae") -> None:
    """Write latents, such as those of :meth:`ppvae.runs.Run.encode`, into ``obsm`` of an AnnData.

    ``z`` becomes ``X_ppvae``, other sites ``X_ppvae_NAME``; class numbers go into ``obs``.

    Arguments:
        data: An ``anndata.AnnData`` with the same cells in the same order.
        latents: Values by site, with shape (N, ...).
        prefix: Prefix of the names in ``obsm``.

    Raises:
        DataError: If the numbers of cells differ.
    """
    for name, values in latents.items():
        array = np.asarray(values)
        if len(array) != data.n_obs:
            raise DataError(
                f"{name}: expected {data.n_obs} rows, as the AnnData has; got {len(array)}. "
                "Encode the same cells, in their order."
            )
        key = prefix if name == "z" else f"{prefix}_{name}"
        if array.ndim == 1:
            data.obs[key] = array
        else:
            data.obsm[key] = array.reshape(len(array), -1)


def write_h5ad(data: AnnData, path: str | Path) -> None:
    """Write a ``.h5ad`` file, the text of its tables as objects.

    anndata does not write the text type of pandas 3, in which it reads names and categories. A
    file that exists is replaced only by one that is complete.

    Arguments:
        data: An ``anndata.AnnData``; text in ``obs``, ``var``, ``raw.var`` and tables of ``obsm``
            and ``varm`` is changed to objects.
        path: The file.

    Raises:
        DataError: If something else in it cannot be written.
    """
    cells = data.copy() if data.is_view else data
    tables = [cells.obs, cells.var, *cells.obsm.values(), *cells.varm.values()]
    for frame in tables if cells.raw is None else [*tables, cells.raw.var]:
        if hasattr(frame, "columns"):
            _as_objects(frame)
    place = real_path(path)
    partial = place.with_name(f".{place.stem}.partial{place.suffix}")
    try:
        cells.write_h5ad(partial)
        partial.replace(place)
    except OSError:
        raise
    except Exception as error:  # anndata's own errors have no common type.
        raise DataError(
            f"{Path(path).name}: expected an AnnData that anndata can write; it cannot "
            f"({str(error).splitlines()[0]}). Convert text in uns with .astype(object), or write "
            "a table: .csv or .parquet."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _as_objects(frame: pd.DataFrame) -> None:
    import pandas as pd

    for name in list(frame):
        values = frame[name]
        if isinstance(values.dtype, pd.StringDtype):
            frame[name] = values.astype(object)
        elif isinstance(values.dtype, pd.CategoricalDtype):
            categories = values.cat.categories
            if isinstance(categories.dtype, pd.StringDtype):
                frame[name] = values.cat.rename_categories(categories.astype(object))
    frame.index = frame.index.astype(object)
