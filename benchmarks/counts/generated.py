r"""What 100 latents of generated cells know of the factors and of the batch, with the null model.

    python -m benchmarks.counts.generated --model ours --genes 5000 --latent 100 --seeds 0 1 2

Cells of ``ppvae.data.expression(seed=...)``, of six types and two batches, with eight factors and
zero inflation; a seed draws other cells, loadings and weights. ``ours`` is ``counts`` with the
batch as a condition, ``scvi`` is scVI with a batch key (in an environment that has scvi-tools and
anndata), and ``pca`` takes principal components of log-normalised counts.

To show, for test cells: the ELBO beside that of the null model, a share and a dispersion for each
gene (nats a cell); R2 of the factors by a linear map and by 15 neighbours, and the share of types
right by 15 neighbours, all fitted on the training cells' latents; batch mixing of all cells within
each type (1: mixed, 0: apart). ``within_types_linear`` is R2 of the linear map beyond the types'
means.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributions as dist
from scipy.sparse import csr_matrix
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ppvae
from benchmarks.counts.compare import trained
from ppvae import evaluate

NEIGHBOURS, DRAWS = 15, 16


def options_of():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("ours", "scvi", "pca"), default="ours")
    parser.add_argument("--cells", type=int, default=3000)
    parser.add_argument("--genes", type=int, default=5000)
    parser.add_argument("--latent", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--kl-epochs", type=int, help="of scVI's warm-up, 400 by default")
    parser.add_argument("--encode-batch", action="store_true", help="in scVI's encoder, too")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def ours(splits, options, seed):
    """Latents of training and test cells, test ELBO, and seconds of the processor to fit."""
    entry = ppvae.zoo.counts
    torch.manual_seed(seed)
    pair = entry(splits.train, latent_dim=options.latent)
    fit = {**entry.fit, **entry.tune(pair.model, pair.guide), "epochs": options.epochs}
    started = time.process_time()
    run = ppvae.fit(
        pair.model, pair.guide, splits, pair.objective, seed=seed, progress=False, **fit
    )
    seconds = time.process_time() - started
    elbo = evaluate.log_likelihood(run, splits.test, num_particles=DRAWS).elbo.mean()
    z = [next(iter(run.encode(part).values())) for part in (splits.train, splits.test)]
    return *(part.numpy() for part in z), float(elbo), seconds


def scvi(splits, options, seed):
    """As :func:`ours`, of scVI with its defaults and the same width, latents and epochs."""
    import anndata
    import scvi as peer

    def annotated(part):
        data = anndata.AnnData(csr_matrix(part.batch(torch.arange(part.num_rows))["x"].numpy()))
        data.obs["batch"] = np.char.add("b", np.asarray(part["batch"]).astype(str))
        return data

    peer.settings.seed = seed
    train, test = annotated(splits.train), annotated(splits.test)
    peer.model.SCVI.setup_anndata(train, batch_key="batch")
    model = peer.model.SCVI(
        train,
        n_latent=options.latent,
        n_hidden=128,
        gene_likelihood="zinb",
        encode_covariates=options.encode_batch,
    )
    seconds = trained(model, options)
    z = [model.get_latent_representation(part) for part in (train, test)]
    return *z, elbo_of(model.module.eval(), splits.test, seed), seconds


@torch.no_grad()
def elbo_of(module, test, seed):
    """Mean ELBO of scVI's decoder over the test cells, its library observed."""
    torch.manual_seed(seed)
    total = 0.0
    for rows in torch.arange(test.num_rows).split(64):
        part = test.batch(rows)
        x, batch = part["x"], part["batch"].reshape(-1, 1).long()
        q = module.inference(x, batch)["qz"]
        library = x.sum(1, keepdim=True).log()
        log_x = [
            module.generative(q.sample(), library, batch)["px"].log_prob(x).sum(-1)
            for _ in range(DRAWS)
        ]
        prior = dist.Normal(torch.zeros_like(q.loc), 1.0)
        elbo = torch.stack(log_x).mean(0) - dist.kl_divergence(q, prior).sum(-1)
        total += float(elbo.double().sum())
    return total / test.num_rows


def components(splits, options, seed):
    """As :func:`ours`, of principal components of log-normalised counts; they have no ELBO."""
    started = time.process_time()
    logged = []
    for part in (splits.train, splits.test):
        x = part.batch(torch.arange(part.num_rows))["x"].numpy()
        logged.append(np.log1p(x / x.sum(1, keepdims=True) * 1e4))
    pca = PCA(options.latent, random_state=seed).fit(logged[0])
    train, test = (pca.transform(part) for part in logged)
    return train, test, None, time.process_time() - started


def known(train, test, splits):
    """What latents of training and test cells know of factors, types and batches."""
    u, u_test = (np.asarray(part["factor"]) for part in (splits.train, splits.test))
    y, y_test = (np.asarray(part["y"]) for part in (splits.train, splits.test))
    batch = np.concatenate([np.asarray(part["batch"]) for part in (splits.train, splits.test)])
    linear = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13))).fit(train, u)
    near = KNeighborsRegressor(NEIGHBOURS).fit(train, u)
    types = KNeighborsClassifier(NEIGHBOURS).fit(train, y)
    z, kind = np.concatenate([train, test]), np.concatenate([y, y_test])
    mixing = [
        evaluate.batch_mixing(torch.as_tensor(z[kind == k]), torch.as_tensor(batch[kind == k]))
        for k in np.unique(kind)
    ]
    centers = np.stack([u[y == k].mean(0) for k in np.unique(y)])
    wrong, spread = (linear.predict(test) - u_test) ** 2, (u_test - centers[y_test]) ** 2
    return {
        "factors_linear": float(linear.score(test, u_test)),
        "factors_neighbours": float(near.score(test, u_test)),
        "within_types_linear": 1 - float(wrong.sum() / spread.sum()),
        "types": float(types.score(test, y_test)),
        "mixing": float(np.mean(mixing)),
    }


def main():
    options = options_of()
    torch.set_num_threads(1)
    results = []
    for seed in options.seeds:
        splits = ppvae.data.expression(num_cells=options.cells, num_genes=options.genes, seed=seed)
        method = {"ours": ours, "scvi": scvi, "pca": components}[options.model]
        train, test, elbo, seconds = method(splits, options, seed)
        row = {"seed": seed, "elbo": elbo, "seconds_per_epoch": seconds / options.epochs}
        if options.model == "ours":
            model = ppvae.zoo.counts(splits.train, latent_dim=options.latent).model
            row["null"] = float(evaluate.null_log_likelihood(model, splits.train, splits.test))
        row |= known(np.asarray(train), np.asarray(test), splits)
        row["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        results.append(row)
        print(json.dumps(row), flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
