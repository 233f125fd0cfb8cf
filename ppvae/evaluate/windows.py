"""Latents of every window of an image: maps that lie on the image."""

from __future__ import annotations

import torch
from torch import Tensor

from ppvae.data.spectra import patches
from ppvae.errors import ArgumentError
from ppvae.expected import expect, integer
from ppvae.runs.run import Run

__all__ = ["encode_windows"]


def encode_windows(
    run: Run, image: Tensor, *, step: int = 1, batch_size: int = 1024
) -> dict[str, Tensor]:
    """Posterior means of the latents at the pixels of an image, of the window around each.

    The window is as large as the run's training patches, and the image is mirrored beyond its
    edges, as by :func:`ppvae.data.patches`. Windows are cut a batch at a time.

    Arguments:
        run: Run fitted to square patches.
        image: Image with shape (H, W) or (C, H, W), in the units of the patches.
        step: Pixels between two neighbouring windows, in both directions.
        batch_size: Windows at a time.

    Returns:
        Each latent site by name, with shape (ceil(H / step), ceil(W / step), ...).

    Raises:
        ArgumentError: If the run was not fitted to square images.
        DataError: If the image is smaller than a window.
    """
    expect(integer(1), step=step)
    expect(integer(1), batch_size=batch_size)
    spec = (run.config.get("data") or {}).get("columns") or {}
    shape = tuple((spec.get("x") or {}).get("shape") or ())
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ArgumentError(
            f"encode_windows: expected a run fitted to square patches (C, S, S); got x with shape "
            f"{shape}. Cut patches with ppvae.data.patches and fit to them."
        )
    height, width = image.shape[-2:]
    rows, columns = torch.arange(0, height, step), torch.arange(0, width, step)
    places = torch.cartesian_prod(rows, columns)
    parts: dict[str, list[Tensor]] = {}
    for at in places.split(batch_size):
        windows = {"x": patches(image, at, shape[1])}
        for name, value in run.encode(windows, batch_size=batch_size).items():
            parts.setdefault(name, []).append(value)
    whole = {name: torch.cat(values) for name, values in parts.items()}
    return {name: value.unflatten(0, (len(rows), len(columns))) for name, value in whole.items()}
