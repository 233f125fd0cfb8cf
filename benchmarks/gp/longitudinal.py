"""Later visits of subjects given their first ones: an additive GP prior against other predictions.

Patients as digits (ppvae.data.visits): 100 subjects with 20 visits, 40 more with their first 5; a
quarter of the pixels is missing. Scored on the later visits of 20 test subjects, at the pixels
that are not missing: mean squared error, log density, coverage of 90 % intervals (over pixels that
vary). Guesses: the subject's last visit, each pixel as it was last seen; the mean of training
images of the same age, sex and disease. Other models, with the same networks (--method):

- cvae: told the covariates in encoder and decoder; a subject is the mean of its codes;
- livae: a plain VAE; a subject's codes are extrapolated by a line over its visits.

Run: python benchmarks/gp/longitudinal.py --seeds 0..4 --epochs 20 --out longitudinal.json
"""

import argparse
import math
from pathlib import Path

import torch
from common import Clock, seeds, write

import ppvae
from ppvae.data import visits
from ppvae.evaluate.predict import predict
from ppvae.fitting import grouped_adam, warmup_cosine
from ppvae.gp.additive import AdditivePrior, LeaveVisitsOut, share_table
from ppvae.guides import AmortizedGuide, ConditionalGuide
from ppvae.models import VAE, ConditionalVAE
from ppvae.nets import (
    MLP,
    Calibrated,
    Conditions,
    ConvDecoder,
    MaskedEncoder,
    heads,
    masked_shape,
)
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
    """The last observed value of each pixel of the subject in the training data."""
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


def networks(conditions=0):
    """Encoder and decoder with ``conditions`` covariates as further inputs."""
    told = [conditions] * (conditions > 0)
    head = heads.Masked(heads.Normal(SHAPE, heads.Shared(math.exp(-1.5))))
    decoder = ConvDecoder(
        [LATENTS, *told], head, channels=(32, 16), last_channels=8, hidden=64, upsample="shuffle"
    )
    code = heads.DiagonalNormal(LATENTS, init=math.exp(-1.0))
    shape = masked_shape(SHAPE)
    encoder = MLP([math.prod(shape), *told], code, hidden=(128,), in_shape=shape)
    return MaskedEncoder(encoder, event_dim=3), decoder


def fitted(model, guide, data, objective, *, epochs, seed, fast):
    ppvae.fit(
        model,
        guide,
        data,
        objective,
        epochs=epochs,
        batch_size=128,
        learning_rate=4e-3,
        optimizer=grouped_adam(*fast, betas=(0.9, 0.99)),
        schedule=warmup_cosine(0.1, floor=0.01),
        seed=seed,
        device="cpu",
        compile=False,
        progress=False,
    )


def additive(splits, *, epochs, seed):
    """The model with an additive prior."""
    encoder, decoder = networks()
    prior = AdditivePrior(KERNEL, latent_dim=LATENTS, order="age")
    model = VAE(Calibrated(decoder), prior=prior)
    fast = ((prior.parameters(), 2.5), (decoder.head.parameters(), 2.0))
    objective = ELBO() + LeaveVisitsOut()
    fitted(
        model,
        AmortizedGuide(encoder),
        splits.train,
        objective,
        epochs=epochs,
        seed=seed,
        fast=fast,
    )
    return model


def covariates(data):
    """Age, sex, disease and the disease's age as numbers near one, with shape (N, 4)."""
    age = data["disease_age"].nan_to_num(nan=0.0)
    return torch.stack([data["age"] / 10 - 1, data["sex"], data["disease"], age / 10], 1).float()


@torch.no_grad()
def codes(encoder, data, *told):
    return torch.cat(
        [
            encoder(*part).mean
            for part in zip(*(v.split(512) for v in (data["x"], *told)), strict=True)
        ]
    )


def cvae(train, test, *, epochs, seed):
    """Later visits by a conditional VAE, a subject being the mean of its codes."""
    c, later = covariates(train), covariates(test)
    encoder, decoder = networks(c.size(1))
    conditions = Conditions(factor_dim=c.size(1))
    model = ConditionalVAE(decoder, conditions, latent_dim=LATENTS)
    guide = ConditionalGuide(encoder, conditions)
    data = ppvae.Dataset({"x": train["x"], "c": c}, missing_ok=("x",))
    fast = ((decoder.head.parameters(), 2.0),)
    fitted(model, guide, data, ELBO(), epochs=epochs, seed=seed, fast=fast)
    z = codes(encoder, train, c)
    mean = torch.stack([z[train["id"] == subject].mean(0) for subject in test["id"]])
    return decoder(mean, later).mean.detach()


def livae(train, test, *, epochs, seed):
    """Later visits by a plain VAE, codes extrapolated by a line over a subject's visits."""
    encoder, decoder = networks()
    model, guide = VAE(decoder, latent_dim=LATENTS), AmortizedGuide(encoder)
    data = ppvae.Dataset({"x": train["x"]}, missing_ok=("x",))
    fast = ((decoder.head.parameters(), 2.0),)
    fitted(model, guide, data, ELBO(), epochs=epochs, seed=seed, fast=fast)
    z = codes(encoder, train)
    ahead = []
    for subject, age in zip(test["id"], test["age"], strict=True):
        mine = train["id"] == subject
        design = torch.stack([torch.ones(int(mine.sum())), train["age"][mine]], 1)
        line = torch.linalg.lstsq(design, z[mine]).solution
        ahead.append(line[0] + age * line[1])
    return decoder(torch.stack(ahead)).mean.detach()


def run(seed, epochs, method):
    splits = visits(seed=seed)
    train, test = tensors(splits.train), tensors(splits.test)
    torch.manual_seed(seed)
    scores = {
        "mse_group_mean": error(group_mean(train, test), test["x"]),
        "mse_last_visit": error(last_visit(train, test), test["x"]),
    }
    with Clock() as clock:
        if method == "additive":
            model = additive(splits, epochs=epochs, seed=seed)
        else:
            guess = {"cvae": cvae, "livae": livae}[method](train, test, epochs=epochs, seed=seed)
    scores |= {"cpu_seconds": clock.cpu, "wall_seconds": clock.wall}
    if method == "additive":
        found = predict(model, {name: test[name] for name in ("x", *model.prior.columns)})
        guess = found.mean
        complete = tensors(visits(seed=seed, missing=0.0).train)["x"]
        counted = (complete.var(0) > 1e-4) & ~test["x"].isnan()
        inside = (test["x"] >= found.lower) & (test["x"] <= found.upper)
        scores["coverage_90"] = float(inside[counted].double().mean())
        scores["log_density"] = float(found.log_density.mean())
        scores["shares"] = share_table(model.prior, latents=False)
    scores["mse"] = error(guess, test["x"])
    scores["ratio_to_group_mean"] = scores["mse"] / scores["mse_group_mean"]
    return scores


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", default="0", help="0, 0,3 or 0..4")
    parser.add_argument("--method", default="additive", choices=("additive", "cvae", "livae"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = {}
    for seed in seeds(options.seeds):
        results[str(seed)] = scores = run(seed, options.epochs, options.method)
        for name, value in scores.items():
            print(value if name == "shares" else f"{name:<20} {value:.4f}", flush=True)
    if options.out is not None:
        settings = {"epochs": options.epochs, "method": options.method}
        write(options.out, {**settings, "seeds": results})
