"""Gaussian-process priors on latents, in weight space: exact mini-batches at a cost free of N."""

from ppvae.gp.collapsed import CollapsedGP
from ppvae.gp.embedded import EmbeddedGP
from ppvae.gp.every import Every
from ppvae.gp.exact_weights import ExactWeights, columns_of_targets
from ppvae.gp.features import (
    Column,
    ExactFeatures,
    FeatureMap,
    FourierFeatures,
    FreeFormFeatures,
    HilbertFeatures,
    InducingFeatures,
    Lookup,
    NetworkFeatures,
    ObjectTable,
    ProductFeatures,
    RandomFeatures,
    SumFeatures,
    angular_kernel,
    spectral_density,
)
from ppvae.gp.hyperpriors import HyperPriors, log_hyperprior
from ppvae.gp.interpolation import interpolate_latents
from ppvae.gp.joined import Joined, JoinedPrior, Mixing, StandardPrior
from ppvae.gp.layout import Layout
from ppvae.gp.leave_one_out import leave_one_out
from ppvae.gp.leave_out import LeaveViewOut
from ppvae.gp.new_objects import infer_objects, latents_of
from ppvae.gp.prior import GPPrior
from ppvae.gp.state import GPState
from ppvae.gp.weighted import WeightedNormal

__all__ = [
    "CollapsedGP",
    "Column",
    "EmbeddedGP",
    "Every",
    "ExactFeatures",
    "ExactWeights",
    "FeatureMap",
    "FourierFeatures",
    "FreeFormFeatures",
    "GPPrior",
    "GPState",
    "HilbertFeatures",
    "HyperPriors",
    "InducingFeatures",
    "Joined",
    "JoinedPrior",
    "Layout",
    "LeaveViewOut",
    "Lookup",
    "Mixing",
    "NetworkFeatures",
    "ObjectTable",
    "ProductFeatures",
    "RandomFeatures",
    "StandardPrior",
    "SumFeatures",
    "WeightedNormal",
    "angular_kernel",
    "columns_of_targets",
    "infer_objects",
    "interpolate_latents",
    "latents_of",
    "leave_one_out",
    "log_hyperprior",
    "spectral_density",
]
