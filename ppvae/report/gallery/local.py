"""How well a run does from place to place in latent space."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ppvae import plots
from ppvae.evaluate import kept_neighbours
from ppvae.evaluate.rows import plain_elbo
from ppvae.programs import evaluating, placement, seeded
from ppvae.report.gallery.listed import figure, named
from ppvae.report.gallery.subject import Figures, Subject

__all__ = ["divergences", "neighbourhoods"]

K = 10
NUMBERS = 2**25  # Most pixels whose distances are taken, which need 8 bytes each.

# A latent vector's site, positions (N, Z), what they are coloured by (N), and a caption.
Coloured = Iterator[tuple[str, Tensor, Tensor, str]]


@figure(94)
def neighbourhoods(subject: Subject) -> Figures:
    """Posterior means of a latent vector, by the share of a picture's neighbours that it keeps."""
    return _drawn("neighbours", "neighbours kept", _kept(subject))


@figure(96)
def divergences(subject: Subject) -> Figures:
    """Posterior means of a latent vector, by the KL divergence of each datum's posterior."""
    return _drawn("divergence", "KL, nats", _divergent(subject)) if subject.drawn_by else []


def _kept(subject: Subject) -> Coloured:
    for latent, observed in subject.drawn_by.items():
        x = subject.observed[observed]
        x = x[: NUMBERS // x[0].numel()]
        z = subject.vectors[latent][: len(x)]
        if len(z) <= 2 * K or not bool(x.isfinite().all()):
            continue
        share = kept_neighbours(x, z, k=K)
        caption = (
            f"Posterior means of {latent}; the colour is the share of a datum's {K} nearest "
            f"neighbours by {observed}, pixel by pixel, that are among its {K} nearest by "
            f"{latent}: {share.mean():.2f} on average, {K / (len(z) - 1):.2f} at random. Where "
            "it is low, data lie together for other reasons than their pixels."
        )
        yield latent, z, share, caption


def _divergent(subject: Subject) -> Coloured:
    run = subject.run
    with evaluating(run.model, run.guide), seeded(0, placement(run.guide)):
        terms, _ = plain_elbo(run, subject.splits.held_out).evaluate(subject.batch)
    for latent in subject.drawn_by:
        kl, z = terms.kl[latent].detach().cpu(), subject.vectors[latent]
        if kl.shape != z.shape[:1] or len(z) < 2 or not bool(kl.isfinite().all()):
            continue
        caption = (
            f"Posterior means of {latent}; the colour is the divergence of each datum's posterior "
            f"from the prior, in nats: {kl.mean():.1f} on average. A datum at 0 is not told from "
            "others by its code."
        )
        yield latent, z, kl, caption


def _drawn(file: str, name: str, coloured: Coloured) -> Figures:
    figures: Figures = []
    for latent, z, colour, caption in coloured:
        shown = plots.latents(z, colour=colour, kind="continuous", name=name)
        figures.append((named(file, latent, not figures), caption, shown))
    return figures
