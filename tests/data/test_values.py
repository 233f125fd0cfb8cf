"""Properties of a column's values, computed by chunks, against NumPy's of all values."""

import math

import numpy as np
import pytest
import torch

from ppvae.data.features import Precision
from ppvae.data.values import describe_values, values_of

NAN = math.nan


def numbers(kind, gaps):
    generator = np.random.default_rng(0)
    x = generator.poisson(3.0, (40, 5)).astype(float)
    if kind == "real":
        x += generator.normal(size=x.shape)
    elif kind == "binary":
        x = (x > 3).astype(float)
    if gaps:
        x[generator.random(x.shape) < 0.3] = NAN
        x[7] = NAN
    return x


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("kind", ["real", "count", "binary"])
def test_chunks_give_the_properties_of_all_values(kind, flat, gaps):
    x = numbers(kind, gaps)
    rows = torch.from_numpy(x).reshape(40, 5) if flat else torch.from_numpy(x).reshape(40, 1, 5)
    values = values_of(rows.split([13, 1, 26]), flat=flat)
    axis = 0 if flat else None
    assert (values.low, values.high) == (np.nanmin(x), np.nanmax(x))
    assert values.missing == np.isnan(x).sum()
    assert (values.whole, values.binary) == (kind != "real", kind == "binary")
    np.testing.assert_allclose(values.mean, np.atleast_1d(np.nanmean(x, axis)))
    np.testing.assert_allclose(values.sd, np.atleast_1d(np.nanstd(x, axis)))
    if kind == "real":
        assert values.log_total is None
    else:
        logs = np.log(np.maximum(np.nansum(x, 1), 1))
        np.testing.assert_allclose(values.log_total, (logs.mean(), logs.std()))


def test_a_feature_that_is_always_missing_has_no_mean():
    x = torch.tensor([[1.0, NAN], [3.0, NAN]])
    values = values_of([x], flat=True)
    assert (values.low, values.high, values.missing) == (1, 3, 2)
    assert values.mean == (2.0, 0.0)


def test_what_stands_in_the_last_rows_of_a_large_column_counts():
    x = np.zeros((3, 2**20 + 1), np.uint8)
    x[2, -1] = 255
    values = describe_values(x)
    assert (values.low, values.high, values.binary) == (0, 1, True)
    assert values.mean[-1] == pytest.approx(1 / 3)


def test_whole_numbers_of_more_than_24_bits_keep_their_last_digit():
    for most, fine in ((2**24, False), (2**24 + 1, True)):
        precision = Precision(1)
        precision.add(np.array([[0], [most]]))
        assert precision.fine.tolist() == [fine]
