"""Training, validation and test data, and random splits of rows into them."""

from __future__ import annotations

from typing import NamedTuple

import torch

from ppvae.borders import typed
from ppvae.data.dataset import Dataset
from ppvae.errors import DataError
from ppvae.expected import NUMBER, at_least, expect, integer
from ppvae.typing import ColumnSpec

__all__ = ["Splits", "split_rows"]


class Splits(NamedTuple):
    """Training, validation and test data."""

    train: Dataset
    validation: Dataset | None = None
    test: Dataset | None = None

    @property
    def held_out(self) -> Dataset:
        """The test data, or else the validation data, or else the training data."""
        return self.test or self.validation or self.train

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was done to the data in reading and conversion."""
        return self.train.notes

    @property
    def spec(self) -> dict[str, ColumnSpec]:
        """The spec of the training data, with ``missing`` if any part has missing values."""
        spec = self.train.spec
        for part in (self.validation, self.test):
            for name, facts in ({} if part is None else part.spec).items():
                if facts.get("missing") and name in spec:
                    spec[name]["missing"] = True
        return spec


@typed(seed=at_least(0))
def split_rows(
    data: Dataset, *, validation: float = 0.1, test: float = 0.1, seed: int = 0
) -> Splits:
    """Random rows for validation and test, the rest for training.

    Arguments:
        data: All rows.
        validation: Share of rows for validation.
        test: Share of rows for testing.
        seed: Random seed of the split.

    Raises:
        ArgumentError: If an argument is no number.
        DataError: If data are no Dataset, or the shares leave no row to train on.
    """
    if not isinstance(data, Dataset):
        raise DataError(
            f"data: expected a Dataset; got a {type(data).__name__}. Pass "
            "ppvae.data.Dataset(columns)."
        )
    expect(integer(0), "Use 0.", seed=seed)
    expect(NUMBER, "Use 0.1.", validation=validation)
    expect(NUMBER, "Use 0.1.", test=test)
    if validation < 0 or test < 0 or validation + test >= 1:
        raise DataError(
            f"split: expected shares that leave rows to train on; got validation {validation}, "
            f"test {test}. Use 0.1 and 0.1."
        )
    order = torch.randperm(data.num_rows, generator=torch.Generator().manual_seed(seed))
    counts = [round(data.num_rows * share) for share in (validation, test)]
    picked = [order[: counts[0]], order[counts[0] : sum(counts)], order[sum(counts) :]]
    parts = [data.take(rows.sort().values) if len(rows) else None for rows in picked]
    assert parts[2] is not None
    return Splits(parts[2], parts[0], parts[1])
