"""Growth of the time and memory of a step with the number of images N.

    python benchmarks/gp/scaling.py --rows 4050 100000 1000000 --json results/scaling.json

The zoo's ``gpvae`` with its objective (leave-one-view-out included) on N / 15 objects of 15 views.
Images are made as they are asked for: a handwritten three, the same for every 400th object, is
resized and moved by the object's own amounts and turned by the view's angle. Each N runs in a
process of its own, so that its peak memory is its own. Reported: seconds a whole step; seconds
of its GP part, which is the prior, its KL and the leave-out predictions, forward and backward,
and the solution every ``refresh`` steps shared among these; peak resident memory, and what of it
the largest tensor of the GP takes.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from common import TURN, build, write
from torch.nn.functional import affine_grid, grid_sample

from ppvae.data import rotated_digits

VIEWS = 15


class Source:
    """N rows of object, view and index; images of a batch on demand."""

    def __init__(self, rows):
        threes = rotated_digits(num_angles=16, drop=0.0, validation=0.0).train
        first = torch.as_tensor(threes["view"]) == 0
        self.threes = torch.as_tensor(threes["x"])[first]
        self.columns = {
            "object": torch.arange(rows) // VIEWS,
            "view": (torch.arange(rows) % VIEWS) * (TURN / VIEWS),
        }
        self.spec = {
            "x": {"shape": [1, 28, 28]},
            "object": {"shape": [], "classes": math.ceil(rows / VIEWS)},
            "view": {"shape": []},
        }
        self.num_rows = rows

    def batch(self, rows):
        objects, views = self.columns["object"][rows], self.columns["view"][rows]
        size = 1 + 0.15 * torch.sin(0.37 * objects)
        shift = 0.08 * torch.stack([torch.sin(1.3 * objects), torch.cos(2.1 * objects)], 1)
        cos, sin = views.cos() / size, views.sin() / size
        theta = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], 1).unflatten(
            1, (2, 3)
        )
        places = affine_grid(theta, [len(rows), 1, 28, 28], align_corners=False)
        x = grid_sample(self.threes[objects % 400], places, align_corners=False)
        return {"x": x, "object": objects, "view": views, "index": rows}


def gp_part(model, guide, batch):
    """Seconds of the prior, its KL and the leave-out predictions of one step."""
    prior = model.prior
    q = guide.encoder(batch["x"])
    loc, scale = q.mean.detach(), q.stddev.detach()
    started = time.perf_counter()
    prior.record(batch["index"], {"z": q})
    p = prior(batch["object"], batch["view"])
    fitted = torch.distributions.Independent(torch.distributions.Normal(loc, scale), 1)
    kl = torch.distributions.kl_divergence(fitted, p).mean()
    left_out = p.frozen.left_out[p.frozen.folds[batch["index"]]]
    (kl + torch.bmm(p.f[:, None], left_out).mean()).backward()
    return time.perf_counter() - started


def measure(rows, *, steps, batch_size):
    torch.manual_seed(0)
    source = Source(rows)
    model, guide, spec = build(source)
    model.prior.prepare(source.columns)
    objective = spec(model, guide, num_data=rows)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(0)
    whole, part, solves = [], [], []
    objective.train()
    for step in range(steps + 2):
        batch = source.batch(torch.randint(rows, (batch_size,), generator=generator))
        started = time.perf_counter()
        objective(batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        ended = time.perf_counter()
        seconds = gp_part(model, guide, batch)
        optimizer.zero_grad()
        if step >= 2:
            whole.append(ended - started)
            part.append(seconds)
    for _ in range(3):
        started = time.perf_counter()
        model.prior.solve()
        solves.append(time.perf_counter() - started)
    refresh = model.prior.refresh.interval
    solve = sorted(solves)[1]
    buffers = dict(model.prior.named_buffers())
    largest = max(buffers, key=lambda name: buffers[name].numel())
    median = sorted(part)[len(part) // 2]
    step = sorted(whole)[len(whole) // 2]
    return {
        "rows": rows,
        "step_seconds": step + solve / refresh,
        "gp_seconds": median + solve / refresh,
        "gp_batch_seconds": median,
        "solve_seconds": solve,
        "refresh": refresh,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "largest_gp_buffer": [largest, *buffers[largest].shape],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[4050, 100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", action="store_true", help="measure here, not in a process each")
    options = parser.parse_args()
    if options.one:
        found = measure(options.rows[0], steps=options.steps, batch_size=options.batch_size)
        print(json.dumps(found))
        return
    runs = []
    for rows in options.rows:
        command = [sys.executable, __file__, "--one", "--rows", str(rows)]
        command += ["--steps", str(options.steps), "--batch-size", str(options.batch_size)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(runs[-1]), flush=True)
    ratio = runs[-1]["gp_seconds"] / runs[0]["gp_seconds"]
    print(f"GP part, largest over smallest N: {ratio:.2f}")
    if options.json:
        write(options.json, {"batch_size": options.batch_size, "runs": runs, "gp_ratio": ratio})


if __name__ == "__main__":
    main()
