r"""Importance weights, from which the evidence is estimated.

.. math::
    w_{sn} = \sum_{y \,:\, q(y) > 0} \frac{p(x_n, z_{sn}, y)}{q(z_{sn} \mid x_n, y)}, \qquad
    \hat p(x_n) = \frac1S \sum_s w_{sn}

Sites y that the guide enumerates are summed exactly over the guide's support: where a label is
known, this is the label alone, and the weight is that of :math:`p(x_n, y_n)`.

References:
    | Importance Weighted Autoencoders (Burda, Grosse and Salakhutdinov, 2015)
    | https://arxiv.org/abs/1509.00519
"""

from __future__ import annotations

import torch
from pyro import poutine
from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.programs import DATA_PLATE, Structure, frames, inner_dims, log_prob, nodes_of

__all__ = ["log_weights"]


def log_weights(
    structure: Structure, guide_trace: poutine.Trace, model_trace: poutine.Trace, *, particles: int
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

    Raises:
        ArgumentError: If an enumerated site is in a plate within the data plate.
    """
    nesting = structure.max_plate_nesting + (particles > 1)
    drawn, scored = nodes_of(guide_trace), nodes_of(model_trace)
    parts = []
    for name in (*structure.scored, *structure.latent, *structure.auxiliary):
        site = (drawn if name in structure.auxiliary else scored)[name]
        shared = DATA_PLATE not in frames(site)
        if shared and name not in structure.enumerated:
            continue
        inner = inner_dims(site)
        value = log_prob(drawn[name] if shared else site)
        if name in structure.enumerated:
            if inner:
                raise ArgumentError(
                    f"importance weights: expected the enumerated site {name!r} in no plate but "
                    f"that of the data; got the plates {sorted(frames(site))}. Use one site for "
                    "each element."
                )
            absent = log_prob(drawn[name]) == -torch.inf
            value = torch.where(absent, -torch.inf, value)
        elif name in structure.auxiliary:
            value = -value
        elif name in structure.latent:
            value = value - log_prob(drawn[name])
        parts.append(value.sum(inner, keepdim=True) if inner else value)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    if total.dim() > nesting:
        total = total.logsumexp(tuple(range(total.dim() - nesting)))
    total = total.reshape(-1, total.size(-1))
    return total.expand(particles, total.size(-1))
