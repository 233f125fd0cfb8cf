"""Callbacks that send each epoch's row to a tracker: TensorBoard, MLflow, Weights & Biases.

Nothing is imported or contacted before such a callback is made.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from ppvae.borders import typed
from ppvae.expected import expect_package
from ppvae.fitting.training import Training

__all__ = ["MLflow", "TensorBoard", "WeightsAndBiases"]


def _numbers(training: Training) -> dict[str, float]:
    """The numbers of the last epoch, by name."""
    row = training.history[-1]
    return {name: value for name, value in row.items() if name not in ("epoch", "step")}


def _settings(training: Training) -> dict[str, str]:
    """The settings of a fit in words."""
    values = asdict(training.settings) | {"ppvae_run": training.run_id}
    return {name: str(getattr(value, "__name__", value)) for name, value in values.items()}


class Writer(Protocol):
    """A writer of numbers for TensorBoard."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Write one number."""


class TensorBoard:
    """Write each epoch's row for TensorBoard.

    Arguments:
        folder: Log directory.
        writer: Object with ``add_scalar(name, value, step)``, in place of torch's writer.

    Raises:
        MissingPackageError: If the package ``tensorboard`` is not installed.
    """

    main_process_only = True

    @typed()
    def __init__(self, folder: str | Path, *, writer: Writer | None = None) -> None:
        if writer is None:
            expect_package("TensorBoard", "tensorboard", "tensorboard")
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(str(folder))
        self.writer = writer

    def on_epoch_end(self, training: Training) -> None:
        """Write the epoch's row, each number under its name."""
        for name, value in _numbers(training).items():
            self.writer.add_scalar(name, value, training.epoch)

    def on_fit_end(self, training: Training) -> None:
        """Close the writer."""
        if hasattr(self.writer, "close"):
            self.writer.close()


class MLflow:
    """Write each epoch's row as metrics of a new MLflow run, and the settings as its parameters.

    Arguments:
        uri: Tracking URI, such as ``"file:runs/mlflow"`` or a server; MLflow's own default if
            None.
        experiment: Name of the experiment, which is made where there is none.
        name: Name of the run; chosen by MLflow if None.

    Attributes:
        run: Id of the MLflow run, after the start of the fit.

    Raises:
        MissingPackageError: If the package ``mlflow`` or ``mlflow-skinny`` is not installed.
    """

    main_process_only = True

    @typed()
    def __init__(
        self, uri: str | None = None, *, experiment: str = "ppvae", name: str | None = None
    ) -> None:
        self.client = expect_package("MLflow", "mlflow", "mlflow").MlflowClient(tracking_uri=uri)
        self.experiment = experiment
        self.name = name
        self.run: str | None = None

    def on_fit_start(self, training: Training) -> None:
        """Begin an MLflow run, with the settings as its parameters."""
        known = self.client.get_experiment_by_name(self.experiment)
        place = self.client.create_experiment(self.experiment) if known is None else None
        place = known.experiment_id if place is None else place
        self.run = self.client.create_run(place, run_name=self.name).info.run_id
        for name, value in _settings(training).items():
            self.client.log_param(self.run, name, value)

    def on_epoch_end(self, training: Training) -> None:
        """Write the epoch's row as metrics."""
        for name, value in _numbers(training).items():
            self.client.log_metric(self.run, name, value, step=training.epoch)

    def on_fit_end(self, training: Training) -> None:
        """End the MLflow run: as finished, or as failed after an error."""
        ended = training.stop or training.epoch == training.epochs
        if self.run is not None:
            self.client.set_terminated(self.run, "FINISHED" if ended else "FAILED")


class WeightsAndBiases:
    """Write each epoch's row to a new run of Weights & Biases, without a network by default.

    Arguments:
        project: Name of the project.
        folder: Folder in which ``wandb`` keeps its files; the working directory if None.
        mode: ``"offline"``, to be sent later by ``wandb sync``, or ``"online"``.
        name: Name of the run; chosen by ``wandb`` if None.

    Raises:
        MissingPackageError: If the package ``wandb`` is not installed.
    """

    main_process_only = True

    @typed()
    def __init__(
        self,
        project: str = "ppvae",
        folder: str | Path | None = None,
        *,
        mode: str = "offline",
        name: str | None = None,
    ) -> None:
        self.module = expect_package("WeightsAndBiases", "wandb", "wandb")
        self.options = {"project": project, "dir": folder, "mode": mode, "name": name}
        self.run: Any = None

    def on_fit_start(self, training: Training) -> None:
        """Begin a run of Weights & Biases, with the settings as its configuration."""
        self.run = self.module.init(**self.options, config=_settings(training))

    def on_epoch_end(self, training: Training) -> None:
        """Write the epoch's row."""
        self.run.log(_numbers(training), step=training.epoch)

    def on_fit_end(self, training: Training) -> None:
        """End the run, with exit code 1 after an error."""
        ended = training.stop or training.epoch == training.epochs
        if self.run is not None:
            self.run.finish(exit_code=0 if ended else 1)
