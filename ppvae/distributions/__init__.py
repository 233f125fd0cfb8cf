"""Distributions that are neither in torch nor in Pyro."""

from ppvae.distributions.blocks import Blocks
from ppvae.distributions.circle import WrappedNormal, wrap
from ppvae.distributions.counts import Counts
from ppvae.distributions.negative_binomial import log_negative_binomial
from ppvae.distributions.partly_known import PartlyKnown
from ppvae.distributions.rotations import (
    RotationNormal,
    RotationUniform,
    as_rotations,
    exp_rotation,
    log_rotation,
    matrix_of,
    mean_rotation,
    quaternion_of,
    rotation_angle,
)
from ppvae.distributions.seen import Seen
from ppvae.distributions.sphere import PowerSpherical, VonMisesFisher
from ppvae.distributions.student_t import SharedStudentT
from ppvae.distributions.supports import rotation_matrix, unit_vector
from ppvae.distributions.uniform import CircularUniform, SphericalUniform

__all__ = [
    "Blocks",
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
    "as_rotations",
    "exp_rotation",
    "log_negative_binomial",
    "log_rotation",
    "matrix_of",
    "mean_rotation",
    "quaternion_of",
    "rotation_angle",
    "rotation_matrix",
    "unit_vector",
    "wrap",
]
