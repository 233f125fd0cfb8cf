"""A step of the VAE of examples/faces.py on colour pictures, by their size: seconds and memory.

Each size has a process of its own, whose peak of resident memory is compared with what it had
before the model was built: `pictures.py --size 128`.
"""

import argparse
import json
import resource
import statistics
import time

import torch

import ppvae
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import ConvDecoder, ConvEncoder, heads

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--size", type=int, default=128, help="height and width in pixels")
parser.add_argument("--latents", type=int, default=64)
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--steps", type=int, default=9)
options = parser.parse_args()
shape = (3, options.size, options.size)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Clock:
    def __init__(self):
        self.at = []

    def on_step_end(self, training):
        self.at.append(time.process_time())


x = torch.rand(options.batch_size * options.steps, *shape)
before, clock = peak(), Clock()
torch.manual_seed(0)
decoder = ConvDecoder(
    options.latents,
    heads.Normal(shape, heads.Shared(0.3)),
    channels=(64, 32, 16, 16),
    last_channels=8,
    upsample="shuffle",
)
model = VAE(decoder, latent_dim=options.latents)
guide = AmortizedGuide(ConvEncoder(shape, heads.DiagonalNormal(options.latents)))
ppvae.fit(
    model,
    guide,
    {"x": x},
    epochs=1,
    batch_size=options.batch_size,
    callbacks=[clock],
    seed=0,
    progress=False,
)
steps = [later - sooner for sooner, later in zip(clock.at, clock.at[1:], strict=False)]
weights = sum(value.numel() for part in (model, guide) for value in part.parameters())
print(
    json.dumps(
        {
            "size": options.size,
            "weights": weights,
            "processor seconds a step": round(statistics.median(steps), 3),
            "MiB beside the data": round(peak() - before),
        }
    )
)
