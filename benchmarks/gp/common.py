"""Networks, training, latents and scores of the benchmarks of the GP prior."""

import json
import math
import platform
import time

import torch

import ppvae
from ppvae.evaluate.predict import predict, predictive_log_likelihood
from ppvae.fitting import grouped_adam, warmup_cosine
from ppvae.zoo import entry, parse_options

TURN = 2 * math.pi
ENTRY = entry("gpvae")


def build(data, **options):
    """Model, guide and objective of the zoo's entry ``gpvae``."""
    return ENTRY.build(data.spec, parse_options(ENTRY.options, options))


def train(model, guide, splits, objective=None, *, epochs, seed, fast=(), **options):
    """``ppvae.fit`` with the zoo entry's settings; ``fast`` parameters learn 2.5 times faster."""
    schedule = warmup_cosine(0.1, floor=0.01)
    adam = grouped_adam((list(fast), 2.5), betas=(0.9, 0.99))
    defaults = {
        **ENTRY.fit,
        "optimizer": adam,
        "schedule": schedule,
        "epochs": epochs,
        "validate_every": epochs,
    }
    return ppvae.fit(
        model,
        guide,
        splits.train,
        objective,
        seed=seed,
        device="cpu",
        progress=False,
        compile=False,
        **{**defaults, **options},
    )


def columns(data):
    """x, object and view as tensors."""
    return tuple(torch.as_tensor(data[name]) for name in ("x", "object", "view"))


@torch.no_grad()
def encode(encoder, *inputs, rows=512):
    """Posterior means of a whole dataset."""
    parts = zip(*(value.split(rows) for value in inputs), strict=True)
    return torch.cat([encoder(*part).mean for part in parts])


@torch.no_grad()
def decode(decoder, *inputs, rows=512):
    """Means and standard deviations of x."""
    parts = zip(*(value.split(rows) for value in inputs), strict=True)
    made = [decoder(*part) for part in parts]
    return torch.cat([fn.mean for fn in made]), torch.cat([fn.stddev for fn in made])


def image_errors(predicted, x):
    """Mean squared error of each image."""
    return (predicted - x).square().flatten(1).mean(1)


def calibration(model, splits):
    """Calibration of the predictive distribution at the unseen angle, including latent draws.

    Coverage over the pixels that vary in training; log densities in nats an image, that of a
    normal with one scale for all pixels, fitted to the validation data's errors, beside it.
    """
    x, objects, views = columns(splits.test)
    varies = (columns(splits.train)[0].var(0) > 1e-4).expand_as(x)
    given = {"x": x, "object": objects, "view": views}
    found = predict(model, given)
    inside = (x >= found.lower) & (x <= found.upper)
    names = ("x", "object", "view")
    spare = dict(zip(names, columns(splits.validation), strict=True))
    scale = (predict(model, spare, num_draws=20).mean - spare["x"]).square().mean().sqrt()
    one_scale = torch.distributions.Normal(found.mean, scale).log_prob(x).flatten(1).sum(1)
    return {
        "coverage_90": float(inside[varies].double().mean()),
        "log_density": float(predictive_log_likelihood(model, given).mean()),
        "log_density_one_scale": float(one_scale.mean()),
    }


def mean_and_error(values):
    """Mean over seeds, and its standard error."""
    values = torch.tensor(values, dtype=torch.float64)
    if len(values) == 1:
        return float(values), math.nan
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


class Clock:
    def __enter__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error):
        self.wall = time.perf_counter() - self.wall
        self.cpu = time.process_time() - self.cpu


def seeds(text):
    """``0..4`` or ``0,3`` or ``2``."""
    if ".." in text:
        first, last = text.split("..")
        return list(range(int(first), int(last) + 1))
    return [int(part) for part in text.split(",")]


def write(path, results):
    """Results with versions, as JSON."""
    versions = {
        "ppvae": ppvae.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    results = {"versions": versions, "threads": torch.get_num_threads(), **results}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
