"""Ensembles: members side by side are members in turn, and classes are found again."""

from __future__ import annotations

import shutil

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppvae import ensembles, fit, load
from ppvae.data import Dataset, Splits
from ppvae.ensembles import Ensemble, Stacked, agreement, class_probs, fit_ensemble
from ppvae.errors import ArgumentError, RunError
from ppvae.guides import AmortizedGuide, FactorizedGuide
from ppvae.models import VAE, JointVAE
from ppvae.nets import Sites, heads
from ppvae.objectives import ELBO, Linear
from ppvae.programs import data_plate, decode, seeded
from ppvae.programs.batches import placement
from ppvae.runs import Recipe
from tests.pairs import PAIRS, K, build, decoder, encoder

SHAPE = (1, 2, 3)


def blocks(rows: int = 120) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of three kinds, one column bright in each."""
    y = torch.arange(rows) % 3
    x = 0.05 + 0.9 * torch.eye(3)[y][:, None, None, :].expand(-1, 1, 2, 3)
    return x.contiguous(), y


def small() -> tuple[nn.Module, nn.Module, ELBO]:
    sites = Sites({"z": heads.DiagonalNormal(1), "y": heads.Classes(3)})
    model = JointVAE(decoder(1, 3, shape=SHAPE), latent_dim=1, classes=3)
    return model, FactorizedGuide(encoder(sites, shape=SHAPE)), ELBO()


def test_renamed_classes_are_found_again():
    truth = torch.eye(4)[torch.randint(4, (200,))]
    names = torch.stack([torch.arange(4).roll(shift) for shift in (1, 0, 3, 2, 3)])
    probs = torch.stack([truth[:, name.argsort()] for name in names])
    # Of a match of the least in common, the second round would undo the first.
    for rounds in (0, 1, 5):
        found = agreement(probs, reference=2, rounds=rounds)
        torch.testing.assert_close(found.mean, probs[2])
        assert found.dispersion.max() < 1e-6
        torch.testing.assert_close(found.stability, torch.ones(4))
        torch.testing.assert_close(
            torch.stack([p[:, own] for p, own in zip(probs, found.order, strict=True)]),
            probs[2].expand(5, -1, -1),
        )


def test_dispersion_is_where_members_differ():
    probs = torch.eye(2)[torch.arange(20) % 2].expand(4, -1, -1).clone()
    probs[1, 0] = torch.tensor([0.0, 1.0])
    found = agreement(probs)
    assert found.dispersion[0] == pytest.approx((2 * 3 / 16) ** 0.5)
    assert (found.dispersion[1:] == 0).all()
    # Three of the six pairs share 9 of 10 data of class 0, and 10 of 11 of class 1; by chance, of
    # two sets with n and m of 20 data, n m / 20 are in both.
    for k, (shared, n, m) in enumerate([(9, 10, 9), (10, 10, 11)]):
        overlap, chance = shared / (n + m - shared), n * m / 20 / (n + m - n * m / 20)
        expected = (3 * 1 + 3 * (overlap - chance) / (1 - chance)) / 6
        assert found.stability[k] == pytest.approx(expected)


def test_classes_that_say_nothing_are_not_stable():
    same = torch.full((3, 50, 4), 0.25) + 1e-5 * torch.rand(3, 50, 4)
    assert agreement(same).stability.abs().max() < 0.2
    assert (agreement(torch.full((3, 50, 4), 0.25)).stability == 0).all()
    unrelated = torch.rand(4, 4000, 3).softmax(-1)
    assert agreement(unrelated).stability.abs().max() < 0.05
    q = torch.rand(2, 30, 3).softmax(-1)
    q[1] = 0.2 * q[1] + 0.8 * q[0]
    chance = torch.minimum(q[0, :, None], q[1, None]).sum((0, 1))
    every = torch.maximum(q[0, :, None], q[1, None]).sum((0, 1))
    overlap = torch.minimum(q[0], q[1]).sum(0) / torch.maximum(q[0], q[1]).sum(0)
    expected = (overlap - chance / every) / (1 - chance / every)
    found = agreement(q, rounds=0)
    assert torch.equal(found.order, torch.arange(3).expand(2, 3))
    torch.testing.assert_close(found.stability, expected)


def test_one_member_agrees_with_itself_and_other_shapes_are_refused():
    probs = torch.rand(1, 7, 3).softmax(-1)
    assert (agreement(probs).stability == 1).all()
    with pytest.raises(ValueError, match=r"expected probabilities \(M, N, K\)"):
        agreement(probs[0])


@pytest.mark.parametrize("side_by_side", [True, False])
def test_members_are_ranked_by_validation_data_where_there_are_any(side_by_side):
    x, _ = blocks(12)
    data = Splits(Dataset({"x": x}), Dataset({"x": 1 - x}))
    settings = {"epochs": 1, "device": "cpu", "seeds": [3], "side_by_side": side_by_side}
    found = fit_ensemble(small, data, **settings)
    model, guide = found.members[0]
    with seeded(0, placement(model)), torch.no_grad():
        terms = ELBO()(model, guide, num_data=12)({"x": (1 - x).to(placement(model))})
    assert found.elbos[0] == pytest.approx(float(terms.elbo.mean()))


# vmap takes neither a GP's table of encodings nor torch's sampler of Beta.
IN_TURN = ("gp", "deep kernel, exact", "vae, direction")


@pytest.mark.parametrize(
    "name", [n for n in PAIRS if not n.startswith(IN_TURN) and "sphere" not in n]
)
def test_every_stacked_member_gets_gradients(name):
    pairs = [build(name, seed=seed) for seed in range(2)]
    batch = pairs[0].batch
    rows = len(next(iter(batch.values())))
    objectives = [pair.objective(pair.model, pair.guide, num_data=rows) for pair in pairs]
    stacked = Stacked(objectives, batch)
    kept = [[p.detach().clone() for p in member.parameters()] for member in objectives]
    torch.manual_seed(1)
    stacked(batch).loss.backward()
    for parameter in filter(lambda p: p.requires_grad, stacked.parameters()):
        assert torch.isfinite(parameter.grad).all()
        assert (parameter.grad.reshape(len(pairs), -1) != 0).any(1).all()
    # A module that model and guide share, too, is as it was, and takes what was learned.
    with torch.no_grad():
        for parameter in stacked.parameters():
            parameter += 1
    stacked.unstack()
    for i, member in enumerate(objectives):
        for own, before, learned in zip(
            member.parameters(), kept[i], stacked.parameters_of, strict=True
        ):
            assert isinstance(own, nn.Parameter)
            assert own.requires_grad == learned.requires_grad
            torch.testing.assert_close(own, before + 1)


class Tied(nn.Module):
    """x to z by the transpose of the weight that takes z to x."""

    def __init__(self, decoder: nn.Linear) -> None:
        super().__init__()
        self.back = nn.Linear(4, 2, bias=False)
        self.back.weight = nn.Parameter(torch.zeros(2, 4))
        self.weight = decoder.weight

    def forward(self, x):
        return dist.Normal(x @ self.weight + self.back(x), 1e-6).to_event(1)


class Observed(nn.Module):
    def __init__(self, decoder: nn.Linear) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z):
        return dist.Normal(self.decoder(z), 1.0).to_event(1)


def test_a_parameter_in_two_modules_is_one_in_every_member():
    members = []
    for _ in range(2):
        linear = nn.Linear(2, 4)
        model = VAE(Observed(linear), latent_dim=2)
        members.append(ELBO()(model, AmortizedGuide(Tied(linear))))
    x = torch.randn(6, 4)
    expected = torch.stack([member({"x": x}).loss for member in members]).sum()
    stacked = Stacked(members, {"x": x})
    torch.testing.assert_close(stacked({"x": x}).loss, expected, rtol=1e-4, atol=1e-4)
    gradients = torch.autograd.grad(stacked({"x": x}).loss, list(stacked.parameters()))
    for i, member in enumerate(members):
        own = torch.autograd.grad(member({"x": x}).loss, list(member.parameters()))
        for together, alone in zip(gradients, own, strict=True):
            torch.testing.assert_close(together[i], alone, rtol=1e-3, atol=1e-3)


def test_what_cannot_be_stacked_says_so():
    pairs = [build("vae, sphere", seed=seed) for seed in range(2)]
    stacked = Stacked([pair.objective(pair.model, pair.guide) for pair in pairs], pairs[0].batch)
    with pytest.raises(ValueError, match="Train them in turn"):
        stacked(pairs[0].batch)


def test_stacked_losses_are_the_members_where_there_is_no_noise():
    objectives = []
    for seed in range(3):
        pair = build("jvae", seed=seed)
        pair.guide.encoder.head.heads["z"].offset = -40.0
        ramp = ELBO(weights={"z": Linear(0.5, 1.0, steps=2)})
        objectives.append(ramp(pair.model, pair.guide))
    batch = pair.batch
    stacked = Stacked(objectives, batch)
    before = stacked(batch).loss.detach()
    for part in (stacked, *objectives):
        part.advance()
    loss = stacked(batch).loss
    assert abs(loss.detach() - before) > 1.0
    expected = [o(batch).loss for o in objectives]
    for o in objectives:
        o.check(batch)
    torch.testing.assert_close(loss, torch.stack(expected).sum(), rtol=1e-3, atol=1e-3)
    gradients = torch.autograd.grad(loss, list(stacked.parameters()))
    for i, o in enumerate(objectives):
        own = torch.autograd.grad(expected[i], list(o.parameters()))
        for stacked_gradient, gradient in zip(gradients, own, strict=True):
            torch.testing.assert_close(stacked_gradient[i], gradient, rtol=0.05, atol=1e-2)


@pytest.mark.parametrize("side_by_side", [True, False])
def test_an_ensemble_finds_the_classes_and_agrees_on_them(side_by_side):
    x, y = blocks()
    state = torch.get_rng_state()
    ensemble = fit_ensemble(
        small,
        {"x": x, "y": y},
        seeds=range(4),
        side_by_side=side_by_side,
        epochs=60,
        batch_size=40,
        learning_rate=2e-2,
        device="cpu",
    )
    assert torch.equal(state, torch.get_rng_state())
    assert len({float(next(m.parameters()).detach().sum()) for m, _ in ensemble.members}) == 4
    found = ensemble.agree({"x": x, "y": y})
    assert found.mean.shape == (len(x), 3)
    assert found.order.shape == (4, 3)
    best = class_probs(ensemble.members[ensemble.best][1], {"x": x}).argmax(-1)
    assert all(len(best[y == k].unique()) == 1 for k in range(3))
    latents = {"z": torch.zeros(3, 1), "y": torch.arange(3)}
    mean, spread = ensemble.images(found.order, latents)
    assert mean.shape == spread.shape == (3, *SHAPE)
    for k in range(3):
        own = [
            decode(model, {"z": torch.zeros(1, 1), "y": order[k : k + 1]})["x"]
            for (model, _), order in zip(ensemble.members, found.order, strict=True)
        ]
        torch.testing.assert_close(mean[k], torch.cat(own).mean(0))
        torch.testing.assert_close(spread[k], torch.cat(own).std(0, correction=0))


def test_side_by_side_learns_as_much_as_in_turn():
    x, _ = blocks()
    options = {"seeds": range(3), "epochs": 20, "batch_size": 40, "learning_rate": 1e-2}
    stacked = fit_ensemble(small, {"x": x}, device="cpu", side_by_side=True, **options)
    in_turn = fit_ensemble(small, {"x": x}, device="cpu", side_by_side=False, **options)
    assert max(stacked.elbos) == pytest.approx(max(in_turn.elbos), abs=0.5)
    assert min(stacked.elbos) == pytest.approx(min(in_turn.elbos), abs=0.5)


def test_bad_arguments_are_refused():
    x, _ = blocks()
    with pytest.raises(ValueError, match="expected seeds"):
        fit_ensemble(small, {"x": x}, seeds=[])
    with pytest.raises(ValueError, match=r"got \[0\] and \['patience'\]"):
        fit_ensemble(small, {"x": x}, seeds=[0], side_by_side=True, patience=3)


def test_the_best_member_has_the_highest_elbo():
    assert Ensemble([], [0, 1, 2], [-3.0, -1.0, -2.0]).best == 1


def test_probabilities_do_not_depend_on_noise_or_labels():
    pair = build("jtrvae")
    first = class_probs(pair.guide, pair.batch)
    assert first.shape == (len(pair.batch["x"]), K)
    torch.testing.assert_close(first, class_probs(pair.guide, pair.batch))


def test_runs_that_differ_in_their_seed_alone_are_an_ensemble(tmp_path):
    x, _ = blocks(24)
    spec = Dataset({"x": x}).spec
    options = {"latent_dim": 1, "classes": (3,)}

    def members(latent_dim, seeds):
        chosen = {**options, "latent_dim": latent_dim}
        recipe = Recipe("ppvae.zoo:build", "jvae", chosen, spec)
        settings = {"epochs": 1, "batch_size": 12, "compile": False, "device": "cpu"}
        return fit_ensemble(
            recipe.build, {"x": x}, seeds=seeds, out=tmp_path, recipe=recipe, **settings
        )

    trained = members(1, (3, 5))
    members(1, (4,))
    pruned = load(tmp_path / "runs" / "seed=4")
    pruned.status, pruned.config["pruned"] = "stopped", 1
    pruned.save(tmp_path / "runs" / "seed=4")
    loaded = ensembles.load(tmp_path)
    assert loaded.seeds == [3, 5]
    for (model, guide), (other, its) in zip(loaded.members, trained.members, strict=True):
        for mine, theirs in ((model, other), (guide, its)):
            for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
                assert torch.equal(a, b)
    assert loaded.agree({"x": x}).mean.shape == (24, 3)
    shutil.copytree(tmp_path / "runs" / "seed=3", tmp_path / "runs" / "copy")
    with pytest.raises(RunError, match="'copy' and 'seed=3', which have the same weights"):
        ensembles.load(tmp_path)
    shutil.rmtree(tmp_path / "runs" / "copy")
    members(2, (7,))
    with pytest.raises(ArgumentError, match=r"differ in .*latent_dim.*Name one value of each"):
        ensembles.load(tmp_path)
    assert ensembles.load(tmp_path, latent_dim=1).seeds == [3, 5]
    with pytest.raises(RunError, match="at least two runs that ended well with latent_dim=2"):
        ensembles.load(tmp_path, latent_dim=2)
    with pytest.raises(RunError, match="at least two runs"):
        ensembles.load(tmp_path / "nowhere")
    with pytest.raises(ArgumentError, match=r"no further options side by side; .*'out'"):
        fit_ensemble(small, {"x": x}, side_by_side=True, out=tmp_path)


class BernoulliGuide(nn.Module):
    def forward(self, x):
        with data_plate(x):
            pyro.sample("y", dist.Bernoulli(logits=x), infer={"enumerate": "parallel"})


def test_the_probabilities_of_a_bernoulli_site_are_those_of_two_classes():
    x = torch.randn(6)
    probs = class_probs(BernoulliGuide(), {"x": x})
    torch.testing.assert_close(probs, torch.stack([torch.sigmoid(-x), torch.sigmoid(x)], -1))


class Level(nn.Module):
    """A model with a latent that all data share, and scaled likelihoods."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x=None, *, size=None):
        pyro.sample("w", dist.Normal(torch.zeros(()), 1.0))
        with data_plate(x, size=size), pyro.poutine.scale(scale=2.0):
            loc = self.bias.expand(len(x) if x is not None else size, 1)
            return pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


class LevelGuide(nn.Module):
    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(30.0))

    def forward(self, x):
        pyro.sample("w", dist.Normal(self.loc, 1.0))


def test_members_are_compared_by_the_elbo_that_a_fit_validates_by():
    x = torch.randn(100, 1)
    splits = Splits(Dataset({"x": x}), Dataset({"x": x[:10]}))
    settings = {"epochs": 1, "batch_size": 100, "learning_rate": 1e-9}
    found = fit_ensemble(lambda: (Level(), LevelGuide(), ELBO()), splits, seeds=[0], **settings)
    exact = dist.Normal(0.0, 1.0).log_prob(x[:10]).mean() - 0.5 * 30.0**2 / 100
    assert found.elbos == [pytest.approx(float(exact), rel=1e-4)]
    run = fit(Level(), LevelGuide(), splits, ELBO(), progress=False, **settings)
    assert found.elbos == [pytest.approx(run.history[-1]["val_elbo"], rel=1e-4)]
