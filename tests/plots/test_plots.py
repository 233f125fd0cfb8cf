"""Figures show what they were given, and leave nothing behind."""

from __future__ import annotations

import io
import json
import math

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.path import Path
from numpy.testing import assert_allclose
from PIL import Image

from ppvae import plots
from ppvae.errors import ArgumentError
from ppvae.plots.style import COLOURS, CYCLIC, MISSING, TEXT_WIDTH
from ppvae.plots.values import as_array
from ppvae.runs.folder import RunError
from ppvae.runs.history import History


def strips(figure: Figure) -> list[Axes]:
    """The axes that hold pictures, without colour bars."""
    return [axes for axes in figure.axes if axes.images]


def shown(axes: Axes) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for image in axes.images]


def texts(figure: Figure) -> set[str]:
    """Every label that a reader sees."""
    found = [t.get_text() for axes in figure.axes for t in axes.findobj(matplotlib.text.Text)]
    return {t for t in found if t}


def history() -> History:
    rows = [
        {
            "epoch": e,
            "step": 10 * e,
            "loss": 100 / e,
            "elbo": -100 / e,
            "kl/z": 3.0 + e,
            "learning_rate": 1e-3,
            "seconds": 1.0 * e,
        }
        for e in range(1, 31)
    ]
    for row in rows[::3]:
        row["val_elbo"] = row["elbo"] - 1
    return History(rows)


def decode(z: torch.Tensor) -> torch.Tensor:
    """Images whose corner pixels are the first two latents."""
    x = torch.zeros(len(z), 1, 3, 3, dtype=z.dtype)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = z[:, 0], z[:, 1]
    return x


def decode_rgb(z: torch.Tensor) -> torch.Tensor:
    return torch.cat([decode(z), decode(-z), decode(2 * z)], 1)


EVERY = {
    "images": lambda: plots.images(torch.rand(7, 1, 4, 4)),
    "reconstructions": lambda: plots.reconstructions(*torch.rand(3, 4, 1, 5, 5)),
    "curves": lambda: plots.reconstructions(*torch.rand(3, 3, 20)),
    "predictions": lambda: plots.predictions(*torch.rand(3, 4, 3, 5, 5)),
    "methods_by_object": lambda: plots.methods_by_object(
        torch.zeros(4, 1, 3, 3), {"a": torch.ones(4, 1, 3, 3)}
    ),
    "loss_by_term": lambda: plots.loss_by_term(history()),
    "covariance": lambda: plots.covariance(torch.eye(5)),
    "correlation intervals": lambda: plots.correlation_intervals(*_ends(4), truth=torch.eye(4)),
    "latents": lambda: plots.latents(torch.randn(30, 4), colour=torch.arange(30) % 3),
    "manifold": lambda: plots.manifold(decode, number=3),
    "traversals": lambda: plots.traversals(decode, 2, number=3),
    "densities": lambda: plots.densities(torch.randn(50, 3), torch.randn(50, 3)),
    "method_errors": lambda: plots.method_errors({"a": 0.1, "b": 0.2}, {"a": 0.01}),
    "expected_counts": lambda: plots.expected_counts(torch.ones(9, 6).cumsum(1), torch.rand(9, 6)),
    "calibration": lambda: plots.calibration(torch.rand(200)),
    "pareto_k": lambda: plots.pareto_k(torch.rand(100)),
    "places": lambda: plots.places_in_order(np.random.default_rng(0).random((18, 2)), range(18)),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_figure_is_legible_and_leaves_no_trace(name):
    before = matplotlib.rcParams.copy()
    with matplotlib.rc_context({"font.size": 30, "axes.titlesize": 30, "xtick.labelsize": 30}):
        figure = EVERY[name]()
    assert dict(matplotlib.rcParams) == dict(before)
    assert plt.get_fignums() == []
    assert figure.get_figwidth() <= TEXT_WIDTH + 1e-9
    visible = [t for t in figure.findobj(matplotlib.text.Text) if t.get_text()]
    assert all(8 <= t.get_fontsize() <= 12 for t in visible), "too small, or another's style"
    file = io.BytesIO()
    figure.savefig(file)
    assert plt.get_fignums() == []
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.std() > 1, "an empty picture"
    # A frame of white: nothing that is drawn is cut off.
    for frame in (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]):
        assert (frame > 200).all()


def test_the_last_map_of_several_has_its_scale_within_the_figure(tmp_path):
    at = np.stack(np.meshgrid(np.arange(20), np.arange(20)), -1).reshape(-1, 2)
    values = np.linspace(-15.0, -2.0, 400)
    figure = plots.place_map(at, dict.fromkeys("abcd", values), places=[0, 7])
    (path,) = plots.save(tmp_path, [("maps", "", figure)])
    with Image.open(path) as image:
        assert (np.asarray(image.convert("RGB"))[:, -2:] > 200).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_missing_pixels_have_a_colour_of_their_own(channels):
    x = torch.rand(2, channels, 4, 4)
    x[0, -1, 1, 2] = math.nan
    figure = plots.predictions(x, torch.rand(2, channels, 4, 4))
    assert "True\n(green: missing)" in texts(figure)
    for axes in strips(figure)[::2]:  # What is true, and the difference.
        image = axes.images[0]
        drawn = np.asarray(image.get_array())
        drawn = drawn if drawn.ndim == 3 else image.to_rgba(drawn)[..., :3]
        assert_allclose(drawn[1, 2], to_rgb(MISSING), atol=0.01)
        assert abs(drawn[0, 0] - to_rgb(MISSING)).max() > 0.01
    assert "True" in texts(plots.predictions(*torch.rand(2, 2, channels, 4, 4)))
    blanks = strips(plots.images(torch.rand(3, channels, 4, 4), per_row=2))[1].images[1]
    left = np.asarray(blanks.get_array())
    assert (left if channels == 3 else blanks.to_rgba(left)[..., :3]).min() == 1.0


def test_images_are_shown_as_they_are_given():
    x = torch.rand(2, 3, 1, 4, 5)
    figure = plots.images(x, row_labels=["first", "second"], column_labels=["p", "q", "r"])
    assert len(strips(figure)) == 2
    for axes, row in zip(strips(figure), x, strict=True):
        assert_allclose(np.stack(shown(axes)), row[:, 0])
        assert [image.get_clim() for image in axes.images] == [(0, 1)] * 3
    assert {"first", "second", "p", "q", "r"} <= texts(figure)


def test_images_of_bytes_are_scaled():
    x = torch.full((1, 1, 2, 2), 51, dtype=torch.uint8)
    assert_allclose(shown(strips(plots.images(x))[0])[0], np.full((2, 2), 0.2))


def test_three_channels_are_rgb_clipped():
    x = torch.tensor([1.2, 0.5, -0.2]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    (axes,) = strips(plots.images(x))
    assert_allclose(shown(axes)[0][0, 0], [1.0, 0.5, 0.0])


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_have_a_row_each(channels):
    x = torch.rand(3, channels, 4, 4)
    figure = plots.images(x)
    assert len(strips(figure)) == channels
    assert_allclose(np.stack(shown(strips(figure)[1])), x[:, 1])
    assert f"channel {channels}" in texts(figure)


def test_counts_keep_their_range():
    x = torch.tensor([0.0, 40.0]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2)
    assert strips(plots.images(x))[0].images[0].get_clim() == (0.0, 40.0)


def test_expected_counts_have_a_point_per_feature_and_leave_missing_values_out():
    observed = torch.tensor([[0.0, 3.0, 100.0], [0.0, float("nan"), 300.0]])
    expected = torch.tensor([[0.0, 2.0, 150.0], [0.5, 9.0, 250.0]])
    values, means, *_ = plots.expected_counts(observed, expected).axes
    assert values.collections[0].get_array().sum() == 5
    assert_allclose(means.collections[0].get_offsets(), [[2.0, 3.0], [200.0, 200.0]])
    assert [label.get_text() for label in values.get_xticklabels()] == ["0", "1", "10", "100"]


def test_images_break_into_rows():
    figure = plots.images(torch.rand(7, 1, 2, 2), per_row=5)
    first, second = strips(figure)
    assert len(first.images) == len(second.images) == 5
    assert np.isnan(shown(second)[2]).all()
    assert not np.isnan(shown(second)[1]).any()


def test_predictions_show_truth_mean_difference_and_deviation():
    true, mean, scale = torch.rand(3, 12, 1, 4, 4)
    figure = plots.predictions(true, mean, scale, number=6, column_labels=list("abcdefghijkl"))
    rows = strips(figure)
    expected = [true, mean, mean - true, scale]
    for axes, values in zip(rows, expected, strict=True):
        assert_allclose(np.stack(shown(axes)), values[:6, 0])
    low, high = rows[2].images[0].get_clim()
    assert low == -high
    deviations = {image.get_clim() for image in rows[3].images}
    assert deviations == {(0.0, float(scale[:6].max()))}, "one colour scale for all"
    error = float((true[0] - mean[0]).square().mean())
    assert {"True", "Predicted", "Standard\ndeviation", "MSE", "f", f"{error:.3f}"} <= texts(
        figure
    )
    assert "g" not in texts(figure)
    assert len(figure.axes) == 6, "two colour bars"


def test_deviations_of_rgb_are_root_mean_squares():
    true = torch.zeros(1, 3, 2, 2)
    scale = torch.tensor([1.0, 2.0, 2.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    rows = strips(plots.predictions(true, true + 0.3, scale))
    assert_allclose(shown(rows[2])[0], np.full((2, 2), 0.3), rtol=1e-6)
    assert_allclose(shown(rows[3])[0], np.full((2, 2), math.sqrt(3)))


def test_rows_of_numbers_are_curves():
    x, mean, scale = torch.rand(3, 3, 20)
    figure = plots.predictions(x, mean, scale)
    panel = figure.axes[0]
    assert_allclose(panel.lines[0].get_ydata(), x[0])
    assert_allclose(panel.lines[1].get_ydata(), mean[0])
    assert sum(axes.get_visible() for axes in figure.axes) == 3


def test_long_column_labels_do_not_run_into_each_other():
    x = torch.rand(10, 1, 4, 4)
    figure = plots.predictions(x, x, column_labels=[f"object {100 + i}" for i in range(10)])
    figure.draw_without_rendering()
    labels = [
        t.get_window_extent()
        for t in figure.findobj(matplotlib.text.Text)
        if t.get_text().startswith("object") and t.get_visible()
    ]
    labels.sort(key=lambda box: box.x0)
    assert len(labels) == 10
    assert all(a.x1 < b.x0 for a, b in zip(labels, labels[1:], strict=False))
    assert max(box.y1 for box in labels) <= figure.bbox.y1


def test_methods_stand_below_the_truth_with_their_errors():
    true = torch.zeros(12, 1, 3, 3)
    figure = plots.methods_by_object(true, {"good": true + 0.1, "poor": true + 0.5})
    assert [len(axes.images) for axes in strips(figure)] == [10, 10, 10]
    assert {"True", "good\nMSE 0.010", "poor\nMSE 0.250"} <= texts(figure)


def test_loss_has_a_panel_a_term():
    h = history()
    figure = plots.loss_by_term(h)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert titles == ["ELBO (every weight one)", "Loss (what is minimised)", "KL of z"]
    first = figure.axes[0]
    assert_allclose(first.lines[0].get_ydata(), h.column("elbo"))
    assert_allclose(first.lines[1].get_xdata(), range(1, 31, 3))
    low, _ = first.get_ylim()
    assert low > -50, "the first epochs set the scale"
    assert {"training", "validation", "nats per datum", "epoch"} <= {
        t.get_text() for t in figure.findobj(matplotlib.text.Text)
    }


def test_one_epoch_is_a_dot():
    figure = plots.loss_by_term(History([{"epoch": 1, "elbo": -3.0}]))
    (axes,) = figure.axes
    assert axes.lines[0].get_marker() == "o"
    assert {t.get_text() for t in axes.get_xticklabels()} <= {"0", "1", "2"}


def test_more_than_three_covariances_are_in_rows_of_two():
    figure = plots.covariance({name: torch.eye(3) for name in "abcde"})
    boxes = [axes for axes in figure.axes if axes.get_title(loc="left")]
    places = [axes.get_subplotspec() for axes in boxes]
    assert [(p.rowspan.start, p.colspan.start) for p in places] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (2, 0),
    ]
    assert figure.get_figheight() > 2 * figure.get_figwidth() / 2


def _ends(size):
    mean = torch.linspace(-0.5, 0.9, size * size).view(size, size)
    return mean, mean - 0.2, mean + 0.1


def test_each_pair_has_its_interval_in_the_order_of_the_means():
    mean, lower, upper = _ends(3)
    figure = plots.correlation_intervals(mean, lower, upper, ticks=list("xyz"), truth=mean + 0.05)
    (axes,) = figure.axes
    pairs = [(0, 1), (0, 2), (1, 2)]  # ascending, as their means are
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["x, y", "x, z", "y, z"]
    segments = axes.collections[0].get_segments()
    for (i, j), segment in zip(pairs, segments, strict=True):
        np.testing.assert_allclose(segment[:, 0], [lower[i, j], upper[i, j]])
    dots, drawn = axes.lines[1:]
    np.testing.assert_allclose(dots.get_xdata(), [mean[pair] for pair in pairs])
    np.testing.assert_allclose(drawn.get_xdata(), [mean[pair] + 0.05 for pair in pairs], rtol=1e-6)


def test_of_many_pairs_those_furthest_from_zero_are_shown():
    figure = plots.correlation_intervals(*_ends(20))
    assert "60 of 190 pairs, those furthest from zero" in texts(figure)


def test_covariances_side_by_side():
    view = torch.eye(4) + 0.5
    signed = torch.tensor([[1.0, -0.5], [-0.5, 1.0]])
    figure = plots.covariance({"Views": view, "Objects": signed}, ticks={"Views": list("wxyz")})
    first, second = strips(figure)
    assert_allclose(shown(first)[0], view)
    assert first.images[0].get_clim() == second.images[0].get_clim() == (-1.5, 1.5)
    assert first.images[0].cmap.name == second.images[0].cmap.name
    assert [t.get_text() for t in first.get_yticklabels()] == list("wxyz")
    assert {"Views", "Objects", "covariance"} <= texts(figure)


def test_latents_in_two_dimensions_are_themselves():
    z = torch.randn(40, 2)
    (axes,) = plots.latents(z).axes
    assert_allclose(axes.collections[0].get_offsets(), z)


def test_latents_by_class_differ_in_colour_and_marker():
    z, y = torch.randn(40, 2), torch.arange(40) % 4
    axes = plots.latents(z, colour=y, name="digit").axes[0]
    assert len(axes.collections) == 4
    assert_allclose(axes.collections[1].get_offsets(), z[y == 1])
    colours = {tuple(c.get_facecolor()[0][:3]) for c in axes.collections}
    shapes = {c.get_paths()[0].vertices.tobytes() for c in axes.collections}
    assert len(colours) == len(shapes) == 4
    assert axes.get_legend().get_title().get_text() == "digit"


def test_latents_by_class_have_the_names_of_the_classes():
    y = torch.arange(12) % 3
    figure = plots.latents(torch.randn(12, 2), colour=y, classes=("B", "T"))
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["B", "T", "2"]


def test_latents_by_angle_are_cyclic():
    angle = torch.tensor([0.0, math.pi / 2, -math.pi / 2, 2 * math.pi + 0.1])
    figure = plots.latents(torch.randn(4, 2), colour=angle, kind="cyclic", name="view")
    dots = figure.axes[0].collections[0]
    assert_allclose(dots.get_array(), [0, 90, 270, math.degrees(0.1)], atol=1e-9)
    assert dots.get_clim() == (0, 360)
    assert dots.get_cmap().name == CYCLIC


def test_latents_of_many_dimensions_are_projected():
    z = torch.randn(200, 5) * torch.tensor([10.0, 3.0, 0.1, 0.1, 0.1])
    axes = plots.latents(z).axes[0]
    points = np.asarray(axes.collections[0].get_offsets())
    assert abs(np.corrcoef(points[:, 0], z[:, 0])[0, 1]) > 0.999
    assert "% of variance" in axes.get_xlabel()


def test_an_embedding_names_its_own_axes():
    axes = plots.latents(torch.randn(9, 2), labels=("t-SNE 1", "t-SNE 2")).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("t-SNE 1", "t-SNE 2")


def test_one_latent_is_drawn_against_the_colour():
    z, angle = torch.randn(9), torch.rand(9)
    axes = plots.latents(z, colour=angle, name="angle").axes[0]
    assert_allclose(axes.collections[0].get_offsets(), torch.stack([z, angle], 1))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z", "angle")


def test_manifold_holds_each_decoded_image_in_its_place():
    number = 5
    (axes,) = strips(plots.manifold(decode, 3, dims=(0, 1), number=number))
    values = plots.prior_range(number)
    (whole,) = shown(axes)
    assert_allclose(whole[0::3, 0::3], np.tile(values, (number, 1)))  # z 1 grows to the right
    assert_allclose(whole[0::3, 1::3], np.tile(values[::-1, None], (1, number)))  # z 2 upwards
    left, right, bottom, top = axes.images[0].get_extent()
    assert_allclose([left, right], [bottom, top])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z 1", "z 2")


def test_manifold_by_class_has_a_panel_each():
    figure = plots.manifold({"three": decode, "five": lambda z: decode(-z)}, number=3)
    first, second = strips(figure)
    assert_allclose(shown(first)[0][::3, ::3], -shown(second)[0][::3, ::3])
    assert {"three", "five"} <= texts(figure)


def test_traversals_walk_the_central_part_of_the_prior():
    figure = plots.traversals(decode, 2, at=torch.tensor([0.25, -0.5]))
    first, second = strips(figure)
    assert len(first.images) == 15
    walk = [picture[0, 0] for picture in shown(first)]
    assert_allclose([walk[0], walk[7], walk[-1]], [-1.959964, 0, 1.959964], atol=1e-6)
    assert all(picture[0, 1] == -0.5 for picture in shown(first))
    assert all(picture[0, 0] == 0.25 for picture in shown(second))
    assert {"z 1", "z 2"} <= texts(figure)


@pytest.mark.parametrize("draw", [plots.traversals, plots.manifold])
def test_by_channel_shows_rgb_and_each_channel(draw):
    figure = draw(decode_rgb, 2, number=3, by_channel=True)
    each = 4 if draw is plots.manifold else 8
    assert len(strips(figure)) == each
    assert shown(strips(figure)[0])[0].ndim == 3
    assert shown(strips(figure)[1])[0].ndim == 2


def test_densities_have_a_body_a_dimension():
    mean = torch.randn(100, 4) * torch.tensor([1.0, 1.0, 1.0, 0.0])
    above, below = plots.densities(mean, torch.zeros(100, 4)).axes
    assert len(above.lines[0].get_ydata()) == 4
    assert_allclose(above.lines[0].get_ydata(), np.median(mean, 0))
    assert (above.get_ylabel(), below.get_ylabel()) == ("mean", "log variance")
    known = Figure().subplots().violinplot(mean, range(1, 5), widths=0.85, showextrema=False)
    bodies = above.collections[0].get_paths()
    for i, (body, other) in enumerate(zip(bodies, known["bodies"], strict=True)):
        assert_allclose(right_side(body, i + 1), right_side(other.get_paths()[0], i + 1))


def right_side(path: Path, place: float) -> np.ndarray:
    """Vertices at a place or to the right of it, from the bottom up, each once."""
    return np.unique(path.vertices[path.vertices[:, 0] >= place].round(9)[:, ::-1], axis=0)


def test_method_errors_are_at_their_values():
    figure = plots.method_errors(
        {"mine": 0.01, "theirs": 0.03}, {"mine": 0.002}, references={"published": 0.0288}
    )
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["mine", "theirs"]
    assert {"0.0100 \u00b1 0.0020", "0.0300", "published"} <= texts(figure)
    places = [line.get_xdata()[0] for line in axes.lines]
    assert {0.01, 0.03, 0.0288} <= set(places)


def test_calibration_counts_what_falls_inside():
    pit = np.concatenate([np.full(80, 0.5), np.full(20, 0.99)])
    left, right = plots.calibration(pit, bins=10).axes
    heights = [patch.get_height() for patch in left.patches]
    assert_allclose(heights, [0, 0, 0, 0, 0, 8, 0, 0, 0, 2], atol=1e-9)
    levels, held = right.lines[1].get_data()
    assert held[np.searchsorted(levels, 0.9)] == pytest.approx(0.8)
    assert held[-1] == 1
    assert "90 % intervals\ncontain 80.0 % of the data" in texts(plots.calibration(pit))


def test_pareto_k_counts_by_range():
    k = [0.1] * 6 + [0.8] * 3 + [1.5] + [math.nan]
    labels = texts(plots.pareto_k(np.array(k)))
    assert {
        "good (k \u2264 0.7): 60.0 %",
        "doubtful (k \u2264 1): 30.0 %",
        "bad (k > 1): 10.0 %",
    } <= labels


def test_style_is_for_the_block_alone():
    before = matplotlib.rcParams["axes.prop_cycle"]
    with plots.style():
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"] == list(COLOURS)
    assert matplotlib.rcParams["axes.prop_cycle"] == before


def test_colours_differ_for_colour_blind_readers():
    """Simulated by Vienot, Brettel and Mollon (1999), no two of the ten coincide."""
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in COLOURS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    for simulated in (protan, deutan):
        seen = np.cbrt(np.clip(linear @ simulated.T, 0, 1))
        gaps = np.linalg.norm(seen[:, None] - seen, axis=-1) + np.eye(len(seen))
        assert gaps.min() > 0.04


def test_save_writes_pictures_and_captions_in_order(tmp_path):
    folder = tmp_path / "plots"
    figures = [("b.png", "Second letter.", EVERY["images"]()), ("a", "First", EVERY["pareto_k"]())]
    assert plots.save(folder, figures) == [folder / "b.png", folder / "a.png"]
    assert json.loads((folder / "captions.json").read_text()) == [
        {"file": "b.png", "caption": "Second letter."},
        {"file": "a.png", "caption": "First"},
    ]
    with Image.open(folder / "b.png") as image:
        assert image.info["dpi"][0] == pytest.approx(200, abs=0.1)


BAD = {
    "no channel": (lambda: plots.images(torch.rand(3, 4, 4)), r"\(N, C, H, W\).*got shape \(3, 4"),
    "no image": (lambda: plots.images(torch.rand(0, 1, 4, 4)), "at least one"),
    "labels": (
        lambda: plots.images(torch.rand(2, 1, 4, 4), column_labels=["a"]),
        "column_labels: expected 2",
    ),
    "shapes": (
        lambda: plots.predictions(torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 5)),
        "expected one shape; got true",
    ),
    "rows": (
        lambda: plots.reconstructions(torch.rand(2, 4), torch.rand(3, 4)),
        "expected one number of rows; got 2, 3",
    ),
    "counts": (
        lambda: plots.expected_counts(torch.rand(2, 4), torch.rand(2, 3)),
        r"expected two arrays with shape \(N, D\); got \(2, 4\) and \(2, 3\)",
    ),
    "colour": (lambda: plots.latents(torch.rand(4, 2), colour=torch.rand(3)), "rows; got 4, 3"),
    "one row": (lambda: plots.latents(torch.rand(1, 3)), "at least two rows"),
    "not finite": (
        lambda: plots.latents(torch.tensor([[1.0, 2.0], [math.nan, 0.0]])),
        "expected finite numbers; got 1",
    ),
    "intervals": (
        lambda: plots.correlation_intervals(*_ends(3)[:2], torch.eye(2)),
        r"one Q >= 2; got mean \(3, 3\), lower \(3, 3\), upper \(2, 2\)",
    ),
    "intervals' ticks": (
        lambda: plots.correlation_intervals(*_ends(3), ticks=["a"]),
        "ticks: expected 3",
    ),
    "square": (lambda: plots.covariance(torch.rand(2, 3)), r"square matrix; got shape \(2, 3\)"),
    "ticks": (lambda: plots.covariance(torch.eye(3), ticks=["a"]), "ticks: expected 3"),
    "dims": (lambda: plots.traversals(decode, 2, dims=(2,)), "from 0 to 1"),
    "decode": (lambda: plots.manifold(lambda z: decode(z)[:2], number=3), "expected 9 images"),
    "range": (lambda: plots.traversals(decode, 2, number=1), "at least 2 values"),
    "pit": (lambda: plots.calibration(np.array([1.2])), "between 0 and 1"),
    "pareto": (lambda: plots.pareto_k(np.array([math.nan])), "finite value"),
    "epochs": (lambda: plots.loss_by_term(History()), "at least one epoch"),
    "methods": (lambda: plots.methods_by_object(torch.rand(2, 1, 4, 4), {}), "at least one"),
    "errors": (lambda: plots.method_errors({"a": 1.0}, {"b": 1.0}), "a mean for each"),
    "densities": (lambda: plots.densities(torch.rand(4, 2), torch.rand(4, 3)), "one shape"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_words(case):
    act, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        act()


def test_figures_of_one_name_are_refused(tmp_path):
    figure = EVERY["pareto_k"]()
    with pytest.raises(RunError, match="plain file names, each once"):
        plots.save(tmp_path, [("a.png", "", figure), ("a", "", figure)])
    with pytest.raises(RunError, match="plain file names"):
        plots.save(tmp_path, [("../a.png", "", figure)])


def test_masked_values_are_missing_and_tensors_have_values():
    hidden = np.ma.array([1, 2], mask=[False, True])
    np.testing.assert_array_equal(as_array(hidden), [1.0, np.nan])
    for tensor in (torch.zeros(2, device="meta"), torch.eye(2).to_sparse()):
        with pytest.raises(ArgumentError, match="values: expected a tensor of real numbers; got"):
            as_array(tensor)
