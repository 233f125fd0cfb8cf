"""Ranges of the numbers that a run was fitted to, and the comparison of new data with them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ppvae.data.columns import MEASURED, kind_of
from ppvae.data.dataset import Dataset
from ppvae.data.describe import statistics
from ppvae.data.mapped import Column
from ppvae.data.splits import Splits
from ppvae.errors import DataError
from ppvae.typing import Spec

__all__ = [
    "compare_values",
    "compared_scale",
    "far_from_unit",
    "ranges_of",
    "refuse_mixed_bytes",
    "warn_far",
]

logger = logging.getLogger(__name__)

# Number of rows of which the largest number says what size a feature has.
FEW = 10
# Standard deviation from which on a known factor is called large.
LARGE = 5.0


def far_from_unit(factors: Tensor) -> dict[int, tuple[float, float]]:
    """Mean and standard deviation of each factor with which networks train poorly, such as years.

    These factors have a standard deviation above 5, a mean of more than 10 standard deviations, or
    no value beyond 0.1; a constant is left out.

    Arguments:
        factors: With shape (N, C) or (N); NaN where missing.

    Returns:
        Number of the factor to its mean, with six digits, and standard deviation, with three.
    """
    found = {}
    for i, column in enumerate(factors.detach().cpu().double().reshape(len(factors), -1).T):
        known = column[~column.isnan()]
        if len(known) < 2:
            continue
        m, s = float(f"{known.mean():.6g}"), float(f"{known.std():.3g}")
        if s and (s > LARGE or abs(m) > 2 * LARGE * s or known.abs().max() < 0.5 / LARGE):
            found[i] = (m, s)
    return found


def ranges_of(data: Splits) -> dict[str, tuple[float, float]]:
    """Smallest and largest number of ``x``, ``source``, ``c``, ``view``, as a model gets them.

    Features of ``x`` with names have further entries, such as ``x/age``, unless x holds counts.
    """
    found = {name: statistics(data, name) for name in MEASURED if name in data.train}
    ranges = {name: (facts.least, facts.most) for name, facts in found.items()}
    if "x" in found and not found["x"].whole:
        ranges |= _feature_ranges(data.train)
    return {name: ends for name, ends in ranges.items() if all(map(math.isfinite, ends))}


def _feature_ranges(data: Dataset) -> dict[str, tuple[float, float]]:
    x, names = data.get("x"), data.names.get("x")
    if not isinstance(x, torch.Tensor) or x.ndim != 2 or names is None or x.dtype == torch.uint8:
        return {}
    numbers = x.numpy()
    ends = zip(np.fmin.reduce(numbers, 0), np.fmax.reduce(numbers, 0), strict=True)
    return {f"x/{n}": (float(a), float(b)) for n, (a, b) in zip(names, ends, strict=True)}


def _strange_features(data: Dataset, ranges: Mapping[str, Sequence[float]]) -> list[str]:
    """Notes on single features of x that are much larger or smaller than those of a run."""
    strange = []
    for name, (low, high) in _feature_ranges(data).items():
        least, most = ranges.get(name, (0.0, 0.0))
        size, before = max(abs(low), abs(high)), max(abs(least), abs(most))
        if before and (size > 10 * before or (data.num_rows >= FEW and 10 * size < before)):
            strange.append(
                f"{name.removeprefix('x/')} from {low:g} to {high:g}, fitted with {least:g} to "
                f"{most:g}"
            )
    more = f" and {len(strange) - 6} more" if len(strange) > 6 else ""
    shown = f"x: {'; '.join(strange[:6])}{more}; check the unit or scale"
    return [shown] if strange else []


def compared_scale(
    source: str, data: Dataset, spec: Spec, ranges: Mapping[str, Sequence[float]]
) -> list[str]:
    """Notes on values much larger or smaller than those that a run was fitted to.

    Arguments:
        source: Name of the data's source, for messages.
        data: New data.
        spec: Spec of the columns of the run.
        ranges: Smallest and largest number of the run's columns (:func:`ranges_of`).

    Raises:
        DataError: If one of them, the run or the data, has bytes that are scaled to [0, 1] and
            the other has not; if bytes of 0 and 1 would become almost 0; or if the data are whole
            numbers, such as counts, and the run was fitted with smaller fractions, such as their
            logarithms.
    """
    notes = []
    for name in [name for name in data if name in spec and name in ("x", "source")]:
        names, others = spec[name].get("names"), data.names.get(name)
        if (names is None) != (others is None):
            whose = "the data" if others is None else "the run"
            notes.append(f"{name}: {whose} without names of features; matched by their order")
        were_bytes = spec[name].get("dtype") == "uint8"
        are_bytes = str(data[name].dtype).endswith("uint8")
        known = [0.0, 1.0] if were_bytes else list(ranges.get(name, ()))
        facts = statistics(data, name)
        if not known or facts.least != facts.least:
            continue
        got = f"{str(data[name].dtype).removeprefix('torch.')} from {facts.least:g} to "
        got += f"{facts.most:g}"
        fitted = f"{known[0]:g} to {known[1]:g}"
        if were_bytes and not are_bytes and not _near_unit(facts.least, facts.most):
            raise DataError(
                f"{source}: expected {name} as uint8, or as numbers in [0, 1], as the run was "
                f"fitted with; got {got}. Divide by 255, or save as uint8."
            )
        if are_bytes and not were_bytes and not _near_unit(*known):
            raise DataError(
                f"{source}: expected {name} with numbers such as {fitted}, as the run was fitted "
                "with; got uint8, which is scaled to [0, 1]. Save it as floating-point numbers."
            )
        if are_bytes and not were_bytes and facts.most == 1 / 255 and 10 / 255 < known[1]:
            raise DataError(
                f"{source}: expected {name} with numbers such as {fitted}, as the run was fitted "
                "with; got uint8 of 0 and 1, of which 1 becomes 0.0039. Save it as bool, or read "
                "files of pictures with --range 0 1."
            )
        size, before = (max(map(abs, ends)) for ends in ((facts.least, facts.most), known))
        counts = facts.whole and not facts.binary and facts.least >= 0
        fractions = any(not float(end).is_integer() for end in known)
        if counts and fractions and size > 3 * before:
            raise DataError(
                f"{source}: expected {name} with numbers such as {fitted}, as the run was fitted "
                f"with; got whole numbers from {facts.least:g} to {facts.most:g}. Transform them "
                "as the run's data were, such as by a logarithm."
            )
        if "library" in spec[name] and not facts.whole:
            notes.append(
                f"{name}: numbers with fractions, where the run was fitted with whole numbers; "
                "check whether they were transformed"
            )
        if size > 10 * before or 10 * size < before:
            notes.append(
                f"{name}: {got}, where the run was fitted with {fitted}; check the unit or scale"
            )
        if name == "x":
            notes += _strange_features(data, ranges)
    return [*notes, *_far(data, ranges)]


def _far(data: Mapping[str, Column], ranges: Mapping[str, Sequence[float]]) -> list[str]:
    """Notes on known factors and views that are beyond those of a run by more than their range."""
    notes = []
    for name in [n for n in data if n in ranges and kind_of(n).kind in ("factor", "view")]:
        values, (low, high) = torch.as_tensor(data[name]).double(), ranges[name]
        beyond = torch.maximum(low - values, values - high).nan_to_num(-1)
        if bool((beyond > high - low).any()):
            notes.append(
                f"{name}: values from {float(values.min()):g} to {float(values.max()):g}, where "
                f"the run was fitted with {low:g} to {high:g}; check the unit, as a model knows "
                "little so far from its data"
            )
    return notes


def _near_unit(least: float, most: float) -> bool:
    """Whether numbers lie in [0, 1], up to the little by which decoded means exceed it."""
    return -0.3 < least <= most < 1.3


def refuse_mixed_bytes(
    source: str, data: Dataset, spec: Spec, ranges: Callable[[], Mapping[str, Sequence[float]]]
) -> None:
    """Refuse uint8 for a run fitted to other numbers, and the reverse, unless all are in [0, 1].

    Arguments:
        source: Name of the data's source, for messages.
        data: New data; no value is read where types agree.
        spec: Dtype of each column that there was.
        ranges: Function of no arguments that returns their smallest and largest numbers.

    Raises:
        DataError: If one is scaled to [0, 1], and the other is not.
    """
    mixed = [
        name
        for name in data
        if name in spec
        and kind_of(name).intensity
        and (spec[name].get("dtype") == "uint8") != str(data[name].dtype).endswith("uint8")
    ]
    if mixed:
        compared_scale(source, data.select(*mixed), spec, ranges())


def compare_values(data: Dataset, spec: Spec, ranges: Mapping[str, Sequence[float]]) -> None:
    """Compare new data with those that a run was fitted to, as far as both are in memory.

    The log warns of values more than ten times as large as all of the training data, of single
    features with names that are that much larger or smaller than they were, and of factors and
    views far from theirs (:func:`warn_far`).

    Arguments:
        data: New data.
        spec: Spec of the columns of the run.
        ranges: Smallest and largest number of the run's columns (:func:`ranges_of`).

    Raises:
        DataError: As :func:`refuse_mixed_bytes`.
    """
    refuse_mixed_bytes("data", data, spec, lambda: ranges)
    known = [name for name in ("x", "source") if name in ranges]
    for name in [name for name in known if isinstance(data.get(name), torch.Tensor)]:
        facts, (low, high) = statistics(data, name), ranges[name]
        if max(-facts.least, facts.most) > 10 * max(abs(low), abs(high)):
            logger.warning(
                f"{name}: values from {facts.least:g} to {facts.most:g}, where the run was fitted "
                f"with {low:g} to {high:g}; check the unit or scale"
            )
        if name == "x":
            for note in set(_strange_features(data, ranges)) - set(data.notes):
                logger.warning(note)
    warn_far(data, ranges)


def warn_far(data: Mapping[str, Column], ranges: Mapping[str, Sequence[float]]) -> None:
    """Warn of factors and views far from those that a run was fitted to.

    Arguments:
        data: New columns; what the notes of a dataset say is not said again.
        ranges: Smallest and largest number of the run's columns (:func:`ranges_of`).
    """
    said = data.notes if isinstance(data, Dataset) else ()
    for note in _far(data, ranges):
        if note not in said:
            logger.warning(note)
