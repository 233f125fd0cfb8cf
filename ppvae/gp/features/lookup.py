r"""Kernels over objects that are described by covariates rather than only by an id.

Lookup(covariates, NetworkFeatures(nn.Linear(D, M, bias=False), M))          # linear
Lookup(covariates, NetworkFeatures(nn.Sequential(...), M))                   # a network
Lookup(covariates, InducingFeatures(RBFKernel(ard_num_dims=D), points))      # RBF
"""

from __future__ import annotations

from torch import Tensor

from ppvae.borders import typed
from ppvae.expected import ROWS
from ppvae.gp.features.feature_map import FeatureMap, fixed_number, known_ids

__all__ = ["Lookup"]


class Lookup(FeatureMap):
    """A kernel of the covariates that belong to an object's id.

    Arguments:
        covariates: Covariates of objects 0 to P - 1, with shape (P, ...).
        features: The kernel of covariates.

    Raises:
        ArgumentError: If the kernel is undefined for a covariate, or is
            :class:`~ppvae.gp.ExactFeatures`.
    """

    covariates: Tensor

    @typed(covariates=ROWS)
    def __init__(self, covariates: Tensor, features: FeatureMap) -> None:
        super().__init__()
        fixed_number("Lookup", features)
        features.check(covariates)
        self.register_buffer("covariates", covariates)
        self.features = features
        self.num_features = features.num_features

    def check(self, values: Tensor) -> None:
        known_ids(values, len(self.covariates), "Give covariates for every object.")

    def forward(self, values: Tensor) -> Tensor:
        rows: Tensor = self.features(self.covariates[values.long()])
        return rows
