"""Latents of a long series by gp-tempest (Diez, Dethloff and Stock, 2025), unchanged.

It is told the true time scale of the slow coordinate, as its kernel has a fixed one; its networks
have the sizes of ours, 100 inducing times lie evenly.

In an environment of its own (requirements-gp-tempest.txt):
    python benchmarks/gp/peers/in_gp_tempest.py series0.npz --beta 50 --out found.npz
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from gptempest import TEMPEST, MaternKernel
from torch.utils.data import TensorDataset


def main(options):
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    with np.load(options.series) as arrays:
        x = arrays["x"].astype(np.float64)
    x = (x - x.min(0)) / np.ptp(x, axis=0)  # its decoder ends in a sigmoid
    times = np.arange(len(x), dtype=np.float64)
    data = TensorDataset(torch.as_tensor(x), torch.as_tensor(times)[:, None])
    started = time.process_time()
    model = TEMPEST(
        cuda=False,
        kernel=MaternKernel(scale=options.scale, nu=0.5, dtype=torch.float64),
        dim_input=x.shape[1],
        dim_latent=options.latents,
        layers_hidden_encoder=[64, 64],
        layers_hidden_decoder=[64, 64],
        inducing_points=np.linspace(0, times[-1], 100),
        beta=options.beta,
        N_data=len(x),
        dtype=torch.float64,
    )
    model.train_model(
        data,
        train_size=1,
        learning_rate=options.learning_rate,
        weight_decay=1e-6,
        batch_size=512,
        n_epochs=options.epochs,
    )
    spent = time.process_time() - started
    with torch.no_grad():
        smoothed = model.extract_latent_space(data, batch_size=512).numpy()
        encoded = model.encoder(data.tensors[0])["means"].numpy()
    np.savez(options.out, smoothed=smoothed, encoded=encoded)
    print(f"{options.epochs} epochs, beta {options.beta:g}: {spent:.0f} CPU s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("series", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="latents, as .npz")
    parser.add_argument("--beta", type=float, default=50.0)
    parser.add_argument("--scale", type=float, default=150.0, help="time scale, in frames")
    parser.add_argument("--latents", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
