"""Normal latents against spheres of as many dimensions, with the same networks.

python -m benchmarks.spheres.mnist --mnist FOLDER --dims 2 5 10 20 40 --seeds 0 1 2 [--device cuda]

The protocol is that of Davidson et al. (2018), tables 1 and 2, but for its early stopping and its
warm-up: an encoder with layers of 256 and 128, its mirror as decoder, and images that are
binarised at random. As many binarisations of all training images as ``--copies`` stand for a new
one in each epoch. Held-out log-likelihood by importance sampling of one binarisation of the test
images, in nats an image, and accuracy of 5 nearest neighbours in the posterior means with 100, 600
and 1,000 labels.

For table 3, ``--labels 100 1000`` trains M2 of Kingma et al. (2014) on the posterior means of the
first 10,000 training images (the two models as a stack, M1 + M2): with five normal latents beside
the class, a classifier and the classification loss where labels are known.
"""

import argparse
import json
import time

import torch

import ppvae
from ppvae.data import Dataset, digits, mnist
from ppvae.fitting import cosine
from ppvae.guides import SemiSupervisedGuide
from ppvae.models import SemiSupervisedVAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO, Supervision

LABELS = (100, 600, 1000)
LATENTS = {
    "normal": ("vae", {}),
    "power-spherical": ("svae", {"family": "power-spherical"}),
    "von-mises-fisher": ("svae", {"family": "von-mises-fisher"}),
}


def binarised(part, copies, seed):
    """Draws of pixels as zeros and ones, copy after copy."""
    generator = torch.Generator().manual_seed(seed)
    share = torch.as_tensor(part["x"]).float() / 255
    drawn = [torch.rand(share.shape, generator=generator) < share for _ in range(copies)]
    y = torch.as_tensor(part["y"]).repeat(copies)
    return Dataset({"x": torch.cat(drawn).float(), "y": y})


def accuracies(run, train, test):
    shown = train.take(torch.arange(max(LABELS)))
    near = torch.cdist(run.encode(test)["z"], run.encode(shown)["z"])
    y, truth = torch.as_tensor(shown["y"]), torch.as_tensor(test["y"])
    found = {}
    for count in LABELS:
        closest = near[:, :count].topk(5, largest=False).indices
        found[str(count)] = float((y[closest].mode(1).values == truth).float().mean())
    return found


def stacked(run, train, test, labels, seed):
    """Test accuracy of M2 on the latents of a run, with so many labels."""
    columns = {
        name: part.take(torch.arange(min(10_000, part.num_rows)))
        for name, part in (("train", train), ("test", test))
    }
    codes = {name: run.encode(part)["z"].float() for name, part in columns.items()}
    y = torch.as_tensor(columns["train"]["y"])
    row = torch.arange(len(y))
    again = row[:labels].repeat(len(y) // (4 * labels))
    shown = Dataset({"x": codes["train"], "y": torch.where(row < labels, y, -1)})
    dim = codes["train"].shape[1]
    torch.manual_seed(seed)
    decoder = MLP([5, 10], heads.Normal((dim,)), hidden=(128, 128))
    classifier = MLP(dim, heads.Classes(10), hidden=(128, 128))
    encoder = MLP([dim, 10], heads.DiagonalNormal(5), hidden=(128, 128))
    found = ppvae.fit(
        SemiSupervisedVAE(decoder, latent_dim=5, num_classes=10),
        SemiSupervisedGuide(encoder, classifier=classifier, num_classes=10),
        shown.take(torch.cat([row, again])),
        ELBO() + Supervision("y", weight=50.0),
        epochs=15,
        batch_size=200,
        schedule=cosine,
        seed=seed,
        progress=False,
    ).encode({"x": codes["test"]})["y"]
    return float((found == torch.as_tensor(columns["test"]["y"])).float().mean())


def measured(given, train, test, latents, dim, seed):
    """Figures of one run."""
    name, options = LATENTS[latents]
    torch.manual_seed(seed)
    pair = getattr(ppvae.zoo, name)(
        {"x": torch.as_tensor(train["x"])[:1]},
        latent_dim=dim + (name == "svae"),  # The sphere of that many dimensions.
        likelihood="bernoulli",
        hidden=(256, 128),
        **options,
    )
    started = time.perf_counter()
    run = ppvae.fit(
        pair.model,
        pair.guide,
        train,
        pair.objective,
        epochs=max(1, given.epochs // given.copies),
        batch_size=given.batch_size,
        learning_rate=given.learning_rate,
        schedule=cosine,
        device=given.device,
        compile=True,
        seed=seed,
        progress=False,
    )
    seconds = time.perf_counter() - started
    rows = test.take(torch.arange(min(given.rows, test.num_rows)))
    fit = ppvae.evaluate.log_likelihood(run, rows, num_particles=given.particles)
    return {
        "latents": latents,
        "dim": dim,
        "seed": seed,
        "log_likelihood": float(fit.log_likelihood.mean()),
        "elbo": float(fit.elbo.mean()),
        "untrusted": fit.means()["untrusted"],
        "accuracy": accuracies(run, train, test),
        "stacked": {str(k): stacked(run, train, test, k, seed) for k in given.labels},
        "seconds": seconds,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mnist", help="folder of MNIST's files; else the embedded 5,000 digits")
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 5, 10, 20, 40])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--latents", nargs="+", choices=list(LATENTS), default=list(LATENTS))
    parser.add_argument("--epochs", type=int, default=100, help="passes over one binarisation")
    parser.add_argument("--copies", type=int, default=10, help="binarisations of training images")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--particles", type=int, default=500)
    parser.add_argument("--rows", type=int, default=10_000, help="test images")
    parser.add_argument("--labels", type=int, nargs="+", default=[], help="labels of M1 + M2")
    parser.add_argument("--device")
    given = parser.parse_args()
    data = mnist(given.mnist) if given.mnist else digits()
    test = binarised(data.test, 1, seed=1)
    for seed in given.seeds:
        train = binarised(data.train, given.copies, seed=2 + seed)
        for dim in given.dims:
            for latents in given.latents:
                print(json.dumps(measured(given, train, test, latents, dim, seed)), flush=True)


if __name__ == "__main__":
    main()
