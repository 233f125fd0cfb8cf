"""Programs that are others in training mode or for other rows: refused, or scored as in Pyro."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn

import ppvae
from ppvae import evaluate
from ppvae.errors import ContractError
from ppvae.objectives import ELBO
from ppvae.programs import check_pair, data_plate

N = 8


def rows() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(N, 3)
    return {"x": x, "y": (x[:, 0] > 0).long()}


class Model(nn.Module):
    """z ~ N(0, 1), x ~ N(z, I), and what a method ``more`` adds within the data plate."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2)
        self.decoder = nn.Linear(1, 3)

    def more(self, z, x, y):
        return z

    def forward(self, x=None, y=None, *, size=None):
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            z = self.more(z, x, y)
            loc = self.decoder(z.unsqueeze(-1))
            return pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def more(self, z, x):
        pass

    def forward(self, x):
        with data_plate(x):
            z = pyro.sample("z", dist.Normal(x.mean(1) * self.weight, 0.7))
            self.more(z, x)


class Regularised(Model):
    def more(self, z, x, y):
        if self.training:
            pyro.factor("reg", -((z - 3) ** 2))
        return z


class WithHead(Model):
    def more(self, z, x, y):
        if self.training and y is not None:
            pyro.sample("y", dist.Categorical(logits=self.head(z.unsqueeze(-1))), obs=y)
        return z


class Noisy(Model):
    def more(self, z, x, y):
        return z + pyro.sample("u", dist.Normal(0.0, 1.0)) if self.training else z


class NoisyGuide(Guide):
    def more(self, z, x):
        if self.training:
            pyro.sample("u", dist.Normal(3 + self.weight, 0.1))


class EvaluatedAlone(Model):
    def more(self, z, x, y):
        if not self.training:
            pyro.factor("reg", -((z - 3) ** 2))
        return z


class Penalised(Guide):
    def more(self, z, x):
        if self.training:
            pyro.factor("extra", z, has_rsample=True)


@pytest.mark.parametrize(
    ("model", "guide", "message"),
    [
        (Regularised, Guide, r"model: expected the sites \['x', 'z'\].*; got also \['reg'\]"),
        (WithHead, Guide, r"model: .* in training mode as in evaluation mode; got also \['y'\]"),
        (Noisy, NoisyGuide, r"guide: .*; got also \['u'\]"),
        (EvaluatedAlone, Guide, r"model: .*; got all but \['reg'\]"),
        (Model, Penalised, r"guide: .*; got also \['extra'\]"),
    ],
)
@pytest.mark.parametrize("mode", [True, False])
def test_a_site_of_one_mode_alone_is_refused_before_the_first_step(model, guide, message, mode):
    pair = model().train(mode), guide().train(mode)
    with pytest.raises(ContractError, match=message):
        check_pair(*pair, rows())
    assert pair[0].training is mode
    with pytest.raises(ContractError, match=r"mask=self\.training"):
        ppvae.fit(*pair, rows(), epochs=1, batch_size=4, seed=0, progress=False)
    check_pair(*pair, rows(), training=False)


class Some(Model):
    """A factor for batches in which some x is large."""

    def more(self, z, x, y):
        if x is not None and bool((x[:, 0] > 10).any()):
            pyro.factor("reg", -((z - 3) ** 2))
        return z


@pytest.mark.parametrize(("first", "found"), [(False, "also"), (True, "all but")])
def test_a_site_of_some_batches_alone_is_refused_at_the_first_other_one(first, found):
    small, large = rows(), rows()
    large["x"][0, 0] = 11.0
    objective = ELBO()(Some(), Guide())
    objective(large if first else small)
    with pytest.raises(ContractError, match=rf"model: .*; got {found} \['reg'\]"):
        objective(small if first else large)


class Relaxed(nn.Module):
    """One of three classes, relaxed in training."""

    def forward(self, x=None, *, size=None):
        probs = torch.tensor([0.2, 0.3, 0.5])
        relaxed = dist.RelaxedOneHotCategorical(torch.tensor(0.5), probs)
        with data_plate(x, size=size):
            k = pyro.sample("k", relaxed if self.training else dist.OneHotCategorical(probs))
            return pyro.sample("x", dist.Normal(2 * k, 1.0).to_event(1), obs=x)


class RelaxedGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        logits = x * self.weight
        with data_plate(x):
            if self.training:
                temperature = torch.tensor(0.5)
                pyro.sample("k", dist.RelaxedOneHotCategorical(temperature, logits=logits))
            else:
                exact = dist.OneHotCategorical(logits=logits)
                pyro.sample("k", exact, infer={"enumerate": "parallel"})


def test_classes_relaxed_in_training_alone_are_refused():
    message = r"site 'k': expected one that is enumerated in training mode as in evaluation mode"
    with pytest.raises(ContractError, match=message):
        ppvae.fit(Relaxed(), RelaxedGuide(), rows(), epochs=1, seed=0, progress=False)
    objective = ELBO()(Relaxed(), RelaxedGuide()).eval()
    with pytest.raises(ContractError, match=message):
        objective.check(rows())


class MaskedHead(Model):
    """As the messages advise: sampled always, and masked where it does not count."""

    def more(self, z, x, y):
        with poutine.mask(mask=self.training):
            pyro.factor("reg", -((z - 3) ** 2))
            if y is not None:
                pyro.sample("y", dist.Categorical(logits=self.head(z.unsqueeze(-1))), obs=y)
        pyro.deterministic("twice", 2 * z)
        return z


class GuideOfBoth(Guide):
    def forward(self, x, y=None):
        super().forward(x)


def test_what_only_training_has_may_be_masked_elsewhere():
    model, guide, batch = MaskedHead(), GuideOfBoth(), rows()
    objective = ELBO(analytic=False)(model, guide)
    objective.check(batch)
    losses = []
    for mode in (True, False):
        objective.train(mode)
        torch.manual_seed(1)
        with torch.no_grad():
            loss = float(objective(batch).loss)
        torch.manual_seed(1)
        assert loss == pytest.approx(Trace_ELBO().loss(model, guide, **batch) / N, rel=1e-5)
        losses.append(loss)
    assert losses[0] > losses[1] + 1
    before = model.head.weight.detach().clone()
    run = ppvae.fit(model, guide, batch, epochs=2, batch_size=4, seed=0, progress=False)
    assert not torch.equal(run.model.head.weight.cpu(), before)
    found = evaluate.log_likelihood(run, batch, num_particles=2)
    assert found.elbo.mean() > -15


class Computing(Model):
    def more(self, z, x, y):
        if self.training:
            pyro.deterministic("twice", 2 * z)
        return z


def test_a_computed_value_of_training_alone_is_no_term():
    assert check_pair(Computing(), Guide(), rows()).observed == ("x",)
    ppvae.fit(Computing(), Guide(), rows(), epochs=1, batch_size=4, seed=0, progress=False)


class Remembering(nn.Module):
    """A guide that learns from the batches of training: statistics, and a number of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout(0.5)
        self.seen = 0

    def forward(self, x):
        if self.training:
            self.seen += 1
        loc = self.drop(self.norm(x)).mean(1)
        with data_plate(x):
            pyro.sample("z", dist.Normal(loc, 0.7))


def test_the_check_in_training_mode_moves_nothing():
    model, guide, batch = Model(), Remembering(), rows()
    before = {name: value.clone() for name, value in guide.state_dict().items()}
    state = torch.get_rng_state()
    check_pair(model, guide, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in guide.state_dict().items())
    assert guide.seen == 0
    assert guide.training


def test_a_part_that_is_frozen_stays_so_in_the_check():
    model = Regularised()
    outer = nn.Sequential(model)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = outer

        def forward(self, x=None, *, size=None):
            return self.part[0](x, size=size)

    frozen = Outer()
    model.eval()
    assert check_pair(frozen, Guide(), rows()).factors == ()
    model.train()
    with pytest.raises(ContractError, match="reg"):
        check_pair(frozen, Guide(), rows())


def test_a_program_that_takes_no_single_row_in_training_mode_is_checked_on_one():
    one = {name: column[:1] for name, column in rows().items()}
    assert check_pair(Model(), Remembering(), one).latent == ("z",)


class Large:
    """An array that is too large to be copied."""

    nbytes = 10**9

    def __array__(self, dtype=None, copy=None):
        raise MemoryError

    def __deepcopy__(self, memo):
        raise MemoryError


def test_large_arrays_are_not_copied_for_the_trial_in_training_mode():
    model = Regularised()
    model.table = Large()
    with pytest.raises(ContractError, match="got also"):
        check_pair(model, Guide(), rows())
