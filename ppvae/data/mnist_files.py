"""MNIST from its own files."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np

from ppvae.borders import typed
from ppvae.data.dataset import Dataset
from ppvae.data.paths import UNREADABLE, PathLike, existing
from ppvae.data.splits import Splits
from ppvae.errors import DataError
from ppvae.expected import at_least

__all__ = ["mnist"]


@typed(validation=at_least(0))
def mnist(
    folder: PathLike | None = None, *, download: bool = False, validation: int = 10_000
) -> Splits:
    """MNIST from a folder of IDX files or, on request, from OpenML.

    Columns: ``x`` uint8 (N, 1, 28, 28), ``y`` int64 (N).

    Arguments:
        folder: Folder with ``train-images-idx3-ubyte`` and the three other files, gzipped or not.
        download: Whether to fetch the data with scikit-learn, which keeps a copy; otherwise
            nothing is fetched.
        validation: Number of training images, from the end, that are for validation.

    Raises:
        DataError: If neither a folder nor a download is asked for, a file is missing or damaged,
            or ``validation`` is out of range.

    References:
        | MNIST (LeCun, Cortes and Burges, 1998)
        | http://yann.lecun.com/exdb/mnist/
    """
    if not 0 <= validation < 60_000:
        raise DataError(f"validation: expected 0 to 59,999; got {validation}. Use 10,000.")
    if folder is not None:
        root = existing(folder)
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
    except UNREADABLE as error:
        raise DataError(f"{path.name}: the file is damaged ({error}). Fetch it again.") from error
    rank = raw[3] if len(raw) > 3 else 0
    sizes = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    if raw[:3] != b"\x00\x00\x08" or len(raw) != 4 + 4 * rank + math.prod(sizes):
        raise DataError(
            f"{path.name}: expected an IDX file of {sizes} bytes; got {len(raw)} bytes. "
            "The file is damaged or truncated; fetch it again."
        )
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(sizes)
