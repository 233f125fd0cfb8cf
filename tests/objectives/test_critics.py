"""Critics: the scores of all pairs, and what is measured with them."""

from __future__ import annotations

import math

import pytest
import torch

from ppvae.nets import MLP, heads
from ppvae.objectives import (
    MINE,
    DonskerVaradhan,
    InfoNCE,
    JointCritic,
    SeparableCritic,
    critic_between,
    measure,
    train_critic,
)


def correlated(information: float, dim: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    rho = math.sqrt(1 - math.exp(-2 * information / dim))
    a = torch.randn(rows, dim)
    return a, rho * a + math.sqrt(1 - rho**2) * torch.randn(rows, dim)


def net(size: int, out: int) -> MLP:
    return MLP(size, heads.Raw((out,)), hidden=[8])


def test_a_separable_critic_scores_each_pair_by_itself():
    critic = SeparableCritic(net(3, 5), net(2, 5))
    a, b = torch.randn(4, 3), torch.randn(4, 2)
    joint, marginal = critic(a, b)
    assert joint.shape == (4,)
    assert marginal.shape == (4, 3)
    f, g = critic.first(a).mean, critic.second(b).mean
    for i in range(4):
        for j in range(4):
            score = f[i, 4] + g[j, 4] - (f[i, :4] - g[j, :4]).square().sum() / 2
            found = joint[i] if i == j else marginal[i, (j - i) % 4 - 1]
            torch.testing.assert_close(found, score)


@pytest.mark.parametrize("others", [None, 2, 100])
def test_a_joint_critic_scores_each_pair_by_itself(others):
    critic = JointCritic(MLP([3, 2], heads.Raw((1,)), hidden=[8]), others=others)
    a, b = torch.randn(4, 3), torch.randn(4, 2)
    joint, marginal = critic(a, b)
    assert marginal.shape == (4, 2 if others == 2 else 3)
    for i in range(4):
        torch.testing.assert_close(joint[i], critic.network(a[i], b[i]).mean[0])
        for m in range(marginal.size(1)):
            pair = critic.network(a[i], b[(i + m + 1) % 4]).mean[0]
            torch.testing.assert_close(marginal[i, m], pair)


@pytest.mark.parametrize("form", ["separable", "joint"])
@pytest.mark.parametrize(
    ("first", "second"), [((3, 64, 64), (5,)), ((1, 5, 9), (2,)), ((4,), (3,)), ((2,), (1, 8, 8))]
)
def test_one_is_made_for_any_shapes(form, first, second):
    critic = critic_between(first, second, form=form)
    joint, marginal = critic(torch.rand(6, *first), torch.rand(6, *second))
    assert joint.shape == (6,)
    assert marginal.shape == (6, 5)
    torch.autograd.backward([joint.sum() + marginal.square().sum()])
    assert all(p.grad is not None and (p.grad != 0).any() for p in critic.parameters())


@pytest.mark.parametrize("form", ["separable", "joint"])
def test_images_go_through_an_mlp_if_asked(form):
    critic = critic_between((1, 6, 6), (2,), form=form, convolutions=False, others=2)
    assert not any(isinstance(m, torch.nn.Conv2d) for m in critic.modules())
    _, marginal = critic(torch.rand(5, 1, 6, 6), torch.rand(5, 2))
    assert marginal.shape == (5, 2 if form == "joint" else 4)


@pytest.mark.parametrize("form", ["separable", "joint"])
def test_one_datum_is_refused(form):
    with pytest.raises(ValueError, match="expected at least 2 data.*got 1. Choose a batch"):
        critic_between((3,), (2,), form=form)(torch.rand(1, 3), torch.rand(1, 2))


def test_no_others_are_refused():
    with pytest.raises(ValueError, match="others: expected an integer >= 1 or None; got 0"):
        JointCritic(net(3, 1), others=0)


def test_mine_finds_the_information_of_correlated_normals():
    critic, mine = JointCritic(MLP([5, 5], heads.Raw((1,)), hidden=[64]), others=8), MINE()
    estimates = train_critic(
        critic, mine, lambda: correlated(2.0, 5, 128), steps=800, learning_rate=5e-3
    )
    assert estimates.shape == (800,)
    assert estimates[-100:].mean() == pytest.approx(2.0, rel=0.05)
    assert measure(critic, mine, *correlated(2.0, 5, 4000)) == pytest.approx(2.0, rel=0.05)


def test_the_moving_average_does_not_oscillate():
    spreads = []
    for estimator in (MINE(), DonskerVaradhan()):
        torch.manual_seed(0)
        critic = critic_between((2,), (2,), hidden=[32])
        estimates = train_critic(critic, estimator, lambda: correlated(1.0, 2, 64), steps=600)
        spreads.append(estimates[300:].std())
    assert spreads[0] < spreads[1] / 3


@pytest.mark.parametrize("estimator", [MINE, InfoNCE])
@pytest.mark.parametrize("kind", ["identical", "constant channels", "independent"])
def test_where_there_is_no_information_none_is_found(estimator, kind):
    def draw(rows=64):
        a, b = torch.randn(rows, 2, 4, 4), torch.randn(rows, 3)
        if kind == "identical":
            a = torch.full_like(a, 0.5)
        elif kind == "constant channels":
            a[:, 0], b[:, 0] = 0.3, 1.0
        return a, b

    made = estimator()
    critic = critic_between((2, 4, 4), (3,), features=4, hidden=[16])
    train_critic(critic, made, draw, steps=200)
    assert abs(measure(critic, made, *draw(2000))) < 0.05


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="steps: expected at least 1; got 0"):
        train_critic(critic_between((1,), (1,)), MINE(), lambda: correlated(1.0, 1, 8), steps=0)


def test_the_rate_of_a_critic_falls_over_the_last_half_of_the_steps(monkeypatch):
    rates, step = [], torch.optim.Adam.step

    def noted(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    critic = critic_between((1,), (1,), hidden=[4])
    train_critic(critic, InfoNCE(), lambda: correlated(1.0, 1, 8), steps=8, learning_rate=0.1)
    assert rates == pytest.approx([0.1] * 5 + [0.075, 0.05, 0.025])
