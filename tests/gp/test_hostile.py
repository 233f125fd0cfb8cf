"""What breaks GP code: bad columns, singular kernels, no noise, and long runs in float32."""

from __future__ import annotations

import math

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from ppvae.data import Dataset
from ppvae.fitting import fit
from ppvae.gp import FourierFeatures, GPPrior, LeaveViewOut, ObjectTable
from ppvae.guides import GPGuide
from ppvae.models import GPVAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO
from ppvae.programs import ContractError

P, Q, L = 5, 4, 2


def prior(**options) -> GPPrior:
    settings = {"latent_dim": L, **options}
    return GPPrior(ObjectTable(P, 3), FourierFeatures(num_frequencies=2), **settings)


def columns() -> dict[str, Tensor]:
    cells = torch.cartesian_prod(torch.arange(P), torch.arange(Q))
    return {"object": cells[:, 0], "view": cells[:, 1] * 2 * math.pi / Q}


def with_row(name: str, value: float) -> dict[str, Tensor]:
    """The columns with their third row changed."""
    data = columns()
    data[name][2] = value
    return data


BAD = {
    "missing id": (with_row("object", -1), r"expected ids from 0 to 4; got -1 to 4"),
    "id too large": (with_row("object", 9), r"expected ids from 0 to 4; got 0 to 9"),
    "id not a number": (
        {**columns(), "object": columns()["object"].double()},
        "expected integer ids; got torch.float64",
    ),
    "object without a view": (
        {name: column[Q:] for name, column in columns().items()},
        r"got no view of 1, such as \[0\]",
    ),
    "missing view": (with_row("view", math.nan), "expected finite numbers; got nan in row 2"),
    "infinite view": (with_row("view", math.inf), "expected finite numbers; got inf in row 2"),
    "lengths": (
        {**columns(), "view": columns()["view"][:-1]},
        "expected columns of one length; got 20 and 19",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_columns_are_refused_by_name(name):
    data, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        prior().prepare(data)


def test_a_missing_column_is_named_before_the_first_step():
    made = prior()
    model = GPVAE(made, MLP(L, heads.Normal((3,)), hidden=[4]))
    guide = GPGuide(MLP(3, heads.DiagonalNormal(L), hidden=[4]), made)
    rows = Dataset({"x": torch.randn(P * Q, 3), "object": columns()["object"]})
    with pytest.raises((ContractError, ValueError, KeyError), match="view"):
        fit(model, guide, rows, epochs=1, progress=False)


def test_many_images_of_one_cell_are_as_one_with_less_noise():
    """n equal encodings of each cell tell of the weights what their mean does at noise v1 / n."""
    data, copies = columns(), 50
    codes = torch.randn(P * Q, L)
    many, one = prior(noise=0.5), prior(noise=0.5)
    one.load_state_dict(many.state_dict())
    many.prepare({name: column.repeat(copies) for name, column in data.items()})
    many.table = codes.repeat(copies, 1)
    f = one.rows(data["object"], data["view"]).detach()
    v1 = one.variances()[1].detach()
    covariance = f @ f.T + v1 / copies * torch.eye(len(f))
    exact = f.T @ torch.linalg.solve(covariance, codes)
    torch.testing.assert_close(many.state().mean, exact)


@pytest.mark.parametrize("floor", [1e-3, 1e-6])
def test_noise_at_its_floor_in_float32_keeps_the_bound_and_its_gradient_finite(floor):
    """Repeated views, so that the kernel's matrix is singular, and encodings far from the GP."""
    data = {name: column.repeat(40) for name, column in columns().items()}
    made = prior(floor=floor, noise=2 * floor, folds=Q).float().train()
    made.raw_noise.data.fill_(-40.0)
    assert float(made.variances()[1].detach()) == pytest.approx(floor, rel=1e-6)
    made.prepare(data)
    rows = torch.arange(len(data["object"]))
    loc = (30 * torch.randn(len(rows), L)).float().requires_grad_()
    scale = torch.full((len(rows), L), 1e-3).float()
    q = dist.Normal(loc, scale).to_event(1)
    made.record(rows, {"z": q})
    made.solve()
    p = made(data["object"], data["view"])
    kl = kl_divergence(q, p)
    assert torch.isfinite(kl).all()
    assert torch.isfinite(p.left_out(rows)).all()
    assert (p.leverage > -1e-6).all()
    kl.mean().backward()
    moved = [loc, *(p for p in made.parameters() if p.requires_grad)]
    assert all(torch.isfinite(p.grad).all() for p in moved)


def test_float32_stays_finite_and_near_float64_over_a_long_run():
    """400 steps at a high rate drive v1 down; the table keeps float64's bound to a hundredth."""
    torch.manual_seed(0)
    x = torch.randn(P * Q, 6).float()
    made = prior(refresh=4, folds=Q)
    model = GPVAE(made, MLP(L, heads.Normal((6,)), hidden=[8])).float()
    guide = GPGuide(MLP(6, heads.DiagonalNormal(L), hidden=[8]), made).float()
    rows = Dataset({"x": x, **columns()})
    run = fit(
        model,
        guide,
        rows,
        ELBO() + LeaveViewOut(),
        epochs=100,
        batch_size=5,
        learning_rate=2e-2,
        compile=False,
        progress=False,
        seed=0,
    )
    assert all(math.isfinite(row["loss"]) for row in run.history)
    learned = [*model.parameters(), *guide.parameters(), made.mean, made.covariance]
    assert all(torch.isfinite(value).all() for value in learned)
    q = guide.encoder(x)
    objects, views = columns()["object"], columns()["view"]
    made.train()
    made.record(torch.arange(len(x)), {"z": q})
    made.solve()
    single = kl_divergence(q, made(objects, views)).sum()
    f = made.rows(objects, views).double()
    covariance = f @ f.T + made.variances()[1] * torch.eye(len(f))
    p = dist.MultivariateNormal(torch.zeros(len(f)), covariance)
    exact = sum(
        kl_divergence(
            dist.MultivariateNormal(q.mean[:, i].double(), q.variance[:, i].double().diag()), p
        )
        for i in range(L)
    )
    torch.testing.assert_close(single.double(), exact, rtol=1e-2, atol=1e-2)
