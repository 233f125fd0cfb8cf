"""A run is resumed with the same parameters frozen, and the same modules in evaluation mode."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ppvae.errors import ArgumentError
from ppvae.fitting import Checkpoint, fit
from ppvae.fitting.frozen import evaluated
from ppvae.objectives import ELBO
from tests.fitting.programs import D, pair, splits


def parts(frozen=(), evaluated=(), *, whole: bool = True) -> tuple[nn.Module, nn.Module]:
    """A pair, with layers of the guide's network by their numbers."""
    model, guide = pair()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = [nn.Dropout(0.5), nn.Linear(D, D), nn.BatchNorm1d(D), nn.Linear(D, D)]
        guide.net = nn.Sequential(*layers, guide.net)
    for number in frozen:
        guide.net[number].requires_grad_(False)
    for number in evaluated:
        guide.net[number].eval()
    if not whole:
        model.eval()
        guide.eval()
    return model, guide


def run(made, epochs: int = 3, **options):
    options = {"batch_size": 16, "seed": 0, "progress": False, "compile": False, **options}
    return fit(*made, splits(), epochs=epochs, **options)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped") / "c"
    run(parts([1], [0, 2]), 2, callbacks=[Checkpoint(folder)])
    return folder


def test_the_same_parts_go_on_bit_for_bit(stopped, caplog):
    made = parts([1], [0, 2])
    resumed = run(made, resume=stopped)
    straight = run(parts([1], [0, 2]))
    assert [r["elbo"] for r in resumed.history] == [r["elbo"] for r in straight.history]
    assert not caplog.text
    # What was fitted is in evaluation mode as a whole; that says nothing of its parts.
    with pytest.raises(ArgumentError, match="alone: guide.net.0, guide.net.2. Call train()"):
        run(made, 4, resume=stopped)


def test_modes_of_parts_that_compute_the_same_in_both_are_not_compared(stopped):
    made = parts([1], [0, 1, 2, 3])
    assert evaluated(ELBO()(*made)) == ["guide.net.0", "guide.net.2"]
    run(made, resume=stopped)


def test_another_layer_frozen_is_refused_by_name(stopped):
    words = (
        "expected the trained parameters of the run that stopped; got other ones, frozen in that "
        "run alone: guide.net.1.bias, guide.net.1.weight; frozen now alone: guide.net.3.bias, "
    )
    with pytest.raises(ArgumentError, match=words):
        run(parts([3], [0, 2]), resume=stopped)
    with pytest.raises(ArgumentError, match="frozen in that run alone: [^;]*weight. Freeze"):
        run(parts([], [0, 2]), resume=stopped)
    with pytest.raises(ArgumentError, match="frozen now alone: guide.net.4.bias, [^;]*. Freeze"):
        run(parts([1, 4], [0, 2]), resume=stopped)


def test_another_mode_is_refused_by_name(stopped):
    words = "expected the modules in evaluation mode .* in evaluation mode in that run alone: "
    with pytest.raises(ArgumentError, match=words + r"guide.net.0. Call train\(\)"):
        run(parts([1], [2]), resume=stopped)
    with pytest.raises(ArgumentError, match=r"in that run alone: guide.net.0, guide.net.2. Call"):
        run(parts([1]), resume=stopped)


def test_a_whole_in_evaluation_mode_is_as_one_in_training_mode(tmp_path):
    run(parts(), 1, callbacks=[Checkpoint(tmp_path / "c")])
    assert run(parts(whole=False), 2, resume=tmp_path / "c").epochs == 2


def test_finding_the_modes_changes_none():
    model, guide = parts(evaluated=[0])
    objective = ELBO()(model, guide, num_data=4)
    objective.eval()
    assert evaluated(objective) == ["guide.net.0"]
    assert not any(part.training for part in objective.modules())
