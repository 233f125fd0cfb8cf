"""The cost of a critic: the processor time of a step with it, divided by that without.

Run: python benchmarks/infomax/cost.py
"""

import argparse
import statistics
import time

import torch

from ppvae.data import cells, digits
from ppvae.fitting import fit
from ppvae.zoo import build

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=20, help="a fit; two fits each, in turn")
parser.add_argument("--cases", type=int, nargs="+", default=[0, 1, 2], help="by number")
options = parser.parse_args()


class Clock:
    """Seconds of processor time of each step: others on the machine do not count."""

    def __init__(self):
        self.seconds = []

    def on_fit_start(self, training):
        self.last = time.process_time()

    def on_step_end(self, training):
        now = time.process_time()
        self.seconds.append(now - self.last)
        self.last = now


CASES = {
    "cells, 3 x 64 x 64, conv": (cells(640).train, {"network": "conv"}, {}),
    "digits, 784, mlp 512-256": (digits().train, {"network": "mlp"}, {}),
    "digits, joint critic": (digits().train, {"network": "mlp"}, {"critic": "joint"}),
}
for case, (data, shared, own) in [list(CASES.items())[i] for i in options.cases]:
    medians = {}
    clocks = {"vae": Clock(), "infomax": Clock()}
    for _ in range(2):
        for name, clock in clocks.items():
            torch.manual_seed(0)
            model, guide, objective = build(
                name,
                data.spec,
                likelihood="bernoulli",
                **shared,
                **(own if name == "infomax" else {}),
            )
            rows = data.take(torch.arange(options.steps * 128) % data.num_rows)
            fit(
                model,
                guide,
                {"x": rows["x"]},
                objective,
                epochs=1,
                batch_size=128,
                callbacks=[clock],
                progress=False,
            )
    for name, clock in clocks.items():
        medians[name] = statistics.median(clock.seconds)
    print(
        f"{case}: {1e3 * medians['vae']:.1f} ms without, {1e3 * medians['infomax']:.1f} with, "
        f"{medians['infomax'] / medians['vae']:.2f} x"
    )
