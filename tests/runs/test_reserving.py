"""A folder that a running fit will write to is not given to another one."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

import pytest

from ppvae.errors import RunError
from ppvae.runs.reserving import reserve

pytest.importorskip("fcntl")

# Reserves a folder, says which, and waits to be told to end.
HOLD = """
import sys
from contextlib import ExitStack
from pathlib import Path
from ppvae.runs.reserving import reserve
with ExitStack() as held:
    print(reserve(Path(sys.argv[1]), lambda path: path.exists(), held).name, flush=True)
    sys.stdin.readline()
"""


def free(folder, held, **options):
    return reserve(folder, lambda path: path.exists(), held, **options)


def test_a_folder_is_reserved_until_its_process_ends_however_it_ends(tmp_path):
    folder = tmp_path / "runs" / "vae"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], **pipes)
    try:
        assert other.stdout.readline().strip() == "vae"
        with ExitStack() as held:
            assert free(folder, held).name == "vae-2"
            with pytest.raises(RunError, match="no other process writes to.*Wait for its end"):
                free(folder, held, only=True)
    finally:
        other.kill()
        other.communicate()
    with ExitStack() as held:
        assert free(folder, held, only=True) == folder


def test_two_of_one_process_get_two_folders_and_leave_nothing(tmp_path):
    folder = tmp_path / "vae"
    with ExitStack() as held:
        assert [free(folder, held).name for _ in range(3)] == ["vae", "vae-2", "vae-3"]
    with ExitStack() as held:
        folder.mkdir()
        assert free(folder, held).name == "vae-2"
    assert [path.name for path in tmp_path.iterdir()] == ["vae"]


def test_where_nothing_can_be_locked_the_folder_is_taken_all_the_same(tmp_path):
    (tmp_path / "file").write_text("")
    with ExitStack() as held:
        assert free(tmp_path / "file" / "vae", held).name == "vae"
