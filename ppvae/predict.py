r"""Predictions at given columns: what a fitted model expects to see, and how sure it is.

The model is run without its observed columns. For a GP prior in evaluation mode that is the
posterior predictive given the training data,

.. math::
    p(x_* \mid \mathrm{object}, \mathrm{view}, X)
        = \int p(x_* \mid z_*) \, p(z_* \mid \mathrm{object}, \mathrm{view}, X) \, dz_*

for a model conditioned on c it is :math:`p(x \mid c)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor, nn

from ppvae.contract import arguments, forked_rng
from ppvae.inference import evaluating

__all__ = ["Prediction", "predict"]


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
    chunk: int = 64,
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
        chunk: Rows predicted at a time.

    Raises:
        ValueError: If ``num_draws`` is below 2 or ``interval`` not between 0 and 1.
    """
    if num_draws < 2 or not 0 < interval < 1:
        raise ValueError(
            f"predict: expected num_draws >= 2 and an interval between 0 and 1; got {num_draws}, "
            f"{interval}. Use 200 and 0.9."
        )
    known = {name: column for name, column in columns.items() if name != site}
    rows = len(next(iter(known.values())))
    tail = torch.tensor([(1 - interval) / 2, (1 + interval) / 2])
    parts: list[list[Tensor]] = []
    with forked_rng(*known.values()), evaluating(model):
        torch.manual_seed(seed)
        for start in range(0, rows, chunk):
            given = {name: column[start : start + chunk] for name, column in known.items()}
            means, variances, draws = [], [], []
            for _ in range(num_draws):
                trace = poutine.trace(model).get_trace(**arguments(model, given))
                node: Any = trace.nodes[site]
                means.append(node["fn"].mean)
                variances.append(node["fn"].variance)
                draws.append(node["value"])
            mean, noise = torch.stack(means), torch.stack(variances).mean(0)
            drawn = torch.stack(draws)
            ends = torch.quantile(drawn.flatten(1), tail.to(drawn), dim=0)
            latent = mean.var(0)
            part = [mean.mean(0), (latent + noise).sqrt(), latent.sqrt()]
            part += [end.reshape(mean.shape[1:]) for end in ends]
            parts.append([*part, drawn] if keep_draws else part)
    joined = [
        torch.cat(pieces, 1 if i == 5 else 0) for i, pieces in enumerate(zip(*parts, strict=True))
    ]
    return Prediction(*joined)
