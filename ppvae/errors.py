"""The library's errors; each message says what was expected, what was passed, and what to do."""

from __future__ import annotations

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
    """A signal that ended training after a step, within ``ppvae.fitting.ending_on_signals``.

    Arguments:
        signal: Number of the signal.
        epoch: Number of epochs done.
        epochs: Number of epochs requested.

    Attributes:
        signal: Number of the signal.
        run: The :class:`~ppvae.runs.Run` up to that step.
    """

    run: Run | None = None

    def __init__(self, signal: int, epoch: int, epochs: int) -> None:
        super().__init__(f"signal {signal} after {epoch} of {epochs} epochs")
        self.signal = signal
