"""Latent classes, and classes and factors that are known of some data."""

from __future__ import annotations

import math

import pyro
import pytest
import torch
from pyro import poutine
from torch.distributions import kl_divergence

import ppvae
from ppvae.data import Dataset
from ppvae.errors import DataError
from ppvae.guides import SemiSupervisedGuide
from ppvae.models import JointVAE, SemiSupervisedVAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO, Supervision
from ppvae.programs import check_pair
from tests.pairs import K, N, Z, build, decoder, encoder


def by_hand(model, guide, x, log_q, p_y, q_z, z):
    """sum_y q(y) [log p(x | z, y) - log q(y) + log p(y) - KL_z]."""
    total = torch.zeros(len(x))
    for k in range(K):
        one_hot = torch.eye(K)[torch.full((len(x),), k)]
        likelihood = model.decoder(z[k], one_hot).log_prob(x)
        kl = kl_divergence(q_z[k], torch.distributions.Normal(0.0, 1.0)).sum(-1)
        total = total + log_q[:, k].exp() * (likelihood - kl - log_q[:, k] + p_y)
    return total


def test_enumeration_equals_a_sum_over_classes_written_by_hand():
    pair = build("jvae")
    objective = ELBO()(pair.model, pair.guide)
    objective.check(pair.batch)
    x = pair.batch["x"]
    q = pair.guide.encoder(x)
    torch.manual_seed(3)
    z = q["z"].rsample()
    expected = by_hand(
        pair.model, pair.guide, x, q["y"].logits, -math.log(K), [q["z"].base_dist] * K, [z] * K
    )
    torch.manual_seed(3)
    torch.testing.assert_close(objective(pair.batch).elbo, expected, rtol=1e-6, atol=1e-6)


def test_a_known_label_gives_the_bound_of_the_joint_and_an_unknown_one_the_sum():
    pair = build("ssvae, class")
    objective = ELBO()(pair.model, pair.guide)
    objective.check(pair.batch)
    x, y = pair.batch["x"], pair.batch["y"]
    torch.manual_seed(3)
    terms = objective(pair.batch)
    q_z = [pair.guide.encoder(x, torch.eye(K)[torch.full((N,), k)]).base_dist for k in range(K)]
    torch.manual_seed(3)
    noise = torch.randn(K, N, Z)
    z = [q.loc + q.scale * e for q, e in zip(q_z, noise, strict=True)]
    free = pair.guide.classifier(x).logits
    summed = by_hand(pair.model, pair.guide, x, free, -math.log(K), q_z, z)
    torch.testing.assert_close(terms.elbo[y < 0], summed[y < 0], rtol=1e-6, atol=1e-6)
    for n in range(N // 2):
        k = int(y[n])
        point = pair.model.decoder(z[k][n : n + 1], torch.eye(K)[[k]]).log_prob(x[n : n + 1])
        kl = kl_divergence(q_z[k], torch.distributions.Normal(0.0, 1.0)).sum(-1)[n]
        torch.testing.assert_close(terms.elbo[n], (point - kl - math.log(K)).squeeze())
    torch.testing.assert_close(terms.kl["y"][: N // 2], torch.full((N // 2,), math.log(K)))


def test_supervision_is_the_classifiers_loss_on_what_is_known():
    pair = build("ssvae, class")
    terms = pair.objective(pair.model, pair.guide)(pair.batch)
    known = pair.batch["y"] >= 0
    logits = pair.guide.classifier(pair.batch["x"]).logits[known]
    expected = 2.0 * torch.nn.functional.cross_entropy(logits, pair.batch["y"][known])
    torch.testing.assert_close(terms.extras["supervision_y"], expected)


def test_a_batch_without_labels_has_no_supervision():
    pair = build("ssvae, class and factors")
    unknown = {
        "x": pair.batch["x"],
        "y": torch.full((N,), -1),
        "c": torch.full_like(pair.batch["c"], math.nan),
    }
    for batch in (unknown, {"x": pair.batch["x"]}):
        terms = pair.objective(pair.model, pair.guide)(batch)
        assert terms.extras["supervision_y"] == terms.extras["supervision_c"] == 0
        assert torch.isfinite(terms.elbo).all()


def test_interventions_on_a_class_work_as_in_pyro():
    model = build("jvae").model
    z, y = torch.randn(K, Z), torch.arange(K)
    held = poutine.trace(pyro.condition(model, {"z": z, "y": y})).get_trace(size=K)
    assert held.nodes["y"]["is_observed"]
    done = poutine.trace(pyro.do(model, {"z": z, "y": y})).get_trace(size=K)
    torch.testing.assert_close(done.nodes["x"]["fn"].mean, held.nodes["x"]["fn"].mean)


def test_several_discrete_sites_are_all_enumerated():
    pair = build("jvae, two classes")
    assert check_pair(pair.model, pair.guide, pair.batch).enumerated == ("y", "a")


def semi_supervised(**columns):
    pair = build("ssvae, class")
    data = Dataset({**pair.batch, **columns}, missing_ok=["c"])
    return ppvae.fit(pair.model, pair.guide, data, pair.objective, epochs=1, progress=False)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.full((N,), -1), "expected some known labels; got none"),
        (torch.arange(N) % 2 * 2 - 1, "at least two classes; got 1 alone"),
        (torch.arange(N), f"from 0 to {K - 1}, or -1 where missing; got {N - 1}"),
    ],
)
def test_labels_that_cannot_be_learned_from_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        semi_supervised(y=y)


def test_missing_targets_are_refused_where_all_are_and_where_not_declared():
    pair = build("ssvae, factors")
    none = {**pair.batch, "c": torch.full((N, 2), math.nan)}
    with pytest.raises(DataError, match="missing_ok"):
        ppvae.fit(pair.model, pair.guide, none, epochs=1, progress=False)
    data = Dataset(none, missing_ok=["c"])
    with pytest.raises(ValueError, match="column 'c': expected some known values"):
        ppvae.fit(pair.model, pair.guide, data, epochs=1, progress=False)
    data = Dataset(pair.batch, missing_ok=["c"])
    run = ppvae.fit(pair.model, pair.guide, data, pair.objective, epochs=2, progress=False)
    assert run.status == "completed"


def test_what_comes_before_the_class_is_computed_once():
    net = MLP([Z, K], heads.Bernoulli((1, 4, 4)), hidden=[8, 6], join=1)
    rows = []
    net.alone.register_forward_hook(lambda module, args, out: rows.append(out.shape))
    z, one_hot = torch.randn(N, Z), torch.eye(K)[:, None]
    together = net(z, one_hot).mean
    assert together.shape == (K, N, 1, 4, 4)
    assert rows == [(N, 8)]
    each = torch.stack([net(z, one_hot[k]).mean for k in range(K)])
    torch.testing.assert_close(together, each)
    with pytest.raises(ValueError, match="join: expected 0 to 2"):
        MLP([Z, K], heads.Bernoulli((1, 4, 4)), hidden=[8, 6], join=3)


def test_bad_constructors_are_refused():
    with pytest.raises(ValueError, match="other than x and z"):
        JointVAE(decoder(Z, K), latent_dim=Z, classes={"z": K})
    with pytest.raises(ValueError, match="got neither"):
        SemiSupervisedVAE(decoder(Z), latent_dim=Z)
    with pytest.raises(ValueError, match="got neither"):
        SemiSupervisedGuide(encoder(heads.DiagonalNormal(Z)))


def test_few_labels_name_the_classes_of_many_images():
    torch.manual_seed(0)
    y = torch.arange(300) % K
    x = 0.1 + 0.8 * torch.eye(K)[y].repeat_interleave(2, -1).reshape(-1, 1, 2, K)
    x = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    few = y.where(torch.arange(300) < 6, torch.tensor(-1))
    shape = (1, 2, K)
    model = SemiSupervisedVAE(decoder(1, K, shape=shape), latent_dim=1, num_classes=K)
    guide = SemiSupervisedGuide(
        encoder(heads.DiagonalNormal(1), K, shape=shape),
        classifier=encoder(heads.Classes(K), shape=shape),
        num_classes=K,
    )
    ppvae.fit(
        model,
        guide,
        {"x": x, "y": few},
        ELBO() + Supervision(weight=5.0),
        epochs=30,
        batch_size=100,
        learning_rate=1e-2,
        seed=0,
        progress=False,
    )
    with torch.no_grad():
        assert (guide.classifier(x).logits.argmax(-1) == y).double().mean() > 0.95


def test_supervision_without_known_values_is_refused_and_without_their_column_is_nil():
    pair = build("ssvae, class")
    columns = {name: value for name, value in pair.batch.items() if name != "y"}
    made = (ELBO() + Supervision("y"))(pair.model, pair.guide)
    assert made(columns).extras["supervision_y"] == 0
    pair = build("jvae")
    with pytest.raises(ValueError, match="expected known values of the site 'y' in the guide"):
        (ELBO() + Supervision("y"))(pair.model, pair.guide)(pair.batch)
    with pytest.raises(ValueError, match="expected one of the latent sites"):
        (ELBO() + Supervision("w"))(pair.model, pair.guide)(pair.batch)
