"""Rotated threes by every method: error at the angle that no training image shows.

    python benchmarks/gp/rotated_digits.py --mode joint --seeds 0..4 --json results/joint.json
    python benchmarks/gp/rotated_digits.py --table results/*.json

The published protocol (ppvae.data.rotated_digits), the last epoch, one network for all: the
encoder and the decoder of ``ppvae fit gpvae``. A seed draws the split, the initial weights and the
order. The modes:

    joint           the zoo's default: collapsed bound with the leave-one-view-out likelihood
    collapsed       the collapsed bound alone
    alternating     the same in Casale's phases: kernel held, kernel alone, all together
    disjoint        a VAE, then the kernel and the object table on its frozen codes
    weight-space    no encoder: a posterior of the GP's weights
    natural         the same, the posterior trained by natural gradients
    pseudo          encodings as pseudo-observations
    cvae            told the angle; z is the mean over the object's training images
    livae           a VAE; latents interpolated between the two neighbouring angles
    rotation-aware  joint, with an encoder and a decoder that turn images by the known angle
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from common import (
    TURN,
    Clock,
    build,
    calibration,
    columns,
    decode,
    encode,
    image_errors,
    mean_and_error,
    seeds,
    train,
    write,
)
from torch import nn

from ppvae.data import Splits, rotated_digits
from ppvae.fitting import Phase, Phases, grouped_adam
from ppvae.gp import interpolate_latents
from ppvae.guides import (
    AmortizedGuide,
    ConditionalGPGuide,
    ConditionalGuide,
    PseudoGuide,
    WeightSpaceGuide,
)
from ppvae.models import VAE, ConditionalGPVAE, ConditionalVAE
from ppvae.nets import MLP, Conditions, ConvDecoder, TurnedDecoder, TurnedEncoder, heads

LATENTS = 64
NEVER = 10**9
SHOWN = 10  # predictions kept for the figures


def parameters(*modules):
    found = {id(p): p for m in modules for p in m.parameters() if p.requires_grad}
    return sum(p.numel() for p in found.values())


def gp_latents(model, object_ids, views):
    """The GP's prediction, mean over the weights' posterior."""
    with torch.no_grad():
        return model.prior(object_ids, views).mean


def predict_gp(model, part, *, view=False):
    _, objects, views = columns(part)
    z = gp_latents(model, objects, views)
    return decode(model.decoder, z, views) if view else decode(model.decoder, z)


def train_gp(model, guide, splits, objective, options, seed, **rest):
    """With the GP's parameters learning faster."""
    settings = {"epochs": options.epochs, "seed": seed, "fast": model.prior.parameters(), **rest}
    train(model, guide, splits, objective, **settings)


def joint(splits, options, seed, **rest):
    model, guide, objective = build(splits.train, **options.settings, **rest)
    train_gp(model, guide, splits, objective, options, seed)
    return parameters(model, guide), lambda part: predict_gp(model, part), model


def collapsed(splits, options, seed):
    count, predict, _ = joint(splits, options, seed, leave_out=0.0)
    return count, predict


def alternating(splits, options, seed):
    model, guide, objective = build(splits.train, **options.settings)
    third = max(1, options.epochs // 3)
    phases = Phases(
        Phase(third, hold=[model.prior]),
        Phase(max(1, third // 4), hold=[model.decoder, guide.encoder]),
        Phase(None),
    )
    train_gp(model, guide, splits, objective, options, seed, callbacks=[phases])
    return parameters(model, guide), lambda part: predict_gp(model, part)


def plain_vae(splits, options, seed):
    """A VAE of the same networks, and the GP model around them."""
    model, guide, _ = build(splits.train, leave_out=0.0, **options.settings)
    # One shared scale, as the published models have.
    vae = VAE(model.decoder.decoder, latent_dim=LATENTS)
    train(vae, AmortizedGuide(guide.encoder), splits, epochs=options.epochs, seed=seed)
    return vae, model, guide


def disjoint(splits, options, seed):
    _, model, guide = plain_vae(splits, options, seed)
    nn.ModuleList([model.decoder, guide.encoder]).requires_grad_(False)
    count = parameters(model, guide) + sum(
        p.numel() for m in (model.decoder.decoder, guide.encoder) for p in m.parameters()
    )
    half = max(1, options.epochs // 2)
    train_gp(model, guide, splits, None, options, seed, epochs=half)
    return count, lambda part: predict_gp_plain(model, part)


def predict_gp_plain(model, part):
    """With the decoder's shared scale."""
    _, objects, views = columns(part)
    return decode(model.decoder.decoder, gp_latents(model, objects, views))


class Natural(torch.optim.Adam):
    r"""Adam, and natural gradients for the weights' posterior :math:`N(m, s^2)`.

    .. math::
        s^{-2} \leftarrow s^{-2} + 2 \rho \, \partial L / \partial s^2, \qquad
        m \leftarrow m - \rho \, s^2 \, \partial L / \partial m

    of the loss L of all data; :math:`\rho` follows the schedule of the learning rate.
    """

    def __init__(self, guide, adam, step):
        groups = [{"params": group["params"], "lr": group["lr"]} for group in adam.param_groups]
        super().__init__(groups, betas=(0.9, 0.99))
        self.guide, self.rate, self.length = guide, groups[0]["lr"], step

    @torch.no_grad()
    def step(self, closure=None):
        loc, raw = self.guide.loc, self.guide.raw_scale
        slope, slope_raw = (p.grad * self.guide.num_data for p in (loc, raw))
        loc.grad = raw.grad = None  # Adam leaves them as they are.
        super().step(closure)
        rho = self.length * self.param_groups[0]["lr"] / self.rate
        scale = self.guide.scales()
        by_variance = slope_raw / raw.sigmoid() / (2 * scale)
        # The prior's own precision, one, is the least that a posterior can have.
        scale = (scale.pow(-2) + 2 * rho * by_variance).clamp_min(1.0).rsqrt()
        raw.copy_(scale.expm1().log())
        loc.sub_(rho * scale.square().mT * slope)


def natural(splits, options, seed):
    return weight_space(splits, options, seed, step=options.step)


def weight_space(splits, options, seed, *, step=None):
    model, _, _ = build(splits.train, leave_out=0.0, refresh=NEVER, **options.settings)
    model.decoder = model.decoder.decoder
    guide = WeightSpaceGuide(model.prior)
    fast = [*model.prior.parameters(), *(p for n, p in guide.named_parameters(recurse=False))]
    chosen = {}
    if step is not None:
        adam = grouped_adam((fast, 2.5))
        chosen["optimizer"] = lambda given, rate: Natural(guide, adam(given, rate), step)
    train(model, guide, splits, epochs=options.epochs, seed=seed, fast=fast, **chosen)
    return parameters(model, guide), lambda part: predict_gp(model, part)


def pseudo(splits, options, seed):
    model, amortized, _ = build(splits.train, leave_out=0.0, refresh=NEVER, **options.settings)
    model.decoder = model.decoder.decoder
    guide = PseudoGuide(amortized.encoder, model.prior, shared=True)
    train_gp(model, guide, splits, None, options, seed)
    return parameters(model, guide), lambda part: predict_gp(model, part)


def with_direction(data):
    _, _, views = columns(data)
    return data.with_columns(c=torch.stack([views.cos(), views.sin()], 1))


def cvae(splits, options, seed):
    conditions = Conditions(factor_dim=2)
    known = Splits(*(with_direction(part) for part in splits))
    shape = splits.train.spec["x"]["shape"]
    pixels = math.prod(shape)
    head = heads.DiagonalNormal(LATENTS, init=math.exp(-1.0))
    encoder = MLP([pixels, 2], head, hidden=(64,), in_shape=shape)
    likelihood = heads.Normal(tuple(shape), heads.Shared(math.exp(-1.5)))
    decoder = conv_decoder([LATENTS, 2], likelihood)
    model = ConditionalVAE(decoder, conditions, latent_dim=LATENTS)
    guide = ConditionalGuide(encoder, conditions)
    train(model, guide, known, epochs=options.epochs, seed=seed)
    x, objects, _ = columns(known.train)
    codes = encode(encoder, x, torch.as_tensor(known.train["c"]))
    number = int(objects.max()) + 1
    sums = torch.zeros(number, LATENTS).index_add_(0, objects, codes)
    means = sums / torch.bincount(objects, minlength=number)[:, None]

    def predict(part):
        c = torch.as_tensor(with_direction(part)["c"])
        return decode(decoder, means[columns(part)[1]], c)

    return parameters(model, guide), predict


def conv_decoder(sizes, head, channels=(32, 16), last=8):
    """The zoo's decoder, with further inputs."""
    return ConvDecoder(
        sizes, head, channels=channels, last_channels=last, hidden=64, upsample="shuffle"
    )


def livae(splits, options, seed):
    vae, model, guide = plain_vae(splits, options, seed)
    x, objects, views = columns(splits.train)
    codes = encode(guide.encoder, x)

    def predict(part):
        _, at_objects, at_views = columns(part)
        z = interpolate_latents(
            codes, objects, views, at_objects=at_objects, at_views=at_views, period=TURN
        )
        return decode(model.decoder.decoder, z)

    return parameters(vae, guide), predict


def rotation_aware(splits, options, seed):
    settings = {"latent_dim": 32, "frequencies": 2, **options.settings}
    prior_model, prior_guide, objective = build(splits.train, **settings)
    shape = tuple(splits.train.spec["x"]["shape"])
    canvas = (1, 2 * shape[1], 2 * shape[2])
    net = conv_decoder(settings["latent_dim"], heads.Raw(canvas), channels=(32, 16, 8), last=8)
    decoder = TurnedDecoder(net, heads.Normal(shape, heads.Shared(math.exp(-1.5))))
    model = ConditionalGPVAE(prior_model.prior, decoder)
    guide = ConditionalGPGuide(TurnedEncoder(prior_guide.encoder, shape), model.prior)
    train_gp(model, guide, splits, objective, options, seed)
    return parameters(model, guide), lambda part: predict_gp(model, part, view=True)


MODES = {
    "joint": joint,
    "collapsed": collapsed,
    "alternating": alternating,
    "disjoint": disjoint,
    "weight-space": weight_space,
    "natural": natural,
    "pseudo": pseudo,
    "cvae": cvae,
    "livae": livae,
    "rotation-aware": rotation_aware,
}


def measure(options, seed):
    torch.manual_seed(seed)
    splits = rotated_digits(num_objects=options.objects, seed=seed)
    with Clock() as clock:
        count, predict, *calibrated = MODES[options.mode](splits, options, seed)
    x, _, _ = columns(splits.test)
    mean, _ = predict(splits.test)
    errors = image_errors(mean, x)
    seen = image_errors(predict(splits.validation)[0], columns(splits.validation)[0])
    found = {
        "seed": seed,
        "test_mse": float(errors.mean()),
        "test_mse_se": float(errors.std() / len(errors) ** 0.5),
        "missing_cells_mse": float(seen.mean()),
        "parameters": count,
        "train_cpu_seconds": clock.cpu,
        "train_wall_seconds": clock.wall,
    }
    for model in calibrated:
        found |= calibration(model, splits)
    print(json.dumps(found), flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        shown = {"x": x[:SHOWN], "mean": mean[:SHOWN], "object": columns(splits.test)[1][:SHOWN]}
        np.savez(options.json.with_name(f"{options.json.stem}-{seed}.npz"), **shown)
    return found


def table(paths):
    """Markdown: mean over seeds +- its standard error; files of one mode and length together."""
    print("| method | epochs | seeds | test MSE, unseen angle | missing cells | CPU s | weights |")
    print("|---|---|---|---|---|---|---|")
    together = {}
    for path in paths:
        found = json.loads(path.read_text("utf-8"))
        together.setdefault((found["mode"], found["epochs"]), []).extend(found["runs"])
    rows = []
    for (mode, epochs), runs in together.items():
        test, error = mean_and_error([run["test_mse"] for run in runs])
        seen, _ = mean_and_error([run["missing_cells_mse"] for run in runs])
        seconds, _ = mean_and_error([run["train_cpu_seconds"] for run in runs])
        row = f"| {mode} | {epochs} | {len(runs)} | {test:.4f} ± {error:.4f} | {seen:.4f} "
        rows.append((test, row + f"| {seconds:.0f} | {runs[0]['parameters']:,} |"))
    for _, row in sorted(rows):
        print(row)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mode", choices=MODES, default="joint")
    parser.add_argument("--seeds", type=seeds, default=[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--objects", type=int, default=400, help="fewer for a trial")
    parser.add_argument("--settings", type=json.loads, default={}, help="options of gpvae, JSON")
    parser.add_argument("--step", type=float, default=0.003, help="length of natural's steps")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path, nargs="+", help="only print a table of results")
    options = parser.parse_args()
    if options.table:
        table(options.table)
        return
    results = {"mode": options.mode, "epochs": options.epochs, "settings": options.settings}
    runs = []
    for seed in options.seeds:
        runs.append(measure(options, seed))
        if options.json:
            write(options.json, {**results, "runs": runs})


if __name__ == "__main__":
    main()
