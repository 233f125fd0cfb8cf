"""Figures, each returned by a function of values, without pyplot, global state or a display."""

from ppvae.plots.agreement import agreement
from ppvae.plots.atoms import over_image
from ppvae.plots.checks import calibration, covariance, expected_counts, method_errors, pareto_k
from ppvae.plots.files import save
from ppvae.plots.intervals import correlation_intervals
from ppvae.plots.latent import densities, latents, manifold, prior_range, traversals
from ppvae.plots.pictures import images, methods_by_object, predictions, reconstructions
from ppvae.plots.search import (
    embedding_by_value,
    learning_curves,
    place_map,
    places_in_order,
    predicted,
)
from ppvae.plots.spheres import directions, rotation_errors, rotation_paths
from ppvae.plots.style import style, styled
from ppvae.plots.training import loss_by_term

__all__ = [
    "agreement",
    "calibration",
    "correlation_intervals",
    "covariance",
    "densities",
    "directions",
    "embedding_by_value",
    "expected_counts",
    "images",
    "latents",
    "learning_curves",
    "loss_by_term",
    "manifold",
    "method_errors",
    "methods_by_object",
    "over_image",
    "pareto_k",
    "place_map",
    "places_in_order",
    "predicted",
    "predictions",
    "prior_range",
    "reconstructions",
    "rotation_errors",
    "rotation_paths",
    "save",
    "style",
    "styled",
    "traversals",
]
