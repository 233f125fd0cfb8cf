"""The entries with known, partly known and unknown factors: built, fitted, measured."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
import torch

import ppvae
from ppvae.data import Dataset, Splits, as_splits
from ppvae.report.gallery import Subject, draw, measure
from ppvae.runs.run import Recipe
from ppvae.zoo import build, entry
from ppvae.zoo.entries.ssvae import keep_labels
from ppvae.zoo.options import parse_options
from tests.measured import measured
from tests.pairs import K, N, images

SMALL = {
    "cvae": {"latent_dim": 2, "hidden": (8,)},
    "ssvae": {"latent_dim": 2, "hidden": (8, 8), "labels": 6, "steps": 5},
    "jvae": {"latent_dim": 2, "hidden": (8, 8), "classes": (K,), "steps": 5},
    "ved": {"latent_dim": 2, "hidden": (8,)},
}


def columns(**more):
    return {"x": images(), "y": torch.arange(N) % K, **more}


def splits(**more):
    part = Dataset(columns(**more), missing_ok=["c"])
    return Splits(part, part, part)


def files_of(run, data):
    return [file for file, _, _ in draw(Subject(run, data))]


def fitted(name, data, **options):
    found = entry(name)
    chosen = parse_options(found.options, {**SMALL[name], **options})
    data = found.arrange(data, chosen)
    model, guide, objective = found.build(data.train.spec, chosen)
    run = ppvae.fit(
        model, guide, data, objective, **{**found.fit, "epochs": 1}, seed=0, progress=False
    )
    return run, measure(Subject(run, data))


@pytest.mark.parametrize("name", SMALL)
def test_a_run_of_an_entry_trains_and_comes_back_from_its_recipe(name, tmp_path):
    found = entry(name)
    data = splits(source=images()) if name == "ved" else splits()
    chosen = parse_options(found.options, SMALL[name])
    arranged = found.arrange(data, chosen)
    recipe = Recipe("ppvae.zoo:build", name=name, options=SMALL[name], spec=arranged.train.spec)
    model, guide, objective = recipe.build()
    run = ppvae.fit(
        model, guide, arranged, objective, epochs=2, seed=0, progress=False, recipe=recipe
    )
    run.save(tmp_path / name)
    again = ppvae.load(tmp_path / name)
    for before, after in zip(model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(before, after)
    assert measure(Subject(again, arranged)) == measure(Subject(run, arranged))


@pytest.mark.parametrize("name", SMALL)
def test_its_default_data_fit_it(name):
    found = entry(name)
    data = found.arrange(found.default_data(), found.options())
    model, guide, objective = found.build(data.train.spec, found.options())
    batch = data.train.batch(slice(0, 8), dtype=torch.get_default_dtype())
    assert torch.isfinite(objective(model, guide)(batch).loss)
    json.dumps(data.train.spec)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("cvae", ["classes.png", "manifold.png"]),
        ("ssvae", ["classes.png", "manifold.png"]),
        ("jvae", ["classes.png", "manifold.png"]),
        ("ved", ["manifold.png"]),
    ],
)
def test_its_figures(name, files):
    data = splits(source=images()) if name == "ved" else splits()
    made = draw(Subject(fitted(name, data)[0], data))
    first = ["predictions.png"] * (name == "ved") + ["reconstructions.png"]
    rest = ["traversals.png", "latents.png", "divergence.png", "densities.png", "loss.png"]
    assert [file for file, _, _ in made] == [*first, *files, *rest]
    for _, caption, figure in made:
        assert caption.endswith(".")
        assert figure.axes


def test_figures_leave_out_what_the_data_do_not_have():
    c = torch.randn(N, 2)
    bare = [part.select("x", "c") for part in splits(c=c)]
    for name in ("cvae", "ssvae"):
        run = fitted(name, Splits(*bare))[0]
        assert "classes.png" not in files_of(run, Splits(*bare))
    both = splits(c=c)
    shown = files_of(fitted("cvae", both, latent_dim=1)[0], both)
    assert "classes.png" in shown
    assert "manifold.png" not in shown
    shown = files_of(fitted("jvae", splits(), classes=(K, 2))[0], splits())
    assert {"classes.png", "classes_y2.png"} <= set(shown)


@pytest.mark.parametrize("name", ["cvae", "jvae"])
def test_a_class_decoder_decodes_that_class(name):
    run = fitted(name, splits())[0]
    z, y = torch.randn(4, 2), torch.full((4,), 1)
    expected = run.model.decoder(z, torch.eye(K)[y]).mean
    decoder = Subject(run, splits()).decoder("z", "x", y=1)
    torch.testing.assert_close(decoder(z), expected)


@pytest.mark.parametrize("name", ["ssvae", "jvae"])
def test_accuracy_is_reported_where_test_labels_exist(name):
    run, metrics = fitted(name, splits())
    assert 0 <= metrics["accuracy"] <= 1
    data = splits()
    bare = data._replace(test=data.test.select("x"))
    assert measured(run, bare) == {}
    none = data._replace(test=data.test.with_columns(y=torch.full((N,), -1)))
    assert measured(run, none) == {}


def test_accuracy_leaves_out_test_data_without_a_label():
    run, _ = fitted("ssvae", splits())
    data = splits()
    found = ppvae.programs.posterior(run.guide, {"x": data.test["x"]})["y"].probs.argmax(-1)
    y = found.clone()
    y[0], y[1:4] = (found[0] + 1) % K, -1
    metrics = measure(Subject(run, data._replace(test=data.test.with_columns(y=y))))
    assert metrics["accuracy"] == pytest.approx((N - 4) / (N - 3))


def test_a_cvae_takes_the_factors_and_classes_that_the_data_have():
    sizes = []
    for spec in (
        splits().train.spec,
        splits(c=torch.randn(N, 2)).train.spec,
        splits(c=torch.randn(N)).train.select("x", "c").spec,
    ):
        sizes.append(build("cvae", spec, **SMALL["cvae"])[0].conditions.sizes)
    assert sizes == [(K,), (K, 2), (1,)]
    embedded = build("cvae", splits().train.spec, **SMALL["cvae"], embedding=5)[0]
    assert embedded.conditions.sizes == (5,)
    conv = build("cvae", splits().train.spec, latent_dim=2, network="conv")
    assert conv[0](y=torch.arange(K)).shape == (K, 1, 8, 8)


def test_an_ssvae_of_targets_is_trained_on_those_that_are_known():
    c = torch.randn(N, 2)
    c[::2] = math.nan
    data = splits(c=c)
    data = Splits(*(part.select("x", "c") for part in data))
    run, metrics = fitted("ssvae", data, labels=0)
    assert run.guide.classifier is None
    bounds = {"information/c", "information_upper/c", "information_limit"}
    assert set(metrics) <= {*bounds, "information/z", "information_upper/z"}
    # Of q(c | x), hardly trained here, not of the values that are known, which differ in each row.
    assert 0 <= metrics["information/c"] <= metrics["information_upper/c"] < 0.5
    assert metrics["information_limit"] > 2


def test_spectra_are_taken_by_every_entry_but_for_their_warps():
    x = images(1, 16)
    for name in ("cvae", "ssvae", "jvae"):
        part = Dataset({"x": x, "y": torch.arange(N) % K})
        assert fitted(name, Splits(part, part, part))[0].status == "completed"


def test_an_encoder_decoder_goes_back_from_spectra_to_images():
    part = Dataset({"source": images(1, 16), "x": images()})
    data = Splits(part, part, part)
    run, metrics = fitted("ved", data, decoder="conv", likelihood="bernoulli")
    bounds = {"information", "information_upper", "information_limit"}
    assert set(metrics) == {"rmse", "predicted_sd", "coverage_90", *bounds}
    assert 0 < metrics["rmse"] < 1
    assert metrics["predicted_sd"] > 0
    file, _, figure = draw(Subject(run, data))[0]
    assert file == "predictions.png"
    assert figure.axes


def test_labels_are_kept_evenly_and_their_rows_come_again():
    data = Dataset({"x": torch.arange(60.0)[:, None], "y": torch.arange(60) % K})
    kept = keep_labels(data, 6, repeat=0.5, seed=0)
    assert kept.num_rows == 60 + 30
    assert torch.bincount(kept["y"][:60] + 1).tolist() == [54, 2, 2, 2]
    assert torch.bincount(kept["y"][60:]).tolist() == [10, 10, 10]
    assert not torch.equal(keep_labels(data, 6, repeat=0.5, seed=1)["y"], kept["y"])
    assert torch.equal(keep_labels(data, 0, repeat=0.0, seed=0)["y"], data["y"])


def test_names_and_units_stay_where_labels_are_kept():
    frame = pd.DataFrame({"a": torch.arange(8.0), "y": ["dog", "cat"] * 4, "c": ["1 mm"] * 8})
    frame.index = [f"row{i}" for i in range(8)]
    data = as_splits(frame).train
    kept = keep_labels(data, 4, repeat=0.5, seed=0)
    assert kept.names == {"x": ("a",), "y": ("cat", "dog")}
    assert kept.record.units == {"c": "mm"}
    assert kept.row_names is not None
    for row, y in zip(kept.row_names, kept["y"].tolist(), strict=True):
        assert y in (-1, data["y"][int(row.removeprefix("row"))])


@pytest.mark.parametrize(
    ("name", "data", "options", "message"),
    [
        ("cvae", {"y": torch.arange(N)}, {"num_classes": K}, f"from 0 to {K - 1}; got {N - 1}"),
        ("cvae", {"y": torch.zeros(N).long()}, {}, "at least 2 classes in a column 'y'; got 1"),
        ("cvae", {"c": torch.randn(N, 2)}, {"factor_dim": 3}, "factor_dim: expected 2"),
        ("ssvae", {"y": torch.zeros(N).long()}, {}, "at least 2 classes in a column 'y'; got 1"),
        ("ssvae", {"y": torch.full((N,), -1)}, {"labels": 0}, "at least 2 classes"),
        (
            "ssvae",
            {"y": torch.full((N,), -1)},
            {"labels": 0, "num_classes": K},
            "expected some known labels",
        ),
        (
            "ssvae",
            {"y": torch.arange(N)},
            {"num_classes": K, "labels": 0},
            "or -1 where missing; got 11",
        ),
        ("ssvae", {}, {"labels": N + 1}, f"labels: expected at most {N}"),
        ("jvae", {}, {"classes": (1,)}, "classes: expected at least 2"),
        ("ved", {}, {}, "expected columns 'source' and 'x'"),
    ],
)
def test_bad_input_is_refused_in_words(name, data, options, message):
    with pytest.raises(ValueError, match=message):
        fitted(name, splits(**data), **options)


def test_data_without_labels_or_targets_are_no_ssvaes():
    bare = Splits(splits().train.select("x"))
    with pytest.raises(ValueError, match="expected a column 'y' or 'c'"):
        fitted("ssvae", bare)
    with pytest.raises(ValueError, match="column 'c': expected some known values"):
        fitted("ssvae", splits(c=torch.full((N,), math.nan)), labels=0)
