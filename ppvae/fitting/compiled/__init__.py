"""The forward and backward pass as one compiled graph."""

from ppvae.fitting.compiled.gradients import CompiledGradients, pays

__all__ = ["CompiledGradients", "pays"]
