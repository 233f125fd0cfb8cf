"""Later visits of subjects given their first ones: an additive GP prior beside simple guesses.

Patients as digits (ppvae.data.visits): 100 subjects with 20 visits, 40 more with their first 5; a
quarter of the pixels is missing. Scored on the later visits of 20 test subjects, at the pixels
that are not missing: mean squared error, log density, coverage of 90 % intervals (over pixels that
vary). Guesses: the subject's last visit, each pixel as it was last seen; the mean of training
images of the same age, sex and disease.

Run: python benchmarks/gp/longitudinal.py --seeds 0 --epochs 40 --out longitudinal.json
"""

import argparse
import math
from pathlib import Path

import torch
from common import Clock, seeds, write

import ppvae
from ppvae.data import visits
from ppvae.evaluate.predict import predict, predictive_log_likelihood
from ppvae.fitting import grouped_adam, warmup_cosine
from ppvae.gp.additive import AdditivePrior, LeaveVisitsOut, share_table
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, Calibrated, ConvDecoder, MaskedEncoder, heads, masked_shape
from ppvae.objectives import ELBO

KERNEL = (
    "cat(id) + rbf(age) + rbf(age)*cat(id) + rbf(age)*cat(sex) + rbf(disease_age)*obs(disease_age)"
)
SHAPE = (1, 36, 36)
LATENTS = 16


def tensors(data):
    return {name: torch.as_tensor(data[name]) for name in data}


def error(guess, x):
    """Mean squared error over the pixels that were seen."""
    return float((guess - x).square().nanmean())


def last_visit(train, test):
    """Each pixel of the subject as it was last seen in training."""
    order = torch.argsort(train["age"])
    guesses = []
    for subject in test["id"].tolist():
        image = torch.zeros(SHAPE)
        for row in order[train["id"][order] == subject]:
            image = torch.where(train["x"][row].isnan(), image, train["x"][row])
        guesses.append(image)
    return torch.stack(guesses)


def group_mean(train, test):
    """The mean of training images of the same age, sex and disease."""
    guesses = []
    for age, sex, disease in zip(test["age"], test["sex"], test["disease"], strict=True):
        same = (train["age"] == age) & (train["sex"] == sex) & (train["disease"] == disease)
        guesses.append(train["x"][same].nanmean(0))
    return torch.stack(guesses)


def build():
    prior = AdditivePrior(KERNEL, latent_dim=LATENTS, order="age")
    head = heads.Masked(heads.Normal(SHAPE, heads.Shared(math.exp(-1.5))))
    decoder = ConvDecoder(
        LATENTS, head, channels=(32, 16), last_channels=8, hidden=64, upsample="shuffle"
    )
    code = heads.DiagonalNormal(LATENTS, init=math.exp(-1.0))
    shape = masked_shape(SHAPE)
    encoder = MLP(math.prod(shape), code, hidden=(128,), in_shape=shape)
    return VAE(Calibrated(decoder), prior=prior), AmortizedGuide(
        MaskedEncoder(encoder, event_dim=3)
    )


def run(seed, epochs):
    splits = visits(seed=seed)
    train, test = tensors(splits.train), tensors(splits.test)
    torch.manual_seed(seed)
    model, guide = build()
    with Clock() as clock:
        ppvae.fit(
            model,
            guide,
            splits.train,
            ELBO() + LeaveVisitsOut(),
            epochs=epochs,
            batch_size=128,
            learning_rate=4e-3,
            optimizer=grouped_adam(
                (model.prior.parameters(), 2.5),
                (model.decoder.decoder.head.parameters(), 2.0),
                betas=(0.9, 0.99),
            ),
            schedule=warmup_cosine(0.1, floor=0.01),
            seed=seed,
            device="cpu",
            compile=False,
            progress=False,
        )
    given = {name: test[name] for name in ("x", *model.prior.columns)}
    found = predict(model, given)
    complete = tensors(visits(seed=seed, missing=0.0).train)["x"]
    counted = (complete.var(0) > 1e-4) & ~test["x"].isnan()
    inside = (test["x"] >= found.lower) & (test["x"] <= found.upper)
    scores = {
        "mse": error(found.mean, test["x"]),
        "mse_group_mean": error(group_mean(train, test), test["x"]),
        "mse_last_visit": error(last_visit(train, test), test["x"]),
        "coverage_90": float(inside[counted].double().mean()),
        "log_density": float(predictive_log_likelihood(model, given).mean()),
        "cpu_seconds": clock.cpu,
        "wall_seconds": clock.wall,
        "shares": share_table(model.prior, latents=False),
    }
    scores["ratio_to_group_mean"] = scores["mse"] / scores["mse_group_mean"]
    return scores


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", default="0", help="0, 0,3 or 0..4")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = {}
    for seed in seeds(options.seeds):
        results[str(seed)] = scores = run(seed, options.epochs)
        for name, value in scores.items():
            print(value if name == "shares" else f"{name:<20} {value:.4f}", flush=True)
    if options.out is not None:
        write(options.out, {"epochs": options.epochs, "seeds": results})
