"""What a fitted model is worth: one evaluation layer for every model, by its sites and terms."""

from ppvae.evaluate.inference_data import to_arviz
from ppvae.evaluate.likelihood import LikelihoodEstimate, log_likelihood, summary
from ppvae.evaluate.pareto import TRUSTED_K, pareto_k

__all__ = [
    "TRUSTED_K",
    "LikelihoodEstimate",
    "log_likelihood",
    "pareto_k",
    "summary",
    "to_arviz",
]
