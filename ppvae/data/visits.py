"""Digits in place of patients: images at repeated visits that vary with age, sex and disease."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.data.dataset import Dataset
from ppvae.data.digits import digits
from ppvae.data.splits import Splits
from ppvae.errors import DataError
from ppvae.expected import at_least

__all__ = ["visits"]

SIDE = 36


@typed(seed=at_least(0))
def visits(
    *,
    num_subjects: int = 100,
    num_test: int = 20,
    num_visits: int = 20,
    given: int = 5,
    missing: float = 0.25,
    seed: int = 0,
) -> Splits:
    r"""Images of subjects at several visits, by the protocol of Health MNIST.

    Each subject is a handwritten three or six (its sex) on 36 x 36 pixels. Half of the subjects
    fall ill: their digit turns by 45 degrees times the sigmoid of the time since the disease
    began, while that of healthy ones stays at 5 degrees; each visit adds N(0, 2) degrees. All
    digits move by a tenth of a pixel per visit, down and to the right. The column ``location`` is
    unrelated to the image.

    The training data are all visits of ``num_subjects`` subjects and the first ``given`` visits of
    as many more as are validated and tested on; the validation and test data are their later
    visits, those of ``num_test`` subjects each.

    Columns: ``x`` float32 (N, 1, 36, 36), NaN where a pixel is missing; ``id`` int64 from 0;
    ``age`` float32, the visit from 0; ``sex``, ``disease`` and ``location`` int64, 0 or 1;
    ``disease_age`` float32, visits since the disease began, NaN for the healthy.

    Arguments:
        num_subjects: Number of subjects with all visits in the training data.
        num_test: Number of subjects in the validation data, and in the test data.
        num_visits: Number of visits per subject.
        given: Number of first visits of a validation or test subject that are for training.
        missing: Share of pixels missing at random. The same seed without missing pixels gives the
            same images.
        seed: Random seed of the data; torch's generators are not used.

    Raises:
        DataError: If an argument is out of range.

    References:
        | Longitudinal Variational Autoencoder (Ramchandran et al., 2021)
        | https://proceedings.mlr.press/v130/ramchandran21b.html
    """
    total = num_subjects + 2 * num_test
    if num_subjects < 2 or num_test < 1 or total > 1000:
        raise DataError(
            f"visits: expected num_subjects >= 2, num_test >= 1 and at most 1000 subjects in all; "
            f"got {num_subjects} and {num_test}, {total} in all. Use 100 and 20."
        )
    if not (1 <= given < num_visits and 0 <= missing < 1):
        raise DataError(
            f"visits: expected 1 <= given < num_visits and 0 <= missing < 1; got given {given}, "
            f"num_visits {num_visits}, missing {missing}. Use 5, 20 and 0.25."
        )
    random = np.random.default_rng(seed)
    subject = np.arange(total)
    sex, disease = subject % 2, subject // 2 % 2
    faces = _faces(sex, random)
    rows = np.repeat(subject, num_visits)
    age = np.tile(np.arange(num_visits), total).astype(np.float32)
    disease_age = np.where(disease[rows] == 1, age - (num_visits - 1) // 2, np.nan)
    turned = 45 / (1 + np.exp(-np.nan_to_num(disease_age)))
    degrees = np.where(disease[rows] == 1, turned, 5.0) + random.normal(0, 2, len(rows))
    location = random.integers(0, 2, len(rows))
    pairs = zip(rows, degrees, age / 10, strict=True)
    x = np.stack([_placed(faces[p], angle, shift) for p, angle, shift in pairs])
    x[random.random(x.shape) < missing] = np.nan
    columns = {
        "x": x[:, None],
        "id": rows,
        "age": age,
        "sex": sex[rows],
        "disease": disease[rows],
        "disease_age": disease_age.astype(np.float32),
        "location": location,
    }
    data = Dataset(columns, missing_ok=("x", "disease_age"))
    part = np.select([rows < num_subjects, rows < num_subjects + num_test], [0, 1], 2)
    part[age < given] = 0
    codes = torch.from_numpy(part)
    return Splits(*(data.take(codes == code) for code in range(3)))


def _faces(sex: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A different three or six for each subject, with shape (P, 28, 28), from 0 to 1."""
    train = digits().train
    labels = torch.as_tensor(train["y"]).numpy()
    images: Tensor = torch.as_tensor(train["x"])
    chosen = np.empty(len(sex), dtype=np.int64)
    for code, digit in enumerate((3, 6)):
        mine = sex == code
        chosen[mine] = random.permutation(np.flatnonzero(labels == digit))[: mine.sum()]
    return images[torch.from_numpy(chosen), 0].numpy().astype(np.float32) / 255


def _placed(face: np.ndarray, degrees: float, shift: float) -> np.ndarray:
    """The digit rotated about its centre and shifted down and right, on 36 x 36 pixels."""
    from scipy import ndimage

    padded = np.pad(face, (SIDE - len(face)) // 2)
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = np.full(2, (SIDE - 1) / 2)
    offset = centre - turn @ (centre + shift)
    placed: np.ndarray = ndimage.affine_transform(padded, turn, offset, order=1)
    return placed
