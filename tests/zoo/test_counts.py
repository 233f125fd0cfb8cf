"""``counts``: generated expression, batches, differential expression."""

from __future__ import annotations

import pytest
import torch

from ppvae import evaluate, zoo
from ppvae.data import Dataset, expression
from ppvae.errors import ArgumentError, DataError
from ppvae.objectives import ELBO
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
    with pytest.raises(DataError, match="expression: expected numbers of at least 1"):
        expression(num_cells=0)


@pytest.mark.parametrize("library", ["observed", "latent"])
@pytest.mark.parametrize("dispersion", ["gene", "batch"])
def test_a_pair_is_built_for_each_option(library, dispersion):
    data = small().train
    model, guide, _ = zoo.build("counts", data.spec, library=library, dispersion=dispersion)
    terms = ELBO()(model, guide)(data.batch(slice(20), dtype=torch.get_default_dtype()))
    assert terms.elbo.isfinite().all()
    assert set(terms.kl) == ({"z", "l"} if library == "latent" else {"z"})


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
