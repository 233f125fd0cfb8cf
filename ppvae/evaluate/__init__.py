"""What a fitted model is worth: one evaluation layer for every model, by its sites and terms."""

from ppvae.evaluate.calibration import Calibration, simulation_based_calibration, uniformity
from ppvae.evaluate.checks import (
    Check,
    StatisticCheck,
    check_predictions,
    check_reconstructions,
)
from ppvae.evaluate.gap import AmortizationGap, amortization_gap
from ppvae.evaluate.inference_data import to_arviz
from ppvae.evaluate.likelihood import LikelihoodEstimate, log_likelihood, summary
from ppvae.evaluate.pareto import TRUSTED_K, pareto_k
from ppvae.evaluate.scoring import covered, crps, interval, interval_score, pit
from ppvae.evaluate.statistics import STATISTICS, Statistic

__all__ = [
    "STATISTICS",
    "TRUSTED_K",
    "AmortizationGap",
    "Calibration",
    "Check",
    "LikelihoodEstimate",
    "Statistic",
    "StatisticCheck",
    "amortization_gap",
    "check_predictions",
    "check_reconstructions",
    "covered",
    "crps",
    "interval",
    "interval_score",
    "log_likelihood",
    "pareto_k",
    "pit",
    "simulation_based_calibration",
    "summary",
    "to_arviz",
    "uniformity",
]
