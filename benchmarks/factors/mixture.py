"""Digits grouped without labels and without warps: a VAE whose prior is a mixture (VaDE).

After Jiang et al. (2017), https://arxiv.org/abs/1611.05148: an autoencoder is trained first (a VAE
whose KL has a small weight), a mixture of normals is fitted to its codes by expectation
maximisation, and then encoder, decoder and mixture are trained together by the ELBO. The class of
an image is the likeliest component at the mean of its posterior. Of several members the one with
the best ELBO of the test images is picked. Beside it stand the groups of the first stage, and of
10 means of pixels.
"""

import math

import numpy as np
import pyro.distributions as dist
import torch
from common import SHAPE, Clock, batch_of, compiled, device_of, images, parser, report
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from torch import nn

import ppvae
from ppvae.evaluate import clustering_accuracy
from ppvae.fitting import cosine
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, MixtureNormal, heads
from ppvae.nets.priors import Unconditional
from ppvae.objectives import ELBO
from ppvae.programs import encode

made = parser(__doc__, epochs=30)
made.add_argument("--first-epochs", type=int, default=30, help="epochs of the autoencoder")
made.add_argument("--first-beta", type=float, default=0.1, help="weight of its KL")
made.add_argument(
    "--members", type=int, default=1, help="number of fits, with seeds from --seed on"
)
made.add_argument("--classes", type=int, default=10)
made.add_argument(
    "--covariance", choices=("diag", "full"), default="diag", help="of the mixture's components"
)
made.add_argument("--latent-dim", type=int, default=10)
made.add_argument("--hidden", type=int, nargs="+", default=[500, 500])
made.add_argument("--learning-rate", type=float, default=1e-3)
options = made.parse_args()
data, dim = images(options), options.latent_dim
train, test = batch_of(data.train), batch_of(data.test)


def fitted(model, guide, objective, epochs, seed):
    return ppvae.fit(
        model,
        guide,
        data.train,
        objective,
        epochs=epochs,
        learning_rate=options.learning_rate,
        schedule=cosine,
        seed=seed,
        device=options.device,
        compile=compiled(options),
        progress=False,
    )


def codes(guide, batch):
    """Means of the posteriors, on the CPU."""
    device = device_of(guide)
    return encode(guide, {"x": batch["x"].to(device)})["z"].cpu()


def mixture_of(z, seed):
    """The likeliest mixture of ten starts."""
    rows = z[torch.randperm(len(z))[:20_000]].double().numpy()
    mixture = GaussianMixture(
        options.classes,
        covariance_type=options.covariance,
        n_init=10,
        reg_covar=1e-4,
        random_state=seed,
    )
    return mixture.fit(rows)


class FullMixture(Unconditional):
    """A mixture of normals with full covariances as a prior, all of it learned."""

    def __init__(self, found):
        super().__init__(dim)
        factors = torch.linalg.cholesky(torch.as_tensor(found.covariances_, dtype=torch.float32))
        self.logits = nn.Parameter(torch.as_tensor(found.weights_, dtype=torch.float32).log())
        self.loc = nn.Parameter(torch.as_tensor(found.means_, dtype=torch.float32))
        self.below = nn.Parameter(factors.tril(-1))
        self.log_scale = nn.Parameter(factors.diagonal(dim1=-2, dim2=-1).log())

    def forward(self):
        factors = self.below.tril(-1) + torch.diag_embed(self.log_scale.exp())
        normals = dist.MultivariateNormal(self.loc, scale_tril=factors)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), normals)


def prior_of(found):
    """The mixture as a prior."""
    if options.covariance == "full":
        return FullMixture(found)
    prior = MixtureNormal(options.classes, dim)
    scale = torch.as_tensor(np.sqrt(found.covariances_), dtype=torch.float32)
    with torch.no_grad():
        prior.logits.copy_(torch.as_tensor(np.log(found.weights_)))
        prior.loc.copy_(torch.as_tensor(found.means_))
        prior.raw_scale.copy_(scale.expm1().log())
    return prior


def component(prior, z):
    """The likeliest component of each code."""
    mixture = prior()
    parts = mixture.component_distribution.log_prob(z.to(device_of(prior)).unsqueeze(-2))
    return (parts + mixture.mixture_distribution.logits).argmax(-1).cpu()


def member(seed):
    torch.manual_seed(seed)
    decoder = MLP(dim, heads.Bernoulli(SHAPE), hidden=options.hidden[::-1])
    encoder = MLP(
        math.prod(SHAPE), heads.DiagonalNormal(dim), hidden=options.hidden, in_shape=SHAPE
    )
    guide, model = AmortizedGuide(encoder), VAE(decoder, latent_dim=dim)
    first = ELBO(weights={"z": options.first_beta})
    fitted(model, guide, first, options.first_epochs, seed)
    found = mixture_of(codes(guide, train), seed)
    before = torch.as_tensor(found.predict(codes(guide, test).double().numpy()))
    model = VAE(decoder, prior=prior_of(found).to(device_of(decoder)))
    fitted(model, guide, ELBO(), options.epochs, seed)
    with torch.no_grad():
        own = {name: column.to(device_of(model)) for name, column in test.items()}
        elbo = float(ELBO()(model, guide)({"x": own["x"]}).elbo.mean())
        after = component(model.prior, codes(guide, test))
    y = torch.as_tensor(data.test["y"])
    return elbo, clustering_accuracy(before, y), clustering_accuracy(after, y)


with Clock() as clock:
    seeds = range(options.seed, options.seed + options.members)
    elbos, first, accuracies = map(list, zip(*map(member, seeds), strict=True))
pixels = KMeans(options.classes, n_init=4, random_state=0).fit(train["x"][:10_000].flatten(1))
nearest = torch.as_tensor(pixels.predict(test["x"].flatten(1)))
report(
    options,
    seeds=list(seeds),
    elbos=elbos,
    accuracies_of_first_stage=first,
    accuracies=accuracies,
    accuracy_of_best_elbo=accuracies[max(range(len(elbos)), key=elbos.__getitem__)],
    accuracy_of_means_of_pixels=clustering_accuracy(nearest, torch.as_tensor(data.test["y"])),
    seconds=clock.seconds,
)
