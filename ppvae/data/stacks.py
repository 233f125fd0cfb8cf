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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ppvae.data.hdf5 import refuse_outside
from ppvae.data.headers import ORIENTATION, REDUCED
from ppvae.data.paths import UNREADABLE
from ppvae.errors import DataError
from ppvae.expected import expect_package
from ppvae.typing import JsonObject

if TYPE_CHECKING:
    from tifffile import TiffPage

__all__ = ["STACKS", "Stack", "is_deep", "stack_of"]

MRC, NIFTI = (".mrc", ".mrcs"), (".nii", ".nii.gz")
MICROSCOPE = (".dm3", ".dm4", ".emd")
STACKS = (*MRC, *NIFTI, *MICROSCOPE)
NETPBM = (".pgm", ".ppm", ".pnm")
HEADER = re.compile(rb"P([2356])(?:\s|#[^\n]*\n)+(\d+)\s+(?:#[^\n]*\n)?(\d+)\s+(\d+)\s")
# Kinds of numbers in a TIFF page, by the number of its photometric interpretation.
YCBCR, JPEG = 6, (6, 7)
LAB = ("grey or red, green, blue; got Lab", "Save it as RGB")
MEANINGS = {
    0: ("0 as black; got a picture in which 0 is white", "Invert it, and save it again"),
    3: (
        "grey or colour; got numbers of a palette that Pillow does not read",
        "Save it as RGB",
    ),
    5: ("grey or red, green, blue; got inks (CMYK)", "Save it as RGB"),
    YCBCR: ("grey or red, green, blue; got luma and chroma (YCbCr)", "Save it as RGB"),
    8: LAB,
    9: LAB,
    10: LAB,
}
# What turns pictures upright, by the number of their orientation: transposed, then flipped.
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
        dtypes: Type of the numbers of each row in the file; those of ``values`` hold all of them.
    """

    values: np.ndarray
    note: str
    dtypes: tuple[str, ...]


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
        series, axes = reader(path, module)
    except Exception as error:
        if isinstance(error, DataError):
            raise
        if not isinstance(error, UNREADABLE) and not _of(error, module):
            raise
        raise DataError(
            f"{path.name}: expected a picture that {package} reads; it cannot be read "
            f"({str(error).strip() or type(error).__name__}). Remove or mend the file."
        ) from error
    return _joined(path, series, axes)


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
    note = f"x: {path.name} has values up to {top}; --range 0 {top} scales them"
    return Stack(values, note, ("uint16",))


def _of(error: Exception, module: ModuleType) -> bool:
    """Whether the class of an error is defined in a package."""
    return type(error).__module__.partition(".")[0] == module.__name__.partition(".")[0]


# Arrays of a file, of one shape, and their axes.
Series: TypeAlias = tuple[list[np.ndarray], str]


def _reader(path: Path) -> tuple[Callable[[Path, ModuleType], Series], str]:
    name = path.name.lower()
    for suffixes, reader, package in (
        (MRC, _mrc, "mrcfile"),
        (NIFTI, _nifti, "nibabel"),
        (MICROSCOPE, _microscope, "rsciio"),
    ):
        if name.endswith(suffixes):
            return reader, package
    return _tiff, "tifffile"


def _tiff(path: Path, tifffile: ModuleType) -> Series:
    # A stream rather than a path: from a path, other files that this one names are read, too.
    with tifffile.TiffFile(io.BytesIO(path.read_bytes()), _multifile=False) as file:
        # Before the series, in which pages may stand for others without their headers.
        pages = [
            page
            for number, page in enumerate(file.pages)
            if not number or not page.subfiletype & REDUCED
        ]
        _refuse_meanings(path, pages)
        tags = [page.tags.get(ORIENTATION) for page in pages]
        turns = {1 if tag is None else int(tag.value) for tag in tags}
        first, *others = file.series
        absent = sum(page is None for series in file.series for page in series)
        _refuse_parts(path, {s.kind for s in file.series}, absent, is_ome=file.is_ome)
        if any(other.shape != first.shape or other.axes != first.axes for other in others):
            raise DataError(
                f"{path.name}: expected pictures of one shape; got "
                f"{[tuple(series.shape) for series in file.series][:6]}. Save each as a file."
            )
        if len(turns) > 1:
            raise DataError(
                f"{path.name}: expected pages that are turned alike; got the orientations "
                f"{sorted(turns)}. Save each as a file."
            )
        values = [_upright(s.asarray(), s.axes, min(turns)) for s in file.series]
        return values, first.axes


def _refuse_meanings(path: Path, pages: Sequence[TiffPage]) -> None:
    """Refuse pages of a TIFF file whose numbers are no intensities of light.

    Raises:
        DataError: If there is such a page.
    """
    for number, page in enumerate(pages):
        got, remedy = MEANINGS.get(int(page.photometric), ("", ""))
        if got and not (page.photometric == YCBCR and page.compression in JPEG):
            where = f" (page {number})" if number else ""
            raise DataError(f"{path.name}: expected {got}{where}. {remedy}.")


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


def _mrc(path: Path, mrcfile: ModuleType) -> Series:
    with mrcfile.open(path, mode="r", permissive=False) as file:
        values = np.array(file.data)
    return [values], {2: "YX", 3: "ZYX", 4: "VZYX"}.get(values.ndim, "?")


def _nifti(path: Path, nibabel: ModuleType) -> Series:
    image = nibabel.load(path)
    values = np.asanyarray(image.dataobj)
    # Index order: a slice values[:, :, k] is a picture, its rows along the first axis.
    return [values.transpose(*reversed(range(2, values.ndim)), 0, 1)], "TUVWZYX"[-values.ndim :]


def _microscope(path: Path, rsciio: ModuleType) -> Series:
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
    return [values], "N" * (values.ndim - 2) + "YX"


def _is_flat(signal: JsonObject) -> bool:
    """Whether data are pictures rather than spectra or spectral images."""
    own = sum(not axis["navigate"] for axis in signal["axes"])
    kind = signal.get("metadata", {}).get("Signal", {}).get("signal_type")
    return own >= 2 and len(signal["axes"]) == signal["data"].ndim and not kind


def _joined(path: Path, series: Sequence[np.ndarray], axes: str) -> Stack:
    """The pictures of all arrays of a file, with shape (rows, C, H, W)."""
    stacks, left = zip(*(_arranged(path, values, axes) for values in series), strict=True)
    taken = np.concatenate(stacks) if len(stacks) > 1 else stacks[0]
    dtypes = tuple(stack.dtype.name for stack in stacks for _ in stack)
    shape = series[0].shape[: len(axes)]
    sizes = [f"{axis}={n}" for axis, n in zip(axes, shape, strict=True)]
    sizes = [f"N={len(series)}", *sizes] if len(series) > 1 else sizes
    note = (
        f"x: axes {' x '.join(sizes)} of {path.name} taken as {len(taken)} rows, "
        f"{taken.shape[1]} channels"
    )
    if left[0]:
        note += f"; x: the channel {', '.join(left[0])} of records left out"
    return Stack(taken, note if len(sizes) > 2 or taken.shape[1] > 1 else "", dtypes)


def _arranged(path: Path, values: np.ndarray, axes: str) -> tuple[np.ndarray, list[str]]:
    """The values with shape (rows, C, H, W), and the names of channels that were left out."""
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
    return values.transpose(order).reshape(-1, channels, height, width), left
