r"""The null model: the log-likelihood of a likelihood without any latent.

.. math::
    \log p_0(x) = \sum_i \log p(x_i; \hat\theta_i), \qquad
    \hat\theta_i = \arg\max_\theta \sum_{n \text{ in training}} \log p(x_{ni}; \theta)

Each element has a separate marginal of the model's family, fitted to the training rows; for
counts with a library, the mean is library times share, with a dispersion per feature. A model with
an ELBO below this value has learned nothing useful.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.data.mapped import ColumnsLike
from ppvae.errors import DataError
from ppvae.evaluate.rows import spaced
from ppvae.evaluate.sites import sites_of
from ppvae.expected import at_least
from ppvae.nets import Calibrated, Head, heads
from ppvae.programs import nodes_of, trace_program
from ppvae.programs.densities import element_of
from ppvae.runs.run import Run

__all__ = ["Likelihood", "likelihood_head", "likelihood_of", "null_log_likelihood"]

# Elements of the training rows that the null model is fitted to.
BUDGET = 2**23


def likelihood_head(model: nn.Module, event_shape: tuple[int, ...]) -> Head | None:
    """The head of a model that scores data of this shape, if there is one."""
    for module in model.modules():
        if not isinstance(module, Head) or isinstance(module, heads.Raw):
            continue
        if module.event_shape == tuple(event_shape):
            return module
    return None


@dataclass(frozen=True)
class Likelihood:
    """What a pair scores its data by.

    Attributes:
        column: The observed column.
        head: The head that gives the distribution of the observed site.
    """

    column: str
    head: Head


def likelihood_of(run: Run, batch: Mapping[str, Tensor]) -> Likelihood | None:
    """The likelihood of a pair with one observed site, which is observed at a column's values.

    None where there are several sites, or where the site's distribution is not of the family of
    the model's head, such as a head of which only the mean is used.

    Arguments:
        run: Its model and guide.
        batch: Columns by name.
    """
    sites = sites_of(run, batch)
    if len(sites.targets) != 1 or sites.computed or not sites.columns:
        return None
    (site,) = sites.targets
    head = likelihood_head(run.model, sites.structure.event_shapes[site])
    if head is None:
        return None
    families: set[type] = set()
    handles = [
        module.register_forward_hook(lambda *call: families.add(type(element_of(call[2]))))
        for module in run.model.modules()
        # The calibrated form of a head has a family of its own, of the head's mean.
        if module is head or (isinstance(module, Calibrated) and module.decoder.head is head)
    ]
    try:
        trace = trace_program(run.model, batch, replay=trace_program(run.guide, batch))
    finally:
        for handle in handles:
            handle.remove()
    same = type(element_of(nodes_of(trace)[site]["fn"])) in families
    return Likelihood(sites.columns[site], head) if same else None


@typed(max_rows=at_least(1))
@torch.no_grad()
def null_log_likelihood(
    model: nn.Module,
    train: ColumnsLike,
    data: ColumnsLike,
    *,
    column: str = "x",
    max_rows: int | None = 1000,
) -> float | None:
    """Mean log-likelihood of data under the null model, in nats per datum.

    Arguments:
        model: Model that gives the family of the likelihood.
        train: Training data that the null model is fitted to: evenly spaced rows with at most
            eight million elements.
        data: Data to score.
        column: The observed column.
        max_rows: Rows of ``data`` that are scored, evenly spaced; None for all.

    Returns:
        The mean, or None where the model has no head with a null model for such data.

    Raises:
        DataError: If there is no such column in both, or the model's family has no such values.
    """
    shape = tuple(spaced(train, column, 1)[column].shape[1:])
    head = likelihood_head(model, shape)
    if head is None:
        return None
    rows = spaced(train, column, max(1, BUDGET // max(1, math.prod(shape))))
    fn = head.marginal(rows.batch(slice(None))[column].cpu())
    if fn is None:
        return None
    scored = spaced(data, column, max_rows)
    total = 0.0
    for part in torch.arange(scored.num_rows).split(256):
        x = scored.batch(part)[column].cpu()
        try:
            total += float(fn.log_prob(x).double().sum())
        except ValueError as error:
            raise DataError(
                f"data: expected {column!r} with shape {shape} per datum and values in the "
                f"support of the likelihood, none missing; got shape {tuple(x.shape[1:])} "
                f"({str(error).splitlines()[0][:120]}). Score data like the training data."
            ) from error
    return total / scored.num_rows
