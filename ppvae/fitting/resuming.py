"""The state of training as it is stored, and training that goes on from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ppvae.errors import ArgumentError, RunError
from ppvae.fitting.identity import check_state, compare_identity, compare_probe, identity, probe
from ppvae.fitting.record import Best
from ppvae.fitting.tensors import State, copied, named_tensors
from ppvae.programs import older_values
from ppvae.runs.config import OWN
from ppvae.runs.history import History

if TYPE_CHECKING:
    from ppvae.fitting.training import Training

__all__ = ["go_on", "saved_state"]

PROBE = "probe without scales"


def saved_state(training: Training) -> State:
    """All that resuming bit for bit needs: numbers, strings, lists, dicts and tensors."""
    return {
        "run": identity(training),
        "around": training.around,
        PROBE: probe(training),
        "settings": training.settings.to_json(),
        "id": training.run_id,
        "config": training.config,
        "seconds": training.seconds,
        "history": [dict(row) for row in training.history],
        "best": vars(training.best).copy(),
        "faults": list(training.faults),
        "ended": training.ended_by if training.stop else "",
        **training._moving(),
    }


def _add_later(training: Training, tensors: dict[str, Tensor] | None) -> None:
    """Add tensors that checkpoints of earlier versions lack, as loading a run does."""
    if tensors is None:
        return
    later = older_values(training.objective)
    for name in named_tensors(training.objective):
        if name not in tensors and name in later:
            tensors[name] = later[name]


def go_on(training: Training, state: State) -> None:
    """Go on from :func:`saved_state`.

    Raises:
        ArgumentError: If the state is of another model, of other data, or has another setting
            that would make the result a mixture of two runs.
        RunError: If the state is damaged; nothing is then changed.
    """
    compare_identity(training, state)
    if state["epoch"] > training.epochs:
        raise ArgumentError(
            f"epochs: expected at least the {state['epoch']} of the run that stopped; got "
            f"{training.epochs}. It counts all epochs, including those already done."
        )
    before = copied(training._moving())
    try:
        for tensors in (state["tensors"], state["best"]["tensors"]):
            _add_later(training, tensors)
        check_state(training, state)
        training._put(state)
        training.history, training.best = History(state["history"]), Best(**state["best"])
        training.seconds, training.faults = float(state["seconds"]), list(state["faults"])
        training.run_id = str(state["id"])
        # What callbacks of that run have noted, such as what its data lacked.
        noted = {k: v for k, v in state["config"].items() if k not in OWN}
        training.config = {**noted, **training.config}
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        training._put(before)
        raise RunError(
            f"resume: expected the state of a training run; got a damaged one ({error!r}). "
            "Go on from an earlier checkpoint."
        ) from error
    compare_probe(training, before, state.get(PROBE))
