"""Missing frames of videos of turning digits that were not in training.

The protocol of missing frames of NNGPVAE-official (Shi, Jiang and Alvarez, 2025) at the size of
its generator's defaults: 300 digits for training and 100 others for the test, as many of each
class; 100 frames, in which the digit turns twice, counter-clockwise at constant speed; pixels
above .5 are 1, the others 0; each frame but the first and last is missing with probability .6.
Models are trained on the frames that are left of the training videos; given those of a test video,
they predict its missing ones. The digits are the embedded ones; a seed draws digits, frames and
weights.

Scores of the missing frames: mean squared error of the probability of a pixel, and of the rounded
one; log density in nats a frame; coverage of 90 % intervals of the number of pixels that are on
(GP models, from draws); mean distance of a pixel's probability from the frequency, in ten bins.
Methods:

- time: kernel rbf(time) x video, learned from 10 frames on, as the peers' kernel (5 frames, fixed)
- angle: video + periodic(time) + periodic(time) x video, told that a turn takes 49.5 frames
- cvae: told the angle; a video is the mean of its frames' codes
- livae: a VAE; codes interpolated in time between the neighbouring frames
- simple: training mean; mean of the class at the same time; nearest frame in time and in angle;
  frames interpolated in time and in angle

    python benchmarks/gp/missing_frames.py --method angle --seeds 0 --epochs 12 --out angle.json
    python benchmarks/gp/missing_frames.py --seeds 0 --write FOLDER     # videos0.npz, for peers
    python benchmarks/gp/missing_frames.py --seeds 0 --score found.npz  # probabilities (N, 28, 28)
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from common import TURN, Clock, decode, encode, seeds, write
from scipy import ndimage

import ppvae
from ppvae.data import Dataset, digits
from ppvae.evaluate.predict import predict
from ppvae.fitting import grouped_adam, warmup_cosine
from ppvae.gp import interpolate_latents
from ppvae.gp.additive import (
    RBF,
    Additive,
    AdditivePrior,
    Categorical,
    LeaveVisitsOut,
    given_visits,
    parse,
)
from ppvae.guides import AmortizedGuide, ConditionalGuide
from ppvae.models import VAE, ConditionalVAE
from ppvae.nets import MLP, Conditions, ConvDecoder, heads
from ppvae.objectives import ELBO

FRAMES, TURNS, MISSING, LATENTS = 100, 2, 0.6, 16
PERIOD = (FRAMES - 1) / TURNS
SHAPE = (1, 28, 28)
DRAWS, ROWS = 40, 250


def videos(seed, train=300, test=100):
    """Frames of the training videos and of the test videos that are left; missing ones of the test
    videos, which are asked for, and of the training videos, which no model sees."""
    random = np.random.default_rng(seed)
    source = digits().train
    labels, images = torch.as_tensor(source["y"]).numpy(), torch.as_tensor(source["x"]).numpy()
    chosen = np.stack(
        [
            random.permutation(np.flatnonzero(labels == c))[: (train + test) // 10]
            for c in range(10)
        ]
    )
    first = train // 10
    order = np.concatenate([chosen[:, :first].flatten(), chosen[:, first:].flatten()])
    still = images[order, 0].astype(np.float32) / 255
    degrees = np.linspace(0, 360 * TURNS, FRAMES)
    turned = [ndimage.rotate(still, angle, axes=(2, 1), reshape=False) for angle in degrees]
    x = (np.stack(turned, 1) > 0.5).astype(np.float32)
    seen = random.random((len(order), FRAMES)) >= MISSING
    seen[:, [0, -1]] = True
    video, time = np.meshgrid(np.arange(len(order)), np.arange(FRAMES), indexing="ij")
    columns = {
        "x": x.reshape(-1, *SHAPE),
        "id": video.flatten(),
        "time": time.flatten().astype(np.float32),
        "y": labels[order][video].flatten(),
    }
    seen, new = seen.flatten(), video.flatten() >= train
    parts = (seen & ~new, seen & new, ~seen & new, ~seen & ~new)
    return tuple({k: torch.as_tensor(v[rows]) for k, v in columns.items()} for rows in parts)


def networks(conditions=0):
    told = [conditions] * (conditions > 0)
    decoder = ConvDecoder(
        [LATENTS, *told],
        heads.Bernoulli(SHAPE),
        channels=(32, 16),
        last_channels=8,
        hidden=64,
        upsample="shuffle",
    )
    code = heads.DiagonalNormal(LATENTS, init=math.exp(-1.0))
    encoder = MLP([math.prod(SHAPE), *told], code, hidden=(128,), in_shape=SHAPE)
    return encoder, decoder


def fitted(model, guide, columns, objective, options, seed, fast=()):
    return ppvae.fit(
        model,
        guide,
        Dataset(columns),
        objective,
        epochs=options.epochs,
        batch_size=128,
        learning_rate=4e-3,
        optimizer=grouped_adam((list(fast), 2.5), betas=(0.9, 0.99)),
        schedule=warmup_cosine(0.1, floor=0.01),
        seed=seed,
        device="cpu",
        compile=False,
        progress=False,
    )


def additive(kernel, parts, options, seed):
    """Draws of the frames asked for, (S, N, ...), and their log densities, in chunks."""
    train, given, asked = ({k: part[k] for k in ("x", "id", "time")} for part in parts[:3])
    encoder, decoder = networks()
    prior = AdditivePrior(kernel, latent_dim=LATENTS)
    model, guide = VAE(decoder, prior=prior), AmortizedGuide(encoder)
    objective = ELBO() + LeaveVisitsOut()
    run = fitted(model, guide, train, objective, options, seed, prior.parameters())
    known = given_visits(run.model, run.guide, given)
    mean, density, inside = [], [], []
    for start in range(0, len(asked["x"]), ROWS):
        some = {k: v[start : start + ROWS] for k, v in asked.items()}
        found = predict(known, some, num_draws=DRAWS, keep_draws=True, seed=seed)
        mean.append(found.mean)
        density.append(found.log_density)
        ink = found.draws.flatten(2).sum(2)
        low, high = ink.quantile(0.05, 0), ink.quantile(0.95, 0)
        true = some["x"].flatten(1).sum(1)
        inside.append(((true >= low) & (true <= high)).double())
    factors = [factor for term in prior.kernel for factor in term]
    return torch.cat(mean), {
        "log_density": float(torch.cat(density).mean()),
        "coverage_90_ink": float(torch.cat(inside).mean()),
        "lengthscale": [f.lengthscale for f in factors if getattr(f, "lengthscale", None)],
    }


def by_time(parts, options, seed):
    kernel = RBF("time", 10.0, 48, margin=0.0) * Categorical("id")
    return additive(Additive(kernel), parts, options, seed)


def by_angle(parts, options, seed):
    turn = f"periodic(time, {PERIOD})"
    return additive(parse(f"cat(id) + {turn} + {turn}*cat(id)"), parts, options, seed)


def direction(part):
    angle = part["time"] * TURN / PERIOD
    return torch.stack([angle.cos(), angle.sin()], 1)


def cvae(parts, options, seed):
    train, given, asked, _ = parts
    encoder, decoder = networks(2)
    conditions = Conditions(factor_dim=2)
    model = ConditionalVAE(decoder, conditions, latent_dim=LATENTS)
    columns = {"x": train["x"], "c": direction(train)}
    fitted(model, ConditionalGuide(encoder, conditions), columns, ELBO(), options, seed)
    codes = encode(encoder, given["x"], direction(given))
    size = int(given["id"].max()) + 1
    sums = torch.zeros(size, LATENTS).index_add_(0, given["id"], codes)
    means = sums / torch.bincount(given["id"], minlength=size)[:, None]
    return decode(decoder, means[asked["id"]], direction(asked))[0], {}


def livae(parts, options, seed):
    train, given, asked, _ = parts
    encoder, decoder = networks()
    model, guide = VAE(decoder, latent_dim=LATENTS), AmortizedGuide(encoder)
    fitted(model, guide, {"x": train["x"]}, ELBO(), options, seed)
    codes = encode(encoder, given["x"])
    return decode(decoder, between(codes, given, asked))[0], {}


def between(values, given, asked, period=None):
    return interpolate_latents(
        values,
        given["id"],
        given["time"],
        at_objects=asked["id"],
        at_views=asked["time"],
        period=period,
    )


def nearest(given, asked, period=None):
    away = (given["time"] - asked["time"][:, None]).abs()
    if period is not None:
        away = torch.minimum(away % period, period - away % period)
    away = away.where(given["id"] == asked["id"][:, None], torch.tensor(torch.inf))
    return given["x"][away.argmin(1)]


def guesses(parts):
    """Name to the probabilities of the frames asked for, without a model."""
    train, given, asked, _ = parts
    total = torch.zeros(10 * FRAMES, math.prod(SHAPE))
    code = {id(p): p["y"].long() * FRAMES + p["time"].long() for p in (train, asked)}
    total.index_add_(0, code[id(train)], train["x"].flatten(1))
    count = torch.bincount(code[id(train)], minlength=len(total))[:, None].clamp_min(1)
    flat = given["x"].flatten(1)
    return {
        "training mean": train["x"].mean(0).expand_as(asked["x"]),
        "mean of the class at that time": (total / count)[code[id(asked)]].view(-1, *SHAPE),
        "nearest frame in time": nearest(given, asked),
        "nearest frame in angle": nearest(given, asked, PERIOD),
        "frames interpolated in time": between(flat, given, asked).view(-1, *SHAPE),
        "frames interpolated in angle": between(flat, given, asked, PERIOD).view(-1, *SHAPE),
    }


def scores(mean, x):
    probs = mean.clamp(1e-6, 1 - 1e-6)
    bins = (mean * 10).long().clamp(0, 9).flatten()
    gaps = torch.zeros(10).index_add_(0, bins, (x - mean).flatten()).abs() / len(bins)
    density = torch.distributions.Bernoulli(probs).log_prob(x).flatten(1).sum(1).mean()
    return {
        "mse": float((mean - x).square().mean()),
        "mse_rounded": float((mean.round() - x).square().mean()),
        "log_density": float(density),
        "calibration_error": float(gaps.sum()),
    }


METHODS = {"time": by_time, "angle": by_angle, "cvae": cvae, "livae": livae}


def shown(name, found):
    values = ", ".join(
        f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items()
    )
    print(f"{name:<32} {values}", flush=True)


def run(seed, options):
    parts = videos(seed, options.train, options.test)
    asked = parts[2]["x"]
    if options.write is not None:
        export(parts, options.write / f"videos{seed}.npz", options)
        return {}
    if options.score is not None:
        with np.load(options.score) as found:
            mean = torch.as_tensor(found["mean"]).view(-1, *SHAPE)
            shown(options.score.stem, scores(mean, asked))
            print(json.loads(str(found["settings"])), f"{found['cpu_seconds']:.0f} CPU s")
        return {}
    if options.method == "simple":
        results = {name: scores(mean, asked) for name, mean in guesses(parts).items()}
    else:
        torch.manual_seed(seed)
        with Clock() as clock:
            mean, more = METHODS[options.method](parts, options, seed)
        found = scores(mean, asked) | more | {"cpu_seconds": clock.cpu}
        results = {options.method: found}
    for name, found in results.items():
        shown(f"seed {seed}, {name}", found)
    return results


def export(parts, path, options):
    """Videos as the peers read them: in each the frames that are left, then the missing ones."""
    columns = {k: torch.cat([part[k] for part in parts]) for k in ("x", "id", "time")}
    missing = torch.cat(
        [torch.full((len(part["x"]),), float(i > 1)) for i, part in enumerate(parts)]
    )
    rows = np.lexsort((columns["time"], missing, columns["id"]))
    arrays = {
        "seq": columns["x"][rows].view(-1, FRAMES, *SHAPE[1:]),
        "t": columns["time"][rows].view(-1, FRAMES, 1),
        "m": 1 - missing[rows].view(-1, FRAMES, 1),
    }
    names = {"seq": "full", "t": "full", "m": "miss"}
    path.parent.mkdir(parents=True, exist_ok=True)
    split = {
        f"{name}_{part}_{names[name]}": values[chosen].numpy()
        for name, values in arrays.items()
        for part, chosen in (("train", slice(options.train)), ("test", slice(options.train, None)))
    }
    np.savez(path, **split)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--method", choices=("simple", *METHODS), default="simple")
    parser.add_argument("--seeds", default="0", help="0, 0,3 or 0..2")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--train", type=int, default=300, help="videos, a multiple of ten")
    parser.add_argument("--test", type=int, default=100, help="videos, a multiple of ten")
    parser.add_argument("--write", type=Path, help="folder of the videos as files")
    parser.add_argument("--score", type=Path, help="probabilities of another program, as .npz")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = {str(seed): run(seed, options) for seed in seeds(options.seeds)}
    if options.out is not None:
        write(options.out, {"epochs": options.epochs, "method": options.method, "seeds": results})
