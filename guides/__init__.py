"""Variational families, one idea per file; import them as ``ppvae.guides``."""

if __name__ != "ppvae.guides":
    raise ImportError("import ppvae.guides, not guides")

from ppvae.guides.amortized import AmortizedGuide
from ppvae.guides.conditional import ConditionalGuide
from ppvae.guides.conditional_gp import ConditionalGPGuide
from ppvae.guides.counts import CountGuide
from ppvae.guides.deep_kernel import ExactWeightsGuide, VariationalWeightsGuide
from ppvae.guides.factorized import FactorizedGuide
from ppvae.guides.gp import GPGuide
from ppvae.guides.orientation import Orient
from ppvae.guides.pose import Align
from ppvae.guides.pseudo import PseudoGuide
from ppvae.guides.semisupervised import SemiSupervisedGuide
from ppvae.guides.source import SourceGuide
from ppvae.guides.two_stage import DoubleEmbeddingGuide, SingleEmbeddingGuide
from ppvae.guides.weight_space import WeightSpaceGuide

__all__ = [
    "Align",
    "AmortizedGuide",
    "ConditionalGPGuide",
    "ConditionalGuide",
    "CountGuide",
    "DoubleEmbeddingGuide",
    "ExactWeightsGuide",
    "FactorizedGuide",
    "GPGuide",
    "Orient",
    "PseudoGuide",
    "SemiSupervisedGuide",
    "SingleEmbeddingGuide",
    "SourceGuide",
    "VariationalWeightsGuide",
    "WeightSpaceGuide",
]
