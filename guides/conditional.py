r"""The amortised guide of a conditional VAE.

.. math::
    q(z \mid x, y, c)

References:
    | Learning Structured Output Representation using Deep Conditional Generative Models
    | (Sohn, Yan and Lee, 2015)
    | https://papers.nips.cc/paper/5775
"""

from __future__ import annotations

from inspect import Parameter

import pyro
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.programs import columns_of, data_plate

__all__ = ["ConditionalGuide"]


class ConditionalGuide(nn.Module):
    r""":math:`q(z \mid x, y, c)`.

    Arguments:
        encoder: x, with shape (N, ...), then the conditions, to a distribution of z.
        conditions: Module from columns to the encoder's further inputs, as for
            :class:`~ppvae.models.ConditionalVAE`; the model's own may be used.
        trunk: Module that x passes through first, such as :class:`~ppvae.guides.Align`.
    """

    @typed()
    def __init__(
        self, encoder: nn.Module, conditions: nn.Module, *, trunk: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.conditions = conditions
        self.trunk = nn.Identity() if trunk is None else trunk

    @property
    def columns(self) -> dict[str, Parameter]:
        """The columns in ``**columns``: those of the conditions."""
        return columns_of(self.conditions)

    def forward(self, x: Tensor, **columns: Tensor) -> Tensor:
        given = self.conditions(**columns)
        with data_plate(x, *columns.values()):
            return pyro.sample("z", self.encoder(self.trunk(x), *given))  # (..., N | Z)
