"""What the entries with mutual-information terms share: estimators by name, metrics, figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor

from ppvae import plots
from ppvae.data import Splits
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
from ppvae.programs import batch_for, decode, encode, evaluating, placement, seeded
from ppvae.report.gallery.pictures import latents_by_class
from ppvae.runs.run import Run
from ppvae.zoo.entry import Figures

__all__ = [
    "CRITICS",
    "ESTIMATORS",
    "information_figures",
    "information_metrics",
    "information_term",
]

ESTIMATORS: dict[str, Callable[[], Estimator]] = {
    "mine": MINE,
    "donsker-varadhan": DonskerVaradhan,
    "infonce": InfoNCE,
    "nwj": NWJ,
    "smile": SMILE,
}
CRITICS = ("separable", "joint")
MEASURED = 1024
# Of a joint critic, which passes each pair through its network.
OTHERS = 8
# One layer: a step is to cost little more than without the critic.
HIDDEN = (128,)
PAIRS = 3


def information_term(
    sites: tuple[str, str],
    shapes: tuple[Sequence[int], Sequence[int]],
    *,
    estimator: str,
    critic: str,
    network: str,
    weight: float,
) -> MutualInformation:
    """The term between two sites of these shapes, by the names on the command line."""
    made = critic_between(
        *shapes,
        form="joint" if critic == "joint" else "separable",
        hidden=HIDDEN,
        convolutions=network == "conv",
        others=OTHERS,
    )
    return MutualInformation(*sites, made, estimator=ESTIMATORS[estimator](), weight=weight)


def information_metrics(run: Run, splits: Splits) -> dict[str, float]:
    """``mutual_information`` in nats, by the trained critics on data they were not trained on.

    Of several terms it is the last one's, and ``mutual_information/FIRST,SECOND`` is each one's.
    """
    terms = [term for term in run.objective.terms if isinstance(term, MutualInformation)]
    data = splits.held_out
    if not terms or data.num_rows < 2:
        return {}
    like = placement(run.guide)
    rows = data.take(torch.arange(min(MEASURED, data.num_rows)))
    batch = batch_for(run.guide, rows)
    made = run.objective(run.model, run.guide, num_data=splits.train.num_rows)
    with evaluating(made), seeded(0, like):
        _, context = made.evaluate(batch)
        found = {f"{term.first},{term.second}": term.measure(context) for term in terms}
    last = list(found.values())[-1]
    each = {f"mutual_information/{name}": value for name, value in found.items()}
    return {"mutual_information": last} | (each if len(terms) > 1 else {})


def information_figures(run: Run, splits: Splits, *, stage: str = "") -> Figures:
    """The latents by class, and of images what planes of latent space decode to.

    Arguments:
        run: Of a model with sites ``z`` and ``x``, each followed by ``stage``.
        splits: The test data are encoded, or those to validate or to train on.
        stage: ``"2"`` of a two-stage model.
    """
    data = splits.held_out
    latent, observed = f"z{stage}", f"x{stage}"
    like = placement(run.guide)
    rows = data.take(torch.arange(min(MEASURED, data.num_rows)))
    batch = batch_for(run.guide, rows)
    z = encode(run.guide, batch)[latent]
    made = latents_by_class(z, batch, latent=latent)
    if batch["x"].dim() != 4 or z.size(-1) < 2:
        return made

    def decoded(value: Tensor) -> Tensor:
        return decode(run.model, {latent: value.to(like)}, site=observed)[observed]

    for a, b in list(combinations(range(z.size(-1)), 2))[:PAIRS]:
        figure = plots.manifold(
            decoded, z.size(-1), dims=(a, b), by_channel=batch["x"].size(1) > 1
        )
        caption = f"Decoded means over the central 95 % of the prior of {latent}, dimensions"
        made.append((f"traversal_{a}_{b}.png", f"{caption} {a} across and {b} up.", figure))
    return made
