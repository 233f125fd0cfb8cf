r"""A VAE of counts, such as genes of cells, with libraries and batches.

.. math::
    p(x, z, l \mid s, c) = p(z) \, N(l; m_s, v_s) \prod_g
        \mathrm{NB}\left(x_g; \; e^l \rho_g(z, s, c), \; \theta_g\right)

with s the batch, c continuous covariates and l the logarithm of the library. If the library is not
latent, it is each datum's own total, or a known size factor times a typical total.

References:
    | scVI (Lopez et al., 2018), https://doi.org/10.1038/s41592-018-0229-2
"""

from __future__ import annotations

from inspect import Parameter

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.data.mapped import Columns
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.nets import FactorScaling, OneHot
from ppvae.nets.priors import prior_or_normal
from ppvae.programs import FitHooks, arguments, columns_of, data_plate

__all__ = ["CountVAE"]


class CountVAE(FitHooks):
    r""":math:`p(x, z, l \mid s, c)`.

    Arguments:
        decoder: z, with shape (..., N, Z), then indicators of the batch and covariates where
            there are any, to a :class:`~ppvae.distributions.Counts`.
        latent_dim: Z, for :math:`p(z) = N(0, I)`.
        prior: Another p(z), or p(z | columns), as in :class:`~ppvae.models.VAE`.
        batches: Number of batches in the column ``batch``; 0 without that column.
        scaling: The covariates in ``c`` as inputs of the decoder; None to pass them as they are.
        library: Mean and standard deviation of :math:`l` for each batch, with shape (B, 2), or
            (1, 2) without batches; None for the observed totals.
        log_theta: The initial :math:`\log \theta` of each batch and gene, with shape (B, G),
            where the dispersion differs by batch.
        typical: Library of a datum whose size factor is 1, where the column ``size_factor`` is
            known; None without that column.

    Raises:
        ArgumentError: If ``log_theta`` is given without batches, or ``typical`` with a
            ``library``, or unless exactly one of ``latent_dim`` and ``prior`` is given.
    """

    library: Tensor | None

    @typed(latent_dim=at_least(1))
    def __init__(
        self,
        decoder: nn.Module,
        *,
        latent_dim: int | None = None,
        prior: nn.Module | None = None,
        batches: int = 0,
        scaling: FactorScaling | None = None,
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
        self.scaling = scaling
        self.prior = prior_or_normal(prior, latent_dim, "CountVAE")
        self.register_buffer("library", library)
        self.log_theta = None if log_theta is None else nn.Parameter(log_theta)
        self.typical = typical
        self.num_rows = 1

    def prepare(self, data: Columns) -> None:
        """Count the training data, by which a prior of the weights is divided."""
        self.num_rows = len(data["x"])

    @property
    def columns(self) -> dict[str, Parameter]:
        """The columns in ``**columns``: those of the prior."""
        return columns_of(self.prior)

    def forward(
        self,
        x: Tensor | None = None,
        *,
        batch: Tensor | None = None,
        c: Tensor | None = None,
        size_factor: Tensor | None = None,
        size: int | None = None,
        **columns: Tensor,
    ) -> Tensor:
        given = known(self.one_hot, self.scaling, batch, c)
        if self.typical is None:
            size_factor = None
        taken = {"batch": batch, "c": c, **columns}
        of_prior = arguments(self.prior, {n: v for n, v in taken.items() if v is not None})
        with data_plate(x, *given, size_factor, *columns.values(), size=size):
            z = pyro.sample("z", self.prior(**of_prior))  # (..., N | Z)
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
            "size_factor: expected a column, which gives this model the library sizes; got None. "
            "Pass size_factor=..., about 1 each."
        )
    return size_factor


def known(
    one_hot: OneHot | None, scaling: FactorScaling | None, batch: Tensor | None, c: Tensor | None
) -> list[Tensor]:
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
        c = c.unsqueeze(-1) if c.dim() == 1 else c
        given.append(c if scaling is None else scaling(c))
    return given
