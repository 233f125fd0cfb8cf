"""A VAE of expression scaled to [0, 1], with the shape and the settings of Way and Greene (2018).

Their model, Tybalt: 10,459 tumours x 5,000 genes, each gene scaled to [0, 1], 100 latents, one
layer either way, batches of 50, Adam at 0.0005, 50 epochs, of which one warms the KL up. The data
are generated here: programs of genes, two of which are binary traits of the tumours, as the sex
and the metastasis that the paper reads from single latents.

To show: the loss beside that of each gene's mean, seconds an epoch, and the area under the curve
of each trait by the one latent that says most of it in the training data, on unseen tumours;
beside it the same of principal components, and of all latents together.

References:
    | Extracting a Biologically Relevant Latent Space from Cancer Transcriptomes with Variational
    | Autoencoders (Way and Greene, 2018), https://doi.org/10.1142/9789813235533_0008
"""

import argparse
import json
import time

import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import ppvae
from ppvae.data import Dataset, split_rows
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO, Linear

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rows", type=int, default=10459)
parser.add_argument("--genes", type=int, default=5000)
parser.add_argument("--latents", type=int, default=100)
parser.add_argument("--epochs", type=int, default=50)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()


def tumours(rows, genes, programs=60):
    """Values in [0, 1] of sums of sparse programs, the first two of which are traits, 0 or 1."""
    generator = torch.Generator().manual_seed(options.seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    activity = normal(rows, programs)
    traits = (torch.rand(rows, 2, generator=generator) < torch.tensor([0.5, 0.15])).float()
    activity[:, :2] = 2 * traits
    # A program is of one gene in twenty, a trait of one in two hundred.
    share = torch.full((programs, 1), 0.05)
    share[:2] = 0.005
    weights = normal(programs, genes) * (torch.rand(programs, genes, generator=generator) < share)
    x = activity @ weights + 0.5 * normal(rows, genes)
    low, high = x.min(0).values, x.max(0).values
    return ((x - low) / (high - low)).clamp(0, 1), traits


x, traits = tumours(options.rows, options.genes)
splits = split_rows(Dataset({"x": x, "trait": traits}), seed=options.seed)
torch.manual_seed(options.seed)
bernoulli = heads.Bernoulli((options.genes,))
model = VAE(MLP(options.latents, bernoulli, hidden=()), latent_dim=options.latents)
guide = AmortizedGuide(MLP(options.genes, heads.DiagonalNormal(options.latents), hidden=()))
started = time.process_time()
steps = -(-splits.train.num_rows // 50)
run = ppvae.fit(
    model,
    guide,
    splits,
    ELBO(weights={"z": Linear(0, 1, steps=steps)}),
    epochs=options.epochs,
    batch_size=50,
    learning_rate=5e-4,
    seed=options.seed,
    progress=False,
)
seconds = (time.process_time() - started) / options.epochs

train, test = (part.batch(slice(None)) for part in (splits.train, splits.test))
p = train["x"].mean(0).clamp(1e-6, 1 - 1e-6)
null = test["x"] @ p.log() + (1 - test["x"]) @ (1 - p).log()
components = PCA(options.latents, svd_solver="randomized", random_state=0).fit(train["x"])
codes = {
    "vae": [run.encode({"x": part["x"]})["z"] for part in (train, test)],
    "components": [torch.as_tensor(components.transform(part["x"])) for part in (train, test)],
}


def areas(train_z, test_z, trait):
    """Areas under the curve on unseen tumours: of the best latent, and of all of them."""
    known, asked = train["trait"][:, trait], test["trait"][:, trait]
    each = [roc_auc_score(known, z) for z in train_z.T]
    best = max(range(len(each)), key=lambda k: abs(each[k] - 0.5))
    sign = 1 if each[best] > 0.5 else -1
    every = LogisticRegression(max_iter=500).fit(train_z, known).decision_function(test_z)
    return {
        "best latent": round(roc_auc_score(asked, sign * test_z[:, best]), 3),
        "all latents": round(roc_auc_score(asked, every), 3),
    }


elbo = [value for value in run.history.column("val_elbo") if value is not None]
result = {
    "options": vars(options),
    "rows": [splits.train.num_rows, splits.test.num_rows],
    "validation ELBO by epoch": [round(value, 1) for value in elbo],
    "each gene's mean, test": round(float(null.mean()), 1),
    "processor seconds an epoch": round(seconds, 2),
    "traits": {name: [areas(*z, trait) for trait in range(2)] for name, z in codes.items()},
}
print(json.dumps(result, indent=2))
