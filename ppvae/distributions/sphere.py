r"""Distributions of directions: unit vectors around a mean direction.

Both densities depend on :math:`t = \mu^\top x` only: a draw consists of a draw of t, a uniform
direction orthogonal to the first axis, and a reflection that maps the first axis to :math:`\mu`.

References:
    | Hyperspherical Variational Auto-Encoders (Davidson et al., 2018)
    | https://arxiv.org/abs/1804.00891
    | The Power Spherical distribution (De Cao and Aziz, 2020)
    | https://arxiv.org/abs/2006.04437
    | Implicit Reparameterization Gradients (Figurnov et al., 2018)
    | https://arxiv.org/abs/1805.08498
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import Beta, constraints, register_kl

from ppvae.distributions.supports import unit_vector
from ppvae.distributions.uniform import SphericalUniform, log_sphere_area
from ppvae.errors import ArgumentError

__all__ = ["PowerSpherical", "VonMisesFisher"]


class Directional(TorchDistribution):
    r"""Base class of densities of :math:`\mu^\top x` that are concentrated around :math:`\mu`.

    Arguments:
        loc: Mean directions :math:`\mu`, with shape (..., D), D at least 2.
        concentration: Concentrations :math:`\kappa > 0`, with shape (...).
        validate_args: Whether arguments and scored values are checked.

    Raises:
        ArgumentError: If D is below 2.
    """

    arg_constraints = {"loc": unit_vector, "concentration": constraints.nonnegative}
    support = unit_vector
    has_rsample = True

    def __init__(
        self, loc: Tensor, concentration: Tensor, *, validate_args: bool | None = None
    ) -> None:
        if loc.dim() < 1 or loc.size(-1) < 2:
            raise ArgumentError(
                f"{type(self).__name__}: expected unit vectors with shape (..., D), D at least 2; "
                f"got {tuple(loc.shape)}. Use 2 for the circle."
            )
        batch = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = loc.expand(*batch, -1)
        self.concentration = concentration.expand(batch)
        super().__init__(Size(batch), loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Directional:
        shape = Size(batch_shape)
        return type(self)(
            self.loc.expand(*shape, -1), self.concentration.expand(shape), validate_args=False
        )

    @property
    def mean(self) -> Tensor:
        r"""The mean direction :math:`\mu`: the point of the sphere nearest on average."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        r"""Variance of each coordinate about its Euclidean mean, with shape (..., D)."""
        mean, square = self._cosine_moments()
        along, across = square - mean.square(), (1 - square) / (self.event_shape[0] - 1)
        share = self.loc.square()
        return along.unsqueeze(-1) * share + across.unsqueeze(-1) * (1 - share)

    def _cosine_moments(self) -> tuple[Tensor, Tensor]:
        """The means of t and of its square."""
        raise NotImplementedError

    def _cosine(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return (self.loc * value).sum(-1)

    def _draw_cosine(self, shape: Size) -> Tensor:
        """Draws of t, with gradients."""
        raise NotImplementedError

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(Size(sample_shape))
        t = self._draw_cosine(shape[:-1]).unsqueeze(-1)
        across = torch.randn(
            *shape[:-1], shape[-1] - 1, dtype=self.loc.dtype, device=self.loc.device
        )
        across = across / across.norm(dim=-1, keepdim=True)
        # 1 - t^2 may round below zero, and its root has no gradient at zero.
        tiny = torch.finfo(t.dtype).eps ** 2
        first = torch.cat([t, (1 - t.square()).clamp_min(tiny).sqrt() * across], -1)
        rest = self.loc[..., 1:]
        mirror = torch.cat([1 - self.loc[..., :1], -rest], -1)
        length = mirror.square().sum(-1, keepdim=True)
        # If mu is the first axis, there is nothing to reflect.
        still = length < torch.finfo(length.dtype).eps
        mirror = mirror * torch.where(still, torch.ones_like(length), length).rsqrt()
        turned = first - 2 * mirror * (mirror * first).sum(-1, keepdim=True)
        return torch.where(still, first, turned)


class PowerSpherical(Directional):
    r""":math:`p(x) \propto (1 + \mu^\top x)^\kappa` on unit vectors x.

    .. math::
        p(x) = \left[ 2^{\alpha + \beta} \pi^\beta
            \frac{\Gamma(\alpha)}{\Gamma(\alpha + \beta)} \right]^{-1} (1 + \mu^\top x)^\kappa,
        \qquad \alpha = \tfrac{D - 1}{2} + \kappa, \; \beta = \tfrac{D - 1}{2}

    It is drawn without rejection, :math:`(1 + t) / 2 \sim \mathrm{Beta}(\alpha, \beta)`, with
    exact gradients, and is the preferred posterior on a sphere.

    Arguments:
        loc: Mean directions :math:`\mu`, with shape (..., D), D at least 2.
        concentration: Concentrations :math:`\kappa > 0`, with shape (...).
        validate_args: Whether arguments and scored values are checked.

    References:
        | The Power Spherical distribution (De Cao and Aziz, 2020)
        | https://arxiv.org/abs/2006.04437
    """

    @property
    def _shape_parameters(self) -> tuple[Tensor, Tensor]:
        beta = torch.full_like(self.concentration, (self.event_shape[0] - 1) / 2)
        return self.concentration + beta, beta

    def _draw_cosine(self, shape: Size) -> Tensor:
        alpha, beta = self._shape_parameters
        return 2 * Beta(alpha.expand(shape), beta.expand(shape), validate_args=False).rsample() - 1

    def _cosine_moments(self) -> tuple[Tensor, Tensor]:
        alpha, beta = self._shape_parameters
        total = alpha + beta
        mean = (alpha - beta) / total
        return mean, 4 * alpha * beta / (total.square() * (total + 1)) + mean.square()

    def _log_normalizer(self) -> Tensor:
        alpha, beta = self._shape_parameters
        return (
            (alpha + beta) * math.log(2)
            + beta * math.log(math.pi)
            + alpha.lgamma()
            - (alpha + beta).lgamma()
        )

    def log_prob(self, value: Tensor) -> Tensor:
        # At minus mu the density is zero; the floor keeps its logarithm finite.
        closeness = (1 + self._cosine(value)).clamp_min(torch.finfo(value.dtype).eps)
        return self.concentration * closeness.log() - self._log_normalizer()

    def entropy(self) -> Tensor:
        r""":math:`\log Z - \kappa (\log 2 + \psi(\alpha) - \psi(\alpha + \beta))`."""
        alpha, beta = self._shape_parameters
        log_closeness = math.log(2) + alpha.digamma() - (alpha + beta).digamma()
        return self._log_normalizer() - self.concentration * log_closeness


# Nodes of the integration over the angle, and its reach in standard deviations: in float32 the
# error is below 1e-6 of the integral, and rounding of the terms is the larger part.
NODES = {torch.float32: (32, 8.0), torch.float64: (96, 14.0)}


@lru_cache
def _gauss_legendre(count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return tuple(nodes.tolist()), tuple(weights.tolist())


def _rule(like: Tensor) -> tuple[Tensor, Tensor, float]:
    """Nodes in (-1, 1) and weights of a Gauss-Legendre rule, and the reach to scale it to."""
    count, reach = NODES[torch.float64 if like.dtype == torch.float64 else torch.float32]
    nodes, weights = _gauss_legendre(count)
    return like.new_tensor(nodes), like.new_tensor(weights), reach


class VonMisesFisher(Directional):
    r""":math:`p(x) \propto e^{\kappa \mu^\top x}` on unit vectors x.

    With :math:`\theta` the angle between x and :math:`\mu`, the normaliser, the entropy and the
    gradients are integrals of :math:`e^{\kappa \cos \theta} \sin^{D - 2} \theta`, computed by
    quadrature for any D and :math:`\kappa` without Bessel functions. Draws are by rejection, with
    gradients from the distribution function (implicit reparameterisation; the gradient through
    the rejection step only, as often used, leaves out a term).

    Arguments:
        loc: Mean directions :math:`\mu`, with shape (..., D), D at least 2.
        concentration: Concentrations :math:`\kappa > 0`, with shape (...).
        validate_args: Whether arguments and scored values are checked.

    References:
        | Simulation of the von Mises Fisher distribution (Wood, 1994)
        | https://doi.org/10.1080/03610919408813161
        | Hyperspherical Variational Auto-Encoders (Davidson et al., 2018)
        | https://arxiv.org/abs/1804.00891
    """

    @cached_property
    def _bulk(self) -> tuple[Tensor, Tensor]:
        r"""The mode of the density of :math:`\theta`, and a scale from its curvature there.

        The mode solves :math:`\kappa \sin^2 \theta = (D - 2) \cos \theta`.
        """
        kappa, across = self.concentration.detach(), self.event_shape[0] - 2
        kappa = kappa.clamp_min(torch.finfo(kappa.dtype).tiny)
        half = across / (2 * kappa)
        cosine = 1 / ((half.square() + 1).sqrt() + half)
        square = (1 - cosine.square()).clamp_min(torch.finfo(kappa.dtype).eps)
        curvature = kappa * cosine + (across / square if across else 0)
        return cosine.clamp(max=1).acos(), curvature.rsqrt()

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor, Tensor]:
        r""":math:`\log \int e^{\kappa (\cos \theta - 1)} \sin^{D-2} \theta \, d\theta`,
        :math:`E \cos \theta` and :math:`E \cos^2 \theta`.
        """
        kappa, across = self.concentration.unsqueeze(-1), self.event_shape[0] - 2
        mode, width = (value.unsqueeze(-1) for value in self._bulk)
        nodes, weights, reach = _rule(kappa)
        low = (mode - reach * width).clamp_min(0)
        high = (mode + reach * width).clamp_max(math.pi)
        theta = (high + low) / 2 + (high - low) / 2 * nodes
        log_term = kappa * (theta.cos() - 1) + ((high - low) / 2 * weights).log()
        if across:
            log_term = log_term + across * theta.sin().log()
        share, cosine = log_term.softmax(-1), theta.cos()
        square = (share * cosine.square()).sum(-1)
        return log_term.logsumexp(-1), (share * cosine).sum(-1), square

    def _cosine_moments(self) -> tuple[Tensor, Tensor]:
        return self._moments[1:]

    def _log_normalizer(self) -> Tensor:
        r""":math:`\log \int e^{\kappa (\mu^\top x - 1)} dx`."""
        return self._moments[0] + log_sphere_area(self.event_shape[0] - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.concentration * (self._cosine(value) - 1) - self._log_normalizer()

    @property
    def resultant(self) -> Tensor:
        r""":math:`|E x| = E \mu^\top x`, between 0 and 1."""
        return self._moments[1]

    def entropy(self) -> Tensor:
        return self._log_normalizer() - self.concentration * (self.resultant - 1)

    def _draw_cosine(self, shape: Size) -> Tensor:
        kappa = self.concentration.expand(shape)
        differentiable = kappa.requires_grad and torch.is_grad_enabled()
        # Computed with gradients on, as the moments are stored, and the KL needs their gradients.
        mean = self.resultant.detach() if differentiable else None
        with torch.no_grad():
            t = _wood(kappa, self.event_shape[0])
            if mean is None:
                return t
            slope = self._slope(t, kappa, mean)
        return t + slope * (kappa - kappa.detach())

    def _slope(self, t: Tensor, kappa: Tensor, mean: Tensor) -> Tensor:
        r""":math:`dt / d\kappa = - \partial_\kappa F(t) / p(t)`, with F the distribution function.

        .. math::
            \partial_\kappa F(t) / p(t) = \int_{-1}^{t} (s - E t) \, e^{\kappa (s - t)}
                \left(\frac{1 - s^2}{1 - t^2}\right)^{(D - 3) / 2} ds
            = - \int_t^1 \ldots, \qquad s = \cos \theta

        The integral on the side of t away from the mean is used, where the terms have one sign.
        """
        across = self.event_shape[0] - 2
        tiny = torch.finfo(t.dtype).tiny
        nodes, weights, reach = _rule(t)
        at = t.clamp(-1, 1).acos()
        far = 2 * reach * self._bulk[1]
        end = torch.where(t > mean, (at - far).clamp_min(0), (at + far).clamp_max(math.pi))
        half = (end - at) / 2
        theta = (at + half).unsqueeze(-1) + half.unsqueeze(-1) * nodes
        log_ratio = kappa.unsqueeze(-1) * (theta.cos() - t.unsqueeze(-1))
        sine = at.sin().clamp_min(tiny)
        if across:
            log_ratio = log_ratio + across * (
                theta.sin().clamp_min(tiny).log() - sine.log().unsqueeze(-1)
            )
        terms = (theta.cos() - mean.unsqueeze(-1)) * log_ratio.exp()
        # ds = sin(theta) d(theta): one power of the sine is left over from p(t).
        return -half * sine * (terms * weights).sum(-1)


# One operation to those who trace a step, or divide a batch's draws among processes.
@torch.library.custom_op(
    "ppvae::von_mises_fisher_cosine",
    mutates_args=(),
    schema="(Tensor kappa, int dim) -> Tensor",
    tags=[torch.Tag.nondeterministic_seeded],
)
def _wood(kappa: Tensor, dim: int) -> Tensor:
    """Draws of t by rejection (Wood, 1994), with the shape of ``kappa``."""
    m, flat = dim - 1.0, kappa.flatten()
    b = m / (2 * flat + (4 * flat.square() + m * m).sqrt())
    x = (1 - b) / (1 + b)
    c = flat * x + m * (4 * b / (1 + b).square()).log()  # 1 - x^2, without cancellation
    half = flat.new_tensor(m / 2)
    proposal = Beta(half, half, validate_args=False)
    t, waiting = torch.zeros_like(flat), torch.arange(len(flat), device=flat.device)
    while len(waiting):
        kappa_, b_, x_, c_ = (value[waiting] for value in (flat, b, x, c))
        z = proposal.sample(kappa_.shape)
        w = (1 - (1 + b_) * z) / (1 - (1 - b_) * z)
        t[waiting] = w
        refused = kappa_ * w + m * (1 - x_ * w).log() - c_ < torch.rand_like(w).log()
        waiting = waiting[refused]
    return t.reshape(kappa.shape)


@_wood.register_fake
def _(kappa: Tensor, dim: int) -> Tensor:
    return kappa.new_empty(kappa.shape)


@register_kl(PowerSpherical, SphericalUniform)
@register_kl(VonMisesFisher, SphericalUniform)
def _kl_uniform(q: Directional, p: SphericalUniform) -> Tensor:
    """The log-area of the sphere minus the entropy."""
    shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    return (p.log_volume - q.entropy()).expand(shape)


@register_kl(VonMisesFisher, VonMisesFisher)
def _kl_von_mises_fisher(q: VonMisesFisher, p: VonMisesFisher) -> Tensor:
    r""":math:`-H(q) - \kappa_p (A_q \mu_p^\top \mu_q - 1) + \log Z_p`."""
    expected = q.resultant * (q.loc * p.loc).sum(-1)
    return -q.entropy() - p.concentration * (expected - 1) + p._log_normalizer()
