"""Comparison of rotational VAEs with pyroVED 0.3: same data, networks and epochs.

Seconds of computing an epoch (of the process, so that others on the machine count little; one
thread; the median of all but the first, in which ours may compile), and the held-out ELBO, of the
rotational VAE (--classes 0) or of the joint one.
pyroVED brings no more than itself: pip install --no-deps pyroved==0.3.0, in an environment of the
benchmark's own; torchvision, which it needs for one plot, is stubbed.
"""

import math
import statistics
import sys
import time
import types

import pyro
import torch
from common import SHAPE, batch_of, images, parser, report
from torch import nn

import ppvae
from ppvae.data import posed_digits
from ppvae.fitting import keep_freed_memory
from ppvae.guides import FactorizedGuide
from ppvae.models import VAE, JointVAE, PosedDecoder
from ppvae.nets import MLP, Angle, CanvasDecoder, CoordinateDecoder, Sites, heads
from ppvae.objectives import ELBO

made = parser(__doc__, epochs=10)
made.add_argument(
    "--classes",
    type=int,
    default=0,
    help="number of classes of the joint VAE; 0 for the rotational VAE",
)
made.add_argument("--latent-dim", type=int, default=2)
made.add_argument("--draws", type=int, default=10, help="posterior draws for the held-out ELBO")
made.add_argument("--methods", nargs="+", help="pyroved and these of the table's rows only")
made.set_defaults(rows=1000)
options = made.parse_args()

data = posed_digits(source=images(options), rotation=math.pi / 3, shift=0.0, seed=options.seed)
train, test = batch_of(data.train)["x"], batch_of(data.test)["x"][:500]
BATCH, RATE = 100, 1e-3


class Epochs:
    """Processor seconds of each epoch."""

    def __init__(self):
        self.times = [time.process_time()]

    def on_epoch_end(self, training=None):
        self.times.append(time.process_time())

    def seconds(self):
        gaps = [b - a for a, b in zip(self.times, self.times[1:], strict=False)]
        return statistics.median(gaps[1:] or gaps)


def theirs():
    stub = types.ModuleType("torchvision.utils")
    stub.make_grid = None
    sys.modules |= {"torchvision": types.ModuleType("torchvision"), "torchvision.utils": stub}
    import pyroved

    chosen = {
        "latent_dim": options.latent_dim,
        "invariances": ["r"],
        "device": "cpu",
        "seed": options.seed,
    }
    size = SHAPE[1:]
    model = (
        pyroved.models.jiVAE(size, discrete_dim=options.classes, **chosen)
        if options.classes
        else pyroved.models.iVAE(size, **chosen)
    )
    trainer = pyroved.trainers.SVItrainer(
        model,
        lr=RATE,
        device="cpu",
        enumerate_parallel=bool(options.classes),
        seed=options.seed,
    )
    loader = pyroved.utils.init_dataloader(train[:, 0], batch_size=BATCH)
    clock = Epochs()
    for _ in range(options.epochs):
        trainer.step(loader)
        clock.on_epoch_end()
    with torch.no_grad():
        loss = sum(
            trainer.svi.evaluate_loss(test[i : i + BATCH, 0])
            for _ in range(options.draws)
            for i in range(0, len(test), BATCH)
        )
    pyro.clear_param_store()
    return clock.seconds(), -loss / options.draws / len(test)


def ours(kind, epochs=options.epochs, *, compiled=False, keep_memory=False, own_sizes=False):
    if keep_memory:
        keep_freed_memory()
    torch.manual_seed(options.seed)
    head, dim, classes = heads.Bernoulli(SHAPE), options.latent_dim, options.classes
    sizes = [dim, classes] if classes else [dim]
    # pyroVED's networks: two hidden layers of 128, and one more of places and latents together.
    decoder = {
        "coordinates": lambda: CoordinateDecoder(sizes, head, hidden=(128, 128, 128)),
        "canvas": lambda: CanvasDecoder(
            MLP(sizes, heads.Raw(head.raw_shape), hidden=(128, 128), activation=nn.Tanh), head
        ),
    }[kind]()
    if own_sizes:  # As pyroVED's: each map of the first layer initialised by its own size.
        for linear in decoder.first.maps:
            linear.reset_parameters()
    posed = PosedDecoder(decoder, rotation=1.0)
    sites = {"rotation": Angle(), "z": heads.DiagonalNormal(dim)}
    if classes:
        model, sites = (
            JointVAE(posed, latent_dim=dim, classes=classes),
            {**sites, "y": heads.Classes(classes)},
        )
    else:
        model = VAE(posed, latent_dim=dim)
    encoder = MLP(
        math.prod(SHAPE), Sites(sites), hidden=(128, 128), activation=nn.Tanh, in_shape=SHAPE
    )
    guide = FactorizedGuide(encoder)
    clock = Epochs()
    ppvae.fit(
        model,
        guide,
        {"x": train},
        epochs=epochs,
        batch_size=BATCH,
        learning_rate=RATE,
        seed=options.seed,
        device="cpu",
        compile=compiled,
        callbacks=[clock],
        progress=False,
    )
    objective = ELBO()(model, guide)
    with torch.no_grad():
        elbos = [
            objective({"x": test[i : i + BATCH]}).elbo.mean()
            for _ in range(options.draws)
            for i in range(0, len(test), BATCH)
        ]
    return clock.seconds(), float(torch.stack(elbos).mean())


results = {}
for name, made in {
    "pyroved": theirs,
    "coordinates": lambda: ours("coordinates"),
    "coordinates, own sizes": lambda: ours("coordinates", own_sizes=True),
    "coordinates, compiled": lambda: ours("coordinates", compiled=True),
    "canvas": lambda: ours("canvas"),
    "canvas, ten times the epochs": lambda: ours("canvas", 10 * options.epochs),
    # Memory is kept from here on by the whole process, so these are last.
    "coordinates, memory kept": lambda: ours("coordinates", keep_memory=True),
    "coordinates, compiled, memory kept": lambda: ours(
        "coordinates", compiled=True, keep_memory=True
    ),
}.items():
    if options.methods and name not in ("pyroved", *options.methods):
        continue
    seconds, elbo = made()
    results[name] = {
        "seconds_per_epoch": seconds,
        "held_out_elbo": elbo,
    }
base = results["pyroved"]["seconds_per_epoch"]
for result in results.values():
    result["times_as_fast"] = base / result["seconds_per_epoch"]
report(options, **results)
