r"""Estimators of mutual information from a critic's scores.

A critic scores pairs: :math:`T(a_i, b_i)` for values of the same row, with shape (N), and
:math:`T(a_i, b_j)` for values of different rows, with shape (N, M). Each estimator is a lower
bound of

.. math::
    I(a; b) = E_{p(a, b)}\left[\log \frac{p(a, b)}{p(a) \, p(b)}\right],

or close to one, in nats. They differ in bias and in variance:

========================== ================================= =====================================
estimator                  bias                              variance
========================== ================================= =====================================
:class:`DonskerVaradhan`   small                             large, and grows as :math:`e^I`
:class:`MINE`              small                             small: a moving average over steps
:class:`NWJ`               small                             larger than Donsker-Varadhan's
:class:`InfoNCE`           never above :math:`\log(M + 1)`   small
:class:`SMILE`             grows with I, by the clipping     bounded by the clipping
========================== ================================= =====================================

References:
    | On Variational Bounds of Mutual Information (Poole et al., 2019)
    | https://arxiv.org/abs/1905.06922
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import above, at_least

__all__ = ["MINE", "NWJ", "SMILE", "DonskerVaradhan", "Estimator", "InfoNCE"]


def log_mean_exp(scores: Tensor) -> Tensor:
    """The logarithm of the mean exponential of all elements, with shape ()."""
    return scores.flatten().logsumexp(0) - math.log(scores.numel())


class Estimator(nn.Module, ABC):
    """A function from a critic's scores to an estimate, and to the loss of the critic.

    To write one, define ``forward``; ``loss`` too if the critic is not trained to raise the
    estimate itself.
    """

    @abstractmethod
    def forward(self, joint: Tensor, marginal: Tensor) -> Tensor:
        """The estimate in nats, with shape ().

        Its gradient trains the encoder; no state is changed.

        Arguments:
            joint: Scores of pairs of the same row, with shape (N).
            marginal: Scores of each a with the b of M other rows, with shape (N, M).
        """

    def loss(self, joint: Tensor, marginal: Tensor) -> Tensor:
        """The loss of the critic, with shape (); scores as in ``forward``."""
        return -self(joint, marginal)

    def measure(self, joint: Tensor, marginal: Tensor) -> Tensor:
        """The estimate from these scores alone, with shape (); scores as in ``forward``.

        It is the number to report for data that the critic was not trained on.
        """
        return self(joint, marginal)


class DonskerVaradhan(Estimator):
    r""":math:`\overline{T(a_i, b_i)} - \log \overline{e^{T(a_i, b_j)}}`.

    The gradient of the logarithm of a batch's mean is biased, and rare large scores make it
    oscillate.

    References:
        | Asymptotic evaluation of certain Markov process expectations (Donsker and Varadhan, 1983)
    """

    def forward(self, joint: Tensor, marginal: Tensor) -> Tensor:
        return joint.mean() - log_mean_exp(marginal)


class MINE(Estimator):
    r"""Donsker-Varadhan with moving averages in place of the batch's means.

    .. math::
        \hat I = m_t - \log \eta_t, \qquad
        m_t = d \, m_{t-1} + (1 - d) \overline{T(a_i, b_i)}, \qquad
        \eta_t = d \, \eta_{t-1} + (1 - d) \overline{e^{T(a_i, b_j)}}

    with the gradient :math:`\nabla \overline{T(a_i, b_i)} - \nabla \overline{e^{T}} / \eta_t`,
    whose bias vanishes as d goes to 1, while that of a batch's own denominator does not. The paper
    uses the average in the gradient only; here the estimate is computed from the same averages, so
    that the reported values do not oscillate either.

    The averages change when the critic is trained (``loss``), not when an estimate is computed.

    A constant added to all scores leaves the estimate as it is, so that nothing keeps the level of
    the scores where the averages can follow it. Over long fits it drifts, the two averages lag
    differently, and in the end the critic diverges. The loss therefore has the further term
    :math:`\mathrm{level} \, (\log \overline{e^{T(a_i, b_j)}})^2`, which does not move its optimum.

    Arguments:
        decay: Share d of the averages that a step of the critic keeps.
        slack: Largest amount, in nats, by which :math:`\log \eta_{t - 1}` may exceed the batch's
            own value, and by which that may exceed :math:`\log \eta_t` in the gradient.
        level: Weight of the term that keeps the level of the scores; 0 leaves it out.

    Raises:
        ArgumentError: If ``decay`` is not from 0 to below 1, ``slack`` is not above 0, or
            ``level`` is below 0.

    References:
        | MINE: Mutual Information Neural Estimation (Belghazi et al., 2018), equation 12
        | https://arxiv.org/abs/1801.04062
        | Combating the Instability of Mutual Information-based Losses via Regularization
        | (Choi and Lee, 2022)
        | https://arxiv.org/abs/2011.07932
    """

    steps: Tensor
    mean: Tensor
    log_partition: Tensor

    @typed(slack=above(0), level=at_least(0))
    def __init__(self, decay: float = 0.99, *, slack: float = 1.0, level: float = 0.1) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ArgumentError(f"decay: expected 0 to below 1; got {decay}. Use 0.99.")
        self.decay, self.slack, self.level = decay, slack, level
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("log_partition", torch.zeros(()))

    def _averages(self, joint: Tensor, marginal: Tensor) -> tuple[Tensor, Tensor]:
        """Moving averages, including this batch: the joint scores, the log partition function."""
        # A plain mean of the first batches, until there are enough of them for a moving average.
        keep = (self.steps / (1 + self.steps)).clamp_max(self.decay)
        mean = keep * self.mean + (1 - keep) * joint.mean().to(keep)
        own = log_mean_exp(marginal).to(keep)
        # Otherwise one huge score would stay in the average for thousands of steps, in which the
        # critic would not be restrained.
        before = self.log_partition.minimum(own + self.slack)
        log_partition = torch.logaddexp(keep.log() + before, torch.log1p(-keep) + own)
        return mean, log_partition

    def _estimate(self, joint: Tensor, marginal: Tensor, mean: Tensor, log: Tensor) -> Tensor:
        # A batch with a huge score would otherwise have gradients of weight 1 / (1 - decay).
        divisor = log.maximum(log_mean_exp(marginal.detach()).to(log) - self.slack)
        slope = joint.mean() - (marginal - divisor).exp().mean()
        return (mean - log) + (slope - slope.detach())

    def forward(self, joint: Tensor, marginal: Tensor) -> Tensor:
        averages = self._averages(joint.detach(), marginal.detach())
        return self._estimate(joint, marginal, *averages)

    def loss(self, joint: Tensor, marginal: Tensor) -> Tensor:
        mean, log_partition = self._averages(joint.detach(), marginal.detach())
        self.steps += 1
        self.mean.copy_(mean)
        self.log_partition.copy_(log_partition)
        estimate = self._estimate(joint, marginal, mean, log_partition)
        return self.level * log_mean_exp(marginal).square() - estimate

    def measure(self, joint: Tensor, marginal: Tensor) -> Tensor:
        return joint.mean() - log_mean_exp(marginal)


class NWJ(Estimator):
    r""":math:`\overline{T(a_i, b_i)} - e^{-1} \, \overline{e^{T(a_i, b_j)}}`, without a logarithm.

    It is unbiased given the critic; the critic must learn the level of the scores, too.

    References:
        | Estimating divergence functionals and the likelihood ratio (Nguyen, Wainwright and
        | Jordan, 2010), https://arxiv.org/abs/0809.0853
    """

    def forward(self, joint: Tensor, marginal: Tensor) -> Tensor:
        return joint.mean() - (marginal - 1).exp().mean()


class InfoNCE(Estimator):
    r"""Identification of the b of :math:`a_i` among M + 1; at most :math:`\log(M + 1)`.

    .. math::
        \hat I = \frac1N \sum_i \left[ T(a_i, b_i)
            - \log \frac{e^{T(a_i, b_i)} + \sum_j e^{T(a_i, b_j)}}{M + 1} \right]

    References:
        | Representation Learning with Contrastive Predictive Coding (van den Oord et al., 2018)
        | https://arxiv.org/abs/1807.03748
    """

    def forward(self, joint: Tensor, marginal: Tensor) -> Tensor:
        everyone = torch.cat([joint[:, None], marginal], 1)
        return (joint - everyone.logsumexp(1)).mean() + math.log(everyone.size(1))


class SMILE(Estimator):
    r"""Donsker-Varadhan with clipped scores, its critic trained as a classifier.

    .. math::
        \hat I = \overline{T(a_i, b_i)}
            - \log \overline{\mathrm{clip}(e^{T(a_i, b_j)}, e^{-\tau}, e^\tau)}

    The critic is trained to distinguish pairs of the same row from others, by the Jensen-Shannon
    loss, which also has its optimum at the log density ratio.

    Arguments:
        clip: :math:`\tau`; a larger one has less bias and more variance.

    Raises:
        ArgumentError: If ``clip`` is not above 0.

    References:
        | Understanding the Limitations of Variational Mutual Information Estimators
        | (Song and Ermon, 2020), https://arxiv.org/abs/1910.06222
    """

    @typed(clip=above(0))
    def __init__(self, clip: float = 5.0) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, joint: Tensor, marginal: Tensor) -> Tensor:
        return joint.mean() - log_mean_exp(marginal.clamp(-self.clip, self.clip))

    def loss(self, joint: Tensor, marginal: Tensor) -> Tensor:
        return functional.softplus(-joint).mean() + functional.softplus(marginal).mean()
