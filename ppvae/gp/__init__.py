"""Gaussian-process priors on latents, in weight space: exact mini-batches at a cost free of N."""

from ppvae.gp.collapsed import CollapsedGP
from ppvae.gp.features import (
    FeatureMap,
    FourierFeatures,
    FreeFormFeatures,
    ObjectTable,
    angular_kernel,
)
from ppvae.gp.leave_out import LeaveViewOut
from ppvae.gp.prior import GPPrior
from ppvae.gp.state import GPState, Layout

__all__ = [
    "CollapsedGP",
    "FeatureMap",
    "FourierFeatures",
    "FreeFormFeatures",
    "GPPrior",
    "GPState",
    "Layout",
    "LeaveViewOut",
    "ObjectTable",
    "angular_kernel",
]
