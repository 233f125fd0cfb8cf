"""Axes of a sweep: options of a model and settings of its fit, as written on the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ppvae.errors import ArgumentError
from ppvae.expected import INTEGER, NUMBER
from ppvae.zoo.entry import Entry
from ppvae.zoo.options import parse_value

__all__ = ["Axis", "axes_of", "seeds_of", "split_values"]

SETTINGS: Mapping[str, type] = {
    "epochs": int,
    "batch_size": int,
    "learning_rate": float,
    "clip_norm": float,
    "average": float,
    "patience": int,
}
MOST_SEEDS = 10_000


class Suggester(Protocol):
    """The methods of an Optuna trial that an axis calls."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str: ...
    def suggest_int(self, name: str, low: int, high: int) -> int: ...
    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float: ...


@dataclass(frozen=True)
class Axis:
    """One option or setting of a sweep, with the values that it is given.

    Attributes:
        name: Option of the model, or setting of its fit.
        texts: Values as written on the command line; for a range, its two ends.
        ranged: Whether any value between the two ends may be tried.
        integral: Whether the values of the range are integers.
    """

    name: str
    texts: tuple[str, ...]
    ranged: bool = False
    integral: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """The two ends of a range."""
        low, high = map(float, self.texts)
        return low, high

    @property
    def wide(self) -> bool:
        """Whether a range covers a decade or more, and is searched on a logarithmic scale."""
        low, high = self.ends
        return low > 0 and high >= 10 * low

    def suggest(self, trial: Suggester) -> str:
        """The value for a trial to try, as it would be written on the command line."""
        if not self.ranged:
            return str(trial.suggest_categorical(self.name, self.texts))
        if self.integral:
            return str(trial.suggest_int(self.name, *map(int, self.texts)))
        return repr(trial.suggest_float(self.name, *self.ends, log=self.wide))


def axes_of(entry: Entry, texts: Sequence[str]) -> list[Axis]:
    """The axes of ``NAME=VALUE,VALUE,...`` and ``NAME=LOW..HIGH``.

    Arguments:
        entry: The model's entry, which declares the options and their ranges.
        texts: One text per name. Numbers within a value are joined by x, as in
            ``hidden=64x64,128``.

    Raises:
        ArgumentError: If a name is unknown or given twice, or a value is out of range.
    """
    axes: list[Axis] = []
    for text in texts:
        name, equals, written = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not written.strip():
            raise ArgumentError(
                f"--set: expected NAME=VALUE,VALUE,...; got {text!r}. Write --set latent_dim=2,5."
            )
        if name in {axis.name for axis in axes}:
            raise ArgumentError(
                f"--set: expected each name once; got {name!r} twice. Join its values by commas."
            )
        axes.append(_axis(entry, name, written.strip()))
    return axes


def _axis(entry: Entry, name: str, written: str) -> Axis:
    low, dots, high = written.partition("..")
    parts = (low, high) if dots else tuple(part.strip() for part in written.split(","))
    values = [_value(entry, name, part) for part in parts]
    if any(values.count(value) > 1 for value in values):
        raise ArgumentError(
            f"--set {name}: expected distinct values; got {written}. Name each once."
        )
    if not dots:
        return Axis(name, parts)
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < 2 or not numbers[0] < numbers[1] or not all(map(math.isfinite, numbers)):
        raise ArgumentError(
            f"--set {name}: expected LOW..HIGH of an option that is a number, LOW below HIGH; got "
            f"{written}. Write the values out, with commas."
        )
    return Axis(name, parts, ranged=True, integral=all(isinstance(v, int) for v in values))


def _value(entry: Entry, name: str, text: str) -> object:
    if name not in SETTINGS:
        return parse_value(entry.options, name, text)
    kind = SETTINGS[name]
    try:
        return kind(text)
    except ValueError:
        wanted = (INTEGER if kind is int else NUMBER).words
        raise ArgumentError(
            f"--set {name}: expected {wanted}; got {text!r}. Write --set {name}=..."
        ) from None


def split_values(
    entry: Entry, texts: Mapping[str, str]
) -> tuple[dict[str, object], dict[str, object]]:
    """Options of the model and settings of its fit, parsed from the texts of the command line."""
    values = {name: _value(entry, name, text) for name, text in texts.items()}
    settings = {name: value for name, value in values.items() if name in SETTINGS}
    return {n: v for n, v in values.items() if n not in settings}, settings


def seeds_of(text: str) -> list[int]:
    """Seeds of ``0..4`` (both ends included) or ``0,3,7``.

    Raises:
        ArgumentError: If they are not distinct integers of at least 0.
    """
    low, dots, high = text.partition("..")
    try:
        if dots:  # One more than are allowed, of more than the memory may hold.
            seeds = list(range(int(low), min(int(high), int(low) + MOST_SEEDS) + 1))
        else:
            seeds = [int(number) for number in text.split(",")]
    except ValueError:
        seeds = []
    distinct = 0 < len(set(seeds)) == len(seeds) <= MOST_SEEDS
    if not distinct or min(seeds) < 0 or max(seeds) >= 2**63:
        raise ArgumentError(
            f"--seeds: expected integers >= 0, each once, such as 0..4 or 0,3,7, at most "
            f"{MOST_SEEDS:,}; got {text[:60]!r}. Write --seeds 0..4."
        )
    return seeds
