"""Bad arguments of scores, checks and other evaluations are refused in words."""

from __future__ import annotations

import math

import pytest
import torch

from ppvae import evaluate
from ppvae.errors import PPVAEError
from ppvae.fitting import fit
from tests.fitting.programs import pair

A = torch.linspace(-1, 1, 20)
CODES = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(20) % 3
TURNS = torch.eye(3).expand(20, 3, 3)
DRAWS = torch.stack([A, A + 1, A - 1])

REFUSED = {
    "a threshold": (
        lambda: evaluate.active_units(CODES, threshold=math.nan),
        "threshold: expected a number >= 0; got nan",
    ),
    "rotations that are text": (
        lambda: evaluate.rotation_errors("a", TURNS),
        "rotations: expected a tensor of real numbers; got str",
    ),
    "complex rotations": (
        lambda: evaluate.align_rotations(TURNS, TURNS.to(torch.complex64)),
        "rotations: expected a tensor of real numbers; got torch.complex64",
    ),
    "fewer batches": (
        lambda: evaluate.batch_mixing(CODES, CLASSES[:10]),
        "batch_mixing: expected two columns of one length",
    ),
    "a missing batch": (
        lambda: evaluate.batch_mixing(CODES, CLASSES - 1),
        r"expected latents \(N, Z\) and batches \(N\) numbered from 0",
    ),
    "angles that would broadcast": (
        lambda: evaluate.circular_correlation(A[:, None], A),
        r"expected angles with shape \(N\); got \(20, 1\)",
    ),
    "fewer classes": (
        lambda: evaluate.cluster_scores(CLASSES, CLASSES[:10]),
        "cluster_scores: expected two columns of one length",
    ),
    "classes in two columns": (
        lambda: evaluate.cluster_scores(CLASSES[:, None], CLASSES),
        r"cluster_scores: expected classes with shape \(N\); got \(20, 1\)",
    ),
    "one-hot classes": (
        lambda: evaluate.linear_probe(CODES, torch.eye(20).long()),
        r"probe: expected classes with shape \(N\); got \(20, 20\)",
    ),
    "too many neighbours": (
        lambda: evaluate.knn_probe(CODES, CLASSES, k=10),
        "k: expected less than half of the 20 known rows; got 10",
    ),
    "no trees": (
        lambda: evaluate.dci(CODES, CODES, trees=0),
        "trees: expected an integer >= 1; got 0",
    ),
    "a seed that is too large": (
        lambda: evaluate.kmeans(CODES, 2, seed=2**32),
        "seed: expected an integer from 0 to 4294967295; got 4294967296",
    ),
    "a number instead of several": (
        lambda: evaluate.neighbours(CODES, CODES, ks=3),
        "ks: expected a list or a tuple; got 3",
    ),
    "bins without end": (
        lambda: evaluate.mig(CODES, CODES, bins=10**30),
        "bins: expected an integer >= 2; got 10+, more than 64 bits hold",
    ),
    "draws that are not finite": (
        lambda: evaluate.interval(DRAWS / 0, 0.9),
        "draws: expected finite numbers .*, up to (nan|inf)",
    ),
    "one draw": (
        lambda: evaluate.interval(DRAWS[:1], 0.9),
        "draws: expected two numbers or more; got 1",
    ),
    "weights that are no tensor": (
        lambda: evaluate.pareto_k([0.0]),
        r"log_weights: expected a real tensor with shape \(S, N\); got \[0.0\]",
    ),
    "a matrix of ranks": (
        lambda: evaluate.uniformity(CODES.abs()),
        r"u: expected shape \(N\); got \(20, 3\)",
    ),
    "no run": (
        lambda: evaluate.summary("run", {"x": CODES}),
        "run: expected a Run; got 'run'",
    ),
    "no run to impute by": (
        lambda: evaluate.impute(None, {"x": CODES}),
        "run: expected a Run; got None",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_arguments_are_refused_in_words(kind):
    call, message = REFUSED[kind]
    with pytest.raises(PPVAEError, match=message):
        call()


@pytest.fixture(scope="module")
def run():
    return fit(*pair(), {"x": torch.randn(16, 4)}, epochs=1, seed=0, progress=False, compile=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_rows": True}, "max_rows: expected an integer >= 1; got True"),
        ({"max_rows": 1.5}, "max_rows: expected an integer >= 1; got 1.5"),
        ({"num_draws": 0}, "num_draws: expected an integer >= 1; got 0"),
        ({"data": {"x": torch.randn(8, 5)}}, r"expected shape \(N, 4\), as in the training data"),
        ({"data": 3}, "expected"),
    ],
    ids=str,
)
def test_bad_arguments_with_a_run_are_refused_in_words(run, options, message):
    given = {"data": {"x": torch.randn(8, 4)}, **options}
    with pytest.raises(PPVAEError, match=message):
        evaluate.elbo_surgery(run, **given)
    if "num_draws" not in options:
        with pytest.raises(PPVAEError, match=message):
            evaluate.check_reconstructions(run, **given)
