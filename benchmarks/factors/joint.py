"""Classes found without labels, and what an ensemble knows of its errors.

To show: clustering accuracy >= 90 % for the member picked among 8 by its ELBO alone (JointVAE's
paper: 88.7 %), and a dispersion of the ensemble that is higher on the images it gets wrong, with
an AUROC >= 0.8.
"""

import math

import torch
from common import SHAPE, Clock, batch_of, device_of, images, parser, report
from sklearn.metrics import roc_auc_score

from ppvae.ensembles import class_probs, fit_ensemble
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
    heads,
)
from ppvae.objectives import ELBO, Balance, Capacity, Linear
from ppvae.scores import clustering_accuracy

made = parser(__doc__, epochs=40)
made.add_argument("--members", type=int, default=8)
made.add_argument("--latent-dim", type=int, default=6)
made.add_argument("--capacity", type=float, default=12.0, help="of z, in nats")
made.add_argument("--gamma", type=float, default=10.0)
made.add_argument("--balance", type=float, default=30.0, help="weight of even classes")
made.add_argument("--pose", action="store_true", help="rotation, translation and scale, too")
options = made.parse_args()
data = images(options)
steps = options.epochs * math.ceil(data.train.num_rows / 128)


def build():
    dim, head = options.latent_dim, heads.Bernoulli(SHAPE)
    sites = Sites({"z": heads.DiagonalNormal(dim), "y": heads.Classes(10)})
    encoder = ConvEncoder(SHAPE, sites, channels=[32, 64], hidden=256)
    decoder = MLP([dim, 10], head, hidden=(256, 256), join=1)
    if options.pose:
        canvas = MLP([dim, 10], heads.Raw(head.raw_shape), hidden=(256, 256), join=1)
        widths = {"rotation": 0.3, "translation": 0.1, "scale": 0.1}
        decoder = PosedDecoder(CanvasDecoder(canvas, head), **widths)
        pose = Sites({"rotation": Angle(), "translation": Shift(), "scale": LogScale()})
        encoder = torch.nn.Sequential(
            Align(ConvEncoder(SHAPE, pose, channels=[16, 32]), SHAPE), encoder
        )
    capacity = {
        "z": Capacity(Linear(0.0, options.capacity, steps=max(1, steps)), gamma=options.gamma),
        "y": Capacity(Linear(0.0, math.log(10), steps=max(1, steps // 3)), gamma=options.gamma),
    }
    objective = ELBO(capacity=capacity) + Balance("y", weight=options.balance)
    return JointVAE(decoder, latent_dim=dim), FactorizedGuide(encoder), objective


with Clock() as clock:
    ensemble = fit_ensemble(
        build,
        data,
        seeds=range(options.seed, options.seed + options.members),
        epochs=options.epochs,
        device=options.device,
    )
test = batch_of(data.test, device_of(ensemble.members[0][0]))
accuracies = [
    clustering_accuracy(class_probs(guide, {"x": test["x"]}).argmax(-1), test["y"])
    for _, guide in ensemble.members
]
found = ensemble.agree({"x": test["x"]})
named = found.mean.argmax(-1)
table = torch.bincount(named * 10 + test["y"], minlength=100).reshape(10, 10)
wrong = table.argmax(1)[named] != test["y"]
report(
    options,
    elbos=ensemble.elbos,
    accuracies=accuracies,
    accuracy_of_best_elbo=accuracies[ensemble.best],
    accuracy_of_mean=clustering_accuracy(named, test["y"]),
    dispersion_auroc=float(roc_auc_score(wrong.cpu(), found.dispersion.cpu())),
    stability=found.stability.tolist(),
    seconds=clock.seconds,
)
