r"""An additive Gaussian-process prior over named columns on the latents of a model.

.. math::
    z_l \sim \mathrm{GP}\Big(0, \; \sum_j v_{jl} k_j + v_{0l} \, \delta\Big), \qquad
    \sum_j v_{jl} + v_{0l} = 1

    prior = AdditivePrior("rbf(age) + cat(id) + rbf(age)*cat(id)", latent_dim=16)
    z = pyro.sample("z", prior(id=id, age=age))                     # (N | L)

Each :math:`k_j` is a product of kernels of columns. Terms with the subject's id have separate
weights for each subject, which are eliminated exactly (:mod:`ppvae.gp.additive.arrow`). In
training the prior is :class:`~ppvae.gp.additive.AdditiveGP`, with a KL that is a sum over data and
so is unbiased in mini-batches; in evaluation it is the GP's posterior predictive.

References:
    | Longitudinal Variational Autoencoder (Ramchandran et al., 2021)
    | https://proceedings.mlr.press/v130/ramchandran21b.html
    | The bound in mini-batches, with subjects eliminated, does not come from the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from inspect import Parameter

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.data.mapped import Columns
from ppvae.errors import ArgumentError, DataError
from ppvae.gp.additive.arrow import Arrow, Blocks
from ppvae.gp.additive.checks import check_columns, check_distinct, check_training
from ppvae.gp.additive.distribution import AdditiveGP, Held, LeftOut
from ppvae.gp.additive.factors import Factor
from ppvae.gp.additive.leaving import leave_out
from ppvae.gp.additive.scaled import ScaledKernel
from ppvae.gp.additive.terms import Additive, Term, parse
from ppvae.gp.additive.visits import Visits
from ppvae.gp.encoded import EncodedPrior
from ppvae.gp.every import Every

__all__ = ["AdditivePrior"]

_REFRESH = 16
# Number of parts of the data that are left out in turn if the kernel has no subject.
PARTS = 16
ARROW = tuple(f.name for f in fields(Arrow))
LEFT = tuple(f.name for f in fields(LeftOut))


class AdditivePrior(EncodedPrior, ScaledKernel):
    r"""A GP whose kernel is a sum of terms over named columns, on each latent.

    The variances are learned; with that of the noise they add to one, and :math:`v_0 \geq`
    ``floor``.

    Arguments:
        kernel: Kernel, or its text in the notation of :func:`~ppvae.gp.additive.parse`.
        latent_dim: Number of latents L.
        subject: Categorical column whose terms have separate weights for each subject; by default
            the first of ``id``, ``subject`` and ``object`` that the kernel has.
        order: Column that orders a subject's data for :class:`LeaveVisitsOut`, so that later data
            are predicted from earlier ones. By default random data are predicted from the others.
        shared_variances: Whether all latents have the same variances.
        noise: Initial value of :math:`v_0`.
        floor: Smallest value of :math:`v_0`.
        site: Name of the latent site with this prior.
        refresh: Number of optimiser steps between two solutions of the GP; by default 16, or fewer
            if a pass over the data takes fewer, or more with many data (:class:`~ppvae.gp.Every`).

    Raises:
        ArgumentError: If an argument is out of range, or the kernel has no such subject.
    """

    subjects: Tensor
    table: Tensor
    table_variances: Tensor
    held_share: Tensor
    num_solved: Tensor

    def __init__(
        self,
        kernel: Additive | Term | Factor | str,
        *,
        latent_dim: int,
        subject: str | None = None,
        order: str | None = None,
        shared_variances: bool = False,
        noise: float = 0.1,
        floor: float = 1e-3,
        site: str = "z",
        refresh: int | None = None,
    ) -> None:
        if isinstance(kernel, Factor):
            kernel = Term(kernel)
        if isinstance(kernel, Term):
            kernel = Additive(kernel)
        super().__init__(
            parse(kernel) if isinstance(kernel, str) else kernel,
            latent_dim=latent_dim,
            subject=subject,
            shared_variances=shared_variances,
            noise=noise,
            floor=floor,
        )
        if refresh is not None and refresh < 1:
            raise ArgumentError(
                f"AdditivePrior: expected refresh >= 1; got {refresh}. Leave it out for 16."
            )
        self.order = order
        self.site = site
        self.refresh = Every(_REFRESH if refresh is None else refresh, adapts=refresh is None)
        self.visits: Visits | None = None
        self.columns_seen: dict[str, Tensor] = {}
        own = Arrow.prior(0, latent_dim, 0, 0, dtype=torch.float64)
        for name in ARROW:
            self.register_buffer(f"posterior_{name}", getattr(own, name))
            self.register_buffer(f"held_{name}", getattr(own, name).float(), persistent=False)
        self.register_buffer("subjects", torch.zeros(0, dtype=torch.int64))
        self.sized_by_data = ("subjects", *(f"posterior_{name}" for name in ARROW))
        for name, value in {
            **{f"left_{name}": torch.zeros(0) for name in LEFT},
            "table": torch.zeros(0, latent_dim),
            "table_variances": torch.zeros(0, latent_dim),
            "held_share": torch.zeros(()),
            "num_solved": torch.zeros((), dtype=torch.int64),
        }.items():
            self.register_buffer(name, value, persistent=False)

    @property
    def columns(self) -> dict[str, Parameter]:
        """The columns in ``**columns`` of ``forward``: those of the kernel."""
        kind = Parameter.KEYWORD_ONLY
        return {name: Parameter(name, kind) for name in self.kernel.columns}

    def codes(self, columns: Mapping[str, Tensor]) -> Tensor:
        """The rows' subjects as indices, with shape (N); P where a subject has no data."""
        rows = next(iter(columns.values()))
        if self.subject is None:
            return torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        if len(self.subjects) == 0:
            return torch.zeros_like(columns[self.subject], dtype=torch.int64)
        ids = columns[self.subject].long().contiguous()
        places = torch.searchsorted(self.subjects, ids).clamp_max(len(self.subjects) - 1)
        return torch.where(self.subjects[places] == ids, places, len(self.subjects))

    def prepare(self, data: Columns) -> None:
        """Read the training data's columns; reset the table of encodings.

        Raises:
            DataError: If the kernel cannot be learned from them; see
                :mod:`ppvae.gp.additive.checks`.
        """
        columns = check_training(self.kernel, data, self.subject, self.order)
        device = self.raw_variances.device
        for term in self.kernel:
            for factor in term:
                if factor.column and factor.column != self.subject:
                    values = columns[factor.column]
                    factor.prepare(values[~torch.isnan(values.double())].to(device))
        self.columns_seen = {name: values.to(device) for name, values in columns.items()}
        check_distinct(self.kernel, self.columns_seen, self.subject)
        order = None
        if self.order is not None:
            if self.order not in data:
                raise DataError(
                    f"order: expected a column of the data, {sorted(data)}; got {self.order!r}. "
                    "Name the column of the visits' times."
                )
            order = torch.as_tensor(data[self.order]).to(device)
        self.visits = Visits(self._subject_ids(), order)
        self.subjects = self.visits.levels.long()
        rows, latents = self.visits.num_rows, self.latent_dim
        like = self.raw_variances
        self.table = like.detach().new_zeros(rows, latents)
        self.table_variances = like.detach().new_ones(rows, latents)
        self.refresh.reset(rows)
        self.num_solved.zero_()
        self.solve()
        self._keep(self.state()[0])

    @torch.no_grad()
    def record(self, index: Tensor, posteriors: Mapping[str, dist.TorchDistribution]) -> None:
        """Put a batch's encodings into the table; the next refresh reads them."""
        encodings = self.encodings(posteriors)
        if encodings is None or not self.training or self.visits is None:
            return
        self.refresh.note(len(index))
        for table, moment in zip((self.table, self.table_variances), encodings, strict=True):
            table.index_copy_(0, index, moment.to(table))

    def advance(self) -> None:
        """Count an optimiser step; solve the GP every ``refresh`` steps."""
        if self.visits is not None and self.refresh.due():
            self.solve()

    @torch.no_grad()
    def state(self, *, summed: bool = False) -> tuple[Arrow, Blocks, Tensor]:
        """The weights' posterior given the table, their blocks and log-determinants (K).

        Arguments:
            summed: Whether the variances' part of the covariance is summed over latents, where
                they share their variances, as the gradient of the bound needs it.

        Raises:
            RuntimeError: If there are no training data yet.
        """
        visits = self.require_visits()
        weights = self.table_variances.double()
        scales = self.scales()
        if summed and len(scales.noise) == 1:
            weights = weights.sum(1, keepdim=True)
        f, b = self.features(self.columns_seen)
        return Arrow.solve(visits, f, b, self.table.double(), weights, scales)

    @torch.no_grad()
    def solve(self) -> None:
        """Solve the GP for the table as it is; what the next steps are trained against."""
        visits = self.require_visits()
        arrow, blocks, log_det = self.state(summed=True)
        squares = arrow.shared_mean.square().sum() + arrow.own_mean.square().sum()
        slack = arrow.shared_covariance.diagonal(dim1=-2, dim2=-1).sum(-1) + log_det
        own = arrow.own_covariance[:-1].diagonal(dim1=-2, dim2=-1).sum((0, -1))
        through = torch.einsum("pkhr,khj,pkjr->k", arrow.link, arrow.shared_covariance, arrow.link)
        size = arrow.shared_mean.size(1) + visits.num_subjects * arrow.own_mean.size(2)
        slack = (slack + own + through - size).expand(self.latent_dim).sum()
        self._hold("held_", arrow)
        self.held_share.copy_((squares + slack) / visits.num_rows)
        left = leave_out(
            visits,
            *self.features(self.columns_seen),
            self.table.double(),
            self.scales(),
            blocks,
            turn=self.num_solved,
            later=self.order is not None,
        )
        self._hold("left_", left)
        self.num_solved += 1

    def _hold(self, prefix: str, values: Arrow | LeftOut) -> None:
        """Write into the buffers that the compiled step reads."""
        for f in fields(values):
            value: Tensor = getattr(values, f.name)
            if value.is_floating_point():
                value = value.to(self.raw_variances.dtype)
            current: Tensor = getattr(self, prefix + f.name)
            if current.shape == value.shape and current.dtype == value.dtype:
                current.copy_(value)
            else:
                setattr(self, prefix + f.name, value.contiguous())

    def _keep(self, arrow: Arrow) -> None:
        """Use this posterior for predictions."""
        for name in ARROW:
            setattr(self, f"posterior_{name}", getattr(arrow, name).double().contiguous())

    def _arrow(self, prefix: str) -> Arrow:
        return Arrow(**{name: getattr(self, prefix + name) for name in ARROW})

    @property
    def settled(self) -> bool:
        """Whether it has a posterior given training data."""
        return self.posterior.shared_mean.numel() + self.posterior.own_mean.numel() > 0

    @property
    def posterior(self) -> Arrow:
        """The posterior that predictions are made from, in float64."""
        return self._arrow("posterior_")

    def forward(self, **columns: Tensor) -> dist.TorchDistribution:
        """The prior of the latents of rows with these columns, each (N): (N | L).

        Raises:
            DataError: In evaluation, if a value is one that the kernel says nothing about, such
                as a subject without data; -1 stands for a subject that is not known.
        """
        like = self.raw_variances
        rows = next(iter(columns.values()))
        if not self.settled:
            zero = like.new_zeros(len(rows), self.latent_dim)
            return dist.Normal(zero, torch.ones_like(zero)).to_event(1)
        if self.training and self.visits is not None:
            f, b = self.rows(columns)
            left = LeftOut(**{name: getattr(self, f"left_{name}") for name in LEFT})
            solution = Held(self._arrow("held_"), self.held_share, left)
            v1 = self.variances()[:, -1].to(like)
            return AdditiveGP(f, b, self.codes(columns), v1, solution)
        loc, variance = self.moments(columns)
        return dist.Normal(loc.to(like), variance.sqrt().to(like)).to_event(1)

    def moments(
        self, columns: Mapping[str, Tensor], *, arrow: Arrow | None = None
    ) -> tuple[Tensor, Tensor]:
        """The posterior predictive mean and variance of rows, (N, L) each, in float64."""
        self.check(columns)
        arrow = self.posterior if arrow is None else arrow
        f, b = self.features(columns)
        scales = self.scales()
        f, b = f[:, None] * scales.shared, b[:, None] * scales.own
        codes = self.codes(columns)
        marginal = arrow.moments(f, b, codes)
        spread = arrow.spread(marginal.g, b, codes)
        variance = (scales.noise + marginal.leverage + spread).expand_as(marginal.loc)
        return marginal.loc, variance

    def check(self, data: Columns, *, new_subjects: bool = False) -> None:
        """Refuse rows for which the kernel is undefined.

        Arguments:
            data: The kernel's columns.
            new_subjects: Whether subjects without training data are allowed.

        Raises:
            DataError: If a column has a value outside the training data's kind.
        """
        if not set(self.kernel.columns) <= set(data) or not self.settled:
            return
        device = self.raw_variances.device
        named = check_columns(self.kernel, data, self.subject)
        chosen = {k: v.to(device) for k, v in named.items()}
        for term in self.kernel:
            for factor in term:
                if factor.column and factor.column != self.subject:
                    values = chosen[factor.column]
                    factor.check(values[~torch.isnan(values.double())])
        if self.subject is None or new_subjects:
            return
        ids = chosen[self.subject]
        unknown = ids[(self.codes(chosen) == len(self.subjects)) & (ids != -1)].unique()
        if len(unknown) > 0:
            raise DataError(
                f"column {self.subject!r}: expected subjects with a visit in the training data; "
                f"got {len(unknown)} without, such as {unknown[:3].tolist()}. Keep their first "
                "visits in the training data; or, to predict, give them then (ppvae.gp.additive."
                "given_visits or with_visits, ppvae predict --visits), or write -1 for a subject "
                "that nothing is known of."
            )

    def require_visits(self) -> Visits:
        """The training data's subjects.

        Raises:
            RuntimeError: If there are no training data yet.
        """
        if self.visits is None:
            raise RuntimeError(
                "AdditivePrior: expected prepare(data) before training; got no training data. "
                "ppvae.fit does it; in your own loop call prior.prepare(data) first."
            )
        return self.visits

    def _subject_ids(self) -> Tensor:
        if self.subject is None:
            # Without own features any division does; this one is left out part by part.
            rows = next(iter(self.columns_seen.values()))
            return torch.arange(len(rows), device=rows.device) % PARTS
        return self.columns_seen[self.subject].long()

    @torch.no_grad()
    def settle(self, guide: nn.Module, data: Columns, *, chunk: int = 512) -> None:
        """Encode all training data and find the weights' exact posterior given them."""
        if self.visits is None:
            return
        means, variances = self.encode_all(guide, data, chunk)
        self.table.copy_(means)
        self.table_variances.copy_(variances)
        self._keep(self.state()[0])
