"""Networks: modules with a forward that returns a Distribution."""

from ppvae.nets import heads
from ppvae.nets.calibrated import Calibrated
from ppvae.nets.classes import Columns, Conditions, Embedding, OneHot
from ppvae.nets.conv import ConvDecoder, ConvEncoder
from ppvae.nets.coordinate import (
    CanvasDecoder,
    CoordinateDecoder,
    Pose,
    grid,
    place_grid,
    resample,
    transform_grid,
)
from ppvae.nets.embedding import Beside, BoundedLinear, Mean, NoEmbedding, ResidualEmbedding
from ppvae.nets.equivariant import EquivariantPose
from ppvae.nets.featured import FeatureNetwork
from ppvae.nets.heads import Head
from ppvae.nets.inputs import (
    InputAdapter,
    LogCounts,
    MaskedEncoder,
    Stages,
    Standardized,
    masked_shape,
)
from ppvae.nets.mlp import MLP, AddedInputs
from ppvae.nets.modulated import ModulatedMLP
from ppvae.nets.oriented import FlatRotation, IrrepDecoder, PointDecoder, harmonics, wigner
from ppvae.nets.priors import (
    AnyDirection,
    AnyRotation,
    ClassNormal,
    FlowPrior,
    MixtureNormal,
    Prior,
    StandardNormal,
    VampPrior,
)
from ppvae.nets.scaled import ScaledDecoder, ScaledEncoder, shared_scale
from ppvae.nets.scaling import FactorScaling
from ppvae.nets.sites import Angle, LogScale, Shift, Sites
from ppvae.nets.turned import TurnedDecoder, TurnedEncoder
from ppvae.nets.warp import Warp

__all__ = [
    "MLP",
    "AddedInputs",
    "Angle",
    "AnyDirection",
    "AnyRotation",
    "Beside",
    "BoundedLinear",
    "Calibrated",
    "CanvasDecoder",
    "ClassNormal",
    "Columns",
    "Conditions",
    "ConvDecoder",
    "ConvEncoder",
    "CoordinateDecoder",
    "Embedding",
    "EquivariantPose",
    "FactorScaling",
    "FeatureNetwork",
    "FlatRotation",
    "FlowPrior",
    "Head",
    "InputAdapter",
    "IrrepDecoder",
    "LogCounts",
    "LogScale",
    "MaskedEncoder",
    "Mean",
    "MixtureNormal",
    "ModulatedMLP",
    "NoEmbedding",
    "OneHot",
    "PointDecoder",
    "Pose",
    "Prior",
    "ResidualEmbedding",
    "ScaledDecoder",
    "ScaledEncoder",
    "Shift",
    "Sites",
    "Stages",
    "StandardNormal",
    "Standardized",
    "TurnedDecoder",
    "TurnedEncoder",
    "VampPrior",
    "Warp",
    "grid",
    "harmonics",
    "heads",
    "masked_shape",
    "place_grid",
    "resample",
    "shared_scale",
    "transform_grid",
    "wigner",
]
