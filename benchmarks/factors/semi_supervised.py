"""Test accuracy of the ssVAE with few labels.

To show: >= 95 % with 100 labels, >= 97.5 % with 1,000, >= 98 % with 3,000 (Kingma et al., 2014:
M2 88.0, 95.7 and 97.0 about, M1+M2 96.7, 97.6 and 97.8). The labels are drawn evenly over classes.
Beside the bound the objective holds three terms: the classifier's loss where labels are known,
even classes, and q(y | x) the same after small warps of x. ``--consistency 0``
leaves the last out.

``--features 50`` stacks two models, as M1 + M2: a VAE of so many latents sees all images and no
label, and the ssVAE is fitted to its posterior means, in units of their spread. Nothing is known
of warps then; the change under which q(y | x) stays the same is another draw from the VAE's
posterior.
"""

import math

import torch
from common import SHAPE, Clock, batch_of, compiled, device_of, images, parser, report

import ppvae
from ppvae.fitting import cosine
from ppvae.guides import AmortizedGuide, SemiSupervisedGuide
from ppvae.models import VAE, SemiSupervisedVAE
from ppvae.nets import MLP, ConvEncoder, Warp, heads
from ppvae.objectives import ELBO, Balance, Consistency, Linear, Supervision

made = parser(__doc__, epochs=4)
made.add_argument("--labels", type=int, nargs="+", default=[100, 1000, 3000])
made.add_argument("--latent-dim", type=int, default=32)
made.add_argument("--start", type=float, default=8.0, help="weight of the KL of z at first")
made.add_argument("--balance", type=float, default=10.0, help="weight of even classes")
made.add_argument("--weight", type=float, default=50.0, help="of the classification loss")
made.add_argument("--consistency", type=float, default=50.0, help="weight under small warps")
made.add_argument("--features", type=int, help="latents of a VAE whose means replace the images")
made.add_argument("--feature-epochs", type=int, default=20, help="epochs of that VAE")
options = made.parse_args()
data = images(options)
noise = None
fitted = {
    "batch_size": 200,
    "schedule": cosine,
    "seed": options.seed,
    "device": options.device,
    "compile": compiled(options),
    "progress": False,
}


class Jitter(torch.nn.Module):
    """Adds normal noise, with a standard deviation for each feature."""

    def __init__(self, scale):
        super().__init__()
        self.register_buffer("scale", scale)

    def forward(self, x):
        return x + self.scale * torch.randn_like(x)


def encoded(data):
    """Posterior means of a VAE's latents in use, in their units, and the posterior's noise."""
    torch.manual_seed(options.seed)
    dim = options.features
    model = VAE(MLP(dim, heads.Bernoulli(SHAPE), hidden=(512, 512)), latent_dim=dim)
    guide = AmortizedGuide(MLP(784, heads.DiagonalNormal(dim), hidden=(512, 512), in_shape=SHAPE))
    ppvae.fit(
        model,
        guide,
        data.train,
        epochs=options.feature_epochs,
        **fitted,
    )
    with torch.no_grad():
        posteriors = [
            guide.encoder(batch_of(part, device_of(guide))["x"]).base_dist
            for part in (data.train, data.test)
        ]
    center, unit = posteriors[0].loc.mean(0), posteriors[0].loc.std(0)
    used = unit > 0.1
    codes = [((q.loc - center) / unit)[:, used].cpu() for q in posteriors]
    spread = (posteriors[0].scale / unit)[:, used].square().mean(0).sqrt()
    parts = zip((data.train, data.test), codes, strict=True)
    train, test = (part.with_columns(x=code) for part, code in parts)
    return data._replace(train=train, test=test), spread


if options.features:
    data, noise = encoded(data)
everything = torch.arange(data.train.num_rows)


def partly_labelled(labels):
    """All rows, most without a label; those with one come again, a quarter as many as all."""
    generator = torch.Generator().manual_seed(options.seed)
    y = torch.as_tensor(data.train["y"])
    chosen = []
    for k in range(10):
        rows = everything[y == k]
        chosen.append(rows[torch.randperm(len(rows), generator=generator)[: labels // 10]])
    labelled = torch.cat(chosen)
    hidden = torch.full_like(y, -1)
    hidden[labelled] = y[labelled]
    again = labelled.repeat(max(1, len(everything) // (4 * labels)))
    return data.train.with_columns(y=hidden).take(torch.cat([everything, again]))


results = {}
for labels in options.labels:
    torch.manual_seed(options.seed)
    dim, hidden = options.latent_dim, (128, 128)
    if noise is None:
        size, shape, head = 784, SHAPE, heads.Bernoulli(SHAPE)
        classifier = ConvEncoder(SHAPE, heads.Classes(10), channels=[16, 32], hidden=128)
        change = Warp(SHAPE, rotation=0.25, translation=0.1, scale=0.15, bend=0.08)
    else:
        size = len(noise)
        shape, head = (size,), heads.Normal((size,))
        classifier = MLP(size, heads.Classes(10), hidden=(256, 256))
        change = Jitter(noise)
    decoder = MLP([dim, 10], head, hidden=hidden, join=1)
    model = SemiSupervisedVAE(decoder, latent_dim=dim, num_classes=10)
    encoder = MLP([size, 10], heads.DiagonalNormal(dim), hidden=hidden, in_shape=shape, join=1)
    guide = SemiSupervisedGuide(encoder, classifier=classifier, num_classes=10)
    train = partly_labelled(labels)
    steps = options.epochs * math.ceil(train.num_rows / 200)
    objective = (
        ELBO(weights={"z": Linear(options.start, 1.0, steps=steps)})
        + Balance("y", weight=options.balance)
        + Supervision("y", weight=options.weight)
    )
    if options.consistency:
        objective = objective + Consistency(change, weight=options.consistency)
    with Clock() as clock:
        ppvae.fit(
            model,
            guide,
            train,
            objective,
            epochs=options.epochs,
            **fitted,
        )
    test = batch_of(data.test, device_of(model))
    with torch.no_grad():
        right = classifier(test["x"]).logits.argmax(-1) == test["y"]
    results[str(labels)] = {"accuracy": float(right.double().mean()), "seconds": clock.seconds}
    print(labels, results[str(labels)])
report(options, labels=results)
