r"""A term that trains the decoder on predictions of later visits given earlier ones.

Each subject keeps some of its data (:func:`ppvae.gp.additive.leaving.leave_out`), and the others
of the batch are predicted from those and from other subjects:

.. math::
    \lambda(t) \; \frac{1}{|\mathrm{out}|} \sum_{n \in \mathrm{out}} - \log p(x_n \mid z_n^{-}),
    \qquad z_n^{-} \sim N(\phi_n \cdot m^{-}, \; h_n^{-} + v_1)
"""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.gp.additive.distribution import AdditiveGP
from ppvae.gp.leave_out import LeaveViewOut
from ppvae.objectives.terms import Context
from ppvae.programs import INDEX

__all__ = ["LeaveVisitsOut"]


class LeaveVisitsOut(LeaveViewOut):
    r"""The negative log-likelihood of the batch's data that are left out of their subjects.

    Gradients reach the decoder, the kernels and their variances, not the encodings. A likelihood
    with a calibrated scale (:class:`ppvae.nets.Calibrated`) learns it here.

    Arguments:
        weight: Weight :math:`\lambda`, a number or a schedule.
        site: The site whose prior is an :class:`~ppvae.gp.additive.AdditivePrior`, or a
            :class:`~ppvae.gp.JoinedPrior` with one.
    """

    name = "leave_visits_out"
    # Which data a subject keeps depends on all rows of the batch.
    sharded = False

    def forward(self, context: Context) -> Tensor:
        """The term, with shape ().

        Raises:
            ArgumentError: If the site's prior is of another kind.
        """
        p = context.p[self.site]
        parts = getattr(p, "parts", [p])
        if not any(isinstance(part, AdditiveGP) for part in parts):
            if context.model.training:
                raise ArgumentError(
                    f"LeaveVisitsOut: expected an AdditivePrior at site {self.site!r}; got "
                    f"{type(p).__name__}. Use LeaveViewOut for a GPPrior."
                )
            # Outside training there is no table to leave a visit out of.
            return next(iter(context.batch.values())).new_zeros(())
        predictions = [_left_out(part, context.batch[INDEX]) for part in parts]
        loc, variance = (torch.cat([each[i] for each in predictions], -1) for i in (0, 1))
        # Of several such priors a datum counts where it is left out of all.
        out = torch.stack([each[2] for each in predictions]).all(0)
        z = loc + variance.sqrt() * torch.randn_like(loc)
        out = out.to(loc)
        loss = (self._losses(context, z) * out).sum() / out.sum().clamp_min(1.0)
        return self.weight(context.step).to(loss) * loss


def _left_out(p: TorchDistribution, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means, variances, and a mask of the rows left out; of other priors, their moments."""
    if isinstance(p, AdditiveGP):
        return p.left_out(index)
    mean, variance = (m.expand(len(index), -1) for m in (p.mean, p.variance))
    return mean, variance, torch.ones_like(index, dtype=torch.bool)
