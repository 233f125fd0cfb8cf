"""Later visits of subjects by the code of Longitudinal-VAE (Ramchandran et al., 2021), unchanged.

Its networks, kernels, training and prediction are called from a checkout of its repository, with
the settings of its sample configuration: kernel id + age + age x id + age x sex + disease age x
disease, 5 subjects a batch, mean squared error and 0.15 times the KL, Adam at 0.001, natural
gradients at 0.01, noise of the GP 1, no dropout, float64. Otherwise than there, it has 16 latents,
as ours, and the inducing points are the covariates of the first four subjects: all combinations of
age, sex and disease, at which its approximation is exact.

In an environment of its own (requirements-longitudinal-vae.txt):
    python benchmarks/gp/peers/in_longitudinal_vae.py CHECKOUT FOLDER --epochs 100
"""

import argparse
import contextlib
import io
import json
import sys
import time
import types
from pathlib import Path

import gpytorch
import numpy as np
import torch

# Names that the code uses and newer releases lack; of torchvision it needs only a reader of files.
np.Inf = np.inf  # noqa: NPY201
torch.cholesky = torch.linalg.cholesky
torch.solve = lambda right, left: (torch.linalg.solve(left, right), None)
torch.utils.data.Sampler.__init__ = lambda self, *ignored: None
sys.modules["torchvision"] = types.ModuleType("torchvision")
sys.modules["torchvision"].transforms = types.ModuleType("transforms")

PIXELS = 36 * 36
ID = 2  # place of the subject in a row of covariates


class Visits(torch.utils.data.Dataset):
    """A file of visits in memory, a missing pixel as 0 with a mask of 0, as the code expects."""

    def __init__(self, path):
        with np.load(path) as columns:
            names = ("age", "disease_age", "id", "sex", "disease", "location")
            rows = np.nan_to_num(np.stack([columns[name] for name in names], 1))
            x = columns["x"].astype(np.float64)
        self.labels = torch.as_tensor(rows, dtype=torch.float64)
        self.mask = torch.as_tensor(~np.isnan(x)).double().flatten(1)
        self.digits = torch.as_tensor(np.nan_to_num(x))

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, key):
        row = {"digit": self.digits[key], "label": self.labels[key]}
        return row | {"idx": key, "mask": self.mask[key]}


def warm_up(net, data, optimiser, epochs, loss_name):
    """A VAE with prior N(0, I), as VAE.py of the checkout trains one."""
    for _ in range(epochs):
        for rows in torch.randperm(len(data)).split(256):
            optimiser.zero_grad()
            recon, mu, log_var = net(data.digits[rows])
            errors, nll = net.loss_function(recon, data.digits[rows], data.mask[rows])
            kl = -0.5 * (1 + log_var - mu.square() - log_var.exp()).sum(1)
            ((nll if loss_name == "nll" else errors) + kl).sum().backward()
            optimiser.step()


def main(options):
    sys.path.insert(0, str(options.checkout))
    import training
    from kernel_gen import generate_kernel_batched
    from utils import HensmanDataLoader, batch_predict_varying_T
    from VAE import ConvVAE

    # Data in memory need no workers, whose processor time is not this process's.
    training.HensmanDataLoader = lambda *a, num_workers, **k: HensmanDataLoader(
        *a, num_workers=0, **k
    )
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)  # noqa: NPY002 (its order of subjects)
    torch.set_num_threads(1)
    latents = options.latents
    data = Visits(options.folder / "train.npz")
    started = time.process_time()
    net = ConvVAE(latents, PIXELS, vy_init=options.variance, p_input=0, p=0).double()
    likelihood = gpytorch.likelihoods.GaussianLikelihood(
        batch_shape=torch.Size([latents])
    ).double()
    likelihood.noise = 1.0
    likelihood.raw_noise.requires_grad = False
    pairs = [(0, ID), (0, 3), (1, 4)]
    interactions = [{"cont_covariate": a, "cat_covariate": b} for a, b in pairs]
    shared, own = generate_kernel_batched(latents, [ID], [], [0], interactions, [], [], ID)
    for kernel in (shared, own):
        kernel.train().double()
    inducing = data.labels[data.labels[:, ID] < 4].repeat(latents, 1, 1)
    size = inducing.shape[1]
    mean = torch.randn(latents, size, 1).double()
    root = (torch.randn(latents, size, size) / 10).double()
    covariance = root @ root.mT
    modules = (shared, own, net)
    optimiser = torch.optim.Adam([{"params": m.parameters()} for m in modules], lr=1e-3)
    warm_up(net, data, optimiser, options.warm_up, options.loss)
    subjects = len(data.labels[:, ID].unique())

    @torch.no_grad()
    def predictions(name):
        net.eval()
        asked = Visits(options.folder / f"{name}.npz").labels
        codes = net.encode(data.digits)[0]
        z = batch_predict_varying_T(
            latents, shared, own, likelihood, data.labels, asked, codes, inducing, ID, 1e-6
        )
        return net.decode(z).numpy().astype(np.float32)

    done, spent = 0, time.process_time() - started
    while done < options.epochs and spent < options.seconds:
        started = time.process_time()
        log = io.StringIO()
        with contextlib.redirect_stdout(log):
            trained = training.hensman_training(
                net,
                "conv",
                options.every,
                data,
                optimiser,
                "GPapprox_closed",
                1,
                latents,
                shared,
                own,
                likelihood,
                mean,
                covariance,
                inducing,
                subjects,
                20,
                True,
                data.labels.shape[1],
                options.weight,
                ID,
                options.loss,
                natural_gradient=True,
                natural_gradient_lr=0.01,
                subjects_per_batch=5,
            )
        mean, covariance = trained[5], trained[6]
        done += options.every
        spent += time.process_time() - started
        found = {name: predictions(name) for name in ("validation", "test")}
        settings = {k: str(v) for k, v in vars(options).items()} | {"trained": done}
        np.savez(options.out, **found, cpu_seconds=spent, settings=json.dumps(settings))
        print(done, f"{spent:.0f} CPU s", log.getvalue().splitlines()[-1], flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="of github.com/SidRama/Longitudinal-VAE")
    parser.add_argument("folder", type=Path, help="train.npz, validation.npz, test.npz")
    parser.add_argument("--out", type=Path, required=True, help="predictions, as .npz")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="CPU s at most")
    parser.add_argument("--every", type=int, default=10, help="epochs between predictions")
    parser.add_argument("--warm-up", type=int, default=0, help="epochs of a VAE without GP first")
    parser.add_argument("--latents", type=int, default=16)
    parser.add_argument("--loss", choices=("mse", "nll"), default="mse")
    parser.add_argument("--weight", type=float, default=0.15, help="of the KL, with mse")
    parser.add_argument(
        "--variance", type=float, default=1.0, help="of a pixel at first, with nll"
    )
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
