"""Settings of a fit: one value, with the defaults of the call."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields

import pytest

from ppvae.errors import ArgumentError
from ppvae.fitting import Settings, cosine, fit


def test_the_call_has_the_settings_with_their_defaults():
    parameters = inspect.signature(fit).parameters
    for f in fields(Settings):
        assert parameters[f.name].default == f.default, f.name
    others = set(parameters) - {f.name for f in fields(Settings)}
    assert others == {
        *("model", "guide", "data", "objective"),
        *("callbacks", "progress", "out", "recipe", "resume"),
    }
    for f in fields(Settings):
        assert f"        {f.name}: " in (Settings.__doc__ or ""), f.name


def test_settings_are_plain_json():
    told = json.loads(json.dumps(Settings(schedule=cosine, device="cpu", seed=3).to_json()))
    assert (told["optimizer"], told["schedule"], told["seed"]) == ("adam", "cosine", 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", "3"),
        ("learning_rate", "fast"),
        ("learning_rate", True),
        ("optimizer", "adam"),
        ("schedule", 3),
        ("compile", "yes"),
        ("workers", 1.5),
        ("restore_best", 1),
        ("average", "0.9"),
    ],
)
def test_values_of_another_type_are_refused_in_words(name, value):
    with pytest.raises(ArgumentError, match=f"^{name}: expected .*; got {value}"):
        Settings(**{name: value})
