"""Parts of data that are made by hand: names are numbered as in the training data."""

from __future__ import annotations

import pytest
import torch

from ppvae.data import Dataset, Splits, as_splits
from ppvae.data.record import Record
from ppvae.errors import DataError


def own(values: list[float], *names: str) -> Dataset:
    return Dataset(
        {"x": torch.zeros(len(values), 2), "site": torch.tensor(values)},
        record=Record({"site": names} if names else {}),
        missing_ok=["site"],
    )


def test_text_in_a_column_of_ones_own_is_numbered_as_in_the_training_data():
    train, part = own([0, 1, 2], "u", "v", "w"), own([1, 0, -1], "v", "w")
    found = as_splits(Splits(train, part)).validation
    assert found["site"].tolist() == [2, 1, -1]
    assert found.names["site"] == ("u", "v", "w")


def test_missing_names_stay_missing_and_floats_stay_floats():
    train, part = own([0, 1, 2], "u", "v", "w"), own([1.0, float("nan"), 0.0], "v", "w")
    found = as_splits(Splits(train, None, part)).test["site"]
    assert found.dtype == torch.float64
    assert found.nan_to_num(-9).tolist() == [2, -9, 1]


def test_numbers_are_names_where_the_training_data_have_names():
    found = as_splits(Splits(own([0, 1], "3", "a"), own([3.0, 3.0]))).validation
    assert found["site"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("train", "part", "words"),
    [
        (own([0, 1], "u", "v"), own([0], "w"), "among u, v; got w"),
        (own([0, 1], "u", "v"), own([1, 0]), "among u, v; got 0, 1"),
        (own([0.5, 1.5]), own([0, 1], "u", "v"), "numbers, as in the .* names u, v"),
    ],
)
def test_other_names_are_refused(train, part, words):
    with pytest.raises(DataError, match=f"column 'site': expected .*{words}"):
        as_splits(Splits(train, part))


def test_names_of_several_columns_in_another_order_are_refused():
    def made(*names: str) -> Dataset:
        columns = {"x": torch.zeros(3, 2), "w": torch.zeros(3, 2)}
        return Dataset(columns, record=Record({"w": names}))

    with pytest.raises(DataError, match="expected w with the names of the training data"):
        as_splits(Splits(made("a", "b"), made("b", "a")))
