"""``counts``: generated expression, batches, differential expression."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pyro.distributions import Normal
from torch import nn

from ppvae import evaluate, fit, zoo
from ppvae.data import Dataset, expression
from ppvae.distributions import Counts
from ppvae.errors import ArgumentError
from ppvae.guides import CountGuide
from ppvae.models import CountVAE
from ppvae.objectives import ELBO
from ppvae.report.gallery.registry import draw
from ppvae.report.gallery.subject import Subject
from ppvae.runs.run import Run
from tests.measured import measured


def small():
    return expression(num_cells=200, num_genes=40, num_factors=3, num_types=3)


def test_generated_cells_are_sparse_counts_with_known_factors():
    splits = small()
    spec = splits.train.spec
    assert spec["x"]["shape"] == [40]
    assert spec["x"]["library"][0] > 3
    assert spec["batch"]["classes"] == 2
    assert {"y", "factor", "library"} <= set(splits.train)
    assert torch.equal(splits.train.batch(slice(5))["x"], small().train.batch(slice(5))["x"])
    with pytest.raises(ArgumentError, match="num_cells: expected an integer >= 1"):
        expression(num_cells=0)


@pytest.mark.parametrize("library", ["observed", "latent", "size-factor"])
@pytest.mark.parametrize("dispersion", ["gene", "batch", "cell"])
@pytest.mark.parametrize("likelihood", ["negative-binomial", "zero-inflated"])
def test_a_pair_is_built_for_each_option(library, dispersion, likelihood):
    data = small().train
    data = data.with_columns(size_factor=torch.rand(data.num_rows) + 0.5)
    chosen = {"library": library, "dispersion": dispersion, "likelihood": likelihood}
    model, guide, _ = zoo.build("counts", data.spec, **chosen)
    terms = ELBO()(model, guide)(data.batch(slice(20), dtype=torch.get_default_dtype()))
    assert terms.elbo.isfinite().all()
    assert set(terms.kl) == ({"z", "l"} if library == "latent" else {"z"})
    # Every parameter is one that the likelihood depends on.
    terms.elbo.sum().backward()
    unused = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused


def test_runs_from_before_normalised_layers_are_built_as_they_were():
    entry, spec = zoo.entry("counts"), small().train.spec
    options = entry.options()
    assert any(isinstance(part, nn.LayerNorm) for part in zoo.build("counts", spec)[0].modules())
    recipe = entry.recipe(options, spec)
    assert any(isinstance(part, nn.LayerNorm) for part in recipe.build()[0].modules())
    older = {name: value for name, value in recipe.options.items() if name != "norm"}
    model = replace(recipe, options=older).build()[0]
    assert not any(isinstance(part, nn.LayerNorm) for part in model.modules())


def test_size_factors_multiply_the_expected_counts():
    data = small().train
    data = data.with_columns(size_factor=torch.full((data.num_rows,), 2.0))
    model, *_ = zoo.build(
        "counts", data.spec, library="size-factor", likelihood="poisson", hidden=(4,)
    )
    batch = torch.zeros(4000, dtype=torch.int64)
    totals = model(batch=batch, size_factor=torch.full((4000,), 2.0)).sum(-1)
    typical = math.exp(data.spec["x"]["library"][0])
    assert float(totals.mean()) == pytest.approx(2 * typical, rel=0.01)
    with pytest.raises(ArgumentError, match="size_factor: expected a column"):
        model(batch=batch)


def test_dispersions_and_size_factors_that_are_not_there_are_refused():
    spec = small().train.spec
    with pytest.raises(ArgumentError, match="dispersion: expected a likelihood that has one"):
        zoo.build("counts", spec, likelihood="poisson", dispersion="cell")
    with pytest.raises(ArgumentError, match="library: expected a column 'size_factor'"):
        zoo.build("counts", spec, library="size-factor")


def test_the_prior_of_the_weights_is_divided_by_the_number_of_cells():
    data = small().train
    model, guide, objective = zoo.build("counts", data.spec)
    settings = zoo.entry("counts").tune(model, guide)
    run = fit(model, guide, data, objective, epochs=1, batch_size=80, progress=False, **settings)
    optimizer = settings["optimizer"](run.model.parameters(), 1e-3)
    assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(1 / (0.09**2 * 160))


class Groups(nn.Module):
    """z is -1 or 1, by the first gene, and the shares of two others differ fourfold by it."""

    def __init__(self):
        super().__init__()
        self.known = nn.Parameter(torch.tensor([2.0, 0.0, 0.0, -1.0, 0.0, 0.0]).log_softmax(0))

    def forward(self, z):
        # log2 of the ratio of shares is 2 in the second gene and -2 in the third.
        change = math.log(2) * torch.tensor([0.0, 1.0, -1.0, 0.0, 0.0, 0.0])
        share = (self.known.detach() + z * change).exp()
        share = torch.cat([1 - share[..., 1:].sum(-1, keepdim=True), share[..., 1:]], -1)
        return Counts(share.log(), torch.zeros(6), torch.full((6,), -1.0), prior=(6.0, 0.1))


class Seen(nn.Module):
    def forward(self, x):
        return Normal(2 * (x[:, :1] > 0).to(x.dtype) - 1, 1e-3).to_event(1)


def planted():
    """A run of which all is known, and cells of two groups with totals of 100."""
    run = Run(CountVAE(Groups(), latent_dim=1), CountGuide(Seen()))
    x = torch.zeros(40, 6)
    x[:20, 0], x[20:, 5] = 100, 100
    return run, {"x": x[:20]}, {"x": x[20:]}


class Two(nn.Module):
    """Two groups by the sign of the first latent, and log shares that a network has of them."""

    def __init__(self, log_share):
        super().__init__()
        self.log_share = nn.Parameter(log_share)  # (2, G)

    def forward(self, z):
        share = torch.where(z > 0, self.log_share[0], self.log_share[1])
        return Counts(share, torch.full_like(share[..., :1], 4.0), prior=(6.0, 0.1))


class Marked(nn.Module):
    """The group is told by which of the first two genes has more counts."""

    def forward(self, x):
        return Normal(2 * (x[:, :1] > x[:, 1:2]).to(x.dtype) - 1, 1e-3).to_event(1)


def simulated(genes=400, cells=150, changed=40, seed=0):
    """Cells of two groups, the true change of each gene in log2, and what networks say of it.

    The networks have learned half of the change of some genes, and a change of others that is not.
    """
    made = torch.Generator().manual_seed(seed)
    log_share = torch.randn(genes, generator=made)
    log_share[:2] = 3.0
    change = torch.zeros(genes)
    change[0], change[1] = 2.0, -2.0
    change[2 : 2 + changed] = torch.randn(changed, generator=made)
    network = change.clone()
    network[2 : 2 + changed // 2] *= 0.5
    network[-50:] += 0.5 * torch.randn(50, generator=made)

    def both(change):
        return torch.stack([log_share + change / 2, log_share - change / 2]).log_softmax(-1)

    true = both(change)
    totals = torch.full((2, cells, 1), 2000.0)
    gamma = torch.distributions.Gamma(math.exp(4.0), math.exp(4.0))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        x = torch.poisson(totals * true.exp()[:, None] * gamma.sample((2, cells, genes)))
    run = Run(CountVAE(Two(both(network)), latent_dim=1), CountGuide(Marked()))
    ratio = (true[0] - true[1]) / math.log(2)
    return run, {"x": x[0]}, {"x": x[1]}, ratio


def test_changes_are_those_of_the_counts_where_networks_are_wrong():
    run, first, second, true = simulated()
    found = evaluate.differential_expression(run, first, second, num_draws=5)
    inside = (found.lower <= true) & (true <= found.upper)
    assert 0.85 < float(inside.double().mean()) < 0.99
    assert float((found.log_fold_change - true).abs().mean()) < 0.05
    network = run.model.decoder.log_share.detach()
    assert float(((network[0] - network[1]) / math.log(2) - true).abs().mean()) > 0.1
    wrong = found.called & (true.abs() <= 0.5)
    assert int(wrong.sum()) <= 2
    assert int((found.called & ~wrong).sum()) > 0.7 * int((true.abs() > 0.5).sum())


def test_no_gene_is_called_between_halves_of_one_group():
    run, first, _, _ = simulated()
    halves = {"x": first["x"][::2]}, {"x": first["x"][1::2]}
    found = evaluate.differential_expression(run, *halves, num_draws=5, delta=0.2)
    assert not found.called.any()
    assert 0.85 < float(((found.lower <= 0) & (found.upper >= 0)).double().mean())


def test_missing_counts_and_genes_without_counts_change_nothing():
    run, first, second, _ = simulated(genes=100, cells=80)
    empty = [{"x": torch.where(torch.arange(100) == 7, 0.0, c["x"])} for c in (first, second)]
    found = evaluate.differential_expression(run, *empty, num_draws=3)
    assert found.log_fold_change.isfinite().all()
    assert not found.called[7]
    assert float(found.upper[7] - found.lower[7]) > 1.0  # Nothing is known of it.


def test_expression_is_by_the_names_of_the_field():
    run, first, _ = planted()
    found = evaluate.normalized_expression(run, first, library=10.0, num_draws=7, batch_size=6)
    share = Groups()(torch.ones(20, 1)).log_share.exp()
    close = {"rtol": 0.01, "atol": 1e-4}
    torch.testing.assert_close(found.px_scale, 10 * share, **close)
    torch.testing.assert_close(found.px_rate, 100 * share, **close)
    torch.testing.assert_close(found.px_r, torch.ones(20, 6))
    torch.testing.assert_close(found.px_dropout, torch.full((20, 6), -1.0).sigmoid())
    assert (found.lower <= found.px_scale + 1e-4).all()
    assert (found.px_scale <= found.upper + 1e-4).all()
    for wrong in ({"interval": 1.5}, {"num_draws": 1}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            evaluate.normalized_expression(run, first, **wrong)


def test_data_that_are_no_counts_are_refused_in_words():
    with pytest.raises(ArgumentError, match="counts: expected counts"):
        zoo.build("counts", Dataset({"x": torch.rand(5, 3)}).spec)


def test_groups_of_the_same_cells_differ_in_no_gene():
    data = small().train
    model, guide, _ = zoo.build("counts", data.spec)
    run = Run(model.eval(), guide.eval())
    shares = evaluate.share_draws(run, data.take(torch.arange(6)), num_draws=4)
    assert shares.shape == (4, 6, 40)
    torch.testing.assert_close(shares.sum(-1), torch.ones(4, 6), rtol=1e-4, atol=1e-4)
    group = data.take(torch.arange(30))
    found = evaluate.differential_expression(run, group, group, num_draws=5, delta=1.0)
    assert not found.called.any()
    assert found.expected_fdr == 0
    with pytest.raises(ArgumentError, match="differential_expression: expected delta >= 0"):
        evaluate.differential_expression(run, group, group, delta=-1.0)


def test_batches_are_mixed_or_apart():
    batch = torch.arange(200) % 2
    z = torch.randn(200, 3)
    assert evaluate.batch_mixing(z, batch) > 0.9
    assert evaluate.batch_mixing(z + 20 * batch[:, None], batch) < 0.01
    assert evaluate.batch_mixing(z, torch.zeros(200, dtype=torch.int64)) == 1
    assert evaluate.batch_mixing(z, 20240115 - batch) == evaluate.batch_mixing(z, batch)


def test_a_run_is_measured_by_its_labels_and_batches():
    data = small()
    run = Run(*zoo.build("counts", data.train.spec)[:2])
    found = measured(run, data)
    assert set(found) == {"label_knn", "batch_mixing"}
    held_out = data.held_out
    z = run.encode(held_out)["z"]
    labels, batch = (torch.as_tensor(held_out[name]) for name in ("y", "batch"))
    assert found["label_knn"] == evaluate.knn_probe(z, labels)
    assert found["batch_mixing"] == pytest.approx(evaluate.batch_mixing(z, batch))
    bare = held_out.take(torch.arange(20)).select("x", "batch")
    assert set(measured(run, bare)) == {"batch_mixing"}


def test_a_report_shows_counts_against_the_expected_ones():
    splits = small()
    subject = Subject(Run(*zoo.build("counts", splits.train.spec)[:2]), splits)
    names = {name for name, _, _ in draw(subject)}
    assert {"counts.png", "reconstructions.png"} <= names
