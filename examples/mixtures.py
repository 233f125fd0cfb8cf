"""Mixture priors: components summed in the density, enumerated as a class, or from the encoder.

Three clusters in six dimensions. The first model sums its components in the prior's density
(MixtureNormal), the second has the component as a latent class that the guide enumerates
(JointVAE with ClassNormal), the third takes the encoder's posteriors at learned inputs as
components (VampPrior). The data are drawn from a mixture, so that their density is known.
There are six components for three clusters: with three, two would share a cluster in most runs.
Run: python examples/mixtures.py --epochs 100
"""

import argparse
import math

import pyro.distributions as dist
import torch

import ppvae
from ppvae.evaluate.likelihood import log_likelihood
from ppvae.guides import AmortizedGuide, FactorizedGuide
from ppvae.models import VAE, JointVAE
from ppvae.nets import MLP, ClassNormal, MixtureNormal, Sites, VampPrior, heads

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--rows", type=int, default=1000, help="train on so many rows")
options = parser.parse_args()

torch.manual_seed(0)
K, C, Z, D, WITHIN, NOISE = 3, 6, 2, 6, 0.4, 0.5  # C components for K clusters
angle = 2 * torch.pi * torch.arange(K) / K
centres = 3 * torch.stack([angle.cos(), angle.sin()], -1)
mixing = torch.randn(Z, D)


def sample(rows):
    label = torch.arange(rows) % K
    z = centres[label] + WITHIN * torch.randn(rows, Z)
    return label, z @ mixing + NOISE * torch.randn(rows, D)


label, x = sample(options.rows)
_, test = sample(500)
covariance = WITHIN**2 * mixing.mT @ mixing + NOISE**2 * torch.eye(D)
clusters = dist.MultivariateNormal(centres @ mixing, covariance)
density = clusters.log_prob(test.unsqueeze(1)).logsumexp(-1) - math.log(K)
print(f"log p(x), exact            {density.mean():.2f} nats per datum")
reference = dist.MultivariateNormal(x.mean(0), x.mT.cov())
print(f"log p(x), a normal for x   {reference.log_prob(test).mean():.2f}")


def decoder(*sizes):
    return MLP(sizes, heads.Normal((D,), heads.Shared(1.0)), hidden=[])


encoder = MLP(D, heads.FullNormal(Z), hidden=[32])
both = MLP(D, Sites({"y": heads.Classes(C), "z": heads.FullNormal(Z)}), hidden=[32])
pairs = {
    "one normal": (
        VAE(decoder(Z), latent_dim=Z),
        AmortizedGuide(MLP(D, heads.FullNormal(Z), hidden=[32])),
    ),
    "mixture, summed out": (
        VAE(decoder(Z), prior=MixtureNormal(C, Z, spread=1.5)),
        AmortizedGuide(MLP(D, heads.FullNormal(Z), hidden=[32])),
    ),
    "mixture, enumerated": (
        JointVAE(decoder(Z, C), classes=C, prior=ClassNormal(C, Z, spread=1.5)),
        FactorizedGuide(both),
    ),
    "posteriors at inputs": (
        VAE(decoder(Z), prior=VampPrior(encoder, x[:20])),
        AmortizedGuide(encoder),
    ),
}
runs = {}
for name, (model, guide) in pairs.items():
    runs[name] = ppvae.fit(
        model,
        guide,
        {"x": x},
        epochs=options.epochs,
        batch_size=100,
        learning_rate=2e-2,
        schedule=ppvae.fitting.cosine,
        seed=0,
        progress=False,
    )
    estimate = log_likelihood(runs[name], {"x": test})
    elbo, density = estimate.elbo.mean(), estimate.log_likelihood.mean()
    print(f"{name:<22} ELBO {elbo:.2f}   log p(x) {density:.2f}")

# The learned classes of the enumerating guide against the true clusters.
classes = runs["mixture, enumerated"].encode({"x": x})["y"]
table = torch.stack([torch.bincount(classes[label == k], minlength=C) for k in range(K)])
print(f"rows of each cluster by class:\n{table}")
