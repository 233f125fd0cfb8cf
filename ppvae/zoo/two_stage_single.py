"""``two-stage-single``: its entry."""

from ppvae.zoo.two_stage import SINGLE

__all__ = ["ENTRY"]

ENTRY = SINGLE
