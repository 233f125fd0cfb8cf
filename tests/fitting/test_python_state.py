"""What compiled steps look into: containers that cannot be read are left alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from torch import nn

from ppvae.fitting.compiled.python_state import PythonState


class Closed(Mapping[str, object]):
    """Entries of a file that is closed."""

    def __getitem__(self, name: str) -> object:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        raise ValueError("closed")

    def __len__(self) -> int:
        return 1


class ClosedDict(dict[str, object]):
    def keys(self):  # type: ignore[override]
        raise ValueError("closed")

    def values(self):  # type: ignore[override]
        raise ValueError("closed")


def test_containers_that_cannot_be_read_are_left_alone() -> None:
    module = nn.Linear(1, 1)
    module.file, module.other, module.count = Closed(), ClosedDict(a=1), 0
    module.table = np.zeros(3)
    before = PythonState(module)
    assert before.changes() == []
    module.count, module.table[1] = 2, 5.0
    assert before.changes() == [
        "sets the Python attribute Linear.count",
        "sets the Python attribute Linear.table",
    ]
    before.restore()
    assert (module.count, module.table.tolist()) == (0, [0, 0, 0])
