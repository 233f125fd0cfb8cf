r"""Classes and factors where they are known, and their posterior where they are not.

.. math::
    q(y, c, z \mid x) = q(y \mid x) \, q(c \mid x) \, q(z \mid x, y, c)

with :math:`q(y \mid x) = \delta_{y_n}` for a datum with a known class, and in the same way for c.
An unknown class is enumerated.

References:
    | Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014)
    | https://arxiv.org/abs/1406.5298
"""

from __future__ import annotations

import pyro
import torch
from torch import Tensor, nn

from ppvae.data.mapped import Columns
from ppvae.distributions.partly_known import PartlyKnown
from ppvae.errors import ArgumentError
from ppvae.nets import OneHot
from ppvae.nets.classes import check_labels
from ppvae.programs import FitHooks, data_plate

__all__ = ["SemiSupervisedGuide"]


class SemiSupervisedGuide(FitHooks):
    r""":math:`q(y \mid x) \, q(c \mid x) \, q(z \mid x, y, c)`.

    Arguments:
        encoder: x, with shape (N, ...), then the one-hot class (..., N, K), then the factors
            (..., N, C), to a distribution of z.
        classifier: x to a categorical of y (``heads.Classes(K)``), or None.
        num_classes: K, of the classifier.
        regressor: x to a distribution of c (``heads.DiagonalNormal(C)``), or None.
        trunk: Module that x passes through first, such as layers that all three networks share,
            or :class:`~ppvae.guides.Align`.

    Raises:
        ArgumentError: If there is neither a classifier nor a regressor.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        classifier: nn.Module | None = None,
        num_classes: int = 0,
        regressor: nn.Module | None = None,
        trunk: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if classifier is None and regressor is None:
            raise ArgumentError(
                "SemiSupervisedGuide: expected a classifier, a regressor or both; got neither. "
                "Use an AmortizedGuide where no label is ever known."
            )
        self.encoder = encoder
        self.classifier = classifier
        self.regressor = regressor
        self.trunk = nn.Identity() if trunk is None else trunk
        if classifier is not None:
            self.one_hot = OneHot(num_classes)

    def prepare(self, data: Columns) -> None:
        """Check all labels of the training data.

        Raises:
            ArgumentError: If they are out of range, all missing, or all of one class.
        """
        if self.classifier is not None and "y" in data:
            y = torch.as_tensor(data["y"])
            check_labels(y, self.one_hot.num_classes, missing=True)
            known = y[y >= 0]
            _refuse_all_missing("y", len(known))
            if bool((known == known[0]).all()):
                raise ArgumentError(
                    f"y: expected labels of at least two classes; got {int(known[0])} alone. "
                    "Label some data of another class, or use a VAE."
                )
        if self.regressor is not None and "c" in data:
            _refuse_all_missing("c", int((~torch.as_tensor(data["c"]).isnan()).sum()))

    def forward(self, x: Tensor, *, y: Tensor | None = None, c: Tensor | None = None) -> None:
        with data_plate(x, y, c):
            features = self.trunk(x)
            inputs: list[Tensor] = []
            if self.classifier is not None:
                q = PartlyKnown.classes(self.classifier(features), y)
                y = pyro.sample("y", q, infer={"enumerate": "parallel"})  # (..., N |)
                inputs.append(self.one_hot(y))
            if self.regressor is not None:
                q = PartlyKnown.factors(self.regressor(features), c)
                inputs.append(pyro.sample("c", q))  # (..., N | C)
            pyro.sample("z", self.encoder(features, *inputs))  # (..., N | Z)


def _refuse_all_missing(name: str, known: int) -> None:
    if known == 0:
        raise ArgumentError(
            f"{name}: expected some known labels; got none, all are missing. "
            "Label some data, or leave the column out to train without."
        )
