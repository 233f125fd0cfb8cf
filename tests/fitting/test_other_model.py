"""A checkpoint is resumed only by the model, the guide and the names that it was written with."""

from __future__ import annotations

import json
import math

import pandas as pd
import pyro
import pytest
import torch
from pyro.distributions import Normal
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ppvae.errors import ArgumentError
from ppvae.fitting import Checkpoint, Phase, Phases, fit, warmup_cosine
from ppvae.fitting.contents import contents, difference
from ppvae.fitting.identity import LATER
from ppvae.fitting.trees import load_tree, save_tree
from ppvae.guides import AmortizedGuide
from ppvae.nets import MLP, heads
from ppvae.objectives import (
    ELBO,
    Independence,
    Linear,
    MutualInformation,
    Penalty,
    critic_between,
)
from ppvae.programs import data_plate
from tests.pairs import build

X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
OPTIONS = {"batch_size": 8, "seed": 0, "progress": False, "compile": False}


class Model(nn.Module):
    """p(z) p(x | z), with a scale that is no parameter and a layer without weights."""

    def __init__(self, activation: type[nn.Module] = nn.SiLU, scale: float = 1.0) -> None:
        super().__init__()
        self.decoder = MLP(2, heads.Normal((4,)), hidden=[8], activation=activation)
        self.scale = scale

    def forward(self, x=None, *, size=None):
        with data_plate(x, size=size):
            z = pyro.sample("z", Normal(torch.zeros(2), self.scale).to_event(1))
            return pyro.sample("x", self.decoder(z), obs=x)


def pair(**options) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return Model(**options), AmortizedGuide(MLP(4, heads.DiagonalNormal(2), hidden=[8]))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    fit(*pair(), {"x": X}, epochs=2, callbacks=[Checkpoint(folder)], **OPTIONS)
    return folder


@pytest.mark.parametrize("options", [{"activation": nn.ReLU}, {"scale": 3.0}], ids=str)
def test_another_model_with_the_same_weights_is_refused(stopped, options):
    model, guide = pair(**options)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ArgumentError, match="resume: expected the model and the guide"):
        fit(model, guide, {"x": X}, epochs=3, resume=stopped, **OPTIONS)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)
    resumed = fit(*pair(), {"x": X}, epochs=3, resume=stopped, **OPTIONS)
    in_one = fit(*pair(), {"x": X}, epochs=3, **OPTIONS)
    assert [row["elbo"] for row in resumed.history] == [row["elbo"] for row in in_one.history]


def helper(step: int) -> float:
    return 1.0 / (1 + step)


def decay(rate: float):
    return lambda optimizer, steps: LambdaLR(optimizer, lambda step: rate**step)


def first(optimizer, steps):
    return LambdaLR(optimizer, lambda step: 1.0 / (1 + step))


def second(optimizer, steps):
    return LambdaLR(optimizer, lambda step: 2.0 / (1 + step))


def penalty(factor: float):
    return ELBO() + Penalty("size", lambda context: factor * context.values["z"].square().mean())


def rated(rate: float):
    def optimizer(parameters, lr):
        some = list(parameters)
        return torch.optim.Adam([{"params": some[:2], "lr": rate}, {"params": some[2:]}], lr=lr)

    return {"optimizer": optimizer}


OTHERS = [
    ({"schedule": warmup_cosine(0.05)}, {"schedule": warmup_cosine(0.05, floor=0.5)}, "floor was"),
    ({"schedule": decay(0.9)}, {"schedule": decay(0.8)}, "values.rate was 0.9, now 0.8"),
    ({"schedule": decay(0.9)}, {"schedule": first}, "schedule of the run that stopped, decay"),
    ({"objective": penalty(1.0)}, {"objective": penalty(2.0)}, "factor was 1.0, now 2.0"),
    (rated(0.1), rated(0.2), "learning rates of the optimiser's groups"),
]


@pytest.mark.parametrize(("given", "other", "words"), OTHERS)
def test_other_parts_of_schedules_and_terms_are_refused(tmp_path, given, other, words):
    options = {**OPTIONS, "callbacks": [Checkpoint(tmp_path)]}
    run = fit(*pair(), {"x": X}, epochs=1, **{**options, **given})
    with pytest.raises(ArgumentError, match=f"resume: expected the .*{words}"):
        fit(*pair(), {"x": X}, epochs=2, resume=tmp_path, **{**OPTIONS, **other})
    again = fit(*pair(), {"x": X}, epochs=2, resume=tmp_path, **{**OPTIONS, **given})
    assert again.epochs == 2
    json.dumps(run.config)


@pytest.mark.parametrize("other", [2.0, Linear(1, 2, steps=9)])
def test_another_weight_of_a_term_is_refused_and_is_in_the_configuration(tmp_path, other):
    def made(weight):
        return ELBO() + Independence("z", "y", weight=weight)

    data = {"x": X, "y": torch.arange(24) % 3}
    options = {**OPTIONS, "callbacks": [Checkpoint(tmp_path)], "objective": made(1.0)}
    run = fit(*pair(), data, epochs=1, **options)
    told = run.config["objective"]["settings"]["dependence_z_y"]["weight"]
    assert told == {"type": "Constant", "value": 1.0}
    with pytest.raises(ArgumentError, match=r"parts of the objective .* terms\[0\]\.weight"):
        fit(*pair(), data, epochs=2, resume=tmp_path, **{**OPTIONS, "objective": made(other)})


def test_functions_differ_by_their_code_constants_and_values(monkeypatch):
    assert difference(contents(decay(0.9)), contents(decay(0.9))) == ""
    for one, two in [(first, second), (lambda x: math.sin(x), lambda x: math.cos(x))]:
        assert "code" in difference(contents(one), {**contents(two), "function": one.__qualname__})
    before = contents(lambda step: helper(step))
    monkeypatch.setitem(globals(), "helper", second)
    assert difference(before, contents(lambda step: helper(step)))
    # Bytecode of another version of Python says nothing.
    told = contents(first)
    older = {("code of Python 3.0" if "code" in k else k): v for k, v in told.items()}
    assert difference(older, told) == ""


def test_checkpoints_of_earlier_versions_go_on(stopped, tmp_path):
    state = load_tree(stopped)
    del state["around"]
    for name in LATER:
        del state["run"][name]
    save_tree(tmp_path / "c", state)
    assert fit(*pair(), {"x": X}, epochs=3, resume=tmp_path / "c", **OPTIONS).epochs == 3


def test_another_dropout_is_said(tmp_path, caplog):
    def dropping(p: float):
        model, guide = pair()
        model.decoder.add_module("drop", nn.Dropout(p))
        return model, guide

    options = {**OPTIONS, "callbacks": [Checkpoint(tmp_path)]}
    fit(*dropping(0.1), {"x": X}, epochs=1, **options)
    fit(*dropping(0.1), {"x": X}, epochs=1, resume=tmp_path, **OPTIONS)
    assert not caplog.text
    fit(*dropping(0.8), {"x": X}, epochs=1, resume=tmp_path, **OPTIONS)
    assert "the layers of the model of the run that stopped are other ones (Dropout" in caplog.text
    assert "p was 0.1, now 0.8" in caplog.text


def test_phases_that_are_left_out_are_said(tmp_path, caplog):
    model, guide = pair()
    held = [Phases(Phase(None, hold=[guide])), Checkpoint(tmp_path)]
    fit(model, guide, {"x": X}, epochs=1, callbacks=held, **OPTIONS)
    model, guide = pair()
    phases = [Phases(Phase(None, hold=[guide]))]
    fit(model, guide, {"x": X}, epochs=1, callbacks=phases, resume=tmp_path, **OPTIONS)
    assert not caplog.text
    fit(*pair(), {"x": X}, epochs=1, resume=tmp_path, **OPTIONS)
    assert "the callbacks of the run that stopped are other ones (Phases" in caplog.text


class Noting:
    """A callback of the user's own that holds and notes a few values."""

    def __init__(self, **held) -> None:
        self.held = held

    def on_epoch_end(self, training):
        training.config.setdefault("first epoch", training.epoch)


def test_of_a_callbacks_dictionary_the_entry_that_differs_is_named(tmp_path, caplog):
    shared = {f"a long name of an entry, {i}": list(range(9)) for i in range(9)}
    options = {**OPTIONS, "callbacks": [Noting(**shared, rate=1), Checkpoint(tmp_path)]}
    fit(*pair(), {"x": X}, epochs=1, **options)
    options = {**OPTIONS, "resume": tmp_path}
    run = fit(*pair(), {"x": X}, epochs=2, callbacks=[Noting(**shared, rate=1)], **options)
    assert not caplog.text
    # What the callbacks of the run that stopped have noted is not lost.
    assert run.config["first epoch"] == 1
    fit(*pair(), {"x": X}, epochs=2, callbacks=[Noting(**shared, rate=2)], **options)
    assert "are other ones (Noting.held.rate was 1, now 2), so" in caplog.text
    caplog.clear()
    fit(*pair(), {"x": X}, epochs=2, callbacks=[Noting(**shared)], **options)
    assert "are other ones (Noting.held rate in one of both alone), so" in caplog.text


def test_texts_are_shown_where_they_differ():
    long = "the same words again and again, "
    told = difference({"a": long * 9 + "one"}, {"a": long * 9 + "two"})
    assert told == f"a was ...{(long * 9)[-15:]}one, now ...{(long * 9)[-15:]}two"
    assert difference("one", "two") == "was one, now two"
    assert difference("[1, 2]", "[1,2]") == "was [1, 2], now [1,2]"
    assert difference("[nan, 2]", "[nan, 3]") == "was [nan, 2], now [nan, 3]"
    assert difference("[1, (2, 3)]", "[1, (2, 4)]") == "[1] was (2, 3), now (2, 4)"


def test_ppvaes_own_callbacks_of_earlier_checkpoints_are_not_compared(stopped, tmp_path, caplog):
    state = load_tree(stopped)
    assert state["around"]["callbacks"] == {}
    state["around"]["callbacks"] = {"_Noted": {"note": "{}"}, "_Watch": {"pruned": "False"}}
    save_tree(tmp_path / "c", state)
    fit(*pair(), {"x": X}, epochs=2, resume=tmp_path / "c", **OPTIONS)
    assert not caplog.text


def test_other_names_of_the_same_numbers_are_refused(tmp_path):
    frames = [pd.DataFrame(X.numpy(), columns=list(names)) for names in ("pqrs", "srqp")]
    fit(*pair(), frames[0], epochs=1, callbacks=[Checkpoint(tmp_path)], **OPTIONS)
    with pytest.raises(ArgumentError, match="expected the names of features, classes and objects"):
        fit(*pair(), frames[1], epochs=2, resume=tmp_path, **OPTIONS)
    fit(*pair(), frames[0], epochs=2, resume=tmp_path, **OPTIONS)


class Counting(Penalty):
    """A term of the user's own that counts its calls."""

    calls = 0

    def forward(self, context):
        self.calls += 1
        return super().forward(context)


def test_objectives_that_a_fit_has_used_go_on(tmp_path):
    """What evaluating sets in a term is no part of what it is made of."""
    model, guide = pair()
    critic = critic_between(X.shape[1:], (2,), features=4, hidden=[8])
    spec = ELBO() + MutualInformation("x", "z", critic) + Counting("none", lambda c: c.kl["z"])
    options = {**OPTIONS, "callbacks": [Checkpoint(tmp_path)]}
    fit(model, guide, {"x": X}, spec, epochs=1, **options)
    run = fit(*pair(), {"x": X}, spec, epochs=2, resume=tmp_path, **OPTIONS)
    assert run.epochs == 2


def test_checkpoints_from_before_factors_were_scaled_go_on(tmp_path):
    made = build("cvae, factors")
    made.model.load_state_dict(_without_scaling(made.model))
    options = {**OPTIONS, "callbacks": [Checkpoint(tmp_path / "new")]}
    fit(made.model, made.guide, made.batch, made.objective, epochs=1, **options)
    state = load_tree(tmp_path / "new")
    state["tensors"] = {k: v for k, v in state["tensors"].items() if "scaling" not in k}
    save_tree(tmp_path / "old", state)
    made = build("cvae, factors")
    settings = {"epochs": 2, "resume": tmp_path / "old", **OPTIONS}
    run = fit(made.model, made.guide, made.batch, made.objective, **settings)
    assert run.epochs == 2
    assert bool(run.model.conditions.scaling.fitted)


def _without_scaling(module):
    return {k: v for k, v in module.state_dict().items() if "scaling" not in k}
