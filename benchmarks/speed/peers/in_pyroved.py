"""The VAE of an MLP, and the rVAE, in pyroVED, by its own trainer.

pyroVED has no SiLU: its own activation, tanh, stands in its place.
"""

import contextlib
import io

import numpy as np
import torch

# pyroVED takes make_grid from torchvision, whose wheels do not load beside another build of torch
# unless its operators are declared.
for _operator in ("nms", "qnms"):
    torch.library.define(f"torchvision::{_operator}", "(Tensor a, Tensor b, float c) -> Tensor")

import pyroved  # noqa: E402
from pyroved.models import iVAE  # noqa: E402
from pyroved.trainers import SVItrainer  # noqa: E402

VERSION = f"pyroVED {getattr(pyroved, '__version__', '')}, torch {torch.__version__}"


def make(name, task):
    torch.manual_seed(task.seed)
    images = torch.from_numpy(task.images())[:, 0]
    rotated = task.row == "rVAE"
    model = iVAE(
        tuple(images.shape[1:]),
        latent_dim=10 if rotated else 50,
        invariances=["r", "t"] if rotated else None,
        hidden_dim_e=[400],
        hidden_dim_d=[128, 128] if rotated else [400],
        seed=task.seed,
        device=task.device,
    )
    trainer = SVItrainer(model, optimizer=None, seed=task.seed, device=task.device, lr=task.rate)
    loader = pyroved.utils.init_dataloader(images, batch_size=task.batch)

    def run():
        with contextlib.redirect_stdout(io.StringIO()):
            trainer.step(loader)
        return float(trainer.loss_history["training_loss"][-1])

    def elbo():
        test = torch.from_numpy(np.load(task.test))[:, 0].to(task.device)
        with torch.no_grad():
            return -float(trainer.svi.evaluate_loss(test)) / len(test)

    return run, elbo
