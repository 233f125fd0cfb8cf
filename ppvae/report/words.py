"""Numbers as people write them, and what the metrics mean."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

__all__ = ["GLOSSARY", "Meaning", "duration", "meaning", "shown"]


class Meaning(NamedTuple):
    """Of a metric: its unit and one line."""

    unit: str
    text: str


# A row a metric; those that are not here are listed without an explanation.
GLOSSARY = {
    "elbo": Meaning("nats a datum", "Lower bound of the log likelihood; higher is better."),
    "log_likelihood": Meaning(
        "nats a datum", "Log density of held-out data, latents averaged out; higher is better."
    ),
    "rate": Meaning("nats a datum", "KL of posterior and prior: what the latents carry."),
    "distortion": Meaning("nats a datum", "Minus the expected log likelihood given the latents."),
    "pareto_k": Meaning("", "Mean Pareto shape of the importance weights; good up to 0.7."),
    "untrusted": Meaning("share", "Data whose Pareto k is above 0.7."),
    "effective": Meaning("draws", "Effective number of importance draws a datum."),
    "test_mse": Meaning("per pixel", "Mean squared error of the predictions; lower is better."),
    "test_mse_se": Meaning("per pixel", "Standard error of it over the test data."),
    "mse_train_mean": Meaning("per pixel", "The error of always predicting the training mean."),
    "mse_nearest_view": Meaning("per pixel", "The error of copying the object's nearest view."),
    "test_log_likelihood": Meaning("nats a datum", "Log density of the predictions at the truth."),
    "coverage_90": Meaning("share", "Truth inside the 90 % predictive interval; 0.9 is right."),
    "accuracy": Meaning("share", "Test data put into the right class."),
    "mutual_information": Meaning("nats", "Estimated information of the latents about the data."),
    "active_units": Meaning("dimensions", "Latent dimensions that the data move."),
    "rmse": Meaning("unit of x", "Root mean squared error of the predictions."),
    "predicted_sd": Meaning("unit of x", "Mean standard deviation of the predictions."),
    "train_seconds": Meaning("s", "Time of training."),
    "epochs": Meaning("", "Passes over the training data."),
    "best_epoch": Meaning("", "The epoch with the best validation ELBO."),
    "best_val_elbo": Meaning("nats a datum", "The best ELBO on the validation data."),
    "n_train": Meaning("rows", "Training data."),
    "n_validation": Meaning("rows", "Validation data."),
    "n_test": Meaning("rows", "Test data."),
    "seed": Meaning("", "Of all random numbers."),
    "compiled": Meaning("", "Whether the training step was compiled."),
}


def meaning(name: str) -> Meaning:
    """Of a metric by its name; without words where nobody wrote them."""
    return GLOSSARY.get(name, Meaning("", ""))


def shown(value: Any) -> str:
    """Four significant digits; whole numbers whole."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u2009") if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return "not a number"
        return f"{value:.4g}".replace("-", "\u2212").replace("inf", "\u221e")
    if value is None:
        return "\u2013"
    return value if isinstance(value, str) else json.dumps(value)


def duration(seconds: float) -> str:
    """In seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
