"""What the entries with mutual-information terms share: estimators by name, and metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ppvae.data import Splits
from ppvae.inference import evaluating, placement
from ppvae.objectives import (
    MINE,
    NWJ,
    SMILE,
    DonskerVaradhan,
    Estimator,
    InfoNCE,
    MutualInformation,
    critic_between,
)
from ppvae.run import Run

__all__ = ["CRITICS", "ESTIMATORS", "information_metrics", "information_term"]

ESTIMATORS: dict[str, Callable[[], Estimator]] = {
    "mine": MINE,
    "donsker-varadhan": DonskerVaradhan,
    "infonce": InfoNCE,
    "nwj": NWJ,
    "smile": SMILE,
}
CRITICS = ("separable", "joint")
MEASURED = 1024


def information_term(
    sites: tuple[str, str],
    shapes: tuple[Sequence[int], Sequence[int]],
    *,
    estimator: str,
    critic: str,
    weight: float,
) -> MutualInformation:
    """The term between two sites of these shapes, by the names on the command line."""
    made = critic_between(*shapes, form="joint" if critic == "joint" else "separable")
    return MutualInformation(*sites, made, estimator=ESTIMATORS[estimator](), weight=weight)


def information_metrics(run: Run, splits: Splits) -> dict[str, float]:
    """``mutual_information`` in nats, by the trained critics on data they were not trained on.

    Of several terms it is the last one's, and ``mutual_information/FIRST,SECOND`` is each one's.
    """
    terms = [term for term in run.objective.terms if isinstance(term, MutualInformation)]
    data = splits.test or splits.validation or splits.train
    if not terms or data.num_rows < 2:
        return {}
    like = placement(run.guide)
    rows = data.take(torch.arange(min(MEASURED, data.num_rows)))
    batch = rows.batch(slice(None), dtype=like.dtype, device=like.device)
    made = run.objective(run.model, run.guide, num_data=splits.train.num_rows)
    with evaluating(made), torch.random.fork_rng():
        torch.manual_seed(0)
        _, context = made.evaluate(batch)
        found = {f"{term.first},{term.second}": term.measure(context) for term in terms}
    last = list(found.values())[-1]
    each = {f"mutual_information/{name}": value for name, value in found.items()}
    return {"mutual_information": last} | (each if len(terms) > 1 else {})
