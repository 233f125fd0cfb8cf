"""Cost of draws with gradients from directions, in CPU seconds, against normals of one size.

python -m benchmarks.spheres.sampling [--rows 4096] [--repeats 30]
"""

import argparse
import json
import statistics
import time

import pyro.distributions as dist
import torch

from ppvae.distributions import PowerSpherical, VonMisesFisher

DIMS = (2, 3, 5, 10, 20, 40, 100)
KAPPAS = (1.0, 100.0, 10_000.0)


def seconds(draw, repeats):
    """The median of CPU seconds of a draw and its gradient."""
    spent = []
    for _ in range(repeats + 3):
        start = time.process_time()
        draw().sum().backward()
        spent.append(time.process_time() - start)
    return statistics.median(spent[3:])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=30)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for dim in DIMS:
        loc = torch.randn(given.rows, dim, requires_grad=True)
        scale = torch.ones(given.rows, dim, requires_grad=True)
        normal = seconds(lambda loc=loc, s=scale: dist.Normal(loc, s).rsample(), given.repeats)
        unit = torch.nn.functional.normalize(loc.detach(), dim=1).requires_grad_()
        ratios = {"dim": dim, "normal_ms": 1000 * normal}
        for family in (PowerSpherical, VonMisesFisher):
            for kappa in KAPPAS:
                at = torch.full((given.rows,), kappa, requires_grad=True)
                draw = lambda f=family, u=unit, a=at: f(u, a, validate_args=False).rsample()  # noqa: E731
                ratios[f"{family.__name__}, {kappa:g}"] = seconds(draw, given.repeats) / normal
        print(json.dumps(ratios))


if __name__ == "__main__":
    main()
