"""Priors of z, one per file; any model takes one as ``prior=``."""

from ppvae.nets.priors.class_normal import ClassNormal
from ppvae.nets.priors.flow_prior import FlowPrior
from ppvae.nets.priors.mixture_normal import MixtureNormal
from ppvae.nets.priors.prior import Prior, Unconditional
from ppvae.nets.priors.standard_normal import StandardNormal, prior_or_normal
from ppvae.nets.priors.uniform import AnyDirection, AnyRotation
from ppvae.nets.priors.vamp_prior import VampPrior

__all__ = [
    "AnyDirection",
    "AnyRotation",
    "ClassNormal",
    "FlowPrior",
    "MixtureNormal",
    "Prior",
    "StandardNormal",
    "Unconditional",
    "VampPrior",
    "prior_or_normal",
]
