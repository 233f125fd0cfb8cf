"""Networks: modules whose forward returns a Distribution."""

from ppvae.nets import heads
from ppvae.nets.conv import ConvDecoder, ConvEncoder
from ppvae.nets.coordinate import CanvasDecoder, CoordinateDecoder, Pose, grid, transform_grid
from ppvae.nets.heads import Head
from ppvae.nets.mlp import MLP, AddedInputs

__all__ = [
    "MLP",
    "AddedInputs",
    "CanvasDecoder",
    "ConvDecoder",
    "ConvEncoder",
    "CoordinateDecoder",
    "Head",
    "Pose",
    "grid",
    "heads",
    "transform_grid",
]
