"""Variational families, one idea a file; import them as ``ppvae.guides``."""

if __name__ != "ppvae.guides":
    raise ImportError("import ppvae.guides, not guides")

from ppvae.guides.amortized import AmortizedGuide
from ppvae.guides.gp import GPGuide

__all__ = ["AmortizedGuide", "GPGuide"]
