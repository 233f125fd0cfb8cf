"""Rules about rotations in space."""

from __future__ import annotations

from typing import Final

from ppvae.report.facts import Facts
from ppvae.report.findings import Finding, Mark
from ppvae.report.words import shown

__all__ = ["orientations", "turned"]

# Degrees: between two data that are turned hardly at all, and median errors.
STILL: Final = 10.0
ERRORS: Final = (10.0, 45.0)


def turned(facts: Facts) -> Finding | None:
    """Whether the data show rotations at all; two at random are about 130 degrees apart."""
    spread = facts.number("rotation_spread/rotation")
    if spread is None or spread >= STILL:
        return None
    return Finding(
        "caution",
        f"All data are inferred to have one rotation, to within {shown(spread, 2)} degrees: these "
        "pictures "
        "are not turned, or the rotation is not used. Use a vae, or search longer (--search).",
    )


def orientations(facts: Facts) -> Finding | None:
    """Rotations in space, against the true ones."""
    error = facts.number("rotation_error")
    if error is None:
        return None
    good, fair = ERRORS
    mark: Mark = "ok" if error <= good else "caution" if error <= fair else "bad"
    text = f"Rotations are inferred to within {shown(error, 2)} degrees (median)"
    if mark == "ok":
        return Finding(mark, f"{text}, up to one change of frame.")
    return Finding(
        mark,
        f"{text}, up to one change of frame: two random rotations are about 130 degrees apart, "
        "and those of an object with symmetries cannot be inferred. Search longer (--search).",
    )
