"""Figures, each returned by a function of values: no pyplot, no global state, no display."""

from ppvae.plots.agreement import agreement
from ppvae.plots.checks import calibration, covariance, method_errors, pareto_k
from ppvae.plots.files import save
from ppvae.plots.latent import densities, latents, manifold, prior_range, traversals
from ppvae.plots.pictures import images, methods_by_object, predictions, reconstructions
from ppvae.plots.style import style, styled
from ppvae.plots.training import loss_by_term

__all__ = [
    "agreement",
    "calibration",
    "covariance",
    "densities",
    "images",
    "latents",
    "loss_by_term",
    "manifold",
    "method_errors",
    "methods_by_object",
    "pareto_k",
    "predictions",
    "prior_range",
    "reconstructions",
    "save",
    "style",
    "styled",
    "traversals",
]
