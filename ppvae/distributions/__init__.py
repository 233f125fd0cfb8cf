"""Distributions that neither torch nor Pyro has."""

from ppvae.distributions.circle import WrappedNormal, wrap
from ppvae.distributions.partly_known import PartlyKnown
from ppvae.distributions.uniform import CircularUniform, SphericalUniform

__all__ = ["CircularUniform", "PartlyKnown", "SphericalUniform", "WrappedNormal", "wrap"]
