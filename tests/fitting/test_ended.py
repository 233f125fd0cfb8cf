"""A run that had ended is ended when it is resumed, unless more is asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ppvae.data import Dataset, Splits
from ppvae.fitting import Checkpoint, fit
from ppvae.fitting.trees import load_tree, save_tree
from ppvae.runs.run import Run
from tests.fitting.programs import pair, table

# Validation data far from the training data: the better the fit, the worse the validation.
DATA = Splits(Dataset({"x": table(50)}), Dataset({"x": -5 * table(20) + 30}))
PATIENT = {"epochs": 60, "learning_rate": 0.1, "patience": 3}


class Stop:
    """Ends training after an epoch."""

    def __init__(self, epoch: int = 2) -> None:
        self.epoch = epoch

    def on_epoch_end(self, training):
        training.stop = training.epoch >= self.epoch


class StopInside:
    """Ends training at a step within an epoch, and keeps a state of that step."""

    main_process_only = True

    def __init__(self, folder) -> None:
        self.folder = folder

    def on_step_end(self, training):
        if training.steps == 5:
            training.stop = True
        if training.steps == 6 and training.check():
            save_tree(self.folder, training.state_dict())


def run(**options) -> tuple[Run, list[Tensor]]:
    options = {"batch_size": 16, "seed": 0, "progress": False, "compile": False, **options}
    model, guide = pair()
    done = fit(model, guide, DATA, **options)
    return done, [p.detach().clone() for m in (model, guide) for p in m.parameters()]


def same(one: tuple[Run, list[Tensor]], two: tuple[Run, list[Tensor]]) -> bool:
    kept = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in r.history]
        for r, _ in (one, two)
    ]
    alike = all(torch.equal(a, b) for a, b in zip(one[1], two[1], strict=True))
    return alike and kept[0] == kept[1] and one[0].status == two[0].status


@pytest.mark.parametrize("restore_best", [None, False])
def test_patience_that_had_run_out_has_run_out(tmp_path, caplog, restore_best):
    options = {**PATIENT, "restore_best": restore_best}
    ended = run(**options, callbacks=[Checkpoint(tmp_path)])
    assert ended[0].status == "stopped"
    for _ in range(2):
        again = run(**options, callbacks=[Checkpoint(tmp_path)], resume=tmp_path)
        assert same(ended, again)
    assert f"patience ended training after epoch {ended[0].epochs}, so no later" in caplog.text


def test_patience_that_had_run_out_is_known_of_earlier_checkpoints(tmp_path):
    ended = run(**PATIENT, callbacks=[Checkpoint(tmp_path / "c")])
    state = load_tree(tmp_path / "c")
    del state["ended"]
    save_tree(tmp_path / "c", state)
    assert same(ended, run(**PATIENT, resume=tmp_path / "c"))


def test_a_run_goes_on_with_more_patience_as_one_in_one_go(tmp_path, caplog):
    ended, _ = run(**PATIENT, callbacks=[Checkpoint(tmp_path)])
    more = {**PATIENT, "patience": 6}
    assert same(run(**more), run(**more, resume=tmp_path))
    assert f"patience ended training after epoch {ended.epochs}. It goes on" in caplog.text


def test_a_run_goes_on_with_more_epochs_and_patience_anew(tmp_path, caplog):
    ended, _ = run(**PATIENT, callbacks=[Checkpoint(tmp_path)])
    longer, _ = run(**{**PATIENT, "epochs": 61}, resume=tmp_path)
    assert longer.epochs == ended.epochs + 3
    assert longer.metrics["best_epoch"] == ended.metrics["best_epoch"]
    assert "epochs is 61 and was 60, and patience is counted anew. One run in" in caplog.text


def test_a_callback_ends_each_session_anew(tmp_path, caplog):
    class Session:
        """Ends training after two epochs, as a limit of time does."""

        def on_fit_start(self, training):
            self.last = training.epoch + 2

        def on_epoch_end(self, training):
            training.stop = training.epoch >= self.last

    for epochs in (2, 4, 5):
        resume = {"resume": tmp_path} if epochs > 2 else {}
        found = run(epochs=5, callbacks=[Session(), Checkpoint(tmp_path)], **resume)
        assert found[0].epochs == epochs
    assert found[0].status == "completed"
    assert same(found, run(epochs=5))
    assert "Session ended training after epoch 2. It goes on, as Session may end it" in caplog.text
    run(epochs=4, callbacks=[Stop(), Checkpoint(tmp_path / "c")])
    caplog.clear()
    assert same(run(epochs=4), run(epochs=4, resume=tmp_path / "c"))
    assert "Stop ended training after epoch 2. It goes on, as there is no Stop now" in caplog.text


def test_more_epochs_go_on_after_a_callback(tmp_path):
    run(epochs=4, callbacks=[Checkpoint(tmp_path), Stop()])
    longer, _ = run(epochs=5, callbacks=[Stop(4)], resume=tmp_path)
    assert (longer.status, longer.epochs) == ("stopped", 4)


def test_an_epoch_that_is_to_be_the_last_is_trained_to_its_end(tmp_path):
    folder = tmp_path / "c"
    ended = run(epochs=4, callbacks=[StopInside(folder)])
    assert (ended[0].status, ended[0].epochs) == ("stopped", 2)
    state = load_tree(folder)
    assert (state["done"], state["ended"]) == (2, "StopInside")
    assert same(ended, run(epochs=4, callbacks=[StopInside(folder)], resume=folder))


def test_a_callback_that_ends_training_later_leaves_patience_alone():
    ended, _ = run(**PATIENT)
    assert run(**PATIENT, callbacks=[Stop(50)])[0].epochs == ended.epochs


def test_a_run_that_was_completed_has_nothing_to_say(tmp_path, caplog):
    ended = run(epochs=2, callbacks=[Checkpoint(tmp_path)])
    assert same(ended, run(epochs=2, resume=tmp_path))
    assert not caplog.text
