"""The verdict: a table of rules, each of which gives a mark and a reason from the facts of a run.

To add a rule, write a function from :class:`~ppvae.report.facts.Facts` to a :class:`Finding`
(or None where the facts do not suffice) and list it in :data:`RULES`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Final

from ppvae.report.curves import (
    FEWEST,
    FEWEST_STEPS,
    followed_curve,
    gained,
    is_unfinished,
    rise_of,
    steps_of,
    tolerance_of,
    window_of,
)
from ppvae.report.facts import Facts
from ppvae.report.findings import Answer, Finding, Mark
from ppvae.report.held_out import held_out, null_model
from ppvae.report.informed import critic_behind, informed, informing
from ppvae.report.turned import orientations, turned
from ppvae.report.words import duration, percent, shown

__all__ = ["QUESTIONS", "RULES", "Answer", "Finding", "Mark", "verdict"]

Rule = Callable[[Facts], "Finding | None"]


# Shares of the range of the ELBO over training.
_FALLEN, _GAP = 0.02, 0.1
_UNUSED_NATS: Final = 0.01
_COVERAGE: Final = ((0.87, 0.93), (0.80, 0.97))
_UNTRUSTED: Final = (0.05, 0.5)


def ended(facts: Facts) -> Finding:
    """Whether training ended well."""
    count = facts.config.get("epochs", len(facts.history))
    epochs = "1 epoch" if count == 1 else f"{count} epochs"
    seconds = facts.number("train_seconds")
    when = "" if seconds is None else f" in {duration(seconds)}"
    findings: dict[str, tuple[Mark, str]] = {
        "completed": ("ok", f"Completed {epochs}{when}."),
        "stopped": (
            "ok",
            f"Stopped early after {epochs}{when}: validation no longer improved.",
        ),
        "interrupted": (
            "caution",
            f"Interrupted after {epochs}{when}. Resume the run to continue.",
        ),
        "diverged": (
            "bad",
            f"Diverged after {epochs}: a number was not finite. The weights are the last "
            "good ones. Lower the learning rate, or set clip_norm.",
        ),
    }
    status = facts.config.get("status")
    return Finding(
        *findings.get(str(status), ("caution", f"Ended with status {status!r} after {epochs}."))
    )


def level(facts: Facts) -> Finding | None:
    """Whether the ELBO still rises, is level or has fallen again, on validation data if any."""
    name, epochs, values = followed_curve(facts)
    if not values:
        return None
    if len(values) < FEWEST:
        return _too_short(
            facts, f"Too few epochs to tell whether the {name} is level: train for more epochs."
        )
    if not all(map(math.isfinite, values)):
        return Finding("bad", f"The {name} is not finite at some epoch.")
    window = window_of(values)
    rise, noise = rise_of(values)
    spread = max(values) - min(values)
    last = f"the last {epochs[-1] - epochs[-window - 1]} of {epochs[-1]} epochs"
    gain = gained(facts)
    if rise > tolerance_of(values, gain):
        share = f"{percent(rise / spread, 0)} of its range in training"
        if gain:
            share = f"{percent(rise / gain, 0)} of its gain over a model without latents"
        return Finding(
            "caution",
            f"The {name} still rose by {shown(rise, 2)} nats over {last}, {share}: more epochs "
            "would help.",
        )
    steps = steps_of(facts)
    if steps is not None and steps < FEWEST_STEPS:
        return _too_short(
            facts,
            f"Only {steps} optimiser steps, too few to tell whether the {name} is level: "
            "train for more epochs, or in smaller batches.",
        )
    best = max(range(len(values)), key=values.__getitem__)
    fall = values[best] - statistics.fmean(values[-window:])
    kept = facts.section("fit").get("restore_best")
    if fall > max(_FALLEN * spread, 3 * noise):
        if kept:
            return Finding(
                "ok",
                f"The {name} was best at epoch {epochs[best]} and fell afterwards; the weights of "
                "that epoch were kept.",
            )
        objective = facts.section("objective")
        weighted = any(objective.get(part) for part in ("weights", "capacity", "terms"))
        advice = (
            "the objective weights its terms, and a larger weight of another term may be why"
            if weighted
            else "end training there (patience, restore_best), or look for the cause"
        )
        return Finding(
            "caution",
            f"The {name} has fallen by {shown(fall, 2)} nats since epoch {epochs[best]}: "
            f"{advice}.",
        )
    return Finding("ok", f"The {name} is level: it changed by {shown(rise, 2)} nats over {last}.")


def _too_short(facts: Facts, text: str) -> Finding:
    """A training of which nothing can be told but whether the latents have begun to explain."""
    gain = gained(facts)
    if gain is None or gain > 0:
        return Finding("caution", text)
    return Finding("bad", f"{text} It is not noticeably better than without latents.")


def generalises(facts: Facts) -> Finding | None:
    """The ELBO of training data against that of validation data."""
    _, seen = facts.curve("elbo")
    _, unseen = facts.curve("val_elbo")
    if len(seen) < 2 or not unseen or not math.isfinite(seen[-1] - unseen[-1]):
        return None
    gap, tolerance = seen[-1] - unseen[-1], _GAP * (max(seen) - min(seen))
    text = f"ELBO {shown(seen[-1])} on training data, {shown(unseen[-1])} on validation data"
    if gap > tolerance:
        return Finding(
            "caution",
            f"{text}: part of what the model learned does not generalise. Use more data, a "
            "smaller network or restore_best.",
        )
    if -gap > tolerance:
        return Finding(
            "unknown",
            f"{text}: the two are not measured in the same way (in training the weights move, the "
            "noise differs and, with some models, so does the likelihood), so they do not say "
            "whether the model generalises. Compare with test data: ppvae evaluate.",
        )
    return Finding("ok", f"{text}: the model generalises.")


def latents_used(facts: Facts) -> Finding | None:
    """Whether each latent's posterior differs from its prior."""
    ends = {
        name.removeprefix("kl/"): facts.curve(name)[1][-1]
        for name in facts.history.columns
        if name.startswith("kl/")
    }
    if not ends:
        return None
    rows = facts.number("n_train") or 1
    # The objective divides the KL of a latent that all data share among them.
    ends = {site: value * (rows if site in facts.shared else 1) for site, value in ends.items()}
    unused = [site for site, value in ends.items() if value < _UNUSED_NATS]
    if len(unused) == len(ends):
        return Finding(
            "bad",
            f"The latents are not used: the posterior of {', '.join(unused)} equals the prior. "
            "Raise the KL's weight slowly, or weaken the decoder.",
        )
    if unused:
        return Finding(
            "caution",
            f"Not used: the posterior of {', '.join(unused)} equals the prior. Leave it out, or "
            "raise the KL's weight slowly.",
        )
    nats = ", ".join(
        f"{site} {shown(value)}" + " (shared by all data)" * (site in facts.shared)
        for site, value in ends.items()
    )
    return Finding("ok", f"The posteriors differ from the priors, by a KL in nats of {nats}.")


def units(facts: Facts) -> Finding | None:
    """Whether any dimension of the latents varies with the data."""
    active = facts.number("active_units")
    if active is None:
        return None
    if active < 1:
        text = "No dimension of the continuous latents is active (variance of its mean above 0.01)"
        others = informing(facts)
        if others:
            hold = f"{' and '.join(others)} hold{'s' * (len(others) == 1)}"
            return Finding("caution", f"{text}, though {hold} some information about each datum.")
        return Finding("bad", f"{text}.")
    of = "1 dimension of the latents varies" if active == 1 else None
    of = of or f"{active:g} dimensions of the latents vary"
    return Finding("ok", f"{of} with the data.")


def pareto(facts: Facts) -> Finding | None:
    """Whether the guide covers the posterior, from the importance weights of its draws."""
    share = facts.number("untrusted")
    if share is None:
        return None
    good, fair = _UNTRUSTED
    text = f"Pareto k is above 0.7 for {percent(share)} of the data"
    if share <= good:
        return Finding("ok", f"{text}: the guide covers the posterior.")
    if facts.number("mse_nearest_view") is not None or facts.number("mse_last_visit") is not None:
        # The encoder saw no such rows in training; the predictions do not use it.
        return Finding(
            "caution",
            f"{text}: their log likelihood under the encoder, which was not trained on such "
            "rows, is uncertain. Predictions do not use the encoder: rely on their errors and "
            "coverage below, and take log likelihoods from "
            "ppvae.evaluate.refined_log_likelihood.",
        )
    often = "some" if share <= fair else "most"
    return Finding(
        "caution",
        f"{text}: for {often} data the guide is not the exact posterior, and their log likelihood "
        "is uncertain. Train longer, or use a guide from a richer family; until then rely only on "
        "predictions that were checked against data.",
    )


def cautioned(facts: Facts) -> Finding | None:
    """What the trained modules themselves caution about."""
    texts = facts.config.get("cautions")
    return Finding("caution", " ".join(map(str, texts))) if texts else None


def coverage(facts: Facts) -> Finding | None:
    """Whether 90 % predictive intervals contain 90 % of the true values."""
    share = facts.number("coverage_90")
    if share is None:
        return None
    (low, high), (lowest, highest) = _COVERAGE
    text = f"90 % predictive intervals contain {percent(share)} of the true values"
    if low <= share <= high:
        return Finding("ok", f"{text}: calibrated.")
    how = "the intervals are too " + ("narrow" if share < low else "wide")
    advice = "Try another likelihood or a learned scale"
    if any(picture.name == "calibration" for picture in facts.pictures):
        advice += "; the ranks of the true values (calibration.png) show where"
    mark: Mark = "caution" if lowest <= share <= highest else "bad"
    return Finding(mark, f"{text}: {how}. {advice}.")


def unseen_views(facts: Facts) -> Finding | None:
    """Errors at unseen views or later visits, against those of predictions without a model."""
    error = facts.number("test_mse")
    naive = {
        "the training mean": facts.number("mse_train_mean"),
        "copying the nearest view": facts.number("mse_nearest_view"),
        "copying the last visit": facts.number("mse_last_visit"),
    }
    known = {name: value for name, value in naive.items() if value is not None}
    if error is None:
        return None
    spread = facts.number("test_mse_se")
    error_text = shown(error, 3) + ("" if spread is None else f" \u00b1 {shown(spread, 2)}")
    if not known:
        end = "per element; predictions without a model, to compare it with, were not made here."
        return Finding("unknown", f"Mean squared error {error_text} {end}")
    others = " and ".join(f"{shown(value, 3)} for {name}" for name, value in known.items())
    where = "unseen views" if "copying the last visit" not in known else "held-out visits"
    text = f"Mean squared error {error_text} per element at {where}, against {others}"
    ratio = min(known.values()) / max(error, 1e-300)
    if ratio >= 2:
        return Finding("ok", f"{text}: {ratio:.1f} times smaller.")
    if ratio > 1 and min(known.values()) - error > 2 * (spread or 0.0):
        return Finding("caution", f"{text}: smaller, but by less than a factor of two.")
    return Finding("bad", f"{text}: no better than a prediction without a model.")


def told_apart(facts: Facts) -> Finding | None:
    """Accuracy of the classes, against chance."""
    share = facts.number("accuracy")
    if share is None:
        return None
    classes = facts.classes
    text = f"{percent(share)} of the test data are assigned to the right class"
    if not classes:
        mark: Mark = "ok" if share >= 0.9 else "caution"
        return Finding(mark, f"{text}.")
    chance = 1 / classes
    text += f", where chance is {percent(chance)}"
    if share >= 0.9:
        return Finding("ok", f"{text}.")
    if share <= chance + 0.1 * (1 - chance):
        return Finding("bad", f"{text}: hardly better than chance.")
    return Finding("caution", f"{text}.")


def poses(facts: Facts) -> Finding | None:
    """Estimated angles and shifts, against the true ones."""
    scores = {
        "angles correlate {} with the true ones": facts.number("angle_correlation"),
        "shifts explain {} of the variance of the true ones": facts.number("shift_r2"),
    }
    known = {text.format(f"{v:.2f}"): v for text, v in scores.items() if v is not None}
    if not known:
        return None
    least = min(known.values())
    mark: Mark = "ok" if least >= 0.9 else "caution" if least >= 0.5 else "bad"
    return Finding(mark, f"Poses, estimated without labels: {'; '.join(known)}.")


RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "Is it trained?": (
        *(ended, level, generalises, latents_used, informed, critic_behind, turned, units),
        cautioned,
    ),
    "Is the posterior trustworthy?": (pareto, coverage),
    "Does it predict unseen data?": (
        unseen_views,
        told_apart,
        poses,
        orientations,
        held_out,
        null_model,
    ),
}

# The short answer by question and worst mark.
QUESTIONS: Final[dict[str, dict[Mark, str]]] = {
    "Is it trained?": {
        "ok": "Yes",
        "caution": "With reservations",
        "bad": "No",
        "unknown": "Not known",
    },
    "Is the posterior trustworthy?": {
        "ok": "Yes, by what was measured",
        "caution": "With care",
        "bad": "No",
        "unknown": "Not measured",
    },
    "Does it predict unseen data?": {
        "ok": "Yes",
        "caution": "In part",
        "bad": "No",
        "unknown": "Not measured",
    },
}

_SEVERITY: Final[tuple[Mark, ...]] = ("unknown", "ok", "caution", "bad")


def verdict(facts: Facts) -> list[Answer]:
    """An answer to each question, from its rules.

    Arguments:
        facts: Facts of the run.
    """
    answers = []
    trained, *others = RULES
    for question, rules in RULES.items():
        findings = tuple(f for f in (rule(facts) for rule in rules) if f is not None)
        if not findings:
            findings = (Finding("unknown", "Not in metrics.json; ppvae evaluate measures it."),)
        if question in others and is_unfinished(facts):
            findings = tuple(map(_provisional, findings))
        mark = max((f.mark for f in findings), key=_SEVERITY.index)
        short = QUESTIONS[question][mark]
        if facts.part in ("evaluated", "fitted"):
            question = question.replace("unseen data", "the evaluated rows")
        answers.append(Answer(question, mark, short, findings))
    return answers


def _provisional(finding: Finding) -> Finding:
    """What was found before the training is finished: nothing to condemn a model for."""
    if finding.mark != "bad":
        return finding
    return Finding(
        "caution", f"{finding.text} But the training is not finished: train longer first."
    )
