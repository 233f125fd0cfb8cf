"""Several processes make the steps of one; what they cannot share out is refused."""

from __future__ import annotations

import math
import os
import signal
import threading
from functools import partial
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import ppvae
from ppvae.errors import ArgumentError, ContractError, Interrupted
from ppvae.fitting import ending_on_signals
from ppvae.fitting.draws import dims_of_draws
from ppvae.fitting.prepare import for_processes
from ppvae.fitting.processes import _waited, alone, first_host, is_main, launched
from ppvae.fitting.settings import Settings
from ppvae.gp import LeaveViewOut
from ppvae.gp.additive import LeaveVisitsOut
from ppvae.objectives import ELBO, Shards
from tests.fitting.programs import PPCA, LinearGuide
from tests.fitting.shared_fits import (
    CASES,
    all_fits,
    fitted,
    killed,
    largest_difference,
    resumed,
    together,
)


def test_two_processes_equal_one() -> None:
    """Gathered codes of a critic, and a last batch that the processes cannot share evenly."""
    (one, two), alone_ = together(2, all_fits, ["infomax"]), all_fits(["infomax"])
    assert largest_difference(alone_["infomax"], one["infomax"]) < 1e-5
    assert largest_difference(one["infomax"], two["infomax"]) == 0.0


@pytest.mark.slow
def test_three_processes_equal_one() -> None:
    found = together(3, all_fits, list(CASES))
    for name, expected in all_fits(list(CASES)).items():
        assert largest_difference(expected, found[0][name]) < 1e-5, name
        assert all(largest_difference(found[0][name], own[name]) == 0.0 for own in found)


@pytest.mark.slow
def test_any_number_goes_on_where_a_process_was_killed(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"SIGKILL|another one has ended"):
        together(2, killed, str(tmp_path / "checkpoint"))
    expected = fitted("gpvae")
    one = resumed(str(tmp_path / "checkpoint"))
    three = together(3, resumed, str(tmp_path / "checkpoint"))[0]
    assert len(one["history"]) == len(expected["history"])
    for found in (one, three):
        assert largest_difference(expected, found) < 1e-5


class Across(LinearGuide):
    """A guide with batch normalisation: a datum's posterior depends on the others'."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> None:
        super().forward(self.norm(x))


class Dropping(LinearGuide):
    """A guide with dropout, and a draw that all rows share."""

    def forward(self, x: Tensor) -> None:
        super().forward(nn.functional.dropout(x, 0.5) + torch.randn(4))


def test_draws_have_the_dimension_of_the_rows() -> None:
    batch = {"x": torch.randn(9, 4)}
    objective = ELBO(num_particles=3)(PPCA(), LinearGuide())
    objective.check(batch)
    assert dims_of_draws(objective, batch) == [1]
    objective = ELBO()(PPCA(), Dropping())
    objective.check(batch)
    assert dims_of_draws(objective, batch) == [0, None, 0]


def test_draws_by_rejection_are_one_draw_of_the_rows() -> None:
    data = {"x": torch.rand(9, 1, 4, 4)}
    pair = ppvae.zoo.svae(data, latent_dim=3, hidden=(8,), family="von-mises-fisher")
    objective = ELBO()(pair.model, pair.guide)
    objective.check(data)
    cosine, direction = dims_of_draws(objective, data)
    assert (cosine, direction) == (0, 0)


def test_a_program_that_mixes_rows_is_refused() -> None:
    batch = {"x": torch.randn(9, 4)}
    objective = ELBO()(PPCA(), Across())
    objective.check(batch)
    before = objective.guide.norm.running_mean.clone()
    with pytest.raises(ContractError, match="treat each datum alone"):
        dims_of_draws(objective, batch)
    assert torch.equal(objective.guide.norm.running_mean, before)
    with pytest.raises(ContractError, match="at least 4 rows"):
        dims_of_draws(objective, {"x": batch["x"][:3]})


def test_draws_across_rows_are_refused() -> None:
    class Rejecting(LinearGuide):
        def forward(self, x: Tensor) -> None:
            for _ in range(len(x)):
                torch.rand(())
            super().forward(x)

    batch = {"x": torch.randn(9, 4)}
    objective = ELBO()(PPCA(), Rejecting())
    objective.check(batch)
    with pytest.raises(ContractError, match="several processes: expected"):
        dims_of_draws(objective, batch)


class Eight(Shards):
    size = 8


def test_settings_that_processes_cannot_follow_are_refused() -> None:
    assert for_processes(Settings(), Shards()) == Settings()
    chosen = for_processes(Settings(), Eight())
    assert chosen.compile is False
    with pytest.raises(ArgumentError, match="eager"):
        for_processes(Settings(compile=True), Eight())
    with pytest.raises(ArgumentError, match="a row for each of 8"):
        for_processes(Settings(batch_size=7), Eight())
    with pytest.raises(ArgumentError, match="got 'mps'"):
        for_processes(Settings(device="mps"), Eight())


def test_the_launcher_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun = {
        "RANK": "1",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }
    assert launched(torchrun) == torchrun
    assert launched({**torchrun, "WORLD_SIZE": "1"}) is None
    assert launched({}) is None
    # A batch script without srun is one process, whatever the job has.
    assert launched({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) is None
    slurm = {
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_JOB_ID": "20001",
        "SLURM_STEP_NODELIST": "node[03-05,9],login",
    }
    assert launched(slurm) == {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "node03",
        "MASTER_PORT": "15001",
    }
    for name, value in torchrun.items():
        monkeypatch.setitem(os.environ, name, value)
    assert not is_main()
    with alone():
        assert is_main()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SLURM_STEP_NUM_TASKS": "abc"}, "SLURM_STEP_NUM_TASKS: expected a whole number"),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": ""}, "SLURM_PROCID: expected a whole"),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "2"}, "a rank below their number 2; got 2"),
        ({"RANK": "0", "WORLD_SIZE": "abc"}, "WORLD_SIZE: expected a whole number"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK: expected a whole number"),
    ],
)
def test_a_launchers_variables_are_numbers(changes: dict[str, str], words: str) -> None:
    others = {"LOCAL_RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    with pytest.raises(ArgumentError, match=words):
        launched({**others, **changes})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_for_processes_that_never_come(number: int) -> None:
    ended = threading.Event()
    timer = threading.Timer(0.5, os.kill, (os.getpid(), number))
    timer.start()
    with pytest.raises(Interrupted), ending_on_signals():
        _waited(partial(ended.wait, 60))
    ended.set()


def test_errors_of_the_wait_are_raised() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        _waited(partial(int, "x"))


@pytest.mark.parametrize(
    ("nodes", "host"), [("n1", "n1"), ("n1,n2", "n1"), ("n[7-9]", "n7"), ("n[1,4].x", "n1.x")]
)
def test_first_host(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


def test_means_of_terms_are_those_of_the_batch() -> None:
    """One process: the means that enter the loss are those that are recorded."""
    x = torch.randn(9, 4)
    terms = ELBO(weights={"z": 2.0})(PPCA(), LinearGuide())({"x": x})
    means = terms.means()
    assert math.isclose(float(means["elbo"]), float(terms.elbo.detach().mean()), rel_tol=1e-12)
    loss = 2 * means["kl/z"] - means["log_likelihood/x"]
    assert torch.allclose(means["loss"], loss)


def test_a_term_that_is_not_shared_out_says_so() -> None:
    assert not LeaveVisitsOut().sharded
    assert LeaveViewOut().sharded


def test_the_plate_is_that_of_the_rows() -> None:
    """A global latent is drawn alike by all."""

    class Global(PPCA):
        def forward(self, x: Tensor | None = None, *, size: int | None = None) -> Tensor:
            pyro.sample("w", dist.Normal(torch.zeros(()), 1.0))
            return super().forward(x, size=size)

    class Both(LinearGuide):
        def forward(self, x: Tensor) -> None:
            pyro.sample("w", dist.Normal(torch.zeros(()), 1.0))
            super().forward(x)

    batch = {"x": torch.randn(9, 4)}
    objective = ELBO()(Global(), Both(), num_data=9)
    objective.check(batch)
    assert dims_of_draws(objective, batch) == [None, 0]
