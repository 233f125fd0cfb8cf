"""Masks beside pictures are noted, as they would be rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppvae import data
from ppvae.data.masks import masks_among


@pytest.mark.parametrize(
    ("files", "masks"),
    [
        (["a.png", "a_mask.png", "b.png", "b_mask.png"], ["a_mask.png", "b_mask.png"]),
        (["a.tif", "a_cp_masks.png", "a-seg.tif"], ["a_cp_masks.png", "a-seg.tif"]),
        (["mask_a.png", "a.jpg"], ["mask_a.png"]),
        (["a.ome.tif", "a_labels.ome.tif"], ["a_labels.ome.tif"]),
        (["images/a.png", "masks/a.png"], ["masks/a.png"]),
        (["images/a.png", "masks/a_mask.png"], ["masks/a_mask.png"]),
        (["train/img/a.png", "train/gt/a.png", "test/img/b.png"], ["train/gt/a.png"]),
        (["a/x.png", "a/x_mask.png", "b/x.png"], ["a/x_mask.png"]),
        (["a.png", "b_mask.png"], []),
        (["unmask/a.png", "face_mask/a.png"], []),
        (["masks/a.png", "masks/b.png"], []),
        (["a.png", "a_2.png", "a_flipped.png"], []),
        (["images/a.png", "masks/b.png"], []),
    ],
)
def test_masks_by_their_names(files, masks):
    assert masks_among([Path(file) for file in files]) == [Path(mask) for mask in masks]


def test_masks_among_pictures_are_noted(tmp_path):
    for i in range(3):
        Image.fromarray(np.full((4, 4), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
    assert not any("masks" in note for note in data.images(tmp_path).notes)
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(tmp_path / "1_mask.png")
    said = "x: 1 of 4 files have names as of masks of others, such as 1_mask.png"
    assert any(note.startswith(said) for note in data.images(tmp_path).notes)
