r"""A Gaussian-process prior over object x view on the latents of any model.

    z = pyro.sample("z", self.prior(object, view))              # (N | L)

replaces :math:`N(0, I)`. What it is depends on when it is asked:

- in training, :class:`~ppvae.gp.CollapsedGP`: datum n's share of the bound on the GP's KL, from
  the table of the last encodings (:meth:`GPPrior.record`, called by the guide);
- in evaluation, the GP's posterior predictive given the training data, a Normal:
  :math:`E z_* = f_* \cdot m`, :math:`\mathrm{Var} z_{*l} = f_*^\top S_l f_* + v_1` with
  :math:`S_l = A^{-1} + A^{-1} F^\top D_l F A^{-1} / v_1^2`, :math:`D_l = \mathrm{diag} \, s_l^2`.
  Before any training data it is the prior, :math:`N(0, v_0 + v_1)`.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from ppvae.contract import arguments
from ppvae.gp.collapsed import CollapsedGP
from ppvae.gp.features import FeatureMap
from ppvae.gp.state import GPState, Layout, gram

__all__ = ["GPPrior"]


class GPPrior(nn.Module):
    r"""A GP with kernel :math:`v_0 \, k(p, p') \, k(w, w') + v_1 \delta` on each latent.

    :math:`v_0 + v_1 = 1`, both learned, and :math:`v_1 \geq` ``floor``.

    Arguments:
        objects: The kernel over objects, as a feature map with M features.
        views: The kernel over views, as a feature map with R features. H = M R.
        latent_dim: L.
        noise: The initial :math:`v_1`.
        floor: The least :math:`v_1`.
        site: The name of the latent site it is the prior of.

    Raises:
        ValueError: If ``noise`` is not between ``floor`` and one.

    References:
        | Gaussian Process Prior Variational Autoencoders (Casale et al., 2018)
        | https://arxiv.org/abs/1810.11738
    """

    mean: Tensor
    covariance: Tensor
    table: Tensor

    def __init__(
        self,
        objects: FeatureMap,
        views: FeatureMap,
        *,
        latent_dim: int,
        noise: float = 0.1,
        floor: float = 1e-4,
        site: str = "z",
    ) -> None:
        super().__init__()
        if not 0 < floor < noise < 1:
            raise ValueError(
                f"noise: expected 0 < floor < noise < 1; got floor {floor} and noise {noise}. "
                "Use the defaults."
            )
        self.objects = objects
        self.views = views
        self.latent_dim = latent_dim
        self.floor = floor
        self.site = site
        share = (noise - floor) / (1 - floor)
        self.raw_noise = nn.Parameter(torch.tensor(share).logit())
        size = objects.num_features * views.num_features
        # The posterior of the weights; the prior, N(0, I), until there are training data.
        self.register_buffer("mean", torch.zeros(size, latent_dim, dtype=torch.float64))
        eye = torch.eye(size, dtype=torch.float64)
        self.register_buffer("covariance", eye.repeat(latent_dim, 1, 1))
        self.register_buffer("table", torch.zeros(0, latent_dim), persistent=False)
        self.layout: Layout | None = None
        self._staged: tuple[Tensor, Tensor] | None = None

    def variances(self) -> tuple[Tensor, Tensor]:
        r""":math:`v_0, v_1`, each with shape (), in float64."""
        v1 = self.floor + (1 - self.floor) * self.raw_noise.double().sigmoid()
        return 1 - v1, v1

    def prepare(self, data: Any) -> None:
        """Take note of the training data's columns ``object`` and ``view``; reset the table."""
        objects, views = torch.as_tensor(data["object"]), torch.as_tensor(data["view"])
        device = self.raw_noise.device
        self.objects.check(objects)
        self.views.check(views)
        self.layout = Layout(objects.to(device), views.to(device))
        self.table = torch.zeros(len(objects), self.latent_dim, device=device)

    def record(self, index: Tensor, loc: Tensor) -> None:
        """Stage a batch's encodings for the table; they enter it once this step has read it.

        Arguments:
            index: Row numbers in the training data, with shape (N).
            loc: Posterior means, with shape (..., N, L).
        """
        if self.training and self.layout is not None:
            loc = loc.detach().reshape(-1, *loc.shape[-2:])[0]
            self._staged = index, loc.to(self.table.dtype)

    def state(self) -> GPState:
        """The GP given the table of encodings, with gradients into kernels and variances."""
        if self.layout is None:
            raise RuntimeError(
                "GPPrior: expected prepare(data) before training; got no training data. "
                "ppvae.fit does it; in your own loop call prior.prepare(data) first."
            )
        layout = self.layout
        x, r = self.objects(layout.objects), self.views(layout.views)
        return GPState.build(layout, x, r, self.table, *self.variances())

    def forward(self, objects: Tensor, views: Tensor) -> dist.TorchDistribution:
        """The prior of the latents that show ``objects`` (N) in ``views`` (N): (N | L)."""
        x, r = self.objects(objects), self.views(views)
        dtype = self.raw_noise.dtype
        if self.training and self.layout is not None:
            return CollapsedGP(self._read, x, r, latent_dim=self.latent_dim, dtype=dtype)
        loc, variance = self._moments(x, r)
        return dist.Normal(loc.to(dtype), variance.sqrt().to(dtype)).to_event(1)

    def _read(self) -> GPState:
        """The state before this batch's rows enter the table: m may not depend on the batch."""
        state = self.state()
        if self._staged is not None:
            index, loc = self._staged
            self.table.index_copy_(0, index, loc)
            self._staged = None
        return state

    def _moments(self, x: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        v0, v1 = self.variances()
        f = v0.sqrt() * (x[..., :, None] * r[..., None, :]).flatten(-2)
        spread = torch.einsum("...h,lhk,...k->...l", f, self.covariance, f)
        return f @ self.mean, spread.clamp_min(0) + v1

    @torch.no_grad()
    def settle(self, guide: nn.Module, data: Any, *, chunk: int = 512) -> None:
        """Encode all training data afresh and find the weights' exact posterior given them.

        Arguments:
            guide: A guide with the site of this prior; its distribution's mean and variance
                are used.
            data: The training data that :meth:`prepare` saw.
            chunk: Rows encoded at a time.
        """
        if self.layout is None:
            return
        locs, variances = [], []
        training = guide.training
        guide.eval()
        for start in range(0, self.layout.num_rows, chunk):
            stop = min(start + chunk, self.layout.num_rows)
            rows = torch.arange(start, stop, device=self.table.device)
            batch = data.batch(rows, dtype=self.raw_noise.dtype, device=self.table.device)
            trace = poutine.trace(guide).get_trace(**arguments(guide, batch))
            q: Any = trace.nodes[self.site]["fn"]
            locs.append(q.mean)
            variances.append(q.variance)
        guide.train(training)
        self.table = torch.cat(locs).to(self.table)
        state = self.state()
        self.mean.copy_(state.mean)
        self.covariance.copy_(self._covariance(state, torch.cat(variances).double()))

    def _covariance(self, state: GPState, variances: Tensor) -> Tensor:
        """S_l for each latent, with shape (L, H, H)."""
        assert self.layout is not None
        cells = self.layout.cell_sums(variances).movedim(-1, 0)
        inverse = torch.cholesky_inverse(state.cholesky)
        noise = gram(cells, state.x, state.r) * (state.v0 / state.v1.square())
        return inverse + inverse @ noise @ inverse
