"""A prior is an axis of every model: its columns are the model's."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppvae
from ppvae.errors import ContractError
from ppvae.gp import FourierFeatures, GPPrior, ObjectTable
from ppvae.guides import (
    AmortizedGuide,
    ConditionalGuide,
    DoubleEmbeddingGuide,
    GPGuide,
    SourceGuide,
)
from ppvae.models import (
    GPVAE,
    VAE,
    ConditionalGPVAE,
    ConditionalVAE,
    JointVAE,
    SemiSupervisedVAE,
    Translation,
    TwoStageVAE,
)
from ppvae.nets import (
    MLP,
    AnyDirection,
    ClassNormal,
    Columns,
    Conditions,
    MixtureNormal,
    OneHot,
    StandardNormal,
    heads,
)
from ppvae.objectives import ELBO
from ppvae.programs import arguments, check_pair, data_plate, signature
from tests.pairs import build

K, Z, D = 3, 2, 4


def decoder(*sizes: int) -> nn.Module:
    return MLP(sizes, heads.Normal((D,)), hidden=[6])


@pytest.mark.parametrize(
    ("make", "columns"),
    [
        (lambda: VAE(decoder(Z), latent_dim=Z), []),
        (lambda: VAE(decoder(Z), prior=ClassNormal(K, Z)), ["y"]),
        (lambda: build("gpvae").model, ["object", "view"]),
        (lambda: ConditionalVAE(decoder(Z, 1), Columns("c"), latent_dim=Z), ["c"]),
        (lambda: ConditionalGPVAE(build("gpvae").model.prior, decoder(Z, 1)), ["view", "object"]),
        (lambda: JointVAE(decoder(Z, K), classes=K, prior=ClassNormal(K, Z)), []),
        (lambda: JointVAE(decoder(Z, 2), classes={"a": 2}, prior=ClassNormal(K, Z)), ["y"]),
        (
            lambda: TwoStageVAE(
                decoder(Z), decoder(Z), latent_dims=(Z, None), priors=(None, ClassNormal(K, Z))
            ),
            ["y"],
        ),
    ],
)
def test_a_model_takes_the_columns_of_its_prior(make, columns):
    assert list(signature(make())) == ["x", "size", *columns]


def test_a_class_that_the_prior_needs_is_a_site_or_a_column():
    model = JointVAE(decoder(Z, K), classes=K, prior=ClassNormal(K, Z))
    trace = pyro.poutine.trace(model).get_trace(size=5)
    names = [n for n, node in trace.nodes.items() if node["type"] == "sample" and n != "data"]
    assert names == ["y", "z", "x"]
    y = trace.nodes["y"]["value"]
    torch.testing.assert_close(trace.nodes["z"]["fn"].mean, model.prior.loc[y])
    # Labels that are missing are the model's to find, not the data's to have.
    model.prior.prepare({"y": torch.tensor([-1, 0])})
    other = VAE(decoder(Z), prior=ClassNormal(K, Z))
    with pytest.raises(ContractError, match="ClassNormal|expected a column 'y'"):
        arguments(other, {"x": torch.zeros(2, D)})


class Components(nn.Module):
    """q(z) q(y | z), the second exact for a mixture prior."""

    def __init__(self, encoder: nn.Module, prior: ClassNormal) -> None:
        super().__init__()
        self.encoder, self.prior = encoder, prior

    def forward(self, x):
        with data_plate(x):
            z = pyro.sample("z", self.encoder(x))
            logits = torch.stack([self.prior(torch.tensor(k)).log_prob(z) for k in range(K)], -1)
            pyro.sample("y", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})


class First(nn.Module):
    """A decoder that sees z alone."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z, y):
        return self.decoder(z)


def test_a_component_enumerated_at_its_exact_posterior_is_the_mixture():
    plain, encoder = decoder(Z), MLP(D, heads.DiagonalNormal(Z), hidden=[6])
    classes, mixture = ClassNormal(K, Z), MixtureNormal(K, Z)
    mixture.load_state_dict({**classes.state_dict(), "logits": torch.zeros(K)})
    x = torch.randn(7, D)
    values = []
    for model, guide in (
        (VAE(plain, prior=mixture), AmortizedGuide(encoder)),
        (JointVAE(First(plain), classes=K, prior=classes), Components(encoder, classes)),
    ):
        torch.manual_seed(0)
        values.append(ELBO(analytic=False)(model, guide)({"x": x}).elbo)
    torch.testing.assert_close(*values)


def test_models_and_guides_of_a_gp_are_thin_names():
    prior = build("gpvae").model.prior
    model = GPVAE(prior, decoder(Z))
    assert isinstance(model, VAE)
    guide = GPGuide(MLP(D, heads.DiagonalNormal(Z), hidden=[4]), prior)
    assert isinstance(guide, AmortizedGuide)
    assert guide.prior is prior
    assert list(signature(guide)) == ["x"]
    assert list(signature(SourceGuide(nn.Identity()))) == ["source"]
    guide = ConditionalGuide(nn.Identity(), Conditions(OneHot(K)))
    assert list(signature(guide)) == ["x", "y", "c"]


def test_a_translation_takes_what_its_model_needs():
    guide = SourceGuide(MLP(5, heads.DiagonalNormal(Z), hidden=[4]))
    pair = Translation(VAE(decoder(Z), prior=ClassNormal(K, Z)), guide)
    assert list(signature(pair)) == ["source", "y"]
    assert pair(source=torch.randn(6, 5), y=torch.arange(6) % K).shape == (6, D)


def test_a_spherical_conditional_model_fits_its_guide():
    pair = build("cvae, sphere")
    assert isinstance(pair.model.prior, AnyDirection)
    assert check_pair(pair.model, pair.guide, pair.batch).latent == ("z",)


@pytest.mark.parametrize(
    "act",
    [
        lambda prior, dim: VAE(decoder(Z), latent_dim=dim, prior=prior),
        lambda prior, dim: ConditionalVAE(
            decoder(Z, 1), Columns("c"), latent_dim=dim, prior=prior
        ),
        lambda prior, dim: JointVAE(decoder(Z, K), classes=K, latent_dim=dim, prior=prior),
        lambda prior, dim: SemiSupervisedVAE(
            decoder(Z, K), num_classes=K, latent_dim=dim, prior=prior
        ),
        lambda prior, dim: TwoStageVAE(
            decoder(Z), decoder(Z), latent_dims=(Z, dim), priors=(None, prior)
        ),
    ],
)
def test_either_a_dimension_or_a_prior(act):
    act(StandardNormal(Z), None)
    act(None, Z)
    for prior, dim in ((StandardNormal(Z), Z), (None, None)):
        with pytest.raises(ValueError, match="expected either latent_dim or prior"):
            act(prior, dim)


def test_a_column_that_no_part_takes_is_refused():
    model = ConditionalVAE(decoder(Z, 1), Columns("c"), latent_dim=Z)
    with pytest.raises(ContractError, match=r"expected among \['c'\]; got \['d'\]"):
        model(c=torch.zeros(2, 1), d=torch.zeros(2))


def test_a_gp_of_a_site_with_another_name_says_so_before_the_first_step():
    batch = {k: v for k, v in build("gpvae").batch.items() if k != "index"}
    encoder = MLP(64, heads.DiagonalNormal(Z), hidden=[4], in_shape=(1, 8, 8))
    guide = DoubleEmbeddingGuide(encoder, MLP(Z, heads.DiagonalNormal(Z), hidden=[4]))

    def fitted(**site: str) -> ppvae.runs.Run:
        prior = GPPrior(ObjectTable(4, 2), FourierFeatures(), latent_dim=Z, **site)
        decoders = [MLP(Z, heads.Bernoulli((1, 8, 8)), hidden=[4]) for _ in range(2)]
        model = TwoStageVAE(*decoders, latent_dims=(Z, None), priors=(None, prior))
        return ppvae.fit(model, guide, batch, epochs=1, seed=0, progress=False)

    with pytest.raises(ContractError, match=r"latent site 'z'.*'z1', 'z2'\].*site="):
        fitted()
    run = fitted(site="z2")
    known = {name: batch[name] for name in ("object", "view")}
    assert run.decode(run.encode(batch), **known)["x2"].shape == (12, 1, 8, 8)
    assert run.predict(known, num_draws=2).mean.isfinite().all()


def test_weights_of_a_deep_kernel_are_taken_in_single_precision():
    gp = build("deep kernel on a vae").model.gp
    rows, w = torch.randn(5, 4).double(), torch.randn(1, 4)
    expected = gp.functions(rows, w.double())
    torch.testing.assert_close(gp.functions(rows, w.float()), expected, rtol=1e-5, atol=1e-6)
