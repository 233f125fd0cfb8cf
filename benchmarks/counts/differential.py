"""Whether differences of expression between conditions are called at the rate that is stated.

Counts of four kinds of cells, two donors and a stimulus that changes some genes in one kind alone,
by factors from 1.2 to 4; the truth of a gene is log2 of the ratio of its mean shares over many
cells of either condition, not those at hand alone. In each kind, cells with the stimulus against
those without, at four expected shares of false calls; a call is right if the truth is beyond 0.5
in log2. Beside it: Welch's t on log-normalised counts with the correction of Benjamini and
Hochberg, which asks for any difference at all, alone and with means that are 0.5 apart in log2.

To show: the share of false calls beside the expected one, the share of changed genes found, the
share of the central 90 % intervals that hold the truth, and the mean error of the probability (in
ten bins) with which a gene is said to differ.

Run: python benchmarks/counts/differential.py --seeds 0 1 2 --json differential.json
"""

import argparse
import json

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.special import logsumexp
from scipy.stats import false_discovery_control, ttest_ind

import ppvae
from ppvae import evaluate
from ppvae.data import Dataset, split_rows

KINDS, CHANGED_KIND, DELTA, RATES = 4, 3, 0.5, (0.01, 0.05, 0.1, 0.2)

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cells", type=int, default=3000)
parser.add_argument("--genes", type=int, default=1000)
parser.add_argument("--changed", type=int, default=60)
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
parser.add_argument("--json", help="file of the figures")
options = parser.parse_args()


def simulated(seed):
    """Cells, and the true log2 ratio of each gene's mean shares in the kind that changes."""
    rng = np.random.default_rng(seed)
    cells, genes = options.cells, options.genes
    kind, donor = rng.integers(0, KINDS, cells), rng.integers(0, 2, cells)
    stimulated = rng.random(cells) < 0.5
    base = 1.2 * rng.standard_normal(genes)
    markers = 1.2 * rng.standard_normal((KINDS, genes)) * (rng.random((KINDS, genes)) < 0.25)
    donors = 0.4 * rng.standard_normal((2, genes))
    changed = rng.choice(genes, options.changed, replace=False)
    response = np.zeros(genes)
    sizes = np.log(rng.uniform(1.2, 4, options.changed))
    response[changed] = sizes * rng.choice([-1, 1], options.changed)
    # Cells of a kind differ along two programs of genes.
    programs = rng.standard_normal((2, genes))

    def shares(kind, donor, responding):
        activity = 0.3 * rng.standard_normal((len(donor), 2)) @ programs
        logits = base + markers[kind] + donors[donor] + activity + responding[:, None] * response
        return np.exp(logits - logsumexp(logits, axis=1, keepdims=True))

    share = shares(kind, donor, stimulated & (kind == CHANGED_KIND))
    total = np.exp(rng.normal(np.log(4 * genes), 0.35, cells))
    counts = rng.poisson(total[:, None] * share * rng.gamma(3.0, 1 / 3.0, share.shape))
    data = Dataset(
        {
            "x": csr_array(counts.astype(np.float32)),
            "batch": donor,
            "c": stimulated[:, None].astype(np.float32),
        }
    )
    many = rng.integers(0, 2, 20_000)
    means = [
        shares(np.full_like(many, CHANGED_KIND), many, np.full(len(many), on)).mean(0)
        for on in (True, False)
    ]
    return data, counts, kind, stimulated, np.log2(means[0] / means[1])


def fitted(data, seed):
    parts = split_rows(data, seed=seed)
    torch.manual_seed(seed)
    model, guide, objective = ppvae.zoo.counts(
        parts.train, latent_dim=8, likelihood="negative-binomial", warmup=150
    )
    run = ppvae.fit(
        model,
        guide,
        parts,
        objective,
        epochs=options.epochs,
        batch_size=128,
        learning_rate=6e-3,
        schedule=ppvae.fitting.cosine,
        seed=seed,
        progress=False,
    )
    elbo = float(evaluate.log_likelihood(run, parts.test, num_particles=16).elbo.mean())
    null = float(evaluate.null_log_likelihood(model, parts.train, parts.test))
    return run, elbo, null


def calls(called, really):
    return {
        "called": int(called.sum()),
        "false": int((called & ~really).sum()),
        "false_share": float((called & ~really).sum() / max(called.sum(), 1)),
        "found_share": float((called & really).sum() / really.sum()) if really.any() else None,
    }


def compared(run, data, counts, true, first, second, seed):
    """Calls at each rate, by model and t-test, and what intervals and probabilities are worth."""
    really = np.abs(true) > DELTA
    groups = [data.take(torch.tensor(np.flatnonzero(g))) for g in (first, second)]
    logged = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    p = ttest_ind(logged[first], logged[second], equal_var=False).pvalue
    adjusted = false_discovery_control(np.nan_to_num(p, nan=1.0))
    means = [
        (counts[g] / counts[g].sum(1, keepdims=True)).mean(0) + 1e-12 for g in (first, second)
    ]
    large = np.abs(np.log2(means[0] / means[1])) > DELTA
    row = {"model": {}, "t": {}, "t_and_fold": {}, "expected": {}}
    for rate in RATES:
        found = evaluate.differential_expression(run, *groups, delta=DELTA, fdr=rate, seed=seed)
        row["model"][rate] = calls(found.called.numpy(), really)
        row["expected"][rate] = found.expected_fdr
        row["t"][rate] = calls(adjusted < rate, really)
        row["t_and_fold"][rate] = calls((adjusted < rate) & large, really)
    inside = ((found.lower.numpy() <= true) & (true <= found.upper.numpy())).astype(float)
    probability = found.probability.numpy()
    bins = np.minimum((probability * 10).astype(int), 9)
    gaps = [
        (bins == b).sum() * abs(probability[bins == b].mean() - really[bins == b].mean())
        for b in np.unique(bins)
    ]
    row |= {
        "changed": int(really.sum()),
        "coverage_90": float(inside.mean()),
        "coverage_90_changed": float(inside[really].mean()) if really.any() else None,
        "error_log2": float(np.abs(found.log_fold_change.numpy() - true).mean()),
        "error_log2_counts": float(np.abs(np.log2(means[0] / means[1]) - true).mean()),
        "calibration_error": float(sum(gaps) / len(true)),
    }
    return row


results = []
for seed in options.seeds:
    data, counts, kind, stimulated, change = simulated(seed)
    run, elbo, null = fitted(data, seed)
    print(f"seed {seed}: test ELBO {elbo:.1f} nats a cell, null model {null:.1f}", flush=True)
    for k in range(KINDS):
        first, second = (kind == k) & stimulated, (kind == k) & ~stimulated
        true = change if k == CHANGED_KIND else np.zeros(options.genes)
        row = compared(run, data, counts, true, first, second, seed)
        results.append({"seed": seed, "kind": k, "elbo": elbo, "null": null} | row)
        print(f"  kind {k}, {row['changed']} genes changed")
        for name, value in row.items():
            if not isinstance(value, dict | None):
                print(f"    {name:<22} {value:.3f}")
        for rate in RATES:
            print(f"    rate {rate}, expected {row['expected'][rate]:.3f}", end="")
            for name in ("model", "t", "t_and_fold"):
                found = row[name][rate]
                print(f"; {name}: {found['called']} called, {found['false']} false", end="")
            print()
if options.json:
    with open(options.json, "w") as file:
        json.dump({"options": vars(options), "results": results}, file, indent=1)
