"""Everything a run's folder shows of its data, in one call."""

from __future__ import annotations

from pathlib import Path

from ppvae import evaluate, plots
from ppvae.data import Splits
from ppvae.report.gallery import Subject, draw, measure
from ppvae.report.gallery.unseen import unseen
from ppvae.report.page import write
from ppvae.runs.run import Run

__all__ = ["SUMMARY_ROWS", "write_all"]

# Rows of held-out data in arviz.nc, and draws for each.
ARVIZ_ROWS, ARVIZ_DRAWS = 100, 50
# Held-out rows that the summary is a mean over, evenly spaced.
SUMMARY_ROWS = 1000


def write_all(
    run: Run,
    data: object,
    folder: str | Path,
    *,
    max_rows: int | None = SUMMARY_ROWS,
) -> Path:
    """Evaluate a run, of any pair, and write its folder: metrics, draws, plots and report.

    Arguments:
        run: The fitted pair; its ``metrics`` are added to.
        data: Splits, or one dataset or mapping of columns. The test data are evaluated, or
            the validation or training data where there are none.
        folder: Folder, as for :meth:`ppvae.runs.run.Run.save`, which writes the run into it;
            ``arviz.nc``, ``plots`` and ``report.html`` are added.
        max_rows: Rows of the held-out data that the likelihood is a mean over; None for all.

    Returns:
        The path of the report.

    Raises:
        ContractError: If the data lack a column that the pair needs.
        RunError: If the folder cannot be written.
    """
    folder = Path(folder)
    subject = Subject(run, data)
    held_out = subject.splits.held_out
    _note(run, subject.splits)
    run.metrics |= evaluate.summary(run, held_out, max_rows=max_rows) | measure(subject)
    run.metrics |= _null(run, subject.splits, max_rows)
    run.save(folder)
    evaluate.to_arviz(
        run,
        held_out,
        num_draws=ARVIZ_DRAWS,
        max_rows=ARVIZ_ROWS,
        unseen=unseen(subject),
        path=folder / "arviz.nc",
    )
    plots.save(folder / "plots", draw(subject))
    return write(folder)


def _note(run: Run, splits: Splits) -> None:
    """Keep what the data are, and what was done to them when they were read."""
    said = [run.config["data_note"]] if run.config.get("data_note") else []
    spec = {"columns": splits.train.spec} | (run.config.get("data") or {})
    run.config["data"] = {**spec, "notes": [*splits.notes, *said]}


def _null(run: Run, splits: Splits, max_rows: int | None) -> dict[str, float]:
    """The likelihood without latents, and what of x was seen where some values are missing."""
    held_out, metrics = splits.held_out, {}
    if max_rows is not None:  # Of new data there are no training rows to fit a null model to.
        null = evaluate.null_log_likelihood(run.model, splits.train, held_out, max_rows=max_rows)
        if null is not None:
            metrics["null_log_likelihood"] = null
    seen = evaluate.seen_per_datum(held_out, max_rows=max_rows) if "x" in held_out else None
    if seen:
        metrics |= {"seen_per_datum": seen, "elbo_per_seen": run.metrics["elbo"] / seen}
    return metrics
