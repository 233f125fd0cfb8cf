"""The data of the report's controls: latents with the data behind them, and decoded images.

Everything is computed once and stored; the page itself only chooses what it shows.
"""

from __future__ import annotations

import base64
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from ppvae.plots.latent import prior_range
from ppvae.plots.sheet import grey_limits
from ppvae.report.gallery.subject import Subject
from ppvae.typing import JsonObject

__all__ = ["controls"]

# Latent vectors and points shown; steps of a plane and of a line; dimensions with a line.
LATENTS, POINTS, PLANE, LINE, DIMS = 2, 240, 11, 13, 8
# Largest side of an image, in pixels.
SIDE = 48


def controls(subject: Subject) -> JsonObject:
    """Positions of held-out data, and images over planes and lines of each latent vector.

    Arguments:
        subject: The run and its data.

    Returns:
        JSON with a list ``latents``; empty if no latent is a vector of two or more dimensions.
    """
    latents = [_latent(subject, name) for name in list(subject.vectors)[:LATENTS]]
    shown = [latent for latent in latents if latent]
    return {"latents": shown} if shown else {}


def _latent(subject: Subject, name: str) -> JsonObject:
    z = subject.vectors[name].cpu()
    if z.size(-1) < 2:
        return {}
    order = subject.by_variance(name)
    a, b = sorted(order[:2])
    rows = torch.linspace(0, len(z) - 1, min(POINTS, len(z))).long()
    classes = subject.batch.get("y")
    known = classes is not None and bool((classes >= 0).all())
    names = subject.splits.held_out.row_names
    site = subject.drawn_by.get(name) or next(iter(subject.images), None)
    return {
        "site": name,
        "dims": [a, b],
        "points": _rounded(z[rows][:, [a, b]]),
        "rows": [str(names[row]) if names is not None else str(row) for row in rows.tolist()],
        "classes": classes.cpu()[rows].tolist() if known and classes is not None else None,
        "class_names": list(subject.splits.train.names.get("y", ())) or None,
        "data": _sheet(subject.observed[site][rows]) if site is not None else None,
        **_decoded(subject, name, order, z.size(-1)),
    }


def _decoded(subject: Subject, name: str, order: list[int], size: int) -> JsonObject:
    """Images over the plane of the first two dimensions, and along each of the first ones."""
    if name not in subject.drawn_by:
        return {"plane": None, "line": None}
    decode = subject.decoder(name, subject.drawn_by[name])
    across = torch.as_tensor(prior_range(PLANE))
    along = torch.as_tensor(prior_range(LINE))
    a, b = sorted(order[:2])
    plane = torch.zeros(PLANE, PLANE, size)
    plane[..., a], plane[..., b] = across[None, :].float(), across[:, None].float()
    dims = sorted(order[:DIMS])
    lines = torch.zeros(len(dims), LINE, size)
    for number, dim in enumerate(dims):
        lines[number, :, dim] = along.float()
    return {
        "plane": {"values": _rounded(across), **_sheet(decode(plane.flatten(0, 1)), PLANE)},
        "line": {
            "values": _rounded(along),
            "dims": dims,
            **_sheet(decode(lines.flatten(0, 1)), LINE),
        },
    }


def _rounded(values: Tensor) -> object:
    return values.double().mul(1e4).round().div(1e4).tolist()


def _sheet(images: Tensor, columns: int = 20) -> JsonObject:
    """Images (K, C, H, W) as one PNG in rows, with one range of grey values or as colours."""
    small = images.detach().float().cpu()
    small = small if small.size(1) == 3 else small[:, :1]
    height, width = small.shape[-2:]
    shrink = min(1.0, SIDE / max(height, width))
    if shrink < 1:
        height, width = max(1, round(height * shrink)), max(1, round(width * shrink))
        small = interpolate(small, size=(height, width), mode="area")
    low, high = (0.0, 1.0) if small.size(1) == 3 else grey_limits(small.numpy())
    small = ((small - low) / max(high - low, 1e-12)).nan_to_num(0.0).clamp(0, 1)
    lines = -(-len(small) // columns)
    sheet = torch.zeros(lines * columns, *small.shape[1:])
    sheet[: len(small)] = small
    grid = sheet.unflatten(0, (lines, columns)).permute(0, 3, 1, 4, 2)
    pixels = grid.reshape(lines * height, columns * width, -1).mul(255).round().byte().numpy()
    file = BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return {
        "png": base64.b64encode(file.getvalue()).decode("ascii"),
        "columns": columns,
        "lines": lines,
        "ratio": width / height,
    }
