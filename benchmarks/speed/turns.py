"""Contenders in processes of their own, each in its own environment, which run in turns.

A process waits for its turn without using the processor. In a round each contender runs one chunk,
an epoch over the same data; the next round starts with another one. Ratios are of medians over
rounds; their spread is the middle half of the ratios within rounds.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rows import ROWS
from torch.utils.flop_counter import FlopCounterMode

PEERS = {
    "own": ["ppvae", "ppvae, eager", "Pyro SVI", "torch", "torch, compiled"],
    "jax": ["equinox", "equinox, jitted", "numpyro", "numpyro, jitted"],
    "pythae": ["pythae"],
    "pyroved": ["pyroVED"],
}
# Rows that a contender or an environment has no network for. On a processor XLA runs convolutions
# within a scan by a slow path: see BENCHMARKS.md.
CONV = ["VAE, conv 64 x 64 x 3", "VAE, conv 128 x 128 x 3"]
SLOW_ON_CPU = {"equinox": CONV, "numpyro": CONV}
LACKING = {
    "jax": ["rVAE"],
    "pythae": ["rVAE", *CONV],
    "pyroved": CONV,
}


def add_options(parser):
    """The options of scripts that run contenders: which, in which environments, on which cores."""
    parser.add_argument(
        "--peers",
        nargs="*",
        metavar="NAME=PYTHON",
        help="jax, pythae or pyroved, with its interpreter; none for torch's contenders alone",
    )
    parser.add_argument("--contenders", nargs="+", help="only these")
    parser.add_argument("--python", default=sys.executable, help="interpreter with ppvae")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pin", action="store_true", help="use as many cores as threads")
    parser.add_argument(
        "--together",
        action="store_true",
        help="make the contenders side by side, so that their seconds of making say nothing",
    )


def interpreters(peers):
    """The interpreter of each peer's environment, by the peer's name."""
    return dict(peer.split("=", 1) for peer in peers or ())


class Contender:
    """A process that makes one contender and runs it on request."""

    def __init__(self, name, python, task, threads, cores):
        self.name = name
        limits = {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": str(threads),
            "JAX_PLATFORMS": task["device"],
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            # As ppvae's command line does by itself: freed memory is kept.
            "MALLOC_MMAP_THRESHOLD_": str(2**30),
            "MALLOC_TRIM_THRESHOLD_": str(2**30),
            "MPLBACKEND": "Agg",
        }
        self.log = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            [python, str(Path(__file__).parent / "peers" / "server.py"), name, json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ | limits,
            preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
        )
        self.making = None

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"{self.name}: {(self.log.read().splitlines() or ['ended'])[-1]}")
        return json.loads(line)

    def ask(self, what):
        self.process.stdin.write(json.dumps({"do": what}) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


def started(name, options, data, test=None, seed=0):
    """The processes of all contenders of a row, made one after the other or side by side."""
    row = ROWS[name]
    environments = {"own": options.python, **options.peers}
    task = {
        "row": name,
        "data": str(data),
        "test": None if test is None else str(test),
        "batch": len(row.batch()["x"]),
        "device": options.device,
        "rate": 1e-3,
        "seed": seed,
        "tf32": options.tf32,
    }
    cores = set(sorted(os.sched_getaffinity(0))[: options.threads]) if options.pin else None
    making = []
    for environment, python in environments.items():
        if name in LACKING.get(environment, ()):
            continue
        for contender in PEERS[environment]:
            slow = options.device == "cpu" and name in SLOW_ON_CPU.get(contender, ())
            if contender not in options.contenders if options.contenders else slow:
                continue
            making.append(Contender(contender, python, task, options.threads, cores))
            if not options.together:
                yield from ready(making.pop())
    for contender in making:
        yield from ready(contender)


def ready(contender):
    """The contender, once it is made; nothing where it could not be."""
    try:
        contender.making = contender.answer()
    except RuntimeError as error:
        print(f"left out: {error}", flush=True)
    else:
        yield contender


def measure_turns(name, options):
    """Seconds a step of each contender, and the row's share of the machine's product peak."""
    batch = ROWS[name].batch()["x"]
    generator = np.random.default_rng(0)
    rows = options.steps * len(batch)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "x.npy"
        np.save(data, generator.integers(0, 2, (rows, *batch.shape[1:])).astype(np.float32))
        parts = list(started(name, options, data))
        times = {part.name: [] for part in parts}
        peaks = []
        try:
            for part in parts:
                part.ask("run")
            end = time.perf_counter() + options.seconds
            count = 0
            while time.perf_counter() < end or count < 5:
                for i in range(len(parts)):
                    part = parts[(i + count) % len(parts)]
                    times[part.name].append(part.ask("run"))
                peaks.append(product_peak(options.device, options.tf32))
                count += 1
        finally:
            for part in parts:
                part.close()
    flops = step_flops(name)
    clock = "cpu" if options.cpu_time else "wall"
    seconds = {k: [t[clock] / options.steps for t in v] for k, v in times.items()}
    walls = {k: float(np.median([t["wall"] for t in v])) / options.steps for k, v in times.items()}
    peak = float(np.median(peaks))
    first = "ppvae" if "ppvae" in seconds else next(iter(seconds))
    return {
        "contenders": {
            part.name: {
                "milliseconds": 1e3 * float(np.median(seconds[part.name])),
                "wall_milliseconds": 1e3 * walls[part.name],
                "cpu_milliseconds": 1e3
                / options.steps
                * float(np.median([t["cpu"] for t in times[part.name]])),
                "against": first,
                "ratio": float(np.median(seconds[part.name]) / np.median(seconds[first])),
                "middle_half": [
                    float(q)
                    for q in np.quantile(
                        np.array(seconds[part.name]) / np.array(seconds[first]), [0.25, 0.75]
                    )
                ],
                "share_of_peak": flops / peak / float(np.median(seconds[part.name])),
                "making": part.making,
            }
            for part in parts
        },
        "rounds": count,
        "steps_a_round": options.steps,
        "threads": options.threads,
        "clock": clock,
        "tf32": options.tf32,
        "roofline": {"peak_gflops": peak / 1e9, "step_gflop": flops / 1e9},
    }


def product_peak(device, tf32, size=1024, repeats=5):
    """Operations a second of a product of two square float32 matrices, by this clock's seconds.

    On a processor with one thread these are seconds of processor time; elsewhere the wall's.
    """
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    if device == "cuda":
        size *= 8
    a, b = torch.rand(2, size, size, device=device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    clock = time.process_time if device == "cpu" else time.perf_counter
    best = float("inf")
    for _ in range(repeats):
        wait()
        started = clock()
        a @ b
        wait()
        best = min(best, clock() - started)
    threads = torch.get_num_threads() if device == "cpu" else 1
    return 2 * size**3 / best * threads


def step_flops(name):
    """Operations of a step's products and convolutions, forward and backward."""
    twin, batch = ROWS[name].twin(), ROWS[name].batch()
    with FlopCounterMode(display=False) as counter:
        twin(batch).backward()
    return counter.get_total_flops()


def table_of_turns(results):
    lines = []
    for name, row in results.items():
        roof = row["roofline"]
        lines += [
            "",
            f"{name}: {row['rounds']} rounds of {row['steps_a_round']} steps, {row['clock']} "
            f"time, {row['threads']} thread(s); products {roof['step_gflop']:.2f} GFLOP a step, "
            f"measured peak {roof['peak_gflops']:.0f} GFLOP/s",
            "",
            "| contender | ms a step | wall ms | CPU ms | ratio (middle half) | share of peak |",
            "|---|---|---|---|---|---|",
        ]
        for contender, f in sorted(row["contenders"].items(), key=lambda i: i[1]["milliseconds"]):
            low, high = f["middle_half"]
            lines.append(
                f"| {contender} | {f['milliseconds']:.3f} | {f['wall_milliseconds']:.3f} "
                f"| {f['cpu_milliseconds']:.3f} | {f['ratio']:.2f} ({low:.2f} to {high:.2f}) "
                f"| {100 * f['share_of_peak']:.0f} % |"
            )
    return "\n".join(lines)
