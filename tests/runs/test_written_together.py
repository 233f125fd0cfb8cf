"""Several writers of one folder, and disks that are full: nothing is lost without a word."""

from __future__ import annotations

import errno
import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5netcdf
import pytest
import torch

from ppvae import evaluate
from ppvae.data.written import HDF5File
from ppvae.errors import RunError
from ppvae.fitting import fit
from ppvae.runs.folder import replaced
from ppvae.runs.run import load
from tests.fitting.programs import pair

X = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def run():
    return fit(*pair(), {"x": X}, epochs=1, seed=0, progress=False, compile=False)


def test_saves_into_one_folder_at_once_all_succeed(tmp_path):
    def save(writer: int) -> None:
        for _ in range(40):
            with replaced(tmp_path / "out", lambda folder: True) as new:
                for name in "abc":
                    (new / name).write_text(f"{writer}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save, range(4)))
    files = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files] == ["a", "b", "c"]
    assert len({path.read_text() for path in files}) == 1


def full(*_args, **_options):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("at_once", [True, False])
def test_draws_on_a_full_disk_are_refused_and_leave_nothing(tmp_path, monkeypatch, run, at_once):
    owner, name = (h5netcdf, "File") if at_once else (h5netcdf.File, "create_group")
    monkeypatch.setattr(owner, name, full)
    with pytest.raises(RunError, match=r"path: could not write .*No space left on device"):
        evaluate.to_arviz(run, {"x": X}, num_draws=2, path=tmp_path / "draws.nc")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [100, 9_000, 300_000])
def test_draws_on_a_disk_that_fills_are_refused_and_leave_nothing(tmp_path, run, size):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(RunError, match=r"path: could not write .*File too large"):
            evaluate.to_arviz(run, {"x": X}, num_draws=4000, path=tmp_path / "draws.nc")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    gc.collect()  # HDF5 tries again to write what it could not.
    assert not list(tmp_path.iterdir())


def test_what_could_not_be_written_can_be_read_back(tmp_path, monkeypatch):
    file = HDF5File(tmp_path / "a")
    file.write(b"abcdef")
    monkeypatch.setattr(file, "error", OSError(errno.ENOSPC, "No space left on device"))
    file.seek(4)
    file.write(b"XYZ")
    file.seek(0)
    assert file.read() == b"abcdXYZ"
    with pytest.raises(OSError, match="No space"):
        file.check()
    file.discard()
    assert (tmp_path / "a").read_bytes() == b"abcdef"


def test_an_export_to_a_full_disk_is_refused_and_leaves_nothing(tmp_path, monkeypatch, run):
    # torch's own writer ends the process there.
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="path: expected a file that can be written"):
        run.export(tmp_path / "encoder.pt2")
    assert not list(tmp_path.iterdir())


def test_a_run_saved_twice_at_once_can_be_loaded(tmp_path, run):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: run.save(tmp_path / "run"), range(8)))
    assert load(tmp_path / "run", *pair()).id == run.id
