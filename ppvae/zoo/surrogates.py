"""Surrogates of a search by name: what the command line, the examples and the benchmarks use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

import ppvae
from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import ROWS, at_least
from ppvae.zoo.parts import EMBEDDINGS

if TYPE_CHECKING:
    from ppvae.active import DeepKernelSurrogate
    from ppvae.gp import EmbeddedGP, FeatureMap

__all__ = ["EMBEDDINGS", "deep_gp", "deep_kernel_surrogate", "inputs_of"]


def inputs_of(x: Tensor, position: Tensor | None = None) -> Tensor:
    """Rows of a surrogate's inputs: x (N, ...) flattened, then the position (N, 2)."""
    import torch

    flat = torch.as_tensor(x).reshape(len(x), -1).to(torch.get_default_dtype())
    return flat if position is None else torch.cat([flat, torch.as_tensor(position).to(flat)], -1)


def deep_gp(
    x: Tensor,
    *,
    position: Tensor | None = None,
    embedding: str | nn.Module = "residual",
    dim: int = 6,
    components: int = 24,
    outputs: int = 1,
    features: int = 0,
    seed: int = 0,
) -> EmbeddedGP:
    """A GP on an embedding of patches, with a Matern kernel of one lengthscale per dimension.

    The lengthscales have BoTorch's log-normal prior, which grows with the dimension.

    Arguments:
        x: All patches, measured or not, with shape (N, ...).
        position: Position of each, a further input of the kernel, with shape (N, 2).
        embedding: ``residual``: principal components and a bounded network on more of them;
            ``components``: principal components alone; ``position``: the position alone; or a
            module, from flat rows of x to (N, D).
        dim: D, the dimensions of the embedding.
        components: Principal components that the network sees.
        outputs: T, numbers measured at each place.
        features: Random frequencies of the kernel; 0 for the exact GP.
        seed: Random seed of the weights; the caller's generators are restored.

    Raises:
        ArgumentError: If there is no such embedding, or no position where one is needed.
    """
    import math

    import torch
    from gpytorch.kernels import MaternKernel
    from gpytorch.priors import LogNormalPrior
    from torch import nn

    from ppvae.programs import seeded

    if isinstance(embedding, str) and embedding not in EMBEDDINGS:
        raise ArgumentError(
            f"embedding: expected one of {', '.join(EMBEDDINGS)}, or a module; got {embedding!r}. "
            "Name one: --embedding residual."
        )
    if embedding == "position" and position is None:
        raise ArgumentError(
            "embedding: expected positions for 'position'; got none. Add the column 'position'."
        )
    nets, gp = ppvae.nets, ppvae.gp
    flat = torch.as_tensor(x).reshape(len(x), -1)
    with seeded(seed):
        if isinstance(embedding, nn.Module):
            net: nn.Module = embedding
        elif embedding == "position":
            net, dim = nets.NoEmbedding(), 0
        else:
            most = min(components, *flat.shape)
            net = nets.ResidualEmbedding(flat, min(dim, most), components=most)
            dim = net.dim
            if embedding == "components":
                net = net.fixed()
        if position is not None:
            net, dim = nets.Beside(net, torch.as_tensor(position)), dim + position.shape[1]
        prior = LogNormalPrior(math.sqrt(2) + 0.5 * math.log(dim), math.sqrt(3))
        kernel = MaternKernel(nu=2.5, ard_num_dims=dim, lengthscale_prior=prior)
        kernel.initialize(lengthscale=0.8 * math.sqrt(dim))
        mapped: FeatureMap = gp.ExactFeatures(kernel, dim)
        if features:
            mapped = gp.RandomFeatures(kernel, dim, num_frequencies=features, seed=seed)
        return gp.EmbeddedGP(net, mapped, outputs=outputs)


@typed(x=ROWS, ensemble=at_least(1), steps=at_least(1), first_steps=at_least(1), seed=at_least(0))
def deep_kernel_surrogate(
    x: Tensor,
    *,
    position: Tensor | None = None,
    embedding: str | nn.Module = "residual",
    ensemble: int = 3,
    steps: int = 20,
    first_steps: int = 200,
    seed: int = 0,
    **settings: int,
) -> DeepKernelSurrogate:
    """An ensemble of deep kernels; its inputs are the rows of :func:`inputs_of`.

    Arguments:
        x: All patches, measured or not, with shape (N, ...).
        position: Position of each, a further input of the kernel, with shape (N, 2).
        embedding: As of :func:`deep_gp`; a module is copied for each member.
        ensemble: Members; 1 without a network, which has nothing random.
        steps: Optimiser steps of a fit.
        first_steps: Those of the first fit.
        seed: Random seed of the weights; the caller's generators are restored.
        settings: Further arguments of :func:`deep_gp`.

    Raises:
        ArgumentError: If an argument is out of range.
    """
    import copy

    from ppvae.active import DeepKernelSurrogate

    pairs = []
    for member in range(ensemble if embedding == "residual" else min(ensemble, 1)):
        own = embedding if isinstance(embedding, str) else copy.deepcopy(embedding)
        gp = deep_gp(x, position=position, embedding=own, seed=1000 * seed + member, **settings)
        pairs.append((ppvae.models.DeepKernel(gp), ppvae.guides.ExactWeightsGuide(gp)))
    return DeepKernelSurrogate(pairs, steps=steps, first_steps=first_steps)
