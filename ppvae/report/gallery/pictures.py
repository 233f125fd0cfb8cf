"""Figures that entries share: of every model, and of those with classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ppvae import plots
from ppvae.data import Splits
from ppvae.models import JointVAE
from ppvae.programs import batch_for, check_pair, decode, encode, placement, signature
from ppvae.runs.run import Run
from ppvae.zoo.entry import Figures

__all__ = [
    "class_decoder",
    "class_figures",
    "common_figures",
    "joint_figures",
    "latent_figures",
    "latents_by_class",
]

STYLES, STEPS, SHOWN = 6, 8, 10


def class_decoder(
    run: Run, k: int, *, site: str = "y", rest: Mapping[str, Tensor] | None = None
) -> Callable[[Tensor], Tensor]:
    """From z, with shape (N, Z), to the means of class k.

    Arguments:
        run: Of a model with a class, a column or a latent site.
        k: The class.
        site: Its name.
        rest: Further columns or latents by name, one row each.
    """
    known = signature(run.model)
    like = placement(run.model)
    others = {
        name: row.to(like if row.is_floating_point() else like.device)
        for name, row in (rest or {}).items()
    }

    def decoded(z: Tensor) -> Tensor:
        z = z.to(like)
        held = {name: row.expand(len(z), *row.shape) for name, row in others.items()}
        held[site] = torch.full((len(z),), k, device=z.device)
        columns = {name: value for name, value in held.items() if name in known}
        latents = {"z": z, **{n: v for n, v in held.items() if n not in known}}
        return decode(run.model, latents, columns=columns)["x"]

    return decoded


def class_figures(
    run: Run, splits: Splits, *, classes: int, rest: Mapping[str, Tensor] | None = None
) -> Figures:
    """Of images: styles in every class, manifolds by class; and the latents by label.

    Arguments:
        run: Of a model with z and a class y.
        splits: The test data are encoded, or those to validate or to train on.
        classes: K.
        rest: As of :func:`class_decoder`.
    """
    data = splits.held_out
    rows = data.take(torch.arange(min(2000, data.num_rows)))
    batch = batch_for(run.guide, rows)
    z = encode(run.guide, batch)["z"]
    made: Figures = []
    if batch["x"].dim() == 4:
        decoders = {
            f"class {k}": class_decoder(run, k, rest=rest) for k in range(min(classes, SHOWN))
        }
        styles = z[torch.linspace(0, len(z) - 1, STYLES).long()]
        each = torch.stack([one(styles) for one in decoders.values()], 1)
        figure = plots.images(each, column_labels=[name.split()[1] for name in decoders])
        made.append(
            (
                "classes.png",
                "A row shows one style z, a column one class: decoded means.",
                figure,
            )
        )
        if z.size(-1) > 1:
            figure = plots.manifold(decoders, z.size(-1), number=STEPS)
            made.append(
                ("manifold.png", "Decoded means over the first two dimensions of z.", figure)
            )
    return [*made, *latents_by_class(z, batch)]


def joint_figures(run: Run, splits: Splits) -> Figures:
    """:func:`class_figures` of a joint or semi-supervised VAE, all else at its prior's mean."""
    model = run.model
    if not isinstance(model, JointVAE) or "y" not in model.counts:
        return []
    like = placement(model)
    rest = {name: like.new_zeros(dim) for name, dim in model.factors.items()}
    rest |= {name: torch.tensor(0) for name in model.counts if name != "y"}
    return class_figures(run, splits, classes=model.counts["y"], rest=rest)


def latents_by_class(z: Tensor, batch: Mapping[str, Tensor], *, latent: str = "z") -> Figures:
    """Posterior means (N, Z) coloured by the column y, if there is one without gaps."""
    if "y" not in batch or not bool((batch["y"] >= 0).all()):
        return []
    figure = plots.latents(z, colour=batch["y"], kind="class", name="class")
    return [("latents.png", f"Posterior means of {latent} by the data's class.", figure)]


def latent_figures(run: Run, splits: Splits) -> Figures:
    """Of a model with one latent z: what each dimension does to an image; latents by class."""
    data = splits.held_out
    like = placement(run.guide)
    rows = data.take(torch.arange(min(2000, data.num_rows)))
    batch = batch_for(run.guide, rows)
    z = encode(run.guide, batch)["z"]
    made: Figures = []
    if batch["x"].dim() == 4:

        def decoded(value: Tensor) -> Tensor:
            return decode(run.model, {"z": value.to(like)})["x"]

        # The dimensions that say most of the data, the others at rest.
        most = z.var(0).argsort(descending=True)[:SHOWN].tolist()
        figure = plots.traversals(
            decoded, z.size(-1), dims=most, by_channel=1 < batch["x"].size(1) != 3
        )
        caption = "Decoded means along dimensions of z, over the central 95 % of the prior."
        made.append(("traversals.png", caption, figure))
    return [*made, *latents_by_class(z, batch)]


def common_figures(run: Run, splits: Splits) -> Figures:
    """Of every model: reconstructions of x, by each stage of a staged one; the loss by term."""
    data = splits.held_out
    rows = data.take(torch.linspace(0, data.num_rows - 1, min(SHOWN, data.num_rows)).long())
    batch = batch_for(run.guide, rows)
    made: Figures = []
    latents = encode(run.guide, batch)
    for site in check_pair(run.model, run.guide, batch).observed:
        mean = decode(run.model, latents, columns=batch, site=site)[site]
        if mean.shape != batch["x"].shape or mean.dim() not in (2, 4):
            continue
        stage = site.removeprefix("x")
        caption = "Held-out data above, encoded and decoded below"
        made.append(
            (
                f"reconstructions{stage and '_' + site}.png",
                f"{caption}, by stage {stage}." if stage else f"{caption}.",
                plots.reconstructions(batch["x"], mean),
            )
        )
    made.append(("loss.png", "The loss by term over epochs.", plots.loss_by_term(run.history)))
    return made
