"""Positions of data in latent space, and the means decoded from positions there."""

from __future__ import annotations

import torch
from torch import Tensor

from ppvae import plots
from ppvae.report.gallery.listed import figure, named
from ppvae.report.gallery.subject import Figures, Subject

__all__ = ["by_class", "densities", "manifolds", "scatters", "traversals"]

STYLES, STEPS, DIMS = 6, 8, 10


@figure(60)
def by_class(subject: Subject) -> Figures:
    """Styles in every class: a row is one value of a latent vector, a column is one class."""
    figures: Figures = []
    if not subject.drawn_by:
        return figures
    latent, observed = next(iter(subject.drawn_by.items()))
    z = subject.vectors[latent]
    styles = z[torch.linspace(0, len(z) - 1, STYLES).long()]
    for site, count in subject.classes.items():
        shown = range(min(count, DIMS))
        means = [subject.decoder(latent, observed, **{site: k})(styles) for k in shown]
        figure = plots.images(torch.stack(means, 1), column_labels=[str(k) for k in shown])
        caption = f"Decoded means: each row is one style {latent}, each column a class of {site}."
        figures.append((named("classes", site, not figures), caption, figure))
    return figures


@figure(70)
def manifolds(subject: Subject) -> Figures:
    """Means decoded over a plane of a latent vector, with a panel per class if there are any."""
    figures: Figures = []
    site, count = next(iter(subject.classes.items()), ("", 0))
    for latent, observed in subject.drawn_by.items():
        z = subject.vectors[latent]
        if z.size(-1) < 2:
            continue
        a, b = sorted(subject.by_variance(latent)[:2])
        caption = f"Decoded means over dimensions {a + 1} and {b + 1} of {latent}, which vary most"
        if count:
            figure = plots.manifold(
                {
                    f"class {k}": subject.decoder(latent, observed, **{site: k})
                    for k in range(min(count, DIMS))
                },
                z.size(-1),
                dims=(a, b),
                number=STEPS,
            )
            caption += f", by class of {site}"
        else:
            figure = plots.manifold(
                subject.decoder(latent, observed), z.size(-1), dims=(a, b), number=STEPS
            )
        figures.append((named("manifold", latent, not figures), f"{caption}.", figure))
    return figures


@figure(80)
def traversals(subject: Subject) -> Figures:
    """Images decoded along the dimensions of a latent vector that vary most."""
    figures: Figures = []
    for latent, observed in subject.drawn_by.items():
        z = subject.vectors[latent]
        figure = plots.traversals(
            subject.decoder(latent, observed),
            z.size(-1),
            dims=subject.by_variance(latent)[:DIMS],
            by_channel=subject.observed[observed].size(1) == 3,
        )
        caption = (
            f"Decoded means along dimensions of {latent}, from \u22121.96 to 1.96 (95 % of a "
            "standard normal); other dimensions at 0, other latents at a typical datum."
        )
        figures.append((named("traversals", latent, not figures), caption, figure))
    return figures


@figure(90)
def scatters(subject: Subject) -> Figures:
    """Posterior means of each latent vector, coloured by class or by view."""
    batch, period = subject.batch, getattr(getattr(subject.gp, "views", None), "period", None)
    colour: dict[str, Tensor | str | tuple[str, ...]] = {}
    text = ""
    if "y" in batch and bool((batch["y"] >= 0).all()):
        colour, text = {"colour": batch["y"], "kind": "class", "name": "class"}, " by class"
        colour["classes"] = tuple(subject.splits.train.names.get("y", ()))
    elif "view" in batch and batch["view"].dim() == 1:
        view = batch["view"] if period is None else batch["view"] * (2 * torch.pi / period)
        kind = "continuous" if period is None else "cyclic"
        colour, text = {"colour": view, "kind": kind, "name": "view"}, " by view"
    figures: Figures = []
    for latent, z in subject.vectors.items():
        if len(z) < 2:
            continue
        figure = plots.latents(z, **colour)  # type: ignore[arg-type]
        caption = f"Posterior means of {latent}{text}."
        figures.append((named("latents", latent, not figures), caption, figure))
    return figures


@figure(160)
def densities(subject: Subject) -> Figures:
    """Distributions of posterior means and log variances over the data."""
    figures: Figures = []
    for latent in subject.vectors:
        q = subject.posteriors[latent]
        try:
            mean, log_variance = q.mean.cpu(), q.variance.log().cpu()
        except NotImplementedError:  # A flow has neither in closed form.
            continue
        inferred = (mean + log_variance).isfinite().all(1)  # A known value has no variance.
        if int(inferred.sum()) < 2:
            continue
        caption = (
            f"Posterior means and log variances of {latent} by dimension, over the data. "
            "Where both are 0, the posterior is the standard normal, as if there were no data."
        )
        figure = plots.densities(mean[inferred], log_variance[inferred])
        figures.append((named("densities", latent, not figures), caption, figure))
    return figures
