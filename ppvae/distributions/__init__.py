"""Distributions that neither torch nor Pyro has."""

from ppvae.distributions.partly_known import PartlyKnown

__all__ = ["PartlyKnown"]
