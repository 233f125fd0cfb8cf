r"""Guides of deep kernels: the weights' exact posterior, or a variational one of any likelihood.

.. math::
    q(w, z) = q(w) \prod_n q(z_n \mid x_n)

References:
    | Deep Kernel Learning (Wilson et al., 2016)
    | https://arxiv.org/abs/1511.02222
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppvae.data.mapped import Columns
from ppvae.errors import ArgumentError
from ppvae.gp import EmbeddedGP, ExactFeatures
from ppvae.programs import FitHooks, arguments, batches, columns_of

__all__ = ["ExactWeightsGuide", "VariationalWeightsGuide"]


class _WeightsGuide(FitHooks):
    """Base class: the guide of x and that of the weights.

    Arguments:
        gp: The model's GP, the same module.
        body: The guide of the model's ``body``.
    """

    def __init__(self, gp: EmbeddedGP, body: nn.Module | None) -> None:
        super().__init__()
        self.gp = gp
        self.body = body
        self.num_data = 1

    @property
    def columns(self) -> dict[str, Parameter]:
        """The columns in ``**columns``: those of the embedding and of the guide of x."""
        taken = {} if self.body is None else columns_of(self.body)
        return {**{name: p for name, p in taken.items() if name != "x"}, **self.gp.columns}

    def prepare(self, data: Columns) -> None:
        """Take note of the number of training data."""
        self.num_data = len(data["target"])

    def sample_body(self, x: Tensor, columns: Mapping[str, Tensor]) -> None:
        """Sample the latents of x, if there are any."""
        if self.body is not None:
            self.body(**arguments(self.body, {"x": x, **columns}))


class ExactWeightsGuide(_WeightsGuide):
    r""":math:`p(w \mid x, y)` in closed form; the ELBO of the targets is their log-evidence.

    A training batch holds all data: the posterior is that given the batch.

    Arguments:
        gp: The model's GP, the same module, with its normal likelihood.
        body: The guide of the model's ``body``.

    Raises:
        ArgumentError: If the GP has another likelihood; in training, at a batch of some data.
    """

    def __init__(self, gp: EmbeddedGP, body: nn.Module | None = None) -> None:
        super().__init__(gp, body)
        if gp.head is not None:
            raise ArgumentError(
                f"ExactWeightsGuide: expected a GP with a normal likelihood; got "
                f"{type(gp.head).__name__}. Use VariationalWeightsGuide."
            )

    @torch.no_grad()
    def settle(self, guide: nn.Module, data: Columns) -> None:
        """Store the weights' posterior given all training data, which predicts."""
        gathered = {"embedding": [], "target": [], "noise": []}  # type: dict[str, list[Tensor]]
        for batch in batches(self, data, 4096):
            gathered["embedding"].append(self.gp.embed(**batch))
            for name in ("target", "noise"):
                if name in batch:
                    gathered[name].append(batch[name])
        values = torch.cat(gathered["embedding"])
        noise = torch.cat(gathered["noise"]) if gathered["noise"] else None
        self.gp.store(values, torch.cat(gathered["target"]), noise)

    def forward(
        self,
        x: Tensor,
        target: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        **columns: Tensor,
    ) -> Tensor:
        """Sample the latents of x, if there is a body, and the weights.

        Arguments:
            x: Data with shape (N, ...).
            target: Measurements, with shape (N) or (N, T), NaN where missing.
            noise: Known standard deviations of the measurements, in the units of the target, with
                shape (N) or (N, T).
            **columns: Columns of the embedding and of the body, each with shape (N, ...).

        Returns:
            Weights with shape (..., T, H): in training given the batch, else given the data that
            :meth:`settle` has seen.

        Raises:
            ArgumentError: In training, if a batch does not hold all data.
        """
        self.sample_body(x, columns)
        rows = self.gp.rows(x, **columns)
        if not self.training or target is None:
            return pyro.sample("w", self.gp.weights(rows.size(-1)))  # ( | T, H)
        if len(x) != self.num_data:
            raise ArgumentError(
                f"ExactWeightsGuide: expected all {self.num_data} training data in a batch; got "
                f"{len(x)}. Set batch_size={self.num_data} or more (--batch-size)."
            )
        return pyro.sample("w", self.gp.posterior(rows, target, noise))  # ( | T, H)


class VariationalWeightsGuide(_WeightsGuide):
    r""":math:`q(w_t) = N(m_t, L_t L_t^\top)`, learned: for any likelihood, in mini-batches.

    Arguments:
        gp: The model's GP, the same module, with features of a fixed number.
        body: The guide of the model's ``body``.
        scale: The initial standard deviation of every weight.

    Raises:
        ArgumentError: If the features are exact, whose number is that of the data.
    """

    def __init__(
        self, gp: EmbeddedGP, body: nn.Module | None = None, *, scale: float = 0.3
    ) -> None:
        super().__init__(gp, body)
        if isinstance(gp.features, ExactFeatures) or not scale > 0:
            raise ArgumentError(
                f"VariationalWeightsGuide: expected features of a fixed number and a scale > 0; "
                f"got {type(gp.features).__name__} and {scale}. Use RandomFeatures, and 0.3."
            )
        shape = (gp.num_functions, gp.features.num_features)
        self.loc = nn.Parameter(0.01 * torch.randn(shape))
        self.raw_scale = nn.Parameter(torch.tensor(scale).expm1().log().expand(shape).clone())
        self.lower = nn.Parameter(torch.zeros(*shape, shape[1]))

    def factor(self) -> Tensor:
        """L, with shape (T, H, H), in float64."""
        diagonal = torch.diag_embed(softplus(self.raw_scale) + 1e-6)
        return (diagonal + self.lower.tril(-1)).double()

    @torch.no_grad()
    def settle(self, guide: nn.Module, data: Columns) -> None:
        """Hand the weights' posterior to the GP, which predicts with it."""
        factor = self.factor()
        self.gp.mean.copy_(self.loc)
        self.gp.covariance.copy_(factor @ factor.mT)

    def forward(self, x: Tensor, **columns: Tensor) -> Tensor:
        self.sample_body(x, columns)
        if not self.training:
            return pyro.sample("w", self.gp.weights(self.loc.size(-1)))  # ( | T, H)
        q = dist.MultivariateNormal(self.loc.double(), scale_tril=self.factor())
        return pyro.sample("w", q.to_event(1))  # ( | T, H)
