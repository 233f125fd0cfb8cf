r"""Deep kernel learning: a GP on a learned embedding of x, of what is measured at few of the data.

.. math::
    p(w) \prod_n p(x_n) \, p(y_n \mid w \cdot r(\phi(x_n))), \qquad w \sim N(0, I)

where p(x), if there is one, is another model such as :class:`~ppvae.models.VAE`, whose encoder is
the embedding :math:`\phi`: unmeasured data then train the embedding, too.

References:
    | Deep Kernel Learning (Wilson et al., 2016)
    | https://arxiv.org/abs/1511.02222
    | Semi-supervised Deep Kernel Learning (Jean et al., 2018)
    | https://arxiv.org/abs/1805.10407
"""

from __future__ import annotations

from inspect import Parameter

import pyro
from pyro import poutine
from torch import Tensor, nn

from ppvae.errors import ContractError
from ppvae.gp import EmbeddedGP, columns_of_targets
from ppvae.programs import DATA_PLATE, arguments, columns_of, data_plate

__all__ = ["DeepKernel"]


class DeepKernel(nn.Module):
    r""":math:`p(w) \, p(x) \, p(\mathrm{target} \mid x, w)`; a target is NaN where not measured.

    Arguments:
        gp: The GP on its embedding.
        body: A model of x, whose latents the guide's ``body`` samples; x is given without one.
    """

    def __init__(self, gp: EmbeddedGP, body: nn.Module | None = None) -> None:
        super().__init__()
        self.gp = gp
        self.body = body

    @property
    def columns(self) -> dict[str, Parameter]:
        """The columns in ``**columns``: those of the embedding and of the model of x."""
        taken = {} if self.body is None else columns_of(self.body)
        taken = {name: p for name, p in taken.items() if name not in ("x", "size")}
        return {**taken, **self.gp.columns}

    def forward(
        self,
        x: Tensor | None = None,
        target: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        size: int | None = None,
        **columns: Tensor,
    ) -> Tensor:
        r"""Sample the weights, x if there is a body, and the targets.

        Arguments:
            x: Data with shape (N, ...); None to sample them from the body.
            target: Measurements, with shape (N) or (N, T), NaN where missing; None to sample them.
            noise: Known standard deviations of the measurements, in the units of the target, with
                shape (N) or (N, T).
            size: N, where no column that is given says it.
            **columns: Columns of the embedding and of the body, each with shape (N, ...).

        Returns:
            Targets with shape (..., N, T).

        Raises:
            ContractError: If x is neither given nor sampled by a body.
        """
        given = x
        if self.body is not None:
            # The plate of the data is entered twice, and noted below.
            with poutine.block(hide=[DATA_PLATE]):
                x = self.body(**arguments(self.body, {"x": x, "size": size, **columns}))
        if x is None:
            raise ContractError(
                "DeepKernel: expected a column 'x', of which the targets are a function; got "
                "none. Pass it, or give the model a body that samples it."
            )
        rows = self.gp.rows(x, **columns)
        w = pyro.sample("w", self.gp.weights(rows.size(-1)))  # ( | T, H)
        with data_plate(given, target, size=size):
            f = self.gp.functions(rows, w)
            fn = self.gp.likelihood(f, noise, self.gp.rest(rows))
            obs = None if target is None else columns_of_targets(target)
            return pyro.sample("target", fn, obs=obs)  # (..., N | T)
