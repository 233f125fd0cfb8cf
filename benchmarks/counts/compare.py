r"""ppvae and scVI on the same cells, genes, widths and epochs, scored by one and the same code.

    python -m benchmarks.counts.compare --counts FILE.csv --model ours --seed 0 --json FILE

in an environment that has ppvae, scvi-tools and anndata; FILE.csv has a row for each cell and a
column for each gene, such as celltypist's data/samples/sample_cell_by_gene.csv. Without --counts,
cells are generated (ppvae.data.expression).

Every model is an encoder, :math:`q(z \mid x)`, and a decoder, :math:`p(x \mid z)` given the cell's
total. The held-out ELBO and the importance-weighted log-likelihood are

.. math::
    E_q[\log p(x \mid z)] - KL, \qquad
    \log \frac1S \sum_s \frac{p(x \mid z_s) \, p(z_s)}{q(z_s \mid x)}, \quad z_s \sim q

with Pareto's k of the weights: where it is above 0.7, the second is no more than a lower bound.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributions as dist

import ppvae
from ppvae.evaluate import pareto_k


def options_of():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=Path, help="table of cells x genes")
    parser.add_argument("--model", choices=("ours", "scvi", "null"), default="ours")
    parser.add_argument("--likelihood", default="zero-inflated")
    parser.add_argument("--latent", type=int, default=10)
    parser.add_argument("--genes", type=int, default=5000, help="most variable genes")
    parser.add_argument("--test", type=int, default=112, help="number of test cells")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--kl-epochs", type=int, default=None, help="of scVI's warm-up")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="options of ours: NAME=VALUE")
    parser.add_argument("--rate", type=float, default=None, help="learning rate of ours")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def cells(options):
    """Counts of training and test cells, of the genes of most variance after normalisation."""
    if options.counts is None:
        data = ppvae.data.expression(num_genes=options.genes)
        return [
            part.batch(torch.arange(part.num_rows))["x"].numpy()
            for part in (data.train, data.test)
        ]
    import pandas as pd

    counts = pd.read_csv(options.counts, index_col=0).to_numpy(dtype=np.float32)
    order = np.random.default_rng(0).permutation(len(counts))
    train, test = counts[order[options.test :]], counts[order[: options.test]]
    logs = np.log1p(1e4 * train / train.sum(1, keepdims=True))
    genes = np.sort(logs.var(0).argsort()[::-1][: options.genes])
    return [train[:, genes], test[:, genes]]


def ours(train, options):
    """Seconds of the processor to fit, and encoder and decoder."""
    chosen = dict(pair.split("=", 1) for pair in options.set)
    entry = ppvae.zoo.counts
    splits = ppvae.data.Splits(ppvae.data.Dataset({"x": train}))
    spec, values, _ = resolved(entry, splits, options, chosen)
    torch.manual_seed(options.seed)
    pair = entry.build(spec, values)
    fit = {**entry.fit, **entry.tune(pair.model, pair.guide), "epochs": options.epochs}
    if options.rate is not None:
        fit["learning_rate"] = options.rate
    started = time.process_time()
    ppvae.fit(
        pair.model,
        pair.guide,
        splits.train,
        objective=pair.objective,
        seed=options.seed,
        progress=False,
        **fit,
    )
    seconds = time.process_time() - started
    model, encoder = pair.model.eval(), pair.guide.encoder.eval()

    def posterior(x):
        base = encoder(x).base_dist
        return base.loc, base.scale

    def likelihood(x, z):
        return model.decoder(z).log_prob(x)

    return seconds, posterior, likelihood


def resolved(entry, splits, options, chosen):
    """The data's spec with where the networks start, and the entry's options."""
    from ppvae.zoo.observed import resolved as resolve
    from ppvae.zoo.options import parse_options

    given = {"latent_dim": options.latent, "likelihood": options.likelihood}
    given |= {name: json.loads(value) for name, value in chosen.items()}
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    return resolve(splits, parse_options(entry.options, given))


def trained(model, options):
    """Train an scVI model on all of its cells; seconds of the processor."""
    plan = {} if options.kl_epochs is None else {"n_epochs_kl_warmup": options.kl_epochs}
    started = time.process_time()
    model.train(
        max_epochs=options.epochs,
        train_size=1.0,
        accelerator="cpu",
        enable_progress_bar=False,
        plan_kwargs=plan,
        datasplitter_kwargs={"drop_last": False},
    )
    return time.process_time() - started


def scvi(train, options):
    """Seconds of the processor to fit, and encoder and decoder."""
    import anndata
    import scvi as peer

    peer.settings.seed = options.seed
    data = anndata.AnnData(train)
    peer.model.SCVI.setup_anndata(data)
    kind = {"zero-inflated": "zinb", "negative-binomial": "nb"}[options.likelihood]
    model = peer.model.SCVI(data, n_latent=options.latent, n_hidden=128, gene_likelihood=kind)
    seconds = trained(model, options)
    module = model.module.eval()

    def posterior(x):
        q = module.inference(x, torch.zeros(len(x), 1))["qz"]
        return q.loc, q.scale

    def likelihood(x, z):
        batch = torch.zeros(len(x), 1)
        library = x.sum(1, keepdim=True).log().expand(*z.shape[:-1], 1)
        parts = [
            module.generative(part, own, batch)["px"] for part, own in zip(z, library, strict=True)
        ]
        return torch.stack([part.log_prob(x).sum(-1) for part in parts])

    return seconds, posterior, likelihood


@torch.no_grad()
def scores(test, posterior, likelihood, draws):
    """ELBO and importance-weighted log-likelihood of each test cell, and Pareto's k."""
    torch.manual_seed(0)
    elbos, weighted, ks = [], [], []
    for x in torch.as_tensor(test).split(16):
        loc, scale = posterior(x)
        q, prior = dist.Normal(loc, scale), dist.Normal(torch.zeros_like(loc), 1.0)
        parts = []
        for _ in range(0, draws, 50):
            z = q.sample((50,))
            log_x = torch.stack([likelihood(x, one[None])[0] for one in z])
            parts.append((log_x, prior.log_prob(z).sum(-1) - q.log_prob(z).sum(-1)))
        log_x, ratio = (torch.cat(part).double() for part in zip(*parts, strict=True))
        elbos.append(log_x.mean(0) - dist.kl_divergence(q, prior).sum(-1).double())
        log_weights = log_x + ratio
        weighted.append(log_weights.logsumexp(0) - math.log(len(log_weights)))
        ks.append(torch.as_tensor(pareto_k(log_weights)))
    return torch.cat(elbos), torch.cat(weighted), torch.cat(ks)


def null(train, test, likelihood):
    """The log-likelihood of each test cell by library x share, without any latent."""
    from ppvae.nets import heads

    kind = heads.ZeroInflatedNegativeBinomial
    if likelihood == "negative-binomial":
        kind = heads.NegativeBinomial
    head = kind((train.shape[1],), library=(0.0, 1.0))
    return head.marginal(torch.as_tensor(train)).log_prob(torch.as_tensor(test)).double()


def main():
    options = options_of()
    torch.set_num_threads(1)
    train, test = cells(options)
    result = {"options": {name: str(value) for name, value in vars(options).items()}}
    if options.model == "null":
        elbo = null(train, test, options.likelihood)
    else:
        seconds, *functions = {"ours": ours, "scvi": scvi}[options.model](train, options)
        elbo, weighted, ks = scores(test, *functions, options.draws)
        result |= {
            "seconds_per_epoch": seconds / options.epochs,
            "weighted": float(weighted.mean()),
            "weighted_se": float(weighted.std() / len(weighted) ** 0.5),
            "k_median": float(ks.median()),
            "k_trusted": float((ks < 0.7).double().mean()),
        }
    result |= {
        "elbo": float(elbo.mean()),
        "elbo_se": float(elbo.std() / len(elbo) ** 0.5),
        "shape": [list(train.shape), list(test.shape)],
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result | {"elbos": elbo.tolist()}, indent=1))


if __name__ == "__main__":
    main()
