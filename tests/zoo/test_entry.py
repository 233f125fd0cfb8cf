"""Entries as constructors: what they are called with, and how their signatures are read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

import pytest
import torch

import ppvae
from ppvae import zoo
from ppvae.data import Dataset, Splits
from ppvae.errors import ArgumentError
from ppvae.zoo.options import Options, option, options_of, parse_options

DATA = {"x": torch.rand(6, 4), "y": torch.arange(6) % 2}


@dataclass(frozen=True)
class Group(Options):
    """Two options."""

    first: Annotated[int, option("first", least=1)] = 1
    second: Annotated[float, option("second", above=0)] = 2.0


GROUP = Group(second=3.0)


@pytest.mark.parametrize(
    "columns",
    [
        DATA,
        Dataset(DATA),
        Splits(Dataset(DATA)),
        Dataset(DATA).spec,
    ],
)
def test_an_entry_is_called_with_columns_of_any_kind(columns):
    pair = zoo.cvae(columns, beta=4.0, latent_dim=3, hidden=(5,))
    assert isinstance(pair.model, ppvae.models.ConditionalVAE)
    assert pair.objective.weights == {"z": 4.0}
    assert pair.model.conditions.sizes == (2,)
    with pytest.raises(ArgumentError, match="beta: expected a number >= 0; got -1"):
        zoo.cvae(columns, beta=-1.0)


def test_every_name_is_an_attribute():
    for name in zoo.names():
        assert getattr(zoo, name.replace("-", "_")) is zoo.entry(name)
        assert zoo.entry(name).name == name
    with pytest.raises(AttributeError):
        zoo.no_such_entry  # noqa: B018


def test_a_signature_is_read_with_its_groups_and_defaults():
    def own(columns: Missing, *, group: Group = GROUP, third: str = "a") -> Missing:  # noqa: F821
        return group, third

    made = zoo.register("own", "own")(own)
    assert [(f.name, f.default) for f in fields(made.options)] == [
        ("first", 1),
        ("second", 3.0),
        ("third", "a"),
    ]
    with pytest.raises(ArgumentError, match="first: expected an integer >= 1; got 0"):
        parse_options(made.options, {"first": 0})
    with pytest.raises(ArgumentError, match="first: expected an integer >= 1; got 1.5"):
        parse_options(made.options, {"first": 1.5})
    with pytest.raises(ArgumentError, match="third: expected text; got 3"):
        parse_options(made.options, {"third": 3})


def test_an_entry_that_extends_another_passes_its_options_on():
    seen = {}

    def more(columns, *, fourth: int = 4, **options):
        seen.update(options, fourth=fourth)
        return zoo.vae(columns, **options)

    made = zoo.register("more", "more", extends=zoo.vae, defaults={"latent_dim": 2})(more)
    assert made.data == zoo.vae.data
    made(DATA, hidden=(3,))
    assert seen["latent_dim"] == 2
    assert seen["hidden"] == (3,)
    assert seen["fourth"] == 4


def test_a_signature_that_a_command_line_cannot_say_is_refused():
    def bare(columns, *, size: int):
        """No default."""

    def odd(columns, *, size: dict = None):  # noqa: RUF013
        """No such type."""

    for function in (bare, odd):
        with pytest.raises(ArgumentError, match="expected options with a default"):
            options_of(function)
