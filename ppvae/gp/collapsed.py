r"""The GP prior with its weights integrated out, as a distribution over one batch's latents.

For :math:`q(Z) = \prod_{nl} N(\mu_{nl}, s_{nl}^2)` over all N data and :math:`p(Z)` the GP with
covariance :math:`F F^\top + v_1 I`, and for any vectors :math:`m_l` and matrix :math:`S`,

.. math::
    \mathrm{KL}(q(Z) \| p(Z)) \leq \tfrac12 \sum_l \left\{ \sum_n \left[
        \frac{(\mu_{nl} - f_n \cdot m_l)^2 + s_{nl}^2 (1 - h_n / v_1) + h_n}{v_1}
        - \log s_{nl}^2 + \log v_1 - 1 \right]
        + |m_l|^2 + \mathrm{tr} \, S - \log |S| - H \right\}, \qquad h_n = f_n^\top S f_n

(:math:`\log |A| \leq \mathrm{tr} \, S A - \log |S| - H`), with equality at
:math:`S = A^{-1}`, :math:`m_l = S F^\top \mu_l / v_1`. It is a sum over data: the KL registered
here is datum n's share, and the mean over a mini-batch is an unbiased estimate for any m and S
fixed before the batch was drawn. Its gradients, those of the features and the variances too, are
the exact ones at the best m and S: what these would add is nil there, but for the term
in :math:`s^2`, whose gradient :class:`~ppvae.gp.GPState` prepares (``spread``). A batch costs
:math:`O(N_b H (H + L))` whatever N is, and no matrix is factorised in it.

References:
    | Gaussian Process Prior Variational Autoencoders (Casale et al., 2018)
    | https://arxiv.org/abs/1810.11738
    | The bound in weight space, its slack and its mini-batches are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ppvae.gp.integrated import IntegratedGP

__all__ = ["CollapsedGP", "Frozen"]


@dataclass(frozen=True)
class Frozen:
    r"""The GP as it was last solved, constant between two refreshes.

    Attributes:
        mean: m, with shape (H, L).
        covariance: S, with shape (H, H).
        spread: B of :class:`~ppvae.gp.GPState`, with shape (H, H).
        share: :math:`(|m|^2 + L (\mathrm{tr} \, S - \log |S| - H)) / N`, with shape ().
        left_out: m without each fold, with shape (folds, H, L).
        folds: Each training datum's fold, with shape (N).
    """

    mean: Tensor
    covariance: Tensor
    spread: Tensor
    share: Tensor
    left_out: Tensor
    folds: Tensor


class CollapsedGP(IntegratedGP):
    r"""Datum n's share of a GP prior whose weights are integrated out, with shape (N | L).

    ``log_prob`` is the share of the mean-field bound, a lower bound of the GP's log-density that
    any Monte Carlo ELBO may use; the KL from a normal is tighter by
    :math:`\sum_{nl} s_{nl}^2 h_n / (2 v_1^2)`. ``rsample`` draws from the GP's posterior
    predictive given exact encodings.

    Arguments:
        f: Rows of F of these data, with shape (N, H).
        v1: Variance of the noise, with shape ().
        frozen: The GP as it was last solved.
    """

    def __init__(self, f: Tensor, v1: Tensor, frozen: Frozen) -> None:
        self.f, self.v1, self.frozen = f, v1, frozen
        event_shape = torch.Size(frozen.mean.shape[-1:])
        super().__init__(f.shape[:-1], event_shape, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> CollapsedGP:
        if torch.Size(batch_shape) == self.batch_shape:
            return self
        f = self.f.expand(*batch_shape, self.f.size(-1))
        return CollapsedGP(f, self.v1, self.frozen)

    @cached_property
    def loc(self) -> Tensor:
        r""":math:`f_n \cdot m`, with shape (..., N, L)."""
        return self.f @ self.frozen.mean

    @cached_property
    def solved(self) -> Tensor:
        r""":math:`S f_n`, with shape (..., N, H)."""
        return self.f @ self.frozen.covariance

    @cached_property
    def leverage(self) -> Tensor:
        r""":math:`h_n = f_n^\top S f_n`, with shape (..., N)."""
        return (self.solved * self.f).sum(-1)

    @cached_property
    def share(self) -> Tensor:
        r""":math:`\sum_l \log |A| / N + |m_l|^2 / N`, estimated at n, with shape (..., N)."""
        return self.frozen.share + self.event_shape[0] * self.leverage / self.v1

    def left_out(self, index: Tensor) -> Tensor:
        r""":math:`f_n \cdot m_{-q(n)}`, each without its own fold: training rows (N) to (N, L)."""
        weights = self.frozen.left_out[self.frozen.folds[index]]
        return (self.f[..., None, :] @ weights)[..., 0, :]

    @property
    def mean(self) -> Tensor:
        """The GP's mean at each datum, with shape (..., N, L)."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        r""":math:`v_1 + h_n`, the same for all latents, with shape (..., N, L)."""
        return (self.v1 + self.leverage)[..., None].expand(self.loc.shape)

    def kl_share(self, loc: Tensor, variance: Tensor, log_det: Tensor) -> Tensor:
        return _share(loc, variance, log_det, self)

    def log_prob(self, value: Tensor) -> Tensor:
        squares = (value - self.loc).square() / self.v1 + self.v1.log() + math.log(2 * math.pi)
        return -0.5 * (squares.sum(-1) + self.share)


def _share(loc: Tensor, variance: Tensor, log_det: Tensor, p: CollapsedGP) -> Tensor:
    """The KL's share of each datum; ``variance`` has shape (..., N, L)."""
    squares = (loc - p.loc).square().sum(-1) / p.v1
    shrunk = variance.sum(-1) * ((1 - p.leverage / p.v1) / p.v1).detach()
    constant = p.event_shape[0] * (p.v1.log() - 1)
    total = squares + shrunk + constant - log_det + p.share
    return 0.5 * (total + _gradient_alone(_through_features(variance.sum(-1).detach(), p)))


def _through_features(variance: Tensor, p: CollapsedGP) -> Tensor:
    r"""Gradient of :math:`\sum_n s_n^2 (1 - h_n / v_1) / v_1`, A's part in it too, not its value.

    As :math:`(1 - h_n / v_1) / v_1 = \min_b |e_n - F b|^2 / v_1 + |b|^2`, the best b may be held.
    """
    best = (p.solved / p.v1).detach()
    own = variance * (1 - 2 * (p.f * best).sum(-1)) / p.v1
    return own + ((p.f @ p.frozen.spread) * p.f).sum(-1) / p.v1


def _gradient_alone(value: Tensor) -> Tensor:
    return value - value.detach()
