"""k processes take the same steps as one: largest difference of weights and history in 20 steps.

    python -m benchmarks.scale.equal --processes 2

For each of five models a fit of 20 steps (batches of 24 of 97 rows, the last one of 25, validated
each epoch) by one process and by k on this machine (gloo, float32).
"""

from __future__ import annotations

import argparse

import torch

from tests.fitting.shared_fits import CASES, all_fits, largest_difference, together

__all__ = ["main"]


def main() -> None:
    """Print a row per model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--models", nargs="+", default=list(CASES), choices=list(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    many = together(arguments.processes, all_fits, arguments.models)
    one = all_fits(arguments.models)
    print(f"| model | 1 and {arguments.processes} processes | among processes |")
    print("|---|---|---|")
    for name in arguments.models:
        among = max(largest_difference(many[0][name], own[name]) for own in many)
        print(f"| {name} | {largest_difference(one[name], many[0][name]):.1e} | {among:.1e} |")


if __name__ == "__main__":
    main()
