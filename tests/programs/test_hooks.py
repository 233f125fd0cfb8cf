"""Hooks: only instances of the base class are called, parts before wholes, each once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import ppvae
from ppvae.guides import AmortizedGuide
from ppvae.models import VAE
from ppvae.nets import MLP, heads
from ppvae.objectives import ELBO
from ppvae.programs import FitHooks, hooks_of, needs_index


class Diary(FitHooks):
    """Writes down its calls in a list that several share."""

    def __init__(self, name: str, calls: list[str], *parts: nn.Module) -> None:
        super().__init__()
        self.name, self.calls, self.parts = name, calls, nn.ModuleList(parts)

    def prepare(self, data):
        self.calls.append(f"{self.name} prepare")

    def record(self, index, posteriors):
        q = posteriors["z"]
        assert q.batch_shape[-1:] == index.shape
        self.calls.append(f"{self.name} record")

    def advance(self):
        self.calls.append(f"{self.name} advance")

    def settle(self, guide, data):
        assert not guide.training
        self.calls.append(f"{self.name} settle")


class Cell(nn.Linear):
    """A layer with methods of the hooks' names, and of other meanings."""

    def advance(self, state: Tensor) -> Tensor:
        raise AssertionError("a layer's own method was called")

    prepare = settle = record = advance


def pair(*parts: nn.Module) -> tuple[VAE, AmortizedGuide]:
    model = VAE(MLP(2, heads.Normal((4,)), hidden=[4]), latent_dim=2)
    model.parts = nn.ModuleList(parts)
    encoder = nn.Sequential(Cell(4, 4), MLP(4, heads.DiagonalNormal(2), hidden=[4]))
    return model, AmortizedGuide(encoder)


def test_fit_calls_each_hook_once_a_time_and_parts_before_wholes():
    calls: list[str] = []
    part = Diary("part", calls)
    model, guide = pair(Diary("whole", calls, part), part)
    ppvae.fit(
        model,
        guide,
        {"x": torch.randn(6, 4)},
        epochs=1,
        batch_size=3,
        progress=False,
        seed=0,
        compile=False,
    )
    step = ["part record", "whole record", "part advance", "whole advance"]
    around = [["part prepare", "whole prepare"], ["part settle", "whole settle"]]
    assert calls == around[0] + 2 * step + around[1]


def test_nothing_is_recorded_in_evaluation_nor_without_row_numbers():
    calls: list[str] = []
    model, guide = pair(Diary("one", calls))
    objective = ELBO(num_particles=2)(model, guide)
    batch = {"x": torch.randn(3, 4)}
    objective(batch)
    objective.eval()({**batch, "index": torch.arange(3)})
    assert calls == []
    objective.train()({**batch, "index": torch.arange(3)})
    assert calls == ["one record"]


def test_hooks_that_record_ask_for_row_numbers():
    class Silent(FitHooks):
        pass

    assert hooks_of(nn.Sequential(Silent(), Cell(1, 1)))
    assert not needs_index(Silent(), Cell(1, 1))
    assert needs_index(nn.Sequential(Diary("one", [])))


@pytest.mark.parametrize("method", ["prepare", "record", "advance", "settle"])
def test_the_defaults_do_nothing(method):
    arguments = {"prepare": 1, "record": 2, "advance": 0, "settle": 2}
    assert getattr(FitHooks(), method)(*[None] * arguments[method]) is None
