"""Descriptions of data as they were read, in numbers and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ppvae.data.columns import kind_of
from ppvae.data.dataset import Dataset
from ppvae.data.inputs import as_splits
from ppvae.data.mapped import spans
from ppvae.data.sparse import SparseRows
from ppvae.data.splits import Splits
from ppvae.data.values import describe_values, values_of
from ppvae.typing import ColumnSpec, JsonObject

__all__ = ["Description", "Statistics", "describe", "statistics", "suitable"]

SHOWN = 12
NAN = float("nan")
UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Statistics:
    """Statistics of a column over all rows, as a model gets its values (uint8 in [0, 1]).

    Attributes:
        least: Smallest number; NaN if all are missing.
        most: Largest number.
        mean: Mean of the numbers.
        whole: Whether all numbers are integers.
        binary: Whether all numbers are 0 or 1.
        missing: Count of values that are NaN, or -1 in ``y``.
        count: Count of all values, including missing ones.
    """

    least: float
    most: float
    mean: float
    whole: bool
    binary: bool
    missing: int
    count: int


def statistics(data: Dataset | Splits, name: str) -> Statistics:
    """Statistics of a column, over all splits, read by chunks of rows.

    Arguments:
        data: Dataset or splits.
        name: Name of the column.

    Raises:
        DataError: If there is no such column.
    """
    parts = [data] if isinstance(data, Dataset) else [part for part in data if part is not None]
    return _joined([_of_part(part, name) for part in parts])


def _of_part(part: Dataset, name: str) -> Statistics:
    column = part[name]
    # Those of a sparse matrix come from what is stored, and it is never made dense.
    sparse = isinstance(column, SparseRows)
    known = describe_values(column) if sparse else values_of(_chunks(part, name), flat=False)
    mean = sum(known.mean) / len(known.mean)
    count = prod(column.shape)
    return Statistics(known.low, known.high, mean, known.whole, known.binary, known.missing, count)


def _chunks(part: Dataset, name: str) -> Iterator[Tensor]:
    """The rows as a model gets them, some at a time, NaN for missing classes."""
    selected = part.select(name)
    for rows in spans(part[name]):
        values = selected.batch(rows, dtype=torch.float64)[name].double()
        yield values.where(values != -1, values.new_tensor(NAN)) if name == "y" else values


def _joined(parts: Sequence[Statistics]) -> Statistics:
    missing, count = (sum(getattr(part, name) for part in parts) for name in ("missing", "count"))
    seen = [part for part in parts if part.count > part.missing]
    if not seen:
        return Statistics(NAN, NAN, NAN, False, False, missing, count)
    total = sum(part.mean * (part.count - part.missing) for part in seen)
    return Statistics(
        min(part.least for part in seen),
        max(part.most for part in seen),
        total / (count - missing),
        all(part.whole for part in seen),
        all(part.binary for part in seen),
        missing,
        count,
    )


def suitable(facts: Statistics) -> tuple[str, ...]:
    """Likelihoods that can score such numbers, by their names on the command line, best first."""
    if facts.binary:
        return ("bernoulli",)
    if 0 <= facts.least and facts.most <= 1:
        return ("bernoulli", "continuous-bernoulli", "normal", "laplace")
    if facts.whole and facts.least >= 0:
        return ("negative-binomial", "poisson", "normal")
    return ("normal", "normal-per-pixel", "laplace")


@dataclass(frozen=True)
class Description:
    """The result of :func:`describe`; ``str()`` gives it as text.

    Attributes:
        rows: Number of rows of each part of the splits.
        columns: Properties of each column, by name, as JSON.
        likelihoods: Likelihoods that suit ``x``, best first.
        notes: Sentences on what was done in reading and conversion.
    """

    rows: dict[str, int]
    columns: dict[str, JsonObject]
    likelihoods: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        rows = ", ".join(f"{name} {count:,}" for name, count in self.rows.items())
        lines = [f"rows: {sum(self.rows.values()):,} ({rows})", "columns:"]
        for name, facts in self.columns.items():
            shape = "x".join(map(str, facts["shape"])) or "one number"
            lines.append(
                f"  {name}: {facts['kind']}, {shape} per row, {facts['dtype']}, from "
                f"{facts['least']:g} to {facts['most']:g}, mean {facts['mean']:.4g}, "
                f"{facts['missing']} missing"
            )
            lines.append(f"    read: {facts['storage']}")
            if facts["dtype"] == "uint8":
                lines.append("    scaling: 0 to 255 to [0, 1]; the numbers above are scaled")
            for label in ("unit", "classes", "names"):
                if facts.get(label):
                    lines.append(f"    {label}: {_shown(facts[label])}")
        if self.likelihoods:
            lines.append(f"likelihoods that suit x: {', '.join(self.likelihoods)}")
        lines += ["what was done:", *(f"  {note}" for note in self.notes)] if self.notes else []
        return "\n".join(lines)


def _shown(value: str | Mapping[str, int] | Sequence[str]) -> str:
    if isinstance(value, str):
        return value
    parts = [f"{k} ({v:,})" for k, v in value.items()] if isinstance(value, dict) else value
    parts = [str(part) for part in parts]
    more = f", ... ({len(parts)} in all)" if len(parts) > SHOWN else ""
    return ", ".join(parts[:SHOWN]) + more


def describe(data: object) -> Description:
    """Describe data: rows, columns, ranges, missing values, classes and names.

    Arguments:
        data: Splits, a dataset, or other data that :func:`ppvae.data.as_splits` takes.

    Raises:
        DataError: If ``data`` is none of these.
    """
    splits = as_splits(data)
    columns: dict[str, JsonObject] = {}
    suits: tuple[str, ...] = ()
    for name, spec in splits.train.spec.items():
        facts = statistics(splits, name)
        suits = suitable(facts) if name == "x" else suits
        columns[name] = {
            "kind": kind_of(name).kind,
            "meaning": kind_of(name).meaning,
            "shape": spec["shape"],
            "dtype": spec["dtype"],
            "storage": _storage(splits, name),
            **vars(facts),
            "unit": spec.get("unit"),
            "names": None if spec["classes"] else spec.get("names"),
            "classes": _counts(splits, name, spec) if spec["classes"] else None,
        }
    rows = {k: v.num_rows for k, v in splits._asdict().items() if v is not None}
    return Description(rows, columns, suits, splits.notes)


def _storage(splits: Splits, name: str) -> str:
    """Where a column is, how large it is, and how it is read."""
    parts = [part[name] for part in splits if part is not None]
    size, unit = float(sum(column.nbytes for column in parts)), 0
    while size >= 1000 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    amount = f"{size:.3g} {UNITS[unit]}"
    if isinstance(parts[0], Tensor):
        return f"in memory, {amount}"
    if isinstance(parts[0], SparseRows):
        return f"sparse in memory, {amount}; rows are made dense a batch at a time"
    return f"mapped, read by rows, {amount}"


def _counts(splits: Splits, name: str, spec: ColumnSpec) -> dict[str, int]:
    """Number of rows of each class or object, over all splits."""
    parts = [torch.as_tensor(part[name]) for part in splits if part is not None]
    values = torch.cat(parts)
    total = torch.bincount(values[values >= 0], minlength=spec["classes"] or 0).tolist()
    names = spec.get("names") or range(len(total))
    return {str(label): n for label, n in zip(names, total, strict=False)}
