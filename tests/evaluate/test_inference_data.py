"""The export to ArviZ: what is in it, in memory and on disk, for every model."""

from __future__ import annotations

import json
import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray
from torch import nn

from ppvae.data import Dataset
from ppvae.evaluate import log_likelihood, to_arviz
from ppvae.evaluate.inference_data import write_arviz
from ppvae.evaluate.pareto import leave_one_out
from ppvae.evaluate.sites import observed_values, sites_of
from ppvae.programs import ContractError, batches, data_plate
from ppvae.runs.run import Run
from tests.evaluate.programs import GaussianGuide, linear_run, pair_run
from tests.pairs import PLAIN

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import arviz

DRAWS = 6
DIMS = {
    1: (),
    2: ("feature",),
    3: ("channel", "position"),
    4: ("channel", "row", "column"),
}


def group(tree, name):
    """A group's dataset, on either line of ArviZ."""
    found = tree[name]
    return found.to_dataset() if hasattr(found, "to_dataset") else found


def names(tree):
    return (
        {str(g).strip("/") for g in tree.groups()}
        if callable(tree.groups)
        else {str(g).strip("/") for g in tree.groups if g != "/"}
    )


def test_a_file_is_written_without_arviz_and_holds_the_same(tmp_path, monkeypatch):
    run, data = pair_run("vae, mlp")
    opened = to_arviz(run, data, num_draws=DRAWS)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "arviz", None)
        write_arviz(tmp_path / "draws.nc", run, data, num_draws=DRAWS)
    with xarray.open_datatree(tmp_path / "draws.nc", engine="h5netcdf") as written:
        for name in ("posterior", "prior_predictive", "sample_stats"):
            xarray.testing.assert_identical(
                written[name].to_dataset().drop_attrs(), group(opened, name).drop_attrs()
            )


def observed_of(run, data):
    """The sites that the model observes, with their values; and the columns that it observes."""
    batch = next(batches(run.guide, data, data.num_rows))
    sites = sites_of(run, batch)
    return observed_values(run, batch, sites), set(sites.columns.values())


def unseen_of(data, observed=("x",)):
    columns = {name: column for name, column in data.items() if name not in observed}
    return Dataset(columns, missing_ok=list(columns)).take(torch.arange(4)) if columns else None


@pytest.mark.parametrize("name", PLAIN)
def test_every_model_leaves_with_its_sites(name):
    run, data = pair_run(name)
    values_of, columns = observed_of(run, data)
    unseen = unseen_of(data, columns)
    tree = to_arviz(
        run,
        data,
        num_draws=DRAWS,
        chunk=5,
        prior_rows=7,
        unseen=unseen,
    )
    rows = data.num_rows
    for at, leading in (("posterior", rows), ("prior", 7)):
        drawn = group(tree, at)
        for site, value in run.encode(data).items():
            shared = len(value) != rows  # A global latent has one value for all rows.
            shape = value.shape if shared else (leading, *value.shape[1:])
            assert drawn[site].shape == (1, DRAWS, *shape)
            assert drawn[site].dims[:2] == ("chain", "draw")
            assert shared or drawn[site].dims[2] == "sample"
            assert np.isfinite(drawn[site]).all()
        for site, replicates in group(tree, f"{at}_predictive").data_vars.items():
            assert replicates.shape == (1, DRAWS, leading, *values_of[site].shape[1:])
            assert np.isfinite(replicates).all()
    observed = group(tree, "observed_data").data_vars
    assert observed.keys() == group(tree, "posterior_predictive").data_vars.keys()
    joint = next(iter(observed)) if len(observed) == 1 else "joint"
    assert group(tree, "log_likelihood")[joint].shape == (1, DRAWS, rows)
    for site in observed:
        given = f"log_likelihood_given_latents_{site}"
        assert group(tree, "sample_stats")[given].shape == (1, DRAWS, rows)
    for site, values in observed.items():
        x = values_of[site]
        assert values.dims == ("sample", *DIMS[x.dim()])
        np.testing.assert_allclose(values, x, rtol=1e-6)
    others = set(data) - columns
    assert ("constant_data" in names(tree)) == bool(others)
    if unseen is not None:
        assert set(group(tree, "predictions_constant_data").data_vars) == others
        for site, x in values_of.items():
            assert group(tree, "predictions")[site].shape == (1, DRAWS, 4, *x.shape[1:])
    else:
        assert "predictions" not in names(tree)


@pytest.mark.parametrize("name", ["gpvae", "ssvae, class and factors", "tvae, spectra"])
def test_disk_and_memory_hold_the_same(name, tmp_path):
    run, data = pair_run(name)
    path = tmp_path / "new" / "arviz.nc"
    kept = to_arviz(run, data, num_draws=DRAWS, chunk=5)
    written = to_arviz(run, data, num_draws=DRAWS, chunk=5, path=path)
    reopened = arviz.from_netcdf(path)
    assert names(kept) == names(written) == names(reopened)
    for name in names(kept):
        for tree in (written, reopened):
            assert group(kept, name).equals(group(tree, name).load())
            assert set(group(kept, name).coords) == set(group(tree, name).coords)
    assert list(path.parent.iterdir()) == [path]


def test_views_and_objects_are_coordinates_and_the_run_is_named():
    run, data = pair_run("gpvae")
    tree = to_arviz(run, data, num_draws=DRAWS, unseen=unseen_of(data))
    drawn = group(tree, "predictions")
    np.testing.assert_allclose(drawn["view"], data["view"][:4], rtol=1e-6)
    assert drawn["object"].dims == ("sample",)
    assert {"object", "view"} <= set(group(tree, "constant_data").data_vars)
    attributes = group(tree, "posterior").attrs
    assert attributes["inference_library"] == "ppvae"
    assert attributes["run_id"] == run.id
    assert json.loads(attributes["objective"])["type"] == "ELBO"


def test_an_encoder_decoder_predicts_from_its_source():
    run, data = pair_run("ved")
    tree = to_arviz(run, data, num_draws=2000, unseen=data.select("source"))
    found = group(tree, "predictions")["z"].values[0]
    expected = run.encode(data)["z"].numpy()
    # Four standard errors of a mean of 2,000 draws of a guide about as wide as the prior.
    np.testing.assert_allclose(found.mean(0), expected, atol=0.1)
    prior = group(tree, "prior")["z"].values[0]
    np.testing.assert_allclose(prior.mean(0), np.zeros_like(expected), atol=0.1)
    assert group(tree, "predictions")["x"].dims[-2:] == ("channel", "position")


def test_replicates_are_not_the_data_and_follow_the_posterior():
    run = linear_run()
    x = run.model.draw(8)
    tree = to_arviz(run, {"x": x}, num_draws=4000)
    draws = group(tree, "posterior")["z"].values[0]
    exact = run.encode({"x": x})["z"].numpy()
    np.testing.assert_allclose(draws.mean(0), exact, atol=0.1)
    replicates = group(tree, "posterior_predictive")["x"].values[0]
    expected = exact @ run.model.weight.detach().T.numpy() + run.model.bias.detach().numpy()
    np.testing.assert_allclose(replicates.mean(0), expected, atol=0.15)
    assert np.abs(replicates - x.numpy()).min() > 0
    prior = group(tree, "prior_predictive")["x"].values.reshape(-1, x.shape[1])
    np.testing.assert_allclose(np.cov(prior.T), run.model.covariance.detach(), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("spread", [0.7, 1.3])
def test_arviz_compares_by_the_evidence_and_not_by_what_the_encoder_knows(spread):
    run = linear_run(spread=spread)
    x = run.model.draw(30)
    tree = to_arviz(run, {"x": x}, num_draws=500)
    stats = group(tree, "sample_stats")
    exact = run.model.log_evidence(x)
    estimate = torch.as_tensor(stats["marginal_log_likelihood"].values)
    assert (estimate - exact).abs().max() < 0.4
    own = log_likelihood(run, {"x": x}, num_particles=500)
    assert (estimate - own.log_likelihood).abs().max() < 0.4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = arviz.loo(tree, pointwise=True)
    elpd = found.elpd if hasattr(found, "elpd") else found.elpd_loo
    # Up to terms of order 1 / S squared, and Pareto smoothing of weights that are nearly equal.
    assert elpd == pytest.approx(float(estimate.sum()), abs=0.02)
    np.testing.assert_allclose(found.pareto_k, stats["pareto_k"], atol=0.1)
    given = stats["log_likelihood_given_latents_x"].mean(("chain", "draw")).sum()
    assert float(given) > float(exact.sum()) + 20
    assert "log p(x) per datum" in group(tree, "log_likelihood").attrs["description"]


def test_arviz_puts_the_better_model_first_whose_encoder_says_less():
    good, bad = linear_run(spread=1.1), linear_run()
    x = good.model.draw(60)
    with torch.no_grad():  # A model that memorises: latents that matter more than in the truth.
        bad.model.weight.copy_(1.5 * good.model.weight)
        bad.model.bias.copy_(good.model.bias)
    bad = Run(bad.model, GaussianGuide(bad.model, spread=1.1))
    trees = {"bad": to_arviz(bad, {"x": x}), "good": to_arviz(good, {"x": x})}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(arviz.compare(trees).index) == ["good", "bad"]
    evidence = {
        name: float(r.model.log_evidence(x).sum()) for name, r in (("b", bad), ("g", good))
    }
    assert evidence["g"] > evidence["b"]


def test_leaving_a_draw_out_is_exact_whatever_the_weights():
    weights = torch.tensor([[0.0, -800.0], [-3.0, 2.0], [1.0, 700.0]]).double()
    expected = torch.stack(
        [
            torch.cat([weights[:s], weights[s + 1 :]]).logsumexp(0) - np.log(2)
            for s in range(len(weights))
        ]
    )
    torch.testing.assert_close(leave_one_out(weights), expected)
    torch.testing.assert_close(leave_one_out(weights[:1]), weights[:1])


def test_arviz_plots_and_summarises_it():
    run = linear_run()
    tree = to_arviz(run, {"x": run.model.draw(20)}, num_draws=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = arviz.summary(tree, var_names=["z"])
        if isinstance(tree, xarray.DataTree):
            # ArviZ 1 stacks chain and draw into a dimension of this name.
            tree = tree.map_over_datasets(
                lambda d: d.rename(sample="datum") if "sample" in d.dims else d
            )
        for draw in ("plot_ppc", "plot_bpv", "plot_ppc_dist"):
            if hasattr(arviz, draw):
                getattr(arviz, draw)(tree)
        plt.close("all")
    assert len(table) == 20 * run.encode({"x": run.model.draw(1)})["z"].shape[1]
    means = group(tree, "posterior")["z"].mean(("chain", "draw")).values.ravel()
    np.testing.assert_allclose(table["mean"].astype(float), means, atol=0.01)


class Shared(nn.Module):
    """p(w) prod p(x_n | w, z_n): w is one for all data."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x=None, *, size=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(2), self.one).to_event(1))
        with data_plate(x, size=size):
            z = pyro.sample("z", dist.Normal(0.0, self.one))
            return pyro.sample("x", dist.Normal(w[..., 0] + z, 0.1), obs=x)


class SharedGuide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        pyro.sample("w", dist.Normal(self.loc, 1.0).to_event(1))
        with data_plate(x):
            pyro.sample("z", dist.Normal(x, 0.1))


def test_a_latent_of_all_data_has_one_draw_whatever_the_chunks():
    run = Run(Shared(), SharedGuide())
    tree = to_arviz(run, {"x": torch.randn(7)}, num_draws=50, chunk=2)
    posterior = group(tree, "posterior")
    assert posterior["w"].dims == ("chain", "draw", "latent")
    w = posterior["w"].values[0, :, 0]
    made = group(tree, "posterior_predictive")["x"].values[0] - posterior["z"].values[0]
    np.testing.assert_allclose(made, np.repeat(w[:, None], 7, 1), atol=0.6)


def test_rows_are_thinned_and_numbered():
    run, data = pair_run("vae, mlp")
    tree = to_arviz(run, data, num_draws=2, max_rows=4, prior_rows=2)
    assert group(tree, "posterior")["sample"].values.tolist() == [0, 3, 6, 9]
    assert group(tree, "prior")["sample"].values.tolist() == [0, 6]
    assert "prior" not in names(to_arviz(run, data, num_draws=2, prior_rows=0))


def test_draws_repeat_and_leave_the_generator_alone():
    run, data = pair_run("jvae")
    state = torch.random.get_rng_state()
    first = group(to_arviz(run, data, num_draws=2), "posterior")
    assert torch.equal(state, torch.random.get_rng_state())
    assert first.equals(group(to_arviz(run, data, num_draws=2), "posterior"))
    assert not first.equals(group(to_arviz(run, data, num_draws=2, seed=1), "posterior"))


def test_zarr_holds_the_same(tmp_path):
    pytest.importorskip("zarr", minversion="3")
    run, data = pair_run("gpvae")
    kept = to_arviz(run, data, num_draws=DRAWS, chunk=5)
    written = to_arviz(run, data, num_draws=DRAWS, chunk=5, path=tmp_path / "draws.zarr")
    for name in names(kept):
        assert group(kept, name).equals(group(written, name).load())


class NoSize(nn.Module):
    def forward(self, x=None):
        with data_plate(x):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)


class NoSizeGuide(nn.Module):
    def forward(self, x):
        with data_plate(x):
            pyro.sample("z", dist.Normal(x, 1.0))


def test_bad_input_is_refused_and_leaves_no_file(tmp_path):
    run, data = pair_run("vae, mlp")
    with pytest.raises(ValueError, match="num_draws: expected an integer >= 1; got 0"):
        to_arviz(run, data, num_draws=0)
    with pytest.raises(ValueError, match="max_rows: expected an integer >= 1"):
        to_arviz(run, data, max_rows=0)
    with pytest.raises(ValueError, match=r"path: expected a name that ends in \.nc or \.zarr"):
        to_arviz(run, data, path=tmp_path / "draws.h5")
    with pytest.raises(ContractError, match="expected predictions of 3 data; got {1}"):
        to_arviz(Run(NoSize(), NoSizeGuide()), {"x": torch.randn(3)}, path=tmp_path / "a.nc")
    assert not list(tmp_path.iterdir())
