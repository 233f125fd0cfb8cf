"""The VAE of an MLP in pythae, by its own trainer."""

import tempfile

import numpy as np
import pythae
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import nn

VERSION = f"pythae {getattr(pythae, '__version__', '')}, torch {torch.__version__}"
HIDDEN, LATENT = 400, 50


class Encoder(BaseEncoder):
    def __init__(self, pixels):
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(pixels, HIDDEN), nn.SiLU())
        self.last = nn.Linear(HIDDEN, 2 * LATENT)

    def forward(self, x):
        loc, log_variance = self.last(self.first(x)).chunk(2, -1)
        return ModelOutput(embedding=loc, log_covariance=log_variance)


class Decoder(BaseDecoder):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        pixels = int(np.prod(shape))
        self.layers = nn.Sequential(
            nn.Linear(LATENT, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, pixels), nn.Sigmoid()
        )

    def forward(self, z):
        return ModelOutput(reconstruction=self.layers(z).reshape(len(z), *self.shape))


def make(name, task):
    torch.manual_seed(task.seed)
    images = torch.from_numpy(task.images())
    shape = tuple(images.shape[1:])
    settings = VAEConfig(input_dim=shape, latent_dim=LATENT, reconstruction_loss="bce")
    model = VAE(settings, encoder=Encoder(int(np.prod(shape))), decoder=Decoder(shape))
    folder = tempfile.mkdtemp()
    trainer = BaseTrainer(
        model=model,
        train_dataset=BaseDataset(images, torch.zeros(len(images))),
        training_config=BaseTrainerConfig(
            output_dir=folder,
            num_epochs=10**6,
            per_device_train_batch_size=task.batch,
            learning_rate=task.rate,
            optimizer_cls="Adam",
            no_cuda=task.device == "cpu",
        ),
    )
    trainer.prepare_training()
    epoch = iter(range(10**6))

    def elbo():
        test = torch.from_numpy(np.load(task.test)).to(trainer.device)
        with torch.no_grad():
            return -float(model({"data": test}).loss)

    return lambda: float(trainer.train_step(next(epoch))), elbo
