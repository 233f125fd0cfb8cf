"""A step in float32, with products in TF32, and in bfloat16 mixed precision: time, memory, result.

    python benchmarks/speed/precision.py --device cuda --json precision.json
    python benchmarks/speed/precision.py --device cuda --mnist FOLDER --epochs 20

Each row of rows.py is taken with its own batch and with larger ones, eager and compiled; the three
precisions take turns. Memory is the most that a step allocates on a GPU, beside its weights. With
``--mnist`` or ``--digits`` the MLP VAE and a convolutional one are trained in each precision from
the same seeds, and the held-out ELBO (float32, nats a datum) and the seconds of the fit are
reported: what mixed precision costs and saves.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path

import torch
from compare import machine, quartiles
from contenders import library
from rows import DIGIT, LATENT, ROWS

import ppvae
from ppvae.data import digits, mnist
from ppvae.evaluate import summary
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import ConvDecoder, ConvEncoder, heads

PRECISIONS = ("float32", "TF32", "bfloat16")
TIMED = (
    ("VAE, MLP", 1),
    ("VAE, MLP", 32),
    ("VAE, conv 64 x 64 x 3", 1),
    ("VAE, conv 64 x 64 x 3", 16),
    ("VAE, conv 128 x 128 x 3", 1),
    ("VAE, conv 128 x 128 x 3", 16),
    ("rVAE", 8),
)


class Precision:
    """Settings of torch for one of the precisions, and the dtype of autocast."""

    def __init__(self, name):
        self.tf32 = name == "TF32"
        self.dtype = torch.bfloat16 if name == "bfloat16" else None

    def __enter__(self):
        self.kept = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = self.tf32
        return self.dtype

    def __exit__(self, *error):
        torch.set_float32_matmul_precision(self.kept[0])
        torch.backends.cudnn.allow_tf32 = self.kept[1]


def timed(name, factor, compiled, options):
    """Milliseconds a step of each precision, in turns, and MiB beside the weights."""
    device = torch.device(options.device)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    steps, memory, reasons = {}, {}, {}
    for name_of in PRECISIONS:
        torch.manual_seed(0)
        with Precision(name_of) as dtype:
            steps[name_of], reasons[name_of] = library(
                ROWS[name], device, compile=compiled, precision=dtype, factor=factor
            )
            for _ in range(options.warmup):
                steps[name_of]()
            if device.type == "cuda":
                wait()
                before = torch.cuda.memory_allocated()
                torch.cuda.reset_peak_memory_stats()
                steps[name_of]()
                wait()
                memory[name_of] = (torch.cuda.max_memory_allocated() - before) / 2**20
    times = {name_of: [] for name_of in PRECISIONS}
    end = time.perf_counter() + options.seconds
    while time.perf_counter() < end or len(times["float32"]) < 10:
        for name_of, step in steps.items():
            with Precision(name_of):
                wait()
                started = time.perf_counter()
                for _ in range(options.chunk):
                    step()
                wait()
                times[name_of].append(1e3 * (time.perf_counter() - started) / options.chunk)
    return {
        name_of: {
            "milliseconds": quartiles(times[name_of]),
            "faster": statistics.median(times["float32"]) / statistics.median(times[name_of]),
            "MiB": memory.get(name_of),
            "not_compiled_because": reasons[name_of] or None,
        }
        for name_of in PRECISIONS
    }


def convolutional():
    encoder = ConvEncoder(DIGIT, heads.DiagonalNormal(LATENT))
    return VAE(ConvDecoder(LATENT, heads.Bernoulli(DIGIT)), latent_dim=LATENT), AmortizedGuide(
        encoder
    )


TRAINED = {"MLP": lambda: ROWS["VAE, MLP"].pair()[:2], "convolutions": convolutional}


def trained(make, data, name_of, seed, options):
    torch.manual_seed(seed)
    model, guide = make()
    with Precision(name_of) as dtype:
        started = time.perf_counter()
        run = ppvae.fit(
            model,
            guide,
            data.train,
            epochs=options.epochs,
            batch_size=options.batch_size,
            precision=dtype,
            seed=seed,
            device=options.device,
            compile=True,
            progress=False,
        )
        seconds = time.perf_counter() - started
    found = summary(run, data.test, max_rows=options.rows)
    return {
        "elbo": found["elbo"],
        "log_likelihood": found["log_likelihood"],
        "seconds": seconds,
        "compile_seconds": run.metrics.get("compile_seconds"),
    }


def main():
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--device", default="cpu")
    made.add_argument("--seconds", type=float, default=5.0, help="a row, beside compiling")
    made.add_argument("--warmup", type=int, default=5)
    made.add_argument("--chunk", type=int, default=10, help="steps a turn")
    made.add_argument("--only", type=int, nargs="+", help="places of rows in TIMED, from 0")
    made.add_argument("--compiled", type=int, nargs="+", choices=(0, 1), default=(0, 1))
    made.add_argument("--mnist", help="folder of MNIST's files: train on them")
    made.add_argument("--digits", action="store_true", help="train on the embedded digits")
    made.add_argument("--epochs", type=int, default=20)
    made.add_argument("--batch-size", type=int, default=128)
    made.add_argument("--rows", type=int, default=2000, help="test images")
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--json", type=Path)
    options = made.parse_args()
    results = []
    if options.mnist or options.digits:
        data = mnist(options.mnist) if options.mnist else digits()
        for name, seed, name_of in itertools.product(TRAINED, options.seeds, PRECISIONS):
            row = {"model": name, "seed": seed, "precision": name_of}
            results.append(row | trained(TRAINED[name], data, name_of, seed, options))
            print(json.dumps(results[-1]), flush=True)
    else:
        chosen = TIMED if options.only is None else [TIMED[i] for i in options.only]
        for (name, factor), compiled in itertools.product(chosen, options.compiled):
            row = {"row": name, "factor": factor, "compiled": bool(compiled)}
            results.append(row | timed(name, factor, bool(compiled), options))
            print(json.dumps(results[-1]), flush=True)
    if options.json:
        report = {**machine(options), "rows": results}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
