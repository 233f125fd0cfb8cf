"""Mutual information as a term: of any model, apart from its parameters."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppvae.fitting import fit
from ppvae.objectives import (
    ELBO,
    MINE,
    NWJ,
    SMILE,
    DonskerVaradhan,
    InfoNCE,
    Linear,
    MutualInformation,
    critic_between,
    information_of,
)
from ppvae.programs import data_plate
from tests.pairs import PAIRS, Z, build

MODELS = ["vae, mlp", "vae, conv, normal", "cvae, class", "cvae, factors", "jvae", "gpvae", "ved"]


def term(batch, site="z", size=Z, **options) -> MutualInformation:
    critic = critic_between(batch["x"].shape[1:], (size,), features=4, hidden=[8])
    return MutualInformation("x", site, critic, **options)


@pytest.mark.parametrize("name", MODELS)
def test_it_joins_any_model(name):
    pair = build(name)
    added = term(pair.batch, weight=0.5)
    run = fit(
        pair.model,
        pair.guide,
        pair.batch,
        pair.objective + added,
        epochs=2,
        batch_size=6,
        seed=0,
        progress=False,
    )
    row = run.history[-1]
    assert {"information_x_z", "critic/information_x_z"} <= row.keys()
    assert all(torch.isfinite(torch.tensor(v)) for v in row.values())


@pytest.mark.parametrize("name", MODELS)
def test_its_parameters_and_the_models_are_apart(name):
    pair = build(name)
    added = term(pair.batch)
    made = (pair.objective + added)(pair.model, pair.guide, num_data=12)
    terms, context = made.evaluate(pair.batch)
    ours = {id(p) for p in added.critic_parameters()}
    theirs = {id(p) for module in (pair.model, pair.guide) for p in module.parameters()}
    assert not ours & theirs
    # The critic's loss reaches the critic alone, whose own gradients are all there.
    added.critic_loss(context.detach()).backward()
    assert all(p.grad is None for m in (pair.model, pair.guide) for p in m.parameters())
    assert all(p.grad is not None for p in added.critic_parameters())
    # The term reaches the guide.
    learned = [p for p in pair.guide.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(terms.extras[added.name], learned, allow_unused=True)
    assert any(g is not None and (g != 0).any() for g in gradients)


@pytest.mark.parametrize("estimator", [MINE, DonskerVaradhan, InfoNCE, NWJ, SMILE])
def test_the_loss_is_minus_alpha_times_the_estimate(estimator):
    pair = build("vae, mlp")
    added = term(pair.batch, estimator=estimator(), weight=Linear(3.0, 5.0, steps=4))
    made = (ELBO() + added)(pair.model, pair.guide)
    made.advance()
    made.advance()
    terms, context = made.evaluate(pair.batch)
    scores = added.critic(pair.batch["x"], context.values["z"])
    torch.testing.assert_close(terms.extras[added.name], -4.0 * added.estimator(*scores))
    torch.testing.assert_close(terms.loss, -terms.elbo.mean() + terms.extras[added.name])


def test_particles_give_their_first_draw():
    pair = build("jvae")
    added = term(pair.batch)
    made = (ELBO(num_particles=3) + added)(pair.model, pair.guide)
    terms, context = made.evaluate(pair.batch)
    z = context.values["z"]
    assert z.shape == (3, 12, Z)
    scores = added.critic(pair.batch["x"], z[0])
    torch.testing.assert_close(terms.extras[added.name], -added.estimator(*scores))
    torch.testing.assert_close(added.critic_loss(context.detach()), MINE().loss(*scores))


def test_a_column_and_a_pose_will_do():
    pair = build("rvae, coordinates")
    critic = critic_between((1,), (3,), features=4, hidden=[8])
    added = MutualInformation("rotation", "c", critic)
    made = (ELBO() + added)(pair.model, pair.guide)
    terms = made({**pair.batch, "c": torch.randn(12, 3)})
    assert torch.isfinite(terms.loss)


def test_it_is_raised_by_training():
    torch.manual_seed(0)
    x = torch.rand(256, 1, 8, 8).round()
    found = []
    for alpha in (0.0, 5.0):
        pair = build("vae, mlp")
        added = term({"x": x}, weight=alpha, learning_rate=5e-3)
        options = {"epochs": 15, "batch_size": 32, "seed": 0, "progress": False}
        fit(pair.model, pair.guide, {"x": x}, ELBO() + added, learning_rate=5e-3, **options)
        held = {"x": x}
        found.append(information_of(pair.guide, held, held, steps=200, learning_rate=5e-3))
    assert found[1] > found[0] + 0.3


def fails(batch, added, name="vae, mlp", **more):
    pair = build(name)
    (ELBO() + added)(pair.model, pair.guide)({**pair.batch, **more, **batch})


def test_a_discrete_site_is_refused():
    batch = build("jvae").batch
    with pytest.raises(ValueError, match="expected continuous sites; 'y' is discrete.*Balance"):
        fails({}, term(batch, "y", 1), "jvae")
    with pytest.raises(ValueError, match="expected continuous sites; 'y' is discrete"):
        fails({"y": torch.arange(12)}, term(batch, "y", 1))


def test_a_site_that_depends_on_a_summed_class_is_refused():
    batch = build("ssvae, class").batch
    with pytest.raises(ValueError, match=r"depends on no class .* 'z' depends on \['y'\]"):
        fails({}, term(batch), "ssvae, class")


def test_a_batch_of_one_is_refused():
    batch = {"x": torch.rand(1, 1, 8, 8)}
    with pytest.raises(ValueError, match="expected at least 2 data.*leaves no single row over"):
        fails(batch, term(batch))


def test_an_unknown_name_is_refused():
    batch = build("vae, mlp").batch
    with pytest.raises(ValueError, match=r"expected one of the sites \['x', 'z'\].*got 'h'"):
        fails({}, term(batch, "h"))


def test_a_site_with_itself_is_refused():
    with pytest.raises(ValueError, match="expected two sites; got 'z' twice"):
        MutualInformation("z", "z", critic_between((1,), (1,)))


def test_no_updates_are_refused():
    with pytest.raises(ValueError, match="updates: expected an integer >= 1; got 0"):
        MutualInformation("x", "z", critic_between((1,), (1,)), updates=0)


def test_the_models_of_this_file_are_there():
    assert set(MODELS) <= set(PAIRS)


class Plated(nn.Module):
    """Three entries z and x of a datum, in a plate within that of the data."""

    def __init__(self, *, guide=False):
        super().__init__()
        self.guide = guide
        self.gain = nn.Parameter(torch.tensor([0.5, 1.0, 1.5]))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size), pyro.plate("t", 3, dim=-2):
            if self.guide:
                pyro.sample("z", dist.Normal(self.gain[:, None] * x.T, 0.4))
            else:
                z = pyro.sample("z", dist.Normal(self.gain.new_zeros(()), 1.0))
                pyro.sample("x", dist.Normal(z, 0.5), obs=None if x is None else x.T)


@pytest.mark.parametrize("first", ["x", "c"])
def test_all_entries_of_a_plate_count(first):
    batch = {"x": torch.randn(16, 3), "c": torch.randn(16, 2)}
    guide = Plated(guide=True)
    critic = critic_between(batch[first].shape[1:], (3,), features=4, hidden=[8])
    added = MutualInformation(first, "z", critic)
    terms, context = (ELBO(num_particles=2) + added)(Plated(), guide).evaluate(batch)
    (extra,) = terms.extras.values()
    assert (torch.autograd.grad(extra, guide.gain)[0] != 0).all()
    a, b = (added._draw(context, name) for name in (first, "z"))
    torch.testing.assert_close(a, batch[first])
    torch.testing.assert_close(b, context.values["z"][0].T)
    assert torch.isfinite(added.critic_loss(context.detach()))
