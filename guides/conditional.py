r"""The amortised guide of a conditional VAE.

.. math::
    q(z \mid x, y, c)
"""

from __future__ import annotations

import pyro
from torch import Tensor, nn

from ppvae.nets import Conditions
from ppvae.programs import data_plate

__all__ = ["ConditionalGuide"]


class ConditionalGuide(nn.Module):
    r""":math:`q(z \mid x, y, c)`.

    Arguments:
        encoder: x, with shape (N, ...), then the conditions, to a distribution of z.
        conditions: Turns the columns ``y`` and ``c`` into the encoder's further inputs; it may
            be the model's.
        trunk: What x goes through first, such as :class:`~ppvae.guides.Align`.
    """

    def __init__(
        self, encoder: nn.Module, conditions: Conditions, *, trunk: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.conditions = conditions
        self.trunk = nn.Identity() if trunk is None else trunk

    def forward(self, x: Tensor, *, y: Tensor | None = None, c: Tensor | None = None) -> Tensor:
        given = self.conditions(y, c)
        with data_plate(x, *given):
            return pyro.sample("z", self.encoder(self.trunk(x), *given))  # (..., N | Z)
