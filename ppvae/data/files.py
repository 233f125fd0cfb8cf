"""A user's own data: arrays, tables, folders of images, and MNIST."""

from __future__ import annotations

import gzip
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppvae.data.dataset import Dataset, Splits, split_rows
from ppvae.errors import DataError

__all__ = ["images", "load", "mnist", "npy", "npz", "table"]

SPLIT = "split"
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
PathLike = str | Path


def load(path: PathLike, *, seed: int = 0, **options: Any) -> Splits:
    """Any of the kinds below as splits, by its suffix: one line for a user's own data.

    A folder is read by :func:`images`, ``.npz`` by :func:`npz`, ``.npy`` by :func:`npy`, ``.csv``
    and ``.parquet`` by :func:`table`. A column ``split`` (0 train, 1 validation, 2 test) divides
    the rows; without one they are divided 80 / 10 / 10 at random.

    Arguments:
        path: A file or a folder.
        seed: Of the random division.
        options: Passed to the reader.
    """
    path = _existing(path)
    if path.is_dir():
        data = images(path, **options)
    else:
        readers: dict[str, Any] = {".npz": npz, ".npy": npy, ".csv": table, ".parquet": table}
        if path.suffix not in readers:
            raise DataError(
                f"{path.name}: expected a folder of images or one of {sorted(readers)}; got "
                f"{path.suffix or 'no suffix'!r}. Save the arrays with numpy.savez."
            )
        data = readers[path.suffix](path, **options)
    if SPLIT not in data:
        return split_rows(data, seed=seed)
    codes = torch.as_tensor(data[SPLIT]).long()
    unknown = sorted(set(codes.unique().tolist()) - {0, 1, 2})
    if unknown or not (codes == 0).any():
        raise DataError(
            f"{path.name}: expected a column 'split' of 0 (train), 1 (validation), 2 (test) with "
            f"some 0; got values {codes.unique().tolist()}. Mend or remove the column."
        )
    rest = data.select(*[name for name in data if name != SPLIT])
    parts = [rest.take(codes == part) if (codes == part).any() else None for part in range(3)]
    assert parts[0] is not None
    return Splits(parts[0], parts[1], parts[2])


def npz(path: PathLike, *, missing_ok: Sequence[str] = ()) -> Dataset:
    """One array a column from a NumPy archive; pickled objects are never read.

    Images ``x`` with shape (N, H, W) or (N, H, W, C), C being 1, 3 or 4, become (N, C, H, W).
    """
    path = _existing(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path.name}: expected a NumPy archive of numbers; it cannot be read ({error}). "
            "Save it again with numpy.savez(path, x=..., ...), without objects."
        ) from error
    return Dataset(_image_columns(columns), missing_ok=missing_ok)


def npy(path: PathLike, **columns: PathLike) -> Dataset:
    """``x`` from one array file, memory-mapped; other columns from further files by name.

    Rows are read as they are needed, so that the array may be larger than memory.
    """
    mapped: dict[str, Any] = {}
    for name, file in {"x": path, **columns}.items():
        file = _existing(file)
        try:
            mapped[name] = np.load(file, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(
                f"{file.name}: expected an array saved with numpy.save; it cannot be read "
                f"({error}). Save it again."
            ) from error
    small = {k: np.array(v) if v.ndim == 1 else v for k, v in mapped.items()}
    return Dataset(small)


def table(
    path: PathLike,
    *,
    x: Sequence[str] | None = None,
    missing_ok: Sequence[str] = (),
    **columns: str | Sequence[str],
) -> Dataset:
    """Rows of a CSV or Parquet file, such as cells by genes.

    Arguments:
        path: The file.
        x: The table's columns that make up ``x``; by default every numeric column that nothing
            else names.
        missing_ok: Dataset columns that may hold NaN.
        columns: Dataset column to the table's column or columns; text is numbered in sorted
            order.
    """
    import pandas as pd

    path = _existing(path)
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (ValueError, OSError, ImportError) as error:
        raise DataError(
            f"{path.name}: expected a CSV or Parquet table; it cannot be read ({error}). "
            "Save it again, or install pyarrow for Parquet."
        ) from error
    for name in ("y", "object", "view", "c", SPLIT):
        if name in frame.columns and name not in columns and (x is None or name not in x):
            columns[name] = name
    taken = {c for v in columns.values() for c in ([v] if isinstance(v, str) else v)}
    if x is None:
        x = [str(c) for c in frame.select_dtypes("number").columns if c not in taken]
    missing = [c for c in [*x, *taken] if c not in frame.columns]
    if missing or not x:
        raise DataError(
            f"{path.name}: expected numeric columns for x, and columns {sorted(taken)}; missing "
            f"{missing}, the table has {list(frame.columns)[:12]}. Name them with x=[...]."
        )
    arrays: dict[str, Any] = {"x": _numbers(path, frame[list(x)]).astype(np.float32)}
    for name, source in columns.items():
        if isinstance(source, str) and not pd.api.types.is_numeric_dtype(frame[source]):
            arrays[name] = pd.Categorical(frame[source]).codes.astype(np.int64)
        else:
            arrays[name] = _numbers(path, frame[source if isinstance(source, str) else [*source]])
    return Dataset(arrays, missing_ok=missing_ok)


def _numbers(path: Path, frame: Any) -> np.ndarray:
    try:
        return np.asarray(frame.to_numpy())[:] * 1
    except TypeError as error:
        raise DataError(
            f"{path.name}: expected numbers in the columns of x; some hold text. "
            "Name the numeric columns with x=[...]."
        ) from error


def images(
    folder: PathLike,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    labels: PathLike | None = None,
) -> Dataset:
    """Pictures of a folder, in the order of their paths: ``x`` uint8 (N, C, H, W).

    Classes ``y`` come from a table of labels, or from the names of sub-folders, in sorted order.

    Arguments:
        folder: Holds .png, .jpg, .tif or .bmp files, itself or in sub-folders.
        size: Height and width to resize to; without it all must have one size.
        channels: 1 for grey, 3 for RGB; as the first file has it by default.
        labels: A CSV whose first column is the file name and whose second is the class.
    """
    from PIL import Image, UnidentifiedImageError

    folder = _existing(folder)
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES)
    if not paths:
        raise DataError(
            f"{folder.name}: expected picture files {PICTURES}; found none. Check the folder."
        )
    pictures: list[np.ndarray] = []
    for path in paths:
        try:
            with Image.open(path) as opened:
                picture: Any = opened
                if channels is None:
                    channels = 1 if picture.mode in ("1", "L", "I", "I;16", "F") else 3
                picture = picture.convert("L" if channels == 1 else "RGB")
                if size is not None:
                    picture = picture.resize((size[1], size[0]), Image.Resampling.LANCZOS)
                pixels = np.asarray(picture)
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(
                f"{path.name}: expected a picture; it cannot be read ({error}). Remove the file."
            ) from error
        if pictures and pixels.shape != pictures[0].shape:
            raise DataError(
                f"{folder.name}: expected pictures of one size; {paths[0].name} has "
                f"{pictures[0].shape[:2]} and {path.name} {pixels.shape[:2]}. Pass "
                "size=(height, width)."
            )
        pictures.append(pixels)
    stacked = np.stack(pictures)
    x = stacked[:, None] if channels == 1 else stacked.transpose(0, 3, 1, 2)
    columns: dict[str, Any] = {"x": np.ascontiguousarray(x)}
    if labels is not None:
        columns["y"] = _labels(_existing(labels), paths)
    else:
        parents = [path.parent.relative_to(folder).as_posix() for path in paths]
        if len(set(parents)) > 1:
            columns["y"] = np.unique(parents, return_inverse=True)[1].astype(np.int64)
    return Dataset(columns)


def _labels(path: Path, files: Sequence[Path]) -> np.ndarray:
    import pandas as pd

    frame = pd.read_csv(path)
    if frame.shape[1] < 2:
        raise DataError(
            f"{path.name}: expected the columns file and class; got {list(frame.columns)}. "
            "Give the table a header and two columns."
        )
    names = [Path(str(name)).name for name in frame.iloc[:, 0]]
    codes = dict(zip(names, pd.Categorical(frame.iloc[:, 1]).codes, strict=True))
    absent = [file.name for file in files if file.name not in codes]
    if absent:
        raise DataError(
            f"{path.name}: expected a row for every picture; {len(absent)} have none, such as "
            f"{absent[0]}. Add the rows, or remove the files."
        )
    return np.array([codes[file.name] for file in files], dtype=np.int64)


def mnist(
    folder: PathLike | None = None, *, download: bool = False, validation: int = 10_000
) -> Splits:
    """MNIST from a folder of IDX files, or, if asked for, from OpenML.

    Columns: ``x`` uint8 (N, 1, 28, 28), ``y`` int64 (N).

    Arguments:
        folder: Holds ``train-images-idx3-ubyte`` and its three companions, gzipped or not.
        download: Fetch it with scikit-learn (which keeps a copy); nothing is ever fetched
            otherwise.
        validation: How many of the last training images to validate on.

    References:
        | MNIST (LeCun, Cortes and Burges, 1998)
        | http://yann.lecun.com/exdb/mnist/
    """
    if not 0 <= validation < 60_000:
        raise DataError(f"validation: expected 0 to 59,999; got {validation}. Use 10,000.")
    if folder is not None:
        root = _existing(folder)
        parts = [
            (_idx(root, f"{p}-images-idx3-ubyte"), _idx(root, f"{p}-labels-idx1-ubyte"))
            for p in ("train", "t10k")
        ]
        (x, y), (x_test, y_test) = parts
    elif download:
        from sklearn.datasets import fetch_openml

        x, y = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False)
        x, y = x.astype(np.uint8).reshape(-1, 28, 28), y.astype(np.int64)
        x, x_test, y, y_test = x[:60_000], x[60_000:], y[:60_000], y[60_000:]
    else:
        raise DataError(
            "mnist: expected a folder of IDX files, or download=True; got neither. "
            "ppvae.data.digits() is a part of MNIST that needs no file."
        )
    if len(x) != len(y) or len(x_test) != len(y_test):
        raise DataError(
            f"mnist: expected a label for every image; got {len(x)} and {len(x_test)} images, "
            f"{len(y)} and {len(y_test)} labels. Fetch the files again."
        )
    cut = max(len(x) - validation, 1)
    train, test = Dataset({"x": x[:cut, None], "y": y[:cut]}), None
    valid = Dataset({"x": x[cut:, None], "y": y[cut:]}) if cut < len(x) else None
    test = Dataset({"x": x_test[:, None], "y": y_test})
    return Splits(train, valid, test)


def _idx(folder: Path, name: str) -> np.ndarray:
    """An IDX file: two zero bytes, type 8 (uint8), rank, sizes big-endian, then the values."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.exists()), None)
    if path is None:
        raise DataError(f"{folder.name}: expected {name} or {name}.gz; found neither. Add it.")
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name}: the file is damaged ({error}). Fetch it again.") from error
    rank = raw[3] if len(raw) > 3 else 0
    sizes = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    if raw[:3] != b"\x00\x00\x08" or len(raw) != 4 + 4 * rank + math.prod(sizes):
        raise DataError(
            f"{path.name}: expected an IDX file of {sizes} bytes; got {len(raw)} bytes. "
            "The file is damaged or truncated; fetch it again."
        )
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(sizes)


def _existing(path: PathLike) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"{path}: expected a file or a folder; there is none. Check the path.")
    return path


def _image_columns(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    x = columns.get("x")
    if x is not None and x.ndim == 3 and x.shape[1] > 4:
        columns = {**columns, "x": x[:, None]}
    elif x is not None and x.ndim == 4:
        first, last = x.shape[1] in (1, 3, 4), x.shape[3] in (1, 3, 4)
        if last and not first:
            columns = {**columns, "x": np.ascontiguousarray(x.transpose(0, 3, 1, 2))}
    return columns
