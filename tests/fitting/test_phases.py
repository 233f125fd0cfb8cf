"""Training in phases: what is held stays, what is not moves, on schedule."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ppvae.data import Dataset
from ppvae.errors import ArgumentError
from ppvae.fitting import Checkpoint, Phase, Phases, fit
from ppvae.gp import FourierFeatures, GPPrior, ObjectTable
from ppvae.guides import GPGuide
from ppvae.models import GPVAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO, MutualInformation, critic_between
from tests.fitting import programs

P, Q = 5, 4


class Watch:
    """What each epoch moved: kernels, networks, or both."""

    def __init__(self, **modules: nn.Module) -> None:
        self.modules = modules
        self.moved: list[set[str]] = []

    def read(self) -> dict[str, list[Tensor]]:
        return {
            name: [p.detach().clone() for p in module.parameters() if p.requires_grad]
            for name, module in self.modules.items()
        }

    def on_fit_start(self, training) -> None:
        self.last = self.read()

    def on_epoch_end(self, training) -> None:
        now = self.read()
        self.moved.append(
            {
                name
                for name in now
                if any(
                    not torch.equal(a, b) for a, b in zip(now[name], self.last[name], strict=True)
                )
            }
        )
        self.last = now


def pair() -> tuple[GPVAE, GPGuide, Dataset]:
    torch.manual_seed(0)
    cells = torch.cartesian_prod(torch.arange(P), torch.arange(Q))
    data = Dataset(
        {
            "x": torch.randn(len(cells), 3),
            "object": cells[:, 0],
            "view": cells[:, 1] * 2 * math.pi / Q,
        }
    )
    prior = GPPrior(ObjectTable(P, 2), FourierFeatures(num_frequencies=2), latent_dim=2)
    model = GPVAE(prior, MLP(2, heads.Normal((3,)), hidden=[8]))
    return model, GPGuide(MLP(3, heads.DiagonalNormal(2), hidden=[8]), prior), data


def run(phases: Phases, model: GPVAE, guide: GPGuide, data: Dataset, epochs: int, **rest) -> list:
    watch = Watch(kernels=model.prior, networks=nn.ModuleList([model.decoder, guide.encoder]))
    callbacks = [phases, watch, *rest.pop("callbacks", [])]
    options = {"batch_size": 10, "progress": False, "seed": 0, **rest}
    fit(model, guide, data, epochs=epochs, callbacks=callbacks, **options)
    return watch.moved


def alternation(model: GPVAE, guide: GPGuide, **options) -> Phases:
    """Casale's: the kernel held, then alone, then with all else."""
    return Phases(
        Phase(1, hold=[model.prior]),
        Phase(2, hold=[model.decoder, guide.encoder]),
        Phase(options.pop("last", None)),
        **options,
    )


BOTH = {"kernels", "networks"}


def test_casales_alternation_moves_what_it_says():
    model, guide, data = pair()
    moved = run(alternation(model, guide), model, guide, data, 5)
    assert moved == [{"networks"}, {"kernels"}, {"kernels"}, BOTH, BOTH]


def test_phases_repeat():
    model, guide, data = pair()
    moved = run(alternation(model, guide, last=1, repeat=True), model, guide, data, 6)
    assert moved == [{"networks"}, {"kernels"}, {"kernels"}, BOTH, {"networks"}, {"kernels"}]


def test_a_resumed_run_goes_on_in_its_phase(tmp_path):
    model, guide, data = pair()
    keep = {"callbacks": [Checkpoint(tmp_path / "at")]}
    run(alternation(model, guide), model, guide, data, 2, **keep)
    model, guide, data = pair()
    moved = run(alternation(model, guide), model, guide, data, 4, resume=tmp_path / "at")
    assert moved == [{"kernels"}, BOTH]


def test_a_single_parameter_can_be_held_and_the_hook_is_taken_off():
    model, guide, data = pair()
    held = model.prior.raw_noise
    before = held.detach().clone()
    phases = Phases(Phase(None, hold=[held]))
    assert run(phases, model, guide, data, 1) == [BOTH]
    assert torch.equal(held, before)
    fit(model, guide, data, epochs=1, progress=False)
    assert not torch.equal(held, before)


def test_bad_phases_are_refused_by_name():
    model, guide, data = pair()
    with pytest.raises(ValueError, match="phases of at least one epoch"):
        Phases()
    with pytest.raises(ValueError, match="epochs: expected an integer >= 1 or None; got 0"):
        Phase(0)
    with pytest.raises(ValueError, match="without an end to be the last"):
        Phases(Phase(None), Phase(1))
    with pytest.raises(ValueError, match="without an end to be the last"):
        Phases(Phase(1), Phase(None), repeat=True)
    with pytest.raises(ValueError, match="something left to train in phase 1"):
        run(Phases(Phase(1), Phase(1, hold=[model, guide])), model, guide, data, 1)


def test_parts_of_another_model_are_refused_before_the_first_step():
    model, guide, data = pair()
    phases = Phases(Phase(1), Phase(None, hold=[model.decoder]))
    run(phases, model, guide, data, 2)
    model, guide, data = pair()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ArgumentError, match=r"Phases, phase 1: expected .* of something else"):
        run(phases, model, guide, data, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_critic_is_held_too():
    model, guide = programs.pair()
    critic = critic_between((4,), (2,), features=4, hidden=[8])
    before = [p.detach().clone() for p in critic.parameters()]
    objective = ELBO() + MutualInformation("x", "z", critic)
    phases = Phases(Phase(1, hold=[critic]), Phase(None))
    options = {"callbacks": [phases], "progress": False, "compile": False}
    fit(model, guide, programs.splits(), objective, epochs=1, **options)
    assert all(torch.equal(a, b) for a, b in zip(before, critic.parameters(), strict=True))
    fit(model, guide, programs.splits(), objective, epochs=2, **options)
    assert not any(torch.equal(a, b) for a, b in zip(before, critic.parameters(), strict=True))
