r"""Predictions at given columns: what a fitted model expects to see, and how sure it is.

The model is run without its observed columns. For a GP prior in evaluation mode that is the
posterior predictive given the training data,

.. math::
    p(x_* \mid \mathrm{object}, \mathrm{view}, X)
        = \int p(x_* \mid z_*) \, p(z_* \mid \mathrm{object}, \mathrm{view}, X) \, dz_*

for a model conditioned on c it is :math:`p(x \mid c)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from ppvae.errors import ArgumentError
from ppvae.programs import arguments, evaluating, seeded

__all__ = ["Prediction", "predict", "predictive_log_likelihood"]

# Elements of an observed site decoded at once, over draws and rows.
BUDGET = 2**21


@dataclass(frozen=True)
class Prediction:
    """Of one observed site.

    Attributes:
        mean: :math:`E[x_*]`, with shape (N, ...).
        scale: The standard deviation of :math:`x_*`, the likelihood's noise included, (N, ...).
        latent_scale: The part of it that the latents leave, without the noise, (N, ...).
        lower: The lower end of the central interval, (N, ...).
        upper: The upper end of the central interval, (N, ...).
        draws: Replicates of :math:`x_*`, with shape (S, N, ...), if asked for.
    """

    mean: Tensor
    scale: Tensor
    latent_scale: Tensor
    lower: Tensor
    upper: Tensor
    draws: Tensor | None = None


@torch.no_grad()
def predict(
    model: nn.Module,
    columns: Mapping[str, Tensor],
    *,
    site: str = "x",
    num_draws: int = 200,
    interval: float = 0.9,
    keep_draws: bool = False,
    seed: int = 0,
) -> Prediction:
    """Predict an observed site at known columns.

    Arguments:
        model: The generative program; run in evaluation mode.
        columns: What is known, such as ``object`` and ``view``, each with shape (N, ...).
        site: The observed site.
        num_draws: S, draws a datum.
        interval: Probability of the central interval from ``lower`` to ``upper``.
        keep_draws: Return the draws.
        seed: Of the draws; the caller's generators are left as they were.

    Raises:
        ArgumentError: If ``num_draws`` is below 2 or ``interval`` not between 0 and 1.
    """
    if num_draws < 2 or not 0 < interval < 1:
        raise ArgumentError(
            f"predict: expected num_draws >= 2 and an interval between 0 and 1; got {num_draws}, "
            f"{interval}. Use 200 and 0.9."
        )
    known = {name: column for name, column in columns.items() if name != site}
    tail = torch.tensor([(1 - interval) / 2, (1 + interval) / 2])
    parts: list[list[Tensor]] = []
    for fn, drawn in _draws(model, known, site, num_draws, seed):
        mean, variance = (value.reshape(drawn.shape) for value in (fn.mean, fn.variance))
        noise = variance.mean(0)
        ends = torch.quantile(drawn.flatten(1), tail.to(drawn), dim=0)
        latent = mean.var(0)
        part = [mean.mean(0), (latent + noise).sqrt(), latent.sqrt()]
        part += [end.reshape(mean.shape[1:]) for end in ends]
        parts.append([*part, drawn] if keep_draws else part)
    joined = [
        torch.cat(pieces, 1 if i == 5 else 0) for i, pieces in enumerate(zip(*parts, strict=True))
    ]
    return Prediction(*joined)


@torch.no_grad()
def predictive_log_likelihood(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    *,
    site: str = "x",
    num_draws: int = 200,
    seed: int = 0,
) -> Tensor:
    r""":math:`\log p(x_* \mid \mathrm{columns})` of data that were not used, a datum.

    .. math::
        \log \frac1S \sum_s p(x_* \mid z_s), \qquad z_s \sim p(z_* \mid \mathrm{columns})

    Without an encoder: for a GP prior the predictive density at an unseen view.

    Arguments:
        model: The generative program; run in evaluation mode.
        batch: The observed column, with shape (N, ...), and the known ones.
        site: The observed site.
        num_draws: S.
        seed: Of the draws; the caller's generators are left as they were.

    Returns:
        In nats a datum, with shape (N).
    """
    parts = [
        fn.log_prob(value).reshape(num_draws, -1).logsumexp(0) - math.log(num_draws)
        for fn, value in _draws(model, batch, site, num_draws, seed)
    ]
    return torch.cat(parts)


def _draws(
    model: nn.Module, columns: Mapping[str, Tensor], site: str, num_draws: int, seed: int
) -> Iterator[tuple[Any, Tensor]]:
    """The site's distribution, with batch shape (S, ..., N'), and its value, for N' rows a time.

    The value is the data's, (N', ...), where ``columns`` has it, else drawn, (S, N', ...).
    """
    rows = len(next(iter(columns.values())))
    with seeded(seed, *columns.values()), evaluating(model):
        one = {name: column[:1] for name, column in columns.items()}
        nodes: dict[str, Any] = poutine.trace(model).get_trace(**arguments(model, one)).nodes
        frames = [f for node in nodes.values() for f in node.get("cond_indep_stack", ())]
        nesting = max(-frame.dim for frame in frames)
        event = nodes[site]["fn"].event_shape
        chunk = max(1, BUDGET // (num_draws * max(1, event.numel())))
        for start in range(0, rows, chunk):
            some = {name: column[start : start + chunk] for name, column in columns.items()}
            with pyro.plate("draws", num_draws, dim=-1 - nesting):
                node: Any = poutine.trace(model).get_trace(**arguments(model, some)).nodes[site]
            value = node["value"]
            if site not in some:
                value = value.reshape(num_draws, -1, *event)
            yield node["fn"], value
