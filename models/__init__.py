"""Generative programs, one idea a file; import them as ``ppvae.models``."""

if __name__ != "ppvae.models":
    raise ImportError("import ppvae.models, not models")

from ppvae.models.gpvae import GPVAE
from ppvae.models.vae import VAE

__all__ = ["GPVAE", "VAE"]
