"""Values of another kind at the entry points are refused in words, by the argument's name."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import ppvae
from ppvae import evaluate
from ppvae.errors import ArgumentError, PPVAEError
from ppvae.evaluate import scores
from ppvae.fitting import fit
from ppvae.models import VAE
from ppvae.runs import Run
from tests.fitting.programs import pair, splits, table

QUICK = {"epochs": 1, "batch_size": 16, "seed": 0, "progress": False, "compile": False}


def named(value: object) -> str:
    """The id of a test, the same in every process."""
    return "object" if type(value) is object else str(value)


NO_NUMBERS = [None, "a", [], {}, math.nan, math.inf, 1.5, True, 1j, object()]


@pytest.fixture(scope="module")
def run() -> Run:
    return fit(*pair(), {"x": table(32)}, **QUICK)


@pytest.mark.parametrize("value", [*NO_NUMBERS, -1], ids=named)
def test_counts_and_seeds_are_integers(run, value):
    data = {"x": table(8)}
    calls: dict[str, Callable[[], object]] = {
        "num_particles": lambda: evaluate.log_likelihood(run, data, num_particles=value),
        "batch_size": lambda: run.encode(data, batch_size=value),
        "seed": lambda: evaluate.log_likelihood(run, data, num_particles=2, seed=value),
        "num_draws": lambda: run.predict({}, rows=2, num_draws=value),
        "k": lambda: evaluate.knn_overlap(table(20), table(20), k=value),
        "clusters": lambda: evaluate.kmeans(table(20), value),
        "bins": lambda: evaluate.mig(table(20), table(20)[:, 0], bins=value),
    }
    if value is not None:
        calls["rows"] = lambda: run.predict({}, rows=value)
    for name, call in calls.items():
        with pytest.raises(ArgumentError, match=f"^{name}: expected an integer"):
            call()
    with pytest.raises(ArgumentError, match="num_draws: expected an integer"):
        ppvae.to_arviz(run, data, num_draws=value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, 1, -0.1], ids=named)
def test_shares_are_between_0_and_1(run, value):
    with pytest.raises(ArgumentError, match="interval: expected a number between 0 and 1"):
        run.predict({}, rows=2, interval=value)
    with pytest.raises(ArgumentError, match="probability: expected a number between 0 and 1"):
        evaluate.interval(table(9), value)


Z, K, A = torch.rand(30, 3), torch.arange(30) % 3, torch.rand(30)
TWO = {
    "circular": (scores.circular_correlation, A, A),
    "r2": (scores.r2, A, A),
    "linear": (scores.linear_r2, Z, A),
    "accuracy": (scores.clustering_accuracy, K, K),
    "clusters": (evaluate.cluster_scores, K, K),
    "mig": (evaluate.mig, Z, K),
    "sap": (evaluate.sap, Z, K),
    "dci": (evaluate.dci, Z, K),
    "probe": (evaluate.linear_probe, Z, K),
    "neighbours": (evaluate.knn_probe, Z, K),
    "overlap": (evaluate.knn_overlap, Z, Z),
    "invariance": (evaluate.invariance, Z, Z),
    "mixing": (evaluate.batch_mixing, Z, K),
}
WRONG = {
    "no tensor": "a",
    "none": None,
    "a list": [1.0, 2.0],
    "an array": np.zeros(30),
    "one number": torch.tensor(1.0),
    "no rows": torch.zeros(0),
    "nan": torch.full((30,), math.nan),
    "infinity": torch.full((30,), math.inf),
    "complex": torch.zeros(30, dtype=torch.complex64),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", TWO)
def test_scores_take_finite_real_rows(name, wrong):
    score, first, second = TWO[name]
    for arguments in ((WRONG[wrong], second), (first, WRONG[wrong])):
        with pytest.raises(ArgumentError, match="expected .*; got"):
            score(*arguments)


def test_r2_does_not_broadcast():
    with pytest.raises(ArgumentError, match="r2: expected two tensors of one shape"):
        scores.r2(A, A[:, None])


def test_names_of_classes_may_be_any():
    assert scores.clustering_accuracy(K + 10**9, (K + 1) % 3) == 1.0
    assert (
        scores.clustering_accuracy(torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 7, 5])) == 0.75
    )


@pytest.mark.parametrize("wrong", [None, 3, "vae", VAE, object()], ids=named)
def test_a_pair_is_two_modules(wrong):
    model, guide = pair()
    with pytest.raises(ArgumentError, match="model: expected a torch Module; got"):
        fit(wrong, guide, splits(), **QUICK)
    with pytest.raises(ArgumentError, match="guide: expected a torch Module; got"):
        fit(model, wrong, splits(), **QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "elbo"}, "objective: expected a ppvae ELBO"),
        ({"recipe": {"builder": "a:b"}}, "recipe: expected a ppvae Recipe"),
        ({"out": 3}, "out: expected a path"),
        ({"out": "a\0b"}, "out: expected a path"),
        ({"out": ""}, "out: expected a path"),
        ({"resume": b"a"}, "resume: expected a path"),
        ({"optimizer": lambda parameters, rate: None}, "optimizer: expected a function"),
        ({"optimizer": torch.optim.LBFGS}, "optimizer: expected a function"),
        ({"schedule": lambda optimizer, steps: None}, "schedule: expected a function"),
    ],
)
def test_arguments_of_another_kind_are_named(options, message):
    with pytest.raises(PPVAEError, match=message):
        fit(*pair(), splits(), **{**QUICK, **options})


@pytest.mark.parametrize("callbacks", [None, 3, "a"])
def test_callbacks_are_a_list(callbacks):
    with pytest.raises(TypeError, match="callbacks: expected a list"):
        fit(*pair(), splits(), callbacks=callbacks, **QUICK)


def test_splits_have_training_data():
    with pytest.raises(ppvae.errors.DataError, match="expected .*; got .*NoneType"):
        fit(*pair(), ppvae.data.Splits(None), **QUICK)


def test_seeds_of_numpy_are_seeds(run):
    data: dict[str, Tensor] = {"x": table(8)}
    ours = evaluate.log_likelihood(run, data, num_particles=2, seed=np.int64(3))
    theirs = evaluate.log_likelihood(run, data, num_particles=2, seed=3)
    assert torch.equal(ours.log_likelihood, theirs.log_likelihood)
