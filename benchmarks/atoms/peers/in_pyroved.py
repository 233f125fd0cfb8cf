"""Latents and angles of patches by pyroVED's rotation-invariant iVAE, unchanged.

Two latents, hidden layers of 128, batches of 100 and the learning rate of ours; a normal
likelihood with the noise that the image was drawn with, which it is told, in place of its default,
which is for binary pixels. In an environment of its own
(benchmarks/speed/requirements-pyroved.txt):

    python benchmarks/atoms/peers/in_pyroved.py atoms.npz pyroved.npz
"""

import sys
import time
import types

import torch

# Needed for one plot that is not drawn here.
stub = types.ModuleType("torchvision.utils")
stub.make_grid = None
sys.modules |= {"torchvision": types.ModuleType("torchvision"), "torchvision.utils": stub}
import pyroved  # noqa: E402
from common import options_of, patches, write  # noqa: E402

options = options_of(__doc__)
x = torch.as_tensor(patches(options))
model = pyroved.models.iVAE(
    tuple(x.shape[1:]),
    latent_dim=2,
    invariances=["r"],
    sampler_d="gaussian",
    decoder_sig=options.noise,
    sigmoid_d=False,
    seed=options.seed,
    device="cpu",
)
trainer = pyroved.trainers.SVItrainer(model, lr=2e-3, device="cpu", seed=options.seed)
loader = pyroved.utils.init_dataloader(x, batch_size=100)
started = time.process_time()
for _ in range(options.epochs):
    trainer.step(loader)
seconds = time.process_time() - started
write(options, model.encode(x)[0], seconds)
