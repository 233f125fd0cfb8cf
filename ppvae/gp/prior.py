r"""A Gaussian-process prior over object x view on the latents of any model.

    z = pyro.sample("z", self.prior(object, view))              # (N | L)

replaces :math:`N(0, I)`. The distribution depends on the mode:

- in training, :class:`~ppvae.gp.CollapsedGP`: datum n's share of the bound on the GP's KL, from
  the table of the last encodings (:meth:`GPPrior.record`). The GP is solved for the table every
  few steps (:meth:`GPPrior.advance`); between two solutions the bound still holds;
- in evaluation, the GP's posterior predictive given the training data, a Normal:
  :math:`E z_* = f_* \cdot m`, :math:`\mathrm{Var} z_{*l} = f_*^\top S_l f_* + v_1` with
  :math:`S_l = A^{-1} + A^{-1} F^\top D_l F A^{-1} / v_1^2`, :math:`D_l = \mathrm{diag} \, s_l^2`.
  Before any training data it is the prior, :math:`N(0, v_0 + v_1)`.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.borders import typed
from ppvae.data.mapped import Columns
from ppvae.errors import ArgumentError
from ppvae.expected import above, at_least
from ppvae.gp.collapsed import CollapsedGP, Frozen
from ppvae.gp.encoded import EncodedPrior
from ppvae.gp.every import Every
from ppvae.gp.features import FeatureMap, fixed_number
from ppvae.gp.layout import Layout
from ppvae.gp.state import GPState, spreads, weight_noise

__all__ = ["GPPrior"]

_REFRESH = 8


class GPPrior(EncodedPrior):
    r"""A GP with kernel :math:`v_0 \, k(p, p') \, k(w, w') + v_1 \delta` on each latent.

    :math:`v_0 + v_1 = 1`, both learned, and :math:`v_1 \geq` ``floor``.

    Arguments:
        objects: The kernel over objects, as a feature map with M features.
        views: The kernel over views, as a feature map with R features. H = M R.
        latent_dim: L.
        noise: The initial :math:`v_1`.
        floor: The least :math:`v_1`.
        site: Name of the latent site with this prior.
        refresh: Optimiser steps between two solutions of the GP. The features' gradient is
            computed at every step; with 1, it is exact at every step. By default 8, or fewer if a
            pass over the data takes fewer, or more with many data (:class:`~ppvae.gp.Every`).
        folds: Largest number of groups of views that :class:`~ppvae.gp.LeaveViewOut` leaves out,
            each in turn; 0 if it is not used.

    Raises:
        ArgumentError: If ``noise`` is not between ``floor`` and one, a count is too small,
            or a kernel is :class:`~ppvae.gp.ExactFeatures`, whose features grow with the data.

    References:
        | Gaussian Process Prior Variational Autoencoders (Casale et al., 2018)
        | https://arxiv.org/abs/1810.11738
    """

    mean: Tensor
    covariance: Tensor
    table: Tensor
    table_variances: Tensor
    frozen_mean: Tensor
    frozen_covariance: Tensor
    frozen_spread: Tensor
    frozen_share: Tensor
    frozen_left_out: Tensor

    @typed(
        latent_dim=at_least(1),
        noise=above(0),
        floor=above(0),
        refresh=at_least(1),
        folds=at_least(0),
    )
    def __init__(
        self,
        objects: FeatureMap,
        views: FeatureMap,
        *,
        latent_dim: int,
        noise: float = 0.1,
        floor: float = 1e-3,
        site: str = "z",
        refresh: int | None = None,
        folds: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < floor < noise < 1:
            raise ArgumentError(
                f"noise: expected 0 < floor < noise < 1; got floor {floor} and noise {noise}. "
                "Use the defaults."
            )
        if latent_dim < 1 or (refresh is not None and refresh < 1) or folds < 0:
            raise ArgumentError(
                f"GPPrior: expected latent_dim, refresh >= 1 and folds >= 0; got {latent_dim}, "
                f"{refresh}, {folds}. Use 16, None and 16."
            )
        fixed_number("GPPrior", objects, views)
        self.objects = objects
        self.views = views
        self.latent_dim = latent_dim
        self.floor = floor
        self.site = site
        self.refresh = Every(_REFRESH if refresh is None else refresh, adapts=refresh is None)
        self.folds = folds
        share = (noise - floor) / (1 - floor)
        self.raw_noise = nn.Parameter(torch.tensor(share).logit())
        size = objects.num_features * views.num_features
        # The posterior of the weights; the prior, N(0, I), until there are training data.
        self.register_buffer("mean", torch.zeros(size, latent_dim))
        self.register_buffer("covariance", torch.eye(size).repeat(latent_dim, 1, 1))
        for name, value in {
            "table": torch.zeros(0, latent_dim),
            "table_variances": torch.zeros(0),
            "frozen_mean": torch.zeros(size, latent_dim),
            "frozen_covariance": torch.eye(size),
            "frozen_spread": torch.zeros(size, size),
            "frozen_share": torch.zeros(()),
            "frozen_left_out": torch.zeros(0, size, latent_dim),
        }.items():
            self.register_buffer(name, value, persistent=False)
        self.layout: Layout | None = None

    def variances(self) -> tuple[Tensor, Tensor]:
        r""":math:`v_0, v_1`, each with shape (), in float64."""
        v1 = self.floor + (1 - self.floor) * self.raw_noise.double().sigmoid()
        return 1 - v1, v1

    def rows(self, objects: Tensor, views: Tensor) -> Tensor:
        r""":math:`f = \sqrt{v_0} \, x \otimes r`: (N), (N) to (N, H), in the latents' dtype."""
        v0, _ = self.variances()
        x, r = self.objects(objects), self.views(views)
        f = v0.sqrt() * (x[..., :, None] * r[..., None, :]).flatten(-2)
        return f.to(self.raw_noise.dtype)

    def check(self, data: Columns) -> None:
        """Refuse objects and views for which the kernels are undefined."""
        for name, features in (("object", self.objects), ("view", self.views)):
            if name in data:
                features.check(torch.as_tensor(data[name]).to(self.raw_noise.device))

    def extra_repr(self) -> str:
        return f"latent_dim={self.latent_dim}, noise={self.variances()[1].item():.3g}"

    def prepare(self, data: Columns) -> None:
        """Store the training data's columns ``object`` and ``view``, and reset the table."""
        objects, views = torch.as_tensor(data["object"]), torch.as_tensor(data["view"])
        device = self.raw_noise.device
        self.objects.check_training(objects)
        self.views.check_training(views)
        _refuse_merged(views, self.raw_noise.dtype)
        self.layout = Layout(objects.to(device), views.to(device), folds=max(1, self.folds))
        self.table = self.frozen_mean.new_zeros(len(objects), self.latent_dim)
        self.table_variances = self.frozen_mean.new_ones(len(objects)) * self.latent_dim
        if self.folds > 0:
            shape = (self.layout.num_folds, *self.frozen_mean.shape)
            self.frozen_left_out = self.frozen_mean.new_zeros(shape)
        self.refresh.reset(len(objects))
        self.solve()

    @torch.no_grad()
    def record(self, index: Tensor, posteriors: Mapping[str, dist.TorchDistribution]) -> None:
        """Put a batch's encodings into the table; the next refresh reads them.

        Arguments:
            index: Row numbers in the training data, with shape (N).
            posteriors: The guide's distributions by latent site, with shape (..., N | L); the
                first particle is used. A :class:`~ppvae.gp.WeightedNormal` needs no table.
        """
        encodings = self.encodings(posteriors)
        if encodings is not None and self.training and self.layout is not None:
            mean, variance = encodings
            self.refresh.note(len(index))
            self.table.index_copy_(0, index, mean.to(self.table))
            self.table_variances.index_copy_(0, index, variance.sum(-1).to(self.table))

    def advance(self) -> None:
        """Count an optimiser step; solve the GP every ``refresh`` steps."""
        if self.layout is None:
            return
        if self.refresh.due():
            self.solve()

    def state(self, *, leave_out: bool = False) -> GPState:
        """The GP given the table of encodings, in float64.

        Raises:
            RuntimeError: If there are no training data yet.
        """
        return GPState.solve(
            self._layout(),
            *self._features(),
            *self.variances(),
            table=self.table,
            variances=self.table_variances,
            leave_out=leave_out,
        )

    @torch.no_grad()
    def solve(self) -> GPState:
        """Solve the GP for the table as it is; what the next steps are trained against."""
        layout, state = self._layout(), self.state(leave_out=self.folds > 0)
        size, latent_dim = state.mean.shape
        slack = state.covariance.trace() + state.log_det - size
        share = (state.mean.square().sum() + latent_dim * slack) / layout.num_rows
        self.frozen_mean.copy_(state.mean)
        self.frozen_covariance.copy_(state.covariance)
        self.frozen_spread.copy_(state.spread)
        self.frozen_share.copy_(share)
        self.frozen_left_out.copy_(state.left_out)
        return state

    def forward(self, object: Tensor, view: Tensor) -> dist.TorchDistribution:  # noqa: A002
        """The prior of the latents of objects (N) in views (N) or (N, V), with shape (N | L).

        Raises:
            ArgumentError: In evaluation, if an object or a view is none that the kernels know.
        """
        if not self.training:
            self.check({"object": object, "view": view})
        f = self.rows(object, view)
        v1 = self.variances()[1].to(f)
        if self.training and self.layout is not None:
            frozen = Frozen(
                self.frozen_mean,
                self.frozen_covariance,
                self.frozen_spread,
                self.frozen_share,
                self.frozen_left_out,
                self.layout.fold_codes,
            )
            return CollapsedGP(f, v1, frozen)
        spread = spreads(f, self.covariance).clamp_min(0)
        return dist.Normal(f @ self.mean, (spread + v1).sqrt()).to_event(1)

    def _layout(self) -> Layout:
        if self.layout is None:
            raise RuntimeError(
                "GPPrior: expected prepare(data) before training; got no training data. "
                "ppvae.fit does it; in your own loop call prior.prepare(data) first."
            )
        return self.layout

    def _features(self) -> tuple[Tensor, Tensor]:
        layout = self._layout()
        with torch.no_grad():
            return self.objects(layout.objects), self.views(layout.views)

    @torch.no_grad()
    def settle(self, guide: nn.Module, data: Columns, *, chunk: int = 512) -> None:
        """Encode all training data, and compute the weights' exact posterior given them.

        Arguments:
            guide: A guide with the site of this prior; its distribution's mean and variance
                are used.
            data: The training data that :meth:`prepare` saw.
            chunk: Rows encoded at a time.
        """
        if self.layout is None:
            return
        locs, variances = self.encode_all(guide, data, chunk)
        self.table.copy_(locs)
        self.table_variances.copy_(variances.sum(-1))
        state = self.solve()
        noise = weight_noise(
            self.layout,
            *self._features(),
            *self.variances(),
            covariance=state.covariance,
            variances=variances,
        )
        self.mean.copy_(state.mean)
        self.covariance.copy_(state.covariance + noise)


def _refuse_merged(views: Tensor, dtype: torch.dtype) -> None:
    """Raise an ArgumentError if different views become equal in the dtype of the model."""
    if not views.is_floating_point() or torch.finfo(views.dtype).eps >= torch.finfo(dtype).eps:
        return
    levels = torch.unique(views, dim=0)
    kept, codes = torch.unique(levels.to(dtype), dim=0, return_inverse=True)
    if len(kept) < len(levels):
        first = int(torch.bincount(codes).argmax())
        pair = levels[codes == first][:2].tolist()
        raise ArgumentError(
            f"view: expected values that differ in {dtype}, in which the model is trained; got "
            f"{len(levels)} that are {len(kept)} there, such as {pair[0]} and {pair[1]}. Subtract "
            "the least value from the column, or measure it in a larger unit."
        )
