"""The history of training: one row per epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

__all__ = ["History"]

Row = dict[str, float]


class History(Sequence[Row]):
    """One row per epoch: ``epoch``, ``loss``, ``elbo``, each term, ``val_...``, ``seconds``, ...

    Values are means over the epoch's data in nats per datum, except ``epoch``, ``step`` (steps so
    far), ``learning_rate`` (at the epoch's first step), ``seconds`` (of training so far) and
    ``compile_seconds`` (spent compiling in this epoch). Values that an epoch lacks, such as those
    of a validation, are left out of its row.
    """

    def __init__(self, rows: Iterable[Mapping[str, float]] = ()) -> None:
        self._rows: list[Row] = [dict(row) for row in rows]

    def append(self, row: Mapping[str, float]) -> None:
        """Add an epoch."""
        self._rows.append(dict(row))

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and self._rows == other._rows

    def __repr__(self) -> str:
        return f"History({len(self)} epochs: {', '.join(self.columns)})"

    @property
    def columns(self) -> list[str]:
        """All names in the rows, in order of first occurrence."""
        return list(dict.fromkeys(name for row in self._rows for name in row))

    def column(self, name: str) -> list[float | None]:
        """The values of a name, one per epoch; None for epochs that lack it.

        Raises:
            KeyError: If no epoch has the name.
        """
        if name not in self.columns:
            raise KeyError(
                f"history: expected one of {self.columns}; got {name!r}. Name one of them."
            )
        return [row.get(name) for row in self._rows]

    def to_csv(self, path: str | Path) -> None:
        """Write a header and one line per epoch."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self._rows)

    @classmethod
    def from_csv(cls, path: str | Path) -> History:
        """The history that :meth:`to_csv` wrote, exactly.

        Raises:
            ValueError: If the file is not such a table.
        """
        return cls.from_text(Path(path).read_text(encoding="utf-8"))

    @classmethod
    def from_text(cls, text: str) -> History:
        """The history in the text of a table.

        Raises:
            ValueError: If the text is not such a table.
            csv.Error: If the text is not a table.
        """
        integers = ("epoch", "step")
        return cls(
            {
                name: int(text) if name in integers else float(text)
                for name, text in row.items()
                if text
            }
            for row in csv.DictReader(io.StringIO(text, newline=""), strict=True)
        )
