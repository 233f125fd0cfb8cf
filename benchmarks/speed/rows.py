"""The timed steps: models of this library, and the same networks in hand-written torch.

A hand-written twin has the row's networks, which end in raw numbers, and its noise, divergences
and likelihood written out in torch: no distribution, no program.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ppvae.gp import FourierFeatures, GPPrior, ObjectTable
from ppvae.guides import AmortizedGuide, FactorizedGuide, GPGuide
from ppvae.models import GPVAE, VAE, JointVAE, PosedDecoder
from ppvae.nets import (
    MLP,
    Angle,
    ConvDecoder,
    ConvEncoder,
    CoordinateDecoder,
    Pose,
    Shift,
    Sites,
    heads,
)
from ppvae.objectives import ELBO, MutualInformation, critic_between

HIDDEN, LATENT, DIGIT = (400,), 50, (1, 28, 28)
CLASSES = 10
OBJECTS, VIEWS, CHANNELS = 50, 16, 16
ROTATION, SHIFT = 1.0, 0.2


class Numbers(heads.Head):
    """A head that leaves the raw numbers as they are, a tensor."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.event_shape = self.raw_shape = shape

    def forward(self, raw: Tensor) -> Tensor:
        return raw


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        pair: Makes the library's (model, guide, objective).
        batch: Makes the columns.
        twin: Makes the hand-written module, batch to loss; None where there is none.
        pyro: Whether Pyro has an ELBO for it.
        dynamo: Whether torch.compile takes the twin.
    """

    pair: Callable[[], tuple[nn.Module, nn.Module, ELBO]]
    batch: Callable[[], dict[str, Tensor]]
    twin: Callable[[], nn.Module] | None = None
    pyro: bool = True
    dynamo: bool = True


def kl_normal(loc: Tensor, scale: Tensor, width: float = 1.0) -> Tensor:
    ratio = scale / width
    return 0.5 * (ratio.square() + (loc / width).square() - 1 - 2 * ratio.log()).sum()


def positive(raw: Tensor) -> Tensor:
    return functional.softplus(raw) + 1e-4


def cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")


class Twin(nn.Module):
    """A VAE."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x = batch["x"]
        loc, raw = self.encoder(x).chunk(2, -1)
        scale = positive(raw)
        z = loc + scale * torch.randn_like(loc)
        return (cross_entropy(self.decoder(z), x) + kl_normal(loc, scale)) / len(x)


class RotatedTwin(Twin):
    """A VAE with an angle and a shift."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x = batch["x"]
        turn, shift, code = self.encoder(x).split([3, 4, 2 * 10], -1)
        scale = positive(turn[:, 2])
        loc = torch.atan2(turn[:, 1], 1 + turn[:, 0])
        kl = kl_normal(loc, scale, ROTATION)
        angle = loc + scale * torch.randn_like(loc)
        drawn = []
        for raw, width in ((shift, SHIFT), (code, 1.0)):
            loc, spread = raw.chunk(2, -1)
            scale = positive(spread)
            kl = kl + kl_normal(loc, scale, width)
            drawn.append(loc + scale * torch.randn_like(loc))
        logits = self.decoder(drawn[1], pose=Pose(angle, drawn[0], None))
        return (cross_entropy(logits, x) + kl) / len(x)


class JointTwin(Twin):
    """A VAE with a class that is summed over."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x = batch["x"]
        code, logits = self.encoder(x).split([2 * LATENT, CLASSES], -1)
        loc, raw = code.chunk(2, -1)
        scale = positive(raw)
        z = loc + scale * torch.randn_like(loc)
        log_q = logits.log_softmax(-1)
        q = log_q.exp()
        classes = torch.eye(CLASSES, device=x.device)[:, None]
        decoded = self.decoder(z, classes).flatten(2)
        losses = functional.binary_cross_entropy_with_logits(
            decoded, x.flatten(1).expand_as(decoded), reduction="none"
        )
        kl = kl_normal(loc, scale) + (q * (log_q + math.log(CLASSES))).sum()
        return ((q.T * losses.sum(-1)).sum() + kl) / len(x)


class GPTwin(Twin):
    """A GP-prior VAE; the GP is this library's, its share of the loss is written out."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, prior: GPPrior) -> None:
        super().__init__(encoder, decoder)
        self.prior = prior

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x, prior = batch["x"], self.prior
        loc, raw = self.encoder(x).chunk(2, -1)
        scale = positive(raw)
        with torch.no_grad():
            prior.table.index_copy_(0, batch["index"], loc)
            prior.table_variances.index_copy_(0, batch["index"], scale.square().sum(-1))
        z = loc + scale * torch.randn_like(loc)
        f = prior.rows(batch["object"], batch["view"])
        v1 = prior.variances()[1].float()
        leverage = ((f @ prior.frozen_covariance) * f).sum(-1)
        away = (loc - f @ prior.frozen_mean).square().sum(-1) / v1
        spread = scale.square().sum(-1) * (1 - leverage / v1) / v1
        constant = CHANNELS * (v1.log() - 1 + leverage / v1) + prior.frozen_share
        kl = 0.5 * (away + spread + constant - 2 * scale.log().sum(-1))
        return (cross_entropy(self.decoder(z), x) + kl.sum()) / len(x)

    def advance(self) -> None:
        self.prior.advance()


def grey(*shape: int) -> dict[str, Tensor]:
    return {"x": torch.rand(shape)}


def mlp(head: nn.Module, *, shape: tuple[int, ...] = DIGIT) -> MLP:
    return MLP(math.prod(shape), head, hidden=HIDDEN, in_shape=shape)


def conv(shape: tuple[int, int, int], batch: int) -> Row:
    return Row(
        pair=lambda: (
            VAE(ConvDecoder(LATENT, heads.Bernoulli(shape)), latent_dim=LATENT),
            AmortizedGuide(ConvEncoder(shape, heads.DiagonalNormal(LATENT))),
            ELBO(),
        ),
        batch=lambda: grey(batch, *shape),
        twin=lambda: Twin(
            ConvEncoder(shape, Numbers((2 * LATENT,))), ConvDecoder(LATENT, Numbers(shape))
        ),
    )


def gp_prior() -> GPPrior:
    return GPPrior(
        ObjectTable(OBJECTS, 16), FourierFeatures(num_frequencies=4), latent_dim=CHANNELS
    )


def grid() -> dict[str, Tensor]:
    cells = torch.cartesian_prod(torch.arange(OBJECTS), torch.arange(VIEWS))
    return {"object": cells[:, 0], "view": cells[:, 1] * 2 * math.pi / VIEWS}


def gp_batch(size: int = 128) -> dict[str, Tensor]:
    rows = torch.randperm(OBJECTS * VIEWS)[:size]
    columns = {name: column[rows] for name, column in grid().items()}
    return {**grey(size, *DIGIT), **columns, "index": rows}


def gp_pair() -> tuple[nn.Module, nn.Module, ELBO]:
    prior = gp_prior()
    decoder = MLP(CHANNELS, heads.Bernoulli(DIGIT), hidden=HIDDEN)
    guide = GPGuide(mlp(heads.DiagonalNormal(CHANNELS)), prior)
    prior.prepare(grid())
    return GPVAE(prior, decoder), guide, ELBO()


def gp_twin() -> GPTwin:
    prior = gp_prior()
    prior.prepare(grid())
    return GPTwin(
        mlp(Numbers((2 * CHANNELS,))), MLP(CHANNELS, Numbers(DIGIT), hidden=HIDDEN), prior
    )


def rvae() -> tuple[nn.Module, nn.Module, ELBO]:
    decoder = CoordinateDecoder(10, heads.Bernoulli(DIGIT), hidden=(128, 128))
    sites = Sites({"rotation": Angle(), "translation": Shift(), "z": heads.DiagonalNormal(10)})
    model = VAE(PosedDecoder(decoder, rotation=ROTATION, translation=SHIFT), latent_dim=10)
    return model, FactorizedGuide(mlp(sites)), ELBO()


def infomax() -> tuple[nn.Module, nn.Module, ELBO]:
    model = VAE(MLP(LATENT, heads.Bernoulli(DIGIT), hidden=HIDDEN), latent_dim=LATENT)
    guide = AmortizedGuide(mlp(heads.DiagonalNormal(LATENT)))
    critic = critic_between(DIGIT, (LATENT,))
    return model, guide, ELBO() + MutualInformation("x", "z", critic, weight=2.0)


def table(width: int, size: int, hidden: tuple[int, ...], latent: int) -> Row:
    """A VAE of a table of numbers, whose steps are short."""
    return Row(
        pair=lambda: (
            VAE(MLP(latent, heads.Normal((width,)), hidden=hidden), latent_dim=latent),
            AmortizedGuide(MLP((width,), heads.DiagonalNormal(latent), hidden=hidden)),
            ELBO(),
        ),
        batch=lambda: {"x": torch.randn(size, width)},
    )


ROWS = {
    "VAE, MLP": Row(
        pair=lambda: (
            VAE(MLP(LATENT, heads.Bernoulli(DIGIT), hidden=HIDDEN), latent_dim=LATENT),
            AmortizedGuide(mlp(heads.DiagonalNormal(LATENT))),
            ELBO(),
        ),
        batch=lambda: grey(128, *DIGIT),
        twin=lambda: Twin(mlp(Numbers((2 * LATENT,))), MLP(LATENT, Numbers(DIGIT), hidden=HIDDEN)),
    ),
    "VAE, 10 numbers": table(10, 64, (32,), 2),
    "VAE, 30 numbers": table(30, 128, (128, 128), 8),
    "VAE, conv 64 x 64 x 3": conv((3, 64, 64), 32),
    "VAE, conv 128 x 128 x 3": conv((3, 128, 128), 16),
    "rVAE": Row(
        pair=rvae,
        batch=lambda: grey(64, *DIGIT),
        twin=lambda: RotatedTwin(
            mlp(Numbers((3 + 4 + 2 * 10,))),
            CoordinateDecoder(10, Numbers(DIGIT), hidden=(128, 128)),
        ),
    ),
    "jVAE, K = 10": Row(
        pair=lambda: (
            JointVAE(
                MLP([LATENT, CLASSES], heads.Bernoulli(DIGIT), hidden=HIDDEN), latent_dim=LATENT
            ),
            FactorizedGuide(
                mlp(Sites({"z": heads.DiagonalNormal(LATENT), "y": heads.Classes(CLASSES)}))
            ),
            ELBO(),
        ),
        batch=lambda: grey(128, *DIGIT),
        twin=lambda: JointTwin(
            mlp(Numbers((2 * LATENT + CLASSES,))),
            MLP([LATENT, CLASSES], Numbers(DIGIT), hidden=HIDDEN),
        ),
    ),
    # Dynamo breaks the graph at GPyTorch's kernels.
    "GPVAE": Row(pair=gp_pair, batch=gp_batch, twin=gp_twin, dynamo=False),
    "InfoMax": Row(pair=infomax, batch=lambda: grey(128, *DIGIT), pyro=False),
}
