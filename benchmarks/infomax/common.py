"""Data, fits, measurements and tables of the benchmarks of mutual information."""

import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

import ppvae
from ppvae.data import cells, digits
from ppvae.evaluate import kept_neighbours, neighbours
from ppvae.objectives import ELBO, information_of
from ppvae.programs import encode, posterior
from ppvae.zoo import build, entry

FACTORS = (
    "cell_size",
    "cell_place",
    "elongation",
    "orientation",
    "irregularity",
    "nucleus_size",
    "nucleus_place",
    "intensity",
    "texture",
    "background",
)
NEIGHBOURS = 15


def data_named(name, *, rows=None, size=32):
    return digits() if name == "digits" else cells(rows or 1500, size=size)


def fit(name, splits, *, seed, epochs, batch_size=128, learning_rate=1e-3, **options):
    """A run of an entry, and the seconds it took; all entries learn at the same rate."""
    torch.manual_seed(seed)
    model, guide, objective = build(name, splits.train.spec, **options)
    started = time.perf_counter()
    run = ppvae.fit(
        model,
        guide,
        splits._replace(validation=None),
        objective,
        **{
            **entry(name).fit,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
        },
        seed=seed,
        progress=False,
    )
    return run, time.perf_counter() - started


def drawn(run, batch, site):
    """One draw per datum, which the information is about; the mean would leave out the noise."""
    with torch.no_grad():
        return posterior(run.guide, batch)[site].sample()


def measured(run, splits, *, site="z", steps=1000, seed=0):
    """Measurements of a run on the test data, by site, in nats per datum unless stated."""
    train, test = (part.batch(slice(None)) for part in (splits.train, splits.test))
    torch.manual_seed(1000 + seed)
    with torch.no_grad():
        terms = ELBO()(run.model, run.guide)(test)
    codes = {name: encode(run.guide, part)[site] for name, part in (("a", train), ("b", test))}
    observed = "x" + site[1:]
    found = {
        "mutual information": information_of(run.guide, train, test, site=site, steps=steps),
        "active units": int((codes["b"].var(0) > 0.01).sum()),
        "log-likelihood": float(terms.log_likelihood[observed].mean()),
        "KL": float(terms.kl[site].mean()),
        **preservation(test["x"], codes["b"]),
        "KL, lowest tenth": float(terms.kl[site].quantile(0.1)),
        "KL, highest tenth": float(terms.kl[site].quantile(0.9)),
        "class accuracy": accuracy(codes["a"], train["y"], codes["b"], test["y"]),
    }
    found["ELBO"] = found["log-likelihood"] - found["KL"]
    if "cell_size" in splits.train:
        draws = [drawn(run, part, site) for part in (train, test)]
        found["factor information"] = factor_information(draws[0], train, draws[1], test)
    return found


def preservation(x, codes):
    """How neighbourhoods of the pixels are kept: by k, and at the centre and border of the codes.

    The border is the half of the data whose codes are farthest from the mean code, in standard
    deviations of each dimension.
    """
    ks = [k for k in (5, 10, 20) if k < len(x) / 2]
    found = neighbours(x, codes, ks=ks)
    scores = {f"trustworthiness, k = {k}": found.trustworthiness[k] for k in ks}
    scores |= {f"continuity, k = {k}": found.continuity[k] for k in ks}
    scores |= {f"neighbours kept, k = {k}": found.overlap[k] for k in ks}
    scaled = (codes - codes.mean(0)) / codes.std(0).clamp_min(1e-6)
    away = scaled.square().sum(1)
    kept, border = kept_neighbours(x, codes), away > away.median()
    scores["neighbours kept at the centre"] = float(kept[~border].mean())
    scores["neighbours kept at the border"] = float(kept[border].mean())
    return scores


def accuracy(train, y, test, y_test):
    near = KNeighborsClassifier(NEIGHBOURS).fit(train.numpy(), y.numpy())
    return float(near.score(test.numpy(), y_test.numpy()))


def factor_information(codes, columns, test_codes, test_columns):
    """The sum over factors of -log(1 - R^2) / 2, R^2 on the test data by nearest neighbours.

    A lower bound of the sum of I(z; factor) where factors and errors are normal; unlike an
    estimate of I(x; z) it is about what the pictures were drawn from.
    """
    known, told = (
        torch.cat([factor(part, name) for name in FACTORS], 1).numpy()
        for part in (columns, test_columns)
    )
    near = KNeighborsRegressor(NEIGHBOURS).fit(codes.numpy(), known)
    error = ((near.predict(test_codes.numpy()) - told) ** 2).mean(0)
    ratio = np.minimum(1.0, error / told.var(0))
    return float(-0.5 * np.log(ratio).sum())


def factor(columns, name):
    """With shape (N, F); of the orientation, a half turn is none."""
    value = columns[name].reshape(len(columns["x"]), -1)
    return torch.cat([(2 * value).cos(), (2 * value).sin()], 1) if name == "orientation" else value


def mean_and_error(values):
    values = np.asarray(values, dtype=float)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), float(error)


def table(rows):
    """Name to list of results, as Markdown: mean and standard error over seeds."""
    keys = list(next(iter(rows.values()))[0])
    lines = ["| | " + " | ".join(rows) + " |", "|---" * (len(rows) + 1) + "|"]
    for key in keys:
        shown = []
        for results in rows.values():
            mean, error = mean_and_error([r[key] for r in results])
            form = ".1f" if abs(mean) >= 100 else ".3g"
            shown.append(f"{mean:{form}} ± {error:.2g}")
        lines.append(f"| {key} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def verdict(better, worse, key):
    """Of the paired differences over seeds: beyond two standard errors, or not."""
    mean, error = mean_and_error([a[key] - b[key] for a, b in zip(better, worse, strict=True)])
    if math.isnan(error):
        return f"{key}: one seed says nothing ({mean:+.3g})"
    word = "no difference"
    if abs(mean) > 2 * error:
        word = "higher" if mean > 0 else "lower"
    return f"{key}: {word} ({mean:+.3g} ± {error:.2g})"


def read(path):
    """Results from :func:`write`, or None."""
    if path is None or not Path(path).exists():
        return None
    return json.loads(Path(path).read_text("utf-8"))["results"]


def write(path, options, results):
    if path is not None:
        text = json.dumps({"options": options, "results": results}, indent=2)
        Path(path).write_text(text + "\n", encoding="utf-8")
