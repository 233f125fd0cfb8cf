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

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from pyro import poutine
from torch import Tensor

from ppvae.errors import ContractError
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
    classes = {dim: plates for plates, dims in summed.items() for dim in dims}
    total = _contracted(parts, classes)
    total = total.reshape(-1, total.size(-1))
    return total.expand(particles, total.size(-1))


def _contracted(
    parts: dict[frozenset[int], list[Tensor]], classes: Mapping[int, frozenset[int]]
) -> Tensor:
    """Sum over classes within their plates, then over the plates, the innermost first.

    Arguments:
        parts: Log-densities by the plates within that of the data.
        classes: The plates of each enumerated dimension.
    """
    while plates := max(parts, key=len):
        for total in _joined(parts.pop(plates), [d for d in classes if classes[d] == plates]):
            # The plates of the classes that are still to be summed over remain.
            outer = frozenset[int]().union(*(classes[d] for d in classes if _has(total, d)))
            if not outer < plates:
                raise ContractError(
                    "log_likelihood: expected no site in several plates that depends on classes "
                    "enumerated in one of them and on classes enumerated in another; got one, for "
                    "which all combinations of the classes would have to be summed. Sample the "
                    "entries of one plate in a loop, each as a site of its own."
                )
            parts.setdefault(outer, []).append(total.sum(tuple(plates - outer), keepdim=True))
    (total,) = _joined([_sum(parts[frozenset()])], [d for d in classes if not classes[d]])
    return total


def _joined(parts: Sequence[Tensor], dims: Sequence[int]) -> list[Tensor]:
    """The parts, those added up that share one of the classes, which are then summed over."""
    for dim in dims:
        apart = [part for part in parts if not _has(part, dim)]
        together = [part for part in parts if _has(part, dim)]
        parts = [*apart, _sum(together)] if together else apart
    own = [[dim for dim in dims if part.dim() >= -dim] for part in parts]
    return [
        part.logsumexp(over, keepdim=True) if over else part
        for part, over in zip(parts, own, strict=True)
    ]


def _sum(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _has(value: Tensor, dim: int) -> bool:
    """Whether a value depends on a class."""
    return value.dim() >= -dim and value.size(dim) > 1
