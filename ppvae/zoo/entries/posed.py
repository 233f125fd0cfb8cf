"""``rvae``, ``trvae``, ``jrvae``: VAEs that separate the pose of an image from its content."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import ppvae
from ppvae.errors import ArgumentError
from ppvae.zoo.entries.cvae import cvae
from ppvae.zoo.entries.jvae import jvae
from ppvae.zoo.entries.vae import vae
from ppvae.zoo.entry import Pair, Spec, register
from ppvae.zoo.options import Options, option
from ppvae.zoo.parts import Networks, encoder_of, expect_pictures, observed

if TYPE_CHECKING:
    from torch import nn

    from ppvae.data import Splits
    from ppvae.nets import heads

__all__ = ["Poses", "jrvae", "rvae", "trvae"]


@dataclass(frozen=True)
class Poses(Options):
    """The poses of a model, and the networks that estimate and undo them."""

    rotation: Annotated[
        float,
        option(
            "standard deviation of the prior of angles, in radians; 0: no rotation; pi or more: "
            "any angle"
        ),
    ] = math.pi
    translation: Annotated[
        float,
        option("standard deviation of the prior of shifts, in half image sides; 0: no shifts"),
    ] = 0.0
    scale: Annotated[
        float, option("standard deviation of the prior of the logarithm of the size; 0: one size")
    ] = 0.0
    pose: Annotated[
        str, option("network that estimates the pose", choices=("equivariant", "conv", "mlp"))
    ] = "equivariant"
    angles: Annotated[
        int, option("number of rotated copies that the equivariant network compares", least=1)
    ] = 16
    decoder: Annotated[
        str,
        option(
            "canvas: a picture that is resampled at the pose; coordinates: a network of the "
            "position",
            choices=("canvas", "coordinates"),
        ),
    ] = "canvas"
    undo: Annotated[bool, option("undo the pose of the image before its content is encoded")] = (
        True
    )

    def given_to(self, pair: Pair, columns: Spec, sizes: Sequence[int], modes: int = 1) -> Pair:
        """The pair with poses, its decoder and encoder replaced.

        Arguments:
            pair: A model with a ``decoder`` and a guide with an ``encoder``.
            columns: Columns of the data.
            sizes: Sizes of the decoder's inputs.
            modes: Modes of the angle's posterior, if there are angles.
        """
        # The pose belongs to the network's input: a mask turns with its image.
        x, nets = observed(columns, None), ppvae.nets
        if len(x.shape) != 2:  # Spectra (C, L) have shifts.
            expect_pictures(x, "the pose")
        shape = x.seen_shape
        named = {n: getattr(self, n) for n in ("rotation", "translation", "scale")}
        widths = {name: width for name, width in named.items() if width}
        if widths.get("rotation", 0.0) >= math.pi - 1e-6:
            widths["rotation"] = math.inf
        modes = modes if "rotation" in widths else 1
        model: Any = pair.model
        guide: Any = pair.guide
        decoder = (
            nets.CanvasDecoder.of(model.decoder)
            if self.decoder == "canvas"
            else nets.CoordinateDecoder(sizes, model.decoder.head, num_frequencies=4)
        )
        model.decoder = ppvae.models.PosedDecoder(decoder, **widths, modes=modes)
        finder = self._finder(shape, widths, modes)
        align = ppvae.guides.Align(finder, shape, undo=self.undo)
        while isinstance(guide.encoder, nets.InputAdapter):
            guide = guide.encoder
        guide.encoder = nets.Stages(align, guide.encoder)
        return pair

    def _finder(self, shape: tuple[int, ...], widths: dict[str, float], modes: int) -> nn.Module:
        """The network from an image to its pose."""
        from ppvae.zoo.observed import Observed

        nets = ppvae.nets
        if self.pose == "equivariant":
            return nets.EquivariantPose(
                shape,
                rotation="rotation" in widths,
                translation="translation" in widths,
                scale="scale" in widths,
                angles=self.angles,
                modes=modes,
            )
        every = {
            "rotation": nets.Angle(),
            "translation": nets.Shift(len(shape) - 1),
            "scale": nets.LogScale(),
        }
        chosen: dict[str, heads.Head] = {"turn": nets.heads.Classes(modes)} if modes > 1 else {}
        sites = nets.Sites(chosen | {name: h for name, h in every.items() if name in widths})
        return encoder_of(Observed(shape), sites, Networks(hidden=(128, 128)), network=self.pose)


POSES = Poses()


CONDITIONS = {"none": (), "y": ("y",), "c": ("c",), "both": ("y", "c")}


def _conditional(columns: Spec, condition: str, **options: Any) -> Pair:
    """A cvae on the named columns and on no others."""
    named = CONDITIONS[condition]
    if absent := [name for name in named if name not in columns]:
        raise ArgumentError(
            f"condition: expected the columns {list(named)} in the data; got {list(columns)}. "
            f"Add {absent}, or choose another --condition."
        )
    others = {"y", "c"} - set(named)
    return cvae({name: of for name, of in columns.items() if name not in others}, **options)


def _turned() -> Splits:
    return ppvae.data.posed_digits(shift=0.0)


@register(
    "rvae",
    "VAE that separates the angle of each image from its content",
    extends=vae,
    defaults={"latent_dim": 8, "hidden": (256, 128)},
    data=_turned,
    fit={"epochs": 40, "batch_size": 100, "learning_rate": 2e-3},
)
def rvae(
    columns: Spec,
    *,
    modes: Annotated[
        int,
        option(
            "number of modes of the angle's posterior, spaced evenly around the circle", least=1
        ),
    ] = 2,
    condition: Annotated[
        str,
        option(
            "columns that the model is given, as in cvae: classes y, factors c",
            choices=tuple(CONDITIONS),
        ),
    ] = "none",
    poses: Poses = POSES,
    **options: Any,
) -> Pair:
    """A vae (with --condition, a cvae) with rotation, translation or scale as latents."""
    sizes = [options["latent_dim"]]
    if condition == "none":
        return poses.given_to(vae(columns, **options), columns, sizes, modes)
    pair = _conditional(columns, condition, **options)
    known: Any = pair.model.conditions
    return poses.given_to(pair, columns, [*sizes, *known.sizes], modes)


@register(
    "trvae",
    "VAE that separates angle and shift of each image from its content",
    extends=rvae,
    defaults={"translation": 0.1},
    data="posed_digits",
)
def trvae(columns: Spec, **options: Any) -> Pair:
    """An rvae that also infers shifts; with --rotation 0, shifts alone, as in spectra."""
    return rvae(columns, **options)


@register(
    "jrvae",
    "joint VAE of images at any angle: classes without labels, separate from the pose",
    extends=jvae,
    data=_turned,
    fit={"epochs": 34, "batch_size": 128, "learning_rate": 2e-3, "validate_every": 5},
)
def jrvae(columns: Spec, *, poses: Poses = POSES, **options: Any) -> Pair:
    """A jvae with rotation, translation or scale as latents."""
    sizes = [options["latent_dim"], *options["classes"]]
    return poses.given_to(jvae(columns, **options), columns, sizes)
