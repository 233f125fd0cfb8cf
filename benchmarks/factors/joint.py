"""Classes learned without labels, and an ensemble's dispersion as a measure of its errors.

To show: clustering accuracy >= 90 % for the member picked among 8 by its ELBO alone (JointVAE's
paper: 88.7 %), and a dispersion of the ensemble that is higher on the images it gets wrong, with
an AUROC >= 0.8. Beside the bound and its capacities the objective holds even classes, and
q(y | x) the same after small warps of x; no label is seen. ``--keep FILE.npz`` writes each member
down when it is trained, and reads those that are there.
"""

import math
from pathlib import Path

import numpy as np
import torch
from common import SHAPE, Clock, batch_of, compiled, device_of, images, parser, report
from sklearn.metrics import roc_auc_score

from ppvae.ensembles import agreement, class_probs, fit_ensemble
from ppvae.evaluate.scores import clustering_accuracy
from ppvae.fitting import cosine
from ppvae.guides import Align, FactorizedGuide
from ppvae.models import JointVAE, PosedDecoder
from ppvae.nets import (
    MLP,
    Angle,
    CanvasDecoder,
    ConvEncoder,
    LogScale,
    Shift,
    Sites,
    Warp,
    heads,
)
from ppvae.objectives import ELBO, Balance, Capacity, Consistency, Linear

made = parser(__doc__, epochs=4)
made.add_argument("--members", type=int, default=8)
made.add_argument("--classes", type=int, default=10, help="classes that the models are offered")
made.add_argument("--latent-dim", type=int, default=6)
made.add_argument("--capacity", type=float, default=12.0, help="capacity of z, in nats")
made.add_argument("--gamma-z", type=float, default=10.0)
made.add_argument("--gamma-y", type=float, default=100.0)
made.add_argument(
    "--balance", type=float, default=100.0, help="weight of the term for equally frequent classes"
)
made.add_argument(
    "--consistency", type=float, default=200.0, help="weight of the term for small warps"
)
made.add_argument(
    "--keep", type=Path, help="a .npz file that members are written to and read from"
)
made.add_argument("--pose", action="store_true", help="add rotation, translation and scale")
options = made.parse_args()
data = images(options)
steps = options.epochs * math.ceil(data.train.num_rows / 128)


def build():
    dim, head = options.latent_dim, heads.Bernoulli(SHAPE)
    sites = Sites({"z": heads.DiagonalNormal(dim), "y": heads.Classes(options.classes)})
    encoder = ConvEncoder(SHAPE, sites, channels=[16, 32], hidden=128)
    decoder = MLP([dim, options.classes], head, hidden=(128, 128), join=1)
    if options.pose:
        canvas = MLP([dim, options.classes], heads.Raw(head.raw_shape), hidden=(128, 128), join=1)
        widths = {"rotation": 0.3, "translation": 0.1, "scale": 0.1}
        decoder = PosedDecoder(CanvasDecoder(canvas, head), **widths)
        pose = Sites({"rotation": Angle(), "translation": Shift(), "scale": LogScale()})
        encoder = torch.nn.Sequential(
            Align(ConvEncoder(SHAPE, pose, channels=[16, 32]), SHAPE), encoder
        )
    capacity = {
        "z": Capacity(Linear(0.0, options.capacity, steps=max(1, steps)), gamma=options.gamma_z),
        "y": Capacity(
            Linear(0.0, math.log(options.classes), steps=max(1, steps // 3)), gamma=options.gamma_y
        ),
    }
    objective = ELBO(capacity=capacity) + Balance("y", weight=options.balance)
    if options.consistency:
        warp = Warp(SHAPE, rotation=0.25, translation=0.1, scale=0.15, bend=0.08)
        objective = objective + Consistency(warp, weight=options.consistency)
    return (
        JointVAE(decoder, latent_dim=dim, classes=options.classes),
        FactorizedGuide(encoder),
        objective,
    )


x = batch_of(data.test)["x"]
y = torch.as_tensor(data.test["y"])
kept = options.keep is not None and options.keep.exists()
members = dict(np.load(options.keep)) if kept else {}
for seed in range(options.seed, options.seed + options.members):
    if f"probs_{seed}" in members:
        continue
    with Clock() as clock:
        one = fit_ensemble(
            build,
            data,
            seeds=[seed],
            epochs=options.epochs,
            learning_rate=2e-3,
            schedule=cosine,
            device=options.device,
            compile=compiled(options),
        )
    guide = one.members[0][1]
    members[f"probs_{seed}"] = class_probs(guide, {"x": x.to(device_of(guide))}).cpu().numpy()
    members[f"elbo_{seed}"] = np.array(one.elbos[0])
    members[f"seconds_{seed}"] = np.array(clock.seconds)
    if options.keep:
        np.savez(options.keep, **members)

seeds = sorted(int(name.removeprefix("elbo_")) for name in members if name.startswith("elbo_"))
probs = torch.stack([torch.from_numpy(members[f"probs_{seed}"]) for seed in seeds])
elbos = [float(members[f"elbo_{seed}"]) for seed in seeds]
best = max(range(len(seeds)), key=elbos.__getitem__)
accuracies = [clustering_accuracy(p.argmax(-1), y) for p in probs]
found = agreement(probs, reference=best)
named = found.mean.argmax(-1)
table = torch.bincount(named * 10 + y, minlength=options.classes * 10).reshape(-1, 10)
wrong = table.argmax(1)[named] != y
report(
    options,
    seeds=seeds,
    elbos=elbos,
    accuracies=accuracies,
    accuracy_of_best_elbo=accuracies[best],
    accuracy_of_mean=clustering_accuracy(named, y),
    dispersion_auroc=float(roc_auc_score(wrong, found.dispersion)),
    stability=found.stability.tolist(),
    seconds=[float(members[f"seconds_{seed}"]) for seed in seeds],
)
