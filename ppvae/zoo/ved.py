"""``ved``: the encoder-decoder between modalities, such as an image and its spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ppvae import plots
from ppvae.data import Dataset, Splits, digit_spectra
from ppvae.errors import ArgumentError
from ppvae.evaluate.predict import Prediction, predict
from ppvae.guides import SourceGuide
from ppvae.models import VAE, Translation
from ppvae.nets import MLP, ConvDecoder, heads
from ppvae.objectives import ELBO
from ppvae.programs import batch_for
from ppvae.runs.run import Run
from ppvae.zoo.entry import Entry, Figures, Spec
from ppvae.zoo.observed import LIKELIHOODS, Observed
from ppvae.zoo.options import Options, option
from ppvae.zoo.vae import encoder_of

__all__ = ["ENTRY", "VEDOptions"]


@dataclass(frozen=True)
class VEDOptions(Options):
    """Options of ``ved``."""

    latent_dim: int = option(8, "dimensions of z", least=1)
    encoder: str = option("conv", "kind of encoder, of the source", choices=("mlp", "conv"))
    decoder: str = option("mlp", "kind of decoder, of x", choices=("mlp", "conv"))
    hidden: tuple[int, ...] = option((256, 256), "sizes of the hidden layers of the mlps", least=1)
    likelihood: str = option("normal", "of an element of x", choices=LIKELIHOODS)
    beta: float = option(1.0, "weight of the KL")


def _build(spec: Spec, options: VEDOptions) -> tuple[nn.Module, nn.Module, ELBO]:
    if "source" not in spec:
        raise ArgumentError(
            f"ved: expected columns 'source' and 'x'; got {list(spec)}. Name what is given "
            "'source' and what is to be predicted 'x'."
        )
    source, x = Observed.of(spec, None, "source"), Observed.of(spec, options.likelihood)
    head = x.head()
    if options.decoder == "conv" and len(x.shape) == 3:
        decoder: nn.Module = ConvDecoder(options.latent_dim, head)
    else:
        decoder = MLP(options.latent_dim, head, hidden=options.hidden)
    kind = options.encoder if len(source.shape) == 3 else "mlp"
    encoder = encoder_of(
        source, heads.DiagonalNormal(options.latent_dim), kind=kind, hidden=options.hidden
    )
    model = VAE(decoder, latent_dim=options.latent_dim)
    objective = ELBO() if options.beta == 1.0 else ELBO(weights={"z": options.beta})
    return model, SourceGuide(encoder), objective


def _predicted(run: Run, data: Dataset, number: int) -> tuple[Prediction, Tensor]:
    """Of the first rows, and what was measured."""
    batch = batch_for(run.guide, data.take(torch.arange(min(number, data.num_rows))))
    translation = Translation(run.model, run.guide)
    return predict(translation, {"source": batch["source"]}, num_draws=100), batch["x"]


def _metrics(run: Run, splits: Splits) -> dict[str, float]:
    """How far off the prediction from the source is, and whether it knows."""
    if splits.test is None:
        return {}
    found, x = _predicted(run, splits.test, 500)
    inside = (x >= found.lower) & (x <= found.upper)
    return {
        "rmse": math.sqrt(float((found.mean - x).square().mean())),
        "predicted_sd": float(found.scale.mean()),
        "coverage_90": float(inside.double().mean()),
    }


def _figures(run: Run, splits: Splits) -> Figures:
    """Predictions from the source, beside what was measured."""
    data = splits.test or splits.train
    found, x = _predicted(run, data, 10)
    if x.dim() == 4:
        figure = plots.predictions(x, found.mean, found.scale)
    else:
        figure = plots.reconstructions(x.flatten(1), found.mean.flatten(1), found.scale.flatten(1))
    caption = "Predicted from the source alone, with two standard deviations, and measured."
    return [("predictions.png", caption, figure)]


ENTRY = Entry(
    name="ved",
    summary="encoder-decoder between modalities: from 'source' to 'x', with error bars",
    options=VEDOptions,
    build=_build,
    default_data=digit_spectra,
    fit={"epochs": 30, "batch_size": 128, "learning_rate": 1e-3},
    metrics=_metrics,
    figures=_figures,
)
