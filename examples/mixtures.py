"""Priors with components: summed out, enumerated as a latent class, or made by the encoder.

Three clusters in six dimensions. The first model sums its components in the prior's density
(MixtureNormal), the second has the component as a latent class that the guide enumerates
(JointVAE with ClassNormal), the third has the encoder's own posteriors at learned inputs as
components (VampPrior). Run: python examples/mixtures.py --epochs 60
"""

import argparse

import torch

import ppvae
from ppvae.evaluate.likelihood import log_likelihood
from ppvae.guides import AmortizedGuide, FactorizedGuide
from ppvae.models import VAE, JointVAE
from ppvae.nets import MLP, ClassNormal, MixtureNormal, Sites, VampPrior, heads

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--rows", type=int, default=1500, help="train on so many rows")
options = parser.parse_args()

torch.manual_seed(0)
K, Z, D = 3, 2, 6
label = torch.arange(options.rows) % K
centres = 3 * torch.randn(K, Z)
x = (centres[label] + 0.4 * torch.randn(options.rows, Z)) @ torch.randn(Z, D)
x = x + 0.1 * torch.randn_like(x)


def decoder(*sizes):
    return MLP(sizes, heads.Normal((D,), heads.Shared(0.2)), hidden=[32])


encoder = MLP(D, heads.DiagonalNormal(Z), hidden=[32])
both = MLP(D, Sites({"y": heads.Classes(K), "z": heads.DiagonalNormal(Z)}), hidden=[32])
pairs = {
    "one normal": (
        VAE(decoder(Z), latent_dim=Z),
        AmortizedGuide(MLP(D, heads.DiagonalNormal(Z), hidden=[32])),
    ),
    "mixture, summed out": (
        VAE(decoder(Z), prior=MixtureNormal(K, Z, spread=2.0)),
        AmortizedGuide(MLP(D, heads.DiagonalNormal(Z), hidden=[32])),
    ),
    "mixture, enumerated": (
        JointVAE(decoder(Z, K), classes=K, prior=ClassNormal(K, Z, spread=2.0)),
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
        model, guide, {"x": x}, epochs=options.epochs, learning_rate=5e-3, seed=0, progress=False
    )
    found = log_likelihood(runs[name], {"x": x})
    print(f"{name:<22} ELBO {found.elbo.mean():.2f}   log p(x) {found.log_likelihood.mean():.2f}")

# What the classes that the enumerating guide has found by itself hold, by true cluster.
found = runs["mixture, enumerated"].encode({"x": x})["y"]
table = torch.stack([torch.bincount(found[label == k], minlength=K) for k in range(K)])
print(f"rows of each cluster by class:\n{table}")
