"""The terms of an additive GP prior: shares of variance, correlations, errors at later visits."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ppvae import plots
from ppvae.gp.additive import AdditivePrior, FreeForm, shares
from ppvae.plots.style import style
from ppvae.report.gallery.listed import figure, metric
from ppvae.report.gallery.subject import Figures, Subject
from ppvae.report.gallery.unseen import as_column, errors, mean_of, scores

__all__ = ["correlation_figure", "metrics", "share_figure"]


@metric
def metrics(subject: Subject) -> dict[str, float]:
    """Each term's mean share of variance; errors, density and coverage at the held-out rows."""
    prior = subject.additive
    if prior is None:
        return {}
    names = {f"share/{name}": float(value.mean()) for name, value in shares(prior).items()}
    if subject.predicted is None:
        return names
    return names | scores(subject, *subject.predicted) | _last_visits(subject, prior)


def _last_visits(subject: Subject, prior: AdditivePrior) -> dict[str, float]:
    """The error of each subject's last visit in the training data, copied to its later ones."""
    train = subject.train
    if prior.subject is None or prior.order is None or subject.predicted is None or train is None:
        return {}
    batch = subject.predicted[0]
    x = as_column(*subject.predicted)
    if x is None:
        return {}
    order = torch.argsort(torch.as_tensor(train[prior.order]), stable=True)
    ids = torch.as_tensor(train[prior.subject])
    guesses = mean_of(train).to(x).expand_as(x).clone()
    for row, own in enumerate(batch[prior.subject].tolist()):
        for visit in order[ids[order] == own].split(1):
            seen = train.batch(visit)["x"][0].to(x)
            guesses[row] = torch.where(seen.isnan(), guesses[row], seen)
    return {"mse_last_visit": float(errors(guesses, x).mean())}


@figure(30)
def share_figure(subject: Subject) -> Figures:
    """Each term's share of the variance of each latent."""
    prior = subject.additive
    if prior is None:
        return []
    table = shares(prior)
    latents = range(1, prior.latent_dim + 1)
    with style():
        figure = Figure(figsize=(6.4, 3.0), layout="constrained")
        axes = figure.subplots()
        below = torch.zeros(prior.latent_dim, dtype=torch.float64)
        for name, value in table.items():
            value = value.cpu()
            axes.bar(latents, value.numpy(), bottom=below.numpy(), label=name, width=0.85)
            below = below + value
        axes.set(xlabel="latent dimension", ylabel="share of variance", ylim=(0, 1))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside right upper", frameon=False)
    return [
        (
            "shares.png",
            "Share of each latent's variance that each term of the kernel explains.",
            figure,
        )
    ]


@figure(35)
def correlation_figure(subject: Subject) -> Figures:
    """The correlation of the categories of each ``free(column)`` of the kernel."""
    if subject.additive is None:
        return []
    found, ticks, names = {}, {}, subject.splits.train.names
    for term in subject.additive.kernel:
        for factor in term:
            if isinstance(factor, FreeForm):
                title = f"{factor.column}: {term.written}"
                found[title] = factor.correlation().detach().cpu()
                levels, words = factor.categories.levels.tolist(), names.get(factor.column)
                ticks[title] = [words[int(c)] if words else f"{c:g}" for c in levels]
    if not found:
        return []
    caption = (
        "Correlation of categories in each free term of the kernel, as learned: without the "
        "other terms and the noise, and without an interval. With few subjects it is uncertain."
    )
    drawn = plots.covariance(found, ticks=ticks, label="correlation")
    return [("correlations.png", caption, drawn)]
