"""One contender in a process of its own, which runs a chunk of steps whenever it is asked.

    python server.py equinox '{"row": "VAE, MLP", "data": "x.npy", ...}'

It is started by turns.py with the interpreter of the contender's environment. Each line of its
input is a request, ``{"do": "run"}`` or ``{"do": "elbo"}``; each line of its output is an answer,
the first one to the making. Beside numpy it imports only what the contender needs.
"""

import importlib
import json
import os
import sys
import time
from dataclasses import dataclass

import numpy as np

# Contender to the module that makes it.
MODULES = {
    "ppvae": "in_torch",
    "ppvae, eager": "in_torch",
    "Pyro SVI": "in_torch",
    "torch": "in_torch",
    "torch, compiled": "in_torch",
    "equinox": "in_jax",
    "equinox, jitted": "in_jax",
    "numpyro": "in_jax",
    "numpyro, jitted": "in_jax",
    "pythae": "in_pythae",
    "pyroVED": "in_pyroved",
}


@dataclass
class Task:
    """What every contender of a row is given.

    Attributes:
        row: Name of the row in rows.py.
        data: File with float32 images (N, C, H, W) of zeros and ones, which every library takes.
        test: File with further ones, or None.
        batch: Data a step.
        device: "cpu" or "cuda".
        rate: Learning rate of Adam.
        seed: Random seed.
        tf32: Whether products of float32 may be rounded to TF32.
    """

    row: str
    data: str
    test: str | None
    batch: int
    device: str
    rate: float
    seed: int
    tf32: bool

    def images(self) -> np.ndarray:
        """Whole batches of training data."""
        images = np.load(self.data)
        return images[: len(images) // self.batch * self.batch]

    def steps(self) -> int:
        return len(self.images()) // self.batch


def main() -> None:
    name, task = sys.argv[1], Task(**json.loads(sys.argv[2]))
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def timed(function):
        wall, cpu = time.perf_counter(), time.process_time()
        value = function()
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(spent | {"value": value}), file=answers, flush=True)

    made = {}

    def make():
        module = importlib.import_module(MODULES[name])
        made["run"], made["elbo"] = module.make(name, task)
        made["run"]()  # Compiles.
        return getattr(module, "VERSION", "")

    timed(make)
    for line in sys.stdin:
        timed(made[json.loads(line)["do"]])


if __name__ == "__main__":
    main()
