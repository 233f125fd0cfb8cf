"""Later visits of subjects by two models of NNGPVAE-official (Shi et al., 2025), unchanged.

Their SVGPVAE and SGP-BAE of spatial data, which take rows of covariates with missing values, are
called from a checkout of the repository. A row is a visit; its covariates are age, the disease's
age, sex, disease and the subject (one column each). As in longitudinal.py: 16 latents, an encoder
with one hidden layer of 128, a convolutional decoder of its size, normal likelihood; 40 visits
make a batch; 60 inducing points, at training visits at first.

- svgpvae: the kernel of longitudinal.py, variance of the pixels learned; predicted from the codes
  of all training visits.
- sgpbae: RBF with one lengthscale per covariate, which is the form its class requires, standard
  deviation of the pixels .22; the sampler's own defaults; mean of ten samples.

In an environment of its own (requirements-nngpvae.txt):
    python benchmarks/gp/peers/in_nngpvae_visits.py CHECKOUT FOLDER --model svgpvae --out found.npz
"""

import argparse
import contextlib
import copy
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from gpytorch.kernels import LinearKernel, RBFKernel, ScaleKernel
from torch import nn

PIXELS, LATENTS, BATCH, SIGMA = 36 * 36, 16, 40, 0.22
SHAPE = torch.Size([LATENTS])
SIZE = {"batch_shape": SHAPE}


def columns(path, subjects):
    with np.load(path) as arrays:
        parts = {name: torch.as_tensor(arrays[name]) for name in arrays.files}
    disease_age = parts["disease_age"].nan_to_num(nan=0.0) / 10
    told = (parts["age"] / 10 - 1, disease_age, parts["sex"], 1 - parts["sex"], parts["disease"])
    own = nn.functional.one_hot(parts["id"], subjects)
    kind = torch.get_default_dtype()
    return torch.cat([torch.stack(told, 1), own], 1).to(kind), parts["x"].flatten(1).to(kind)


def additive(size):
    """id + age + age x id + age x sex + disease age x disease."""

    def rbf(column):
        return RBFKernel(active_dims=[column], **SIZE)

    def same(first, last):
        return LinearKernel(active_dims=list(range(first, last)), **SIZE)

    terms = (
        same(5, size),
        rbf(0),
        rbf(0) * same(5, size),
        rbf(0) * same(2, 4),
        rbf(1) * same(4, 5),
    )
    total = ScaleKernel(terms[0], **SIZE)
    for term in terms[1:]:
        total = total + ScaleKernel(term, **SIZE)
    return total


def decoder():
    return nn.Sequential(
        nn.Linear(LATENTS, 64),
        nn.ReLU(),
        nn.Linear(64, 32 * 9 * 9),
        nn.ReLU(),
        nn.Unflatten(1, (32, 9, 9)),
        nn.ConvTranspose2d(32, 16, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 1, 3, padding=1),
        nn.Flatten(),
    )


class Sparse:
    def __init__(self, data, inducing):
        from baselines.svgpvae.models.svgp import SVGP
        from baselines.svgpvae.models.svgpvae_base_spatial_imp import SVGPVAESpatialImp
        from models.building_blocks.enc_dec_jura import JuraDecoder, JuraEncoder

        self.data = data
        encoder = JuraEncoder(PIXELS, (128,), LATENTS)
        head = JuraDecoder(PIXELS, (), LATENTS, sigma2_y=SIGMA**2, fix_variance=False)
        head.decoder = decoder()
        points = nn.Parameter(inducing)
        svgp = SVGP(LATENTS, additive(inducing.size(1)), points, N_train=len(data), jitter=1e-5)
        self.model = SVGPVAESpatialImp(encoder, head, svgp, jitter=1e-5)
        self.model.train_dataset = data
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def train(self, epochs):
        self.model.train_gpvae(self.optimiser, 1.0, epochs, BATCH, max_norm=1e4, print_epochs=999)

    @torch.no_grad()
    def predict(self, asked):
        found = self.model.build_MLP_inference_graph(self.data.Y)
        z = self.model.svgp.approx_posterior_params(self.data.X, *found, x_test=asked)[0]
        return self.model.decoder(z.mT)


class Bayesian:
    def __init__(self, data, inducing):
        from baselines.bae.adaptive_sghmc import AdaptiveSGHMC
        from baselines.bae.distributions.conditional.normal import ConditionalMeanNormal
        from baselines.bae.gp.likelihoods import Gaussian
        from baselines.bae.models.bsgp import BSGP
        from baselines.bae.models.spgbae_spatial_imp import SGPBAESpatialImp
        from baselines.bae.priors.fixed_priors import PriorGaussian
        from models.building_blocks.enc_dec_jura import MLP

        self.folder = tempfile.TemporaryDirectory()
        kernel = ScaleKernel(RBFKernel(ard_num_dims=inducing.size(1), **SIZE), **SIZE)
        kernel.outputscale, kernel.base_kernel.lengthscale = 1.0, 1.0
        values = nn.Parameter(torch.zeros(LATENTS, len(inducing)))
        points = nn.Parameter(inducing)
        noise = Gaussian(variance=1e-5)
        gp = BSGP(LATENTS, kernel, noise, points, values, len(data), prior_S_type="uniform")
        self.model = SGPBAESpatialImp(
            MLP(2 * PIXELS, LATENTS, [128]),
            ConditionalMeanNormal(decoder(), scale=SIGMA),
            PriorGaussian(1.0),
            gp,
            sample_dir=Path(self.folder.name),
        )
        self.model.train_dataset = data
        self.model.init_z(data.Y[:BATCH])
        self.sampler = AdaptiveSGHMC(self.model.get_parameters(), scale_grad=len(data))
        self.optimiser = torch.optim.Adam(self.model.encoder.parameters(), lr=1e-3)
        self.each = len(data) // BATCH

    def train(self, epochs):
        """The last epoch leaves ten samples."""
        self.model.train_sgpbae(
            self.sampler,
            self.optimiser,
            (epochs - 1) * self.each,
            self.each // 10,
            10,
            batch_size=BATCH,
        )

    @torch.no_grad()
    def predict(self, asked):
        last = copy.deepcopy(self.model.state_dict())
        mean = self.model.conditional_generate(asked)[0]
        self.model.load_state_dict(last)
        return mean


def main(options):
    sys.path.insert(0, str(options.checkout))
    from utils.build_datasets import NNDataset

    torch.manual_seed(options.seed)
    np.random.seed(options.seed)  # noqa: NPY002 (theirs)
    torch.set_num_threads(1)
    if options.double:
        torch.set_default_dtype(torch.float64)
    subjects = int(np.load(options.folder / "train.npz")["id"].max()) + 1
    x, y = columns(options.folder / "train.npz", subjects)
    rows = {"X": x, "Y": y.nan_to_num(nan=0.0), "masks": ~y.isnan()}
    data = NNDataset(rows, missing=True)
    inducing = x[torch.randperm(len(x))[: options.inducing]]
    peer = {"svgpvae": Sparse, "sgpbae": Bayesian}[options.model](data, inducing)
    spent, done = 0.0, 0
    while done < options.epochs and spent < options.seconds:
        started = time.process_time()
        with contextlib.redirect_stdout(None):
            peer.train(options.every)
        spent += time.process_time() - started
        done += options.every
        found = {}
        for part in ("validation", "test"):
            asked = columns(options.folder / f"{part}.npz", subjects)[0]
            found[part] = peer.predict(asked).view(-1, 1, 36, 36).float().numpy()
        settings = {k: str(v) for k, v in vars(options).items()} | {"trained": done}
        np.savez(options.out, **found, cpu_seconds=spent, settings=json.dumps(settings))
        true = np.load(options.folder / "test.npz")["x"]
        error = np.nanmean((found["test"] - true) ** 2)
        print(f"{done} epochs, {spent:.0f} CPU s, MSE {error:.4f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="of github.com/shixinxing/NNGPVAE-official")
    parser.add_argument("folder", type=Path, help="train.npz, validation.npz, test.npz")
    parser.add_argument("--model", choices=("svgpvae", "sgpbae"), default="svgpvae")
    parser.add_argument("--out", type=Path, required=True, help="predictions, as .npz")
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="CPU s at most")
    parser.add_argument("--every", type=int, default=5, help="epochs between predictions")
    parser.add_argument("--inducing", type=int, default=60, help="points")
    parser.add_argument("--double", action="store_true", help="float64")
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
