"""Found against true values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppvae import plots


def test_it_draws_a_panel_a_factor_with_its_values():
    true, found = torch.randn(20, 2), torch.randn(20, 2)
    figure = plots.agreement(true, found, names=("right", "up"))
    assert [axes.get_xlabel() for axes in figure.axes] == ["true right", "true up"]
    points = np.asarray(figure.axes[1].collections[0].get_offsets())
    np.testing.assert_allclose(points, torch.stack([true[:, 1], found[:, 1]], 1), rtol=1e-5)
    assert len(plots.agreement(true[:, 0], found[:, 0]).axes) == 1


def test_columns_that_do_not_fit_are_refused_in_words():
    with pytest.raises(ValueError, match="as many estimates as true values"):
        plots.agreement(torch.zeros(3, 2), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="one number of rows"):
        plots.agreement(torch.zeros(3), torch.zeros(4))
    with pytest.raises(ValueError, match="a name for each or none"):
        plots.agreement(torch.zeros(3, 2), torch.zeros(3, 2), names=("a",))
