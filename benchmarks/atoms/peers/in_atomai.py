"""Latents and angles of patches by atomai's rVAE, unchanged.

Two latents, hidden layers of 128, batches of 100 and the learning rate of ours, no shifts; squared
error in units of the noise that the image was drawn with, which it is told; the prior of the angle
has a standard deviation of half a turn. In an environment of its own (pip install atomai==0.8.1):

    python benchmarks/atoms/peers/in_atomai.py atoms.npz atomai.npz
"""

import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import torch

# torchvision, of which nothing is used here, may not load beside a torch without CUDA.
for name in ("", ".models", ".utils"):
    sys.modules[f"torchvision{name}"] = types.ModuleType(f"torchvision{name}")
for name in ("mobilenet_v2", "resnet50", "vgg16"):
    setattr(sys.modules["torchvision.models"], name, None)
sys.modules["torchvision.utils"].make_grid = None
import atomai  # noqa: E402
from common import options_of, patches, write  # noqa: E402

options = options_of(__doc__)
x = patches(options) / options.noise
model = atomai.models.rVAE(x.shape[1:], latent_dim=2, translation=False, seed=options.seed)
started = time.process_time()
model.fit(
    x,
    training_cycles=options.epochs,
    batch_size=100,
    loss="mse",
    rotation_prior=np.pi,
    optimizer=lambda weights: torch.optim.Adam(weights, lr=2e-3),
    filename=str(Path(tempfile.mkdtemp()) / "model"),
)
seconds = time.process_time() - started
write(options, model.encode(x)[0], seconds)
