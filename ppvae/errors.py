"""The library's errors; each message says what was expected, what was passed, and what to do."""

from __future__ import annotations

from signal import Signals
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppvae.runs import Run

__all__ = [
    "ArgumentError",
    "ContractError",
    "DataError",
    "DivergenceError",
    "Interrupted",
    "MissingPackageError",
    "PPVAEError",
    "RunError",
]


class PPVAEError(Exception):
    """Base of every error that the library raises on purpose.

    Its text is the message alone, without the table of shapes that Pyro appends to an error that
    is raised inside a program.
    """

    def __str__(self) -> str:
        return super().__str__().partition("\nTrace Shapes:")[0]


class ArgumentError(PPVAEError, ValueError):
    """An argument out of its range."""


class ContractError(PPVAEError, ValueError):
    """A model, a guide and a batch that do not fit together."""


class DataError(PPVAEError, ValueError):
    """Data that cannot be used as they are."""


class MissingPackageError(PPVAEError, ImportError):
    """A package that is optional and not installed; the message names the extra that has it."""


class RunError(PPVAEError, ValueError):
    """A folder that cannot be written, read or understood.

    Attributes:
        run: The :class:`~ppvae.runs.Run` that could not be written, where training had begun;
            nothing of it is lost while the error is kept.
    """

    run: Run | None = None


class DivergenceError(PPVAEError, RuntimeError):
    """A number in training is not finite, or the ELBO has exploded.

    Arguments:
        message: Description of the fault, its place, and one remedy.
        run: Run up to the fault.

    Attributes:
        run: The :class:`~ppvae.runs.Run` up to that step, with the last good weights.
    """

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run


class Interrupted(KeyboardInterrupt):
    """A signal that ended training after a step, or another command of the command line.

    Arguments:
        signal: Number of the signal.
        epoch: Number of epochs done, if it ended training.
        epochs: Number of epochs requested.

    Attributes:
        signal: Number of the signal.
        run: The :class:`~ppvae.runs.Run` up to that step, if it ended training.
        remedy: What is saved, and how to go on.
    """

    run: Run | None = None
    remedy = "Every file is complete, old or new; give the same command again."

    def __init__(self, signal: int, epoch: int = 0, epochs: int = 0) -> None:
        done = f" after {epoch} of {epochs} epochs" if epochs else ""
        super().__init__(f"{Signals(signal).name}{done}")
        self.signal = signal
