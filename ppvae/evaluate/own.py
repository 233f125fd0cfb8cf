"""Observed sites whose distribution is computed from the data of the site itself.

Such is a decoder that is given the elements before each element (teacher forcing), or the total of
each datum. Its replicates are drawn given these data, and so lie closer to them than the model's
own would.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ppvae.data import Dataset
from ppvae.distributions import Counts
from ppvae.evaluate.sites import Sites, sites_of
from ppvae.programs import batches, evaluating, forked, placement, trace_program
from ppvae.programs.densities import base_of
from ppvae.programs.sites import Site, nodes_of
from ppvae.runs.run import Run

__all__ = ["say_given_own_data"]

logger = logging.getLogger(__name__)

# Draws that are compared: two close probabilities seldom have different ones.
DRAWS = 32


def say_given_own_data(run: Run, data: Dataset) -> None:
    """Warn, in the log, of sites whose replicates are drawn given data of their own.

    Left out are :class:`~ppvae.distributions.Counts`, whose replicates have the datum's own
    library, as documented.

    Arguments:
        run: Its model and guide; their modes and the caller's generators are as before afterwards.
        data: Data, of which two rows are used.
    """
    batch = next(batches(run.guide, data, 2))
    if len(next(iter(batch.values()))) < 2:
        return
    with evaluating(run.model, run.guide), forked(placement(run.model), placement(run.guide)):
        sites = sites_of(run, batch)
        named = [name for name in sites.targets if _is_given_own(run, batch, sites, name)]
    if named:
        logger.warning(
            "replicates of %s: drawn given the data of the same site, from which the model "
            "computes its distribution (earlier elements, or a total). They lie closer to the "
            "data than draws of the model alone, which need a loop of your own over the elements.",
            ", ".join(map(repr, named)),
        )


def _is_given_own(run: Run, batch: dict[str, Tensor], sites: Sites, site: str) -> bool:
    """Whether a site has other draws at equal latents where its column has another row's data."""
    column = sites.columns.get(site)
    if column is None or _missing(batch[column]):
        return False
    guide, drawn = trace_program(run.guide, batch), []
    for values in (batch[column], batch[column].flip(0)):
        with forked(placement(run.model), placement(run.guide), seed=0):
            try:
                trace = trace_program(run.model, {**batch, column: values}, replay=guide)
                drawn.append(_draws(nodes_of(trace)[site]))
            except Exception:
                return False  # Rows of which the model takes no others, or no draws.
    one, other = drawn
    if one is None or other is None or one.shape != other.shape:
        return False
    size = float(one.nan_to_num().abs().max()) if one.numel() else 0.0
    return not torch.allclose(one, other, rtol=1e-4, atol=1e-6 * size, equal_nan=True)


def _draws(node: Site) -> Tensor | None:
    fn = node["fn"]
    if isinstance(base_of(fn), Counts):
        return None
    with forked(node["value"].device, seed=0):
        return torch.stack([fn().detach().double() for _ in range(DRAWS)])


def _missing(values: Tensor) -> bool:
    missing = values.isnan() if values.is_floating_point() else values == -1
    return bool(missing.any())
