r"""A VAE of counts, such as genes of cells, with libraries and batches.

.. math::
    p(x, z, l \mid s, c) = N(z; 0, I) \, N(l; m_s, v_s) \prod_g
        \mathrm{NB}\left(x_g; \; e^l \rho_g(z, s, c), \; \theta_g\right)

with s the batch, c continuous covariates and l the logarithm of the library. If the library is not
latent, it is each datum's own total, or a known size factor times a typical total.

References:
    | scVI (Lopez et al., 2018), https://doi.org/10.1038/s41592-018-0229-2
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.data.mapped import Columns
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.nets import OneHot
from ppvae.programs import FitHooks, data_plate

__all__ = ["CountVAE"]


class CountVAE(FitHooks):
    r""":math:`p(x, z, l \mid s, c)`.

    Arguments:
        decoder: z, with shape (..., N, Z), then indicators of the batch and covariates where
            there are any, to a :class:`~ppvae.distributions.Counts`.
        latent_dim: Z.
        batches: Number of batches in the column ``batch``; 0 without that column.
        library: Mean and standard deviation of :math:`l` for each batch, with shape (B, 2), or
            (1, 2) without batches; None for the observed totals.
        log_theta: The initial :math:`\log \theta` of each batch and gene, with shape (B, G),
            where the dispersion differs by batch.
        typical: Library of a datum whose size factor is 1, where the column ``size_factor`` is
            known; None without that column.

    Raises:
        ArgumentError: If ``log_theta`` is given without batches, or ``typical`` with a
            ``library``.
    """

    zero: Tensor
    library: Tensor | None

    @typed(latent_dim=at_least(1))
    def __init__(
        self,
        decoder: nn.Module,
        *,
        latent_dim: int,
        batches: int = 0,
        library: Tensor | None = None,
        log_theta: Tensor | None = None,
        typical: float | None = None,
    ) -> None:
        super().__init__()
        if typical is not None and library is not None:
            raise ArgumentError(
                "typical: expected a library that is latent, or known by size factors; got both. "
                "Leave one out."
            )
        if log_theta is not None and not batches:
            raise ArgumentError(
                "log_theta: expected batches where the dispersion differs by batch; got none. "
                "Add the column 'batch', or leave log_theta out."
            )
        self.decoder = decoder
        self.one_hot = OneHot(batches) if batches else None
        self.register_buffer("zero", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("library", library)
        self.log_theta = None if log_theta is None else nn.Parameter(log_theta)
        self.typical = typical
        self.num_rows = 1

    def prepare(self, data: Columns) -> None:
        """Count the training data, by which a prior of the weights is divided."""
        self.num_rows = len(data["x"])

    def forward(
        self,
        x: Tensor | None = None,
        *,
        batch: Tensor | None = None,
        c: Tensor | None = None,
        size_factor: Tensor | None = None,
        size: int | None = None,
    ) -> Tensor:
        given = known(self.one_hot, batch, c)
        if self.typical is None:
            size_factor = None
        with data_plate(x, *given, size_factor, size=size):
            z = pyro.sample("z", dist.Normal(self.zero, 1.0).to_event(1))  # (..., N | Z)
            fn = self.decoder(z, *given)
            if self.log_theta is not None:
                fn = fn.like(log_theta=given[0] @ self.log_theta)
            if self.library is not None:
                prior = given[0] @ self.library if self.one_hot else self.library[0]
                log_library = dist.Normal(prior[..., 0], prior[..., 1])
                l = pyro.sample("l", log_library)  # noqa: E741  (..., N)
                fn = fn.like(library=l.exp())
            if self.typical is not None:
                fn = fn.like(library=self.typical * _expected(size_factor))
            return pyro.sample("x", fn, obs=x)  # (..., N | G)


def _expected(size_factor: Tensor | None) -> Tensor:
    if size_factor is None:
        raise ArgumentError(
            "size_factor: expected a column, which this model knows the libraries by; got None. "
            "Pass size_factor=..., about 1 each."
        )
    return size_factor


def known(one_hot: OneHot | None, batch: Tensor | None, c: Tensor | None) -> list[Tensor]:
    """The known columns of a datum, as inputs of networks.

    Raises:
        ArgumentError: If there are batches but no column ``batch``.
    """
    given = []
    if one_hot is not None:
        if batch is None:
            raise ArgumentError(
                "batch: expected a column, which this model is conditioned on; got None. "
                "Pass batch=..., the numbers of the batches."
            )
        given.append(one_hot(batch))
    if c is not None:
        given.append(c.unsqueeze(-1) if c.dim() == 1 else c)
    return given
