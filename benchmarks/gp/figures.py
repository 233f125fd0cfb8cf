"""The figures 2a to 2f of Casale et al. (2018), from a run and from results of the methods.

    ppvae fit gpvae --out runs/gpvae
    python benchmarks/gp/rotated_digits.py --mode joint --seeds 0..4 --json results/joint.json
    python benchmarks/gp/figures.py --run runs/gpvae --results results/*.json --out figures

2a: test error by method, with standard errors over seeds. 2b, 2c: densities of the encoder's means
and log variances. 2d: predictions of ten objects by method. 2e, 2f: covariances between objects
and between views.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from common import mean_and_error

from ppvae import plots
from ppvae.app.workflow import splits_of
from ppvae.report.gallery.unseen import covariance_figure, encoding_figures

PUBLISHED = {"GPPVAE-joint, published": 0.0288}


def by_method(paths):
    """Method to the errors of its seeds; seed to method to the images it kept."""
    errors, images = {}, {}
    for path in paths:
        found = json.loads(path.read_text("utf-8"))
        mode = found["mode"]
        for run in found["runs"]:
            errors.setdefault(mode, []).append(run["test_mse"])
            kept = path.with_name(f"{path.stem}-{run['seed']}.npz")
            if kept.exists():
                images.setdefault(run["seed"], {})[mode] = np.load(kept)
    return errors, images


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="of ppvae fit gpvae")
    parser.add_argument("--results", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    errors, images = by_method(options.results)
    if not images:
        parser.error("results: expected at least one with images beside it (.npz); got none.")
    # A seed draws the split: only methods of one seed show the same test images.
    same = max(images.values(), key=len)
    means = {mode: mean_and_error(values) for mode, values in errors.items()}
    order = sorted(means, key=lambda mode: means[mode][0])
    one = next(iter(same.values()))
    run, _, splits = splits_of(options.run)
    figures = [
        (
            "2a_errors",
            "Test error by method.",
            plots.method_errors(
                {mode: means[mode][0] for mode in order},
                {mode: means[mode][1] for mode in order if len(errors[mode]) > 1},
                references=PUBLISHED,
            ),
        ),
        (
            "2d_predictions",
            "Ten objects at the unseen angle by method.",
            plots.methods_by_object(
                one["x"],
                {mode: same[mode]["mean"] for mode in order if mode in same},
                column_labels=[f"object {p}" for p in one["object"]],
            ),
        ),
    ]
    figures += [
        (f"2bc_{name}", caption, figure)
        for name, caption, figure in encoding_figures(run, splits.train)
    ]
    name, caption, figure = covariance_figure(run, splits.train)
    figures.append((f"2ef_{name}", caption, figure))
    plots.save(options.out, figures)


if __name__ == "__main__":
    main()
