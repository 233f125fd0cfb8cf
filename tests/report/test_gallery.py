"""Figures, metrics and reports of pairs that nobody named."""

from __future__ import annotations

import base64
import json
from io import BytesIO

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

import ppvae
from ppvae.data import Dataset, Splits
from ppvae.evaluate import kept_neighbours, knn_overlap
from ppvae.plots import save
from ppvae.plots.sheet import grey_limits
from ppvae.programs import data_plate
from ppvae.report.gallery import (
    Subject,
    draw,
    figure,
    interact,
    listed,
    measure,
    metric,
    registry,
)
from tests.measured import measured

SIZE, K = 6, 3


class Model(nn.Module):
    """p(kind) p(style) p(picture | kind, style), and a global latent."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2 + K, SIZE * SIZE)

    def forward(self, picture: Tensor | None = None, *, size: int | None = None) -> Tensor:
        shade = pyro.sample("shade", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        with data_plate(picture, size=size):
            style = pyro.sample("style", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            kind = pyro.sample("kind", dist.Categorical(torch.ones(K) / K))
            one_hot = nn.functional.one_hot(kind, K).to(style)
            one_hot = one_hot.expand(
                *torch.broadcast_shapes(one_hot.shape[:-1], style.shape[:-1]), K
            )
            inputs = torch.cat([style.expand(*one_hot.shape[:-1], 2), one_hot], -1)
            mean = (self.net(inputs) + shade).unflatten(-1, (1, SIZE, SIZE))
            return pyro.sample("picture", dist.Normal(mean, 0.5).to_event(3), obs=picture)


class Guide(nn.Module):
    """q(shade) q(kind | picture) q(style | picture)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(SIZE * SIZE, 2 + K)
        self.shade = nn.Parameter(torch.tensor([0.5]))

    def forward(self, picture: Tensor) -> None:
        pyro.sample("shade", dist.Normal(self.shade, 0.1).to_event(1))
        with data_plate(picture):
            mean, logits = self.net(picture.flatten(1)).split((2, K), -1)
            q = dist.Categorical(logits=logits)
            pyro.sample("kind", q, infer={"enumerate": "parallel"})
            pyro.sample("style", dist.Normal(mean, 0.5).to_event(1))


@pytest.fixture(scope="module")
def splits() -> Splits:
    generator = torch.Generator().manual_seed(0)
    kind = torch.arange(48) % K
    picture = torch.rand(48, 1, SIZE, SIZE, generator=generator) + kind[:, None, None, None]
    data = Dataset({"picture": picture, "kind": kind.float()})
    return Splits(data.take(torch.arange(36)), None, data.take(torch.arange(36, 48)))


@pytest.fixture(scope="module")
def run(splits) -> ppvae.runs.Run:
    torch.manual_seed(0)
    return ppvae.fit(Model(), Guide(), splits, epochs=2, progress=False, compile=False, seed=0)


def test_a_pair_made_by_hand_gets_the_figures_that_apply(run, splits):
    shown = [file for file, _, _ in draw(Subject(run, splits))]
    assert shown == [
        "reconstructions.png",
        "classes.png",
        "manifold.png",
        "traversals.png",
        "latents.png",
        "divergence.png",
        "densities.png",
        "loss.png",
    ]
    assert set(measured(run, splits)) == {"accuracy/kind"}


def test_it_is_shown_where_neighbours_are_kept(run, splits):
    subject = Subject(run, Splits(splits.train, None, splits.train))
    shown = {file: (caption, figure) for file, caption, figure in draw(subject)}
    x, z = subject.observed["picture"], subject.vectors["style"]
    caption, figure = shown["neighbours.png"]
    assert f"by style: {knn_overlap(x, z):.2f} on average, {10 / 35:.2f} at random" in caption
    (dots,) = figure.axes[0].collections
    assert dots.get_array().tolist() == pytest.approx(kept_neighbours(x, z).tolist())
    with torch.no_grad():
        q = subject.posteriors["style"].base_dist
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0, 1)).sum(-1)
    (dots,) = shown["divergence.png"][1].axes[0].collections
    assert dots.get_array().tolist() == pytest.approx(kl.tolist())


def test_one_held_out_datum_is_drawn_where_one_is_enough(run, splits):
    subject = Subject(run, Splits(splits.train, None, splits.test.take(torch.tensor([0]))))
    shown = [file for file, _, _ in draw(subject)]
    assert "traversals.png" in shown
    assert "latents.png" not in shown
    assert interact(subject)


def test_a_decoder_of_any_latent_is_the_models(run, splits):
    subject = Subject(run, splits)
    assert subject.vectors.keys() == {"style"}
    assert subject.classes == {"kind": K}
    assert subject.drawn_by == {"style": "picture"}
    style = torch.randn(4, 2)
    one_hot = torch.eye(K)[torch.full((4,), 2)]
    expected = run.model.net(torch.cat([style, one_hot], -1)) + run.guide.shade
    expected = expected.unflatten(-1, (1, SIZE, SIZE))
    shown = subject.decoder("style", "picture", kind=2)(style)
    torch.testing.assert_close(shown, expected)


def test_its_run_has_a_report(run, splits, tmp_path):
    before = torch.get_rng_state()
    path = run.report(splits, tmp_path / "run")
    assert torch.equal(before, torch.get_rng_state())
    assert path.name == "report.html"
    assert (tmp_path / "run" / "arviz.nc").exists()
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {"elbo", "log_likelihood", "accuracy/kind"} <= metrics.keys()
    assert "picture" in path.read_text()
    assert ppvae.load(tmp_path / "run", Model(), Guide()).metrics == run.metrics


def test_one_dataset_is_enough(run, splits):
    files = [file for file, _, _ in draw(Subject(run, splits.train.select("picture")))]
    assert "reconstructions.png" in files
    assert measured(run, splits.train) == {}


def test_a_figure_and_a_metric_of_ones_own_join_the_others(run, splits, monkeypatch):
    monkeypatch.setattr(listed, "METRICS", [])
    monkeypatch.setattr(listed, "FIGURES", listed.FIGURES[-1:])
    monkeypatch.setattr(registry, "METRICS", listed.METRICS)
    monkeypatch.setattr(registry, "FIGURES", listed.FIGURES)

    @figure(5)
    def shades(subject):
        return [("shades.png", "Shades.", Figure())]

    @metric
    def rows(subject):
        return {"rows": float(subject.num_rows)}

    subject = Subject(run, splits)
    assert [file for file, _, _ in draw(subject)] == ["shades.png", "loss.png"]
    assert measure(subject) == {"rows": 12.0}


def test_a_figure_and_a_metric_that_fail_do_not_stop_the_report(
    run, splits, tmp_path, monkeypatch
):
    def broken(subject):
        raise ZeroDivisionError("no <rows> left")

    monkeypatch.setattr(registry, "FIGURES", (broken, *registry.FIGURES[-1:]))
    monkeypatch.setattr(registry, "METRICS", (broken,))
    page = run.report(splits, tmp_path / "run").read_text()
    says = "could not be {}: ZeroDivisionError: no &lt;rows&gt; left"
    assert says.format("drawn") in page
    assert says.format("measured") in page
    plots = tmp_path / "run" / "plots"
    assert [f["kind"] for f in json.loads((plots / "failures.json").read_text())] == [
        "metric",
        "figure",
    ]
    assert [c["file"] for c in json.loads((plots / "captions.json").read_text())] == ["loss.png"]
    with pytest.raises(ZeroDivisionError):
        draw(Subject(run, splits))
    save(plots, [])
    assert not (plots / "failures.json").exists(), "of an earlier evaluation"


def test_the_controls_hold_positions_and_decoded_images(run, splits):
    subject = Subject(run, splits)
    (latent,) = interact(subject)["latents"]
    z = subject.vectors["style"]
    assert latent["site"] == "style"
    assert latent["points"][0] == pytest.approx(z[0].tolist(), abs=1e-4)
    assert len(latent["points"]) == len(latent["rows"]) == len(z)
    plane = latent["plane"]
    with Image.open(BytesIO(base64.b64decode(plane["png"]))) as image:
        pixels = torch.from_numpy(np.asarray(image).copy())
    place = torch.tensor([[plane["values"][2], plane["values"][1]]])
    decode = subject.decoder("style", "picture")
    corners = torch.cartesian_prod(*[torch.tensor(plane["values"])] * 2).flip(-1)
    grid = decode(corners)
    low, high = grey_limits(grid.numpy())
    expected = (255 * ((decode(place)[0, 0] - low) / (high - low)).clamp(0, 1)).round()
    shown = pixels[SIZE : 2 * SIZE, 2 * SIZE : 3 * SIZE].float()
    assert (shown - expected).abs().max() <= 1


class NeedsData(nn.Module):
    """p(z) p(x | z) of a model that cannot run without x."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        with data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(self.net(z), 1.0).to_event(1), obs=x)


class NeedsDataGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> None:
        with data_plate(x):
            pyro.sample("z", dist.Normal(self.net(x), 1.0).to_event(1))


def test_a_model_that_needs_its_data_has_a_report_that_says_what_it_lacks(tmp_path):
    data = {"x": torch.randn(24, 4)}
    options = {"epochs": 1, "seed": 0, "progress": False, "compile": False}
    run = ppvae.fit(NeedsData(), NeedsDataGuide(), data, **options)
    page = run.report(data, tmp_path / "run").read_text()
    assert "prior and predictions" in page
    assert "the default None" in page
    import xarray

    with xarray.open_datatree(tmp_path / "run" / "arviz.nc") as tree:
        assert "z" in tree["posterior"]
        assert "prior" not in tree.children
