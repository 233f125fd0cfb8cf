"""Angle and species of atoms from patches of a simulated lattice: ours, atomai and pyroVED.

    python benchmarks/atoms/compare.py write atoms.npz             # patches and their truth
    python benchmarks/atoms/compare.py fit atoms.npz ours.npz      # the model of examples/atoms.py
    python benchmarks/atoms/peers/in_pyroved.py atoms.npz pyroved.npz   # in its own environment
    python benchmarks/atoms/peers/in_atomai.py atoms.npz atomai.npz     # in its own environment
    python benchmarks/atoms/compare.py score atoms.npz ours.npz pyroved.npz atomai.npz

Every file of latents has z (N, 2), the angle in radians (N) and the processor seconds of the fit.
All are scored by the same code. The lattice has its angle up to a third of a turn; each of the
three groups of z has a zero of its own, and a program a direction of turning: both are taken from
the truth. The null model is as many principal components.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch import nn

import ppvae
from ppvae.evaluate import clustering_accuracy, knn_probe
from ppvae.guides import Align, AmortizedGuide
from ppvae.models import VAE, PosedDecoder
from ppvae.nets import MLP, CanvasDecoder, EquivariantPose, Standardized, heads


def write(path):
    atoms = ppvae.data.lattice().atoms
    np.savez(path, **{name: np.asarray(atoms[name]) for name in ("x", "y", "angle")})


def fit(x, seed, epochs):
    """z and angle of each patch, and the processor seconds of the fit."""
    shape = tuple(x.shape[1:])
    torch.manual_seed(seed)
    center, unit = x.mean(), x.std()
    likelihood = heads.Normal(shape, heads.Shared(0.5), center=center, unit=unit)
    content = MLP(2, heads.Raw(likelihood.raw_shape), hidden=(128,))
    decoder = PosedDecoder(CanvasDecoder(content, likelihood), rotation=math.inf, modes=2)
    trunk = Align(EquivariantPose(shape, translation=False, modes=2), shape)
    encoder = MLP(math.prod(shape), heads.DiagonalNormal(2), hidden=(128,), in_shape=shape)
    guide = AmortizedGuide(Standardized(nn.Sequential(trunk, encoder), center, unit))
    started = time.process_time()
    run = ppvae.fit(
        VAE(decoder, latent_dim=2),
        guide,
        {"x": x},
        epochs=epochs,
        batch_size=100,
        learning_rate=2e-3,
        seed=seed,
        progress=False,
    )
    seconds = time.process_time() - started
    codes = run.encode({"x": x})
    return {"z": codes["z"].numpy(), "angle": codes["rotation"].numpy(), "cpu_seconds": seconds}


def groups_of(z):
    return torch.as_tensor(KMeans(3, n_init=10, random_state=0).fit_predict(z)).long()


def degrees_off(angle, truth, groups):
    """Median distance from the true angle, modulo a third of a turn, in degrees."""
    medians = []
    for sign in (1, -1):
        gap = torch.exp(3j * (sign * angle - truth))
        for group in groups.unique():
            rows = groups == group
            gap[rows] = gap[rows] / torch.exp(1j * gap[rows].mean().angle())
        medians.append(math.degrees(gap.angle().abs().median() / 3))
    return min(medians)


def score(path, files):
    with np.load(path) as arrays:
        x, species, truth = (torch.as_tensor(arrays[name]) for name in ("x", "y", "angle"))
    largest = float((species == species.mode().values).double().mean())
    print(f"{len(x)} atoms; species, {largest:.3f} if all are called the most frequent")
    null = torch.as_tensor(PCA(2).fit_transform(x.flatten(1)))
    for file in (None, *files):
        z = null
        if file is not None:
            with np.load(file) as found:
                z, angle = torch.as_tensor(found["z"]), torch.as_tensor(found["angle"])
                seconds = float(found["cpu_seconds"]) / int(found["epochs"])
        groups = groups_of(z)
        said = f"by three groups {clustering_accuracy(groups, species):.3f}"
        said += f"  by neighbours {knn_probe(z, species):.3f}"
        if file is not None:
            off = degrees_off(angle, truth, groups)
            said += f"  angle off by {off:.1f} degrees  {seconds:.2f} CPU s an epoch"
        print(f"{'components' if file is None else file.stem:<24} {said}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("write", "fit", "score"))
    parser.add_argument("atoms", type=Path)
    parser.add_argument("files", type=Path, nargs="*", help="latents, as .npz")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.task == "write":
        write(options.atoms)
    elif options.task == "score":
        score(options.atoms, options.files)
    else:
        with np.load(options.atoms) as arrays:
            patches = torch.as_tensor(arrays["x"])
        codes = fit(patches, options.seed, options.epochs)
        np.savez(options.files[0], **codes, epochs=options.epochs)
