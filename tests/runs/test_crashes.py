"""A save cut off anywhere leaves the old files or the new ones, and the next one cleans up."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from ppvae.errors import RunError
from ppvae.fitting import Checkpoint, fit
from ppvae.fitting.trees import load_tree, save_tree
from ppvae.runs import folder as folders
from ppvae.runs.folder import free_name, replaced
from ppvae.runs.run import Run, is_run, load
from tests.fitting.programs import pair, splits


def written(folder: Path, **options: object) -> Run:
    return fit(
        *pair(), splits(), progress=False, out=folder, **{"epochs": 1, "seed": 0, **options}
    )


def calls() -> list[str]:
    return ["rename", "replace", "fsync", "rmdir"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("number", range(14))
def test_a_save_that_is_cut_off_leaves_one_of_the_two(tmp_path, monkeypatch, error, number):
    old, new = written(tmp_path / "run"), Run(*pair(3), status="stopped")
    count = 0

    def counting(real):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == number + 1:
                raise error
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patched:
        for name in calls():
            patched.setattr(os, name, counting(getattr(os, name)))
        try:
            new.save(tmp_path / "run")
        except error:
            pass
        else:
            assert count <= number
    assert load(tmp_path / "run", *pair()).id in (old.id, new.id)
    new.save(tmp_path / "run")
    assert load(tmp_path / "run", *pair()).id == new.id
    assert not [p for p in (tmp_path / "run").iterdir() if p.name.startswith(".")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("number", [1, 2, 4, 7, 9, 11])
def test_a_kill_leaves_a_checkpoint(tmp_path, number):
    save_tree(tmp_path / "c", {"epoch": 1})
    child = os.fork()
    if child == 0:
        count = 0

        def killing(real):
            def call(*arguments, **options):
                nonlocal count
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)

            return call

        for name in calls():
            setattr(os, name, killing(getattr(os, name)))
        save_tree(tmp_path / "c", {"epoch": 2})
        os._exit(0)
    os.waitpid(child, 0)
    assert load_tree(tmp_path / "c")["epoch"] in (1, 2)
    save_tree(tmp_path / "c", {"epoch": 3})
    assert load_tree(tmp_path / "c")["epoch"] == 3
    names = {p.name for p in (tmp_path / "c").iterdir()}
    assert names == {"training.json", "training.safetensors"}


def test_a_save_under_way_elsewhere_is_not_swept_away(tmp_path):
    with replaced(tmp_path / "f", is_run) as first:
        (first / "a").write_text("1")
        with replaced(tmp_path / "f", is_run) as second:
            (second / "a").write_text("2")
        assert first.exists()
    assert (tmp_path / "f" / "a").read_text() == "1"


def test_stray_files_stay_and_are_no_obstacle(tmp_path):
    run = written(tmp_path / "run")
    (tmp_path / "run" / ".DS_Store").write_text("")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    run.save(tmp_path / "run")
    Run(*pair()).save(tmp_path / "run")
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"

    class Drop:
        def on_epoch_end(self, training):
            (tmp_path / "c" / ".DS_Store").write_text("")
            (tmp_path / "c" / "notes.txt").write_text("mine")

    run = fit(
        *pair(), splits(), epochs=3, seed=0, progress=False, callbacks=[
            Checkpoint(tmp_path / "c"), Drop()
        ]
    )  # fmt: skip
    assert run.epochs == load_tree(tmp_path / "c")["epoch"] == 3


def test_a_checkpoint_may_lie_in_the_runs_folder(tmp_path):
    out = tmp_path / "a"
    for _ in range(2):
        written(out, callbacks=[Checkpoint(out / "checkpoint")])
        assert is_run(out)
        assert load_tree(out / "checkpoint")["epoch"] == 1


def mounted(folder: Path, size: str) -> bool:
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    command = [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def volume(tmp_path, request):
    """A file system of its own, small."""
    folder = tmp_path / "volume"
    if not mounted(folder, request.param):
        pytest.skip("a file system can be mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("volume", ["20m"], indirect=True)
def test_a_mount_point_is_written_in_place(volume):
    run = written(volume)
    run.save(volume)
    written(volume, seed=1)
    assert load(volume, *pair()).seed == 1


@pytest.mark.parametrize("volume", ["64k"], indirect=True)
def test_a_full_disk_is_said_and_leaves_what_was_there(volume, tmp_path):
    run = written(volume / "run")
    before = {p.name: p.read_bytes() for p in (volume / "run").iterdir()}
    (volume / "ballast").write_bytes(b"0" * (20 * 1024))
    run.history._rows *= 2000
    with pytest.raises(RunError, match="could not write"):
        run.save(volume / "run")
    assert {p.name: p.read_bytes() for p in (volume / "run").iterdir()} == before


class Filling:
    """Fills a file system to its last byte after an epoch."""

    def __init__(self, volume: Path, after: int) -> None:
        self.volume, self.after = volume, after

    def on_epoch_end(self, training: object) -> None:
        if training.epoch == self.after:
            with suppress(OSError), open(self.volume / "ballast", "wb", buffering=0) as file:
                while True:
                    file.write(b"0" * 1024)


@pytest.mark.parametrize("volume", ["96k"], indirect=True)
def test_a_disk_that_fills_within_training_loses_neither_run_nor_checkpoint(volume, tmp_path):
    folder, out = volume / "c", tmp_path / "run"
    callbacks = [Filling(volume, after=2), Checkpoint(folder)]
    with pytest.raises(RunError, match="could not write .*No space left") as caught:
        written(out, epochs=4, callbacks=callbacks)
    assert caught.value.run.epochs == 2
    assert (load(out, *pair()).status, load(out, *pair()).epochs) == ("interrupted", 2)
    assert load_tree(folder)["epoch"] == 1
    (volume / "ballast").unlink()
    resumed, straight = written(out, epochs=4, resume=folder), written(tmp_path / "b", epochs=4)
    for a, b in zip(resumed.model.parameters(), straight.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("volume", ["96k"], indirect=True)
def test_a_disk_that_is_full_at_the_end_saves_the_run_elsewhere(volume):
    with pytest.raises(RunError, match="The trained run is in '(.*)', and in this") as caught:
        written(volume / "run", epochs=2, callbacks=[Filling(volume, after=2)])
    place = Path(str(caught.value).split("The trained run is in '")[1].split("'")[0])
    try:
        assert load(place, *pair()).id == caught.value.run.id
    finally:
        shutil.rmtree(place.parent)


def test_a_free_name_is_numbered(tmp_path):
    assert free_name(tmp_path / "vae", is_run) == tmp_path / "vae"
    written(tmp_path / "vae")
    written(tmp_path / "vae-2")
    assert free_name(tmp_path / "vae", is_run) == tmp_path / "vae-3"


def test_the_folders_names_are_kept_from_others():
    assert folders.SAVING.startswith(".")
    assert folders.PENDING.startswith(".")
