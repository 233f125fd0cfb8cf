"""How well a run does from place to place in latent space."""

from __future__ import annotations

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


@figure(94)
def neighbourhoods(subject: Subject) -> Figures:
    """Posterior means of a latent vector, by the share of a picture's neighbours that it keeps."""
    figures: Figures = []
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
        shown = plots.latents(z, colour=share, kind="continuous", name="neighbours kept")
        figures.append((named("neighbours", latent, not figures), caption, shown))
    return figures


@figure(96)
def divergences(subject: Subject) -> Figures:
    """Posterior means of a latent vector, by the KL divergence of each datum's posterior."""
    figures: Figures = []
    if not subject.drawn_by:
        return figures
    kls = _kls(subject)
    for latent in subject.drawn_by:
        kl, z = kls.get(latent), subject.vectors[latent]
        if kl is None or kl.shape != z.shape[:1] or len(z) < 2 or not bool(kl.isfinite().all()):
            continue
        caption = (
            f"Posterior means of {latent}; the colour is the divergence of each datum's posterior "
            f"from the prior, in nats: {kl.mean():.1f} on average. A datum at 0 is not told from "
            "others by its code."
        )
        shown = plots.latents(z, colour=kl, kind="continuous", name="KL, nats")
        figures.append((named("divergence", latent, not figures), caption, shown))
    return figures


def _kls(subject: Subject) -> dict[str, Tensor]:
    """KL of each latent site by datum, with shape (N) where it is one per datum."""
    run = subject.run
    with evaluating(run.model, run.guide), seeded(0, placement(run.guide)):
        terms, _ = plain_elbo(run, subject.splits.held_out).evaluate(subject.batch)
    return {name: kl.detach().cpu() for name, kl in terms.kl.items()}
