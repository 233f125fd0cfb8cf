"""Fitting a model with a GP prior, which knows its training data."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ppvae.data import Dataset, Splits
from ppvae.fitting import Checkpoint, fit
from ppvae.gp import FourierFeatures, GPPrior, LeaveViewOut, ObjectTable
from ppvae.guides import GPGuide
from ppvae.models import GPVAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO
from ppvae.runs.run import load
from tests.fitting.guard import Guard

P, Q, D, L = 8, 5, 6, 2


def columns(cells: Tensor) -> Dataset:
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(3, D, generator=generator)
    angle = cells[:, 1] * 2 * math.pi / Q
    size = 1 + 0.1 * cells[:, 0]
    x = torch.stack([size * angle.cos(), size * angle.sin(), size], -1) @ mix
    return Dataset({"x": x, "object": cells[:, 0], "view": angle})


def data() -> Splits:
    cells = torch.cartesian_prod(torch.arange(P), torch.arange(Q))
    shown = (cells[:, 0] + cells[:, 1]) % 4 > 0
    return Splits(columns(cells[shown]), columns(cells[~shown]))


def pair(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        features = FourierFeatures(num_frequencies=2)
        prior = GPPrior(ObjectTable(P, 2), features, latent_dim=L, folds=Q)
        decoder = MLP(L, heads.Normal((D,)), hidden=(8,))
        encoder = MLP(D, heads.DiagonalNormal(L), hidden=(8,))
        return GPVAE(prior, decoder), GPGuide(encoder, prior)


OBJECTIVE = ELBO() + LeaveViewOut()


def quiet(model: nn.Module, guide: nn.Module, splits: Splits | None = None, **options):
    options = {"epochs": 4, "batch_size": 8, "seed": 0, "progress": False, **options}
    splits = data() if splits is None else splits
    return fit(model, guide, splits, OBJECTIVE, learning_rate=0.01, **options)


def state(model: nn.Module, guide: nn.Module) -> dict[str, Tensor]:
    return nn.ModuleList([model, guide]).state_dict()


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def test_it_learns_and_predicts_the_same_after_loading(tmp_path):
    model, guide = pair()
    run = quiet(model, guide, epochs=40, out=tmp_path / "run")
    elbos = run.history.column("val_elbo")
    assert elbos[-1] > elbos[0] + 1
    assert "leave_view_out" in run.history[0]
    assert model.prior.mean.abs().max() > 0
    back = load(tmp_path / "run", *pair(1))
    assert back.guide.prior is back.model.prior
    unseen = data().validation
    ours, theirs = (m.prior(unseen["object"], unseen["view"]) for m in (model, back.model))
    assert torch.equal(ours.mean, theirs.mean)
    assert torch.equal(ours.variance, theirs.variance)


def test_validation_does_not_touch_its_table():
    validated, never = pair(), pair()
    quiet(*validated)
    quiet(*never, Splits(data().train))
    assert same(state(*validated), state(*never))


def test_it_goes_on_bit_for_bit(tmp_path):
    class Stop:
        def on_epoch_end(self, training):
            training.stop = training.epoch == 2

    whole, part, rest = pair(), pair(), pair(7)
    quiet(*whole)
    quiet(*part, callbacks=[Stop(), Checkpoint(tmp_path / "c")])
    quiet(*rest, resume=tmp_path / "c")
    assert same(state(*whole), state(*rest))


def test_its_steps_do_not_wait_for_the_device(monkeypatch):
    guarded, plain = pair(), pair()

    class Begun:
        """The count of steps since the GP was solved is read once a run, not at each step."""

        def on_fit_start(self, training):
            count = training.model.prior.refresh
            count._age = int(count.age)

    quiet(*guarded, epochs=1, callbacks=[Begun(), Guard(monkeypatch)])
    quiet(*plain, epochs=1)
    assert same(state(*guarded), state(*plain))
