r"""A learned vector for each object, :math:`k(p, p') = x_p^\top x_{p'}`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.gp.features.feature_map import FeatureMap, known_ids, unit_rows

__all__ = ["ObjectTable"]


class ObjectTable(FeatureMap):
    r"""A learned vector for each of P objects: :math:`k(p, p') = x_p^\top x_{p'}`, unit rows.

    Arguments:
        num_objects: P.
        num_features: M, the rank of the object covariance.

    Raises:
        ArgumentError: If a number is below 1; later, if an object is not from 0 to P - 1, or has
            no training data.
    """

    @typed(num_objects=at_least(1), num_features=at_least(1))
    def __init__(self, num_objects: int, num_features: int) -> None:
        super().__init__()
        if num_objects < 1 or num_features < 1:
            raise ArgumentError(
                f"ObjectTable: expected num_objects, num_features >= 1; got {num_objects}, "
                f"{num_features}. Count the distinct values of the object column."
            )
        self.num_objects = num_objects
        self.num_features = num_features
        # Short rows: an optimiser's step of a given size turns them further.
        self.table = nn.Parameter(torch.randn(num_objects, num_features) / num_features**0.5)

    def check(self, values: Tensor) -> None:
        """Refuse objects (N) that are not integers from 0 to P - 1.

        Raises:
            ArgumentError: If there are any.
        """
        known_ids(
            values, self.num_objects, "Number the objects from 0, or train with more objects."
        )

    def check_training(self, values: Tensor) -> None:
        """Refuse training data, objects (N), in which one of the P objects does not occur.

        Raises:
            ArgumentError: If one does not occur, or is not from 0 to P - 1.
        """
        self.check(values)
        counts = torch.bincount(values.long(), minlength=self.num_objects)
        absent = (counts == 0).nonzero()[:, 0]
        if len(absent) > 0:
            raise ArgumentError(
                f"objects: expected every id from 0 to {self.num_objects - 1} among the training "
                f"data; got no view of {len(absent)}, such as {absent[:3].tolist()}. Number only "
                "the objects that are there; infer_objects finds the features of new ones."
            )

    def forward(self, values: Tensor) -> Tensor:
        return unit_rows(self.table[values.long()])
