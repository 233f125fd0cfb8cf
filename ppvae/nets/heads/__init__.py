r"""Heads: functions from a network's raw output to a distribution.

The likelihood of a model, or the variational family of a guide, is a choice of head. A head
declares the shape of its input (``raw_shape``) and of a draw (``event_shape``); every network ends
in one. Element-wise heads take k raw values per element, stacked along the first event dimension:
``event_shape = (E, ...)``, ``raw_shape = (k E, ...)``.
"""

from ppvae.nets.heads.base import Elementwise, Head, Raw, positive
from ppvae.nets.heads.beside import Beside
from ppvae.nets.heads.binary import Bernoulli, ContinuousBernoulli
from ppvae.nets.heads.classes import Categorical, Classes
from ppvae.nets.heads.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from ppvae.nets.heads.directions import PowerSphericalDirection, VonMisesFisherDirection
from ppvae.nets.heads.location import Fixed, Laplace, Normal, PerElement, Scale, Shared
from ppvae.nets.heads.masked import Masked
from ppvae.nets.heads.normal import DiagonalNormal, FullNormal
from ppvae.nets.heads.rotation import Modes, Rotation, RotationModes

__all__ = [
    "Bernoulli",
    "Beside",
    "Categorical",
    "Classes",
    "ContinuousBernoulli",
    "DiagonalNormal",
    "Elementwise",
    "Fixed",
    "FullNormal",
    "Head",
    "Laplace",
    "Masked",
    "Modes",
    "NegativeBinomial",
    "Normal",
    "PerElement",
    "Poisson",
    "PowerSphericalDirection",
    "Raw",
    "Rotation",
    "RotationModes",
    "Scale",
    "Shared",
    "VonMisesFisherDirection",
    "ZeroInflatedNegativeBinomial",
    "positive",
]
