"""Several runs on one page: a row per configuration, with its seeds as replicates."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from ppvae.errors import RunError
from ppvae.evaluate.compare import ComparedRun
from ppvae.plots.style import COLOURS, TEXT_WIDTH, styled
from ppvae.report.html import page_of
from ppvae.report.words import meaning
from ppvae.runs.files import written

__all__ = ["Estimate", "Group", "GroupedRun", "groups_of", "write_comparison"]

PAGE, TABLE = "comparison.html", "comparison.csv"
# Probability of the intervals over seeds.
PROBABILITY = 0.95


@dataclass(frozen=True)
class GroupedRun:
    """One run among others.

    Attributes:
        name: Name of the run's folder.
        model: Name of the run's entry.
        configuration: Options and settings by name, without the seed.
        seed: Random seed.
        metrics: Metrics of the run on its own test data.
        likelihood: Log-likelihood, under the run, of the rows that all runs have in common.
    """

    name: str
    model: str
    configuration: Mapping[str, str]
    seed: int
    metrics: Mapping[str, float]
    likelihood: ComparedRun


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with half the width of its 95 % interval; None where a seed repeats.

    The interval is Student's t interval over runs: it covers the variation between seeds, not that
    between samples of data.
    """

    mean: float
    half_width: float | None

    @classmethod
    def of(cls, values: Sequence[float], seeds: Sequence[int]) -> Estimate:
        """The mean of the values of some runs, and its interval over their seeds."""
        mean, count = sum(values) / len(values), len(values)
        if count < 2 or len(set(seeds)) < count:
            return cls(mean, None)
        deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (count - 1))
        quantile = float(stats.t.ppf((1 + PROBABILITY) / 2, count - 1))
        return cls(mean, quantile * deviation / math.sqrt(count))

    def __str__(self) -> str:
        spread = "" if self.half_width is None else f" \u00b1 {self.half_width:.3g}"
        return f"{self.mean:.6g}{spread}"


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone.

    Attributes:
        label: Model, with the options and settings that differ between groups.
        runs: Runs of the group.
        log_likelihood: Mean log p(x) of the common rows, in nats per datum.
        metrics: The runs' own metrics.
    """

    label: str
    runs: Sequence[GroupedRun]
    log_likelihood: Estimate
    metrics: Mapping[str, Estimate]

    @property
    def trusted(self) -> bool:
        """Whether the log-likelihoods of all its runs can be trusted."""
        return all(run.likelihood.trusted for run in self.runs)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the group's runs."""
        return [run.seed for run in self.runs]


def groups_of(runs: Sequence[GroupedRun]) -> list[Group]:
    """Runs grouped by model and configuration, highest log-likelihood first."""
    found: dict[tuple[object, ...], list[GroupedRun]] = {}
    for run in runs:
        key = (run.model, *sorted(run.configuration.items()))
        found.setdefault(key, []).append(run)
    members = list(found.values())
    first = [group[0] for group in members]
    everywhere = {name for run in first for name in run.configuration}
    differ = [
        name
        for name in sorted(everywhere)
        if len({run.configuration.get(name) for run in first}) > 1
    ]
    groups = []
    for group in members:
        configuration = group[0].configuration
        parts = [f"{name}={configuration[name]}" for name in differ if name in configuration]
        shared = [name for name in group[0].metrics if all(name in r.metrics for r in group)]
        seeds = [run.seed for run in group]
        groups.append(
            Group(
                " ".join([group[0].model, *parts]),
                group,
                Estimate.of([run.likelihood.log_likelihood for run in group], seeds),
                {name: Estimate.of([r.metrics[name] for r in group], seeds) for name in shared},
            )
        )
    return sorted(groups, key=lambda g: -g.log_likelihood.mean)


def write_comparison(
    out: Path, groups: Sequence[Group], arviz: pd.DataFrame | None, without: str
) -> Path:
    """Write the page and the table, and return the path of the page.

    Arguments:
        out: Folder, created if it does not exist.
        groups: Groups of runs to compare.
        arviz: Table of ``az.compare``, or None.
        without: Reason why there is no such table.

    Raises:
        RunError: If the folder cannot be written.
    """
    metrics = list(dict.fromkeys(name for group in groups for name in group.metrics))
    page = page_of(
        PAGE,
        groups=groups,
        metrics=[(name, meaning(name)) for name in metrics],
        runs=[run.likelihood for group in groups for run in group.runs],
        picture=_picture(_figure(groups)),
        arviz=None if arviz is None else arviz.round(3).reset_index().to_dict("split"),
        without=without,
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with written(out / PAGE) as new, written(out / TABLE) as table:
            new.write_text(page, encoding="utf-8")
            _table(groups).to_csv(table, index=False, errors="backslashreplace")
    except OSError as error:
        raise RunError(
            f"--out: expected a folder that can be written; got {str(out)!r} "
            f"({error.strerror or error}). Name another."
        ) from error
    return out / PAGE


def _table(groups: Sequence[Group]) -> pd.DataFrame:
    """A row per run, with its group."""
    rows = []
    for group in groups:
        for run in group.runs:
            like = run.likelihood
            rows.append(
                {
                    "group": group.label,
                    "run": run.name,
                    "seed": run.seed,
                    "log_likelihood": like.log_likelihood,
                    "standard_error": like.standard_error,
                    "difference": like.difference,
                    "difference_error": like.difference_error,
                    "untrusted": like.untrusted,
                    "trusted": like.trusted,
                    **run.metrics,
                }
            )
    return pd.DataFrame(rows)


@styled
def _figure(groups: Sequence[Group]) -> Figure:
    """Log-likelihood of each run as a dot, and of each group as a line with its interval."""
    figure = Figure(figsize=(TEXT_WIDTH, 0.7 + 0.35 * len(groups)), layout="constrained")
    axes = figure.subplots()
    for at, group in enumerate(reversed(groups)):
        values = [run.likelihood.log_likelihood for run in group.runs]
        axes.plot(values, [at] * len(values), "o", ms=3, color=COLOURS[0], alpha=0.6)
        half = group.log_likelihood.half_width or 0.0
        axes.errorbar(group.log_likelihood.mean, at, xerr=half, fmt="|", color=COLOURS[2])
    axes.set_yticks(range(len(groups)), [g.label for g in reversed(groups)], fontsize=7)
    axes.set_xlabel("log p(x), nats per datum")
    return figure


def _picture(figure: Figure) -> str:
    content = BytesIO()
    figure.savefig(content, format="png")
    return base64.b64encode(content.getvalue()).decode("ascii")
