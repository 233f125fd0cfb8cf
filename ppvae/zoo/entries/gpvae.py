"""``gpvae``: a VAE with a GP prior over object and view; predicts unseen views."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import ppvae
from ppvae.errors import ArgumentError, DataError
from ppvae.zoo.entries.longitudinal import Terms, covariates
from ppvae.zoo.entry import Pair, Spec, register
from ppvae.zoo.options import Options, option
from ppvae.zoo.parts import Networks, encoder_of, gp_rates, observed, shuffled

if TYPE_CHECKING:
    from torch import nn

    from ppvae.data import Splits
    from ppvae.gp import FeatureMap, LeaveViewOut
    from ppvae.nets import FeatureNetwork
    from ppvae.zoo.observed import Observed

__all__ = ["gpvae"]


@dataclass(frozen=True)
class Views(Options):
    """The kernel over views."""

    view_kernel: Annotated[
        str,
        option(
            "kernel over views: periodic on a circle, rbf and matern on a line",
            choices=("periodic", "rbf", "matern"),
        ),
    ] = "periodic"
    frequencies: Annotated[
        int,
        option(
            "number of frequencies that approximate the view kernel; on a line, doubled", least=1
        ),
    ] = 4
    period: Annotated[float, option("period of the views, in the unit of the data", above=0)] = (
        2 * math.pi
    )
    lowest: Annotated[
        float, option("lower end of the range of views, for a kernel on a line", least=-math.inf)
    ] = 0.0
    highest: Annotated[
        float, option("upper end of the range of views, for a kernel on a line", least=-math.inf)
    ] = 1.0
    lengthscale: Annotated[float, option("initial lengthscale of the view kernel", above=0)] = 1.0

    def in_unit(self, unit: str) -> Views:
        """The same with a period in the unit of the views, where they have one.

        Raises:
            ArgumentError: If the kernel is periodic, and its period in this unit is not known.
        """
        if self.view_kernel != "periodic" or self.period != 2 * math.pi or unit in RADIANS:
            return self
        if unit in DEGREES:
            return replace(self, period=360.0)
        raise ArgumentError(
            f"period: expected the period of the views in their unit, {unit!r}; got none. Pass "
            "--period, such as 24 for the hours of a day, or --view-kernel rbf for a line."
        )

    def features(self) -> FeatureMap:
        """The kernel as a feature map."""
        gp = ppvae.gp
        if self.view_kernel == "periodic":
            return gp.FourierFeatures(
                gp.angular_kernel(self.lengthscale, self.period),
                num_frequencies=self.frequencies,
                period=self.period,
            )
        from gpytorch.kernels import MaternKernel, RBFKernel

        kernel = RBFKernel() if self.view_kernel == "rbf" else MaternKernel(nu=2.5)
        kernel.initialize(lengthscale=self.lengthscale)
        domain = (self.lowest, self.highest)
        return gp.HilbertFeatures(kernel, domain, num_features=2 * self.frequencies)


PERIODIC = Views()
RADIANS, DEGREES = ("", "rad"), ("deg", "°", "degree", "degrees")
NO_TERMS = Terms(kernel="")
RANK = 32


def _check(splits: Splits) -> None:
    """Refuse objects that are not in the training data, or not numbered without gaps."""
    if "object" not in splits.train:
        return
    import torch

    known = torch.as_tensor(splits.train["object"]).unique()
    parts = [part for part in (splits.validation, splits.test) if part is not None]
    held_out = torch.cat([known[:0], *(torch.as_tensor(part["object"]) for part in parts)])
    alone = held_out[~torch.isin(held_out, known)].unique()
    if len(alone) > 0:
        raise DataError(
            f"object: expected every object of the validation and test data among the training "
            f"data; got {len(alone)} that are not there, such as {alone[:3].tolist()}. Keep some "
            "views of each with a column 'split'; ppvae.gp.infer_objects predicts new objects."
        )
    ids = torch.arange(len(known)).to(known)
    if not torch.equal(known, ids):
        raise DataError(
            f"object: expected ids from 0 to {len(ids) - 1} for {len(ids)} objects; got no "
            f"{int(ids[known != ids][0])}, and {int(known[-1])}. Number the objects from 0 "
            "without gaps."
        )


def _decoder(
    x: Observed, latent_dim: int, network: str, hidden: int, channels: tuple[int, ...]
) -> FeatureNetwork:
    heads = ppvae.nets.heads
    head = x.scored(heads.Normal(x.shape, heads.Shared(math.exp(-1.5))))
    if network == "mlp":
        return ppvae.nets.MLP(latent_dim, head, hidden=(hidden, 4 * hidden))
    return shuffled(latent_dim, head, channels=channels, hidden=hidden)


@register(
    "gpvae",
    "GP-prior VAE over objects and views; predicts unseen views",
    data="rotated_digits",
    columns=("x", "object", "view"),
    covariates=covariates,
    unneeded=lambda options: ("object", "view") if options.kernel else (),
    fit={"epochs": 40, "batch_size": 128, "learning_rate": 4e-3, "validate_every": 10},
    check=_check,
    tune=gp_rates,
)
def gpvae(
    columns: Spec,
    *,
    latent_dim: Annotated[int, option("dimensions of z", least=1)] = 64,
    rank: Annotated[
        int,
        option(
            "number of features of each object: the rank of the covariance between objects",
            least=1,
        ),
    ] = RANK,
    views: Views = PERIODIC,
    terms: Terms = NO_TERMS,
    noise: Annotated[
        float, option("initial variance of the part of the latents that the GP does not explain")
    ] = 0.1,
    refresh: Annotated[
        int,
        option("optimiser steps between updates of the GP; 0: 8, or more if there are many data"),
    ] = 0,
    leave_out: Annotated[
        float, option("weight of the likelihood of each view given the object's other views")
    ] = 1.0,
    network: Annotated[str, option("kind of the decoder", choices=("conv", "mlp"))] = "conv",
    hidden: Annotated[int, option("size of the hidden layers", least=1)] = 64,
    channels: Annotated[
        tuple[int, ...], option("numbers of filters of the convolutional decoder", least=1)
    ] = (32, 16),
) -> Pair:
    """Latents of an object vary smoothly over its views, with a kernel that all objects share.

    With --kernel, the latents are a sum of GPs over named columns in place of object and view, as
    in longitudinal: --kernel "rbf(age) + cat(id) + rbf(age)*cat(sex)".
    """
    _refuse_unused(terms, views, rank)
    x, nets, gp = observed(columns, None), ppvae.nets, ppvae.gp
    prior: nn.Module
    term: type[LeaveViewOut] = gp.LeaveViewOut
    interval = refresh or None
    if terms.kernel:
        from ppvae.gp.additive import LeaveVisitsOut

        prior = terms.prior(columns, latent_dim, noise=noise, refresh=interval)
        term = LeaveVisitsOut
    else:
        prior = gp.GPPrior(
            gp.ObjectTable(columns["object"]["classes"] or 0, rank),
            views.in_unit(columns["view"].get("unit") or "").features(),
            latent_dim=latent_dim,
            noise=noise,
            refresh=interval,
            folds=16 if leave_out > 0 else 0,
        )
    head = nets.heads.DiagonalNormal(latent_dim, init=math.exp(-1.0))
    encoder = encoder_of(x, head, Networks(hidden=(hidden,)))
    decoder = nets.Calibrated(_decoder(x, latent_dim, network, hidden, channels))
    objective = ppvae.objectives.ELBO()
    if leave_out > 0:
        objective += term(weight=leave_out)
    return Pair(
        ppvae.models.GPVAE(prior, decoder), ppvae.guides.GPGuide(encoder, prior), objective
    )


def _refuse_unused(terms: Terms, views: Views, rank: int) -> None:
    """Refuse options of the kernel that is not chosen."""
    if terms.kernel and (views != PERIODIC or rank != RANK):
        raise ArgumentError(
            "kernel: expected no options of the kernel over objects and views beside it; got "
            f"{'another rank' if rank != RANK else 'options of the view kernel'}. Leave them "
            "out, or --kernel."
        )
    if not terms.kernel and terms != NO_TERMS:
        raise ArgumentError(
            "kernel: expected one where --subject or --order is given; got none. Write it as in "
            "--kernel 'rbf(age) + cat(id)', or leave them out."
        )
