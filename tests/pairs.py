"""Every (model, guide, batch, objective) that the laws of ``test_laws.py`` are held against.

A new variant adds one line to ``PAIRS``. Each entry is built afresh at every call, small, from
torch's global generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import torch
from gpytorch.kernels import MaternKernel, RBFKernel
from torch import Tensor, nn

from ppvae.gp import (
    EmbeddedGP,
    ExactFeatures,
    FeatureMap,
    FourierFeatures,
    GPPrior,
    JoinedPrior,
    LeaveViewOut,
    ObjectTable,
    RandomFeatures,
)
from ppvae.gp.additive import AdditivePrior, LeaveVisitsOut
from ppvae.guides import (
    Align,
    AmortizedGuide,
    ConditionalGPGuide,
    ConditionalGuide,
    CountGuide,
    DoubleEmbeddingGuide,
    ExactWeightsGuide,
    FactorizedGuide,
    GPGuide,
    Orient,
    PseudoGuide,
    SemiSupervisedGuide,
    SingleEmbeddingGuide,
    SourceGuide,
    VariationalWeightsGuide,
    WeightSpaceGuide,
)
from ppvae.models import (
    GPVAE,
    VAE,
    ConditionalGPVAE,
    ConditionalVAE,
    CountVAE,
    DeepKernel,
    JointVAE,
    OrientedDecoder,
    PosedDecoder,
    SemiSupervisedVAE,
    TwoStageVAE,
)
from ppvae.nets import (
    MLP,
    Angle,
    AnyDirection,
    AnyRotation,
    Calibrated,
    CanvasDecoder,
    ClassNormal,
    Conditions,
    ConvDecoder,
    ConvEncoder,
    CoordinateDecoder,
    Embedding,
    EquivariantPose,
    FlatRotation,
    FlowPrior,
    IrrepDecoder,
    LogCounts,
    LogScale,
    MaskedEncoder,
    Mean,
    MixtureNormal,
    ModulatedMLP,
    OneHot,
    PointDecoder,
    Shift,
    Sites,
    StandardNormal,
    TurnedDecoder,
    TurnedEncoder,
    VampPrior,
    Warp,
    heads,
    masked_shape,
)
from ppvae.objectives import (
    ELBO,
    Balance,
    Capacity,
    Consistency,
    Independence,
    Linear,
    RotationSearch,
    Supervision,
    Term,
)
from ppvae.programs import hooks_of
from tests.variants import (
    STEPS,
    FlowGuide,
    Gaps,
    GapsGuide,
    Hierarchy,
    Levels,
    Markov,
    MarkovGuide,
    ZukoPrior,
    automatic,
)

N, Z, K, C = 12, 2, 3, 2
SHAPE = (1, 8, 8)
PIXELS = math.prod(SHAPE)


class Pair(NamedTuple):
    model: nn.Module
    guide: nn.Module
    batch: dict[str, Tensor]
    objective: ELBO = ELBO()


def images(*shape: int) -> Tensor:
    """Blobs at random places, so that there is something to learn: (N, *shape)."""
    shape = shape or SHAPE
    right = torch.linspace(-1, 1, shape[-1])
    up = torch.linspace(1, -1, shape[-2]) if len(shape) == 3 else torch.zeros(1)
    at = 0.8 * torch.rand(N, 2) - 0.4
    squares = (right - at[:, :1]).square()[:, None, :] + (up - at[:, 1:]).square()[:, :, None]
    blobs = (-8 * squares).exp()
    return blobs.reshape(N, 1, *shape[1:]).expand(N, *shape).contiguous()


def encoder(head: heads.Head, *conditions: int, shape: tuple[int, ...] = SHAPE) -> nn.Module:
    return MLP([math.prod(shape), *conditions], head, hidden=[16], in_shape=shape)


def decoder(*in_features: int, shape: tuple[int, ...] = SHAPE) -> nn.Module:
    return MLP(in_features, heads.Bernoulli(shape), hidden=[16])


def gp(guide: Callable[[GPPrior], nn.Module] | None = None, *terms: Term, folds: int = 0) -> Pair:
    cells = torch.cartesian_prod(torch.arange(4), torch.arange(3))
    views = FourierFeatures(num_frequencies=2)
    prior = GPPrior(ObjectTable(4, 2), views, latent_dim=Z, folds=folds)
    batch = {
        "x": images(),
        "object": cells[:, 0],
        "view": cells[:, 1] * 2 * math.pi / 3,
        "index": torch.arange(len(cells)),
    }
    made = GPGuide(encoder(heads.DiagonalNormal(Z)), prior) if guide is None else guide(prior)
    return Pair(GPVAE(prior, decoder(Z)), made, batch, sum(terms, ELBO()))


def with_gp(
    make: Callable[[GPPrior], tuple[nn.Module, nn.Module]], folds: int = 0, **columns: Tensor
) -> Pair:
    """A model and a guide made for a GP prior, over the grid of :func:`gp`."""
    pair = gp(folds=folds)
    return Pair(*make(pair.model.prior), {**pair.batch, **columns})


def turned_gp() -> Pair:
    pair = gp(folds=3)
    prior = pair.model.prior
    canvas = MLP(Z, heads.Raw((1, 16, 16)), hidden=[16])
    return pair._replace(
        model=ConditionalGPVAE(prior, TurnedDecoder(canvas, heads.Bernoulli(SHAPE))),
        guide=ConditionalGPGuide(TurnedEncoder(encoder(heads.DiagonalNormal(Z)), SHAPE), prior),
        objective=ELBO() + LeaveViewOut(),
    )


def torn(x: Tensor) -> Tensor:
    """With every third element missing, and all of the first datum."""
    x = x.clone()
    x.view(-1)[::3] = math.nan
    x[0] = math.nan
    return x


def masked_encoder(head: heads.Head, *conditions: int) -> nn.Module:
    shape = masked_shape(SHAPE)
    return MaskedEncoder(encoder(head, *conditions, shape=shape), event_dim=len(SHAPE))


def masked_decoder(*in_features: int) -> nn.Module:
    return MLP(in_features, heads.Masked(heads.Bernoulli(SHAPE)), hidden=[16])


def masked_gp() -> Pair:
    pair = gp(folds=3)
    decoder = MLP(Z, heads.Masked(heads.Normal(SHAPE)), hidden=[16])
    return Pair(
        GPVAE(pair.model.prior, Calibrated(decoder)),
        GPGuide(masked_encoder(heads.DiagonalNormal(Z)), pair.model.prior),
        {**pair.batch, "x": torn(images())},
        ELBO() + LeaveViewOut(),
    )


def additive(kernel: str, *, beside: int = 0, **columns: Tensor) -> Pair:
    """Four subjects with three visits each, a third of the values missing."""
    prior: nn.Module = AdditivePrior(kernel, latent_dim=Z, order="age")
    if beside:
        prior = JoinedPrior(prior, StandardNormal(beside))
    x = images()
    x.view(-1)[::3] = math.nan
    visits = {"id": torch.arange(N) // 3, "age": 10 * torch.rand(N), "sex": torch.arange(N) % 2}
    taken = {n: v for n, v in {**visits, **columns}.items() if n == "age" or f"({n})" in kernel}
    network = MLP(Z + beside, heads.Masked(heads.Normal(SHAPE)), hidden=[16])
    return Pair(
        VAE(Calibrated(network), prior=prior),
        AmortizedGuide(masked_encoder(heads.DiagonalNormal(Z + beside))),
        {"x": x, **taken, "index": torch.arange(N)},
        ELBO() + LeaveVisitsOut(),
    )


def with_gaps(column: Tensor) -> Tensor:
    """Every fourth value missing."""
    return column.float().where(torch.arange(N) % 4 > 0, torch.tensor(torch.nan))


def counts(head: type[heads.Head], *, missing: bool = False) -> Pair:
    x = torch.poisson(20 * images().flatten(1)[:, :20])
    likelihood = head((20,), library=(4.0, 0.5))
    net = encoder(heads.DiagonalNormal(Z), shape=masked_shape((20,)) if missing else (20,))
    if missing:
        x, likelihood = torn(x), heads.Masked(likelihood)
        net = MaskedEncoder(net, event_dim=1)
    return Pair(
        VAE(MLP(Z, likelihood, hidden=[16]), latent_dim=Z),
        AmortizedGuide(LogCounts(net)),
        {"x": x},
    )


def count_batches() -> Pair:
    x = torch.poisson(20 * images().flatten(1)[:, :20])
    head = heads.ZeroInflatedNegativeBinomial((20,), library=(4.0, 0.5))
    head.log_theta.requires_grad_(False)
    model = CountVAE(
        MLP([Z, 2, C], head, hidden=[16]),
        latent_dim=Z,
        batches=2,
        library=torch.tensor([[3.0, 0.5], [4.0, 0.4]]),
        log_theta=torch.zeros(2, 20),
    )
    net = encoder(heads.DiagonalNormal(Z), 2, C, shape=(20,))
    guide = CountGuide(LogCounts(net), batches=2, latent_library=True)
    return Pair(model, guide, {"x": x, "batch": torch.arange(N) % 2, "c": factors()})


def count_gp(prior: GPPrior) -> tuple[nn.Module, nn.Module]:
    head = heads.NegativeBinomial((20,), library=(4.0, 0.5))
    net = encoder(heads.DiagonalNormal(Z), shape=(20,))
    return CountVAE(MLP(Z, head, hidden=[16]), prior=prior), CountGuide(LogCounts(net))


def random_features() -> FeatureMap:
    return RandomFeatures(RBFKernel(ard_num_dims=Z), Z, num_frequencies=4)


def deep_kernel(
    features: FeatureMap,
    guide: Callable[[EmbeddedGP], nn.Module] = ExactWeightsGuide,
    *,
    outputs: int = 1,
    head: heads.Head | None = None,
    **columns: Tensor,
) -> Pair:
    net = encoder(heads.Raw((Z,)))
    gp = EmbeddedGP(nn.Sequential(net, Mean()), features, outputs=outputs, head=head)
    x = images()
    targets = torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3))], -1)[:, :outputs]
    batch = {"x": x, "target": targets, **columns}
    return Pair(DeepKernel(gp), guide(gp), batch)


def deep_kernel_vae() -> Pair:
    """The embedding is the mean of the VAE's encoder; half of the targets are missing."""
    net = encoder(heads.DiagonalNormal(Z))
    gp = EmbeddedGP(nn.Sequential(net, Mean()), random_features())
    x = images()
    target = x.mean((1, 2, 3)).where(torch.arange(N) % 2 == 0, torch.tensor(torch.nan))[:, None]
    return Pair(
        DeepKernel(gp, VAE(decoder(Z), latent_dim=Z)),
        ExactWeightsGuide(gp, AmortizedGuide(net)),
        {"x": x, "target": target},
        ELBO(weights={"target": 3.0, "w": 3.0}),
    )


def labels(*, missing: bool = False) -> Tensor:
    y = torch.arange(N) % K
    return y.where(torch.arange(N) < N // 2, torch.tensor(-1)) if missing else y


def factors(*, missing: bool = False) -> Tensor:
    c = torch.randn(N, C)
    return c.where(torch.arange(N)[:, None] % 2 == 0, torch.tensor(torch.nan)) if missing else c


def conditional(conditions: Conditions, **columns: Tensor) -> Pair:
    return Pair(
        ConditionalVAE(decoder(Z, *conditions.sizes), conditions, latent_dim=Z),
        ConditionalGuide(encoder(heads.DiagonalNormal(Z), *conditions.sizes), conditions),
        {"x": images(), **columns},
    )


def modulated() -> Pair:
    sizes, given = (Z, K, C), Conditions(OneHot(K), factor_dim=C)
    head, width = heads.DiagonalNormal(Z), math.prod(SHAPE)
    return Pair(
        ConditionalVAE(
            ModulatedMLP(sizes, heads.Bernoulli(SHAPE), hidden=[16]), given, latent_dim=Z
        ),
        ConditionalGuide(ModulatedMLP((width, K, C), head, hidden=[16, 8], in_shape=SHAPE), given),
        {"x": images(), "y": labels(), "c": factors()},
    )


def canvas(*in_features: int, shape: tuple[int, ...] = SHAPE) -> nn.Module:
    head = heads.Bernoulli(shape)
    return CanvasDecoder(MLP(in_features, heads.Raw(head.raw_shape), hidden=[16]), head)


def coordinates(*in_features: int, shape: tuple[int, ...] = SHAPE) -> nn.Module:
    return CoordinateDecoder(in_features, heads.Bernoulli(shape), hidden=[16, 16])


def align(*names: str, shape: tuple[int, ...] = SHAPE, undo: bool = True) -> nn.Module:
    families = {"rotation": Angle(), "translation": Shift(len(shape) - 1), "scale": LogScale()}
    sites = Sites({name: families[name] for name in names})
    return Align(encoder(sites, shape=shape), shape, undo=undo)


def orient(modes: int) -> nn.Module:
    return Orient(encoder(heads.RotationModes(modes)), modes=modes)


def so3(net: nn.Module, *, modes: int = 3, objective: ELBO | None = None) -> Pair:
    return Pair(
        VAE(OrientedDecoder(net, modes=modes), latent_dim=Z),
        AmortizedGuide(nn.Sequential(orient(modes), encoder(heads.DiagonalNormal(Z)))),
        {"x": images()},
        ELBO() if objective is None else objective,
    )


def vamp(shared: nn.Module) -> Pair:
    """The prior's encoder is the guide's."""
    return Pair(
        VAE(decoder(Z), prior=VampPrior(shared, images()[:4])),
        AmortizedGuide(shared),
        {"x": images()},
    )


def two_stage(guide: nn.Module) -> Pair:
    model = TwoStageVAE(decoder(3), decoder(Z), latent_dims=(3, Z))
    return Pair(model, guide, {"x": images()}, ELBO(weights={"x1": 0.8, "z1": 0.8}))


def levels(first: str, second: str) -> Pair:
    """Two levels of latents, drawn by the guide in this order."""
    of_first = encoder(heads.DiagonalNormal(Z))
    of_second = encoder(heads.DiagonalNormal(Z), Z)
    return Pair(
        Hierarchy(decoder(Z), Z), Levels(of_first, of_second, (first, second)), {"x": images()}
    )


def shared() -> Pair:
    batch = {"x": torch.randn(N), "c": torch.randn(N, C)}
    return Pair(*automatic(batch), batch)


POSE = ("rotation", "translation", "scale")
WIDTHS = {"rotation": 1.0, "translation": 0.3, "scale": 0.2}
SPECTRUM = (1, 16)

PAIRS: dict[str, Callable[[], Pair]] = {
    "vae, mlp": lambda: Pair(
        VAE(decoder(Z), latent_dim=Z),
        AmortizedGuide(encoder(heads.DiagonalNormal(Z))),
        {"x": images()},
    ),
    "vae, full covariance": lambda: Pair(
        VAE(decoder(Z), latent_dim=Z),
        AmortizedGuide(encoder(heads.FullNormal(Z))),
        {"x": images()},
        ELBO(weights={"z": Linear(0.5, 1.0, steps=10)}),
    ),
    "vae, sphere": lambda: Pair(
        VAE(decoder(3), prior=AnyDirection(3)),
        AmortizedGuide(encoder(heads.PowerSphericalDirection(3))),
        {"x": images()},
    ),
    "vae, sphere, von Mises-Fisher": lambda: Pair(
        VAE(decoder(4), prior=AnyDirection(4)),
        AmortizedGuide(encoder(heads.VonMisesFisherDirection(4))),
        {"x": images()},
    ),
    "vae, rotations": lambda: Pair(
        VAE(MLP(9, heads.Bernoulli(SHAPE), hidden=[16], in_shape=(3, 3)), prior=AnyRotation()),
        AmortizedGuide(encoder(heads.Rotation())),
        {"x": images()},
    ),
    "vae, direction beside normals": lambda: Pair(
        VAE(decoder(3 + Z), prior=JoinedPrior(AnyDirection(3), StandardNormal(Z))),
        AmortizedGuide(
            encoder(heads.Beside(heads.PowerSphericalDirection(3), heads.DiagonalNormal(Z)))
        ),
        {"x": images()},
    ),
    "jvae, sphere": lambda: Pair(
        JointVAE(decoder(3, K), classes=K, prior=AnyDirection(3)),
        FactorizedGuide(
            encoder(Sites({"z": heads.PowerSphericalDirection(3), "y": heads.Classes(K)}))
        ),
        {"x": images()},
    ),
    "ssvae, sphere": lambda: Pair(
        SemiSupervisedVAE(decoder(3, K), num_classes=K, prior=AnyDirection(3)),
        SemiSupervisedGuide(
            encoder(heads.PowerSphericalDirection(3), K),
            classifier=encoder(heads.Classes(K)),
            num_classes=K,
        ),
        {"x": images(), "y": labels(missing=True)},
    ),
    "gp beside a direction": lambda: with_gp(
        lambda prior: (
            VAE(decoder(Z + 3), prior=JoinedPrior(prior, AnyDirection(3))),
            AmortizedGuide(
                encoder(heads.Beside(heads.DiagonalNormal(Z), heads.PowerSphericalDirection(3)))
            ),
        )
    ),
    "so3vae, points": lambda: so3(PointDecoder(Z, heads.Bernoulli(SHAPE), points=6)),
    "so3vae, irreps, one mode": lambda: so3(
        IrrepDecoder(Z, lambda size: MLP(size, heads.Bernoulli(SHAPE), hidden=[16]), degree=2),
        modes=1,
    ),
    "so3vae, search": lambda: so3(
        FlatRotation(decoder(Z, 9)),
        modes=2,
        objective=ELBO(weights={"x": Linear(0.1, 1.0, steps=10)})
        + RotationSearch(16, contents=2, steps=10),
    ),
    "cvae, rotations": lambda: Pair(
        ConditionalVAE(
            OrientedDecoder(FlatRotation(decoder(Z, K, 9)), modes=2),
            Conditions(OneHot(K)),
            latent_dim=Z,
        ),
        ConditionalGuide(
            encoder(heads.DiagonalNormal(Z), K), Conditions(OneHot(K)), trunk=orient(2)
        ),
        {"x": images(), "y": labels()},
    ),
    "ssvae, rotations": lambda: Pair(
        SemiSupervisedVAE(
            OrientedDecoder(FlatRotation(decoder(Z, K, 9))), latent_dim=Z, num_classes=K
        ),
        SemiSupervisedGuide(
            encoder(heads.DiagonalNormal(Z), K),
            classifier=encoder(heads.Classes(K)),
            num_classes=K,
            trunk=orient(1),
        ),
        {"x": images(), "y": labels(missing=True)},
    ),
    "jvae, rotations": lambda: Pair(
        JointVAE(OrientedDecoder(FlatRotation(decoder(Z, K, 9))), latent_dim=Z, classes=K),
        FactorizedGuide(
            nn.Sequential(
                orient(1),
                encoder(Sites({"z": heads.DiagonalNormal(Z), "y": heads.Classes(K)})),
            )
        ),
        {"x": images()},
    ),
    "gp, rotations": lambda: with_gp(
        lambda prior: (
            GPVAE(prior, OrientedDecoder(FlatRotation(decoder(Z, 9)))),
            GPGuide(nn.Sequential(orient(1), encoder(heads.DiagonalNormal(Z))), prior),
        )
    ),
    "vae, conv, normal": lambda: Pair(
        VAE(ConvDecoder(Z, heads.Normal((2, 9, 7)), channels=[8]), latent_dim=Z),
        AmortizedGuide(ConvEncoder((2, 9, 7), heads.DiagonalNormal(Z), channels=[8], hidden=16)),
        {"x": images(2, 9, 7)},
    ),
    "vae, counts": lambda: counts(heads.NegativeBinomial),
    "vae, zero-inflated counts": lambda: counts(heads.ZeroInflatedNegativeBinomial),
    "vae, missing counts": lambda: counts(heads.NegativeBinomial, missing=True),
    "counts, latent library by batch": count_batches,
    "gp, counts": lambda: with_gp(
        count_gp, x=torch.poisson(20 * images().flatten(1)[:, :20]), index=torch.arange(N)
    ),
    "vae, missing values": lambda: Pair(
        VAE(masked_decoder(Z), latent_dim=Z),
        AmortizedGuide(masked_encoder(heads.DiagonalNormal(Z))),
        {"x": torn(images())},
    ),
    "ssvae, missing values": lambda: Pair(
        SemiSupervisedVAE(masked_decoder(Z, K), latent_dim=Z, num_classes=K),
        SemiSupervisedGuide(
            masked_encoder(heads.DiagonalNormal(Z), K),
            classifier=masked_encoder(heads.Classes(K)),
            num_classes=K,
        ),
        {"x": torn(images()), "y": labels(missing=True)},
    ),
    "gpvae, missing values": masked_gp,
    "gp, additive": lambda: additive("cat(id) + rbf(age)*cat(id) + matern(age)*cat(sex)"),
    "gp, additive, missing covariates": lambda: additive(
        "cat(id) + rbf(dose)*obs(dose) + linear(age)*cat(site)*obs(site)",
        dose=with_gaps(torch.rand(N)),
        site=with_gaps(torch.arange(N) % 3),
    ),
    "gp, additive, no subject": lambda: additive(
        "rbf(age) + periodic(hour)", hour=6 * torch.rand(N)
    ),
    "gp, additive beside a standard normal": lambda: additive(
        "cat(id) + rbf(age)*cat(id)", beside=1
    ),
    "gpvae": gp,
    "gpvae, leave view out": lambda: gp(None, LeaveViewOut(), folds=3),
    "gpvae, weight space": lambda: gp(WeightSpaceGuide),
    "gpvae, weight space, dense": lambda: gp(lambda prior: WeightSpaceGuide(prior, full=True)),
    "gpvae, networks that turn": turned_gp,
    "gpvae, pseudo-observations": lambda: gp(
        lambda prior: PseudoGuide(encoder(heads.DiagonalNormal(Z)), prior)
    ),
    "cvae, class": lambda: conditional(Conditions(OneHot(K)), y=labels()),
    "cvae, modulated": modulated,
    "cvae, factors": lambda: conditional(Conditions(factor_dim=C), c=factors()),
    "cvae, embedded class and factor": lambda: conditional(
        Conditions(Embedding(K, 2), factor_dim=1), y=labels(), c=factors()[:, 0]
    ),
    "cvae, style apart": lambda: conditional(Conditions(OneHot(K)), y=labels())._replace(
        objective=ELBO() + Independence(weight=5.0)
    ),
    "gp, cvae": lambda: with_gp(
        lambda prior: (
            ConditionalVAE(decoder(Z, K), Conditions(OneHot(K)), prior=prior),
            ConditionalGuide(encoder(heads.DiagonalNormal(Z), K), Conditions(OneHot(K))),
        ),
        y=labels(),
    ),
    "gp, jvae": lambda: with_gp(
        lambda prior: (
            JointVAE(decoder(Z, K), classes=K, prior=prior),
            FactorizedGuide(encoder(Sites({"z": heads.DiagonalNormal(Z), "y": heads.Classes(K)}))),
        )
    ),
    "gp, ssvae, leave view out": lambda: with_gp(
        lambda prior: (
            SemiSupervisedVAE(decoder(Z, K), num_classes=K, prior=prior),
            SemiSupervisedGuide(
                encoder(heads.DiagonalNormal(Z), K),
                classifier=encoder(heads.Classes(K)),
                num_classes=K,
            ),
        ),
        folds=3,
        y=labels(missing=True),
    )._replace(objective=ELBO() + LeaveViewOut()),
    "gp beside a standard normal": lambda: with_gp(
        lambda prior: (
            VAE(decoder(Z + 1), prior=JoinedPrior(prior, StandardNormal(1))),
            AmortizedGuide(encoder(heads.DiagonalNormal(Z + 1))),
        )
    ),
    "cvae, sphere": lambda: Pair(
        ConditionalVAE(decoder(3, K), Conditions(OneHot(K)), prior=AnyDirection(3)),
        ConditionalGuide(encoder(heads.PowerSphericalDirection(3), K), Conditions(OneHot(K))),
        {"x": images(), "y": labels()},
    ),
    "vae, a normal a class": lambda: Pair(
        VAE(decoder(Z), prior=ClassNormal(K, Z)),
        ConditionalGuide(encoder(heads.DiagonalNormal(Z), K), Conditions(OneHot(K))),
        {"x": images(), "y": labels()},
    ),
    "vae, mixture": lambda: Pair(
        VAE(decoder(Z), prior=MixtureNormal(K, Z)),
        AmortizedGuide(encoder(heads.DiagonalNormal(Z))),
        {"x": images()},
    ),
    "vae, flow prior": lambda: Pair(
        VAE(decoder(Z), prior=FlowPrior(Z, couplings=2, hidden=8)),
        AmortizedGuide(encoder(heads.DiagonalNormal(Z))),
        {"x": images()},
    ),
    "vae, vamp prior": lambda: vamp(encoder(heads.DiagonalNormal(Z))),
    "jvae, mixture enumerated": lambda: Pair(
        JointVAE(decoder(Z, K), classes=K, prior=ClassNormal(K, Z)),
        FactorizedGuide(encoder(Sites({"y": heads.Classes(K), "z": heads.DiagonalNormal(Z)}))),
        {"x": images()},
    ),
    "ssvae, a normal a class": lambda: Pair(
        SemiSupervisedVAE(decoder(Z, K), num_classes=K, prior=ClassNormal(K, Z)),
        SemiSupervisedGuide(
            encoder(heads.DiagonalNormal(Z), K),
            classifier=encoder(heads.Classes(K)),
            num_classes=K,
        ),
        {"x": images(), "y": labels(missing=True)},
    ),
    "jvae": lambda: Pair(
        JointVAE(decoder(Z, K), latent_dim=Z, classes=K),
        FactorizedGuide(encoder(Sites({"z": heads.DiagonalNormal(Z), "y": heads.Classes(K)}))),
        {"x": images()},
        ELBO(capacity={"z": Capacity(0.5, gamma=2.0), "y": Capacity(0.1, gamma=2.0)}) + Balance(),
    ),
    "jvae, two classes": lambda: Pair(
        JointVAE(decoder(Z, K, 2), latent_dim=Z, classes={"y": K, "a": 2}),
        FactorizedGuide(
            encoder(
                Sites(
                    {
                        "z": heads.DiagonalNormal(Z),
                        "y": heads.Classes(K),
                        "a": heads.Classes(2),
                    }
                )
            )
        ),
        {"x": images()},
    ),
    "jvae, consistent": lambda: Pair(
        JointVAE(decoder(Z, K), latent_dim=Z, classes=K),
        FactorizedGuide(encoder(Sites({"z": heads.DiagonalNormal(Z), "y": heads.Classes(K)}))),
        {"x": images()},
        ELBO() + Consistency(Warp(SHAPE, rotation=0.1, bend=0.1)),
    ),
    "ssvae, class": lambda: Pair(
        SemiSupervisedVAE(decoder(Z, K), latent_dim=Z, num_classes=K),
        SemiSupervisedGuide(
            encoder(heads.DiagonalNormal(Z), K),
            classifier=encoder(heads.Classes(K)),
            num_classes=K,
        ),
        {"x": images(), "y": labels(missing=True)},
        ELBO() + Supervision("y", weight=2.0),
    ),
    "ssvae, factors": lambda: Pair(
        SemiSupervisedVAE(decoder(Z, C), latent_dim=Z, factor_dim=C),
        SemiSupervisedGuide(
            encoder(heads.DiagonalNormal(Z), C), regressor=encoder(heads.DiagonalNormal(C))
        ),
        {"x": images(), "c": factors(missing=True)},
        ELBO() + Supervision("c"),
    ),
    "ssvae, class and factors": lambda: Pair(
        SemiSupervisedVAE(decoder(Z, K, C), latent_dim=Z, num_classes=K, factor_dim=C),
        SemiSupervisedGuide(
            encoder(heads.DiagonalNormal(Z), K, C),
            classifier=encoder(heads.Classes(K)),
            num_classes=K,
            regressor=encoder(heads.DiagonalNormal(C)),
        ),
        {"x": images(), "y": labels(missing=True), "c": factors(missing=True)},
        ELBO() + Supervision("y") + Supervision("c"),
    ),
    "rvae, coordinates": lambda: Pair(
        VAE(PosedDecoder(coordinates(Z), rotation=1.0), latent_dim=Z),
        AmortizedGuide(nn.Sequential(align("rotation"), encoder(heads.DiagonalNormal(Z)))),
        {"x": images()},
    ),
    "trvae with scale, equivariant": lambda: Pair(
        VAE(PosedDecoder(canvas(Z), **{**WIDTHS, "rotation": math.inf}), latent_dim=Z),
        AmortizedGuide(
            nn.Sequential(
                Align(EquivariantPose(SHAPE, scale=True, angles=4, hidden=[8]), SHAPE),
                encoder(heads.DiagonalNormal(Z)),
            )
        ),
        {"x": images()},
    ),
    "rvae, two modes, equivariant": lambda: Pair(
        VAE(PosedDecoder(canvas(Z), rotation=math.inf, modes=2), latent_dim=Z),
        AmortizedGuide(
            nn.Sequential(
                Align(
                    EquivariantPose(SHAPE, translation=False, angles=6, modes=2, hidden=[8]), SHAPE
                ),
                encoder(heads.DiagonalNormal(Z)),
            )
        ),
        {"x": images()},
    ),
    "trvae, three modes": lambda: Pair(
        VAE(PosedDecoder(canvas(Z), rotation=1.0, translation=0.2, modes=3), latent_dim=Z),
        AmortizedGuide(
            nn.Sequential(
                Align(
                    encoder(
                        Sites(
                            {
                                "turn": heads.Classes(3),
                                "rotation": Angle(),
                                "translation": Shift(),
                            }
                        )
                    ),
                    SHAPE,
                ),
                encoder(heads.DiagonalNormal(Z)),
            )
        ),
        {"x": images()},
    ),
    "trvae with scale, canvas": lambda: Pair(
        VAE(PosedDecoder(canvas(Z), **WIDTHS), latent_dim=Z),
        AmortizedGuide(nn.Sequential(align(*POSE), encoder(heads.DiagonalNormal(Z)))),
        {"x": images()},
    ),
    "trvae, mean field, two channels": lambda: Pair(
        VAE(PosedDecoder(coordinates(Z, shape=(2, 8, 8)), **WIDTHS), latent_dim=Z),
        FactorizedGuide(
            encoder(
                Sites(
                    {
                        "rotation": Angle(),
                        "translation": Shift(),
                        "scale": LogScale(),
                        "z": heads.DiagonalNormal(Z),
                    }
                ),
                shape=(2, 8, 8),
            )
        ),
        {"x": images(2, 8, 8)},
    ),
    "tvae, spectra": lambda: Pair(
        VAE(PosedDecoder(coordinates(Z, shape=SPECTRUM), translation=0.3), latent_dim=Z),
        AmortizedGuide(
            nn.Sequential(
                align("translation", shape=SPECTRUM),
                encoder(heads.DiagonalNormal(Z), shape=SPECTRUM),
            )
        ),
        {"x": images(*SPECTRUM)},
    ),
    "tvae, spectra, canvas": lambda: Pair(
        VAE(PosedDecoder(canvas(Z, shape=SPECTRUM), translation=0.3, scale=0.1), latent_dim=Z),
        AmortizedGuide(
            nn.Sequential(
                align("translation", "scale", shape=SPECTRUM),
                encoder(heads.DiagonalNormal(Z), shape=SPECTRUM),
            )
        ),
        {"x": images(*SPECTRUM)},
    ),
    "crvae": lambda: Pair(
        ConditionalVAE(
            PosedDecoder(canvas(Z, K), rotation=1.0), Conditions(OneHot(K)), latent_dim=Z
        ),
        ConditionalGuide(
            encoder(heads.DiagonalNormal(Z), K), Conditions(OneHot(K)), trunk=align("rotation")
        ),
        {"x": images(), "y": labels()},
    ),
    "jtrvae": lambda: Pair(
        JointVAE(
            PosedDecoder(canvas(Z, K), rotation=1.0, translation=0.3), latent_dim=Z, classes=K
        ),
        FactorizedGuide(
            nn.Sequential(
                align("rotation", "translation"),
                encoder(Sites({"z": heads.DiagonalNormal(Z), "y": heads.Classes(K)})),
            )
        ),
        {"x": images()},
        ELBO(capacity={("z", "rotation"): Capacity(1.0), "y": Capacity(0.2)}),
    ),
    "ssrvae": lambda: Pair(
        SemiSupervisedVAE(
            PosedDecoder(coordinates(Z, K), rotation=1.0), latent_dim=Z, num_classes=K
        ),
        SemiSupervisedGuide(
            encoder(heads.DiagonalNormal(Z), K),
            classifier=encoder(heads.Classes(K)),
            num_classes=K,
            trunk=align("rotation"),
        ),
        {"x": images(), "y": labels(missing=True)},
        ELBO() + Supervision("y"),
    ),
    "two stages, single embedding": lambda: two_stage(
        SingleEmbeddingGuide(
            encoder(heads.Raw((4,))),
            MLP(4, heads.DiagonalNormal(3), hidden=[8]),
            MLP(4, heads.DiagonalNormal(Z), hidden=[8]),
        )
    ),
    "two stages, double embedding": lambda: two_stage(
        DoubleEmbeddingGuide(
            encoder(heads.DiagonalNormal(3)), MLP(3, heads.DiagonalNormal(Z), hidden=[8])
        )
    ),
    "two levels, top down": lambda: levels("z2", "z1"),
    "two levels, bottom up": lambda: levels("z1", "z2"),
    "markov": lambda: Pair(Markov(), MarkovGuide(), {"x": torch.randn(N, STEPS)}),
    "masked elements": lambda: Pair(
        Gaps(Z, 4),
        GapsGuide(MLP([4, 4], heads.DiagonalNormal(Z), hidden=[8])),
        {"x": torch.randn(N, 4), "seen": (torch.rand(N, 4) > 0.3) + torch.zeros(N, 4)},
    ),
    "shared latent, automatic guide": shared,
    **(
        {
            "zuko, flow posterior": lambda: Pair(
                VAE(decoder(Z), latent_dim=Z), FlowGuide(PIXELS, Z), {"x": images()}
            ),
            "zuko, flow prior": lambda: Pair(
                VAE(decoder(Z), prior=ZukoPrior(Z)),
                AmortizedGuide(encoder(heads.DiagonalNormal(Z))),
                {"x": images()},
            ),
        }
        if find_spec("zuko")
        else {}
    ),
    "deep kernel, exact": lambda: deep_kernel(ExactFeatures(MaternKernel(ard_num_dims=Z), Z)),
    "deep kernel, two outputs, noise per point": lambda: deep_kernel(
        random_features(), outputs=2, noise=0.1 + 0.2 * torch.rand(N, 2)
    ),
    "deep kernel, variational": lambda: deep_kernel(random_features(), VariationalWeightsGuide),
    "deep kernel, noise a function": lambda: deep_kernel(
        random_features(),
        VariationalWeightsGuide,
        head=heads.Normal((1,), heads.PerElement()),
    ),
    "deep kernel, counts": lambda: deep_kernel(
        random_features(),
        VariationalWeightsGuide,
        head=heads.Poisson((1,)),
        target=torch.poisson(torch.full((N, 1), 3.0)),
    ),
    "deep kernel on a vae": deep_kernel_vae,
    "ved": lambda: Pair(
        VAE(decoder(Z, shape=SPECTRUM), latent_dim=Z),
        SourceGuide(encoder(heads.DiagonalNormal(Z))),
        {"x": images(*SPECTRUM), "source": images()},
    ),
}


# Pairs that observe the column x as one site and share no latent between data.
PLAIN = [
    name
    for name in PAIRS
    if not name.startswith(("markov", "shared latent, automatic guide", "deep kernel"))
]


def build(name: str, *, seed: int = 0, device: torch.device | str = "cpu") -> Pair:
    """A pair as ``ppvae.fit`` would have it before the first step, always the same for a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pair = Pair(*PAIRS[name]())
    batch = {column: value.to(device) for column, value in pair.batch.items()}
    return prepare(Pair(pair.model.to(device), pair.guide.to(device), batch, pair.objective))


def prepare(pair: Pair) -> Pair:
    """What :func:`ppvae.fit` does before the first step, and after weights have been loaded."""
    for hook in hooks_of(pair.model, pair.guide):
        hook.prepare(pair.batch)
    return pair
