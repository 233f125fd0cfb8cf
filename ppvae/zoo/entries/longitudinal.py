"""``longitudinal``: an additive GP prior over columns of visits; predicts later visits."""

from __future__ import annotations

import math
from typing import Annotated, Any

import ppvae
from ppvae.zoo.entry import Pair, Spec, register
from ppvae.zoo.options import option
from ppvae.zoo.parts import gp_rates, shuffled

__all__ = ["longitudinal"]

KERNEL = (
    "cat(id) + rbf(age) + rbf(age)*cat(id) + rbf(age)*cat(sex) + rbf(disease_age)*obs(disease_age)"
)


def _covariates(options: Any) -> tuple[str, ...]:
    """The columns of the kernel, and those that name subjects and order visits."""
    from ppvae.gp.additive import parse

    columns = parse(options.kernel).columns
    return tuple(dict.fromkeys([*columns, *filter(None, (options.subject, options.order))]))


@register(
    "longitudinal",
    "additive GP prior over named columns; predicts later visits of subjects",
    data="visits",
    columns=("x",),
    missing_ok=("x",),
    covariates=_covariates,
    fit={"epochs": 40, "batch_size": 128, "learning_rate": 4e-3, "validate_every": 10},
    tune=gp_rates,
)
def longitudinal(
    columns: Spec,
    *,
    kernel: Annotated[
        str,
        option(
            "terms over the data's columns: const, cat(c), rbf(c), matern(c), linear(c), sm(c), "
            "periodic(c, period), and obs(c) where c has missing values, joined by + and *"
        ),
    ] = KERNEL,
    subject: Annotated[
        str, option("column of the subjects' ids (default: id, subject or object in the kernel)")
    ] = "",
    order: Annotated[
        str, option("column that orders a subject's visits (default: age or view, if there)")
    ] = "",
    latent_dim: Annotated[int, option("dimensions of z", least=1)] = 16,
    noise: Annotated[float, option("initial share of variance that no term explains")] = 0.1,
    leave_out: Annotated[
        float, option("weight of the likelihood of later visits given earlier ones")
    ] = 1.0,
    hidden: Annotated[int, option("size of the hidden layers", least=1)] = 64,
    filters: Annotated[
        tuple[int, ...], option("filters of the convolutional decoder", least=1)
    ] = (32, 16),
) -> Pair:
    """Latents are sums of GPs, each a function of a column or of a product of columns.

    A product with the subject's id gives each subject a part of its own. Pixels or features may
    be missing (NaN). The report shows each term's share of the variance.
    """
    from ppvae.gp import additive

    shape, nets = tuple(columns["x"]["shape"]), ppvae.nets
    heads = nets.heads
    prior = additive.AdditivePrior(
        kernel,
        latent_dim=latent_dim,
        subject=subject or None,
        order=order or next((name for name in ("age", "view") if name in columns), None),
        noise=noise,
    )
    head = heads.Masked(heads.Normal(shape, heads.Shared(math.exp(-1.5))))
    decoder = shuffled(latent_dim, head, channels=filters, hidden=hidden)
    code = heads.DiagonalNormal(latent_dim, init=math.exp(-1.0))
    seen = nets.masked_shape(shape)
    encoder = nets.MLP(math.prod(seen), code, hidden=(2 * hidden,), in_shape=seen)
    guide = ppvae.guides.AmortizedGuide(nets.MaskedEncoder(encoder, event_dim=len(shape)))
    objective = ppvae.objectives.ELBO()
    if leave_out > 0:
        objective += additive.LeaveVisitsOut(weight=leave_out)
    return Pair(ppvae.models.VAE(nets.Calibrated(decoder), prior=prior), guide, objective)
