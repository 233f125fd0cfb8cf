r"""Likelihoods of counts.

With a ``library``, the raw numbers are logits of each feature's share of the datum's total
(:class:`ppvae.distributions.Counts`), which suits genes of a cell or words of a document, where
totals differ. Without a library, each element has a separate rate, softplus(raw) + 1e-4, which
suits photons on a pixel.
"""

from __future__ import annotations

from typing import TypeAlias

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppvae.distributions import Counts, log_negative_binomial
from ppvae.errors import ArgumentError
from ppvae.nets.heads.base import Elementwise, Shape, positive, raw_positive

__all__ = ["NegativeBinomial", "Poisson", "ZeroInflatedNegativeBinomial"]

Library: TypeAlias = tuple[float, float]
# Of log theta, and of the logit of zero inflation, in the null model's fit.
LOG_THETA = (-7.0, 12.0)
GATE = (-9.0, 9.0)
# Elements times iterations of the null model's joint fit.
WORK = 2**24


class _CountHead(Elementwise):
    is_count = True
    center: Tensor | None

    def __init__(
        self,
        event_shape: Shape,
        *,
        library: Library | None = None,
        center: Tensor | None = None,
        k: int = 1,
    ) -> None:
        super().__init__(event_shape, k=k)
        self.register_buffer("center", center, persistent=False)
        self.library = None if library is None else (float(library[0]), float(library[1]))

    def shares(self, raw: Tensor) -> Tensor:
        """The logarithm of each feature's share of the library."""
        inner = len(self.event_shape)
        raw = raw if self.center is None else raw + self.center.to(raw)
        return raw.flatten(raw.dim() - inner).log_softmax(-1).reshape(raw.shape)

    def counts(
        self, log_share: Tensor, log_theta: Tensor | None = None, gate: Tensor | None = None
    ) -> Counts:
        """The distribution, data scored given their own totals."""
        assert self.library is not None
        return Counts(
            log_share, log_theta, gate, prior=self.library, event_dim=len(self.event_shape)
        )


class Poisson(_CountHead):
    """Counts with variance equal to their mean.

    Arguments:
        event_shape: Shape of a datum.
        library: Mean and standard deviation of the logarithm of the data's totals, from which the
            totals of draws are sampled; None for elements with separate rates.
        center: Logits of the shares at raw zero, with the event shape, such as the logarithm of
            the data's means.
    """

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        if self.library is None:
            return self.declare(dist.Poisson(positive(raw)))
        return self.counts(self.shares(raw))

    def marginal(self, x: Tensor) -> dist.TorchDistribution:
        if self.library is None:
            return self.declare(dist.Poisson(x.nanmean(0).clamp_min(_least(x))))
        return self.counts(_fit_library(x)[0])


class NegativeBinomial(_CountHead):
    r"""Over-dispersed counts: variance :math:`\mu + \mu^2 / \theta`, the inverse dispersion
    :math:`\theta` learned for each element.

    Arguments:
        event_shape: Shape of a datum.
        library: Library, as for :class:`Poisson`.
        center: Logits of the shares at raw zero, with the event shape, as for :class:`Poisson`.
        log_theta: The initial :math:`\log \theta`, with the event shape; zero by default.
        per_datum: Whether :math:`\theta` differs by datum, too: the last raw numbers are added to
            :math:`\log \theta`.
        k: Raw values per element, for classes derived from this one.

    Raises:
        ArgumentError: If the dispersion differs by datum, and there is no library.

    References:
        | scVI (Lopez et al., 2018), https://doi.org/10.1038/s41592-018-0229-2
    """

    def __init__(
        self,
        event_shape: Shape,
        *,
        library: Library | None = None,
        center: Tensor | None = None,
        log_theta: Tensor | None = None,
        per_datum: bool = False,
        k: int = 1,
    ) -> None:
        super().__init__(event_shape, library=library, center=center, k=k + per_datum)
        if per_datum and library is None:
            raise ArgumentError(
                "per_datum: expected a library where the dispersion differs by datum; got none. "
                "Pass library=(mean, sd) of the logarithm of the totals."
            )
        self.per_datum = per_datum
        if library is None:
            self.raw_dispersion = nn.Parameter(torch.full(self.event_shape, raw_positive(1.0)))
        else:
            initial = torch.zeros(self.event_shape) if log_theta is None else log_theta.clone()
            self.log_theta = nn.Parameter(initial)

    def forward(self, raw: Tensor) -> dist.TorchDistribution:
        if self.library is not None:
            share, *others = self.parts(raw)
            log_theta = self.log_theta.to(raw)
            if self.per_datum:
                log_theta = log_theta + others.pop()
            return self.counts(self.shares(share), log_theta, *others)
        mean, theta = positive(raw), positive(self.raw_dispersion).to(raw)
        logits = mean.log() - theta.log()
        return self.declare(dist.NegativeBinomial(theta.expand_as(mean), logits=logits))

    def marginal(self, x: Tensor) -> dist.TorchDistribution:
        if self.library is not None:
            log_share, log_library = _fit_library(x)
            return self.counts(log_share, _log_theta(x, log_library + log_share))
        mean = x.nanmean(0).clamp_min(_least(x))
        log_theta = _log_theta(x, mean.log().expand_as(x))
        logits = mean.log() - log_theta
        return self.declare(dist.NegativeBinomial(log_theta.exp(), logits=logits))


class ZeroInflatedNegativeBinomial(NegativeBinomial):
    r"""Counts that are zero with probability :math:`\pi`, otherwise negative binomial.

    The raw numbers are logits of the shares, then of :math:`\pi`. Its null model has a share, a
    dispersion and a :math:`\pi` for each element, and is at least that of
    :class:`NegativeBinomial`.

    Arguments:
        event_shape: Shape of a datum.
        library: Library, as for :class:`Poisson`.
        center: Logits of the shares at raw zero, with the event shape, as for :class:`Poisson`.
        log_theta: Initial logarithm of the inverse dispersion, with the event shape, as for
            :class:`NegativeBinomial`.
        per_datum: Whether it differs by datum, as for :class:`NegativeBinomial`.
    """

    def __init__(
        self,
        event_shape: Shape,
        *,
        library: Library,
        center: Tensor | None = None,
        log_theta: Tensor | None = None,
        per_datum: bool = False,
    ) -> None:
        super().__init__(
            event_shape,
            library=library,
            center=center,
            log_theta=log_theta,
            per_datum=per_datum,
            k=2,
        )

    def marginal(self, x: Tensor) -> dist.TorchDistribution:
        log_share, log_library = _fit_library(x)
        plain = self.counts(log_share, _log_theta(x, log_library + log_share))
        if x.isnan().any():
            plain = plain.like(missing=True)
        inflated = _fit_inflated(plain, x)
        return max(plain, inflated, key=lambda fn: float(fn.log_prob(x).double().sum()))


def _least(x: Tensor) -> float:
    """The smallest mean: half a count in all rows, which cannot be distinguished from zero."""
    return 0.5 / (len(x) + 1)


def _fit_library(x: Tensor, *, steps: int = 100) -> tuple[Tensor, Tensor]:
    """Logarithms of the shares (\\*E), and of the libraries (N, 1...), of most Poisson likelihood.

    Of complete data they are the totals; else libraries and shares are found in turn. A feature
    without counts has half a one.
    """
    inner = tuple(range(1, x.dim()))
    seen = (~x.isnan()).to(x)
    per_datum, per_feature = x.nansum(inner, keepdim=True).clamp_min(1), x.nansum(0) + 0.5
    share = per_feature / per_feature.sum()
    library = per_datum
    for _ in range(steps if bool((seen == 0).any()) else 0):
        library = per_datum / (seen * share).sum(inner, keepdim=True).clamp_min(1e-9)
        share = per_feature / (seen * library).sum(0).clamp_min(1)
        share = share / share.sum()
    return share.log(), library.log()


def _log_theta(x: Tensor, log_mean: Tensor, *, steps: int = 20) -> Tensor:
    """The inverse dispersion of each feature of most likelihood, by bisection of its slope."""
    low, high = (torch.full(x.shape[1:], end).to(x) for end in LOG_THETA)
    seen = ~x.isnan()
    filled = torch.where(seen, x, torch.zeros_like(x))
    for _ in range(steps):
        with torch.enable_grad():
            middle = ((low + high) / 2).requires_grad_()
            total = log_negative_binomial(filled, log_mean, middle)[seen].sum()
            (slope,) = torch.autograd.grad(total, middle)
        low = torch.where(slope > 0, middle.detach(), low)
        high = torch.where(slope > 0, high, middle.detach())
    return (low + high) / 2


def _fit_inflated(start: Counts, x: Tensor) -> Counts:
    """The same counts with zero inflation: shares, dispersions and gates by L-BFGS, jointly."""
    assert start.log_theta is not None
    with torch.enable_grad():
        few = torch.full_like(start.log_theta, -4.0)  # two in a hundred
        parts = [
            value.detach().clone().requires_grad_()
            for value in (start.log_share, start.log_theta, few)
        ]
        optimizer = torch.optim.LBFGS(
            parts, max_iter=min(100, max(15, WORK // x.numel())), line_search_fn="strong_wolfe"
        )

        def fitted() -> Counts:
            logits, log_theta, gate = parts
            log_share = logits.flatten().log_softmax(0).reshape(logits.shape)
            return start.like(
                log_share=log_share, log_theta=log_theta.clamp(*LOG_THETA), gate=gate.clamp(*GATE)
            )

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = -fitted().log_prob(x).mean()
            value.backward()
            return value

        optimizer.step(loss)
    with torch.no_grad():
        return fitted()
