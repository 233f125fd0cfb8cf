r"""A term for latents that are independent of a known column, such as style of class.

.. math::
    \frac{\mathrm{HSIC}(z, y)}{\sqrt{\mathrm{HSIC}(z, z) \, \mathrm{HSIC}(y, y)}}

of a batch, with the unbiased estimate of each: with K and L the kernels' matrices, their diagonals
set to zero,

.. math::
    \mathrm{HSIC} = \frac{1}{n (n - 3)} \left[\mathrm{tr} K L + \frac{1^\top K 1 \, 1^\top L 1}
    {(n - 1) (n - 2)} - \frac{2}{n - 2} 1^\top K L 1\right].

It is one if z and y determine each other as far as the kernels can distinguish values, and zero in
expectation if they are independent. With the ELBO of a conditional model alone, z contains part of
y, and the decoder then uses z instead of y: changing y at fixed z does not change the output.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import at_least
from ppvae.objectives.classes import latent_site
from ppvae.objectives.schedules import Schedule, as_schedule
from ppvae.objectives.terms import Context, Term

__all__ = ["Independence", "dependence"]


@typed()
def dependence(z: Tensor, y: Tensor) -> Tensor:
    """The normalised HSIC of the rows of z (N, Z) and y (N) or (N, C), with shape ().

    The kernel is Gaussian, with the root-mean-square distance of the rows as width; for integer y,
    it is one for equal and zero for different rows. Rows with y below zero (a class) or NaN are
    missing; with fewer than four known rows, the result is zero.

    Raises:
        ArgumentError: If z or y has another shape, or is no tensor of real numbers.
    """
    if (
        not all(isinstance(v, Tensor) and v.dim() and not v.is_complex() for v in (z, y))
        or (z.dtype == torch.bool)
        or (z.dim() != 2 or len(z) != len(y))
    ):
        shapes = [tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__ for v in (z, y)]
        raise ArgumentError(
            f"dependence: expected real tensors (N, Z) and (N) or (N, C); got {shapes}. Pass rows "
            "of the same data."
        )
    rows = y.reshape(len(y), -1)
    missing = rows.isnan() if rows.is_floating_point() else rows < 0
    known = (~missing.any(-1)).to(z)
    pairs, n = known[:, None] * known - known.diag(), known.sum()
    # Numbers are compared by distance, classes by equality.
    if rows.is_floating_point():
        b = _gaussian(rows.nan_to_num().to(z), pairs)
    else:
        b = (rows.unsqueeze(-2) == rows.unsqueeze(-3)).all(-1) * pairs
    a = _gaussian(z, pairs)
    own = _hsic(a, a, n) * _hsic(b, b, n)
    # A constant depends on nothing, and has no slope; what is not finite stays so.
    usable = ~(own <= _TINY) & (n >= 4)
    return torch.where(usable, _hsic(a, b, n) / own.where(usable, own.new_ones(())).sqrt(), 0.0)


_TINY = 1e-12


def _gaussian(rows: Tensor, pairs: Tensor) -> Tensor:
    """The kernel at the pairs that count."""
    squares = (rows.unsqueeze(-2) - rows.unsqueeze(-3)).square().sum(-1)
    width = (squares * pairs).sum() / pairs.sum().clamp_min(1)
    return (-squares / width.detach().clamp_min(_TINY)).exp() * pairs


def _hsic(a: Tensor, b: Tensor, n: Tensor) -> Tensor:
    """The unbiased HSIC of kernels (N, N) whose diagonals and uncounted rows are zero."""
    n = n.clamp_min(4)
    ones = (a.sum(), b.sum(), (a.sum(0) * b.sum(0)).sum())
    whole = (a * b).sum() + ones[0] * ones[1] / ((n - 1) * (n - 2)) - 2 * ones[2] / (n - 2)
    return whole / (n * (n - 3))


class Independence(Term):
    r""":math:`\lambda(t)` times the normalised HSIC of a site and a column, in a batch.

    Arguments:
        site: A continuous latent site.
        column: Column that the site should be independent of: classes, -1 where missing, or
            factors, NaN where missing.
        weight: :math:`\lambda`, a number or a schedule; some tens of nats are common.

    Raises:
        ArgumentError: If ``weight`` is negative; when called, if there is no such latent site, or
            it is discrete.

    References:
        | Information Constraints on Auto-Encoding Variational Bayes (Lopez et al., 2018)
        | https://arxiv.org/abs/1805.08672
        | Feature Selection via Dependence Maximization (Song et al., 2012): the estimate
        | https://jmlr.org/papers/v13/song12a.html
    """

    sharded = True

    @typed(weight=at_least(0))
    def __init__(
        self, site: str = "z", column: str = "y", *, weight: float | Schedule = 1.0
    ) -> None:
        super().__init__()
        self.name = f"dependence_{site}_{column}"
        self.site = site
        self.column = column
        self.weight = as_schedule(weight)

    def forward(self, context: Context) -> Tensor:
        """The weighted dependence in a batch, with shape (); zero without the column.

        Raises:
            ArgumentError: If there is no such latent site, or it is discrete.
        """
        q = latent_site("Independence", context, self.site)
        z = context.values[self.site]
        if self.column not in context.batch:
            # Data without the column, such as a validation set.
            return z.new_zeros(())
        if not z.is_floating_point() or self.site in context.enumerated:
            raise ArgumentError(
                f"Independence: expected a continuous site; {self.site!r} is discrete. "
                "Name a continuous one."
            )
        event = q.event_shape
        z = context.shards.gather(z, z.dim() - len(event) - 1)
        rows = z.reshape(-1, z.shape[z.dim() - len(event) - 1], max(1, event.numel()))
        y = context.shards.gather(context.batch[self.column])
        dependences = torch.stack([dependence(one, y) for one in rows]).mean()
        return self.weight(context.step).to(dependences) * dependences
