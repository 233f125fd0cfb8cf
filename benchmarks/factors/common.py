"""Options and report of the benchmarks of known, partly known and unknown factors."""

import argparse
import json
import platform
import time
from pathlib import Path

import torch

import ppvae
from ppvae.data import Dataset, Splits, digits, mnist

SHAPE = (1, 28, 28)


def parser(description, *, epochs):
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--mnist", help="folder of MNIST's files; else the embedded 5,000 digits")
    made.add_argument("--uci", action="store_true", help="scikit-learn's 1,797 digits instead")
    made.add_argument("--epochs", type=int, default=epochs)
    made.add_argument("--rows", type=int, help="number of training images")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--device", default=None)
    made.add_argument(
        "--compile", action="store_true", help="compile the steps, however few they are"
    )
    made.add_argument("--json", type=Path, help="write the results here, too")
    return made


def images(options):
    if options.uci:
        data = another_collection()
    else:
        data = mnist(options.mnist) if options.mnist else digits()
    if options.rows is None:
        return data
    return Splits(data.train.take(torch.arange(options.rows)), data.validation, data.test)


def another_collection():
    """The digits of the UCI repository that scikit-learn has, enlarged from 8 x 8 to 28 x 28."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = torch.as_tensor(found.images / 16, dtype=torch.float32)[:, None]
    x = torch.nn.functional.interpolate(x, SHAPE[1:], mode="bilinear").clamp(0, 1)
    data = Dataset({"x": x, "y": torch.as_tensor(found.target).long()})
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return Splits(data.take(order[500:]), None, data.take(order[:500]))


def batch_of(data, device="cpu"):
    return data.batch(slice(None), device=device)


def compiled(options):
    """The argument ``compile`` of a fit."""
    return True if options.compile else "auto"


def device_of(module):
    return next(module.parameters()).device


class Clock:
    def __enter__(self):
        self.started = time.perf_counter()
        return self

    def __exit__(self, *error):
        self.seconds = time.perf_counter() - self.started


def report(options, **results):
    results = {
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()},
        "versions": {
            "ppvae": ppvae.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "threads": torch.get_num_threads(),
        **results,
    }
    # The path of the data is not reported.
    results["options"]["mnist"] = bool(options.mnist)
    for path in ("json", "keep"):
        results["options"].pop(path, None)
    print(json.dumps(results, indent=2))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
