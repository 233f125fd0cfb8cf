"""Missing frames of videos by models of NNGPVAE-official (Shi et al., 2025), unchanged.

Their SVGPVAE (10 inducing points), Markovian GPVAE, nearest-neighbour GPVAE (20 neighbours) and
CVAE are called from a checkout of the repository, with the networks, kernels and settings of their
scripts: 16 latents, Bernoulli likelihood, lengthscale 5 frames at first, beta 0.8 (CVAE 1),
float32. Otherwise than there, 10 videos make a batch in place of 50, since there are 300 in place
of 4,000, and the learning rate is given.

Casale's GPPVAE of the collection cannot be made (its constructor passes val_split as GP_joint),
takes logits for probabilities, and encodes the frame that it is asked for. Here its bound gets the
networks and the kernel of the other models, a jitter of 1e-3 (less fails in float32),
probabilities, and the frames that are left of one video after another; the nearest-neighbour
GPVAE's function predicts, given all of these frames.

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

MODELS = ("svgpvae", "mgpvae", "vnn", "cvae", "gppvae")


class Peer:
    """One of their models of this protocol; ``predict`` gives the missing frames."""

    beta, kind = 0.8, "gpvae"

    def __init__(self, name, file, columns):
        self.file, self.columns, self.trained = file, columns, {"timestamp_batch_size": 20}
        self.asked = {"timestamp_batch_size": 100}
        if name == "svgpvae":
            from baselines.svgpvae.models.svgpvae_longhmnist_misfrms import (
                SVGPVAELongHMNISTMisFrms,
            )

            self.model = SVGPVAELongHMNISTMisFrms(
                10, file, GP_joint=True, IP_joint=True, jitter=1e-5
            )
        elif name == "mgpvae":
            from baselines.mgpvae.models.mgpvae_longhmnist_misfrms import MGPVAELongHMNISTMisFrms

            self.model = MGPVAELongHMNISTMisFrms(file, GP_joint=True, jitter=1e-5)
            self.trained = self.asked = {}
        elif name == "cvae":
            from baselines.vae.cvae_misfrms_hmnist import CVAELongHMNISTMisFrms

            self.model, self.beta, self.kind = CVAELongHMNISTMisFrms(file), 1.0, "cvae"
            self.asked = {}
        else:
            from models.gpvae_longhmnist_misfrms import GPVAELongHMNISTMisFrms_VNN

            self.model = GPVAELongHMNISTMisFrms_VNN(20, file, GP_joint=True)
            self.trained = {"timestamp_kl_batch_size": 20}
        self.model.entire_train_dataset.data_dict = columns  # in memory

    def train(self, optimiser, epochs, videos):
        log = io.StringIO()
        with contextlib.redirect_stdout(log):
            getattr(self.model, f"train_{self.kind}")(
                optimiser,
                self.beta,
                epochs=epochs,
                series_batch_size=videos,
                max_norm=1e10,
                print_epochs=epochs,
                **self.trained,
            )
        return log.getvalue().split(chr(10))[0]

    def predict(self):
        # Few videos at a time, and one draw of theirs, which only their own score needs.
        found = getattr(self.model, f"predict_{self.kind}")(
            self.file, series_batch_size=5, num_samples=1, **self.asked
        )
        return found[-1]["images"][self.columns["m_test_miss"][..., 0] == 0]


class Probabilities(torch.nn.Module):
    """Their decoder, of probabilities in place of logits."""

    output_distribution = "bernoulli"

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, z):
        return self.decoder(z).sigmoid()


class Casale(Peer):
    def __init__(self, name, file, columns):
        super().__init__("vnn", file, columns)
        from baselines.gpvae_Casale.gppvae_Casale_hmnist import GPPVAECasaleHealing
        from models.gpvae_base import GPVAEBase

        parts = self.model
        self.model = GPPVAECasaleHealing.__new__(GPPVAECasaleHealing)
        decoder = Probabilities(parts.decoder)
        GPVAEBase.__init__(self.model, parts.encoder, decoder, parts.gp, None, jitter=1e-3)

    def left(self, part, video):
        """The frames that are left and their times, and the times of the missing ones."""
        left = torch.as_tensor(self.columns[f"m_{part}_miss"][video, :, 0]) > 0
        frames = torch.as_tensor(self.columns[f"seq_{part}_full"][video])
        times = torch.as_tensor(self.columns[f"t_{part}_full"][video])
        return frames[left], times[left], times[~left]

    def train(self, optimiser, epochs, videos):
        for _ in range(epochs):
            for batch in torch.randperm(len(self.columns["t_train_full"])).split(videos):
                optimiser.zero_grad()
                for video in batch.tolist():
                    frames, times, _ = self.left("train", video)
                    self.model.num_frames_per_series = len(frames)
                    none = torch.zeros_like(frames[None])
                    with contextlib.redirect_stdout(None):
                        loss = self.model.average_loss(frames[None], times[None], none, self.beta)
                    (loss / len(batch)).backward()
                optimiser.step()
        return f"loss {loss.item():.4f}"

    @torch.no_grad()
    def predict(self):
        found = []
        for video in range(len(self.columns["t_test_full"])):
            frames, times, asked = self.left("test", video)
            near = [v.expand(len(asked), *v.shape) for v in (times, *self.model.encoder(frames))]
            z = self.model.gp.posterior(asked, *near, jitter_val=self.model.jitter)[0]
            found.append(self.model.decoder(z))
        return torch.cat(found).numpy()


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
        made = Casale if options.model == "gppvae" else Peer
        peer = made(options.model, file, columns)
        optimiser = torch.optim.Adam(peer.model.parameters(), lr=options.lr)
        spent, done = 0.0, 0
        while done < options.epochs and spent < options.seconds:
            started = time.process_time()
            log = peer.train(optimiser, options.every, options.videos_per_batch)
            spent += time.process_time() - started
            done += options.every
            mean = peer.predict()
            true = columns["seq_test_full"][columns["m_test_miss"][..., 0] == 0]
            settings = {k: str(v) for k, v in vars(options).items()} | {"trained": done}
            np.savez(
                options.out,
                mean=mean,
                cpu_seconds=spent,
                settings=json.dumps(settings),
            )
            print(
                f"{done} epochs, {spent:.0f} CPU s, MSE {((mean - true) ** 2).mean():.4f}, {log}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="of github.com/shixinxing/NNGPVAE-official")
    parser.add_argument("videos", type=Path, help="of missing_frames.py --write")
    parser.add_argument("--model", choices=MODELS, default="svgpvae")
    parser.add_argument("--out", type=Path, required=True, help="probabilities, as .npz")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="CPU s at most")
    parser.add_argument("--every", type=int, default=2, help="epochs between predictions")
    parser.add_argument("--videos-per-batch", type=int, default=10)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
