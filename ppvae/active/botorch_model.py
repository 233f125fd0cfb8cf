"""A surrogate as a BoTorch model, for all of BoTorch's acquisition functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppvae.active.surrogate import Surrogate
from ppvae.expected import expect_package

if TYPE_CHECKING:
    from botorch.models.model import Model

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
    then chooses among rows x.

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
        """

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
            mean, covariance = weighted_joint(surrogate, X, weights)
            if observation_noise is True:
                used = output_weights(surrogate, weights)
                noise = (used.square() * surrogate.noise_variance()).sum()
                covariance = covariance + noise * torch.eye(X.size(-2)).to(covariance)
            normal = MultivariateNormal(mean, covariance)
            posterior = GPyTorchPosterior(normal)
            return posterior if posterior_transform is None else posterior_transform(posterior)

    return SurrogateModel()


def output_weights(surrogate: Surrogate, weights: Tensor | None) -> Tensor:
    """The weights of the outputs, (T), in float64; the first alone by default."""
    if weights is not None:
        return weights.double()
    first = torch.zeros_like(surrogate.noise_variance())
    first[0] = 1
    return first


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
