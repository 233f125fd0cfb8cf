"""What evaluations, validation among them, make of a pair, checked before the first step."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ppvae.programs import evaluating, forked, trace_program
from ppvae.programs.sites import Site
from ppvae.programs.traces import expect_whole, sample_sites

__all__ = ["check_evaluated"]

logger = logging.getLogger(__name__)


def check_evaluated(
    model: nn.Module, guide: nn.Module, batch: Mapping[str, Tensor], *, validated: bool
) -> None:
    """Run a pair in evaluation mode; say what it is trained with that evaluations leave out.

    Arguments:
        model: The generative program.
        guide: The variational program.
        batch: Columns by name, each with shape (N, ...), on which the pair was checked.
        validated: Whether there are validation data.

    Raises:
        ContractError: If a plate has a random part of its entries in evaluation mode, too.
    """
    with torch.no_grad(), evaluating(model, guide), forked(*batch.values()):
        guide_trace = trace_program(guide, batch)
        model_trace = trace_program(model, batch, replay=guide_trace)
    for trace in (guide_trace, model_trace):
        expect_whole(trace)
    weighed = [name for name, site in sample_sites(model_trace).items() if _is_weighed(site)]
    if validated and weighed:
        logger.warning(
            f"poutine.scale: the rows have different weights at the sites {weighed} in the loss, "
            "but equal ones in val_elbo, by which patience and restore_best choose the weights of "
            "the networks, and in evaluations. Validate on rows drawn in proportion to their "
            "weights, if these are to count there, too."
        )


def _is_weighed(site: Site) -> bool:
    """Whether entries of a site have different scales, as rows do that are weighed."""
    scale = site["scale"]
    return isinstance(scale, Tensor) and bool((scale != scale.flatten()[0]).any())
