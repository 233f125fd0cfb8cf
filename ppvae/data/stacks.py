"""Pictures in the formats of microscopes and scanners: arrays with axes, read by other packages.

TIFF files that Pillow would alter, and those with named axes, go through ``tifffile``; ``.nii``
and ``.nii.gz`` through ``nibabel``; ``.mrc`` through ``mrcfile``; ``.dm3``, ``.dm4`` and ``.emd``
through ``rosettasciio``. All are in ``pip install 'ppvae[formats]'``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from ppvae.data.paths import UNREADABLE
from ppvae.errors import DataError
from ppvae.typing import JsonObject

__all__ = ["STACKS", "Stack", "stack_of"]

MRC, NIFTI = (".mrc", ".mrcs"), (".nii", ".nii.gz")
MICROSCOPE = (".dm3", ".dm4", ".emd")
STACKS = (*MRC, *NIFTI, *MICROSCOPE)


@dataclass(frozen=True)
class Stack:
    """The pictures of a file.

    Attributes:
        values: Pictures with shape (rows, C, H, W).
        note: Interpretation of the file's axes, in words.
    """

    values: np.ndarray
    note: str


def stack_of(path: Path) -> Stack:
    """The pictures of a file, with their values unchanged.

    Raises:
        DataError: If the package is not installed, the file cannot be read, or its values are not
            pictures of real numbers.
    """
    reader, package = _reader(path)
    module = _package(path, package)
    try:
        values, axes = reader(path, module)
    except Exception as error:
        if isinstance(error, DataError):
            raise
        if not isinstance(error, (*UNREADABLE, RuntimeError)) and not _of(error, module):
            raise
        raise DataError(
            f"{path.name}: expected a picture that {package} reads; it cannot be read "
            f"({str(error).strip() or type(error).__name__}). Remove or mend the file."
        ) from error
    return _arranged(path, np.asarray(values), axes)


def _of(error: Exception, module: ModuleType) -> bool:
    """Whether the class of an error is defined in a package."""
    return type(error).__module__.partition(".")[0] == module.__name__.partition(".")[0]


def _reader(path: Path) -> tuple[Callable[[Path, ModuleType], tuple[np.ndarray, str]], str]:
    name = path.name.lower()
    for suffixes, reader, package in (
        (MRC, _mrc, "mrcfile"),
        (NIFTI, _nifti, "nibabel"),
        (MICROSCOPE, _microscope, "rsciio"),
    ):
        if name.endswith(suffixes):
            return reader, package
    return _tiff, "tifffile"


def _package(path: Path, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f"{path.name}: expected the package {name}, which reads such files; it is not "
            "installed. pip install 'ppvae[formats]'."
        ) from error


def _tiff(path: Path, tifffile: ModuleType) -> tuple[np.ndarray, str]:
    with tifffile.TiffFile(path) as file:
        first, *others = file.series
        if any(other.shape != first.shape or other.axes != first.axes for other in others):
            raise DataError(
                f"{path.name}: expected pictures of one shape; got "
                f"{[tuple(series.shape) for series in file.series][:6]}. Save each as a file."
            )
        if file.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            raise DataError(
                f"{path.name}: expected 0 as black; got a picture in which 0 is white. "
                "Invert it, and save it again."
            )
        if others:
            return np.stack([series.asarray() for series in file.series]), "N" + first.axes
        return first.asarray(), first.axes


def _mrc(path: Path, mrcfile: ModuleType) -> tuple[np.ndarray, str]:
    with mrcfile.open(path, mode="r", permissive=False) as file:
        values = np.array(file.data)
    return values, {2: "YX", 3: "ZYX", 4: "VZYX"}.get(values.ndim, "?")


def _nifti(path: Path, nibabel: ModuleType) -> tuple[np.ndarray, str]:
    image = nibabel.load(path)
    values = np.asanyarray(image.dataobj)
    # Index order: a slice values[:, :, k] is a picture, its rows along the first axis.
    return values.transpose(*reversed(range(2, values.ndim)), 0, 1), "TUVWZYX"[-values.ndim :]


def _microscope(path: Path, rsciio: ModuleType) -> tuple[np.ndarray, str]:
    plugin = "emd" if path.suffix.lower() == ".emd" else "digitalmicrograph"
    signals = importlib.import_module(f"{rsciio.__name__}.{plugin}").file_reader(str(path))
    flat = [signal for signal in signals if _is_flat(signal)]
    if len(flat) != 1:
        shapes = [tuple(signal["data"].shape) for signal in signals]
        raise DataError(
            f"{path.name}: expected one picture, or a stack of pictures; got {len(flat)} of them "
            f"among data of shapes {shapes[:6]}. Save the one that is meant as a file."
        )
    values = np.asarray(flat[0]["data"])
    return values, "N" * (values.ndim - 2) + "YX"


def _is_flat(signal: JsonObject) -> bool:
    """Whether data are pictures rather than spectra."""
    own = sum(not axis["navigate"] for axis in signal["axes"])
    return own >= 2 and len(signal["axes"]) == signal["data"].ndim


def _arranged(path: Path, values: np.ndarray, axes: str) -> Stack:
    """The values with shape (rows, C, H, W)."""
    if values.dtype.kind not in "buif" or values.ndim != len(axes):
        raise DataError(
            f"{path.name}: expected pictures of real numbers; got {values.dtype} with shape "
            f"{values.shape}. Save them as an array of real numbers: .npz."
        )
    if axes.count("Y") != 1 or axes.count("X") != 1 or 0 in values.shape:
        raise DataError(
            f"{path.name}: expected pictures with height and width; got the axes {axes} with "
            f"shape {values.shape}. Save them as an array: .npz."
        )
    bands = [i for i, axis in enumerate(axes) if axis in "CS"]
    rows = [i for i, axis in enumerate(axes) if axis not in "CSYX"]
    order = [*rows, *bands, axes.index("Y"), axes.index("X")]
    height, width = values.shape[axes.index("Y")], values.shape[axes.index("X")]
    channels = int(np.prod([values.shape[i] for i in bands], dtype=int))
    taken = values.transpose(order).reshape(-1, channels, height, width)
    sizes = " x ".join(f"{axis}={n}" for axis, n in zip(axes, values.shape, strict=True))
    note = f"x: axes {sizes} of {path.name} taken as {len(taken)} rows, {channels} channels"
    return Stack(taken, note if values.ndim > 2 else "")
