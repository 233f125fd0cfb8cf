"""Processor seconds until the held-out ELBO of MNIST reaches a goal, in turns of one epoch.

    python benchmarks/speed/held_out.py --mnist FOLDER --pin --json held_out.json \
        --peers jax=JAX/bin/python pythae=PYTHAE/bin/python pyroved=PYROVED/bin/python

The contenders are those of compare.py's turns, on the MLP VAE: same networks, Adam, batches of
128, pixels above one half. After each epoch the ELBO of the 10,000 test images is estimated with
one draw each, which is not timed; nor is the first epoch, which compiles and whose seconds stand
apart. A contender that has reached the goal is stopped.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from compare import machine
from turns import add_options, interpreters, started

from ppvae.data import mnist

ROW = "VAE, MLP"


def binary(part):
    return (part.batch(torch.arange(part.num_rows))["x"] > 0.5).float().numpy()


def race(parts, goal, most):
    """Rows of one run: for each contender its epochs, seconds and last ELBO."""
    found = {}
    for part in parts:
        found[part.name] = {
            "making": part.making["cpu"],
            "cpu": 0.0,
            "epochs": 0,
            "elbo": [],
            "reached": False,
        }
    running = list(parts)
    for _ in range(most):
        for part in list(running):
            row = found[part.name]
            row["cpu"] += part.ask("run")["cpu"]
            row["epochs"] += 1
            row["elbo"].append(part.ask("elbo")["value"])
            if row["elbo"][-1] >= goal:
                row["reached"] = True
                running.remove(part)
                part.close()
    for part in running:
        part.close()
    return found


def main():
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--mnist", required=True, help="folder of MNIST's files")
    made.add_argument("--goal", type=float, default=-90.0, help="nats an image")
    made.add_argument("--epochs", type=int, default=30, help="at most")
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add_options(made)
    made.add_argument("--json", type=Path)
    options = made.parse_args()
    options.peers = interpreters(options.peers)
    options.device, options.tf32, options.cpu_time = "cpu", False, True
    data = mnist(options.mnist)
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        train, test = Path(folder) / "train.npy", Path(folder) / "test.npy"
        np.save(train, np.concatenate([binary(data.train), binary(data.validation)]))
        np.save(test, binary(data.test))
        for seed in options.seeds:
            parts = list(started(ROW, options, train, test, seed))
            runs[seed] = race(parts, options.goal, options.epochs)
            for name, row in sorted(runs[seed].items(), key=lambda item: item[1]["cpu"]):
                print(
                    f"seed {seed}  {name:18} {row['cpu']:6.1f} s  {row['epochs']:3} epochs  "
                    f"{row['elbo'][-1]:8.2f}  {'' if row['reached'] else 'not reached'}",
                    flush=True,
                )
            if options.json:
                report = {**machine(options), "goal": options.goal, "runs": runs}
                options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
