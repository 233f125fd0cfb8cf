"""A callback that proves that no step waits for the device."""

from __future__ import annotations

from torch import Tensor


class Guard:
    """Makes everything that waits for the device an error, from the first step to the reading."""

    def __init__(self, monkeypatch) -> None:
        self.monkeypatch = monkeypatch

    def on_fit_start(self, training):
        epoch, read = training.run_epoch, training.check

        def refuse(*arguments, **options):
            raise AssertionError("a step waited for the device")

        def guarded(hooks):
            for name in (
                *("item", "tolist", "numpy", "cpu", "nonzero", "is_nonzero"),
                *("__bool__", "__float__", "__int__", "__index__"),
            ):
                self.monkeypatch.setattr(Tensor, name, refuse)
            return epoch(hooks)

        def unguarded(*arguments):
            self.monkeypatch.undo()
            return read(*arguments)

        training.run_epoch, training.check = guarded, unguarded
