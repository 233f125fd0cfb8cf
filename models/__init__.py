"""Generative programs, one idea per file; import them as ``ppvae.models``."""

if __name__ != "ppvae.models":
    raise ImportError("import ppvae.models, not models")

from ppvae.models.conditional_gpvae import ConditionalGPVAE
from ppvae.models.counts import CountVAE
from ppvae.models.cvae import ConditionalVAE
from ppvae.models.deep_kernel import DeepKernel
from ppvae.models.gpvae import GPVAE
from ppvae.models.jvae import JointVAE
from ppvae.models.orientation import OrientedDecoder
from ppvae.models.pose import PosedDecoder
from ppvae.models.ssvae import SemiSupervisedVAE
from ppvae.models.two_stage import TwoStageVAE
from ppvae.models.vae import VAE
from ppvae.models.ved import Translation

__all__ = [
    "GPVAE",
    "VAE",
    "ConditionalGPVAE",
    "ConditionalVAE",
    "CountVAE",
    "DeepKernel",
    "JointVAE",
    "OrientedDecoder",
    "PosedDecoder",
    "SemiSupervisedVAE",
    "Translation",
    "TwoStageVAE",
]
