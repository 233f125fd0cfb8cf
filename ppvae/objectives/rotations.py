r"""A search over all rotations, for the time in which an encoder cannot know any.

What an object looks like and how each picture of it is turned are learned together, and a network
that moves its answer continuously gets stuck: every picture explained half a turn away. Pictures
of the model at K rotations, spread over the group, are compared with all data at once,

.. math::
    \ell_{nk} = - \frac{\|x_n - E[x \mid z_c, R_k]\|^2}{2 \tau V}, \qquad
    r_{nk} = \mathrm{softmax}_{k, c} \left(\ell_{nk} + \log \frac{q(z_c \mid x_n)}
        {\bar q(z_c)}\right)

with V the variance of the data and a width :math:`\tau` that narrows. The decoder is moved to the
pictures, the guide to the rotations,

.. math::
    \lambda \frac1N \sum_n \left[ - \tau \sum_k r_{nk} \ell_{nk} - \log q(R_{k_n} \mid x_n)
    - \log q(R_{j_n} \mid \hat x_{j_n}) \right], \qquad k_n \sim r_n

and, in the last term, to those of pictures :math:`\hat x` of the model's own: the M-step of
expectation maximisation, and the wake and the sleep phase of wake-sleep. It is no part
of a bound on the evidence, and is turned off when the guide knows its way.

References:
    | A Bayesian View on Cryo-EM Structure Determination (Scheres, 2012)
    | https://doi.org/10.1016/j.jmb.2011.11.010
    | Reweighted Wake-Sleep (Bornschein and Bengio, 2015), https://arxiv.org/abs/1406.2751
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppvae.borders import typed
from ppvae.distributions import RotationUniform
from ppvae.distributions.rotations import spread_rotations
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.objectives.schedules import Linear, Schedule, as_schedule, zero_from
from ppvae.objectives.terms import Context, Term
from ppvae.programs import nodes_of, sample_sites, trace_program

__all__ = ["RotationSearch"]


class RotationSearch(Term):
    r""":math:`\lambda(t)` times the search's loss, in a model with the site ``rotation``.

    Arguments:
        rotations: K, of the pictures; spread evenly, and turned at random in each step.
        contents: C, of the batch's data, whose other latents the pictures are drawn with.
        widths: :math:`\tau` at first and in the end; it falls geometrically.
        steps: Optimiser steps over which it falls.
        weight: :math:`\lambda`, a number or a schedule.

    Raises:
        ArgumentError: If a number is out of range; when called, if the pair has no site
            ``rotation``, or other sites that are enumerated.
    """

    grid: Tensor

    @typed(rotations=at_least(1), contents=at_least(1), steps=at_least(1), weight=at_least(0))
    def __init__(
        self,
        rotations: int = 384,
        *,
        contents: int = 1,
        widths: tuple[float, float] = (0.15, 0.005),
        steps: int = 1000,
        weight: float | Schedule = 1.0,
    ) -> None:
        super().__init__()
        if rotations < 1 or contents < 1 or not 0 < min(widths) <= max(widths) < math.inf:
            raise ArgumentError(
                f"RotationSearch: expected rotations and contents of at least 1, and widths above "
                f"0; got {rotations}, {contents} and {widths}. Use the defaults."
            )
        self.name = "rotation_search"
        self.contents = contents
        self.log_width = Linear(math.log(widths[0]), math.log(widths[1]), steps)
        self.weight = as_schedule(weight)
        self.register_buffer("grid", spread_rotations(rotations), persistent=False)

    @property
    def idle_from(self) -> int | None:
        """The end of the ramp, if the weight is one to zero."""
        return zero_from(self.weight)

    def forward(self, context: Context) -> Tensor:
        x = context.batch["x"]
        if not context.model.training:
            return x.new_zeros(())
        others = self._others(context)
        contents = min(self.contents, len(x))
        turned = RotationUniform(like=self.grid).sample() @ self.grid
        pictures = self._pictures(context, others, contents, turned)
        log_fit, width = self._log_fit(x, pictures, context.step)
        log_fit = log_fit.unflatten(-1, (contents, len(turned)))  # (N, C, K)
        with torch.no_grad():
            score = log_fit
            for name in others if contents > 1 else ():
                score = score + _preference(context.q[name], _row(context, name, contents))
            share = score.flatten(1).softmax(-1)
            chosen = torch.multinomial(share, 1)[:, 0] % len(turned)
        fit = -width * (share * log_fit.flatten(1)).sum(-1)
        learned = _log_density(context.q, turned[chosen]) + self._dreamt(context, pictures, turned)
        loss = (fit - learned).mean()
        return self.weight(context.step).to(loss) * loss

    def _dreamt(self, context: Context, pictures: Tensor, turned: Tensor) -> Tensor:
        """The guide's log-density of the rotations that made pictures of the model: (N)."""
        x = context.batch["x"]
        chosen = torch.randint(len(pictures), (len(x),), device=x.device)
        columns = {**context.batch, "x": pictures.detach()[chosen].reshape(x.shape)}
        trace = trace_program(context.guide, columns, context.structure)
        q = {name: node["fn"] for name, node in sample_sites(trace).items()}
        return _log_density(q, turned[chosen % len(turned)])

    def _others(self, context: Context) -> list[str]:
        """The latent sites beside the rotation and its mode."""
        wrong = [name for name in context.enumerated if name != "turn"]
        if "rotation" not in context.q or wrong or context.q["rotation"].event_shape != (3, 3):
            raise ArgumentError(
                "RotationSearch: expected a site 'rotation' of matrices (3, 3), and no other "
                f"enumerated sites than 'turn'; got {list(context.q)}, enumerated "
                f"{list(context.enumerated)}. Leave the term out."
            )
        return [name for name in context.q if name not in ("rotation", "turn")]

    def _pictures(
        self, context: Context, others: list[str], contents: int, turned: Tensor
    ) -> Tensor:
        """Means of x, content by content, rotation by rotation: (C K, D)."""
        count = len(turned)
        given = {
            name: _row(context, name, contents).repeat_interleave(count, 0) for name in others
        }
        given["rotation"] = turned.repeat(contents, 1, 1)
        given["turn"] = torch.zeros(contents * count, dtype=torch.long, device=turned.device)
        columns: dict[str, Tensor | int] = {
            name: value[:contents].repeat_interleave(count, 0)
            for name, value in context.batch.items()
            if name != "x"
        }
        columns["size"] = contents * count
        trace = trace_program(context.model, columns, given=given)
        return nodes_of(trace)["x"]["fn"].mean.flatten(1)

    def _log_fit(self, x: Tensor, pictures: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`\ell` (N, C K) and :math:`\tau` (); what is missing does not count."""
        rows = x.flatten(1)
        seen = (~rows.isnan()).to(rows)
        rows = rows.nan_to_num()
        count = seen.sum(0).clamp_min(1)
        spread = (seen * (rows - (seen * rows).sum(0) / count).square()).sum(1).mean()
        square = (seen * rows.square()).sum(1, keepdim=True)
        apart = square - 2 * (seen * rows) @ pictures.mT + seen @ pictures.mT.square()
        width = self.log_width(step).exp().to(rows)
        return -apart / (2 * width * spread.clamp_min(torch.finfo(rows.dtype).tiny)), width


def _row(context: Context, name: str, contents: int) -> Tensor:
    """Values of a latent site of the first data: (C, ...)."""
    value, event = context.values[name], context.q[name].event_dim
    return value.reshape(-1, *value.shape[value.dim() - event - 1 :])[0, :contents]


def _preference(q: TorchDistribution, value: Tensor) -> Tensor:
    """How much likelier each content is given a datum than on average: (N, C, 1)."""
    with torch.no_grad():
        # The first of each enumerated mode.
        log_q = q.log_prob(value.reshape(len(value), *[1] * len(q.batch_shape), *q.event_shape))
        log_q = log_q.reshape(len(value), -1, q.batch_shape[-1])[:, 0]
        return (log_q - log_q.logsumexp(1, keepdim=True)).mT.unsqueeze(-1)


def _log_density(q: Mapping[str, TorchDistribution], rotation: Tensor) -> Tensor:
    """Of the guide at one rotation for each datum, its modes summed: (N, 3, 3) to (N)."""
    log_q: Tensor = q["rotation"].log_prob(rotation)
    if "turn" not in q:
        return log_q
    way = q["turn"].logits.log_softmax(-1)
    return (log_q.reshape(-1, len(rotation)).mT + way).logsumexp(-1)
