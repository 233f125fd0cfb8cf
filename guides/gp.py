r"""The amortised guide of a GP prior: mean-field over data, exact over the GP's weights.

.. math::
    q(Z, w) = \prod_n q(z_n \mid x_n) \; p(w \mid Z)

The weights are integrated out in closed form (:class:`ppvae.gp.CollapsedGP`), given the table of
encodings that the prior stores in training (:meth:`ppvae.gp.GPPrior.record`).

References:
    | Gaussian Process Prior Variational Autoencoders (Casale et al., 2018)
    | https://arxiv.org/abs/1810.11738
"""

from __future__ import annotations

from torch import nn

from ppvae.guides.amortized import AmortizedGuide

__all__ = ["GPGuide"]


class GPGuide(AmortizedGuide):
    r""":math:`q(z \mid x)`; the program is that of :class:`~ppvae.guides.AmortizedGuide`.

    Arguments:
        encoder: x, with shape (N, ...), to a normal distribution of z.
        prior: The model's GP prior, the same module; it records the encodings by itself.
    """

    def __init__(self, encoder: nn.Module, prior: nn.Module) -> None:
        super().__init__(encoder)
        self.prior = prior
