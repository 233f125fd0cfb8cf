r"""Train the decoder on what prediction will feed it: later visits given earlier ones.

Each subject keeps some of its data (:func:`ppvae.gp.additive.leaving.leave_out`), and the others
of the batch are predicted from those and from other subjects:

.. math::
    \lambda(t) \; \frac{1}{|\mathrm{out}|} \sum_{n \in \mathrm{out}} - \log p(x_n \mid z_n^{-}),
    \qquad z_n^{-} \sim N(\phi_n \cdot m^{-}, \; h_n^{-} + v_1)
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.gp.additive.distribution import AdditiveGP
from ppvae.gp.leave_out import LeaveViewOut
from ppvae.objectives.terms import Context
from ppvae.programs import INDEX

__all__ = ["LeaveVisitsOut"]


class LeaveVisitsOut(LeaveViewOut):
    """The negative log-likelihood of the batch's data that are left out of their subjects.

    Gradients reach the decoder, the kernels and their variances, not the encodings. A likelihood
    with a calibrated scale (:class:`ppvae.nets.Calibrated`) learns it here.

    Arguments:
        weight: Lambda, a number or a schedule.
        site: The site whose prior is an :class:`~ppvae.gp.additive.AdditivePrior`.
    """

    name = "leave_visits_out"

    def forward(self, context: Context) -> Tensor:
        """The term, with shape ().

        Raises:
            ArgumentError: If the site's prior is of another kind.
        """
        p = context.p[self.site]
        if not isinstance(p, AdditiveGP):
            if context.model.training:
                raise ArgumentError(
                    f"LeaveVisitsOut: expected an AdditivePrior at site {self.site!r}; got "
                    f"{type(p).__name__}. Use LeaveViewOut for a GPPrior."
                )
            # Outside training there is no table to leave a visit out of.
            return next(iter(context.batch.values())).new_zeros(())
        loc, variance, out = p.left_out(context.batch[INDEX])
        z = loc + variance.sqrt() * torch.randn_like(loc)
        losses = [-value for value in self._log_likelihoods(context, z)]
        out = out.to(loc)
        loss = (torch.stack(losses).sum(0) * out).sum() / out.sum().clamp_min(1.0)
        return self.weight(context.step).to(loss) * loss
