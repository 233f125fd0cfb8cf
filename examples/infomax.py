"""An informative latent: InfoMax-VAE on cells, with explanations of a classifier.

The objective is the ELBO plus alpha times the mutual information I(x; z), which a critic with its
own optimiser estimates during training (MINE). Afterwards: the information estimated by a new
critic, the cells that are fitted worst, and pictures moved from one class towards another, along
the gradient of a small classifier of the codes: here the marker moves out to the membrane. The
picture shows six cells, one a row; above each column is the mean probability of that class.

The likelihood is a normal one with a learned scale, which starts near the size of the residuals,
as it moves by no more than the learning rate per step. Cells are dark: by a Bernoulli likelihood
a latent of pictures of this size gains less than its KL costs, and nothing is encoded.
Run: python examples/infomax.py --epochs 30 --out path.png
"""

import argparse

import torch
from torch import nn

import ppvae
from ppvae import plots
from ppvae.data import cells
from ppvae.evaluate.exaggeration import exaggerate
from ppvae.evaluate.quality import quality_of_fit
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import ConvDecoder, ConvEncoder, heads
from ppvae.objectives import ELBO, MutualInformation, critic_between, information_of
from ppvae.programs import encode

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--rows", type=int, default=4000, help="number of cells to simulate")
parser.add_argument("--out", help="image file to write: the moved pictures")
options = parser.parse_args()

torch.manual_seed(0)
data = cells(options.rows, size=32)
shape, latent_dim = tuple(data.train["x"].shape[1:]), 10

likelihood = heads.Normal(shape, heads.Shared(0.1))
model = VAE(ConvDecoder(latent_dim, likelihood), latent_dim=latent_dim)
guide = AmortizedGuide(ConvEncoder(shape, heads.DiagonalNormal(latent_dim)))
critic = critic_between(shape, (latent_dim,))
objective = ELBO() + MutualInformation("x", "z", critic)
run = ppvae.fit(model, guide, data, objective, epochs=options.epochs, seed=0)

device = next(guide.parameters()).device  # fit has chosen it.
train, test = (part.batch(slice(None), device=device) for part in (data.train, data.test))
nats = information_of(guide, train, test, steps=20 * options.epochs)
print(f"I(x; z)              {nats:.2f} nats, by a new critic")

fit = quality_of_fit(run, data.test)
print(f"ELBO                 {fit.elbo.mean():.1f} nats a cell, worst {fit.elbo.min():.1f}")
print(f"fitted worst         rows {fit.worst(3).tolist()} of the test data")

codes = encode(guide, train)["z"]
classifier = nn.Linear(latent_dim, 4).to(device)
optimizer = torch.optim.Adam(classifier.parameters(), 0.05)
for _ in range(200):
    loss = nn.functional.cross_entropy(classifier(codes), train["y"])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

codes = encode(guide, test)["z"]
share = (classifier(codes).argmax(1) == test["y"]).float().mean()
print(f"classifier           {share:.2f} of test cells right, by chance 0.25")

start = codes[test["y"] == 0][:6]
path = exaggerate(
    lambda z: model.decoder(z).mean,
    lambda x: classifier(guide.encoder(x).mean),
    start,
    source=0,
    target=3,
    length=0.5,
)
seen = path.probabilities.mean(1)
print(f"p(membrane), pushed  {seen[0]:.2f} at first, {seen[-1]:.2f} after {len(seen) - 1} steps")
if options.out:
    labels = [f"{p:.2f}" for p in seen]
    plots.images(path.images.transpose(0, 1), column_labels=labels).savefig(options.out)
