"""Trackers: the calls that they make, recorded by stand-ins of their packages."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from ppvae.errors import DivergenceError, MissingPackageError
from ppvae.fitting import MLflow, TensorBoard, WeightsAndBiases, fit
from tests.fitting.programs import pair, splits


def quiet(*callbacks, epochs=2):
    return fit(*pair(), splits(), epochs=epochs, seed=0, progress=False, callbacks=callbacks)


class Client:
    """The part of ``mlflow.MlflowClient`` that is used."""

    def __init__(self, tracking_uri=None):
        self.uri = tracking_uri
        self.metrics, self.params, self.ended, self.experiments = [], {}, [], {}

    def get_experiment_by_name(self, name):
        known = self.experiments.get(name)
        return None if known is None else SimpleNamespace(experiment_id=known)

    def create_experiment(self, name):
        self.experiments[name] = "7"
        return "7"

    def create_run(self, experiment, run_name=None):
        assert experiment == "7"
        return SimpleNamespace(info=SimpleNamespace(run_id=f"run of {run_name}"))

    def log_param(self, run, key, value):
        self.params[key] = value

    def log_metric(self, run, key, value, step):
        self.metrics.append((run, key, value, step))

    def set_terminated(self, run, status):
        self.ended.append((run, status))


@pytest.fixture
def mlflow(monkeypatch):
    module = ModuleType("mlflow")
    module.MlflowClient = Client
    monkeypatch.setitem(sys.modules, "mlflow", module)


class Failing:
    def on_epoch_end(self, training):
        raise DivergenceError("a fault", None)


def test_mlflow_gets_settings_rows_and_the_end(mlflow):
    tracker = MLflow("sqlite:///mlflow.db", name="first")
    run = quiet(tracker)
    client = tracker.client
    assert client.uri == "sqlite:///mlflow.db"
    assert client.params["epochs"] == "2"
    assert client.params["optimizer"] == "adam"
    assert client.params["ppvae_run"] == run.id
    for row in run.history:
        assert ("run of first", "val_elbo", row["val_elbo"], row["epoch"]) in client.metrics
    assert not {"epoch", "step"} & {key for _, key, _, _ in client.metrics}
    assert client.ended == [("run of first", "FINISHED")]
    quiet(tracker)  # The experiment is there by now.
    assert list(client.experiments) == ["ppvae"]


def test_a_fit_that_fails_is_marked(mlflow):
    tracker = MLflow()
    with pytest.raises(DivergenceError):
        quiet(tracker, Failing())
    assert [status for _, status in tracker.client.ended] == ["FAILED"]


def test_weights_and_biases_is_offline_unless_asked(monkeypatch, tmp_path):
    calls = []
    run_of_theirs = SimpleNamespace(
        log=lambda row, step: calls.append(("log", row, step)),
        finish=lambda exit_code: calls.append(("finish", exit_code)),
    )
    module = ModuleType("wandb")
    module.init = lambda **options: calls.append(("init", options)) or run_of_theirs
    monkeypatch.setitem(sys.modules, "wandb", module)
    run = quiet(WeightsAndBiases("digits", tmp_path))
    (_, options), *logs, end = calls
    assert options["mode"] == "offline"
    assert (options["project"], options["dir"]) == ("digits", tmp_path)
    assert options["config"]["seed"] == "0"
    assert [step for _, _, step in logs] == [1, 2]
    assert logs[1][1]["loss"] == run.history[1]["loss"]
    assert end == ("finish", 0)


@pytest.mark.parametrize(
    ("tracker", "package"),
    [(MLflow, "mlflow"), (WeightsAndBiases, "wandb"), (TensorBoard, "tensorboard")],
)
def test_a_missing_package_is_said_with_its_extra(monkeypatch, tmp_path, tracker, package):
    monkeypatch.setitem(sys.modules, package, None)
    arguments = [tmp_path] if tracker is TensorBoard else []
    with pytest.raises(MissingPackageError, match=rf"pip install 'ppvae\[{package}\]'"):
        tracker(*arguments)
