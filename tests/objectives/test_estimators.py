"""Estimators of mutual information on scores made by hand, and on those of the best critic."""

from __future__ import annotations

import math

import pytest
import torch

from ppvae.objectives.estimators import MINE, NWJ, SMILE, DonskerVaradhan, InfoNCE

ESTIMATORS = {
    "mine": MINE,
    "donsker-varadhan": DonskerVaradhan,
    "nwj": NWJ,
    "infonce": InfoNCE,
    "smile": lambda: SMILE(20.0),
}
JOINT = torch.tensor([1.0, 3.0])
MARGINAL = torch.tensor([[0.0], [2.0]])


def best_scores(information: float, dim: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The log density ratio of correlated normals, of all pairs."""
    rho = math.sqrt(1 - math.exp(-2 * information / dim))
    a = torch.randn(rows, dim)
    b = rho * a + math.sqrt(1 - rho**2) * torch.randn(rows, dim)
    spread = 1 - rho**2
    # sum_d log N(b; rho a, 1 - rho^2) - log N(b; 0, 1), over all pairs at once.
    square = rho**2 * a.square().sum(1)[:, None] - 2 * rho * a @ b.T + b.square().sum(1)
    ratio = (b.square().sum(1) - square / spread - dim * math.log(spread)) / 2
    others = (torch.arange(rows)[:, None] + torch.arange(1, rows)) % rows
    return ratio.diagonal(), ratio.gather(1, others)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(("dim", "information"), [(1, 0.5), (5, 2.0), (20, 3.0)])
def test_the_best_critic_gives_the_information(name, dim, information):
    joint, marginal = best_scores(information, dim, 2000)
    level = 1.0 if name == "nwj" else 0.0  # where NWJ's optimum lies
    estimate = ESTIMATORS[name]().measure(joint + level, marginal + level)
    assert abs(float(estimate) - information) < 0.05 * information + 0.02


def test_each_is_its_formula():
    e = math.e
    dv = 2 - math.log((1 + e**2) / 2)
    nwj = 2 - (1 + e**2) / 2 / e
    contrast = 2 - (math.log((e + 1) / 2) + math.log((e**3 + e**2) / 2)) / 2
    clipped = 2 - math.log((1 + e) / 2)
    expected = {DonskerVaradhan(): dv, MINE(): dv, NWJ(): nwj, InfoNCE(): contrast}
    expected[SMILE(1.0)] = clipped
    for estimator, value in expected.items():
        assert float(estimator(JOINT, MARGINAL)) == pytest.approx(value)
        assert float(estimator.measure(JOINT, MARGINAL)) == pytest.approx(value)
    low = SMILE(1.0)(JOINT, torch.tensor([[-3.0], [0.0]]))
    assert float(low) == pytest.approx(2 - math.log((1 + 1 / e) / 2))
    smile = math.log(1 + 1 / e) + math.log(1 + e**-3) + math.log(2) + math.log(1 + e**2)
    assert float(SMILE().loss(JOINT, MARGINAL)) == pytest.approx(smile / 2)


def test_infonce_never_exceeds_its_limit():
    joint, marginal = torch.full((4,), 100.0), torch.zeros(4, 7)
    assert float(InfoNCE()(joint, marginal)) == pytest.approx(math.log(8))


def test_mine_divides_its_gradient_by_the_moving_average():
    mine = MINE(decay=0.75)
    mine.loss(JOINT, MARGINAL)
    # The second batch counts as half, as in a plain mean.
    eta = ((1 + math.exp(2)) / 2 + (math.exp(1) + math.exp(-1)) / 2) / 2
    joint = torch.tensor([0.0, 4.0], requires_grad=True)
    marginal = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    estimate = mine(joint, marginal)
    estimate.backward()
    value = estimate.item()
    assert value == pytest.approx(2 - math.log(eta))
    torch.testing.assert_close(joint.grad, torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(marginal.grad, -marginal.detach().exp() / 2 / eta)
    # Asked again it says the same: only training the critic moves the averages.
    assert mine(joint, marginal).item() == value
    own = math.log((math.exp(1) + math.exp(-1)) / 2)
    assert mine.loss(joint, marginal).item() == pytest.approx(0.1 * own**2 - value)
    for _ in range(200):
        mine.loss(JOINT, MARGINAL)
    assert float(mine.mean) == pytest.approx(2.0)
    assert float(mine.log_partition) == pytest.approx(math.log((1 + math.exp(2)) / 2))


def test_the_moving_average_has_a_third_of_the_deviation():
    mine, plain = MINE(level=0.0), DonskerVaradhan()
    rows = [best_scores(4.0, 2, 64) for _ in range(300)]
    batches = torch.tensor([float(plain(*scores)) for scores in rows])
    smoothed = torch.tensor([-float(mine.loss(*scores)) for scores in rows])
    assert smoothed[150:].std() < batches[150:].std() / 3
    # And less bias: the logarithm of a small batch's mean is too low on average.
    assert (smoothed[150:].mean() - 4).abs() < (batches[150:].mean() - 4).abs() + 0.05


def test_large_scores_do_not_overflow():
    joint, marginal = torch.full((3,), 900.0), torch.full((3, 2), 800.0)
    joint.requires_grad_()
    mine = MINE()
    mine.loss(torch.zeros(3), torch.zeros(3, 2))
    for estimator in (mine, DonskerVaradhan(), InfoNCE(), SMILE()):
        estimate = estimator(joint, marginal)
        assert torch.isfinite(estimate)
        assert torch.isfinite(torch.autograd.grad(estimate, joint)[0]).all()


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay: expected 0 to below 1; got"):
        MINE(decay)


def test_a_clip_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"clip: expected a number > 0; got 0"):
        SMILE(0.0)


def test_one_huge_score_does_not_leave_the_critic_without_a_hold():
    """The average would need thousands of steps to forget it: log(0.99) nats a step."""
    mine = MINE()
    joint, marginal = torch.zeros(8), torch.zeros(8, 7)
    for _ in range(50):
        mine.loss(joint, marginal)
    outlier = marginal.clone()
    outlier[0, 0] = 100.0
    mine.loss(joint, outlier)
    assert float(mine.log_partition) > 80
    mine.loss(joint, marginal)
    assert float(mine.log_partition) < 1.01
    # What pushes scores of pairs that do not belong together down is there again.
    scores = marginal.clone().requires_grad_()
    (slope,) = torch.autograd.grad(mine.loss(joint, scores), scores)
    assert float(slope.sum()) > 0.3


def test_one_huge_score_weighs_e_to_the_slack_at_most():
    """Such a batch would otherwise count 1 / (1 - decay) = 100 times, and the critic diverge."""
    mine = MINE(level=0.0)
    joint, marginal = torch.zeros(8), torch.zeros(8, 7)
    for _ in range(300):
        mine.loss(joint, marginal)
    for height in (3.0, 30.0):
        scores = marginal.clone()
        scores[0, 0] = height
        scores.requires_grad_()
        for loss in (-mine(joint, scores), mine.loss(joint, scores)):
            (slope,) = torch.autograd.grad(loss, scores)
            assert 0.9 < float(slope.sum()) < math.e + 1e-4


def test_the_level_of_the_scores_is_held():
    """No estimate depends on it, so that without a further term nothing brings it back."""
    found = {}
    for weight in (0.1, 0.0):
        mine, level = MINE(0.5, level=weight), torch.full((), 5.0, requires_grad=True)
        optimizer = torch.optim.SGD([level], 0.1)
        for _ in range(300):
            optimizer.zero_grad()
            mine.loss(JOINT + level, MARGINAL + level).backward()
            optimizer.step()
        found[weight] = math.log((1 + math.exp(2)) / 2) + level.item()
    assert abs(found[0.1]) < 0.1
    assert found[0.0] > 5
    with pytest.raises(ValueError, match="level: expected a number >= 0; got -1"):
        MINE(level=-1.0)


def test_an_average_near_the_batches_is_left_as_it_is():
    torch.manual_seed(0)
    capped, free = MINE(), MINE(slack=1e6)
    for _ in range(200):
        joint, marginal = torch.randn(16) + 2, 0.5 * torch.randn(16, 15)
        assert capped.loss(joint, marginal) == free.loss(joint, marginal)
    with pytest.raises(ValueError, match="slack: expected a number > 0; got 0"):
        MINE(slack=0)
