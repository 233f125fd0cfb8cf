"""Terms with a network of their own, trained beside the main optimiser."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ppvae.fitting import Checkpoint, adam, fit
from ppvae.objectives import ELBO, Context, Term
from ppvae.runs.run import load
from tests.fitting.programs import D, Z, pair, splits


class Regression(Term):
    """A critic that predicts z from x; the model is paid for what it cannot predict."""

    name = "regression"

    def __init__(self, critic: nn.Module | None = None, *, updates: int = 1) -> None:
        super().__init__()
        self.critic = nn.Linear(D, Z) if critic is None else critic
        self.scale = nn.Parameter(torch.ones(()))  # not the critic's: the main optimiser's
        self.critic_updates = updates
        self.critic_learning_rate = 0.01
        self.contexts: list[Context] = []

    def forward(self, context: Context) -> Tensor:
        return self.error(context) * self.scale.square()

    def error(self, context: Context) -> Tensor:
        error = self.critic(context.batch["x"]) - context.values["z"]
        return error.square().sum(-1).mean()

    def critic_parameters(self):
        return self.critic.parameters()

    def critic_loss(self, context: Context) -> Tensor:
        self.contexts.append(context)
        return self.error(context)


def quiet(model, guide, objective, **options):
    options = {"epochs": 3, "batch_size": 16, "seed": 0, "progress": False, **options}
    return fit(model, guide, splits(), objective, **options)


def test_the_critics_parameters_are_not_the_main_optimisers():
    term = Regression(updates=2)
    main = []

    class Look:
        def on_fit_start(self, training):
            self.critic = [
                p for c in training.step.critics for g in c.optimizer.param_groups
                for p in g["params"]
            ]  # fmt: skip

    def optimizer(parameters, lr):
        main.extend(parameters)
        return adam(main, lr)

    look = Look()
    model, guide = pair()
    run = quiet(model, guide, ELBO() + term, optimizer=optimizer, callbacks=[look])
    ours = {id(p) for p in term.critic_parameters()}
    assert {id(p) for p in look.critic} == ours
    assert not ours & {id(p) for p in main}
    everything = [*model.parameters(), *guide.parameters(), *term.parameters()]
    assert {id(p) for p in main} | ours == {id(p) for p in everything}
    assert id(term.scale) in {id(p) for p in main}
    # Two updates a step, on samples through which no gradient can reach the model.
    assert len(term.contexts) == 2 * 4 * 3
    for context in term.contexts:
        assert not context.values["z"].requires_grad
        assert not context.q
        assert not context.p
    assert {"regression", "critic/regression"} <= run.history[0].keys()
    assert "val_regression" not in run.history[0]


def test_the_critic_moves_only_the_critic_and_the_rest_only_the_rest():
    model, guide = pair()
    term = Regression()
    critic = [p.detach().clone() for p in term.critic_parameters()]
    term.critic_learning_rate = 0.0
    quiet(model, guide, ELBO() + term)
    assert all(torch.equal(a, b) for a, b in zip(critic, term.critic_parameters(), strict=True))
    # The critic's weights get no gradient from the main loss, nor the main ones from the critic's.
    assert all(p.grad is None for p in term.critic_parameters())
    twin = pair()
    slow = Regression()
    slow.load_state_dict(Regression().state_dict())
    with torch.no_grad():
        for p in slow.critic.parameters():
            p.zero_()
    still = [p.detach().clone() for m in twin for p in m.parameters()]
    slow.critic_learning_rate = 0.1
    quiet(*twin, ELBO() + slow, learning_rate=1e-30)
    for a, b in zip(still, (p for m in twin for p in m.parameters()), strict=True):
        torch.testing.assert_close(a, b.detach(), atol=1e-20, rtol=0)
    assert all(p.abs().max() > 0.05 for p in slow.critic.parameters())


def test_the_critic_learns():
    term = Regression(updates=3)
    term.critic_learning_rate = 0.05
    model, guide = pair()
    with torch.no_grad():
        guide.raw.diagonal().fill_(-3.0)  # little noise that no critic could predict
    run = quiet(model, guide, ELBO() + term, epochs=15, learning_rate=1e-9)
    losses = run.history.column("critic/regression")
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("role", ["model", "guide", "another critic"])
def test_a_critic_that_shares_is_refused(role):
    model, guide = pair()
    objective = ELBO() + Regression(guide.net)
    if role == "model":
        model.net = guide.net
    elif role == "another critic":
        one, two = Regression(), Regression()
        two.name, two.critic = "second", one.critic
        objective = ELBO() + one + two
    with pytest.raises(ValueError, match="expected parameters of its own; got one that belongs"):
        quiet(model, guide, objective)


def test_a_critic_without_a_loss_is_refused():
    class Half(Regression):
        critic_loss = Term.critic_loss

    with pytest.raises(NotImplementedError, match="expected critic_loss beside critic_parameters"):
        quiet(*pair(), ELBO() + Half())


def test_critics_go_on_where_they_stopped_and_are_saved(tmp_path):
    def stop(training):
        training.stop = training.epoch == 1

    class Stop:
        on_epoch_end = staticmethod(stop)

    def term():
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return Regression(updates=2)

    whole, part, rest = term(), term(), Regression(updates=2)
    quiet(*pair(), ELBO() + whole)
    quiet(*pair(), ELBO() + part, callbacks=[Stop(), Checkpoint(tmp_path / "c")])
    run = quiet(*pair(4), ELBO() + rest, resume=tmp_path / "c")
    for a, b in zip(whole.parameters(), rest.parameters(), strict=True):
        assert torch.equal(a, b)
    run.save(tmp_path / "run")
    back = Regression()
    load(tmp_path / "run", *pair(1), objective=ELBO() + back)
    for a, b in zip(whole.parameters(), back.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="the modules lack terms.0.critic.bias"):
        load(tmp_path / "run", *pair(1))
