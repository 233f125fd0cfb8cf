"""Maps of values over an image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ppvae import plots
from ppvae.errors import ArgumentError

AT = torch.tensor([[1.0, 2.0], [3.0, 8.0], [7.0, 5.0]])


def test_each_column_is_drawn_at_its_positions():
    columns = {
        "species": torch.tensor([0, 2, 0]),
        "height": torch.tensor([0.5, 1.5, 2.5]),
        "angle": torch.tensor([0.0, math.pi + 0.1, -0.1]),
    }
    figure = plots.over_image(
        torch.rand(10, 12), AT, columns, periods={"angle": math.pi}, classes=("a", "b", "c")
    )
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert list(panels) == ["image", *columns]
    first, second = panels["species"].collections
    assert first.get_offsets().tolist() == [[2, 1], [5, 7]]
    assert second.get_offsets().tolist() == [[8, 3]]
    words = [text.get_text() for text in panels["species"].get_legend().get_texts()]
    assert words == ["a", "c"]
    (height,) = panels["height"].collections
    assert height.get_array().tolist() == [0.5, 1.5, 2.5]
    (angle,) = panels["angle"].collections
    turned = [0, math.degrees(0.1), 180 - math.degrees(0.1)]
    assert np.asarray(angle.get_array()).tolist() == pytest.approx(turned, abs=1e-4)
    assert angle.get_clim() == (0, pytest.approx(180))


def test_a_crop_shows_what_is_inside():
    figure = plots.over_image(torch.rand(10, 12), AT, {"v": AT[:, 0]}, crop=(0, 4, 0, 9))
    panel = next(axes for axes in figure.axes if axes.get_title() == "v")
    assert panel.collections[0].get_array().tolist() == [1, 3]
    assert panel.get_ylim() == (4.5, -0.5)


def test_columns_of_other_rows_are_refused():
    with pytest.raises(ArgumentError, match="one number of rows"):
        plots.over_image(torch.rand(4, 4), AT, {"v": torch.zeros(2)})
    with pytest.raises(ArgumentError, match="expected at least one"):
        plots.over_image(torch.rand(4, 4), AT, {})
