r"""A term that trains the decoder on GP predictions, with each datum's own view left out.

The decoder of a GP-prior VAE is trained on encodings, but applied to GP predictions. In published
logs, reconstructions are 7 to 10 times better than predictions of an unseen view. This
term mirrors the test: it predicts each datum of the batch from the weights' posterior given all
training data but those of its own view (or group of views, where views are many), and adds the
negative log-likelihood

.. math::
    \lambda(t) \; \frac1N \sum_n - \log p\left(x_n \mid z_n^{-}\right), \qquad
    z_n^{-} \sim N\left(f_n \cdot m_{-q(n)}, \; h_n + v_1\right)

the variance :math:`h_n + v_1` being that given all data, a little below that without the view.
With further latents u, such as a class or a pose, :math:`-\log p(x_n \mid z_n^{-})` is bounded by
:math:`-E_{q(u)}[\log p(x_n \mid z_n^{-}, u)] + \mathrm{KL}(q(u) \| p(u))`, u being the guide's:
draws from their prior would tell the decoder that the image does not depend on them.
Gradients reach the decoder, the kernels and the object features, not the encodings.
"""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.gp.collapsed import CollapsedGP
from ppvae.nets.calibrated import CalibratedStudentT
from ppvae.objectives.schedules import Schedule, as_schedule
from ppvae.objectives.terms import Context, Term
from ppvae.programs import INDEX

__all__ = ["LeaveViewOut"]


class LeaveViewOut(Term):
    """The negative log-likelihood of the batch, each datum predicted without its own view.

    A likelihood with a calibrated scale (:class:`ppvae.nets.Calibrated`) learns it here, from
    these predictions, and not from the ELBO's reconstructions, which are nearer to the data.

    Arguments:
        weight: Lambda, a number or a schedule.
        site: The site whose prior is a :class:`~ppvae.gp.GPPrior` with ``folds``.

    Raises:
        ArgumentError: If ``weight`` is negative.
    """

    name = "leave_view_out"
    sharded = True

    @typed(weight=at_least(0))
    def __init__(self, *, weight: float | Schedule = 1.0, site: str = "z") -> None:
        super().__init__()
        self.weight = as_schedule(weight)
        self.site = site

    def likelihood(self, fn: TorchDistribution) -> TorchDistribution:
        """A calibrated likelihood without gradient for its scale."""
        return fn.held() if isinstance(fn, CalibratedStudentT) else fn

    def forward(self, context: Context) -> Tensor:
        """The term, with shape ().

        Raises:
            ArgumentError: If the site's prior is no GP, or was made without folds.
        """
        p = context.p[self.site]
        parts = [part for part in getattr(p, "parts", [p]) if isinstance(part, CollapsedGP)]
        if not parts:
            # Outside training there is no table to leave a view out of.
            return next(iter(context.batch.values())).new_zeros(())
        folds = min(len(part.frozen.left_out) for part in parts)
        if folds < 2:
            raise ArgumentError(
                f"LeaveViewOut: expected a GPPrior with at least 2 folds of views at site "
                f"{self.site!r}; got {folds}. Use GPPrior(..., folds=16) and data with several "
                "views."
            )
        z = p.left_out(context.batch[INDEX])
        z = z + p.variance.sqrt() * torch.randn_like(z)
        loss = context.shards.mean(self._losses(context, z))
        return self.weight(context.step).to(loss) * loss

    def _losses(self, context: Context, z: Tensor) -> Tensor:
        """The bound of -log p(x | z) of the batch at latents ``z``, with shape (N)."""
        parts = [-value for value in context.log_likelihood_at({self.site: z}).values()]
        parts += [kl for name, kl in context.kl.items() if name != self.site]
        return torch.stack(parts).sum(0)
