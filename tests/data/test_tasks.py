"""Generated subjects x tasks: the planted covariance, what is left out, what is refused."""

from __future__ import annotations

import pytest
import torch

from ppvae.data import tasks
from ppvae.data.tasks import TASK_CORRELATION, TASKS
from ppvae.errors import ArgumentError, DataError

SMALL = {"num_subjects": 10, "num_regions": 5, "num_networks": 2}


def cells(part):
    return set(zip(part["object"].tolist(), part["view"].tolist(), strict=True))


def test_every_subject_lacks_one_task_at_most_and_that_is_the_test_data():
    train, validation, test = tasks(**SMALL)
    assert validation is None
    assert cells(train) | cells(test) == {(s, t) for s in range(10) for t in range(6)}
    assert not cells(train) & cells(test)
    assert len({s for s, _ in cells(test)}) == test.num_rows == 5
    assert train["x"].shape == (55, 5)
    assert train.record.names["view"] == TASKS


def test_a_seed_draws_the_same_signals():
    first, again, other = (tasks(**SMALL, seed=seed).train["x"] for seed in (0, 0, 1))
    assert torch.equal(torch.as_tensor(first), torch.as_tensor(again))
    assert not torch.equal(torch.as_tensor(first), torch.as_tensor(other))


def test_latents_have_the_planted_correlation_and_signals_their_moments():
    splits = tasks(num_subjects=3000, num_regions=6, left_out=0.001, noise=0.5)
    train = splits.train
    whole = torch.as_tensor(train["object"])
    counts = torch.bincount(whole)
    complete = (counts == 6)[whole]
    z = torch.as_tensor(train["latent"])[complete].reshape(-1, 6, 8)
    found = torch.corrcoef(z.transpose(0, 1).flatten(1).double())
    torch.testing.assert_close(
        found, torch.tensor(TASK_CORRELATION, dtype=torch.float64), atol=0.03, rtol=0
    )
    # What a linear map of z leaves of the signals, with a mean for each task, is the noise.
    x = torch.as_tensor(train["x"]).double()
    task = torch.nn.functional.one_hot(torch.as_tensor(train["view"]), 6).double()
    inputs = torch.cat([task, torch.as_tensor(train["latent"]).double()], 1)
    left = x - inputs @ torch.linalg.lstsq(inputs, x).solution
    assert left.std().item() == pytest.approx(0.5, abs=0.01)


def test_another_number_of_tasks_has_a_correlation_of_its_own():
    train = tasks(**SMALL, correlation=[[1.0, 0.5], [0.5, 1.0]]).train
    assert set(train["view"].tolist()) == {0, 1}
    assert "view" not in train.record.names


@pytest.mark.parametrize(
    "options",
    [
        {"num_subjects": 1},
        {"num_regions": 0},
        {"left_out": 0.0},
        {"noise": -1.0},
        {"correlation": [[1.0, 2.0], [2.0, 1.0]]},
        {"correlation": [[1.0, 0.5]]},
    ],
)
def test_what_cannot_be_drawn_is_refused(options):
    with pytest.raises(DataError, match="tasks: expected"):
        tasks(**{**SMALL, **options})


def test_a_correlation_that_is_no_matrix_is_refused():
    with pytest.raises(ArgumentError, match="correlation: expected a list or a tuple, each"):
        tasks(**{**SMALL, "correlation": [1.0]})


def test_networks_add_up_to_signals_of_one_variance():
    """Whatever their number: the loadings shrink as there are more of them."""
    for networks in (1, 16):
        splits = tasks(num_subjects=600, num_regions=60, num_networks=networks, noise=0.0)
        x = torch.as_tensor(splits.train["x"])[torch.as_tensor(splits.train["view"]) == 0]
        assert x.var(0).mean().item() == pytest.approx(1.0, rel=0.35)
