"""Missing frames of videos by two models of NNGPVAE-official (Shi et al., 2025), unchanged.

Their SVGPVAE (10 inducing points) and Markovian GPVAE are called from a checkout of the
repository, with the networks, kernels and settings of their scripts: 16 latents, Bernoulli
likelihood, lengthscale 5 frames at first, beta 0.8, float32. Otherwise than there, 10 videos make
a batch in place of 50, since there are 300 in place of 4,000, and the learning rate is given.

In an environment of its own (requirements-nngpvae.txt):
    python benchmarks/gp/peers/in_nngpvae.py CHECKOUT videos0.npz --model svgpvae --out found.npz
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import torch


def models(file, name):
    """The model and the arguments that training and prediction have in common."""
    if name == "svgpvae":
        from baselines.svgpvae.models.svgpvae_longhmnist_misfrms import SVGPVAELongHMNISTMisFrms

        model = SVGPVAELongHMNISTMisFrms(10, file, GP_joint=True, IP_joint=True, jitter=1e-5)
        return model, {"timestamp_batch_size": 20}
    from baselines.mgpvae.models.mgpvae_longhmnist_misfrms import MGPVAELongHMNISTMisFrms

    return MGPVAELongHMNISTMisFrms(file, GP_joint=True, jitter=1e-5), {}


def main(options):
    sys.path.insert(0, str(options.checkout))
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)  # noqa: NPY002 (theirs)
    torch.set_num_threads(1)
    with np.load(options.videos) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "videos.h5"
        with h5py.File(file, "w") as stored:
            for name, values in columns.items():
                stored.create_dataset(name, data=values)
        model, sizes = models(file, options.model)
        model.entire_train_dataset.data_dict = columns  # in memory
        optimiser = torch.optim.Adam(model.parameters(), lr=options.lr)
        spent, done = 0.0, 0
        while done < options.epochs and spent < options.seconds:
            started = time.process_time()
            log = io.StringIO()
            with contextlib.redirect_stdout(log):
                model.train_gpvae(
                    optimiser,
                    0.8,
                    epochs=options.every,
                    series_batch_size=options.videos_per_batch,
                    max_norm=1e10,
                    print_epochs=options.every,
                    **sizes,
                )
            spent += time.process_time() - started
            done += options.every
            # Few videos at a time, and one draw of theirs, which only their own score needs.
            found = model.predict_gpvae(
                file, series_batch_size=5, num_samples=1, **dict.fromkeys(sizes, 100)
            )
            missing = columns["m_test_miss"][..., 0] == 0
            settings = {k: str(v) for k, v in vars(options).items()} | {"trained": done}
            np.savez(
                options.out,
                mean=found[3]["images"][missing],
                cpu_seconds=spent,
                settings=json.dumps(settings),
            )
            print(
                f"{done} epochs, {spent:.0f} CPU s, MSE {float(found[2]) / 784:.4f}, "
                f"{log.getvalue().split(chr(10))[0]}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="of github.com/shixinxing/NNGPVAE-official")
    parser.add_argument("videos", type=Path, help="of missing_frames.py --write")
    parser.add_argument("--model", choices=("svgpvae", "mgpvae"), default="svgpvae")
    parser.add_argument("--out", type=Path, required=True, help="probabilities, as .npz")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="CPU s at most")
    parser.add_argument("--every", type=int, default=2, help="epochs between predictions")
    parser.add_argument("--videos-per-batch", type=int, default=10)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
