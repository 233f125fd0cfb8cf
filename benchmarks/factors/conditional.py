"""The cVAE against the VAE, and digits swapped at fixed style.

Targets: a better held-out ELBO given the class, and digits that change with the class at fixed z:
a classifier trained on real digits recognises the new class in >= 98 % of the images. That the
style is kept is measured by the correlation, over images, of z with the z that the swapped image
is encoded to with its new class (the mean over the dimensions in use).
``--independence 100 20`` adds the penalty that removes the class from z, with its first and its
last weight; ``--beta`` is the weight of the KL of z.
"""

import math

import torch
from common import SHAPE, Clock, batch_of, device_of, images, parser, report

import ppvae
from ppvae.fitting import cosine
from ppvae.guides import AmortizedGuide, ConditionalGuide
from ppvae.models import VAE, ConditionalVAE
from ppvae.nets import MLP, Conditions, ConvEncoder, ModulatedMLP, OneHot, heads
from ppvae.objectives import ELBO, Independence, Linear, dependence

made = parser(__doc__, epochs=10)
made.add_argument("--latent-dim", type=int, default=10)
made.add_argument("--batch-size", type=int, default=128)
made.add_argument("--learning-rate", type=float, default=1e-3)
made.add_argument("--beta", type=float, default=1.0, help="weight of the KL of z of the cVAE")
made.add_argument(
    "--independence",
    type=float,
    nargs="+",
    default=[0.0],
    help="weight of the HSIC of z and y, or its first and last weight",
)
made.add_argument(
    "--network",
    choices=("film", "mlp"),
    default="film",
    help="where the class acts: on every layer, or as an input of the first",
)
made.add_argument("--hidden", type=int, nargs="+", default=[512, 256])
options = made.parse_args()
data, dim = images(options), options.latent_dim
settings = {
    "epochs": options.epochs,
    "batch_size": options.batch_size,
    "learning_rate": options.learning_rate,
    "schedule": cosine,
    "seed": options.seed,
    "device": options.device,
    "progress": False,
}


def correlation(a, b):
    a, b = a - a.mean(0), b - b.mean(0)
    return (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0)).clamp_min(1e-12)


def test_elbo(model, guide):
    torch.manual_seed(0)
    with torch.no_grad():
        terms = ELBO()(model, guide)(batch_of(data.test, device_of(model)))
    return float(terms.elbo.mean())


torch.manual_seed(options.seed)
hidden = options.hidden


def network(sizes, head, **shape):
    conditional = options.network == "film" and not isinstance(sizes, int)
    return (ModulatedMLP if conditional else MLP)(sizes, head, **shape)


def decoder(sizes):
    return network(sizes, heads.Bernoulli(SHAPE), hidden=hidden[::-1])


def encoder(sizes):
    return network(sizes, heads.DiagonalNormal(dim), in_shape=SHAPE, hidden=hidden)


plain, plain_guide = VAE(decoder(dim), latent_dim=dim), AmortizedGuide(encoder(784))
given = Conditions(OneHot(10))
model = ConditionalVAE(decoder([dim, 10]), given, latent_dim=dim)
guide = ConditionalGuide(encoder([784, 10]), given)
objective = ELBO(weights={"z": options.beta})
if any(options.independence):
    steps = options.epochs * math.ceil(data.train.num_rows / options.batch_size)
    weight = Linear(options.independence[0], options.independence[-1], steps=steps)
    objective = objective + Independence("z", "y", weight=weight)
with Clock() as clock:
    ppvae.fit(plain, plain_guide, data, **settings)
    ppvae.fit(model, guide, data, objective, **settings)

device = device_of(model)
judge = ConvEncoder(SHAPE, heads.Classes(10), channels=[32, 64]).to(device)
rounds = max(1, min(6, options.epochs))
optimizer = torch.optim.Adam(judge.parameters(), lr=2e-3)
rate = torch.optim.lr_scheduler.OneCycleLR(
    optimizer, 2e-3, total_steps=rounds * math.ceil(data.train.num_rows / 128)
)
for _ in range(rounds):
    for rows in torch.randperm(data.train.num_rows).split(128):
        batch = data.train.batch(rows, device=device)
        optimizer.zero_grad()
        (-judge(batch["x"]).log_prob(batch["y"]).mean()).backward()
        optimizer.step()
        rate.step()

test = batch_of(data.test, device)
with torch.no_grad():
    z = guide.encoder(test["x"], *given(test["y"], None)).mean
    used = z.var(0) > 0.01
    read, wanted, kept = [], [], []
    for shift in range(1, 10):
        y = (test["y"] + shift) % 10
        swapped = model.decoder(z, *given(y, None)).mean
        read.append(judge(swapped).logits.argmax(-1))
        wanted.append(y)
        kept.append(correlation(z, guide.encoder(swapped, *given(y, None)).mean)[used].mean())
    right = judge(test["x"]).logits.argmax(-1) == test["y"]
report(
    options,
    vae_test_elbo=test_elbo(plain, plain_guide),
    cvae_test_elbo=test_elbo(model, guide),
    dependence_of_z_and_y=float(dependence(z[:2000], test["y"][:2000])),
    dimensions_in_use=int(used.sum()),
    style_kept=float(torch.stack(kept).mean()),
    swapped_read_as_wanted=float((torch.cat(read) == torch.cat(wanted)).double().mean()),
    judge_on_real_digits=float(right.double().mean()),
    seconds=clock.seconds,
)
