r"""Evidence that a classifier uses: images moved, in latent space, from one class to another.

Starting at a datum's latent, each step climbs the classifier's log odds of the target class
against the datum's own,

.. math::
    z_{t+1} = z_t + \epsilon \, \frac{\nabla_z r(z_t)}{\|\nabla_z r(z_t)\|}, \qquad
    r(z) = \log p(y = \mathrm{to} \mid x(z)) - \log p(y = \mathrm{from} \mid x(z)),

with x(z) the decoded mean. The features that change along the path are those that the classifier
uses, as far as the decoder can represent them. All steps have the same length.

References:
    | Explanation by Progressive Exaggeration (Singla et al., 2020)
    | https://arxiv.org/abs/1911.00483 (which trains a conditional GAN for the paths; here they are
    | gradient paths in the latent space of any model)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppvae.errors import ArgumentError

__all__ = ["Exaggeration", "exaggerate"]


@dataclass(frozen=True)
class Exaggeration:
    """Paths of N data over S steps, including the start.

    Attributes:
        latents: Latents along the paths, with shape (S + 1, N, Z).
        images: Decoded means, with shape (S + 1, N, ...).
        probabilities: Probability of the target class, with shape (S + 1, N).
    """

    latents: Tensor
    images: Tensor
    probabilities: Tensor


def exaggerate(
    decode: Callable[[Tensor], Tensor],
    classify: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    source: int,
    target: int,
    steps: int = 8,
    length: float = 0.25,
) -> Exaggeration:
    """Move latents from one class towards another, step by step.

    Arguments:
        decode: Differentiable function from z, with shape (N, Z), to x, with shape (N, ...), such
            as ``lambda z: model.decoder(z).mean``.
        classify: Differentiable function from x to the logits of the classes, with shape (N, K).
        start: Initial z, with shape (N, Z), such as posterior means of data of class ``source``.
        source: Class to leave.
        target: Class to reach.
        steps: Number of steps S.
        length: Length of one step, in standard deviations of the prior.

    Raises:
        ArgumentError: If an argument is out of range, or if the decoded x, or the classifier, does
            not depend on z.
    """
    if start.dim() != 2:
        raise ArgumentError(
            f"start: expected latents (N, Z); got {tuple(start.shape)}. Pass a batch, such as "
            "start[None]."
        )
    if steps < 1 or not length > 0:
        raise ArgumentError(
            f"exaggerate: expected steps >= 1 and length > 0; got {steps} and {length}. "
            "Use 8 and 0.25."
        )
    latents, images, probabilities = [], [], []
    z = start.detach()
    for step in range(steps + 1):
        z = z.clone().requires_grad_()
        with torch.enable_grad():
            x = decode(z)
            log_prob = classify(x).log_softmax(-1)
            _check_classes(log_prob, source, target)
            odds = log_prob[:, target] - log_prob[:, source]
        latents.append(z.detach())
        images.append(x.detach())
        probabilities.append(log_prob[:, target].detach().exp())
        if step < steps:
            z = z.detach() + length * _direction(odds, z)
    return Exaggeration(torch.stack(latents), torch.stack(images), torch.stack(probabilities))


def _direction(odds: Tensor, z: Tensor) -> Tensor:
    """Unit vectors along the gradient of each datum's odds."""
    if not odds.requires_grad:
        raise ArgumentError(
            "exaggerate: expected decode and classify to pass gradients; the odds have none. "
            "Take torch.no_grad and .detach out of both."
        )
    (gradient,) = torch.autograd.grad(odds, z, torch.ones_like(odds))
    return gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def _check_classes(log_prob: Tensor, source: int, target: int) -> None:
    count = log_prob.size(-1)
    if log_prob.dim() != 2 or not (0 <= source < count and 0 <= target < count):
        raise ArgumentError(
            f"classes: expected source and target among the {count} of the logits (N, K); got "
            f"{source} and {target}, logits {tuple(log_prob.shape)}. Count from 0."
        )
    if source == target:
        raise ArgumentError(f"classes: expected two; got {source} twice. Choose another target.")
