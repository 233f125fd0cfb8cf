"""Choose the next measurement: a few spectra on an image, each where a deep kernel predicts most.

A simulated image shows a lattice with domains and vacancies; at each atom a loop can be measured,
and its area is largest at charged domain walls. As an instrument's program would, the script asks
the search where to measure next and passes the result to it; an interrupted search is resumed.

    python examples/explore.py            # 60 measurements, a few minutes
    python examples/explore.py --fast     # a small lattice, a few seconds
"""

from __future__ import annotations

import argparse

import numpy as np

from ppvae import plots
from ppvae.active import Search
from ppvae.data import image_spectra
from ppvae.data.scalars import loop_area
from ppvae.zoo.surrogates import deep_kernel_surrogate, inputs_of

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--budget", type=int, default=60)
parser.add_argument("--acquisition", default="ucb", help="max-variance works without BoTorch")
parser.add_argument("--folder", default=None, help="where the search is kept after each step")
parser.add_argument("--fast", action="store_true")
parser.add_argument("--out", default="explore.png")
args = parser.parse_args()

# What can be measured: here a look into a table, elsewhere the instrument.
data = image_spectra(side=14 if args.fast else 55)
voltage = np.array([float(name.split()[0]) for name in data.names["spectrum"]])


def measure(place: int) -> float:
    return float(loop_area(voltage, data["spectrum"][place].numpy()))


steps = {"steps": 10, "first_steps": 20} if args.fast else {}
surrogate = deep_kernel_surrogate(data["x"], ensemble=1 if args.fast else 2, **steps)
budget = 14 if args.fast else args.budget
search = Search(
    surrogate, inputs_of(data["x"]), args.acquisition, start=10, folder=args.folder, seed=0
)
while len(search.steps) < budget:
    for place in search.ask():
        search.tell(place, measure(place))

print(f"largest area measured {float(search.values.max()):.2f} at place {search.best}")
print(f"largest area anywhere {float(data['area'].max()):.2f}")
print(search.calibration.verdict)
mean, variance = surrogate.marginals(search.candidates)
maps = {
    "loop area, true": data["area"],
    "loop area, predicted": mean[:, 0],
    "standard deviation": variance[:, 0].sqrt(),
}
figure = plots.place_map(
    data["position"].numpy(), {k: v.numpy() for k, v in maps.items()}, places=search.places
)
figure.savefig(args.out)
