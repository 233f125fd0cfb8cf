"""``two-stage-double``: its entry."""

from ppvae.zoo.two_stage import DOUBLE

__all__ = ["ENTRY"]

ENTRY = DOUBLE
