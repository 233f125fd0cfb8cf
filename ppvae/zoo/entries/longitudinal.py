"""``longitudinal``: an additive GP prior over columns of visits; predicts later visits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import ppvae
from ppvae.zoo.entry import Pair, Spec, register
from ppvae.zoo.options import Options, option
from ppvae.zoo.parts import gp_rates, shuffled

if TYPE_CHECKING:
    from ppvae.gp.additive import AdditivePrior

__all__ = ["Terms", "covariates", "longitudinal"]

KERNEL = (
    "cat(id) + rbf(age) + rbf(age)*cat(id) + rbf(age)*cat(sex) + rbf(disease_age)*obs(disease_age)"
)
# Columns that order a subject's visits, if there.
ORDERS = ("age", "view")


@dataclass(frozen=True)
class Terms(Options):
    """An additive kernel over named columns."""

    kernel: Annotated[
        str,
        option(
            "terms over columns of the data, joined by + and *: const, cat(c), free(c), rbf(c), "
            "matern(c), matern32(c), matern12(c), linear(c), sm(c), periodic(c, period); obs(c) "
            "is 1 where c is not missing"
        ),
    ] = KERNEL
    subject: Annotated[
        str, option("column of the subjects' ids (default: id, subject or object in the kernel)")
    ] = ""
    order: Annotated[
        str,
        option("column that orders a subject's visits (default: age or view, if there is one)"),
    ] = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the kernel, and those that name subjects and order visits."""
        from ppvae.gp.additive import parse

        chosen = parse(self.kernel).columns if self.kernel else ()
        return tuple(dict.fromkeys([*chosen, *filter(None, (self.subject, self.order))]))

    def prior(
        self, columns: Spec, latent_dim: int, *, noise: float, refresh: int | None = None
    ) -> AdditivePrior:
        """The prior over columns of the data; see :class:`ppvae.gp.additive.AdditivePrior`."""
        from ppvae.gp.additive import AdditivePrior

        return AdditivePrior(
            self.kernel,
            latent_dim=latent_dim,
            subject=self.subject or None,
            order=self.order or next((name for name in ORDERS if name in columns), None),
            noise=noise,
            refresh=refresh,
        )


TERMS = Terms()


def covariates(options: Any) -> tuple[str, ...]:
    """The columns that the options of :class:`Terms` name."""
    return Terms(options.kernel, options.subject, options.order).columns


@register(
    "longitudinal",
    "VAE with an additive GP prior over named columns; predicts later visits of subjects",
    data="visits",
    columns=("x",),
    missing_ok=("x",),
    covariates=covariates,
    fit={"epochs": 40, "batch_size": 128, "learning_rate": 4e-3, "validate_every": 10},
    tune=gp_rates,
)
def longitudinal(
    columns: Spec,
    *,
    terms: Terms = TERMS,
    latent_dim: Annotated[int, option("dimensions of z", least=1)] = 16,
    noise: Annotated[float, option("initial share of the variance that no term explains")] = 0.1,
    leave_out: Annotated[
        float, option("weight of the likelihood of later visits given earlier ones")
    ] = 1.0,
    hidden: Annotated[int, option("size of the hidden layers", least=1)] = 64,
    filters: Annotated[
        tuple[int, ...], option("numbers of filters of the convolutional decoder", least=1)
    ] = (32, 16),
) -> Pair:
    """Latents are sums of GPs, each a function of a column or of a product of columns.

    A product with the subject's id gives each subject a part of its own. Pixels or features may
    be missing (NaN). The report shows each term's share of the variance.
    """
    from ppvae.gp.additive import LeaveVisitsOut

    shape, nets = tuple(columns["x"]["shape"]), ppvae.nets
    heads = nets.heads
    prior = terms.prior(columns, latent_dim, noise=noise)
    head = heads.Masked(heads.Normal(shape, heads.Shared(math.exp(-1.5))))
    decoder = shuffled(latent_dim, head, channels=filters, hidden=hidden)
    code = heads.DiagonalNormal(latent_dim, init=math.exp(-1.0))
    seen = nets.masked_shape(shape)
    encoder = nets.MLP(math.prod(seen), code, hidden=(2 * hidden,), in_shape=seen)
    guide = ppvae.guides.AmortizedGuide(nets.MaskedEncoder(encoder, event_dim=len(shape)))
    objective = ppvae.objectives.ELBO()
    if leave_out > 0:
        objective += LeaveVisitsOut(weight=leave_out)
    return Pair(ppvae.models.VAE(nets.Calibrated(decoder), prior=prior), guide, objective)
