"""A number that tells whether a model and a guide compute what they did when a run was saved.

Weights say nothing of layers without weights, of numbers that are no parameters, or of the code.
The ELBO of made-up rows, with fixed random numbers on the CPU, depends on all of them.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ppvae.data import Dataset
from ppvae.errors import ArgumentError
from ppvae.objectives import ELBO
from ppvae.programs import batch_for, copied, evaluating, seeded

if TYPE_CHECKING:
    from ppvae.runs.run import Run

__all__ = ["compare_probe", "differ", "made_up_rows", "probe"]

# Number of rows, and the largest difference of two computations of the ELBO, as a share.
ROWS, ROUNDING = 5, 1e-3
# Numbers in one column of a probe; the shapes are in a file that a stranger may have written.
LARGEST = 2**24

logger = logging.getLogger(__name__)


def made_up_rows(run: Run) -> Dataset:
    """Random rows with the shapes of the training data, always the same.

    Arguments:
        run: The run, whose config describes its columns.

    Raises:
        ArgumentError: If it does not.
    """
    spec = (run.config.get("data") or {}).get("columns") or {}
    if not spec:
        raise ArgumentError(
            "data: expected rows, as the run does not record its columns; got none. Pass data=."
        )
    generator = torch.Generator().manual_seed(0)
    drawn: dict[str, Tensor] = {}
    for name, facts in spec.items():
        shape = (ROWS, *facts["shape"])
        if facts.get("classes"):
            drawn[name] = torch.arange(ROWS).remainder(int(facts["classes"]))
        elif facts["dtype"].startswith("float"):
            drawn[name] = torch.rand(shape, generator=generator)
        else:
            drawn[name] = torch.randint(0, 2, shape, generator=generator)
    return Dataset(drawn)


def probe(run: Run) -> float | None:
    """The ELBO of made-up rows in nats per datum; None if the pair cannot take them.

    Arguments:
        run: Its model and guide, which stay as they are.
    """
    spec = (run.config.get("data") or {}).get("columns") or {}
    try:
        if any(ROWS * math.prod(facts["shape"]) > LARGEST for facts in spec.values()):
            return None
        rows = made_up_rows(run)
        # On the CPU, as other devices draw other random numbers.
        model, guide = (module.cpu() for module in copied((run.model, run.guide)))
        plain = ELBO()(model, guide, num_data=run.num_data or ROWS)
        plain.unscaled = True
        with torch.no_grad(), evaluating(model, guide), seeded(0):
            value = float(plain(batch_for(guide, rows)).elbo.mean())
    except Exception as error:  # Such as that of a program not written for such rows.
        logger.debug("probe: %s", error)
        return None
    return value if math.isfinite(value) else None


def differ(found: float, expected: float) -> bool:
    """Whether two computations of an ELBO differ by more than rounding.

    Arguments:
        found: The one, in nats per datum.
        expected: The other.
    """
    return abs(found - expected) > ROUNDING * max(1.0, abs(expected))


def compare_probe(run: Run) -> None:
    """Warn in the log if a loaded run computes something else than the one that was saved.

    Arguments:
        run: The run, with its weights; its config holds what :func:`probe` returned.
    """
    expected = run.config.get("probe")
    found = None if expected is None else probe(run)
    if expected is not None and found is not None and differ(found, expected):
        logger.warning(
            "load: the model or the guide is not that of the run: its weights fit, but give an "
            f"ELBO of {found:.6g} where they gave {expected:.6g}, of the same made-up rows. A "
            "layer without weights, a number that is no parameter or the code differs; build "
            "them as they were."
        )
