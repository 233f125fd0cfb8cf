"""Normal latents against spheres of as many dimensions, with the same networks.

python -m benchmarks.spheres.mnist [--mnist FOLDER] [--dims 2 5 10] [--seeds 1] [--epochs 20]

Images are binarised once at 1/2. Held-out log-likelihood by importance sampling, in nats an image,
and accuracy of 5 nearest neighbours in the posterior means with 100, 600 and 1,000 labels.
"""

import argparse
import json

import torch

import ppvae
from ppvae.data import Splits, digits, mnist

LABELS = (100, 600, 1000)


def binarised(part):
    return part.with_columns(x=(torch.as_tensor(part["x"]) > 127).float())


def accuracies(run, data):
    train, test = run.encode(data.train)["z"], run.encode(data.test)["z"]
    y, truth = torch.as_tensor(data.train["y"]), torch.as_tensor(data.test["y"])
    found = {}
    for count in LABELS:
        near = torch.cdist(test, train[:count]).topk(5, largest=False).indices
        found[str(count)] = float((y[:count][near].mode(1).values == truth).float().mean())
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mnist", help="folder of MNIST's files; else the embedded 5,000 digits")
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 5, 10, 20, 40])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--particles", type=int, default=500)
    parser.add_argument("--rows", type=int, default=1000, help="test images of the log-likelihood")
    given = parser.parse_args()
    data = mnist(given.mnist) if given.mnist else digits()
    data = Splits(*map(binarised, data))
    shape = torch.as_tensor(data.train["x"])[:1]
    for dim in given.dims:
        for seed in range(given.seeds):
            for name, options in (
                ("vae", {}),
                ("svae", {"family": "von-mises-fisher"}),
                ("svae", {"family": "power-spherical"}),
            ):
                torch.manual_seed(seed)
                entry = getattr(ppvae.zoo, name)
                size = dim + (name == "svae")  # The sphere of that many dimensions.
                pair = entry({"x": shape}, latent_dim=size, likelihood="bernoulli", **options)
                run = ppvae.fit(
                    pair.model,
                    pair.guide,
                    data,
                    pair.objective,
                    epochs=given.epochs,
                    batch_size=128,
                    learning_rate=1e-3,
                    seed=seed,
                    progress=False,
                )
                rows = data.test.take(torch.arange(min(given.rows, data.test.num_rows)))
                fit = ppvae.evaluate.log_likelihood(run, rows, num_particles=given.particles)
                means = fit.means()
                row = {"latents": options.get("family", "normal"), "dim": dim, "seed": seed}
                row |= {"log_likelihood": float(fit.log_likelihood.mean())}
                row |= {"elbo": float(fit.elbo.mean()), "untrusted": means["untrusted"]}
                print(json.dumps(row | {"accuracy": accuracies(run, data)}), flush=True)


if __name__ == "__main__":
    main()
