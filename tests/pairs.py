"""Every (model, guide, batch, objective) that the laws of ``test_laws.py`` are held against.

A new variant adds one line to ``PAIRS``. Each entry is built afresh at every call, small, from
torch's global generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ppvae.contract import DataBound
from ppvae.gp import FourierFeatures, GPPrior, LeaveViewOut, ObjectTable
from ppvae.guides import AmortizedGuide, GPGuide
from ppvae.models import GPVAE, VAE
from ppvae.nets import MLP, ConvDecoder, ConvEncoder, heads
from ppvae.objectives import ELBO, Linear

N, Z = 12, 2
SHAPE = (1, 8, 8)
PIXELS = math.prod(SHAPE)


class Pair(NamedTuple):
    model: nn.Module
    guide: nn.Module
    batch: dict[str, Tensor]
    objective: ELBO = ELBO()


def images(*shape: int) -> Tensor:
    """Blobs at random places, so that there is something to learn: (N, *shape)."""
    shape = shape or SHAPE
    right = torch.linspace(-1, 1, shape[-1])
    up = torch.linspace(1, -1, shape[-2]) if len(shape) == 3 else torch.zeros(1)
    at = 0.8 * torch.rand(N, 2) - 0.4
    squares = (right - at[:, :1]).square()[:, None, :] + (up - at[:, 1:]).square()[:, :, None]
    blobs = (-8 * squares).exp()
    return blobs.reshape(N, 1, *shape[1:]).expand(N, *shape).contiguous()


def encoder(head: heads.Head, *conditions: int, shape: tuple[int, ...] = SHAPE) -> nn.Module:
    return MLP([math.prod(shape), *conditions], head, hidden=[16], in_shape=shape)


def decoder(*in_features: int, shape: tuple[int, ...] = SHAPE) -> nn.Module:
    return MLP(in_features, heads.Bernoulli(shape), hidden=[16])


def gp() -> Pair:
    cells = torch.cartesian_prod(torch.arange(4), torch.arange(3))
    prior = GPPrior(ObjectTable(4, 2), FourierFeatures(num_frequencies=2), latent_dim=Z)
    batch = {
        "x": images(),
        "object": cells[:, 0],
        "view": cells[:, 1] * 2 * math.pi / 3,
        "index": torch.arange(len(cells)),
    }
    guide = GPGuide(encoder(heads.DiagonalNormal(Z)), prior)
    return Pair(GPVAE(prior, decoder(Z)), guide, batch, ELBO() + LeaveViewOut())


PAIRS: dict[str, Callable[[], Pair]] = {
    "vae, mlp": lambda: Pair(
        VAE(decoder(Z), latent_dim=Z),
        AmortizedGuide(encoder(heads.DiagonalNormal(Z))),
        {"x": images()},
    ),
    "vae, full covariance": lambda: Pair(
        VAE(decoder(Z), latent_dim=Z),
        AmortizedGuide(encoder(heads.FullNormal(Z))),
        {"x": images()},
        ELBO(weights={"z": Linear(0.5, 1.0, steps=10)}),
    ),
    "vae, conv, normal": lambda: Pair(
        VAE(ConvDecoder(Z, heads.Normal((2, 9, 7)), channels=[8]), latent_dim=Z),
        AmortizedGuide(ConvEncoder((2, 9, 7), heads.DiagonalNormal(Z), channels=[8], hidden=16)),
        {"x": images(2, 9, 7)},
    ),
    "gpvae": gp,
}


def build(name: str, *, seed: int = 0, device: torch.device | str = "cpu") -> Pair:
    """A pair as ``ppvae.fit`` would have it before the first step, always the same for a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pair = Pair(*PAIRS[name]())
    batch = {column: value.to(device) for column, value in pair.batch.items()}
    for module in nn.ModuleList([pair.model.to(device), pair.guide.to(device)]).modules():
        if isinstance(module, DataBound):
            module.prepare(batch)
    return pair._replace(batch=batch)
