r"""Importance weights, from which the evidence is estimated.

.. math::
    w_{sn} = \sum_{y \,:\, q(y) > 0} \frac{p(x_n, z_{sn}, y)}{q(z_{sn} \mid x_n, y)}, \qquad
    \hat p(x_n) = \frac1S \sum_s w_{sn}

Sites y that the guide enumerates are summed exactly over the guide's support: where a label is
known, this is the label alone, and the weight is that of :math:`p(x_n, y_n)`. An enumerated
auxiliary site a, such as the component of a mixture, is not the model's: its probability cancels
against its density, and the sum is over :math:`p(x, z_a) \, r(a \mid z_a) / q(z_a \mid x, a)`.

References:
    | Importance Weighted Autoencoders (Burda, Grosse and Salakhutdinov, 2015)
    | https://arxiv.org/abs/1509.00519
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from pyro import poutine
from torch import Tensor

from ppvae.programs import (
    DATA_PLATE,
    Structure,
    frames,
    inner_dims,
    log_prob,
    log_probability,
    nodes_of,
)

__all__ = ["log_weights"]


def log_weights(
    structure: Structure,
    guide_trace: poutine.Trace,
    model_trace: poutine.Trace,
    *,
    particles: int,
    scores: Mapping[str, Tensor] = MappingProxyType({}),
) -> Tensor:
    r""":math:`\log w`, with shape (S, N).

    A latent outside the data plate is drawn from its posterior and not weighted, or summed over
    with the probabilities of its posterior: the mean of the weights is then the density of a datum
    given the training data.

    Arguments:
        structure: Structure of the pair.
        guide_trace: Trace of the guide, run on N data.
        model_trace: Trace of the model, replayed against it.
        particles: Number of draws S, in the plate of particles if above one.
        scores: Log-densities of observed sites that are known, with the shapes of
            :func:`~ppvae.programs.log_prob`.
    """
    drawn, scored = nodes_of(guide_trace), nodes_of(model_trace)
    # By the plates within that of the data: sums over classes are taken within them.
    parts: dict[frozenset[int], list[Tensor]] = {frozenset(): []}
    summed: dict[frozenset[int], list[int]] = {}
    for name in (*structure.scored, *structure.latent, *structure.auxiliary):
        site = (drawn if name in structure.auxiliary else scored)[name]
        shared = DATA_PLATE not in frames(site)
        if shared and name not in structure.enumerated:
            continue
        plates = frozenset(inner_dims(site))
        value = scores.get(name)
        if value is None:
            value = log_probability(drawn[name]) if shared else log_prob(site)
        if name in structure.enumerated:
            weight, counted = log_probability(drawn[name]), log_prob(drawn[name])
            if name in structure.auxiliary and not shared:
                value = torch.zeros_like(value)  # log q - log q, the latter as in the density.
            if not shared:  # Where a mask leaves out log q, the probabilities are still q's.
                value = value + torch.where(weight == counted, torch.zeros_like(weight), weight)
            value = torch.where(weight == -torch.inf, -torch.inf, value)
            summed.setdefault(plates, []).append(drawn[name]["infer"]["_enumerate_dim"])
        elif name in structure.auxiliary:
            value = -value
        elif name in structure.latent:
            value = value - log_prob(drawn[name])
        parts.setdefault(plates, []).append(value)
    total = _contracted(parts, summed)
    total = total.reshape(-1, total.size(-1))
    return total.expand(particles, total.size(-1))


def _contracted(
    parts: dict[frozenset[int], list[Tensor]], summed: Mapping[frozenset[int], list[int]]
) -> Tensor:
    """Sum over classes within their plates, then over the plates, the innermost first."""
    for plates in sorted(parts, key=len, reverse=True):
        total = parts[plates][0]
        for part in parts[plates][1:]:
            total = total + part
        dims = [dim for dim in summed.get(plates, ()) if total.dim() >= -dim]
        if dims:
            total = total.logsumexp(dims, keepdim=True)
        if plates:
            outer = max((others for others in parts if others < plates), key=len)
            parts[outer].append(total.sum(tuple(plates - outer), keepdim=True))
    return total
