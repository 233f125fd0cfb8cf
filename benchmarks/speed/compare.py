"""Milliseconds a step of each model, made in five ways, taken in turns in one run.

    python benchmarks/speed/compare.py --json speed.json --plot speed.png
    python benchmarks/speed/compare.py --peers jax=JAX/bin/python pythae=PYTHAE/bin/python \
        pyroved=PYROVED/bin/python --rows "VAE, MLP" --cpu-time --pin

With ``--peers`` each contender has a process of its own, those of other libraries in their
own environments (requirements-jax.txt and so on), and steps are those of an epoch
over data: see turns.py.

Ratios are of medians; their spread is the middle half of the ratios of steps that were taken one
after the other, so that what else the machine does slows both. To show: compiled at least twice as
fast as Pyro's SVI (three times for MLP and convolutional VAEs), never slower than hand-written
torch, and within 1.15 of hand-written compiled torch.
"""

import argparse
import json
import platform
import statistics
import time
from datetime import date
from pathlib import Path

import pyro
import torch
from contenders import contenders
from rows import ROWS
from turns import add_options, interpreters, measure_turns, table_of_turns

import ppvae

AGAINST = ("Pyro SVI", "hand-written", "hand-written, compiled", "eager")


def measure(name, options):
    torch.manual_seed(0)
    device = torch.device(options.device)
    steps, making, reason = contenders(ROWS[name], device)
    clock = time.process_time if options.cpu_time else time.perf_counter
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for step in steps.values():
        for _ in range(options.warmup):
            step()
    times = {contender: [] for contender in steps}
    end = time.perf_counter() + options.seconds
    while time.perf_counter() < end or len(times["eager"]) < 10:
        for contender, step in steps.items():
            wait()
            started = clock()
            step()
            wait()
            times[contender].append(1e3 * (clock() - started))
    return {
        "milliseconds": {k: quartiles(v) for k, v in times.items()},
        "times_faster": {k: faster(times, k) for k in AGAINST if k in times},
        "rounds": len(times["eager"]),
        "compile_seconds": making["compiled"],
        "not_compiled_because": reason or None,
    }


def quartiles(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "low": low, "high": high}


def faster(times, against):
    ratio = statistics.median(times[against]) / statistics.median(times["compiled"])
    low, _, high = statistics.quantiles(
        [a / b for a, b in zip(times[against], times["compiled"], strict=True)], n=4
    )
    return {"ratio": ratio, "low": low, "high": high}


def machine(options):
    name = platform.processor() or platform.machine()
    if options.device == "cuda":
        name = torch.cuda.get_device_name()
    elif Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), name)
    return {
        "machine": name,
        "threads": torch.get_num_threads(),
        "versions": {
            "ppvae": ppvae.__version__,
            "torch": torch.__version__,
            "pyro": pyro.__version__,
            "python": platform.python_version(),
        },
        "date": date.today().isoformat(),
    }


def table(results):
    """The results as rows of Markdown."""
    head = ["model", "compiled, ms", *(f"x {name}" for name in AGAINST), "compile, s"]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for name, row in results.items():
        cells = [name, f"{row['milliseconds']['compiled']['median']:.2f}"]
        for against in AGAINST:
            f = row["times_faster"].get(against)
            cells.append(f"{f['ratio']:.2f} ({f['low']:.2f} to {f['high']:.2f})" if f else "")
        lines.append(" | ".join([*cells, f"{row['compile_seconds']:.0f}"]))
    return "\n".join(f"| {line} |" for line in lines)


def plot(results, path):
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 0.7 * len(results) + 1.5), layout="constrained")
    names = list(results)
    for i, against in enumerate(AGAINST):
        shown = [(j, results[n]["times_faster"].get(against)) for j, n in enumerate(names)]
        shown = [(j, f) for j, f in shown if f]
        ratios = [f["ratio"] for _, f in shown]
        # The middle half may lie on one side of the ratio of medians.
        errors = [
            [max(0, f["ratio"] - f["low"]) for _, f in shown],
            [max(0, f["high"] - f["ratio"]) for _, f in shown],
        ]
        at = [j + 0.15 * (i - 1.5) for j, _ in shown]
        axis.errorbar(ratios, at, xerr=errors, fmt="o", markersize=4, label=against)
    axis.axvline(1, color="grey", linewidth=1)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_xlabel("milliseconds a step, divided by those of the compiled step")
    figure.legend(loc="outside upper center", ncols=len(AGAINST))
    figure.savefig(path, dpi=150)


def compare_turns(options):
    options.peers = interpreters(options.peers)
    torch.set_num_threads(options.threads)
    results = {}
    print(json.dumps(machine(options)), flush=True)
    for name in options.rows:
        results[name] = measure_turns(name, options)
        print(table_of_turns({name: results[name]}), flush=True)
        if options.json:
            report = {**machine(options), "rows": results}
            options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def main():
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    made.add_argument("--seconds", type=float, default=30.0, help="a row, beside compiling")
    made.add_argument("--warmup", type=int, default=3, help="steps before the clock runs")
    made.add_argument("--device", default="cpu")
    made.add_argument(
        "--cpu-time",
        action="store_true",
        help="time the processor, not the wall: for one thread of a busy machine",
    )
    made.add_argument("--json", type=Path, help="write results here; rows already there are kept")
    made.add_argument("--plot", type=Path)
    turns = made.add_argument_group("contenders in processes of their own")
    add_options(turns)
    turns.add_argument("--steps", type=int, default=100, help="of a turn")
    turns.add_argument("--tf32", action="store_true", help="allow TF32 in all products")
    options = made.parse_args()
    if options.peers is not None:
        compare_turns(options)
        return
    results = {}
    if options.json and options.json.exists():
        results = json.loads(options.json.read_text(encoding="utf-8"))["rows"]
    for name in options.rows:
        results[name] = measure(name, options)
        clock = "processor" if options.cpu_time else "wall"
        report = {**machine(options), "clock": clock, "rows": results}
        print(table({name: results[name]}), flush=True)
        if options.json:
            options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    results = {name: results[name] for name in ROWS if name in results}
    print(table(results))
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
