"""Distributions that neither torch nor Pyro has."""

from ppvae.distributions.circle import WrappedNormal, wrap
from ppvae.distributions.counts import Counts, log_negative_binomial
from ppvae.distributions.partly_known import PartlyKnown
from ppvae.distributions.rotations import (
    RotationNormal,
    RotationUniform,
    exp_rotation,
    log_rotation,
)
from ppvae.distributions.seen import Seen
from ppvae.distributions.sphere import PowerSpherical, VonMisesFisher
from ppvae.distributions.student_t import SharedStudentT
from ppvae.distributions.uniform import CircularUniform, SphericalUniform

__all__ = [
    "CircularUniform",
    "Counts",
    "PartlyKnown",
    "PowerSpherical",
    "RotationNormal",
    "RotationUniform",
    "Seen",
    "SharedStudentT",
    "SphericalUniform",
    "VonMisesFisher",
    "WrappedNormal",
    "exp_rotation",
    "log_negative_binomial",
    "log_rotation",
    "wrap",
]
