"""Pictures in the formats of microscopes and scanners: arrays with axes, read by other packages.

TIFF files that Pillow would alter, and those with named axes, go through ``tifffile``; ``.nii``
and ``.nii.gz`` through ``nibabel``; ``.mrc`` through ``mrcfile``; ``.dm3``, ``.dm4`` and ``.emd``
through ``rosettasciio``. All are in ``pip install 'ppvae[images]'``. Netpbm files with more than
8 bits, which Pillow rescales or shortens, are read here.
"""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from ppvae.data.hdf5 import refuse_outside
from ppvae.data.paths import UNREADABLE
from ppvae.errors import DataError
from ppvae.expected import expect_package
from ppvae.typing import JsonObject

__all__ = ["STACKS", "Stack", "is_deep", "stack_of"]

MRC, NIFTI = (".mrc", ".mrcs"), (".nii", ".nii.gz")
MICROSCOPE = (".dm3", ".dm4", ".emd")
STACKS = (*MRC, *NIFTI, *MICROSCOPE)
NETPBM = (".pgm", ".ppm", ".pnm")
HEADER = re.compile(rb"P([2356])(?:\s|#[^\n]*\n)+(\d+)\s+(?:#[^\n]*\n)?(\d+)\s+(\d+)\s")
# Tag of a TIFF file, and what turns its pictures upright: transposed, then flipped along axes.
ORIENTATION = 274
UPRIGHT = {
    1: (False, ()),
    2: (False, (1,)),
    3: (False, (0, 1)),
    4: (False, (0,)),
    5: (True, ()),
    6: (True, (1,)),
    7: (True, (0, 1)),
    8: (True, (0,)),
}


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
    if path.name.lower().endswith(NETPBM):
        return _netpbm(path)
    reader, package = _reader(path)
    module = expect_package(path.name, package, "images")
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


def is_deep(path: Path) -> bool:
    """Whether a file is a Netpbm picture with more than 8 bits."""
    if not path.name.lower().endswith(NETPBM) or not path.is_file():
        return False
    with path.open("rb") as file:
        match = HEADER.match(file.read(512))
    return match is not None and int(match[4]) > 255


def _netpbm(path: Path) -> Stack:
    """A Netpbm picture with 16 bits, with the values of the file."""
    content = path.read_bytes()
    match = HEADER.match(content)
    assert match is not None
    kind, width, height, top = (int(part) for part in match.groups())
    bands = 3 if kind in (3, 6) else 1
    size = width * height * bands
    rest = content[match.end() :]
    if kind in (2, 3):
        listed = [int(text) for text in rest.split() if text.isdigit()]
        numbers = np.array(listed, np.int64)
    else:
        numbers = np.frombuffer(rest[: len(rest) // 2 * 2], ">u2")[:size].astype(np.int64)
    if len(numbers) != size or numbers.max(initial=0) > top:
        raise DataError(
            f"{path.name}: expected {size} numbers up to {top}; got {len(numbers)} up to "
            f"{numbers.max(initial=0)}. Remove or mend the file."
        )
    values = numbers.astype(np.uint16).reshape(1, height, width, bands).transpose(0, 3, 1, 2)
    return Stack(values, f"x: {path.name} has values up to {top}; --range 0 {top} scales them")


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


def _tiff(path: Path, tifffile: ModuleType) -> tuple[np.ndarray, str]:
    # A stream rather than a path: from a path, other files that this one names are read, too.
    with tifffile.TiffFile(io.BytesIO(path.read_bytes()), _multifile=False) as file:
        first, *others = file.series
        absent = sum(page is None for series in file.series for page in series)
        _refuse_parts(path, {s.kind for s in file.series}, absent, is_ome=file.is_ome)
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
        if file.pages[0].photometric == tifffile.PHOTOMETRIC.PALETTE:
            raise DataError(
                f"{path.name}: expected grey or colour; got numbers of a palette that Pillow does "
                "not read. Save it as RGB."
            )
        values, axes = first.asarray(), first.axes
        if others:
            values, axes = np.stack([series.asarray() for series in file.series]), "N" + axes
        tag = file.pages[0].tags.get(ORIENTATION)
        return _upright(values, axes, 1 if tag is None else int(tag.value)), axes


def _refuse_parts(path: Path, kinds: set[str], absent: int, *, is_ome: bool) -> None:
    """Refuse a TIFF file that lacks pictures of its description, which would be read as zeros.

    Raises:
        DataError: If the description of an OME-TIFF names other files, or cannot be read; or if
            pictures are absent.
    """
    if is_ome and kinds & {"generic", "uniform"}:
        raise DataError(
            f"{path.name}: expected an OME-TIFF with all of its pictures in one file; its "
            "description names other files, which are not read, or is damaged. Save them as one "
            "file, or as an array: .npz."
        )
    if absent:
        raise DataError(
            f"{path.name}: expected all pictures of its description; {absent} are not in the "
            "file. Save those that are there as a file, or as an array: .npz."
        )


def _upright(values: np.ndarray, axes: str, orientation: int) -> np.ndarray:
    """Pictures turned by the orientation in their file, as numbered by EXIF."""
    swapped, flipped = UPRIGHT.get(orientation, UPRIGHT[1])
    places = axes.find("Y"), axes.find("X")
    if min(places) < 0:
        return values
    values = values.swapaxes(*places) if swapped else values
    return np.flip(values, tuple(places[i] for i in flipped))


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
    refuse_outside(path)
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
    """Whether data are pictures rather than spectra or spectral images."""
    own = sum(not axis["navigate"] for axis in signal["axes"])
    kind = signal.get("metadata", {}).get("Signal", {}).get("signal_type")
    return own >= 2 and len(signal["axes"]) == signal["data"].ndim and not kind


def _arranged(path: Path, values: np.ndarray, axes: str) -> Stack:
    """The values with shape (rows, C, H, W)."""
    bands = {*(values.dtype.names or ())}
    left = sorted(bands - {*"RGB"})
    if bands >= {*"RGB"}:
        values, axes = np.stack([values[band] for band in "RGB"], -1), axes + "S"
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
    channel = [i for i, axis in enumerate(axes) if axis in "CS"]
    rows = [i for i, axis in enumerate(axes) if axis not in "CSYX"]
    order = [*rows, *channel, axes.index("Y"), axes.index("X")]
    height, width = values.shape[axes.index("Y")], values.shape[axes.index("X")]
    channels = int(np.prod([values.shape[i] for i in channel], dtype=int))
    taken = values.transpose(order).reshape(-1, channels, height, width)
    sizes = " x ".join(f"{axis}={n}" for axis, n in zip(axes, values.shape, strict=True))
    note = f"x: axes {sizes} of {path.name} taken as {len(taken)} rows, {channels} channels"
    if left:
        note += f"; x: the channel {', '.join(left)} of records left out"
    return Stack(taken, note if values.ndim > 2 else "")
