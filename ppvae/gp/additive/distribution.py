r"""The additive GP prior of one batch's latents, its weights integrated out.

The bound of :mod:`ppvae.gp.collapsed` with the weights' posterior in arrow form
(:mod:`ppvae.gp.additive.arrow`) and variances that may differ between latents: datum n's share of
the KL, whose mean over a mini-batch is unbiased given the posterior that it holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppvae.gp.additive.arrow import Arrow, Moments
from ppvae.gp.integrated import IntegratedGP

__all__ = ["AdditiveGP", "Held", "LeftOut"]


@dataclass(frozen=True)
class LeftOut:
    """Posterior of each subject's weights given a part of its data.

    Attributes:
        shared_mean: :math:`m_w` without the subjects of each fold, with shape (folds, L, H).
        folds: Each subject's fold, with shape (P).
        own_mean: Mean given the data that are kept, with shape (P, L, R).
        own_covariance: Covariance given them, with shape (P, K, R, R).
        link: Link to the shared weights given them, with shape (P, K, H, R).
        kept: Whether each training datum is kept, with shape (N).
        codes: Each training datum's subject as an index, with shape (N).
    """

    shared_mean: Tensor
    folds: Tensor
    own_mean: Tensor
    own_covariance: Tensor
    link: Tensor
    kept: Tensor
    codes: Tensor


@dataclass(frozen=True)
class Held:
    r"""The last solution of the GP, constant between two refreshes.

    Attributes:
        arrow: Posterior of the weights.
        share: :math:`\sum_l (|m_l|^2 + \mathrm{tr} S_l - \log |S_l| - H - P R) / N`, with
            shape ().
        left_out: Posterior given a part of each subject's data; None if nothing is left out.
    """

    arrow: Arrow
    share: Tensor
    left_out: LeftOut | None


class AdditiveGP(IntegratedGP):
    r"""The term of datum n in an additive GP prior, with shape (N | L).

    ``log_prob`` is the share of a lower bound of the GP's log-density, as that of
    :class:`~ppvae.gp.CollapsedGP`; the KL from a normal is tighter.

    Arguments:
        f: Scaled shared features, with shape (N, K, H).
        b: Scaled features of the subjects, with shape (N, K, R).
        subjects: Subjects as indices, with shape (N).
        v1: Variances of the noise, with shape (K).
        held: Last solution of the GP.
        moments: Moments of the rows under the weights' posterior; from the features by default.
        batch_shape: Shape of the batch; (N) by default.
    """

    def __init__(
        self,
        f: Tensor,
        b: Tensor,
        subjects: Tensor,
        v1: Tensor,
        held: Held,
        *,
        moments: Moments | None = None,
        batch_shape: torch.Size | None = None,
    ) -> None:
        self.f, self.b, self.subjects, self.v1, self.held = f, b, subjects, v1, held
        self.moments = held.arrow.moments(f, b, subjects) if moments is None else moments
        super().__init__(
            f.shape[:1] if batch_shape is None else batch_shape,
            torch.Size([len(held.arrow.shared_mean)]),
            validate_args=False,
        )

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> AdditiveGP:
        return AdditiveGP(
            self.f,
            self.b,
            self.subjects,
            self.v1,
            self.held,
            moments=self.moments,
            batch_shape=torch.Size(batch_shape),
        )

    @property
    def share(self) -> Tensor:
        r""":math:`\sum_l \log |A_l| / N + |m_l|^2 / N`, estimated at n, with shape (N)."""
        return self.held.share + self._over_latents(self.moments.leverage / self.v1)

    def left_out(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The latents given other subjects and some of the own subject's data.

        Arguments:
            index: Row numbers in the training data, with shape (N).

        Returns:
            Mean and variance, with shape (N, L), and whether the datum is left out, with shape
            (N). The shared weights' variance is that given all data, a little below.
        """
        left = self.held.left_out
        assert left is not None
        subject = left.codes[index]
        shared = left.shared_mean[left.folds[subject]]
        loc = (self.f * shared).sum(-1) + (self.b * left.own_mean[subject]).sum(-1)
        g = self.f - (left.link[subject] @ self.b[..., None])[..., 0]
        through = torch.einsum("nkh,khj,nkj->nk", g, self.held.arrow.shared_covariance, g)
        own = (left.own_covariance[subject] @ self.b[..., None])[..., 0]
        variance = self.v1 + through + (own * self.b).sum(-1)
        return loc, variance.expand(loc.shape), ~left.kept[index]

    @property
    def mean(self) -> Tensor:
        """The GP's mean at each datum, with shape (N, L)."""
        return self.moments.loc.expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """The variance at each datum, the noise included, with shape (N, L)."""
        return (self.v1 + self.moments.leverage).expand(self.batch_shape + self.event_shape)

    def kl_share(self, loc: Tensor, variance: Tensor, log_det: Tensor) -> Tensor:
        return _share(loc, variance, log_det, self)

    def log_prob(self, value: Tensor) -> Tensor:
        constant = self.v1.log() + math.log(2 * math.pi)
        squares = (value - self.moments.loc).square() / self.v1 + constant
        return -0.5 * (squares.sum(-1) + self.share)

    def _over_latents(self, values: Tensor) -> Tensor:
        """(..., K) summed over L latents: (...)."""
        return values.expand(*values.shape[:-1], self.event_shape[0]).sum(-1)


def _share(loc: Tensor, variance: Tensor, log_det: Tensor, p: AdditiveGP) -> Tensor:
    """The KL's share of each datum; ``variance`` has shape (..., N, L)."""
    h, v1 = p.moments.leverage, p.v1
    squares = ((loc - p.moments.loc).square() / v1).sum(-1)
    shrunk = (variance * ((1 - h / v1) / v1).detach()).sum(-1)
    constant = p._over_latents(v1.log() - 1)
    total = squares + shrunk + constant - log_det + p.share
    gradient = _through_features(variance.detach(), p)
    return 0.5 * (total + gradient - gradient.detach())


def _through_features(variance: Tensor, p: AdditiveGP) -> Tensor:
    r"""Gradient of :math:`\sum_{nl} s_{nl}^2 (1 - h_{nl} / v_1) / v_1`, not its value.

    As :func:`ppvae.gp.collapsed._through_features`: the best solution may be held.
    """
    m = p.moments
    best = (p.f * m.solved_shared.detach()).sum(-1) + (p.b * m.solved_own.detach()).sum(-1)
    own = variance * (1 - 2 * best / p.v1.detach()) / p.v1
    spread = p.held.arrow.spread(m.g, p.b, p.subjects) / p.v1
    return own.sum(-1) + spread.sum(-1)
