"""Data that an additive kernel cannot be learned from or asked about, in words."""

from __future__ import annotations

import pytest
import torch

from ppvae.errors import ArgumentError, DataError
from ppvae.gp.additive import AdditivePrior, with_visits
from tests.gp.additive.problems import L, columns, fill, prior_of


def refused(kernel, data, match):
    with pytest.raises(DataError, match=match):
        AdditivePrior(kernel, latent_dim=2).prepare(data)


def test_a_missing_column_a_constant_one_and_one_of_several_numbers():
    data = columns()
    n = len(data["id"])
    refused("rbf(height)", data, r"expected columns \['height'\].*Add \['height'\]")
    refused("rbf(age) + cat(site)", {**data, "site": torch.ones(n)}, "different values.*got 1")
    refused("rbf(age)", {"age": torch.randn(n, 2)}, r"one number per row.*\(22, 2\)")


def test_missing_values_need_observed_and_observed_needs_missing_values():
    data = columns()
    refused("rbf(disease) + cat(id)", data, r"NaN|nan.*rbf\(disease\)\*obs\(disease\)")
    refused("rbf(age)*obs(age) + cat(id)", data, "expected missing values")
    data["disease"] = torch.full_like(data["age"], torch.nan)
    refused("rbf(disease)*obs(disease)", data, "expected values in the training data; got none")
    infinite = columns()
    infinite["age"][3] = torch.inf
    refused("rbf(age)", infinite, "finite numbers; got inf in row 3")


def test_terms_that_cannot_be_told_apart():
    data = columns()
    data["code"] = data["id"] * 7
    data["row"] = torch.arange(len(data["id"]))
    data["year"] = 1990 + data["age"]
    refused("cat(id) + cat(code)", data, "'id' and 'code' with the same covariance")
    refused("rbf(age) + rbf(year)", data, "'age' and 'year'")
    refused("rbf(age) + cat(row)", data, "as the noise does")
    with pytest.warns(UserWarning, match="'sex' is constant in each 'id'"):
        AdditivePrior("cat(id) + cat(sex) + rbf(age)", latent_dim=2).prepare(data)


def test_a_visit_recorded_twice_is_refused_but_not_two_of_one_time():
    data = columns()
    data = {name: torch.cat([values, values[:1]]) for name, values in data.items()}
    n = len(data["id"])
    data["x"] = torch.randn(n, 3)
    AdditivePrior("rbf(age) + cat(id)", latent_dim=2).prepare(data)
    data["x"][-1] = data["x"][0]
    refused("rbf(age) + cat(id)", data, rf"each visit once; got rows \[0, {n - 1}\]")


def test_a_row_without_an_observed_pixel():
    data = columns()
    data["x"] = torch.randn(len(data["id"]), 1, 2, 2)
    data["x"][4] = torch.nan
    refused("rbf(age) + cat(id)", data, "observed value in every row; got none in row 4")


def test_subjects_without_a_visit_are_asked_for_by_minus_one_alone():
    data = columns()
    prior = prior_of(data).eval()
    row = {name: values[:1] for name, values in data.items()}
    with pytest.raises(DataError, match=r"got 1 without, such as \[77\].*with_visits.*-1"):
        prior(**{**row, "id": torch.tensor([77])})
    prior(**{**row, "id": torch.tensor([-1])})
    with pytest.raises(DataError, match="one encoding per row"):
        with_visits(prior, row, torch.zeros(2, L))


def test_subjects_are_whole_numbers_that_stay_exact():
    data = columns()
    for value in (1.5, torch.nan, 2.0**24 + 2):
        ids = data["id"].double()
        ids[3] = value
        refused("rbf(age) + cat(id)", {**data, "id": ids}, "a whole number; got .* in row 3")
    prior = prior_of(data).eval()
    row = {name: values[:1] for name, values in data.items()}
    with pytest.raises(DataError, match="expected a subject in every row.*-1 is one that"):
        prior(**{**row, "id": torch.tensor([torch.nan])})


def test_further_visits_are_held_to_the_training_datas_range_and_categories():
    data = columns()
    prior = prior_of(data).eval()
    row = {name: values[:1] for name, values in data.items()}
    for name, value in (("age", 1e3), ("sex", 7)):
        strange = {**row, name: torch.full_like(row[name], value)}
        with pytest.raises(DataError, match=f"column '{name}': expected"):
            with_visits(prior, strange, torch.zeros(1, L))


def test_values_outside_the_training_data_and_its_margin():
    data = columns()
    prior = prior_of(data).eval()
    row = {name: values[:1] for name, values in data.items()}
    with pytest.raises(DataError, match="column 'age': expected values from .* got 30"):
        prior(**{**row, "age": torch.tensor([30.0])})
    with pytest.raises(DataError, match="column 'sex': expected categories .* got 5"):
        prior(**{**row, "sex": torch.tensor([5])})


def test_arguments():
    for options in ({"noise": 1.5}, {"latent_dim": 0}, {"refresh": 0}):
        with pytest.raises(ArgumentError, match="AdditivePrior: expected"):
            AdditivePrior("rbf(age)", **{"latent_dim": 2, **options})
    with pytest.raises(ArgumentError, match="expected a categorical column of the kernel"):
        AdditivePrior("rbf(age) + cat(id)", latent_dim=2, subject="age")
    with pytest.raises(RuntimeError, match="expected prepare"):
        AdditivePrior("rbf(age)", latent_dim=2).solve()
    with pytest.raises(DataError, match="order: expected a column"):
        AdditivePrior("rbf(age)", latent_dim=2, order="visit").prepare(columns())


def test_before_any_data_it_is_standard_normal_and_weights_load_into_a_new_one():
    data = columns()
    prior = prior_of(data)
    fresh = AdditivePrior(prior.kernel.written, latent_dim=L).double()
    assert torch.equal(fresh(**data).variance, torch.ones(len(data["id"]), L).double())
    fill(prior, torch.randn(len(data["id"]), L), torch.ones(len(data["id"]), L))
    fresh.load_state_dict(prior.state_dict())
    for found, expected in zip(fresh.eval().moments(data), prior.moments(data), strict=True):
        assert torch.equal(found, expected)
