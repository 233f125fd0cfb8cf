"""Rules about the rows that were evaluated: against other rows, and against no model."""

from __future__ import annotations

from typing import Final

from ppvae.report.curves import NOTICED
from ppvae.report.facts import Facts
from ppvae.report.findings import Finding
from ppvae.report.informed import informing
from ppvae.report.words import percent, shown
from ppvae.runs.config import validated

__all__ = ["doubt", "held_out", "null_model"]

# Share of the range of the ELBO over training.
_GAP: Final = 0.1
_DOUBTED: Final = 0.05
_FEW_DRAWS: Final = 5.0


def doubt(facts: Facts) -> str:
    """Reasons not to trust the estimated log likelihood, as part of a sentence; empty if none.

    Arguments:
        facts: Facts of the run.
    """
    share, draws = facts.number("untrusted"), facts.number("effective")
    reasons = []
    if share is not None and share > _DOUBTED:
        reasons.append(f"Pareto k above 0.7 for {percent(share, 0)} of the data")
    if draws is not None and draws < _FEW_DRAWS:
        reasons.append(f"{shown(draws, 2)} effective draws")
    return f"not to be trusted: {' and '.join(reasons)}" if reasons else ""


def held_out(facts: Facts) -> Finding | None:
    """The ELBO of the evaluated rows, against that of validation data, or else of training data.

    Not used where the evaluated rows are of another kind, such as unseen views: the ELBOs then
    cannot be compared.
    """
    elbo, (_, seen) = facts.number("elbo"), facts.curve("elbo")
    if facts.number("test_mse") is not None or elbo is None or len(seen) < 2:
        return None
    part, (known, where) = facts.part, _compared(facts)
    likelihood, doubts = facts.number("log_likelihood"), doubt(facts)
    more = f", {doubts}" if doubts else ""
    more = "" if likelihood is None else f" (log likelihood {shown(likelihood)}{more})"
    text = f"ELBO {shown(elbo)} nats per {part} datum{more}, {shown(known)} per {where} datum"
    if known - elbo > _GAP * (max(seen) - min(seen)):
        return Finding(
            "caution", f"{text}: {part} data fit worse. Use more data, or a smaller network."
        )
    if facts.number("active_units") == 0 and not informing(facts):
        return Finding(
            "caution",
            f"{text}: {part} data fit as well, but the latents do not contribute to it. "
            "Raise the KL's weight slowly, or weaken the decoder.",
        )
    if part in _NOT_HELD_OUT:
        return Finding("unknown", f"{text}: the two fit equally well. {_NOT_HELD_OUT[part]}")
    return Finding("ok", f"{text}: {part} data fit as well.")


_NOT_HELD_OUT: Final = {
    "evaluated": "Whether the weights were fitted to these rows is not recorded: pass "
    "ppvae.data.Splits with test data to measure how the model generalises.",
    "fitted": "These are all rows of the data that the run was fitted with, its training data "
    "among them: evaluate without --data, or on other data, to measure how the model generalises.",
}


def _compared(facts: Facts) -> tuple[float, str]:
    """The ELBO of other rows under the weights that were kept, and what these rows are."""
    _, seen = facts.curve("elbo")
    value = validated(facts.config, facts.metrics, facts.history)
    if facts.part == "validation" or value is None:
        return seen[-1], "training"
    return value, "validation"


def null_model(facts: Facts) -> Finding | None:
    """The ELBO, against the log likelihood of the same family of likelihoods without latents."""
    null, elbo = facts.number("null_log_likelihood"), facts.number("elbo")
    likelihood = facts.number("log_likelihood")
    if null is None or elbo is None:
        return None
    text = (
        f"ELBO {shown(elbo)} nats per {facts.part} datum, against {shown(null)} without any latent"
    )
    if elbo > null + NOTICED:
        return Finding("ok", f"{text} (independent elements).")
    if elbo > null:
        return Finding(
            "caution",
            f"{text} (independent elements): hardly better than no model. Either the "
            "elements are nearly independent, or the latents have not yet learned what they have "
            "in common.",
        )
    if likelihood is not None and likelihood > null:
        return Finding("caution", f"{text}: only the log likelihood of the model is better.")
    return Finding("bad", f"{text} (independent elements): worse than no model.")
