"""``gpvae``: a GP prior over object x view on the latents; predicts views never seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from gpytorch.kernels import MaternKernel, RBFKernel
from torch import nn

from ppvae.data import Splits, rotated_digits
from ppvae.errors import DataError
from ppvae.fitting import grouped_adam, warmup_cosine
from ppvae.gp import (
    FeatureMap,
    FourierFeatures,
    GPPrior,
    HilbertFeatures,
    LeaveViewOut,
    ObjectTable,
    angular_kernel,
)
from ppvae.guides import GPGuide
from ppvae.models import GPVAE
from ppvae.nets import MLP, Calibrated, ConvDecoder, heads
from ppvae.objectives import ELBO
from ppvae.report.gallery.unseen import unseen_figures, unseen_metrics
from ppvae.zoo.entry import Entry, Spec
from ppvae.zoo.observed import Observed
from ppvae.zoo.options import Options, option
from ppvae.zoo.vae import encoder_of

__all__ = ["ENTRY", "GPVAEOptions"]


LINES = {"rbf": lambda: RBFKernel(), "matern": lambda: MaternKernel(nu=2.5)}


@dataclass(frozen=True)
class GPVAEOptions(Options):
    """Options of ``gpvae``."""

    latent_dim: int = option(64, "dimensions of z", least=1)
    rank: int = option(32, "features an object, the rank of the object covariance", least=1)
    view_kernel: str = option(
        "periodic", "kernel over views, on a circle or on a line", choices=("periodic", *LINES)
    )
    frequencies: int = option(
        4, "features of that kernel: frequencies, twice as many on a line", least=1
    )
    period: float = option(2 * math.pi, "period of the views, in their unit", above=0)
    lowest: float = option(0.0, "on a line: the least view there will be", least=-math.inf)
    highest: float = option(1.0, "on a line: the greatest", least=-math.inf)
    lengthscale: float = option(1.0, "initial lengthscale of the view kernel", above=0)
    noise: float = option(0.1, "initial variance of the latents that the GP does not explain")
    refresh: int = option(0, "steps between two solutions of the GP; 0: 8, more with many data")
    leave_out: float = option(1.0, "weight of the leave-one-view-out likelihood")
    network: str = option("conv", "kind of decoder", choices=("conv", "mlp"))
    hidden: int = option(64, "size of the hidden layers", least=1)
    channels: tuple[int, ...] = option((32, 16), "filters of the convolutional decoder", least=1)


def _check(splits: Splits) -> None:
    """Every object is among the training data, and they are numbered without gaps."""
    if "object" not in splits.train:
        return
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


def _decoder(x: Observed, options: GPVAEOptions) -> nn.Module:
    head = x.scored(heads.Normal(x.shape, heads.Shared(math.exp(-1.5))))
    if options.network == "mlp" or len(x.shape) != 3:
        return MLP(options.latent_dim, head, hidden=(options.hidden, 4 * options.hidden))
    return ConvDecoder(
        options.latent_dim,
        head,
        channels=options.channels,
        last_channels=max(1, options.channels[-1] // 2),
        hidden=options.hidden,
        upsample="shuffle",
    )


def _views(options: GPVAEOptions) -> FeatureMap:
    if options.view_kernel == "periodic":
        return FourierFeatures(
            angular_kernel(options.lengthscale, options.period),
            num_frequencies=options.frequencies,
            period=options.period,
        )
    kernel = LINES[options.view_kernel]()
    kernel.initialize(lengthscale=options.lengthscale)
    domain = (options.lowest, options.highest)
    return HilbertFeatures(kernel, domain, num_features=2 * options.frequencies)


def _build(spec: Spec, options: GPVAEOptions) -> tuple[nn.Module, nn.Module, ELBO]:
    x = Observed.of(spec, None)
    prior = GPPrior(
        ObjectTable(spec["object"]["classes"], options.rank),
        _views(options),
        latent_dim=options.latent_dim,
        noise=options.noise,
        refresh=options.refresh or None,
        folds=16 if options.leave_out > 0 else 0,
    )
    head = heads.DiagonalNormal(options.latent_dim, init=math.exp(-1.0))
    encoder = encoder_of(x, head, kind="mlp", hidden=(options.hidden,))
    model = GPVAE(prior, Calibrated(_decoder(x, options)))
    objective = ELBO()
    if options.leave_out > 0:
        objective += LeaveViewOut(weight=options.leave_out)
    return model, GPGuide(encoder, prior), objective


def _optimizer(model: nn.Module, guide: nn.Module) -> Any:
    parts: Any = model
    return grouped_adam(
        (parts.prior.parameters(), 2.5),
        (parts.decoder.decoder.head.parameters(), 2.0),
        betas=(0.9, 0.99),
    )


ENTRY = Entry(
    name="gpvae",
    summary="GP-prior VAE over objects and views; predicts views never seen",
    options=GPVAEOptions,
    build=_build,
    default_data=rotated_digits,
    check=_check,
    columns=("x", "object", "view"),
    fit={
        "epochs": 40,
        "batch_size": 128,
        "learning_rate": 4e-3,
        "schedule": warmup_cosine(0.1, floor=0.01),
        "validate_every": 10,
    },
    optimizer=_optimizer,
    metrics=unseen_metrics,
    unseen=lambda splits: splits.test,
    figures=unseen_figures,
)
