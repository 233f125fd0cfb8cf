"""Rules about information: how much the latents hold, and whether a critic has kept up with it."""

from __future__ import annotations

from typing import Final

from ppvae.report.facts import Facts
from ppvae.report.findings import Finding
from ppvae.report.words import shown

__all__ = ["critic_behind", "informed", "informing"]

_NO_NATS: Final = 0.05
# A critic may be below the lower bound by this many nats, or this share of it.
_BEHIND: Final = (0.5, 0.2)
# Share of the limit above which the lower bound says little.
_LIMITED: Final = 0.9


def informed(facts: Facts) -> Finding | None:
    """Whether the posteriors differ between data, which a KL alone does not say."""
    bounds = _bounds(facts)
    if not bounds:
        return None
    none = [site for site, (_, upper) in bounds.items() if upper < _NO_NATS]
    if none:
        names = ", ".join(none)
        return Finding(
            "bad" if len(none) == len(bounds) else "caution",
            f"The posterior of {names} is the same for all data: at most "
            f"{shown(max(bounds[site][1] for site in none), 2)} nats of information about a "
            "datum, whatever its KL. Train longer, or raise the KL's weight slowly.",
        )
    parts = ", ".join(f"{site} {_between(*pair)}" for site, pair in bounds.items())
    text = f"Information about each datum, in nats: {parts}"
    limit = facts.number("information_limit")
    if limit is not None and any(lower > _LIMITED * limit for lower, _ in bounds.values()):
        text += f" (with so few rows, the lower bound cannot exceed {shown(limit, 2)})"
    return Finding("ok", f"{text}.")


def informing(facts: Facts) -> list[str]:
    """Latents that are known to hold information about each datum."""
    return [site for site, (lower, _) in _bounds(facts).items() if lower >= _NO_NATS]


def critic_behind(facts: Facts) -> Finding | None:
    """Whether a critic's estimate is below what the guide's densities prove."""
    terms = facts.section("objective").get("terms")
    names = terms if isinstance(terms, list) else []
    for site, (lower, _) in _bounds(facts).items():
        estimate = facts.number(f"mutual_information/x,{site}")
        if estimate is None and names == [f"information_x_{site}"]:
            estimate = facts.number("mutual_information")
        nats, share = _BEHIND
        if estimate is not None and estimate < lower - max(nats, share * lower):
            return Finding(
                "caution",
                f"The critic of x and {site} lags behind: it estimates {shown(estimate, 2)} nats, "
                f"but there are at least {shown(lower, 2)}. The reward for information had "
                "little effect: train longer, or give the critic more updates or a higher "
                "learning rate.",
            )
    return None


def _bounds(facts: Facts) -> dict[str, tuple[float, float]]:
    """Lower and upper bound by site."""
    bounds = {}
    for name in facts.metrics:
        kind, _, site = name.partition("/")
        lower, upper = facts.number(name), facts.number(name.replace(kind, f"{kind}_upper", 1))
        if kind == "information" and lower is not None and upper is not None:
            bounds[site or "z"] = (lower, upper)
    return bounds


def _between(lower: float, upper: float) -> str:
    low, high = shown(lower, 2), shown(upper, 2)
    return low if low == high else f"{low} to {high}"
