"""Gaussian-process priors on latents, in weight space: exact mini-batches at a cost free of N."""

from ppvae.gp.collapsed import CollapsedGP
from ppvae.gp.compose import Column, ProductFeatures, SumFeatures
from ppvae.gp.covariates import Lookup, NetworkFeatures
from ppvae.gp.features import (
    FeatureMap,
    FourierFeatures,
    FreeFormFeatures,
    ObjectTable,
    angular_kernel,
)
from ppvae.gp.hyperpriors import HyperPriors, log_hyperprior
from ppvae.gp.inducing import InducingFeatures
from ppvae.gp.layout import Layout
from ppvae.gp.leave_out import LeaveViewOut
from ppvae.gp.line import HilbertFeatures, spectral_density
from ppvae.gp.prior import GPPrior
from ppvae.gp.state import GPState
from ppvae.gp.weighted import WeightedNormal

__all__ = [
    "CollapsedGP",
    "Column",
    "FeatureMap",
    "FourierFeatures",
    "FreeFormFeatures",
    "GPPrior",
    "GPState",
    "HilbertFeatures",
    "HyperPriors",
    "InducingFeatures",
    "Layout",
    "LeaveViewOut",
    "Lookup",
    "NetworkFeatures",
    "ObjectTable",
    "ProductFeatures",
    "SumFeatures",
    "WeightedNormal",
    "angular_kernel",
    "log_hyperprior",
    "spectral_density",
]
