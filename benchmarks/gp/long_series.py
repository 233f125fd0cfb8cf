"""A slow coordinate among fast ones in a long series, found by a GP prior of learned time scale.

One hidden coordinate has a correlation time of 150 frames and half the amplitude of six fast ones
(1 to 10 frames), all Ornstein-Uhlenbeck; 20 features are tanh of random mixtures, with noise, at
4,000 frames, as a molecular simulation might write them. Score: R2 of the slow coordinate as a
linear function of two latents.

Ours: eight Matern-1/2 processes of a learned time scale, each with a learned share of noise; the
two with the smallest share of noise are scored, by their posterior means given the series.
Beside it: two principal components; two time-lagged independent components (TICA); a linear map of
all features to the true coordinate, which no method without labels can know.

    python benchmarks/gp/long_series.py --seeds 0..3 --epochs 30
    python benchmarks/gp/long_series.py --seeds 0 --write FOLDER       # series0.npz, for peers
    python benchmarks/gp/long_series.py --seeds 0 --score found.npz    # arrays of latents (N, L)
"""

import argparse
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from common import Clock, seeds

import ppvae
from ppvae.fitting import grouped_adam, warmup_cosine
from ppvae.gp.additive import Additive, AdditivePrior, Matern, Term
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO

FRAMES, FEATURES, SLOW, HIDDEN = 4000, 20, 150.0, (64, 64)


def process(time_scale, random):
    """An Ornstein-Uhlenbeck process of unit variance."""
    keep = math.exp(-1 / time_scale)
    steps = random.normal(size=FRAMES) * math.sqrt(1 - keep**2)
    steps[0] = random.normal()
    for i in range(1, FRAMES):
        steps[i] += keep * steps[i - 1]
    return steps


def series(seed):
    """Standardised features (N, 20) and the slow coordinate (N)."""
    random = np.random.default_rng(seed)
    slow = process(SLOW, random)
    fast = [process(scale, random) for scale in np.geomspace(1, 10, 6)]
    hidden = np.stack([0.5 * slow, *fast], 1)
    mixing = random.normal(size=(7, FEATURES)) / math.sqrt(7)
    x = np.tanh(0.7 * hidden @ mixing) + 0.05 * random.normal(size=(FRAMES, FEATURES))
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32), slow


def r2(latents, slow):
    """Share of the slow coordinate's variance that a linear function of the latents explains."""
    design = np.column_stack([np.ones(len(latents)), latents])
    rest = slow - design @ np.linalg.lstsq(design, slow, rcond=None)[0]
    return 1 - rest.var() / slow.var()


def principal(x):
    return x @ np.linalg.svd(x, full_matrices=False)[2][:2].T


def time_lagged(x, lag=50):
    """The two components with the largest autocorrelation ``lag`` frames apart."""
    _, scale, axes = np.linalg.svd(x, full_matrices=False)
    white = x @ axes.T / scale * math.sqrt(len(x))
    lagged = white[:-lag].T @ white[lag:] / (len(x) - lag)
    return white @ np.linalg.eigh(lagged + lagged.T)[1][:, -2:]


def fitted(x, *, epochs, latents, seed):
    """Means of the latents' posterior given the series, least noise first; the prior."""
    torch.manual_seed(seed)
    time = np.arange(len(x), dtype=np.float32)
    kernel = Additive(Term(Matern("time", nu=0.5, num_features=128, margin=0.0)))
    prior = AdditivePrior(kernel, latent_dim=latents)
    decoder = MLP(latents, heads.Normal((FEATURES,), heads.PerElement(0.4)), hidden=HIDDEN)
    encoder = MLP(FEATURES, heads.DiagonalNormal(latents, init=0.4), hidden=HIDDEN)
    ppvae.fit(
        VAE(decoder, prior=prior),
        AmortizedGuide(encoder),
        ppvae.Dataset({"x": x, "time": time}),
        ELBO(),
        epochs=epochs,
        batch_size=128,
        learning_rate=4e-3,
        optimizer=grouped_adam((prior.parameters(), 2.5), betas=(0.9, 0.99)),
        schedule=warmup_cosine(0.1, floor=0.01),
        seed=seed,
        device="cpu",
        compile=False,
        progress=False,
    )
    with torch.no_grad():
        means = prior.moments({"time": torch.as_tensor(time)})[0].numpy()
    return means[:, prior.variances()[:, -1].argsort().numpy()], prior


def run(seed, options):
    x, slow = series(seed)
    print(
        f"seed {seed}: PCA {r2(principal(x), slow):.3f}, TICA {r2(time_lagged(x), slow):.3f}, "
        f"linear map of all features {r2(x, slow):.3f}"
    )
    if options.write is not None:
        options.write.mkdir(parents=True, exist_ok=True)
        np.savez(options.write / f"series{seed}.npz", x=x)
    elif options.score is not None:
        with np.load(options.score) as found:
            for name in found.files:
                z = found[name]
                best = max(r2(z[:, pair], slow) for pair in combinations(range(z.shape[1]), 2))
                print(f"{name:<20} best two latents {best:.3f}, all {r2(z, slow):.3f}")
    else:
        with Clock() as clock:
            latents = options.latents
            means, prior = fitted(x, epochs=options.epochs, latents=latents, seed=seed)
        noise = prior.variances()[:, -1].sort().values.tolist()
        (factor,) = next(iter(prior.kernel))
        print(
            f"  ours: two slowest of {latents} latents {r2(means[:, :2], slow):.3f}, all "
            f"{r2(means, slow):.3f}, {clock.cpu:.0f} CPU s, time scale {factor.lengthscale:.0f}, "
            f"noise {', '.join(f'{v:.2f}' for v in noise)}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0", help="0, 0,3 or 0..4")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--latents", type=int, default=8)
    parser.add_argument("--write", type=Path, help="folder of the series as files")
    parser.add_argument("--score", type=Path, help="latents of another program, as .npz")
    options = parser.parse_args()
    for seed in seeds(options.seeds):
        run(seed, options)
