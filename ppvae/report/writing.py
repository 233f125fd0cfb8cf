"""Evaluation of a run and all files that show it in the run's folder, in one call."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from ppvae import evaluate, plots
from ppvae.data import Splits, describe
from ppvae.data.known import refuse_unknown
from ppvae.errors import ContractError
from ppvae.evaluate.inference_data import write_arviz
from ppvae.evaluate.points import no_likelihood, point_latents
from ppvae.fitting.layout import channels_last
from ppvae.plots.files import Failure
from ppvae.report.gallery import Subject, draw, interact, measure
from ppvae.report.gallery.unseen import unseen
from ppvae.report.page import write
from ppvae.runs.run import Run

__all__ = ["SUMMARY_ROWS", "write_all"]

# Number of rows of held-out data in arviz.nc, and of draws per row.
ARVIZ_ROWS, ARVIZ_DRAWS = 100, 50
# Number of held-out rows, evenly spaced, that the summary is a mean over.
SUMMARY_ROWS = 1000


def write_all(
    run: Run,
    data: object,
    folder: str | Path,
    *,
    max_rows: int | None = SUMMARY_ROWS,
) -> Path:
    """Evaluate a run of any pair, and write its folder: metrics, draws, plots and report.

    A figure or metric that fails is left out, and so are draws of the prior and predictions of a
    model that cannot run without its data; the report and ``plots/failures.json`` say why.

    Arguments:
        run: Fitted pair; the results are added to its ``metrics``.
        data: Splits, or one dataset or mapping of columns. The test data are evaluated, or else
            the validation data, or else the training data.
        folder: Folder for :meth:`ppvae.runs.run.Run.save`, which writes the run; ``arviz.nc``,
            ``plots`` and ``report.html`` are added.
        max_rows: Number of held-out rows that the likelihood is a mean over; None for all.

    Returns:
        The path of the report.

    Raises:
        ContractError: If the data lack a column that the pair needs.
        DataError: If no value of x is known.
        RunError: If the folder cannot be written.
    """
    # The convolutions of many draws are faster channels last.
    with channels_last(nn.ModuleList([run.model, run.guide])):
        return _write_all(run, data, Path(folder), max_rows)


def _write_all(run: Run, data: object, folder: Path, max_rows: int | None) -> Path:
    """As :func:`write_all`, with the run as it is laid out in memory."""
    subject = Subject(run, data)
    held_out = subject.splits.held_out
    refuse_unknown(held_out, "evaluated", "x")
    failures: list[Failure] = []
    _note(run, subject.splits, new=max_rows is None)
    run.metrics |= evaluate.summary(run, held_out, max_rows=max_rows)
    if "log_likelihood" not in run.metrics:
        points = list(point_latents(run, run.columns(held_out)))
        reason = no_likelihood(points)
        failures.append({"kind": "metric", "name": "log_likelihood", "reason": reason})
    run.metrics |= measure(subject, failures=failures)
    run.metrics |= _null(subject, max_rows)
    run.save(folder)
    draws = partial(
        write_arviz,
        folder / "arviz.nc",
        run,
        held_out,
        num_draws=ARVIZ_DRAWS,
        max_rows=ARVIZ_ROWS,
    )
    try:
        draws(unseen=unseen(subject))
    except ContractError as error:
        # A model that needs its data cannot predict them, but it has a posterior.
        draws(prior_rows=0)
        failures.append({"kind": "metric", "name": "prior and predictions", "reason": str(error)})
    figures = draw(subject, failures=failures)
    controls = interact(subject, failures=failures)
    plots.save(folder / "plots", figures, failures=failures, controls=controls)
    return write(folder)


def _note(run: Run, splits: Splits, *, new: bool) -> None:
    """Store in the run's config what the data are, and what was done to them in reading."""
    noted = splits._replace(train=splits.train.noted(run.config.get("data_note") or ""))
    if new:  # All rows, which are the only part.
        described = replace(describe(noted.train), rows={"evaluated": noted.train.num_rows})
    else:
        described = describe(noted)
    spec = {"columns": splits.train.spec} | (run.config.get("data") or {})
    held_out = {"test": splits.test, "validation": splits.validation}
    part = next((name for name, rows in held_out.items() if rows is not None), "evaluated")
    kept = {
        "notes": list(described.notes),
        "description": str(described),
        "evaluated": part,
    }
    run.config["data"] = {**spec, **kept}


def _null(subject: Subject, max_rows: int | None) -> dict[str, float]:
    """Likelihood without latents and, where values are missing, the number observed per datum."""
    run, splits, likelihood = subject.run, subject.splits, subject.likelihood
    held_out, metrics = splits.held_out, {}
    # With new data, there are no training rows to fit a null model to.
    if max_rows is not None and likelihood is not None:
        null = evaluate.null_log_likelihood(
            run.model, splits.train, held_out, column=likelihood.column, max_rows=max_rows
        )
        if null is not None:
            metrics["null_log_likelihood"] = null
    seen = evaluate.seen_per_datum(held_out, max_rows=max_rows) if "x" in held_out else None
    if seen:
        metrics["seen_per_datum"] = seen
        if "elbo" in run.metrics:
            metrics["elbo_per_seen"] = run.metrics["elbo"] / seen
    return metrics
