r"""GP-prior VAE with the view as a further input of the decoder.

.. math::
    p(Z) \prod_n p(x_n \mid z_n, w_n), \qquad
    z_l \sim \mathrm{GP}\left(0, \; v_0 \, k(p, p') \, k(w, w') + v_1 \delta\right)

With a decoder that applies the known effect of a view to an image, such as
:class:`~ppvae.nets.TurnedDecoder`, the latents represent only the content and its slow change.

References:
    | Gaussian Process Prior Variational Autoencoders (Casale et al., 2018)
    | https://arxiv.org/abs/1810.11738 (whose decoder takes the latents alone)
    | Learning Structured Output Representation using Deep Conditional Generative Models
    | (Sohn, Yan and Lee, 2015), https://papers.nips.cc/paper/5775
"""

from __future__ import annotations

from torch import nn

from ppvae.models.cvae import ConditionalVAE
from ppvae.nets import Columns

__all__ = ["ConditionalGPVAE"]


class ConditionalGPVAE(ConditionalVAE):
    r""":math:`p(Z \mid \mathrm{object}, \mathrm{view}) \prod_n p(x_n \mid z_n, \mathrm{view}_n)`.

    The program is that of :class:`~ppvae.models.ConditionalVAE`, conditioned on the view, with a
    GP as prior.

    Arguments:
        prior: The GP over object and view, a :class:`~ppvae.gp.GPPrior`.
        decoder: z, with shape (..., N, L), and views (N) to a distribution of x.
    """

    def __init__(self, prior: nn.Module, decoder: nn.Module) -> None:
        super().__init__(decoder, Columns("view"), prior=prior)
