"""What the entries with poses share: a model given poses, and how well these are found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ppvae import plots
from ppvae.data import Splits
from ppvae.distributions import wrap
from ppvae.evaluate.scores import circular_correlation, linear_r2, resultant_length, shift_r2
from ppvae.guides import Align
from ppvae.models import PosedDecoder
from ppvae.nets import (
    Angle,
    CanvasDecoder,
    CoordinateDecoder,
    EquivariantPose,
    InputAdapter,
    LogScale,
    Shift,
    Sites,
    heads,
)
from ppvae.runs.run import Run
from ppvae.zoo.entry import Figures
from ppvae.zoo.observed import Observed
from ppvae.zoo.options import Options, option
from ppvae.zoo.vae import encoder_of

__all__ = ["PoseOptions", "at_rest", "pose_figures", "pose_metrics", "posed"]

SHOWN = 2000


@dataclass(frozen=True)
class PoseOptions(Options):
    """Which poses a model has, and who finds them."""

    rotation: float = option(math.pi, "width of the angles, radians; 0 none, from pi on any angle")
    translation: float = option(0.0, "width of the shifts, half image sides; 0 none")
    scale: float = option(0.0, "width of the logarithm of the size; 0 none")
    pose: str = option("equivariant", "who finds them", choices=("equivariant", "conv", "mlp"))
    angles: int = option(16, "turned copies that the equivariant network compares", least=1)
    decoder: str = option(
        "canvas", "draws once and resamples, or each place anew", choices=("canvas", "coordinates")
    )
    undo: bool = option(True, "content from the image put back at rest")


def posed(
    model: nn.Module,
    guide: nn.Module,
    x: Observed,
    options: Any,
    sizes: Sequence[int],
    modes: int = 1,
) -> None:
    """Give a model with a ``decoder``, and a guide with an ``encoder``, poses.

    Arguments:
        model: Its decoder is replaced.
        guide: Its encoder gets images put back at rest.
        x: What is observed.
        options: :class:`PoseOptions`.
        sizes: Of the decoder's inputs.
        modes: Of the angle's posterior, if there are angles.
    """
    shape = x.seen_shape
    given = {name: getattr(options, name) for name in ("rotation", "translation", "scale")}
    widths = {name: width for name, width in given.items() if width}
    if widths.get("rotation", 0.0) >= math.pi - 1e-6:
        widths["rotation"] = math.inf
    plain: Any = model.decoder
    decoder = (
        CanvasDecoder.of(plain)
        if options.decoder == "canvas"
        else CoordinateDecoder(sizes, plain.head, num_frequencies=4)
    )
    modes = modes if "rotation" in widths else 1
    model.decoder = PosedDecoder(decoder, **widths, modes=modes)
    asked = {name: name in widths for name in given}
    if options.pose == "equivariant":
        finder: nn.Module = EquivariantPose(
            shape,
            rotation=asked["rotation"],
            translation=asked["translation"],
            scale=asked["scale"],
            angles=options.angles,
            modes=modes,
        )
    else:
        every = {"rotation": Angle(), "translation": Shift(len(shape) - 1), "scale": LogScale()}
        chosen: dict[str, heads.Head] = {"turn": heads.Classes(modes)} if modes > 1 else {}
        sites = Sites(chosen | {name: head for name, head in every.items() if asked[name]})
        finder = encoder_of(Observed(shape), sites, kind=options.pose, hidden=(128, 128))
    # The pose is found in, and undone of, what the network sees: a mask turns with its image.
    holder: Any = guide
    while isinstance(holder.encoder, InputAdapter):
        holder = holder.encoder
    holder.encoder = nn.Sequential(Align(finder, shape, undo=options.undo), holder.encoder)


def at_rest(run: Run, splits: Splits) -> dict[str, Tensor]:
    """The pose at rest, by site, of the sites that the run has."""
    latents = run.encode(splits.train.take(torch.zeros(1, dtype=torch.int64)))
    rest = {"rotation": torch.zeros(()), "scale": torch.ones(())}
    if "translation" in latents:
        rest["translation"] = torch.zeros(latents["translation"].size(-1))
    return {name: value for name, value in rest.items() if name in latents}


def _found(run: Run, splits: Splits) -> list[tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]]:
    """Of the test data, class by class where it is known: rows, latents, and true columns."""
    test = splits.test
    if test is None or not {"angle", "shift"} & set(test):
        return []
    test = test.take(torch.arange(min(SHOWN, test.num_rows)))
    latents = {name: value.cpu() for name, value in run.encode(test).items()}
    columns = {name: torch.as_tensor(test[name]) for name in ("angle", "shift") if name in test}
    y = torch.as_tensor(test["y"]) if "y" in test else torch.zeros(test.num_rows)
    return [
        (
            rows,
            {name: value[rows] for name, value in latents.items()},
            {name: value[rows] for name, value in columns.items()},
        )
        for rows in (torch.nonzero(y == k)[:, 0] for k in y.unique())
        if len(rows) > 1
    ]


def pose_metrics(run: Run, splits: Splits) -> dict[str, float]:
    """Means over the classes of ``angle_correlation``, ``angle_resultant_length``, ``shift_r2``
    and ``angle_from_content_r2``, for test data with the columns ``angle`` and ``shift``.
    """
    scores: dict[str, list[float]] = {}
    for _, found, true in _found(run, splits):
        made: dict[str, float] = {}
        if "angle" in true:
            made["angle_from_content_r2"] = linear_r2(found["z"], true["angle"])
        if "rotation" in found and "angle" in true:
            angle = found["rotation"]
            made["angle_correlation"] = circular_correlation(angle, true["angle"])
            made["angle_resultant_length"] = resultant_length(angle - true["angle"])
        if "translation" in found and "shift" in true:
            made["shift_r2"] = shift_r2(found["translation"], true["shift"], true.get("angle"))
        for name, value in made.items():
            scores.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in scores.items()}


def pose_figures(run: Run, splits: Splits) -> Figures:
    """Angles and shifts found, against the true ones where they are known."""
    made: Figures = []
    parts = [part for part in _found(run, splits) if "angle" in part[2]]
    if parts and "rotation" in parts[0][1]:
        true = torch.cat([part[2]["angle"] for part in parts])
        # One offset a class: which way up a class is drawn is the model's to choose.
        offsets = [_offset(part[1]["rotation"], part[2]["angle"]) for part in parts]
        found = torch.cat(
            [
                part[2]["angle"] + wrap(part[1]["rotation"] - part[2]["angle"] - offset)
                for part, offset in zip(parts, offsets, strict=True)
            ]
        )
        figure = plots.agreement(true, found, names=("angle (radians)",))
        caption = "Angles found against true ones, up to one offset a class."
        made.append(("angles.png", caption, figure))
    parts = [part for part in _found(run, splits) if "shift" in part[2]]
    if parts and "translation" in parts[0][1]:
        true = torch.cat([part[2]["shift"] for part in parts])
        found = torch.cat([part[1]["translation"] for part in parts])
        names = ("right", "up")[: true.size(-1)]
        caption = "Shifts found against true ones, in half image sides."
        made.append(("shifts.png", caption, plots.agreement(true, found, names=names)))
    return made


def _offset(found: Tensor, true: Tensor) -> Tensor:
    """The mean direction of the difference of angles."""
    gap = found - true
    return torch.atan2(gap.sin().mean(), gap.cos().mean())
