"""The observed column: the likelihood that suits it, and what is missing of it."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from ppvae import zoo
from ppvae.app.workflow import fit_entry
from ppvae.data import Dataset, Splits, cells
from ppvae.errors import ArgumentError
from ppvae.nets import heads
from ppvae.objectives import ELBO
from ppvae.zoo.observed import chosen_likelihood, likelihood, resolved

RNG = np.random.default_rng(0)
N = 24


@pytest.mark.parametrize(
    ("x", "name"),
    [
        (RNG.integers(0, 2, (N, 5)), "bernoulli"),
        (RNG.integers(0, 2, (N, 5)) * 1.0, "bernoulli"),
        (RNG.random((N, 1, 6, 6)), "bernoulli"),
        (RNG.integers(0, 256, (N, 1, 6, 6)).astype(np.uint8), "bernoulli"),
        (cells(10, size=16).train["x"], "normal"),
        (1.0 - 0.1 * RNG.random((N, 1, 6, 6)), "normal"),
        (RNG.random((N, 5)), "continuous-bernoulli"),
        (RNG.poisson(3, (N, 5)), "negative-binomial"),
        (RNG.poisson(3, (N, 5)).astype("f4"), "negative-binomial"),
        (RNG.standard_normal((N, 5)), "normal-per-feature"),
        (RNG.integers(-3, 3, (N, 5)), "normal-per-feature"),
    ],
)
def test_auto_chooses_the_likelihood_that_suits_the_values(x, name):
    assert chosen_likelihood(Splits(Dataset({"x": x})))[0] == name


@pytest.mark.parametrize("name", ["normal", "normal-per-pixel"])
def test_the_scale_of_pixels_starts_near_their_residuals(name):
    # From 0.3, at 0.002 a step, the scale of cells was still too large after 500 steps.
    x = cells(10, size=16).train["x"]
    for data, scale in ((x, 0.1), (torch.as_tensor(x) / 255, 0.3)):
        model, *_ = zoo.build("vae", Dataset({"x": data}).spec, likelihood=name, latent_dim=2)
        found = model.decoder(torch.zeros(1, 2)).base_dist.scale.mean().detach()
        assert float(found) == pytest.approx(scale, rel=0.2)


def test_auto_starts_from_the_units_of_the_data():
    x = RNG.standard_normal((N, 3)) * [1, 10, 1000] + [0, 5, -4000]
    splits = Splits(Dataset({"x": x}))
    options = zoo.parse_options(zoo.entry("vae").options, {"likelihood": "auto"})
    spec, chosen, said = resolved(splits, options)
    assert chosen.likelihood == "normal-per-feature"
    assert said.startswith("likelihood: normal-per-feature (values from -")
    model, guide, objective = zoo.build("vae", spec, likelihood=chosen.likelihood)
    elbo = objective(model, guide)({"x": torch.as_tensor(x)}).elbo.mean()
    assert -60 < elbo < -5


@pytest.mark.parametrize("name", ["normal", "normal-per-pixel", "laplace"])
@pytest.mark.parametrize(
    ("x", "said"),
    [
        (
            RNG.standard_normal((N, 3)) * 300 + 2000,
            r"takes x as it is, with values from \d+.* to \d+",
        ),
        (RNG.standard_normal((N, 3)) * 1e-4, "--likelihood normal-per-feature gives each feature"),
        (RNG.standard_normal((N, 3)) * 3, ""),
        (RNG.integers(0, 256, (N, 1, 6, 6)).astype(np.uint8), ""),
    ],
)
def test_numbers_that_a_likelihood_starts_far_from_are_named(x, said, name):
    options = zoo.parse_options(zoo.entry("vae").options, {"likelihood": name})
    sentence = resolved(Splits(Dataset({"x": x})), options)[2]
    assert re.search(said, sentence) if said else not sentence


def test_counts_start_near_their_null_model():
    x = RNG.poisson(RNG.gamma(2.0, 10.0, (60, 1)) * RNG.gamma(0.5, 2.0, (1, 30)))
    splits = Splits(Dataset({"x": x}))
    options = zoo.parse_options(zoo.entry("vae").options, {"likelihood": "negative-binomial"})
    spec, _, _ = resolved(splits, options)
    model, guide, _ = zoo.build("vae", spec, likelihood="negative-binomial")
    head = model.decoder.head
    batch = torch.as_tensor(x) * 1.0
    null = head.marginal(batch).log_prob(batch).mean()
    elbo = ELBO()(model, guide)({"x": batch}).elbo.mean()
    assert abs(elbo - null) < 0.4 * abs(null)
    assert head.is_count


def test_likelihoods_that_do_not_suit_are_refused_in_words():
    with pytest.raises(ArgumentError, match="expected counts .* for zero-inflated"):
        likelihood("zero-inflated", (3,))
    with pytest.raises(ArgumentError, match="got 'auto', which ppvae fit chooses"):
        likelihood("auto", (3,))


def torn(*shape):
    x = RNG.random((N, *shape)).astype("f4")
    x[RNG.random(x.shape) < 0.2] = np.nan
    return x


MISSING = {
    "vae": {},
    "cvae": {"y": np.arange(N) % 3},
    "ssvae": {"y": np.arange(N) % 3},
    "jvae": {},
    "rvae": {},
    "jrvae": {},
    "gpvae": {"object": np.arange(N) // 6, "view": np.arange(N) % 6 / 6},
}


@pytest.mark.parametrize("name", MISSING)
def test_every_entry_is_built_for_missing_values(name):
    entry = zoo.entry(name)
    data = Dataset({"x": torn(1, 12, 12), **MISSING[name]}, missing_ok=entry.missing_ok)
    model, guide, _ = zoo.build(name, data.spec)
    assert any(isinstance(module, heads.Masked) for module in model.modules())
    terms = ELBO()(model, guide)(data.batch(slice(None), dtype=torch.get_default_dtype()))
    assert terms.elbo.isfinite().all()


def test_entries_with_critics_refuse_missing_values():
    data = Dataset({"x": torn(1, 12, 12)}, missing_ok=["x"])
    with pytest.raises(ArgumentError, match="infomax: expected x without missing values"):
        zoo.build("infomax", data.spec)


def test_a_mask_marks_what_was_seen():
    x = RNG.random((N, 2, 3))
    mask = RNG.random((N, 2, 3)) < 0.7
    data = Dataset({"x": x, "mask": mask})
    assert np.array_equal(np.isnan(data["x"].numpy()), ~mask)
    assert data.spec["x"]["missing"]
    assert "mask" not in data
    rows = Dataset({"x": x, "mask": np.arange(N) % 2})
    assert torch.equal(rows["x"].isnan().all(2).all(1), torch.arange(N) % 2 == 0)
    pixels = RNG.integers(0, 256, (N, 1, 2, 3)).astype(np.uint8)
    seen = Dataset({"x": pixels, "mask": np.ones(N)})
    np.testing.assert_allclose(seen["x"].numpy(), pixels / 255, rtol=1e-6)


def test_a_part_with_missing_values_makes_the_model_masked():
    whole = Dataset({"x": np.ones((N, 3)) * 0.5})
    part = Dataset({"x": torn(3)}, missing_ok=["x"])
    assert Splits(whole, part).spec["x"]["missing"]
    assert "missing" not in Splits(whole, whole).spec["x"]


@pytest.mark.filterwarnings("ignore")
def test_a_table_with_missing_values_is_fitted_evaluated_and_imputed(tmp_path, caplog):
    x = RNG.standard_normal((60, 4)) * [1, 10, 100, 1000]
    x[RNG.random(x.shape) < 0.2] = np.nan
    np.savez(tmp_path / "data.npz", x=x)
    run = fit_entry("vae", tmp_path / "run", data=tmp_path / "data.npz", epochs=1, progress=False)
    assert "likelihood: normal-per-feature" in caplog.text
    assert "missing values are not scored" in run.config["data_note"]
    assert np.isfinite([run.metrics[k] for k in ("elbo", "null_log_likelihood")]).all()
    assert run.metrics["elbo_per_seen"] == run.metrics["elbo"] / run.metrics["seen_per_datum"]
