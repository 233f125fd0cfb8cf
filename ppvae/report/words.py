"""Numbers as text, and the meanings of the metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "EVALUATED",
    "GLOSSARY",
    "Meaning",
    "duration",
    "in_order",
    "meaning",
    "percent",
    "shown",
]


class Meaning(NamedTuple):
    """The title of a metric, its unit and one line of explanation."""

    title: str
    unit: str
    text: str


# One row per metric, in the report's order; metrics without a row come before train_seconds.
_RESULTS = {
    "test_mse": Meaning(
        "Test error", "MSE per element", "Mean squared error of the predictions; lower is better."
    ),
    "test_mse_se": Meaning(
        "Standard error of the test error", "MSE per element", "Over the test data."
    ),
    "mse_train_mean": Meaning(
        "Error of the mean", "MSE per element", "Error of predicting the training mean."
    ),
    "mse_nearest_view": Meaning(
        "Error of the nearest view", "MSE per element", "Error of copying the nearest view."
    ),
    "test_log_likelihood": Meaning(
        "Log predictive density", "nats per datum", "Mean over the test data; higher is better."
    ),
    "coverage_90": Meaning(
        "Coverage", "share", "Share of true values in 90 % predictive intervals; should be 0.9."
    ),
    "accuracy": Meaning(
        "Accuracy",
        "share",
        "Share of data in the right class; learned classes are matched first.",
    ),
    "angle_correlation": Meaning(
        "Angles", "correlation", "Circular correlation with the true angles; 1 is perfect."
    ),
    "shift_r2": Meaning("Shifts", "R\u00b2", "Agreement with the true shifts; 1 is perfect."),
    "angle_from_content_r2": Meaning(
        "Angle left in the content", "R\u00b2", "How well z predicts the angle; 0 is perfect."
    ),
    "label_knn": Meaning(
        "Labels",
        "share",
        "Data with the majority label of their 5 nearest neighbours in latent space.",
    ),
    "batch_mixing": Meaning(
        "Mixing of batches", "share", "Entropy of the neighbours' batches; 1: mixed, 0: separate."
    ),
    "rmse": Meaning("Root mean squared error", "unit of x", "Error of the predictions."),
    "predicted_sd": Meaning(
        "Predicted standard deviation", "unit of x", "Mean over the predictions."
    ),
    "elbo": Meaning(
        "ELBO", "nats per datum", "Lower bound of the log likelihood; higher is better."
    ),
    "log_likelihood": Meaning(
        "Log likelihood", "nats per datum", "Estimate with the latents integrated out."
    ),
    "null_log_likelihood": Meaning(
        "Without any latent",
        "nats per datum",
        "Log likelihood of a model with independent elements.",
    ),
    "rate": Meaning(
        "Rate", "nats per datum", "KL of posterior and prior: information and mismatch together."
    ),
    "distortion": Meaning(
        "Distortion", "nats per datum", "Minus the expected log likelihood given the latents."
    ),
    "pareto_k": Meaning(
        "Pareto k", "", "Mean over the data; the share above 0.7 is what matters."
    ),
    "untrusted": Meaning(
        "Pareto k above 0.7", "share", "Share of data whose importance weights cannot be trusted."
    ),
    "effective": Meaning(
        "Effective draws", "draws", "Effective number of importance draws per datum."
    ),
    "information": Meaning(
        "Lower bound of the information",
        "nats",
        "Information in the latent about its datum, at least.",
    ),
    "information_upper": Meaning(
        "Upper bound of the information",
        "nats",
        "Information in the latent about its datum, at most.",
    ),
    "information_limit": Meaning(
        "Limit of the lower bound", "nats", "Logarithm of the number of rows compared."
    ),
    "mutual_information": Meaning(
        "Mutual information",
        "nats",
        "The critic's estimate of the information between latents and data.",
    ),
    "active_units": Meaning(
        "Active units",
        "dimensions",
        "Latent dimensions whose posterior mean varies with the data.",
    ),
}
_CIRCUMSTANCES = {
    "train_seconds": Meaning("Training time", "s", "Including validation, without evaluation."),
    "epochs": Meaning("Epochs", "", "Passes over the training data."),
    "best_epoch": Meaning("Best epoch", "", "Epoch with the highest ELBO of the validation data."),
    "best_val_elbo": Meaning("Best validation ELBO", "nats per datum", "At the best epoch."),
    "n_train": Meaning("Training data", "rows", "Rows that the weights were fitted to."),
    "n_validation": Meaning(
        "Validation data", "rows", "Rows monitored in training, not fitted to."
    ),
    "n_test": Meaning("Test data", "rows", "Rows not used before the evaluation."),
    "seed": Meaning("Seed", "", "Random seed of the run."),
    "compiled": Meaning("Compiled", "", "Whether the training step was compiled."),
}
GLOSSARY = _RESULTS | _CIRCUMSTANCES
EVALUATED = Meaning(
    "Evaluated data",
    "rows",
    "All rows of the data that the run was fitted with, its training data among them.",
)


def meaning(name: str) -> Meaning:
    """The meaning of a metric, by its name; a metric not in the glossary has its name as title.

    Arguments:
        name: A key of the glossary, with its subject after a slash if there are several.
    """
    kind, _, of = name.partition("/")
    entry = GLOSSARY.get(kind, Meaning(kind.replace("_", " "), "", ""))
    return entry._replace(title=f"{entry.title} of {of.replace(',', ' and ')}") if of else entry


def in_order(names: Iterable[str]) -> list[str]:
    """Names in order: results, metrics not in the glossary, circumstances such as the seed."""
    results, circumstances = list(_RESULTS), list(_CIRCUMSTANCES)

    def place(name: str) -> tuple[int, int]:
        kind = name.partition("/")[0]
        if kind in results:
            return 0, results.index(kind)
        return (2, circumstances.index(kind)) if kind in circumstances else (1, 0)

    return sorted(names, key=place)


def shown(value: object, digits: int = 4) -> str:
    """A number as text with ``digits`` significant digits; integers in full."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u2009") if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return "not a number"
        return f"{value:.{digits}g}".replace("-", "\u2212").replace("inf", "\u221e")
    if value is None:
        return "\u2013"
    return value if isinstance(value, str) else json.dumps(value)


def percent(share: float, digits: int = 1) -> str:
    """A share between 0 and 1, in per cent."""
    return f"{100 * share:.{digits}f} %"


def duration(seconds: float) -> str:
    """A duration as text, in seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
