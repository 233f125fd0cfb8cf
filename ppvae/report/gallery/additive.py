"""The terms of an additive GP prior: their shares of variance, and errors at later visits."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from ppvae.evaluate.predict import predict
from ppvae.gp.additive import AdditivePrior, shares
from ppvae.plots.style import style
from ppvae.programs import batch_for
from ppvae.report.gallery.subject import Figures, Subject

__all__ = ["metrics", "share_figure"]


def _prior(subject: Subject) -> AdditivePrior | None:
    priors = [m for m in subject.run.model.modules() if isinstance(m, AdditivePrior)]
    return priors[0] if priors else None


def metrics(subject: Subject) -> dict[str, float]:
    """Each term's mean share of variance; errors, density and coverage at the held-out rows."""
    prior, model = _prior(subject), subject.run.model
    if prior is None:
        return {}
    found = {f"share/{name}": float(value.mean()) for name, value in shares(prior).items()}
    data = subject.splits.test or subject.splits.validation
    if data is None or "x" not in subject.structure.observed:
        return found
    batch = batch_for(model, data)
    prediction = predict(model, batch)
    assert prediction.log_density is not None
    x = batch["x"]
    train = subject.splits.train.batch(torch.arange(min(4096, subject.splits.train.num_rows)))["x"]
    centred = train - train.nanmean(0)
    counted = (centred.square().nanmean(0) > 1e-4).to(x.device) & ~x.isnan()
    inside = (x >= prediction.lower) & (x <= prediction.upper)
    return {
        **found,
        "test_mse": float((prediction.mean - x).square().nanmean()),
        "test_log_likelihood": float(prediction.log_density.mean()),
        "coverage_90": float(inside[counted].double().mean()),
    }


def share_figure(subject: Subject) -> Figures:
    """Each term's share of the variance of each latent."""
    prior = _prior(subject)
    if prior is None:
        return []
    table = shares(prior)
    latents = range(prior.latent_dim)
    with style():
        figure = Figure(figsize=(6.4, 3.0), layout="constrained")
        axes = figure.subplots()
        below = torch.zeros(prior.latent_dim, dtype=torch.float64)
        for name, value in table.items():
            value = value.cpu()
            axes.bar(latents, value.numpy(), bottom=below.numpy(), label=name, width=0.85)
            below = below + value
        axes.set(xlabel="latent", ylabel="share of variance", ylim=(0, 1))
        figure.legend(loc="outside right upper", frameon=False)
    return [("shares.png", "Shares of the latents' variance by term of the kernel.", figure)]
