"""Tables and archives of arrays, which replace earlier ones only when they are complete."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from ppvae import plots
from ppvae.data.annotated import write_h5ad
from ppvae.errors import RunError
from ppvae.expected import real_path
from ppvae.runs.files import written
from ppvae.typing import Keywords

__all__ = ["array_files", "write_arrays", "write_table"]


def array_files(folder: str | Path, name: str) -> tuple[Path, Path]:
    """The files that :func:`write_arrays` writes into a folder."""
    return Path(folder) / f"{name}.npz", Path(folder) / f"{name}.png"


def write_table(path: Path, table: Mapping[str, np.ndarray], source: Path) -> None:
    """Write columns as .csv, .parquet or .npz; or as .h5ad, with those of latents in obsm.

    Arguments:
        path: The file.
        table: Columns by name, each with shape (N).
        source: The data; if it is an .h5ad file, its contents are in that written, too.

    Raises:
        RunError: If a package is not installed, or the file cannot be written.
    """
    import pandas as pd

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A link that the user names is followed; the file that it leads to changes completely.
        with written(real_path(path)) as new:
            if path.suffix.lower() == ".h5ad":
                _annotate(new, table, source)
            elif path.suffix.lower() == ".npz":
                arrays: Keywords = table
                with new.open("wb") as file:
                    np.savez_compressed(file, **arrays)
            elif path.suffix.lower() == ".csv":
                pd.DataFrame(table).to_csv(new, index=False)
            else:
                pd.DataFrame(table).to_parquet(new, index=False)
    except ImportError as error:
        raise RunError(
            f"out: expected {'anndata' if path.suffix == '.h5ad' else 'pyarrow'} to be installed, "
            f"which writes {path.suffix}; got none. Install it (pip install 'ppvae[extra]'), or "
            "use --out latents.csv."
        ) from error
    except OSError as error:
        raise _unwritable(path, error) from error


def write_arrays(
    folder: Path, name: str, arrays: Mapping[str, np.ndarray], pictures: Tensor | None
) -> None:
    """Write ``NAME.npz`` and, for pictures (N, P, C, H, W), ``NAME.png`` with P side by side.

    Raises:
        RunError: If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = real_path(folder)
        values: Keywords = arrays
        with written(place / f"{name}.npz") as new:
            np.savez_compressed(new, **values)
        if pictures is not None and pictures.dim() == 5:
            shown = pictures.flatten(0, 1).clamp(0, 1)
            with written(place / f"{name}.png") as new:
                plots.images(shown, per_row=8).savefig(new)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _annotate(path: Path, table: Mapping[str, np.ndarray], source: Path) -> None:
    """Write an .h5ad file, a copy of the data's or a new one, with latents in obsm and obs."""
    import anndata
    import pandas as pd

    if source.suffix.lower() == ".h5ad":
        cells = anndata.read_h5ad(source)
    else:
        index = pd.Index([str(row) for row in table["row"]], dtype=object)
        cells = anndata.AnnData(obs=pd.DataFrame(index=index))
    blocks: dict[str, list[np.ndarray]] = {}
    for key, values in table.items():
        match = re.fullmatch(r"(.+)_\d+(_sd)?", key)
        if key == "row":
            continue
        if match is None or "_p_" in key:
            kept = values if values.dtype.kind in "biuf" else pd.Categorical(values.astype(object))
            cells.obs[f"ppvae_{key}"] = kept
        else:
            site = "" if match[1] == "z" else f"_{match[1]}"
            blocks.setdefault(f"X_ppvae{site}{match[2] or ''}", []).append(values)
    for name, columns in blocks.items():
        cells.obsm[name] = np.stack(columns, 1)
    write_h5ad(cells, path)


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"out: expected a place that can be written; got {str(path)!r} "
        f"({error.strerror or error}). Name another: --out."
    )
