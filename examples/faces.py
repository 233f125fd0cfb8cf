"""Faces of 128 x 128 pixels in colour: what a VAE does with pictures that it was not fitted to.

The convolutional VAE of the lectures, batches of 16, on drawn faces with known factors
(ppvae.data.faces), as no collection of real ones can be shipped. The first picture shows four
training and four unseen faces after one, two and three thirds of the epochs: 400, 800 and 1,200
steps. NAME-walks.png shows a walk between two unseen faces, and an arithmetic of latents: glasses,
the mean latent of faces with them minus that of faces without, put on unseen faces.
NAME-latents.png shows the error of training and unseen pictures by the number of latents, beside
as many principal components, and a t-SNE of the latents.
Run: python examples/faces.py --out faces.png

Pictures of your own: `--folder FOLDER`; they are cropped and resized to `--size`. If they lie in
two sub-folders, those are the classes of the arithmetic. `--lfw` takes the 100 real faces of 25 x
25 pixels that come with the package scikit-image.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

import ppvae
from ppvae import plots
from ppvae.data import Dataset
from ppvae.data.faces import FACE_CLASSES
from ppvae.data.splits import split_rows
from ppvae.evaluate import linear_r2, tsne
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import ConvDecoder, ConvEncoder, Standardized, heads

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=48)
parser.add_argument("--rows", type=int, default=500, help="number of drawn faces")
parser.add_argument("--size", type=int, default=128, help="height and width in pixels")
parser.add_argument("--latents", type=int, nargs="+", default=[20, 30, 50, 64])
parser.add_argument("--folder", default=None, help="folder of pictures, in place of drawn ones")
parser.add_argument("--lfw", action="store_true", help="the real faces of scikit-image, 25 x 25")
parser.add_argument("--fast", action="store_true", help="a few epochs of few, small faces")
parser.add_argument("--out", default=None, help="image file to write")
options = parser.parse_args()
if options.fast:
    options.epochs, options.rows, options.size, options.latents = 3, 60, 32, [2, 4]

classes = ("first class", "second class")
if options.lfw:
    from skimage.data import lfw_subset  # pip install scikit-image

    pictures = lfw_subset()[:100, None].astype(np.float32)  # the other hundred are no faces
    splits = split_rows(Dataset({"x": pictures}), seed=0)
elif options.folder is not None:
    data = ppvae.data.images(options.folder, size=(options.size, options.size), crop=True)
    splits, classes = split_rows(data, seed=0), data.record.names.get("y", classes)
else:
    splits, classes = ppvae.data.faces(options.rows, size=options.size, seed=0), FACE_CLASSES
train, unseen = splits.train, splits.test
x, new_x = (part.batch(slice(None))["x"] for part in (train, unseen))
shown = torch.cat([x[:4], new_x[:4]])
shape = tuple(x.shape[1:])
print(f"{len(x)} training pictures, {len(new_x)} unseen, {shape}")


class Watch:
    """The shown pictures as the model has them after some of the epochs."""

    def __init__(self, model, guide, epochs):
        self.model, self.guide, self.epochs, self.rows = model, guide, epochs, {}

    def on_epoch_end(self, training):
        epoch = len(training.history)
        if epoch in self.epochs:
            with training.settled():
                codes = ppvae.programs.encode(self.guide, {"x": shown.to(training.device)})
                decoded = ppvae.programs.decode(self.model, codes)["x"]
            self.rows[epoch] = decoded.cpu()


errors = {"training": [], "unseen": [], "training, components": [], "unseen, components": []}
for latent_dim in options.latents:
    torch.manual_seed(0)
    likelihood = heads.Normal(shape, heads.Shared(0.3), center=x.mean(0), unit=x.std())
    decoder = ConvDecoder(
        latent_dim, likelihood, channels=(64, 32, 16, 16), last_channels=8, upsample="shuffle"
    )
    model = VAE(decoder, latent_dim=latent_dim)
    encoder = ConvEncoder(shape, heads.DiagonalNormal(latent_dim))
    guide = AmortizedGuide(Standardized(encoder, x.mean(), x.std()))
    watch = Watch(model, guide, {options.epochs * n // 3 for n in (1, 2, 3)})
    run = ppvae.fit(
        model,
        guide,
        splits,
        epochs=options.epochs,
        batch_size=16,
        learning_rate=2e-3,
        callbacks=[watch],
        seed=0,
    )
    components = PCA(min(latent_dim, len(x) - 1)).fit(x.flatten(1))
    for name, part in (("training", x), ("unseen", new_x)):
        z = run.encode({"x": part})["z"]
        errors[name].append(float((run.decode({"z": z})["x"] - part).square().mean()))
        linear = components.inverse_transform(components.transform(part.flatten(1)))
        linear = torch.as_tensor(linear).reshape(part.shape)
        errors[f"{name}, components"].append(float((linear - part).square().mean()))
    print(
        f"{latent_dim} latents, mean squared error:",
        {n: round(e[-1], 5) for n, e in errors.items()},
    )

# What the latents say of the known factors, by a linear model on unseen faces.
z, new_z = (run.encode({"x": part})["z"] for part in (x, new_x))
every = torch.cat([z, new_z])
for name in train:
    if name not in ("x", "y"):
        factor = torch.cat([torch.as_tensor(part[name]).float() for part in (train, unseen)])
        print(f"  {name:<12} R2 from z {linear_r2(every, factor):.2f}")

# From one unseen face to another, and the vector of the second class added to four unseen faces
# of the first.
share = torch.linspace(0, 1, 8)[:, None]
walk = run.decode({"z": new_z[:1] * (1 - share) + new_z[1:2] * share})["x"]
rows = {"picture": shown} | {f"epoch {e}": seen for e, seen in watch.rows.items()}
walks = {"from one to another": walk}
if "y" in train:
    y, new_y = (torch.as_tensor(part["y"]) for part in (train, unseen))
    vector = z[y == 1].mean(0) - z[y == 0].mean(0)
    before = new_z[new_y == 0][:4]
    given = torch.stack([before, before + vector], 1).flatten(0, 1)
    walks[f"without, with {classes[1]}"] = run.decode({"z": given})["x"]

if options.out:
    labels = [*(f"train {n}" for n in range(1, 5)), *(f"unseen {n}" for n in range(1, 5))]
    out = Path(options.out)
    # Rows with fewer than eight pictures, of few unseen ones, end with blanks.
    blank = torch.full((8, *shape), torch.nan)
    for name, shown_rows, columns in (
        (out.name, rows, labels),
        (f"{out.stem}-walks{out.suffix}", walks, None),
    ):
        sheet = torch.stack([torch.cat([row, blank])[:8] for row in shown_rows.values()])
        figure = plots.images(sheet, row_labels=list(shown_rows), column_labels=columns)
        figure.savefig(out.with_name(name))

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, values in errors.items():
        style = ":" if name.endswith("components") else "-"
        colour = "C0" if name.startswith("training") else "C1"
        left.plot(options.latents, values, style, color=colour, marker="o", label=name)
    left.set(xlabel="number of latents", ylabel="mean squared error of a pixel", ylim=(0, None))
    left.legend(frameon=False)
    places = tsne(every)
    if "y" in train:
        all_y = torch.cat([y, new_y])
        for k in all_y.unique():
            right.scatter(*places[all_y == k].T, s=8, lw=0, label=classes[k])
    else:
        right.scatter(*places.T, s=8)
    right.scatter(
        *places[len(z) :].T, s=24, facecolor="none", edgecolor="k", lw=0.6, label="unseen"
    )
    right.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.02))
    right.set(title="t-SNE of the latents", xticks=[], yticks=[])
    figure.savefig(out.with_name(f"{out.stem}-latents{out.suffix}"), dpi=150)
