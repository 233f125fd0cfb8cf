"""Drawn faces: what is said to be true of them can be measured on them."""

from __future__ import annotations

import pytest
import torch

from ppvae.data import faces
from ppvae.data.faces import FACE_CLASSES, _paint
from ppvae.errors import DataError


def factors(**changed):
    """An upright face of average factors, with some changed: a row for each value given."""
    average = {
        "y": 0,
        "turn": 0.0,
        "tilt": 0.0,
        "smile": 0.0,
        "open_mouth": 0.3,
        "face_width": 0.44,
        "eye_gap": 0.2,
        "brow": 0.15,
        "hair_length": 0.0,
        "skin": 0.2,
        "light": 0.0,
    }
    rows = len(next(iter(changed.values())))
    columns = {n: torch.full((rows,), float(v)) for n, v in average.items()}
    columns |= {
        "hair": torch.tensor([[0.9, 0.0]] * rows),
        "background": torch.full((rows, 3), 0.5),
    }
    return columns | {name: torch.tensor(value) for name, value in changed.items()}


def rows_between(low, high, size=64):
    """Rows of a picture between two heights, in half image sides from its centre."""
    up = -((torch.arange(size) + 0.5) / size * 2 - 1)
    return (up > low) & (up < high)


def test_columns_of_each_part():
    splits = faces(40, size=32)
    assert [part.num_rows for part in splits] == [32, 4, 4]
    assert tuple(splits.train["x"].shape[1:]) == (3, 32, 32)
    assert splits.train["x"].dtype == torch.uint8
    assert splits.train.record.names["y"] == FACE_CLASSES
    assert splits.train["background"].shape == (32, 3)
    again = faces(40, size=32)
    assert torch.equal(again.test["x"], splits.test["x"])
    assert not torch.equal(faces(40, size=32, seed=1).test["x"], splits.test["x"])


def test_pictures_are_the_same_in_double_precision():
    torch.set_default_dtype(torch.float32)
    single = faces(12, size=16).train["x"]
    torch.set_default_dtype(torch.float64)
    assert torch.equal(single, faces(12, size=16).train["x"])


def test_the_background_is_that_of_the_upper_corners():
    data = faces(30, size=64, noise=0.0).train
    corner = data["x"][:, :, 0, 0].float() / 255
    torch.testing.assert_close(corner, (1.05 * data["background"]).clamp(max=1), atol=0.02, rtol=0)


def test_glasses_are_dark_and_at_the_eyes_only():
    without, worn = _paint(factors(y=[0, 1]), 64)
    change = (worn - without).mean(0)
    assert (change < -0.2).sum() > 20
    assert change.max() < 0.05 or (change > 0.05).sum() < (change < -0.05).sum() / 10
    eyes = rows_between(-0.15, 0.3)
    assert change[~eyes].abs().max() < 0.02


def test_a_smile_lifts_the_corners_of_the_mouth():
    hanging, smiling = _paint(factors(smile=[-1.0, 1.0]), 64)
    red = [(p[0] - p[1])[rows_between(-0.45, -0.2)] for p in (hanging, smiling)]
    middle, corner = slice(30, 34), slice(36, 38)
    heights = torch.arange(len(red[0]), 0, -1.0)

    def height(mouth, columns):
        weight = (mouth[:, columns].mean(1) - 0.25).clamp_min(0)
        return (weight * heights).sum() / weight.sum()

    lift = [height(mouth, corner) - height(mouth, middle) for mouth in red]
    assert lift[0] < -0.5 < 0.5 < lift[1]


def test_light_from_the_right_brightens_the_right_cheek():
    left, right = _paint(factors(light=[-1.0, 1.0]), 64)
    cheeks = rows_between(-0.2, -0.05)
    side = [(p[:, cheeks, 38:42].mean() - p[:, cheeks, 22:26].mean()) for p in (left, right)]
    assert side[0] < -0.1 < 0.1 < side[1]


def test_a_turn_moves_the_eyes_and_a_tilt_turns_the_head():
    straight, turned, tilted = _paint(factors(turn=[0.0, 0.5, 0.0], tilt=[0.0, 0.0, 0.2]), 64)
    band = rows_between(0.03, 0.13)

    def centre(picture):
        dark = (0.45 - picture.mean(0)).clamp_min(0)[band][:, 20:44].sum(0)
        return (dark * torch.arange(20.0, 44.0)).sum() / dark.sum()

    assert centre(turned) - centre(straight) > 2
    top = rows_between(0.5, 1.0)
    # Counter-clockwise: the top of the head goes to the left.
    hair = [
        ((p.mean(0) < 0.3)[top].float().sum(0) * torch.arange(64.0)).sum()
        / (p.mean(0) < 0.3)[top].sum()
        for p in (straight, tilted)
    ]
    assert hair[1] < hair[0] - 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_faces": 5}, "num_faces: expected at least 10; got 5"),
        ({"size": 8}, "size: expected at least 16"),
        ({"noise": -0.1}, "noise: expected a share"),
    ],
)
def test_refusals(arguments, words):
    with pytest.raises(DataError, match=words):
        faces(**arguments)
