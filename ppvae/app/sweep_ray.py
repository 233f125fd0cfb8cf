"""Ray Tune as the engine of a sweep, on this machine or on a cluster.

Each configuration of a grid, or of a random search, is a trial of Ray Tune that fits all of the
configuration's seeds, one after another, in the folders of the sweep; these must be on a file
system that all machines share. The same command given again goes on with what is left: a run that
ended is not repeated, one that stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from ppvae.app.axes import Axis
from ppvae.app.sweep import Sweep, Trial, fit_trial, ranked, refuse_other_data, trial_of
from ppvae.app.users import entry_named
from ppvae.errors import ArgumentError, PPVAEError, RunError
from ppvae.expected import expect_package, real_path
from ppvae.signals import raising_on_signals

if TYPE_CHECKING:
    from ray.tune import Trainable, Tuner

__all__ = ["refuse_unanswered", "run_ray"]

# Ray Tune is to change neither the working folder of a trial nor the handling of signals.
ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}
# Random seed of a search: the same configurations again, so that it goes on.
SEED = 0


def run_ray(sweep: Sweep, axes: Sequence[Axis]) -> list[Trial]:
    """Run what is left of a sweep on a Ray cluster, and return all its trials so far.

    Arguments:
        sweep: The sweep; its folder exists.
        axes: Its axes.

    Raises:
        ArgumentError: If runs are to be pruned, which this engine does not.
        MissingPackageError: If Ray Tune is not installed.
        RunError: If there is no cluster at the address.
        Interrupted: After SIGINT or SIGTERM.
    """
    if sweep.prune:
        raise ArgumentError(
            "--prune: expected --engine optuna, which ends poor runs early; got ray. Leave out "
            "one of the two."
        )
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    ray = expect_package("ppvae sweep --engine ray", "ray", "cluster")
    tune = expect_package("ppvae sweep --engine ray", "ray.tune", "cluster")
    data = None if sweep.data is None else real_path(sweep.data)
    with _cluster(ray, sweep.address):
        results = _tuner(tune, replace(sweep, out=real_path(sweep.out), data=data), axes).fit()
    trials: dict[tuple[object, ...], Trial] = {}
    for result in results:
        texts = {axis.name: _text(result.config[axis.name]) for axis in axes}
        errors = (result.metrics or {}).get("errors", {})
        lost = "" if result.error is None else f"the trial was lost: {result.error}"
        for seed in sweep.seeds:
            error = errors.get(str(seed), lost)
            trials[(*texts.values(), seed)] = trial_of(sweep, texts, seed, error=error)
    return ranked(list(trials.values()))


def _tuner(tune: ModuleType, sweep: Sweep, axes: Sequence[Axis]) -> Tuner:
    """The trials as Ray Tune sees them."""
    device = sweep.settings.get("device")
    cuda = torch.cuda.is_available() if device is None else str(device).startswith("cuda")
    tuner: Tuner = tune.Tuner(
        tune.with_resources(_work(tune, sweep), {"cpu": 1, "gpu": int(cuda)}),
        param_space={axis.name: _space(tune, axis, sweep) for axis in axes},
        tune_config=tune.TuneConfig(
            num_samples=sweep.trials or 1,
            search_alg=tune.search.BasicVariantGenerator(random_state=SEED),
        ),
        run_config=tune.RunConfig(storage_path=str(sweep.out / "ray"), name="trials", verbose=0),
    )
    return tuner


def _space(tune: ModuleType, axis: Axis, sweep: Sweep) -> object:
    """The values of an axis: all of them for a grid, or those that a search draws from."""
    if sweep.trials is None:
        return tune.grid_search(list(axis.texts))
    if not axis.ranged:
        return tune.choice(list(axis.texts))
    if axis.integral:
        low, high = map(int, axis.texts)
        return tune.randint(low, high + 1)
    return (tune.loguniform if axis.wide else tune.uniform)(*axis.ends)


def _text(value: object) -> str:
    """A value that was drawn, as it would be written on the command line."""
    return repr(float(value)) if isinstance(value, float) else str(value)


def _work(tune: ModuleType, sweep: Sweep) -> type[Trainable]:
    """The work of one trial, done in the main thread of a process of its own."""
    # A module in this folder; naming it as the model is the consent to run it.
    path = os.getcwd() if "" in sys.path else None

    class Work(tune.Trainable):  # type: ignore[name-defined]
        """All seeds of one configuration."""

        def setup(self, config: Mapping[str, object]) -> None:
            self.texts = {name: _text(value) for name, value in config.items()}
            if path is not None:
                entry_named(sweep.model, path)

        def step(self) -> dict[str, object]:
            elbos: list[float] = []
            errors: dict[str, str] = {}
            for seed in sweep.seeds:
                try:
                    refuse_other_data(sweep)
                    run = fit_trial(sweep, self.texts, seed, interruptible=False)
                    assert run.elbo is not None
                    elbos.append(run.elbo)
                except PPVAEError as error:
                    # A value that does not suit the model must not end the sweep.
                    errors[str(seed)] = str(error)
            elbo = sum(elbos) / len(elbos) if elbos else float("-inf")
            return {"elbo": elbo, "errors": errors, "done": True}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Each run has checkpoints of its own."""

        def load_checkpoint(self, checkpoint: object) -> None:
            """A run goes on from its own checkpoint."""

    return Work


def refuse_unanswered(address: str) -> None:
    """Refuse an address at which nothing answers, for which Ray itself waits several minutes.

    Arguments:
        address: Host and port, also as ``ray://HOST:PORT``; others, such as ``auto``, are left to
            Ray.

    Raises:
        ConnectionError: If there is no answer within ten seconds.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"nothing answers there: {error}") from error


@contextmanager
def _cluster(ray: ModuleType, address: str | None) -> Iterator[None]:
    """A cluster: the one that is connected, that at the address, or one on this machine."""
    if ray.is_initialized():
        with raising_on_signals():
            yield
        return
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, **quiet)
        else:
            refuse_unanswered(address)
            ray.init(address=address, **quiet)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise RunError(
            f"--address: expected the address of a Ray cluster; got {address!r} "
            f"({str(error).splitlines()[0]}). Start one: ray start --head."
        ) from error
    with raising_on_signals():  # Ray has set a handler of its own before.
        try:
            yield
        finally:
            ray.shutdown()
