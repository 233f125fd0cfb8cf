r"""Mean signals of the regions of a volume, such as a brain, and maps of values a region.

.. math::
    x_{rt} = \frac{1}{|V_{rt}|} \sum_{v \in V_{rt}} I_{vt}

over the voxels :math:`V_{rt}` with label r that are not NaN at time t.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from ppvae.borders import typed
from ppvae.data.dataset import Dataset
from ppvae.data.paths import UNREADABLE, existing, name_of
from ppvae.data.record import Record
from ppvae.errors import DataError
from ppvae.expected import expect_package

__all__ = ["Regions"]

logger = logging.getLogger(__name__)


class Regions:
    """The regions of a label image, in whose means a volume becomes a row of numbers.

    Arguments:
        labels: NIfTI file (.nii, .nii.gz; needs nibabel) or array of whole numbers with shape
            (X, Y, Z): the region of each voxel, 0 outside all regions.

    Attributes:
        volume: Label of each voxel, int64 with shape (X, Y, Z).
        ids: Labels of the R regions, ascending, with shape (R).
        sizes: Number of voxels of each region, with shape (R).

    Raises:
        DataError: If the file cannot be read, the labels are not three-dimensional whole numbers
            from 0, or there is no region.
        MissingPackageError: If a file is given and nibabel is not installed.
    """

    volume: np.ndarray
    ids: np.ndarray
    sizes: np.ndarray

    @typed()
    def __init__(self, labels: str | Path | np.ndarray) -> None:
        self._labels = _read(labels, "labels")
        values = self._labels.values
        numbers = values.dtype.kind in "iufb" and np.isfinite(values).all()
        if values.ndim != 3 or not numbers or (values < 0).any() or (values % 1 != 0).any():
            raise DataError(
                f"{self._labels.name}: expected whole numbers from 0 with shape (X, Y, Z), the "
                f"region of each voxel; got {values.dtype} with shape {values.shape}. Pass a "
                "label image, not a map of probabilities."
            )
        self.volume = values.astype(np.int64)
        inside = self.volume > 0
        if not inside.any():
            raise DataError(
                f"{self._labels.name}: expected a region; got 0 at all voxels. Pass the label "
                "image."
            )
        self.ids, place, self.sizes = np.unique(
            self.volume[inside], return_inverse=True, return_counts=True
        )
        voxels = np.flatnonzero(inside)
        ones = np.ones(len(voxels))
        shape = (len(self.ids), self.volume.size)
        self._sum = csr_matrix((ones, (place.reshape(-1), voxels)), shape=shape)

    @typed()
    def means(self, image: str | Path | np.ndarray) -> np.ndarray:
        """The mean of each region, with shape (R), or (R, T) for a series of volumes.

        Voxels that are NaN, as outside a scan's mask, are left out, which the log says.

        Arguments:
            image: NIfTI file or array with shape (X, Y, Z) or (X, Y, Z, T), on the label image's
                grid.

        Raises:
            DataError: If the image is on another grid, is not of real numbers, contains infinite
                ones, or has a region without a number.
        """
        given = _read(image, "image")
        self._check_grid(given)
        values = given.values.astype(np.float64).reshape(self.volume.size, -1)
        known = np.isfinite(values)
        counts = self._sum @ known.astype(np.float64)
        if not counts.all():
            empty = self.ids[~counts.all(1)].tolist()
            raise DataError(
                f"{given.name}: expected numbers in each region; got none in the regions "
                f"{empty[:8]}. Remove these regions from the label image, or the image."
            )
        left_out = int(self.sizes.sum() * values.shape[1] - counts.sum())
        if left_out:
            logger.warning(
                "%s: %d voxels within regions are NaN and left out.", given.name, left_out
            )
        means: np.ndarray = (self._sum @ np.where(known, values, 0.0)) / counts
        return means.reshape(len(self.ids), *given.values.shape[3:])

    def dataset(self, images: Sequence[str | Path | np.ndarray], **columns: object) -> Dataset:
        """A row for each image: ``x`` float32 with shape (N, R), or (N, R, T) for series.

        The names of the features are the regions' labels.

        Arguments:
            images: Images, as for :meth:`means`; series have equally many volumes.
            columns: Further columns, such as ``object`` (the subject) and ``view`` (the task).

        Raises:
            DataError: If there are none, if it is a single path, or their means differ in shape.
        """
        if isinstance(images, str | Path):
            raise DataError(
                f"images: expected a list of scans, one a row; got the path {name_of(images)}. "
                "Pass [path], or of a folder sorted(folder.glob('*.nii.gz'))."
            )
        rows = [self.means(image) for image in images]
        shapes = {row.shape for row in rows}
        if len(shapes) != 1:
            raise DataError(
                f"images: expected images with the same number of volumes; got means with shapes "
                f"{sorted(shapes)}. Cut the series to one length."
            )
        names = {"x": tuple(str(label) for label in self.ids)}
        x = np.stack(rows).astype(np.float32)
        return Dataset({"x": x, **columns}, record=Record(names if x.ndim == 2 else {}))

    def paint(self, values: object, *, background: float = 0.0) -> np.ndarray:
        """A volume with each region's value at its voxels, with shape (X, Y, Z) or (X, Y, Z, T).

        Arguments:
            values: Real numbers with shape (R) or (R, T), such as decoded means of a subject.
            background: Value outside all regions; NaN is transparent in most viewers.

        Raises:
            DataError: If there is not one value a region.
        """
        rows = np.asarray(values, dtype=np.float64)
        if rows.ndim not in (1, 2) or len(rows) != len(self.ids):
            raise DataError(
                f"values: expected one a region, with shape ({len(self.ids)}) or "
                f"({len(self.ids)}, T); got shape {rows.shape}. Pass one row of x."
            )
        painted = np.full((*self.volume.shape, *rows.shape[1:]), background)
        inside = self.volume > 0
        painted[inside] = rows[np.searchsorted(self.ids, self.volume[inside])]
        return painted

    def write(self, path: str | Path, values: object, *, background: float = 0.0) -> None:
        """Write :meth:`paint`'s volume as a NIfTI file (float32), where the label image lies.

        Arguments:
            path: File, .nii or .nii.gz.
            values: Real numbers with shape (R) or (R, T).
            background: Value outside all regions.

        Raises:
            DataError: If there is not one value a region, or the name is not a NIfTI file's.
            MissingPackageError: If nibabel is not installed.
        """
        nibabel = expect_package("regions", "nibabel", "images")
        if not str(path).endswith((".nii", ".nii.gz")):
            raise DataError(
                f"path: expected .nii or .nii.gz; got {str(path)!r}. Name the file so."
            )
        painted = self.paint(values, background=background).astype(np.float32)
        affine = np.eye(4) if self._labels.affine is None else self._labels.affine
        nibabel.save(nibabel.Nifti1Image(painted, affine), str(path))

    def _check_grid(self, given: _Volume) -> None:
        shape, kind = given.values.shape, given.values.dtype.kind
        if shape[:3] != self.volume.shape or len(shape) not in (3, 4):
            raise DataError(
                f"{given.name}: expected shape {self.volume.shape}, as the label image has, or "
                f"that with a last dimension of time; got {shape}. Resample it to the label image."
            )
        if kind not in "iufb" or (kind == "f" and np.isinf(given.values).any()):
            raise DataError(
                f"{given.name}: expected finite real numbers, or NaN for what is missing; got "
                f"{given.values.dtype}{', some infinite' if kind == 'f' else ''}. "
                "Correct the image."
            )
        here, there = self._labels.affine, given.affine
        if here is not None and there is not None and not np.allclose(here, there, atol=1e-3):
            raise DataError(
                f"{given.name}: expected the space of the label image; its affine differs by up "
                f"to {np.abs(here - there).max():.3g} mm. Resample it to the label image "
                "(nilearn.image.resample_to_img)."
            )


class _Volume(NamedTuple):
    """Values of a file or an array, its affine if it has one, and its name for messages."""

    values: np.ndarray
    affine: np.ndarray | None
    name: str


def _read(image: str | Path | np.ndarray, name: str) -> _Volume:
    if isinstance(image, np.ndarray):
        return _Volume(image, None, name)
    path = existing(image)
    nibabel = expect_package(path.name, "nibabel", "images")
    try:
        file = nibabel.load(path)
        return _Volume(np.asanyarray(file.dataobj), np.asarray(file.affine), path.name)
    except (*UNREADABLE, nibabel.filebasedimages.ImageFileError) as error:
        raise DataError(
            f"{path.name}: expected a NIfTI file; it cannot be read "
            f"({str(error).strip() or type(error).__name__}). Remove or mend the file."
        ) from error
