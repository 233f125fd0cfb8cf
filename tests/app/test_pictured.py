"""Pictures of predictions: what they say of columns and of scales."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from matplotlib.text import Text

from ppvae.app.pictured import first_rows, grid_of


def written(figure) -> list[str]:
    """The texts in a figure."""
    figure.canvas.draw()
    return [t.get_text() for t in figure.findobj(Text) if t.get_text() and t.get_visible()]


def test_predictions_say_where_they_are_and_their_deviations_have_a_scale():
    scale = torch.full((6, 1, 4, 4), 0.25)
    scale[3] = 0.5
    predicted = SimpleNamespace(mean=torch.rand(6, 1, 4, 4), scale=scale)
    texts = written(grid_of(predicted, {"object": ["a", "b"], "view": [2.75, 4.0, 1e-3]}))
    for text in ("object a", "object b", "view", "2.75", "4", "0.001", "s.d."):
        assert text in texts
    assert texts.count("0.5") == 2  # Both bars end at the largest deviation of all.
    table = {"object": np.array([3, 1]), "view": np.array([2.75, 4.0])}
    two = SimpleNamespace(mean=30 * predicted.mean[:2], scale=scale[:2])
    texts = written(first_rows(two, table, table))
    assert {"object 3\nview 2.75", "object 1\nview 4", "0.25", "s.d."} <= set(texts)
    many = {"object": ["a"], "view": list(range(6)), "y": ["p"]}
    assert "view, y" in written(grid_of(predicted, many))
    assert "y 5" in written(grid_of(predicted, {"y": range(6)}))
