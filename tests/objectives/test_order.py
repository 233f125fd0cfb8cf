"""Closed-form KLs where model and guide draw their sites in different orders."""

from __future__ import annotations

from contextlib import ExitStack

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn
from torch.distributions import AffineTransform, register_kl

from ppvae.distributions import PowerSpherical, SphericalUniform
from ppvae.errors import ContractError
from ppvae.gp.additive.distribution import AdditiveGP
from ppvae.gp.collapsed import CollapsedGP
from ppvae.objectives import ELBO
from ppvae.programs import check_pair, data_plate
from ppvae.programs.order import _incomplete, _overrides, _transformed_apart

W = torch.tensor([1.0, -0.7, 0.3])


class TwoLevels(nn.Module):
    """p(z2) p(z1 | z2) p(x | z1), linear and Gaussian."""

    def __init__(self, slope: float = 0.8) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))
        self.register_buffer("zero", torch.zeros(1))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z2 = pyro.sample("z2", dist.Normal(self.zero, 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(self.slope * z2, 0.6).to_event(1))
            return pyro.sample("x", dist.Normal(z1 * W, 0.5).to_event(1), obs=x)


class BottomUp(nn.Module):
    """q(z1 | x) q(z2 | z1), at the exact posterior."""

    def __init__(self) -> None:
        super().__init__()
        precision = 1 + (W @ W) / 0.25
        self.weights = nn.Parameter(W / 0.25 / precision)
        self.slope = nn.Parameter(torch.tensor(0.8))
        self.scale = float(precision.rsqrt())

    def forward(self, x):
        with data_plate(x):
            loc = (x @ self.weights)[..., None]
            z1 = pyro.sample("z1", dist.Normal(loc, self.scale).to_event(1))
            pyro.sample("z2", dist.Normal(self.slope * z1, 0.6).to_event(1))


class TopDown(nn.Module):
    """q(z2 | x) q(z1 | z2, x), at the exact posterior, in the model's order."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.linalg.solve(_covariance(), 0.8 * W))
        variance = 1 - 0.8 * W @ self.weights.detach()
        self.scale = nn.Parameter(variance.sqrt())
        self.precision = 1 / 0.36 + (W @ W) / 0.25

    def forward(self, x):
        with data_plate(x):
            loc = (x @ self.weights)[..., None]
            z2 = pyro.sample("z2", dist.Normal(loc, self.scale).to_event(1))
            loc = (0.8 * z2 / 0.36 + (x @ W)[..., None] / 0.25) / self.precision
            pyro.sample("z1", dist.Normal(loc, float(self.precision.rsqrt())).to_event(1))


def _covariance() -> torch.Tensor:
    return W[:, None] * W + 0.25 * torch.eye(3)


def evidence(x: torch.Tensor) -> torch.Tensor:
    return dist.MultivariateNormal(torch.zeros(3), _covariance()).log_prob(x)


@pytest.mark.parametrize("guide", [BottomUp, TopDown])
def test_the_elbo_of_the_exact_posterior_is_the_evidence(guide):
    torch.manual_seed(0)
    x = TwoLevels()(size=50).detach()
    terms = ELBO(num_particles=2000)(TwoLevels(), guide())({"x": x})
    torch.testing.assert_close(terms.elbo, evidence(x), atol=0.1, rtol=0)
    assert abs(terms.elbo.mean() - evidence(x).mean()) < 0.02
    # At the exact posterior the bound is stationary.
    learned = guide()
    loss = ELBO(num_particles=2000)(TwoLevels(), learned)({"x": x}).loss
    (gradient,) = torch.autograd.grad(loss, [learned.weights])
    assert gradient.norm() < 0.15


def test_the_site_drawn_too_early_is_taken_at_its_draws():
    batch = {"x": torch.randn(5, 3)}
    assert check_pair(TwoLevels(), BottomUp(), batch).sampled == {"z1"}
    assert check_pair(TwoLevels(), TopDown(), batch).sampled == set()
    # At a slope of zero the values do not differ, but the gradient goes there.
    assert check_pair(TwoLevels(slope=0.0), BottomUp(), batch).sampled == {"z1"}


class Blind(TwoLevels):
    """As two levels, with a link that autograd does not see; or with none at all."""

    linked = True

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z2 = pyro.sample("z2", dist.Normal(self.zero, 1.0).to_event(1))
            loc = 0.8 * z2.detach() if self.linked else torch.zeros_like(z2)
            z1 = pyro.sample("z1", dist.Normal(loc, 0.6).to_event(1))
            return pyro.sample("x", dist.Normal(z1 * W + z2, 0.5).to_event(1), obs=x)


def test_an_order_matters_only_where_the_prior_depends_on_it():
    model, batch = Blind(), {"x": torch.randn(5, 3)}
    assert check_pair(model, BottomUp(), batch).sampled == {"z1"}
    model.linked = False
    assert check_pair(model, BottomUp(), batch).sampled == set()


class Mixture(nn.Module):
    """p(y) p(z | y) p(x | z) with three components, at means that may all be zero."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.register_buffer("means", spread * torch.tensor([-1.0, 0.0, 1.0]))

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            y = pyro.sample("y", dist.Categorical(torch.ones(3)))
            z = pyro.sample("z", dist.Normal(self.means[y], 0.5))
            return pyro.sample("x", dist.Normal(z, 0.4), obs=x)


class ComponentLast(nn.Module):
    """q(z | x) p(y | z): the component's exact posterior given z, enumerated."""

    def __init__(self, means: torch.Tensor) -> None:
        super().__init__()
        self.means = means
        self.loc = nn.Parameter(torch.tensor(0.7))
        self.scale = nn.Parameter(torch.tensor(0.4))

    def forward(self, x):
        with data_plate(x):
            z = pyro.sample("z", dist.Normal(self.loc * x, self.scale.expand(x.shape)))
            logits = dist.Normal(self.means, 0.5).log_prob(z[..., None])
            probs = dist.Categorical(logits=logits)
            pyro.sample("y", probs, infer={"enumerate": "parallel"})


def test_a_component_drawn_after_its_latent():
    torch.manual_seed(0)
    model = Mixture(2.0)
    x = model(size=6).detach()
    batch, guide = {"x": x}, ComponentLast(model.means)
    assert check_pair(model, guide, batch).sampled == {"z"}
    assert check_pair(Mixture(0.0), ComponentLast(torch.zeros(3)), batch).sampled == {"z"}
    # With y summed exactly the bound is that of p(z), the mixture, by quadrature.
    z = torch.linspace(-8, 8, 4001)[:, None]
    q = dist.Normal(guide.loc * x, guide.scale).log_prob(z)
    mixture = dist.Normal(model.means, 0.5).log_prob(z[..., None]).exp().mean(-1).log()
    joint = mixture + dist.Normal(z, 0.4).log_prob(x)
    exact = torch.trapezoid(q.exp() * (joint - q), z, dim=0)
    found = ELBO(num_particles=20_000)(model, guide)(batch).elbo
    torch.testing.assert_close(found, exact, atol=0.1, rtol=0)


class Masked(nn.Module):
    """One latent per datum, masked in the model where nothing is known."""

    def forward(self, x=None, *, seen, size=None):
        with data_plate(x, seen, size=size):
            with poutine.mask(mask=seen):
                z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
                return pyro.sample("x", dist.Normal(z, 0.5), obs=x)


class Guide(nn.Module):
    def __init__(self, *, masked: bool) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(0.5))
        self.masked = masked

    def forward(self, x, *, seen):
        with data_plate(x, seen), poutine.mask(mask=seen if self.masked else True):
            pyro.sample("z", dist.Normal(self.loc * x, 0.3))


@pytest.mark.parametrize("masked", [True, False])
def test_model_and_guide_may_mask_differently(masked):
    x = torch.randn(6)
    batch = {"x": x, "seen": torch.arange(6) % 2 == 0}
    found = check_pair(Masked(), Guide(masked=masked), batch).sampled
    assert found == (set() if masked else {"z"})
    terms = ELBO(num_particles=4000)(Masked(), Guide(masked=masked))(batch)
    q = dist.Normal(0.5 * x, 0.3)
    kl = torch.distributions.kl_divergence(q, dist.Normal(torch.zeros(6), 1.0))
    unseen = torch.zeros(6) if masked else -q.entropy()
    torch.testing.assert_close(
        terms.kl["z"], torch.where(batch["seen"], kl, unseen), atol=0.1, rtol=0
    )
    assert (terms.log_likelihood["x"][~batch["seen"]] == 0).all()


def test_masks_that_agree_in_the_first_batch_may_differ_in_others():
    """The structure is read from one batch, here of rows that both mask nothing of."""

    class Wider(Guide):
        """It masks less than the model: not where x is positive."""

        def forward(self, x, *, seen):
            super().forward(x, seen=seen | (x > 0))

    x = torch.tensor([1.0, 2.0, -1.0, -2.0])
    objective = ELBO(num_particles=20_000)(Masked(), Wider(masked=True))
    whole = {"x": x, "seen": torch.ones(4, dtype=torch.bool)}
    assert objective.check(whole).sampled == set()
    q = dist.Normal(0.5 * x, 0.3)
    kl = torch.distributions.kl_divergence(q, dist.Normal(torch.zeros(4), 1.0))
    torch.testing.assert_close(objective(whole).kl["z"], kl)
    part = {**whole, "seen": torch.tensor([True, False, True, False])}
    expected = torch.stack([kl[0], -q.entropy()[1], kl[2], torch.zeros(())])
    torch.testing.assert_close(objective(part).kl["z"], expected, atol=0.05, rtol=0)


class Weighed(nn.Module):
    """One latent per datum, with a scale and a mask that may be set at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.mask = 1.0, None

    def weighed(self):
        handlers = ExitStack()
        handlers.enter_context(poutine.scale(scale=self.scale))
        if self.mask is not None:
            handlers.enter_context(poutine.mask(mask=self.mask))
        return handlers


class WeighedModel(Weighed):
    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            with self.weighed():
                z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            return pyro.sample("x", dist.Normal(z, 0.5), obs=x)


class WeighedGuide(Weighed):
    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        with data_plate(x), self.weighed():
            pyro.sample("z", dist.Normal(self.loc * x, 0.3))


SOME = torch.tensor([True, False, True, False])


@pytest.mark.parametrize("who", ["model", "guide"])
@pytest.mark.parametrize(
    ("name", "value", "scale", "mask"),
    [
        ("scale", 0.2, 0.2, 1.0),
        ("scale", torch.tensor(0.2), 0.2, 1.0),
        ("scale", torch.tensor([1.0, 0.2, 1.0, 3.0]), torch.tensor([1.0, 0.2, 1.0, 3.0]), 1.0),
        ("mask", SOME, 1.0, SOME.float()),
        ("mask", False, 1.0, 0.0),
    ],
)
def test_scales_and_masks_that_agree_in_the_check_may_differ_later(who, name, value, scale, mask):
    model, guide, x = WeighedModel(), WeighedGuide(), torch.tensor([1.0, 2.0, -1.0, -2.0])
    objective = ELBO(num_particles=20_000)(model, guide)
    q = dist.Normal(0.5 * x, 0.3)
    entropy = q.entropy().detach()
    kl = torch.distributions.kl_divergence(q, dist.Normal(torch.zeros(4), 1.0)).detach()
    assert objective.check({"x": x}).sampled == set()
    torch.testing.assert_close(objective({"x": x}).kl["z"], kl)
    setattr(model if who == "model" else guide, name, value)
    weight = scale * mask * torch.ones(4)
    of_q, of_p = (weight, torch.ones(4)) if who == "guide" else (torch.ones(4), weight)
    # E log q = -H, and -E log p = KL + H.
    expected = of_p * (kl + entropy) - of_q * entropy
    found = objective({"x": x}).kl["z"].detach()
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)
    alike = weight == 1
    torch.testing.assert_close(found[alike], kl[alike])  # Still in closed form.
    # With one draw, the number of Pyro.
    if not alike.any():
        one = ELBO()(model, guide)
        one.structures = objective.structures
        torch.manual_seed(3)
        loss = float(one({"x": x}).loss.detach())
        torch.manual_seed(3)
        assert loss == pytest.approx(Trace_ELBO().loss(model, guide, x) / 4, rel=1e-5)


def test_scales_that_change_alike_keep_the_closed_form():
    model, guide, x = WeighedModel(), WeighedGuide(), torch.tensor([1.0, 2.0, -1.0, -2.0])
    objective = ELBO()(model, guide)
    kl = objective({"x": x}).kl["z"]
    for value in (0.5, torch.tensor(0.5)):
        model.scale = guide.scale = value
        torch.testing.assert_close(objective({"x": x}).kl["z"], 0.5 * kl)


class Votes(nn.Module):
    """Votes y in a plate, and x of their mean, outside the plate."""

    def __init__(self, *, outside: bool) -> None:
        super().__init__()
        self.weight, self.outside = nn.Parameter(torch.tensor(1.0)), outside

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            with pyro.plate("votes", 3, dim=-2):
                y = pyro.sample("y", dist.Bernoulli(torch.tensor(0.3)))
            y = y.mean(-2, keepdim=True) if self.outside else 0.0
            return pyro.sample("x", dist.Normal(self.weight * y, 1.0), obs=x)


class VotesGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(0.2))

    def forward(self, x):
        with data_plate(x), pyro.plate("votes", 3, dim=-2):
            chance = (self.rate + 0.5 * x).sigmoid()
            pyro.sample("y", dist.Bernoulli(chance), infer={"enumerate": "parallel"})


def test_a_site_outside_a_plate_that_depends_on_all_its_enumerated_entries_is_refused():
    x = torch.randn(6)
    with pytest.raises(ContractError, match="outside the plate 'votes' not to depend on 'y'"):
        ELBO()(Votes(outside=True), VotesGuide())({"x": x})
    found = ELBO()(Votes(outside=False), VotesGuide())({"x": x})
    p, q = torch.tensor(0.3), (0.2 + 0.5 * x).sigmoid()
    kl = torch.distributions.kl_divergence(dist.Bernoulli(q), dist.Bernoulli(p.expand(6)))
    torch.testing.assert_close(found.kl["y"], 3 * kl)
    torch.testing.assert_close(found.log_likelihood["x"], dist.Normal(0.0, 1.0).log_prob(x))


class Squared(dist.Normal):
    """A density of its own below a class with a registered KL."""

    def log_prob(self, value):
        return 2 * super().log_prob(value)


class Clamped(dist.Normal):
    """Draws of its own below a class with a registered KL."""

    def rsample(self, sample_shape=()):
        return super().rsample(torch.Size(sample_shape)).clamp(-1, 1)


class Registered(Squared):
    """With a KL of its own."""


@register_kl(Registered, dist.Normal)
def _of_registered(q, p):
    return torch.full(q.batch_shape, 7.0)


class Scalar(nn.Module):
    """p(z) p(x | z), or q(z | x), with z of a given class."""

    def __init__(self, kind: type, *, guide: bool = False) -> None:
        super().__init__()
        self.kind, self.guide = kind, guide
        self.loc = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        with data_plate(x):
            if self.guide:
                return pyro.sample("z", self.kind(self.loc * x, 0.3))
            z = pyro.sample("z", self.kind(torch.zeros(()), 1.0))
            return pyro.sample("x", dist.Normal(z, 0.5), obs=x)


@pytest.mark.parametrize(
    ("prior", "posterior"),
    [(Squared, dist.Normal), (dist.Normal, Clamped), (dist.Normal, Registered)],
)
def test_the_closed_form_of_a_base_class_is_not_that_of_a_class_with_another_density(
    prior, posterior
):
    model, guide = Scalar(prior), Scalar(posterior, guide=True)
    batch = {"x": torch.randn(4)}
    found = ELBO(num_particles=20_000)(model, guide)(batch)
    if posterior is Registered:
        assert (found.kl["z"] == 7).all()
        return
    loss = Trace_ELBO(num_particles=20_000, vectorize_particles=True, max_plate_nesting=1)
    with torch.no_grad():
        expected = -loss.loss(model, guide, **batch) / 4
    assert float(found.elbo.detach().mean()) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("kind", [AdditiveGP, CollapsedGP, PowerSpherical, SphericalUniform])
def test_the_closed_forms_of_ours_stay(kind):
    assert not _overrides(kind.__new__(kind))


@pytest.mark.parametrize(
    "fn",
    [
        dist.Normal(torch.zeros(2), 1.0).to_event(1),
        dist.MultivariateNormal(torch.zeros(2), torch.eye(2)),
        dist.LogNormal(torch.zeros(2), 1.0),
        dist.Gamma(torch.ones(2), 1.0),
        dist.Dirichlet(torch.ones(2)),
        dist.HalfNormal(torch.ones(2)),
        dist.HalfCauchy(torch.ones(2)),
    ],
)
def test_the_closed_forms_of_torch_stay(fn):
    assert not _incomplete(fn)


@pytest.mark.filterwarnings("ignore:Singular sample detected")
def test_a_kl_that_torch_can_only_compute_with_gradients_is_taken_at_the_draws():
    class Precision(Scalar):
        def forward(self, x):
            with data_plate(x):
                df = torch.tensor(25.0 if self.guide else 20.0)
                tril = self.loc.exp() * torch.eye(2) if self.guide else torch.eye(2)
                w = pyro.sample("w", dist.Wishart(df, scale_tril=tril))
                if not self.guide:
                    pyro.sample("x", dist.Normal(w[..., 0, 0], 1.0), obs=x)

    model, guide = Precision(dist.Normal), Precision(dist.Normal, guide=True)
    with torch.no_grad():
        found = ELBO(num_particles=20_000)(model, guide)({"x": torch.randn(4)}).kl["w"]
    tril = guide.loc.detach().exp() * torch.eye(2)
    q = torch.distributions.Wishart(torch.tensor(25.0), scale_tril=tril)
    p = torch.distributions.Wishart(torch.tensor(20.0), scale_tril=torch.eye(2))
    expected = torch.distributions.kl_divergence(q, p).detach().expand(4)
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.02)


class Moved(nn.Module):
    """A latent moved by a transform of its own; in the guide, from x."""

    def __init__(self, *, guide: bool) -> None:
        super().__init__()
        self.loc, self.guide = nn.Parameter(torch.tensor([1.0, 2.0])), guide

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            base = dist.Normal(0.3 * x if self.guide else torch.zeros(2), 0.5).to_event(1)
            moved = [AffineTransform(self.loc, 2.0, event_dim=1)]
            z = pyro.sample("z", dist.TransformedDistribution(base, moved))
            return z if self.guide else pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def test_learned_transforms_that_start_equal_have_gradients_of_their_own():
    """torch's KL leaves equal transforms out, and with them their gradients."""
    x, pair = torch.randn(6, 2), (Moved(guide=False), Moved(guide=True))
    assert check_pair(*pair, {"x": x}).sampled == {"z"}
    found = ELBO(num_particles=20_000)(*pair)({"x": x}).kl["z"].mean()
    slopes = torch.autograd.grad(found, [program.loc for program in pair])
    # z ~ N(loc + 0.6 x, 1) and N(loc', 1): the KL is |loc + 0.6 x - loc'|^2 / 2.
    torch.testing.assert_close(found, 0.18 * x.square().sum(1).mean(), atol=0.02, rtol=0)
    slope = 0.6 * x.mean(0)
    torch.testing.assert_close(slopes[0], -slope, atol=0.03, rtol=0)
    torch.testing.assert_close(slopes[1], slope, atol=0.03, rtol=0)


def test_transforms_that_are_not_learned_and_classes_of_their_own_keep_the_closed_form():
    """Among them an inverse, which refers back to what it inverts."""
    rate = nn.Parameter(torch.tensor(2.0))
    half = AffineTransform(torch.tensor(1.0), torch.tensor(2.0))
    for q, p in (
        (dist.InverseGamma(rate, rate), dist.InverseGamma(3.0, 1.0)),
        (dist.Gumbel(rate, rate), dist.Gumbel(0.0, 1.0)),
        (dist.Pareto(rate, 2 * rate), dist.Pareto(1.0, 1.0)),
        *(
            (
                dist.TransformedDistribution(dist.Normal(rate, 1.0), [t]),
                dist.TransformedDistribution(dist.Normal(0.0, 1.0), [t]),
            )
            for t in (half, half.inv)
        ),
    ):
        q.log_prob(torch.tensor(3.0))
        assert not _transformed_apart(q, p)
        assert not _transformed_apart(q.expand([2]).to_event(1), p.expand([2]).to_event(1))
