"""Replicates that are drawn given data of their own site are said to be."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppvae.evaluate import check_reconstructions, to_arviz
from ppvae.programs import data_plate
from ppvae.runs.run import Run
from tests.evaluate.programs import linear_run, pair_run
from tests.pairs import PAIRS

D, Z = 4, 2


class Forced(nn.Module):
    """A decoder that is given the element before each element."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(Z + 1, 1)
        self.register_buffer("zero", torch.zeros(Z))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))
            given = z.new_zeros(*z.shape[:-1], D) if x is None else x
            before = torch.cat([torch.zeros_like(given[..., :1]), given[..., :-1]], -1)
            before = before.expand(*z.shape[:-1], D)
            inputs = [z.unsqueeze(-2).expand(*z.shape[:-1], D, Z), before.unsqueeze(-1)]
            loc = self.net(torch.cat(inputs, -1)).squeeze(-1)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


class Shifted(nn.Module):
    """Numbers of one size whose mean follows a share of their own data, or bits likewise."""

    def __init__(self, *, bits: bool, size: float = 1.0, refused: bool = False) -> None:
        super().__init__()
        self.bits, self.size, self.refused = bits, size, refused
        self.first: float | None = None
        self.register_buffer("zero", torch.zeros(Z))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))
            given = z.new_zeros(*z.shape[:-1], D) if x is None else x.roll(1, -1)
            given = given + 0 * z[..., :1] * self.size
            if self.refused and x is not None:
                self.first = float(x[0, 0]) if self.first is None else self.first
                assert float(x[0, 0]) == self.first
            if self.bits:
                fn = dist.Bernoulli(logits=0.2 * given)
            else:
                fn = dist.Normal(0.1 * given, self.size)
            pyro.sample("x", fn.to_event(1), obs=x)


class Total(nn.Module):
    """Counts by the total of each datum; ``own``: whether it is computed within the model."""

    def __init__(self, *, own: bool) -> None:
        super().__init__()
        self.net, self.own = nn.Linear(Z, D), own
        self.register_buffer("zero", torch.zeros(Z))

    def forward(self, x=None, total=None, *, size=None):
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))
            library = total if x is None or not self.own else x.sum(-1)
            rates = self.net(z).softmax(-1) * library.unsqueeze(-1)
            pyro.sample("x", dist.Poisson(rates).to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(D, Z)

    def forward(self, x):
        with data_plate(x):
            pyro.sample("z", dist.Normal(self.net(x.nan_to_num()), 1.0).to_event(1))


SAID = "replicates of 'x': drawn given the data of the same site"


@pytest.mark.parametrize("answer", [check_reconstructions, to_arviz])
def test_a_decoder_with_teacher_forcing_is_said_to_have_data_in_its_replicates(answer, caplog):
    answer(Run(Forced(), Guide()), {"x": torch.randn(9, D)}, num_draws=3)
    assert caplog.text.count(SAID) == 1


@pytest.mark.parametrize("answer", [check_reconstructions, to_arviz])
def test_to_look_for_it_takes_no_random_numbers(answer, monkeypatch):
    run = linear_run()
    columns = {"x": run.model.draw(9)}
    before = torch.get_rng_state()
    looked = answer(run, columns, num_draws=3)
    assert torch.equal(torch.get_rng_state(), before)
    module = "checks" if answer is check_reconstructions else "inference_data"
    monkeypatch.setattr(f"ppvae.evaluate.{module}.say_given_own_data", lambda *_: None)
    again = answer(run, columns, num_draws=3)
    if answer is check_reconstructions:
        assert torch.equal(looked.crps, again.crps)
    else:
        assert looked.posterior.equals(again.posterior)


@pytest.mark.parametrize("own", [True, False])
def test_so_is_a_total_that_the_model_computes_and_one_of_a_column_is_not(own, caplog):
    x = torch.arange(9.0 * D).reshape(9, D)
    columns = {"x": x, "total": x.sum(-1)}
    check_reconstructions(Run(Total(own=own), Guide()), columns, num_draws=3)
    assert (SAID in caplog.text) == own


@pytest.mark.parametrize(("bits", "size"), [(True, 1.0), (False, 1.0), (False, 1e-9)])
def test_slight_and_small_numbers_of_the_data_are_found(bits, size, caplog):
    x = torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 1.0, 1.0]]) * size
    check_reconstructions(Run(Shifted(bits=bits, size=size), Guide()), {"x": x}, num_draws=3)
    assert SAID in caplog.text


def test_a_program_that_refuses_other_rows_is_evaluated(caplog):
    x = torch.arange(9.0 * D).reshape(9, D)
    run = Run(Shifted(bits=False, refused=True), Guide())
    assert check_reconstructions(run, {"x": x}, num_draws=3).coverage
    assert SAID not in caplog.text


@pytest.mark.parametrize("rows", [1, 9])
def test_the_programs_of_others_are_not(rows, caplog):
    run = linear_run()
    check_reconstructions(run, {"x": run.model.draw(rows)}, num_draws=3)
    assert "replicates" not in caplog.text


@pytest.mark.parametrize("name", PAIRS)
def test_no_pair_of_ours_is(name, caplog):
    run, data = pair_run(name)
    check_reconstructions(run, data, num_draws=2, max_rows=3)
    assert "replicates" not in caplog.text
