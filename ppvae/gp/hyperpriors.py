r"""Priors on kernels' hyperparameters, as a term of the objective (maximum a posteriori).

.. math::
    - \frac{1}{N} \sum_i \log p(\theta_i)

over every prior that a GPyTorch module of the model or the guide has been given, as in
``RBFKernel(lengthscale_prior=GammaPrior(3.0, 6.0))`` or ``kernel.register_prior(...)``. Divided
by the number of data, since the loss is a mean per datum. The plain ELBO stays as it is.
"""

from __future__ import annotations

import torch
from gpytorch import Module
from torch import Tensor, nn

from ppvae.data.mapped import Columns
from ppvae.errors import ArgumentError
from ppvae.objectives.terms import Context, Term
from ppvae.programs import FitHooks

__all__ = ["HyperPriors", "log_hyperprior"]


def log_hyperprior(*modules: nn.Module) -> Tensor | None:
    r""":math:`\sum_i \log p(\theta_i)` of the GPyTorch priors, in nats, (); None without any."""
    priors = {
        id(prior): (prior, closure, owner)
        for module in modules
        for part in module.modules()
        if isinstance(part, Module)
        for _, owner, prior, closure, _ in part.named_priors()
    }
    values = [prior.log_prob(closure(owner)).sum() for prior, closure, owner in priors.values()]
    return torch.stack(values).sum() if values else None


class HyperPriors(FitHooks, Term):
    """The negative log prior density of all kernels' hyperparameters, per datum.

    :func:`ppvae.fit` sets the number of training data; in your own loop, call ``prepare(data)``.

    Raises:
        ArgumentError: In the first step, if no kernel has a prior.
    """

    name = "hyper_priors"
    sharded = True

    def __init__(self) -> None:
        super().__init__()
        self.num_data = 1

    def prepare(self, data: Columns) -> None:
        """Store the number of training data."""
        self.num_data = len(next(iter(data.values())))

    def forward(self, context: Context) -> Tensor:
        total = log_hyperprior(context.model, context.guide)
        if total is None:
            raise ArgumentError(
                "HyperPriors: expected a GPyTorch prior on some hyperparameter; got none. Give "
                "the kernel one, such as RBFKernel(lengthscale_prior=GammaPrior(3.0, 6.0))."
            )
        return -total / self.num_data
