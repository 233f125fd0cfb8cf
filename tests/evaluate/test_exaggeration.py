"""Progressive exaggeration on a decoder and a classifier whose gradients are known."""

from __future__ import annotations

import pytest
import torch

from ppvae.evaluate.exaggeration import exaggerate

DRAW = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
TELL = torch.tensor([[1.0, 0.0], [0.0, 0.0], [5.0, -3.0]])


def decode(z):
    return z @ DRAW


def classify(x):
    return x @ TELL


def test_the_path_climbs_the_odds_in_steps_of_one_length():
    start = torch.randn(4, 2)
    path = exaggerate(decode, classify, start, source=0, target=1, steps=3, length=0.5)
    # The odds of class 1 fall with x_0 alone, and x_0 is z_0.
    expected = start + torch.tensor([-0.5, 0.0]) * torch.arange(4)[:, None, None]
    torch.testing.assert_close(path.latents, expected)
    torch.testing.assert_close(path.images, expected @ DRAW)
    probs = (expected @ DRAW @ TELL).softmax(-1)[..., 1]
    torch.testing.assert_close(path.probabilities, probs)
    assert (path.probabilities.diff(dim=0) > 0).all()
    assert not path.images.requires_grad


def test_it_works_where_gradients_are_off():
    with torch.no_grad():
        path = exaggerate(decode, classify, torch.zeros(1, 2), source=1, target=0, steps=1)
    assert path.probabilities[1] > path.probabilities[0]


def test_where_the_odds_are_flat_nothing_moves():
    start = torch.randn(2, 2)
    path = exaggerate(decode, lambda x: 0 * x, start, source=0, target=1, steps=2)
    assert torch.equal(path.latents[2], start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": 0, "target": 5}, "source and target among the 2 of the logits"),
        ({"source": 1, "target": 1}, "expected two; got 1 twice"),
        ({"source": 0, "target": 1, "steps": 0}, "expected steps >= 1 and length > 0; got 0"),
        ({"source": 0, "target": 1, "length": -1.0}, "length > 0; got 8 and -1.0"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        exaggerate(decode, classify, torch.zeros(1, 2), **options)


def test_latents_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"start: expected latents \(N, Z\); got \(2,\)"):
        exaggerate(decode, classify, torch.zeros(2), source=0, target=1)


def test_a_path_without_gradients_is_refused():
    with pytest.raises(ValueError, match="expected decode and classify to pass gradients"):
        exaggerate(lambda z: decode(z.detach()), classify, torch.zeros(1, 2), source=0, target=1)
