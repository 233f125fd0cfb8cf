"""Distributions that neither torch nor Pyro has."""

from ppvae.distributions.circle import WrappedNormal, wrap
from ppvae.distributions.partly_known import PartlyKnown
from ppvae.distributions.rotations import (
    RotationNormal,
    RotationUniform,
    exp_rotation,
    log_rotation,
)
from ppvae.distributions.sphere import PowerSpherical, VonMisesFisher
from ppvae.distributions.uniform import CircularUniform, SphericalUniform

__all__ = [
    "CircularUniform",
    "PartlyKnown",
    "PowerSpherical",
    "RotationNormal",
    "RotationUniform",
    "SphericalUniform",
    "VonMisesFisher",
    "WrappedNormal",
    "exp_rotation",
    "log_rotation",
    "wrap",
]
