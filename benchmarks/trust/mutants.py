"""Planted bugs: each is to fail some test of its room.

    python -m benchmarks.trust.mutants

The repository is copied; each bug of :mod:`benchmarks.trust.planted`,
:mod:`benchmarks.trust.planted_since` and :mod:`benchmarks.trust.planted_survivors` is put into the
copy in turn, and the tests of its room run there until one fails. The tests that failed run once
more, without a bug, and must pass. A bug whose text is not in its file exactly once is an error of
this script.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.trust.planted import MUTANTS, Mutant
from benchmarks.trust.planted_since import SINCE
from benchmarks.trust.planted_survivors import SURVIVED

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(
    *(".git", "__pycache__", ".*_cache", "*.egg-info", "runs-*", "build", "dist", "_build")
)
# Imported once, for all children.
IMPORTS = ("torch", "pyro", "gpytorch", "scipy.optimize", "sklearn", "pandas")
# Seconds that a room's tests may take; a bug that makes them hang is killed, too.
SECONDS = 600


def planted(root: Path, mutant: Mutant) -> str:
    """The content of the mutant's file with the bug.

    Raises:
        SystemExit: If the file has the text not exactly once.
    """
    content = (root / "ppvae" / mutant.file).read_text(encoding="utf-8")
    if content.count(mutant.old) != 1:
        sys.exit(
            f"{mutant.name}: expected {mutant.old!r} once in ppvae/{mutant.file}; got it "
            f"{content.count(mutant.old)} times. Mend benchmarks/trust/planted.py."
        )
    return content.replace(mutant.old, mutant.new)


def failures(root: Path, tests: Sequence[str], *options: str) -> list[str]:
    """The tests that fail in the copy, such as ``gp/test_layout.py::test_x``, in a child.

    The child has the imports of this process, which are none of ppvae. No bytecode is written:
    two bugs of one length within a second would share it.
    """
    with tempfile.NamedTemporaryFile("w+", encoding="utf-8") as output:
        number = os.fork()
        if number == 0:
            signal.alarm(SECONDS)
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os.chdir(root)
            sys.path[:] = [str(root), *(p for p in sys.path if Path(p).resolve() != ROOT)]
            sys.dont_write_bytecode = True
            chosen = [f"tests/{test}" for test in tests]
            os._exit(pytest.main([*chosen, "-q", "-p", "no:cacheprovider", *options]))
        status = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
        output.seek(0)
        lines = output.read().splitlines()
    if status in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return []
    found = [
        line.partition(" tests/")[2].partition(" - ")[0]
        for line in lines
        if line.startswith(("FAILED tests/", "ERROR tests/"))
    ]
    return found or [f"pytest ended with {status}: {lines[-3:]}"]


def killed_by(root: Path, mutant: Mutant) -> str:
    """The first test that fails with the bug; empty if the bug survives."""
    path = root / "ppvae" / mutant.file
    right = path.read_text(encoding="utf-8")
    path.write_text(planted(root, mutant), encoding="utf-8")
    try:
        found = failures(root, mutant.tests, "-x", "-k", mutant.likely) if mutant.likely else []
        return next(iter(found or failures(root, mutant.tests, "-x")), "")
    finally:
        path.write_text(right, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--numbers", default="", help="bugs to plant, such as 3,17 (default all)")
    arguments = parser.parse_args()
    numbers = [int(number) for number in arguments.numbers.split(",") if number]
    every = (*MUTANTS, *SINCE, *SURVIVED)
    chosen = dict(enumerate(every, start=1))
    if numbers:
        chosen = {number: chosen[number] for number in numbers}
    for name in IMPORTS:
        importlib.import_module(name)
    kills = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "ppvae"
        shutil.copytree(ROOT, root, ignore=LEFT_OUT, symlinks=True)
        for mutant in every:
            planted(root, mutant)
        for number, mutant in chosen.items():
            started = time.perf_counter()
            test = kills[mutant.name] = killed_by(root, mutant)
            said = f"killed by {test}" if test else "SURVIVED"
            seconds = time.perf_counter() - started
            print(f"{number:2} ({seconds:.0f} s) {mutant.name}: {said}", flush=True)
        tests = sorted({test for test in kills.values() if "::" in test})
        without = failures(root, tests) if tests else []
    if without:
        sys.exit(f"fail without a bug: {', '.join(without)}")
    survivors = [name for name, test in kills.items() if not test]
    print(f"{len(chosen)} planted bugs: {len(chosen) - len(survivors)} killed")
    if survivors:
        sys.exit(f"survived: {'; '.join(survivors)}")


if __name__ == "__main__":
    main()
