"""Evaluation of fitted models: one layer for every model, based on its sites and terms."""

from ppvae.evaluate.bounds import Information, information
from ppvae.evaluate.calibration import Calibration, simulation_based_calibration, uniformity
from ppvae.evaluate.checks import (
    Check,
    StatisticCheck,
    check_predictions,
    check_reconstructions,
)
from ppvae.evaluate.clusters import ClusterScores, cluster_scores
from ppvae.evaluate.compare import ComparedRun, compare
from ppvae.evaluate.embedding import Dependencies, dependencies, kmeans, tsne, umap
from ppvae.evaluate.expression import (
    DifferentialExpression,
    Expression,
    batch_mixing,
    differential_expression,
    normalized_expression,
    share_draws,
)
from ppvae.evaluate.factors import DCI, dci, mig, mutual_information_matrix, sap
from ppvae.evaluate.gap import AmortizationGap, amortization_gap
from ppvae.evaluate.impute import Imputation, impute, seen_per_datum
from ppvae.evaluate.inference_data import to_arviz
from ppvae.evaluate.latents import Surgery, active_units, elbo_surgery, invariance
from ppvae.evaluate.likelihood import LikelihoodEstimate, log_likelihood, summary
from ppvae.evaluate.neighbours import Neighbours, kept_neighbours, knn_overlap, neighbours
from ppvae.evaluate.null import null_log_likelihood
from ppvae.evaluate.orientations import (
    align_rotations,
    credible_angle,
    path_ratio,
    rotation_errors,
)
from ppvae.evaluate.pareto import TRUSTED_K, pareto_k
from ppvae.evaluate.probes import knn_probe, linear_probe
from ppvae.evaluate.quality import QualityOfFit, quality_of_fit
from ppvae.evaluate.refined import RefinedLikelihood, refined_log_likelihood
from ppvae.evaluate.scores import circular_correlation, clustering_accuracy, linear_r2, r2
from ppvae.evaluate.scoring import covered, crps, interval, interval_score, pit
from ppvae.evaluate.statistics import STATISTICS, Statistic
from ppvae.evaluate.view_correlation import ViewCorrelation, view_correlation
from ppvae.evaluate.windows import encode_windows

__all__ = [
    "DCI",
    "STATISTICS",
    "TRUSTED_K",
    "AmortizationGap",
    "Calibration",
    "Check",
    "ClusterScores",
    "ComparedRun",
    "Dependencies",
    "DifferentialExpression",
    "Expression",
    "Imputation",
    "Information",
    "LikelihoodEstimate",
    "Neighbours",
    "QualityOfFit",
    "RefinedLikelihood",
    "Statistic",
    "StatisticCheck",
    "Surgery",
    "ViewCorrelation",
    "active_units",
    "align_rotations",
    "amortization_gap",
    "batch_mixing",
    "check_predictions",
    "check_reconstructions",
    "circular_correlation",
    "cluster_scores",
    "clustering_accuracy",
    "compare",
    "covered",
    "credible_angle",
    "crps",
    "dci",
    "dependencies",
    "differential_expression",
    "elbo_surgery",
    "encode_windows",
    "impute",
    "information",
    "interval",
    "interval_score",
    "invariance",
    "kept_neighbours",
    "kmeans",
    "knn_overlap",
    "knn_probe",
    "linear_probe",
    "linear_r2",
    "log_likelihood",
    "mig",
    "mutual_information_matrix",
    "neighbours",
    "normalized_expression",
    "null_log_likelihood",
    "pareto_k",
    "path_ratio",
    "pit",
    "quality_of_fit",
    "r2",
    "refined_log_likelihood",
    "rotation_errors",
    "sap",
    "seen_per_datum",
    "share_draws",
    "simulation_based_calibration",
    "summary",
    "to_arviz",
    "tsne",
    "umap",
    "uniformity",
    "view_correlation",
]
