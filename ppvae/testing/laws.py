"""The laws: functions of a :class:`Variant` that raise :class:`LawError`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import Tensor, nn

from ppvae.objectives import ELBO, Objective
from ppvae.objectives.mixing import mixed_columns
from ppvae.programs import Structure, arguments, evaluating, forked, trace_program
from ppvae.programs.sites import nodes_of
from ppvae.testing.slopes import Pathway, Slope
from ppvae.testing.variant import Variant, demand

__all__ = ["LAWS", "Law"]


def _same(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def finite_terms(variant: Variant) -> None:
    """Every term is finite, with one number per datum."""
    terms = variant.objective()(variant.batch)
    demand(that=bool(torch.isfinite(terms.loss)), meaning=f"the loss is {terms.loss.detach()}.")
    for name, value in {**terms.kl, **terms.log_likelihood, "elbo": terms.elbo}.items():
        demand(
            that=value.shape == (variant.rows,) and bool(torch.isfinite(value).all()),
            meaning=f"{name!r}: expected {variant.rows} finite numbers; got {value.detach()}.",
        )


def every_parameter_has_a_gradient(variant: Variant) -> None:
    """Every parameter that requires a gradient gets one that is finite and not zero."""
    objective = variant.copy().objective()
    objective(variant.batch).loss.backward()
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            gradient = parameter.grad
            demand(
                that=gradient is not None and bool(torch.isfinite(gradient).all()),
                meaning=f"{name}: expected a finite gradient; got {gradient}. A parameter that "
                "no site depends on is never trained: remove it, or use it.",
            )
            demand(
                that=gradient is not None and bool((gradient != 0).any()),
                meaning=f"{name}: expected a gradient; got zeros. The parameter has no effect on "
                "the loss of this batch.",
            )


def gradients_are_slopes(variant: Variant) -> None:
    """A small change of a parameter or of a draw changes the densities as the gradient says."""
    twin, pathway = _moved(variant)
    for name in twin.objective().structures[frozenset(twin.batch)].latent:
        if not pathway.draws[name].is_floating_point():
            continue
        slope = pathway.of_site(name)
        demand(
            that=not slope.is_zero,
            meaning=f"no other site of the model depends on {name!r}: its posterior is trained to "
            "be the prior, and holds nothing of the data. Use it, or remove it.",
        )
        demand(that=not slope.is_cut, meaning=_cut(f"the draws of {name!r}", slope))
    for name, parameter in nn.ModuleDict(
        {"model": twin.model, "guide": twin.guide}
    ).named_parameters():
        if parameter.requires_grad:
            slope = pathway.of_parameter(parameter)
            demand(that=not slope.is_cut, meaning=_cut(name, slope))


def _cut(what: str, slope: Slope) -> str:
    return (
        f"along a random direction of {what} the log-densities change by {slope.difference:.4g} "
        f"nats, and the gradient says {slope.gradient:.4g}. A part of it is cut: look for "
        "detach(), item(), no_grad() or torch.tensor(...) between it and a distribution. "
        "If that is meant, pass skip=['gradients_are_slopes']."
    )


def _moved(variant: Variant) -> tuple[Variant, Pathway]:
    """A copy whose parameters are not at special values such as zero, and its log-densities."""
    twin = variant.copy()
    objective = twin.objective(ELBO())
    with torch.no_grad(), forked(*twin.batch.values(), seed=twin.seed):
        for parameter in objective.parameters():
            if parameter.requires_grad:
                parameter.add_(1e-2 * torch.randn_like(parameter))
        objective(twin.batch)
    structure = objective.structures[frozenset(twin.batch)]
    return twin, Pathway(twin.model, twin.guide, twin.batch, structure)


def the_data_are_observed(variant: Variant) -> None:
    """Observed values come from the data, and so do the posteriors of the data's latents."""
    twin, pathway = _moved(variant)
    latent, observed = pathway.unmoved()
    every = set(pathway.structure.observed)
    demand(
        that=not observed or observed < every,
        meaning=f"{sorted(observed)} are observed at values that are the same whatever the data: "
        "the model learns nothing of them. Pass a column, as in obs=x.",
    )
    if observed:
        warnings.warn(
            f"{sorted(observed)} are observed at values that are the same whatever the data; the "
            "law the_data_are_observed takes them for constraints.",
            stacklevel=3,
        )
    if latent:
        warnings.warn(
            f"the posteriors of {sorted(latent)} are the same for all rows: the guide does not "
            "look at the data there (law the_data_are_observed).",
            stacklevel=3,
        )


def particles_have_the_mean_of_one(variant: Variant) -> None:
    """Many particles side by side have the mean of many draws of one."""
    one, many = variant.objective(ELBO()), variant.objective(ELBO(num_particles=64))
    with torch.no_grad(), forked(*variant.batch.values(), seed=variant.seed):
        singles = torch.stack([one(variant.batch).elbo.mean() for _ in range(64)])
        several = torch.stack([many(variant.batch).elbo.mean() for _ in range(4)])
    error = singles.std() * (1 / 64 + 1 / 256) ** 0.5
    gap = (singles.mean() - several.mean()).abs()
    demand(
        that=bool(gap < 5 * error + 1e-6),
        meaning=f"expected {float(singles.mean()):.6g} within {float(5 * error):.2g}; got "
        f"{float(several.mean()):.6g}. The draws are mixed with each other.",
    )


def closed_form_is_monte_carlo(variant: Variant) -> None:
    """KLs in closed form and at the draws agree in mean and in gradient."""
    twin = variant.copy()
    specs = [ELBO(num_particles=32, analytic=analytic) for analytic in (True, False)]
    objectives = [twin.objective(spec) for spec in specs]
    learned = [p for p in objectives[0].parameters() if p.requires_grad]
    with forked(*twin.batch.values(), seed=twin.seed):
        direction = [torch.randn_like(p) for p in learned]
        gaps = torch.tensor([_gap(objectives, twin, learned, direction, i) for i in range(8)])
    mean, error = gaps.mean(0), gaps.std(0) / len(gaps) ** 0.5
    for kind, gap, spread, scale in zip(
        ("value", "gradient"), mean, error, (1e-4, 1e-3), strict=True
    ):
        demand(
            that=bool(gap.abs() < 6 * spread + scale),
            meaning=f"{kind}: the two differ by {float(gap):.3g}, with a Monte Carlo error of "
            f"{float(spread):.2g}. A registered KL is not that of the densities, or a log_prob "
            "is not that of what is drawn.",
        )


def _gap(
    objectives: Sequence[Objective],
    variant: Variant,
    learned: Sequence[nn.Parameter],
    direction: Sequence[Tensor],
    draw: int,
) -> list[float]:
    """Differences of the loss, and of its slope in a direction, both with the same noise."""
    values = []
    for objective in objectives:
        with forked(*variant.batch.values(), seed=variant.seed + draw):
            loss = objective(variant.batch).loss
        slopes = torch.autograd.grad(loss, learned, allow_unused=True)
        slope = sum(
            float((g * d).sum()) for g, d in zip(slopes, direction, strict=True) if g is not None
        )
        values.append((float(loss.detach()), slope))
    return [values[0][0] - values[1][0], values[0][1] - values[1][1]]


def the_objective_is_pyros(variant: Variant) -> None:
    """With KLs at the draws the loss is that of Pyro's Trace_ELBO or TraceEnum_ELBO."""
    ours, theirs = variant.copy(), variant.copy()
    structure = next(iter(ours.objective().structures.values()))
    oracle = (TraceEnum_ELBO if structure.enumerated else Trace_ELBO)(
        max_plate_nesting=structure.max_plate_nesting
    )
    loss = ours.loss(ELBO(analytic=False)).detach()
    tolerance = 1e-8 if loss.dtype == torch.float64 else 1e-4
    actual = float(loss) * variant.rows
    theirs.model.train()
    theirs.guide.train()
    with forked(*variant.batch.values(), seed=variant.seed + 1):
        expected = float(
            oracle.differentiable_loss(
                lambda batch: theirs.model(**arguments(theirs.model, batch)),
                lambda batch: theirs.guide(**arguments(theirs.guide, batch)),
                dict(variant.batch),
            ).detach()
        )
    demand(
        that=abs(actual - expected) <= tolerance * max(1.0, abs(expected)),
        meaning=f"expected {expected:.8g}, Pyro's; got {actual:.8g}. The program draws random "
        "numbers outside its sites, or changes from one call to the next.",
    )


def rows_do_not_mix(variant: Variant) -> None:
    """The terms of a datum depend on its own row alone, if no latent is shared by all data."""
    objective = variant.copy().objective(ELBO())
    mixed = mixed_columns(objective, variant.batch, seed=variant.seed)
    demand(
        that=not mixed,
        meaning=f"the terms of some rows change with {mixed} of the others. A "
        "BatchNorm, a mean or a sort over rows mixes data, and the ELBO is then no bound: use "
        "GroupNorm or LayerNorm, and reduce over dimensions of one datum only.",
    )


def the_loss_falls(variant: Variant) -> None:
    """Thirty steps of Adam lower the loss."""
    before, after = variant.copy().train(30)
    demand(that=after < before, meaning=f"the loss went from {before:.6g} to {after:.6g}.")


def _unseen(variant: Variant, structure: Structure) -> dict[str, Tensor | int]:
    """The columns that are not observed, and the number of rows as ``size``."""
    hidden = {*structure.columns.values(), *structure.observed}
    known = {name: v for name, v in variant.batch.items() if name not in hidden}
    return {**known, "size": variant.rows}


def predicts_without_observed_columns(variant: Variant) -> None:
    """Without its observed columns the model samples them, in the same shape."""
    twin = variant.copy()
    structure = next(iter(twin.objective().structures.values()))
    with evaluating(twin.model), forked(*twin.batch.values(), seed=twin.seed):
        drawn = twin.model(**arguments(twin.model, _unseen(twin, structure)))
    if isinstance(drawn, Tensor) and len(structure.columns) == 1:
        (column,) = structure.columns.values()
        shape = twin.batch[column].shape
        demand(
            that=drawn.shape == shape and bool(torch.isfinite(drawn).all()),
            meaning=f"expected finite draws with shape {tuple(shape)}; got {tuple(drawn.shape)}. "
            "Give observed arguments the default None, and forward the argument size.",
        )


def the_prior_is_the_same_without_data(variant: Variant) -> None:
    """With its observed columns and without, the model draws each latent from the same prior."""
    twin = variant.copy()
    structure = next(iter(twin.objective().structures.values()))
    with evaluating(twin.model), forked(*twin.batch.values(), seed=twin.seed):
        seen = nodes_of(trace_program(twin.model, twin.batch))
        # Classes that are known in the batch are sampled without it: all sites have its values.
        values = {n: seen[n]["value"] for n in (*structure.latent, *structure.observed)}
        unseen = nodes_of(trace_program(twin.model, _unseen(twin, structure), given=values))
    for name in structure.latent:
        if name not in unseen:
            continue
        p, q = (n[name]["fn"].log_prob(values[name]).detach() for n in (seen, unseen))
        demand(
            that=p.shape == q.shape and torch.allclose(p, q, rtol=1e-4, atol=1e-5),
            meaning=f"at the same values, the log-density of {name!r} in the model is "
            f"{float(p.sum()):.6g} with the data and {float(q.sum()):.6g} without. "
            "Fits would use one prior, and predictions another: let the prior depend on "
            "columns that are not observed, such as conditions, and on other sites.",
        )


def evaluation_leaves_weights(variant: Variant) -> None:
    """An evaluation moves no parameter and no buffer."""
    twin = variant.copy()
    before = twin.values()
    with evaluating(twin.model, twin.guide):
        twin.spec(twin.model, twin.guide, num_data=twin.rows).eval()(twin.batch)
    demand(
        that=_same(before, twin.values()),
        meaning="a parameter or buffer changed in evaluation mode. Update it only in training.",
    )


def a_state_dict_carries_all(variant: Variant) -> None:
    """Weights that are moved, saved and loaded give the same loss."""
    moved, other = variant.copy(), variant.copy()
    moved.train(2)
    other.model.load_state_dict(moved.model.state_dict())
    other.guide.load_state_dict(moved.guide.state_dict())
    losses = []
    for pair in (moved.copy(), other.copy()):
        losses.append(float(pair.loss().detach()))
    demand(
        that=abs(losses[0] - losses[1]) <= 1e-5 * max(1.0, abs(losses[0])),
        meaning=f"expected {losses[0]:.8g}; got {losses[1]:.8g} after loading. Something learned "
        "is neither a parameter nor a buffer.",
    )


def instances_are_independent(variant: Variant) -> None:
    """Training a copy changes the copy, and leaves the original as it is."""
    first, second = variant.copy(), variant.copy()
    before = second.values()
    first.train(2)
    demand(
        that=_same(before, second.values()),
        meaning="training one instance moved another. Parameters are shared by a global.",
    )
    demand(that=not _same(before, first.values()), meaning="training changed no parameter.")


Law = Callable[[Variant], None]

LAWS: tuple[Law, ...] = (
    finite_terms,
    every_parameter_has_a_gradient,
    gradients_are_slopes,
    the_data_are_observed,
    particles_have_the_mean_of_one,
    closed_form_is_monte_carlo,
    the_objective_is_pyros,
    rows_do_not_mix,
    the_loss_falls,
    predicts_without_observed_columns,
    the_prior_is_the_same_without_data,
    evaluation_leaves_weights,
    a_state_dict_carries_all,
    instances_are_independent,
)
