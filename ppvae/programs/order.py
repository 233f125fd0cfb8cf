r"""Conditions under which the closed form of a latent site's KL is right.

The term of site :math:`z_i` in the ELBO is
:math:`E_q[\log q(z_i \mid \mathrm{pa}^q_i) - \log p(z_i \mid \mathrm{pa}^p_i)]`. It equals
:math:`E_q[\mathrm{KL}(q(z_i \mid \mathrm{pa}^q_i) \,\|\, p(z_i \mid \mathrm{pa}^p_i))]` if, given
:math:`\mathrm{pa}^q_i`, q draws :math:`z_i` independently of :math:`\mathrm{pa}^p_i`: if none of
the sites that :math:`p(z_i \mid \cdot)` depends on follows :math:`z_i` in the guide. With the
model :math:`p(z_2) p(z_1 \mid z_2)` and the guide :math:`q(z_1) q(z_2 \mid z_1)`, the closed form
at :math:`z_1` would treat :math:`z_2` as independent of :math:`z_1`.

A site need not depend on all sites that precede it in the model. Where the orders differ, the
closed form is still used if the density :math:`p(z_i \mid \cdot)` neither changes with the values
of the sites drawn later nor has a gradient with respect to them; a discrete site drawn later
always rules it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pyro import poutine
from pyro.distributions import Delta, MaskedDistribution, TorchDistribution
from torch import Tensor, nn
from torch.distributions import HalfCauchy, HalfNormal, Transform, TransformedDistribution
from torch.distributions.kl import (
    _KL_REGISTRY,
    _dispatch_kl,
    _kl_transformed_transformed,
)

from ppvae.programs.traces import sample_sites, trace_program

__all__ = ["drawn_later", "without_closed_form"]


def drawn_later(latent: Sequence[str], model_order: Sequence[str]) -> dict[str, list[str]]:
    """For each latent site, the sites that precede it in the model but follow it in the guide.

    Arguments:
        latent: Latent sites in the guide's order.
        model_order: Latent sites in the model's order.
    """
    place = {name: i for i, name in enumerate(latent)}
    later = {
        name: [other for other in model_order[:i] if place[other] > place[name]]
        for i, name in enumerate(model_order)
    }
    return {name: others for name, others in later.items() if others}


def without_closed_form(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    latent: Sequence[str],
    guide_trace: poutine.Trace,
    model_trace: poutine.Trace,
) -> frozenset[str]:
    """The latent sites with a KL that must be estimated at the draws.

    These are the sites that depend, in the model, on a site drawn later in the guide; sites that
    model and guide mask or scale differently, as far as these rows tell; and sites with a
    registered closed form that leaves out a part of their density (``Delta`` with a log-density,
    masked distributions, several values folded into one, transforms that are learned), or is that
    of a base class that draws or scores otherwise.

    Arguments:
        model: The generative program.
        batch: Columns by name.
        latent: Latent sites in the guide's order.
        guide_trace: Trace of the guide on ``batch``.
        model_trace: Trace of the model, replayed against it.
    """
    q, p = sample_sites(guide_trace), sample_sites(model_trace)
    sampled = {
        name
        for name in latent
        if not (_same(q[name]["mask"], p[name]["mask"]))
        or not _same(q[name]["scale"], p[name]["scale"])
        or _incomplete(q[name]["fn"])
        or _incomplete(p[name]["fn"])
        or _transformed_apart(q[name]["fn"], p[name]["fn"])
    }
    order = [name for name in p if name in latent]
    for name, others in drawn_later(latent, order).items():
        if name not in sampled and _depends(model, batch, name, others, guide_trace, model_trace):
            sampled.add(name)
    return frozenset(sampled)


def _same(a: Tensor | float | None, b: Tensor | float | None) -> bool:
    if a is b:
        return True
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool((a == b).all())
    return not isinstance(a, Tensor) and not isinstance(b, Tensor) and bool(a == b)


def _incomplete(fn: TorchDistribution) -> bool:
    while not isinstance(fn, Delta | MaskedDistribution):
        if _folds(fn) or _overrides(fn):
            return True
        if not hasattr(fn, "base_dist"):
            return False
        fn = fn.base_dist
    return True


def _overrides(fn: TorchDistribution) -> bool:
    """Whether no class with a registered KL draws and scores as ``fn``, or leaves it to ``fn``."""
    for kind in {kind for pair in _KL_REGISTRY for kind in pair if isinstance(fn, kind)}:
        given = [(_owner(type(fn), name), _owner(kind, name)) for name in ("rsample", "log_prob")]
        known = [(own, theirs) for own, theirs in given if theirs is not None]
        if known and all(own is theirs for own, theirs in known):
            return False
    # Its KL is that of the entire Cauchy distribution.
    return _owner(type(fn), "log_prob") is not HalfCauchy


def _owner(kind: type, method: str) -> type | None:
    """The class that defines a method of a distribution; None for abstract ones."""
    owner = next((c for c in kind.__mro__ if method in vars(c)), None)
    return None if owner is None or owner.__name__ == "Distribution" else owner


def _folds(fn: TorchDistribution) -> bool:
    """Whether a transform maps several values to one, as abs does.

    torch then takes the KL of what is transformed, which is right for halves of symmetric ones.
    """
    return (
        isinstance(fn, TransformedDistribution)
        and not isinstance(fn, HalfNormal | HalfCauchy)
        and not all(transform.bijective for transform in fn.transforms)
    )


def _transformed_apart(q: TorchDistribution, p: TorchDistribution) -> bool:
    """Whether both are transformed, by transforms with parameters of their own.

    torch leaves transforms out of a KL where they are equal, as those of two parameters are that
    start at one value: their gradient would be lost. A KL of their own classes is not concerned.
    """
    while hasattr(q, "base_dist") and hasattr(p, "base_dist"):
        if _dispatch_kl(type(q), type(p)) is _kl_transformed_transformed:
            pairs = zip(q.transforms, p.transforms, strict=False)
            if any(a is not b and (_is_learned(a) or _is_learned(b)) for a, b in pairs):
                return True
        q, p = q.base_dist, p.base_dist
    return False


def _is_learned(transform: object) -> bool:
    """Whether a transform, or a part of it, has a tensor with a gradient."""
    if isinstance(transform, nn.Module):
        return any(parameter.requires_grad for parameter in transform.parameters())
    # Its inverse, which it keeps, keeps it in turn.
    held = [value for name, value in vars(transform).items() if name != "_inv"]
    parts = [p for v in held for p in (v if isinstance(v, list | tuple) else [v])]
    return any(
        part.requires_grad if isinstance(part, Tensor) else _is_learned(part)
        for part in parts
        if isinstance(part, Tensor | Transform)
    )


def _depends(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    name: str,
    others: Sequence[str],
    guide_trace: poutine.Trace,
    model_trace: poutine.Trace,
) -> bool:
    """Whether p(name | ...) may depend on ``others``."""
    q = sample_sites(guide_trace)
    if any(not q[other]["value"].is_floating_point() for other in others):
        return True
    value = q[name]["value"].detach()
    with torch.enable_grad():
        leaves = {k: q[k]["value"].detach().clone().requires_grad_() for k in others}
        again = trace_program(model, batch, replay=guide_trace, given=leaves)
        score = _score(again, name, value)
        if score.requires_grad:
            total = score.sum()
            gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
            if any(gradient is not None for gradient in gradients):
                return True
    with torch.no_grad():
        redrawn = {k: q[k]["fn"]().detach() for k in others}
        moved = trace_program(model, batch, replay=guide_trace, given=redrawn)
        return not torch.equal(_score(model_trace, name, value), _score(moved, name, value))


def _score(trace: poutine.Trace, name: str, value: Tensor) -> Tensor:
    score: Tensor = sample_sites(trace)[name]["fn"].log_prob(value)
    return score
