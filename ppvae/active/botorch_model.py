"""A surrogate as a BoTorch model, for all of BoTorch's acquisition functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppvae.active.surrogate import Surrogate
from ppvae.errors import ArgumentError
from ppvae.expected import expect_package

if TYPE_CHECKING:
    from botorch.models.model import Model
    from botorch.sampling.base import MCSampler

__all__ = ["botorch", "botorch_model"]

# Added to a covariance, relative to its mean diagonal.
JITTER = 1e-6


def botorch(asked: str) -> Any:
    """BoTorch's module.

    Arguments:
        asked: Name of the feature that needs BoTorch, for the error.

    Raises:
        MissingPackageError: If it is not installed.
    """
    return expect_package(f"{asked} (unlike random and max-variance)", "botorch", "active")


def botorch_model(surrogate: Surrogate, *, weights: Tensor | None = None) -> Model:
    """A BoTorch ``Model`` of the weighted sum of the outputs, without observation noise.

    ``optimize_acqf_discrete(LogExpectedImprovement(botorch_model(s), best_f), q=1, choices=x)``
    then chooses among rows x. Its ``fantasize`` serves look-ahead functions such as
    ``qKnowledgeGradient``.

    Arguments:
        surrogate: A fitted surrogate.
        weights: Weights of the outputs, with shape (T); by default the first alone.

    Raises:
        MissingPackageError: If BoTorch is not installed.
    """
    botorch("botorch_model")
    from botorch.models.model import Model
    from botorch.posteriors.gpytorch import GPyTorchPosterior
    from gpytorch.distributions import MultivariateNormal

    class SurrogateModel(Model):
        """The posterior of a surrogate that is not a sub-module.

        BoTorch moves its models to the dtype of the candidates, and the GP is in float64.

        Arguments:
            given: Inputs (..., P, F) of further measurements that it is conditioned on.
            values: These measurements, with shape (..., P).
        """

        def __init__(self, given: Tensor | None = None, values: Tensor | None = None) -> None:
            super().__init__()
            self.given, self.values = given, values

        @property
        def num_outputs(self) -> int:
            return 1

        def posterior(
            self,
            X: Tensor,  # noqa: N803
            output_indices: list[int] | None = None,
            observation_noise: bool | Tensor = False,
            posterior_transform: Any = None,
        ) -> GPyTorchPosterior:
            noise = weighted_noise(surrogate, weights)
            mean, covariance = self._joint(X, noise)
            if observation_noise is True:
                covariance = covariance + noise * torch.eye(X.size(-2)).to(covariance)
            normal = MultivariateNormal(mean, covariance)
            posterior = GPyTorchPosterior(normal)
            return posterior if posterior_transform is None else posterior_transform(posterior)

        def _joint(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
            if self.given is None or self.values is None:
                return weighted_joint(surrogate, x, weights)
            # The covariance is that of all fantasies.
            shape = torch.broadcast_shapes(x.shape[:-2], self.given.shape[:-2])
            parts = [part.expand(*shape, *part.shape[-2:]) for part in (x, self.given)]
            mean, covariance = weighted_joint(surrogate, torch.cat(parts, -2), weights)
            count = x.size(-2)
            cross, inner = covariance[..., :count, count:], covariance[..., count:, count:]
            inner = inner + noise * torch.eye(inner.size(-1)).to(inner)
            gain = torch.linalg.solve(inner, cross.mT).mT
            away = (self.values - mean[..., count:])[..., None]
            mean = mean[..., :count] + (gain @ away)[..., 0]
            rest = covariance[..., :count, :count] - gain @ cross.mT
            return mean, rest.expand(*mean.shape[:-1], count, count)

        def fantasize(self, X: Tensor, sampler: MCSampler, **settings: object) -> Model:  # noqa: N803
            """The model given measurements at X (..., P, F) that are drawn from it."""
            if self.given is not None:
                raise ArgumentError(
                    "fantasize: expected a model of measurements; got one of fantasies. Draw all "
                    "of them at once."
                )
            drawn = sampler(self.posterior(X, observation_noise=True))
            return SurrogateModel(X, drawn[..., 0])

    return SurrogateModel()


def output_weights(surrogate: Surrogate, weights: Tensor | None) -> Tensor:
    """The weights of the outputs, (T), in float64; the first alone by default."""
    if weights is not None:
        return weights.double()
    first = torch.zeros_like(surrogate.noise_variance())
    first[0] = 1
    return first


def weighted_noise(surrogate: Surrogate, weights: Tensor | None = None) -> Tensor:
    """Variance of the noise in the weighted sum of the outputs of a measurement, with shape ()."""
    return (output_weights(surrogate, weights).square() * surrogate.noise_variance()).sum()


def weighted_joint(
    surrogate: Surrogate, x: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The weighted sum of the outputs at (..., Q, F): means (..., Q), covariances (..., Q, Q)."""
    used = output_weights(surrogate, weights)
    if x.size(-2) == 1:
        flat = x.reshape(-1, x.size(-1))
        means, variances = surrogate.marginals(flat)
        mean = (means * used).sum(-1).reshape(x.shape[:-1])
        joint = (variances * used.square()).sum(-1).reshape(*x.shape[:-1], 1)
    else:
        means, covariances = surrogate.joint(x)
        mean = (means * used).sum(-1)
        joint = (covariances * used.square()[:, None, None]).sum(-3)
    scale = joint.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-12)
    eye = torch.eye(x.size(-2)).to(joint)
    return mean, joint + JITTER * scale[..., None, None] * eye
