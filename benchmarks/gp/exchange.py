"""Files of the longitudinal protocol for other programs, and scores of their predictions.

    python benchmarks/gp/exchange.py write FOLDER --seed 0       # train, validation, test.npz
    python benchmarks/gp/exchange.py score FOLDER found.npz ...  # arrays validation and test

Scores as in longitudinal.py: mean squared error at the pixels that are not missing.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from longitudinal import error, group_mean, last_visit

from ppvae.data import visits

PARTS = ("train", "validation", "test")


def columns(path):
    with np.load(path) as arrays:
        return {name: torch.as_tensor(arrays[name]) for name in arrays.files}


def export(folder, seed):
    splits = visits(seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        data = getattr(splits, name)
        np.savez(folder / f"{name}.npz", **{key: np.asarray(data[key]) for key in data})


def score(folder, files):
    data = {name: columns(folder / f"{name}.npz") for name in PARTS}
    for part in ("validation", "test"):
        for guess in (group_mean, last_visit):
            mse = error(guess(data["train"], data[part]), data[part]["x"])
            print(f"{part:<11} {guess.__name__:<24} {mse:.4f}")
    for path in files:
        with np.load(path) as found:
            for part in ("validation", "test"):
                mse = error(torch.as_tensor(found[part]), data[part]["x"])
                print(f"{part:<11} {path.stem:<24} {mse:.4f}  {found['cpu_seconds']:.0f} CPU s")
            print(json.loads(str(found["settings"])))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("write", "score"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", type=Path, nargs="*", help="predictions, as .npz")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.task == "write":
        export(options.folder, options.seed)
    else:
        score(options.folder, options.files)
