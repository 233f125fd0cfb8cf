"""The difficulty of the cells: a linear classifier on pixels and a small convolutional network.

The linear one is ridge regression onto the classes, its penalty chosen on the validation data.
Run: python benchmarks/infomax/classify.py
"""

import argparse

import torch
from sklearn.linear_model import RidgeClassifier
from torch import nn

from ppvae.data import cells
from ppvae.nets import ConvEncoder, heads

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rows", type=int, default=4000)
parser.add_argument("--size", type=int, default=64)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

train, validation, test = (
    part.batch(slice(None)) for part in cells(options.rows, size=options.size)
)


def share(found, part):
    return float((torch.as_tensor(found) == part["y"]).double().mean())


flat = [part["x"].flatten(1).numpy() for part in (train, validation, test)]
linear = max(
    (RidgeClassifier(alpha).fit(flat[0], train["y"]) for alpha in (1e1, 1e2, 1e3, 1e4)),
    key=lambda one: share(one.predict(flat[1]), validation),
)

torch.manual_seed(options.seed)
network = ConvEncoder(train["x"].shape[1:], heads.Classes(4), channels=[16, 32, 64])
optimizer = torch.optim.Adam(network.parameters(), 2e-3)
best, chosen = 0.0, 0.0
for _ in range(options.epochs):
    for rows in torch.randperm(len(train["y"])).split(64):
        loss = nn.functional.cross_entropy(network(train["x"][rows]).logits, train["y"][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        told = [share(network(part["x"]).logits.argmax(-1), part) for part in (validation, test)]
    if told[0] >= best:
        best, chosen = told
print(f"linear on pixels      {share(linear.predict(flat[2]), test):.3f}")
print(f"convolutional network {chosen:.3f}  (chance is 0.25; {len(test['y'])} test cells)")
