"""What the peers share: their options, the patches that they read, the file that they write."""

import argparse
from pathlib import Path

import numpy as np
import torch


def options_of(description):
    """The options of a peer's script; one thread from here on."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("atoms", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--noise", type=float, default=0.1, help="of a pixel")
    torch.set_num_threads(1)
    return parser.parse_args()


def patches(options):
    """Patches (N, H, W)."""
    with np.load(options.atoms) as arrays:
        return arrays["x"][:, 0]


def write(options, codes, seconds):
    """Write codes (N, 3), the angle first, and the processor seconds of the fit."""
    codes = np.asarray(codes)
    np.savez(
        options.out,
        z=codes[:, 1:],
        angle=codes[:, 0],
        cpu_seconds=seconds,
        epochs=options.epochs,
    )
